"""What a Session tells about itself: its state, its directories, its environments, and how its action is doing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Optional

from openjd.sessions._errors import SessionError
from openjd.sessions._types import ActionStatus, EnvironmentIdentifier, SessionState

if TYPE_CHECKING:
    from openjd.sessions._runtime.action_future import ActionFuture
    from openjd.sessions._runtime.resources import SessionResources
    from openjd.sessions._runtime.session_actions import SessionActions


class SessionView:
    """The part of a Session that only looks. All of it may be used from any thread and in any state."""

    _optional_actions: Optional[SessionActions] = None  # until the constructor has succeeded
    _resources: SessionResources
    _extensions: list[str]

    @property
    def state(self) -> SessionState:
        """What can be done now; never CANCELING (rule LC-5)."""
        actions = self._optional_actions
        return actions.lifecycle.state if actions is not None else SessionState.ENDED

    @property
    def action_status(self) -> Optional[ActionStatus]:
        """Status of the running or the last action; ``None`` before the first."""
        return self._actions.status

    @property
    def working_directory(self) -> Path:
        """The working directory of all actions."""
        return self._resources.workspace.directory

    @property
    def files_directory(self) -> Path:
        """The directory of embedded files, in the working directory."""
        return self._resources.workspace.files_directory

    @property
    def environments_entered(self) -> tuple[EnvironmentIdentifier, ...]:
        """Identifiers of the entered environments, outermost first, also of those whose entering failed."""
        return self._actions.stack.identifiers

    def get_enabled_extensions(self) -> list[str]:
        """Names of the extensions given as ``revision_extensions`` (rule EXT-1)."""
        return list(self._extensions)

    @property
    def future(self) -> ActionFuture:
        """The future of the running or the last action: its result is the final status; it can be awaited.

        Raises:
            RuntimeError: There has been no action yet.
        """
        action = self._actions.current
        if action is None:
            raise SessionError("There has been no action in this Session yet.")
        return action.future

    def wait(self, timeout: Optional[float] = None) -> Optional[ActionStatus]:
        """Wait until the running action has ended and its final call has been made.

        Callable from a callback, too.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            The final status of the running or the last action; ``None`` before the first.

        Raises:
            TimeoutError: The action has not ended in time; nothing else has changed.
        """
        return self._actions.wait(timeout)

    @property
    def _actions(self) -> SessionActions:
        if self._optional_actions is None:
            raise SessionError("This Session could not be constructed.")
        return self._optional_actions
