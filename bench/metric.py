"""What a metric is: a workload, the values that it gives, and how far the library wants to get with each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, Optional

BARE = "bare"
OURS = "this library"
PUBLISHED = "published"

Values = Mapping[str, float]
"""A value for each key of the metric's rows."""

Workload = Callable[[bool], Values]
"""Takes whether it shall be quick: a look whether all works, with numbers that mean little."""


@dataclass(frozen=True)
class Goal:
    """How far this library wants to get: a factor of what another backend needs, or a value."""

    limit: float
    of: Optional[str] = None
    at_least: bool = False


@dataclass(frozen=True)
class Row:
    """One value of a metric."""

    key: str
    label: str
    unit: str
    goal: Optional[Goal] = None


@dataclass(frozen=True)
class Metric:
    """A workload for the libraries, one that shows the bare limit, and the rows of the table that they fill."""

    name: str
    rows: tuple[Row, ...]
    library: Workload
    bare: Optional[Workload] = None
    has_published: bool = True
    """Whether the published library gets to its end within minutes."""

    def workload(self, backend: str) -> Optional[Workload]:
        """What a backend runs, if there is something to run for it."""
        if backend == PUBLISHED and not self.has_published:
            return None
        return self.bare if backend == BARE else self.library
