"""One thing done again and again."""

from __future__ import annotations

from statistics import median
from typing import Callable

from bench.metric import Values
from bench.processes import Stopwatch

WARM_UP = 5


def repeated(run: Callable[[], float], count: int) -> Values:
    """The median of the seconds that it tells, and its own processor time, both in ms."""
    for _ in range(WARM_UP):
        run()
    watch = Stopwatch()
    seconds = [run() for _ in range(count)]
    return {"time": median(seconds) * 1000, "processor": watch.processor_seconds() / count * 1000}
