"""``session.environment(...)``: an environment that is entered and exited with a block of code."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Callable, Optional

from openjd.sessions._errors import ActionError, InvalidStateError
from openjd.sessions._types import ActionState, ActionStatus, SessionState

if TYPE_CHECKING:
    from openjd.sessions._runtime.session_view import SessionView


class EnvironmentContext:
    """Enters an environment, gives its identifier to the block, and exits it at the end of the block.

    Raises:
        ActionError: Entering did not succeed (it has been exited then), or exiting did not and the block did not raise.
    """

    def __init__(
        self,
        session: SessionView,
        name: str,
        enter: Callable[[], str],
        exit_: Callable[..., None],
        cancel: Callable[[], None],
    ) -> None:
        self._session = session
        self._name = name
        self._enter = enter
        self._exit = exit_
        self._cancel = cancel
        self._identifier = ""

    # -- blocking

    def __enter__(self) -> str:
        self._identifier = self._enter()
        try:
            status = self._session.wait()
            self._check(status, "Entering")
        except BaseException:
            self._leave()
            raise
        return self._identifier

    def __exit__(
        self, kind: Optional[type[BaseException]], _: Optional[BaseException], __: Optional[TracebackType]
    ) -> None:
        status = self._leave()
        if kind is None:
            self._check(status, "Exiting")

    def _leave(self) -> Optional[ActionStatus]:
        """Cancel what still runs, and exit the environment; the exit's status, or None if it had been exited."""
        self._cancel_running()
        self._session.wait()
        status = None
        while self._begin_exit():
            status = self._session.wait()
        return status

    # -- asyncio

    async def __aenter__(self) -> str:
        self._identifier = self._enter()
        try:
            self._check(await self._session.future, "Entering")
        except BaseException:
            await self._leave_async()
            raise
        return self._identifier

    async def __aexit__(
        self, kind: Optional[type[BaseException]], _: Optional[BaseException], __: Optional[TracebackType]
    ) -> None:
        status = await self._leave_async()
        if kind is None:
            self._check(status, "Exiting")

    async def _leave_async(self) -> Optional[ActionStatus]:
        self._cancel_running()
        await self._session.future
        status = None
        while self._begin_exit():
            status = await self._session.future
        return status

    # -- both

    def _cancel_running(self) -> None:
        if self._session.state is SessionState.RUNNING:
            try:
                self._cancel()
            except InvalidStateError:  # it has just ended
                return

    def _begin_exit(self) -> bool:
        """Begin to exit the innermost environment: this one, or before it one that the block has left entered.

        False if the block has exited this one itself, or the Session is over.
        """
        entered = self._session.environments_entered
        if self._session.state is SessionState.ENDED or self._identifier not in entered:
            return False
        self._exit(identifier=entered[-1])
        return True

    def _check(self, status: Optional[ActionStatus], doing: str) -> None:
        if status is not None and status.state is not ActionState.SUCCESS:
            raise ActionError(status, f"{doing} the environment {self._name!r}")
