"""From a job to what one session will do: its steps in order, their environments and their tasks.

Pure, and every plan can be pickled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Optional

from openjd.model import (
    Job,
    ParameterValue,
    ParameterValueType,
    Step,
    StepDependencyGraph,
    StepParameterSpaceIterator,
    TaskParameterSet,
)
from openjd.model.v2023_09 import Environment

from openjd.sessions._path_mapping import PathMappingRule


@dataclass(frozen=True)
class StepPlan:
    """One step with the tasks of it that will run."""

    step: Step
    chosen: Optional[tuple[TaskParameterSet, ...]] = None
    """These tasks only, in this order; ``None``: all of the step's parameter space."""

    def tasks(self) -> Iterator[TaskParameterSet]:
        """Give the parameters of each task, in the order in which they will run."""
        return iter(self._space if self.chosen is None else self.chosen)

    @property
    def task_count(self) -> int:
        return len(self._space if self.chosen is None else self.chosen)

    @property
    def environments(self) -> tuple[Environment, ...]:
        return tuple(self.step.stepEnvironments or ())

    @property
    def _space(self) -> StepParameterSpaceIterator:
        return StepParameterSpaceIterator(space=self.step.parameterSpace)


@dataclass(frozen=True)
class SessionPlan:
    """All that one session will do."""

    job_name: str
    steps: tuple[StepPlan, ...]
    environments: tuple[Environment, ...] = ()
    """The environments around all steps, the outermost first."""
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
    space = StepParameterSpaceIterator(space=step.parameterSpace)
    chosen = []
    for number, values in enumerate(wanted, start=1):
        if values.keys() != definitions.keys():
            raise ValueError(
                f"{_task(step, number)}: the step's parameters are {_names(definitions)}; "
                f"values were given for {_names(values)}."
            )
        task = {
            name: ParameterValue(type=ParameterValueType(definitions[name].type), value=value)
            for name, value in values.items()
        }
        try:
            space.validate_containment(task)
        except ValueError as error:
            raise ValueError(f"{_task(step, number)}: {error}") from error
        chosen.append(task)
    return tuple(chosen)


def _task(step: Step, number: int) -> str:
    return f"Task {number} of step {step.name!r}"


def _names(values: Mapping[str, object]) -> str:
    return ", ".join(values) if values else "none"
