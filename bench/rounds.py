"""Rounds in which every backend runs once, and what they give: medians of values and of ratios."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Callable, Optional

from bench.backends import Backend, RunError
from bench.metric import Metric, Values


@dataclass
class Results:
    """The values of one metric: for each backend, those of each round in which it came to some."""

    metric: Metric
    rounds: dict[str, dict[int, Values]] = field(default_factory=dict)

    def value(self, backend: str, key: str) -> Optional[float]:
        """The median over the rounds."""
        found = [values[key] for values in self.rounds.get(backend, {}).values() if key in values]
        return median(found) if found else None

    def ratios(self, backend: str, other: str, key: str) -> list[float]:
        """What one backend has as a factor of what another one has, for each round that has both."""
        theirs = self.rounds.get(other, {})
        pairs = [
            (values[key], theirs[number][key])
            for number, values in self.rounds.get(backend, {}).items()
            if number in theirs and key in values and key in theirs[number]
        ]
        return [mine / reference for mine, reference in pairs if mine >= 0 and reference > 0]


@dataclass(frozen=True)
class Plan:
    """How metrics are measured."""

    backends: Sequence[Backend]
    directory: Path
    rounds: int
    quick: bool

    def measure(self, metric: Metric, report: Callable[[str], None]) -> Results:
        """Run all rounds of a metric; a run that comes to no result is reported and left out."""
        results = Results(metric)
        for number, backend in self._turns(metric):
            try:
                values = backend.run(metric, self.directory, quick=self.quick)
            except RunError as error:
                report(f"{metric.name}, {backend.name}, round {number + 1}: {error}")
            else:
                results.rounds.setdefault(backend.name, {})[number] = values
        return results

    def _turns(self, metric: Metric) -> Iterator[tuple[int, Backend]]:
        """Each backend once a round, in another order every time."""
        taking_part = [backend for backend in self.backends if metric.workload(backend.name) is not None]
        for number in range(self.rounds):
            first = number % len(taking_part)
            for backend in taking_part[first:] + taking_part[:first]:
                yield number, backend
