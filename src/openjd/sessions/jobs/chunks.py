"""Chunks: how many tasks one holds, and how many the next one of a step should hold to run as long as is aimed for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

from openjd.model import IntRangeExpr, ParameterValueType, StepParameterSpaceIterator, TaskParameterSet

Clock = Callable[[], float]
"""Gives a time in seconds that never goes back."""

_GROWTH = 4
_MEMORY = 0.5


class ChunkSize:
    """How many tasks the next chunk should hold, by what the chunks before it took (2023-09 §3.4.1.5).

    A later chunk counts more than an earlier one, and a large one more than a small one. What a chunk needs to begin
    with, to load a scene for instance, is part of the time of its tasks; larger chunks make their tasks shorter, until
    size and time agree. The size grows to four times itself at most, because nothing is known of the tasks ahead.
    """

    def __init__(self, first: int, target_seconds: float) -> None:
        self.tasks = first
        self._target_seconds = target_seconds
        self._measured_tasks = 0.0
        self._measured_seconds = 0.0

    def measure(self, tasks: int, seconds: float) -> None:
        """Take into account that a chunk of so many tasks took so long."""
        self._measured_tasks = self._measured_tasks * _MEMORY + tasks
        self._measured_seconds = self._measured_seconds * _MEMORY + seconds
        largest = self.tasks * _GROWTH
        if largest * self._measured_seconds <= self._target_seconds * self._measured_tasks:
            self.tasks = largest
        else:
            self.tasks = max(1, round(self._target_seconds * self._measured_tasks / self._measured_seconds))


def adapted_chunks(space: StepParameterSpaceIterator, size: ChunkSize, clock: Clock) -> Iterator[TaskParameterSet]:
    """Give the chunks of a space one by one; the time until the next one is asked for is what the last one took."""
    for parameters in space:
        started = clock()
        yield parameters
        size.measure(task_count(parameters), clock() - started)
        space.chunks_default_task_count = size.tasks


def task_count(parameters: TaskParameterSet) -> int:
    """Give the number of tasks that run as one: more than one if they are a chunk."""
    chunks = [each.value for each in parameters.values() if each.type is ParameterValueType.CHUNK_INT]
    return len(IntRangeExpr.from_str(chunks[0])) if chunks else 1
