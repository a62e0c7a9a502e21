"""From a job to what one session will do: its steps in order, their environments and their tasks.

Pure, and every plan can be pickled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional

from openjd.model import (
    Job,
    ParameterValue,
    ParameterValueType,
    Step,
    StepDependencyGraph,
    StepParameterSpaceIterator,
    TaskParameterSet,
)
from openjd.model.v2023_09 import (
    Environment,
    StepParameterSpace,
    TaskChunksDefinition,
    TaskChunksRangeConstraint,
    TaskParameterType,
)

from openjd.sessions._path_mapping import PathMappingRule
from openjd.sessions.jobs.chunks import ChunkSize, Clock, adapted_chunks, task_count

if TYPE_CHECKING:
    from openjd.expr import SerializedSymbolTable

_NUMBER = re.compile(r"-?[0-9]+")
_INTERVAL = re.compile(r"-?[0-9]+--?[0-9]+")


@dataclass(frozen=True)
class StepPlan:
    """One step with the tasks of it that will run."""

    step: Step
    chosen: Optional[tuple[TaskParameterSet, ...]] = None
    """These tasks only, in this order; ``None``: all of the step's parameter space."""
    symbols: Optional[SerializedSymbolTable] = None
    """What was resolved when the job was made, for the step and its environments; only with EXPR."""

    def tasks(self, clock: Clock) -> Iterator[TaskParameterSet]:
        """Give the parameters of each task or chunk, in the order in which they will run.

        Where the step aims for a run time, each chunk is cut when it is asked for: its size follows from the time that
        passed, by the clock, between the chunks before it.
        """
        if self.chosen is not None:
            return iter(self.chosen)
        space = task_space(self.step)
        size = _adapted_size(self.step)
        return space if size is None else adapted_chunks(space, size, clock)

    @property
    def task_count(self) -> int:
        """How many tasks will run; those of a chunk count one by one."""
        if self.chosen is not None:
            return sum(map(task_count, self.chosen))
        return len(StepParameterSpaceIterator(space=_space_without_chunks(self.step)))

    @property
    def environments(self) -> tuple[Environment, ...]:
        return tuple(self.step.stepEnvironments or ())


def task_space(step: Step) -> StepParameterSpaceIterator:
    """Give the tasks of a step, or its chunks in their default size."""
    return StepParameterSpaceIterator(space=step.parameterSpace)


def _adapted_size(step: Step) -> Optional[ChunkSize]:
    """Give the size of the first chunk, to be adapted to a run time; ``None`` if the step aims for none."""
    chunked = _chunked_parameter(step)
    if chunked is None:
        return None
    _, chunks = chunked
    seconds = int(chunks.targetRuntimeSeconds or 0)
    return ChunkSize(int(chunks.defaultTaskCount), seconds) if seconds else None


def _chunked_parameter(step: Step) -> Optional[tuple[str, TaskChunksDefinition]]:
    """Give the parameter of the step that is chunked, which is one at most, and how it is."""
    definitions = step.parameterSpace.taskParameterDefinitions if step.parameterSpace else {}
    return next(((name, each.chunks) for name, each in definitions.items() if each.chunks), None)


def _space_without_chunks(step: Step) -> Optional[StepParameterSpace]:
    """Give the parameter space of a step as if it had no chunks; those the model can count only by making them all."""
    space, chunked = step.parameterSpace, _chunked_parameter(step)
    if space is None or chunked is None:
        return space
    definitions = dict(space.taskParameterDefinitions)
    definitions[chunked[0]] = definitions[chunked[0]].model_copy(update={"type": TaskParameterType.INT, "chunks": None})
    return space.model_copy(update={"taskParameterDefinitions": definitions})


@dataclass(frozen=True)
class SessionPlan:
    """All that one session will do."""

    job_name: str
    steps: tuple[StepPlan, ...]
    environments: tuple[Environment, ...] = ()
    """The environments around all steps, the outermost first."""
    symbols: Optional[SerializedSymbolTable] = None
    """What was resolved when the job was made, for these environments; only with EXPR."""
    job_parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    path_mapping_rules: tuple[PathMappingRule, ...] = ()
    extensions: frozenset[str] = frozenset()
    """The extensions that the job's templates use."""
    retain_working_dir: bool = False


def select_steps(job: Job, only: Optional[str] = None, *, with_dependencies: bool = False) -> list[Step]:
    """Give the steps of a job in the order of their dependencies.

    Args:
        job: The job.
        only: The name of the only step wanted; ``None``: all.
        with_dependencies: Whether the steps that it depends on, directly or not, are wanted too.

    Raises:
        ValueError: If the job has no such step.
    """
    graph = StepDependencyGraph(job=job)
    if only is None:
        return graph.topo_sorted()
    if only not in (step.name for step in job.steps):
        known = ", ".join(repr(step.name) for step in job.steps)
        raise ValueError(f"The job has no step {only!r}. Its steps are: {known}.")
    wanted = _with_dependencies(graph, only) if with_dependencies else {only}
    return [step for step in graph.topo_sorted() if step.name in wanted]


def _with_dependencies(graph: StepDependencyGraph, name: str) -> set[str]:
    found: set[str] = set()
    pending = [name]
    while pending:
        current = pending.pop()
        if current not in found:
            found.add(current)
            pending += [edge.origin.step.name for edge in graph.step_node(stepname=current).in_edges]
    return found


def choose_tasks(step: Step, wanted: Iterable[Mapping[str, str]]) -> tuple[TaskParameterSet, ...]:
    """Give the tasks of a step that have the wanted parameter values.

    Raises:
        ValueError: If one of them is not a task of the step; the message says which, and why.
    """
    definitions = step.parameterSpace.taskParameterDefinitions if step.parameterSpace else {}
    space = task_space(step)
    chosen = []
    for number, values in enumerate(wanted, start=1):
        if values.keys() != definitions.keys():
            raise ValueError(
                f"{_task(step, number)}: the step's parameters are {_names(definitions)}; "
                f"values were given for {_names(values)}."
            )
        try:
            task = {
                name: ParameterValue(
                    type=ParameterValueType(definitions[name].type), value=_chunk(definitions[name].chunks, name, value)
                )
                for name, value in values.items()
            }
            space.validate_containment(task)
        except ValueError as error:
            raise ValueError(f"{_task(step, number)}: {error}") from error
        chosen.append(task)
    return tuple(chosen)


def _chunk(chunks: Optional[TaskChunksDefinition], name: str, value: str) -> str:
    """Give a value as a chunk has it: if it is contiguous, its first and last value, also of one.

    Refuses what the model takes for contiguous because it begins so (2023-09 §3.4.1.5).
    """
    if chunks is None or chunks.rangeConstraint is not TaskChunksRangeConstraint.CONTIGUOUS:
        return value
    if _NUMBER.fullmatch(value):
        return f"{value}-{value}"
    if not _INTERVAL.fullmatch(value):
        raise ValueError(f"{name}={value} is no contiguous chunk; give its first and last value, as in 1-5, or one.")
    return value


def _task(step: Step, number: int) -> str:
    return f"Task {number} of step {step.name!r}"


def _names(values: Mapping[str, object]) -> str:
    return ", ".join(values) if values else "none"
