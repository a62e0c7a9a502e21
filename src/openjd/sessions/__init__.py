"""Run Open Job Description jobs: the Session runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openjd.sessions import _types
from openjd.sessions._errors import (
    ActionError,
    BadCredentialsException,
    EnvironmentOrderError,
    InvalidStateError,
    KeeperError,
    SessionError,
    WorkspaceError,
    WrapConflictError,
)
from openjd.sessions._logging import LOG, LogContent
from openjd.sessions._path_mapping import PathFormat, PathMappingRule
from openjd.sessions._session import Session
from openjd.sessions._session_user import PosixSessionUser, SessionUser, WindowsSessionUser
from openjd.sessions._types import (
    ActionState,
    ActionStatus,
    ActionUsage,
    EnvironmentIdentifier,
    Parameter,
    SessionCallbackType,
    SessionState,
)
from openjd.sessions._version import __version__ as version

if TYPE_CHECKING:
    from openjd.model import ParameterValueType as ParameterType
    from openjd.model.v2023_09 import Environment as EnvironmentModel
    from openjd.model.v2023_09 import EnvironmentScript as EnvironmentScriptModel
    from openjd.model.v2023_09 import StepScript as StepScriptModel

    from openjd.sessions._runtime.action_future import ActionFuture
    from openjd.sessions._runtime.sweeping import sweep

__all__ = [
    "LOG",
    "ActionError",
    "ActionFuture",
    "ActionState",
    "ActionStatus",
    "ActionUsage",
    "BadCredentialsException",
    "EnvironmentIdentifier",
    "EnvironmentModel",
    "EnvironmentOrderError",
    "EnvironmentScriptModel",
    "InvalidStateError",
    "KeeperError",
    "LogContent",
    "Parameter",
    "ParameterType",
    "PathFormat",
    "PathMappingRule",
    "PosixSessionUser",
    "Session",
    "SessionCallbackType",
    "SessionError",
    "SessionState",
    "SessionUser",
    "StepScriptModel",
    "WindowsSessionUser",
    "WorkspaceError",
    "WrapConflictError",
    "sweep",
    "version",
]


_LATE = {
    "ActionFuture": "openjd.sessions._runtime.action_future",
    "sweep": "openjd.sessions._runtime.sweeping",
}


def __getattr__(name: str) -> Any:
    """Aliases of the model's types, and what needs the runtime: imported when they are first asked for."""
    from importlib import import_module

    return getattr(import_module(_LATE[name]) if name in _LATE else _types, name)
