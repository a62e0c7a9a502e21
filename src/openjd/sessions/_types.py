"""States, statuses and results: enums and frozen values.

The model's own types are only named here, never imported before somebody asks for them
(see ``__getattr__``), so that importing this package stays cheap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

if TYPE_CHECKING:
    from openjd.model import ParameterValue
    from openjd.model import ParameterValueType as ParameterType

_MODEL_ALIASES = {
    "ParameterType": ("openjd.model", "ParameterValueType"),
    "EnvironmentModel": ("openjd.model.v2023_09", "Environment"),
    "EnvironmentScriptModel": ("openjd.model.v2023_09", "EnvironmentScript"),
    "StepScriptModel": ("openjd.model.v2023_09", "StepScript"),
}


def __getattr__(name: str) -> Any:
    """Import an aliased model type when it is first asked for."""
    if name not in _MODEL_ALIASES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _MODEL_ALIASES[name]
    return getattr(import_module(module), attribute)


class SessionState(str, Enum):
    """What a Session can do next (Session specification: How Jobs Are Run, Sessions)."""

    READY = "ready"
    """An action may be started, or an environment be exited."""
    RUNNING = "running"
    """An action is running, or being set up; it may be canceled."""
    CANCELING = "canceling"
    """Never reported: a Session stays RUNNING until its canceled action has ended."""
    READY_ENDING = "ready_ending"
    """Only exits of environments and the clean-up remain."""
    ENDED = "ended"
    """The Session is over."""


class ActionState(str, Enum):
    """How an action is doing, or how it has ended."""

    RUNNING = "running"
    CANCELED = "canceled"
    TIMEOUT = "timeout"
    FAILED = "failed"
    SUCCESS = "success"


@dataclass(frozen=True)
class ActionUsage:
    """What an action used: its command and the descendants that were reaped with it."""

    wall_seconds: float
    """Seconds from the start of the process to its exit."""
    user_seconds: float
    """Seconds of processor time in user mode."""
    system_seconds: float
    """Seconds of processor time in the kernel."""
    peak_memory_bytes: int
    """Largest resident size of one process, in bytes; never below the few MB of the process that started it."""


@dataclass(frozen=True)
class ActionStatus:
    """The status of an action at one moment; a value that never changes.

    ``None`` in any field means "never reported".
    """

    state: ActionState
    progress: Optional[float] = None
    """Last accepted ``openjd_progress``, 0.0 to 100.0 (percent)."""
    status_message: Optional[str] = None
    """Last ``openjd_status``."""
    fail_message: Optional[str] = None
    """Last ``openjd_fail``, or why the action could not run."""
    exit_code: Optional[int] = None
    """Exit code of the process once it has exited; on POSIX the negative signal number if a signal ended it."""
    usage: Optional[ActionUsage] = field(default=None, compare=False)
    """What the action used, given with the final status where the system tells."""


@dataclass(frozen=True)
class Parameter:
    """One job or task parameter with its value, as in the first release of this library.

    Lists of these are accepted wherever a dictionary of ``openjd.model.ParameterValue`` is.
    """

    type: ParameterType
    name: str
    value: str


EnvironmentIdentifier = str
"""Identifies an entered environment within its Session."""

SessionCallbackType = Callable[[str, ActionStatus], None]
"""``callback(session_id, status)``: told of every change of an action's status."""

Parameters = Union[Mapping[str, "ParameterValue"], Iterable[Parameter], None]
"""Job or task parameters as a caller may give them."""
