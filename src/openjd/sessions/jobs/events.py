"""What the run of a session plan tells its observer: frozen values that can be sent to another process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Optional, Union

from openjd.sessions._types import ActionStatus

if TYPE_CHECKING:
    from openjd.model import TaskParameterSet


@dataclass(frozen=True)
class SessionStarted:
    """The session is there, and nothing has run in it."""

    session_id: str
    job_name: str
    working_directory: Path


@dataclass(frozen=True)
class StepStarted:
    """The first environment or task of a step is next."""

    step_name: str
    task_count: int
    """The tasks that will run; those of a chunk count one by one."""


@dataclass(frozen=True)
class ActionStarted:
    """An action is being started."""

    action: str
    """What it does, for people: ``Run step 'Render' with Frame=7``."""


@dataclass(frozen=True)
class ActionUpdated:
    """The running action has told its progress, a status or a failure message."""

    status: ActionStatus


@dataclass(frozen=True)
class TaskEnded:
    """A task, or a chunk of tasks, has ended, in whatever way."""

    step_name: str
    parameters: TaskParameterSet
    task_count: int
    """More than one for a chunk."""
    status: ActionStatus


@dataclass(frozen=True)
class Failure:
    """An action that ended otherwise than in success."""

    action: str
    status: ActionStatus


@dataclass(frozen=True)
class SessionResult:
    """How the run of a plan went."""

    job_name: str
    working_directory: Path
    duration: float
    """Seconds from the creation of the session to the end of its last action."""
    tasks_succeeded: int
    """Those of a chunk count one by one."""
    chunks_succeeded: int
    """A task that is in no chunk counts as one."""
    failure: Optional[Failure] = None
    """The first action that did not succeed."""
    was_interrupted: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether everything that was planned has run, and succeeded."""
        return self.failure is None and not self.was_interrupted


@dataclass(frozen=True)
class SessionEnded:
    """Every environment has been exited; the clean-up of the session is next."""

    result: SessionResult


Event = Union[SessionStarted, StepStarted, ActionStarted, ActionUpdated, TaskEnded, SessionEnded]
Report = Callable[[Event], None]
"""Told of every event, on the thread that drives the session or, for updates, on the one that delivers them."""
