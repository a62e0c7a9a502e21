"""The final status of an action, to wait for."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from openjd.sessions._types import ActionStatus

if TYPE_CHECKING:
    from collections.abc import Generator


class ActionFuture(Future[ActionStatus]):
    """The final status of an action, to wait for from a thread or to await in any asyncio loop.

    Its result is never an exception. Cancelling who waits cancels neither the future nor the action.
    """

    def __init__(self) -> None:
        super().__init__()
        self.set_running_or_notify_cancel()

    def __await__(self) -> Generator[Any, None, ActionStatus]:
        import asyncio

        return asyncio.wrap_future(self).__await__()
