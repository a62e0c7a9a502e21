"""Names and values that clients rely on: API-1, API-4, API-5, API §1 to §3, §16 and §16a."""

from __future__ import annotations

import pickle
from dataclasses import fields
from enum import Enum

import pytest

import openjd.sessions
from openjd.sessions import ActionError, ActionState, ActionStatus, ActionUsage, PathFormat, SessionError, SessionState
from openjd.sessions._embedded_files import EmbeddedFilesScope


def test_private_names_are_the_public_ones() -> None:
    """API §16: where clients import them from."""
    from openjd.sessions import _session_user, _types

    assert _types.ActionState is openjd.sessions.ActionState
    assert _session_user.PosixSessionUser is openjd.sessions.PosixSessionUser
    assert callable(openjd.sessions.WindowsSessionUser._validate_username_password)
    assert {scope.name for scope in EmbeddedFilesScope} == {"STEP", "ENV"}


def test_names_that_are_exported() -> None:
    """API §1 and §16a: and nothing else."""
    expected = """
        ActionError ActionFuture ActionState ActionStatus ActionUsage BadCredentialsException EnvironmentIdentifier
        EnvironmentModel EnvironmentOrderError EnvironmentScriptModel InvalidStateError KeeperError LOG LogContent
        Parameter ParameterType PathFormat PathMappingRule PosixSessionUser Session SessionCallbackType SessionError
        SessionState SessionUser StepScriptModel WindowsSessionUser WorkspaceError WrapConflictError sweep version
    """
    assert sorted(openjd.sessions.__all__) == sorted(expected.split())
    assert len(openjd.sessions.version.split(".")) >= 3


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (ActionState, ("running", "canceled", "timeout", "failed", "success")),
        (SessionState, ("ready", "running", "canceling", "ready_ending", "ended")),
        (PathFormat, ("POSIX", "WINDOWS", "URI")),
    ],
)
def test_enumerations(kind: type[Enum], values: tuple[str, ...]) -> None:
    """API-5, API §2: they are texts, whose names are their values in capitals."""
    assert issubclass(kind, str)
    assert [(member.name, member.value) for member in kind] == [(value.upper(), value) for value in values]
    assert "running" in ActionState.RUNNING


def test_status() -> None:
    """API-4, API §3: frozen, all but the state optional, fields in this order, usage beside the point."""
    assert [field.name for field in fields(ActionStatus)] == [
        *("state", "progress", "status_message", "fail_message", "exit_code", "usage"),
    ]
    bare = ActionStatus(ActionState.RUNNING)
    assert bare == ActionStatus(ActionState.RUNNING, None, None, None, None)
    usage = ActionUsage(wall_seconds=1.0, user_seconds=0.5, system_seconds=0.1, peak_memory_bytes=1)
    full = ActionStatus(ActionState.FAILED, 5.0, "s", "f", 3, usage)
    assert full == ActionStatus(
        state=ActionState.FAILED, progress=5.0, status_message="s", fail_message="f", exit_code=3
    )
    assert pickle.loads(pickle.dumps(full)) == full
    with pytest.raises(AttributeError):
        bare.state = ActionState.FAILED  # type: ignore[misc]


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (ActionStatus(ActionState.FAILED, exit_code=3), "The action ended FAILED (exit code 3)"),
        (ActionStatus(ActionState.FAILED, fail_message="why"), "The action ended FAILED: why"),
        (ActionStatus(ActionState.CANCELED, None, None, "why", -9), "The action ended CANCELED (exit code -9): why"),
    ],
)
def test_error_of_an_action(status: ActionStatus, text: str) -> None:
    """API §16a: with its status."""
    error = ActionError(status)
    assert (str(error), error.status) == (text, status)
    assert isinstance(error, SessionError)


def test_errors_are_runtime_errors() -> None:
    """API §16a: where clients expect a RuntimeError."""
    for name in ("InvalidStateError", "EnvironmentOrderError", "WrapConflictError", "WorkspaceError", "KeeperError"):
        assert issubclass(getattr(openjd.sessions, name), SessionError)
    assert issubclass(SessionError, RuntimeError)
    assert openjd.sessions.BadCredentialsException.__bases__ == (Exception,)
