"""Every exception that this package raises, and those it uses inside to end an action that has no process.

Misuse raises; misfortune is a status. A call in the wrong state or order, or with a wrong value, raises at once
and changes nothing. Whatever goes wrong with a user's action ends that action as FAILED instead.
"""

from __future__ import annotations

from openjd.sessions._types import ActionStatus, SessionState


class SessionError(RuntimeError):
    """Base of the errors of a Session."""


class InvalidStateError(SessionError):
    """A method was called in a state that does not allow it (rule LC-2)."""

    def __init__(self, call: str, state: SessionState, allowed: str) -> None:
        self.call = call
        self.state = state
        super().__init__(f"{call} needs a Session that is {allowed}; this one is {state.name}.")


class EnvironmentOrderError(SessionError):
    """An environment was entered twice, or exited out of order (rules ENV-1 and ENV-8)."""

    def __init__(self, identifier: str, reason: str) -> None:
        self.identifier = identifier
        super().__init__(f"Environment {identifier!r} {reason}")


class WrapConflictError(SessionError):
    """A second environment with wrap hooks would be entered (rules ENV-3 and WRAP-2)."""

    def __init__(self, name: str, entered: str) -> None:
        self.name = name
        self.entered = entered
        super().__init__(
            f"Environment {name!r} defines wrap hooks, and so does {entered!r}, which is still entered. "
            "At most one environment of a Session may define them; exit the other one first."
        )


class WorkspaceError(SessionError):
    """A directory or file of the Session cannot be made or trusted."""


class KeeperError(SessionError):
    """The helper processes that start and keep a Session's processes could not do their work."""


class ActionError(SessionError):
    """An action that had to succeed did not."""

    def __init__(self, status: ActionStatus, what: str = "The action") -> None:
        self.status = status
        detail = f": {status.fail_message}" if status.fail_message else ""
        code = f" (exit code {status.exit_code})" if status.exit_code is not None else ""
        super().__init__(f"{what} ended {status.state.name}{code}{detail}")


class BadCredentialsException(Exception):
    """A user's logon was refused."""


class ActionFailed(Exception):
    """Internal: the action cannot run; its text becomes the ``fail_message``."""


class ActionCanceled(Exception):
    """Internal: the action was canceled while it was prepared; it needs no process any more."""
