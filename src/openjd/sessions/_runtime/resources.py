"""What a Session holds of this machine, and how it is given back."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Optional, Union

from openjd.sessions._core.action_events import CancelRequested
from openjd.sessions._core.redaction import Redactor
from openjd.sessions._errors import KeeperError, SessionError, WorkspaceError
from openjd.sessions._logging import LOG, LogContent, SessionLog, log_host_information
from openjd.sessions._runtime.delivery import Outbox
from openjd.sessions._runtime.loop import Loop, default_loop
from openjd.sessions._runtime.process_environment import own_variables
from openjd.sessions._runtime.sweeping import sweep_default_root
from openjd.sessions._runtime.workspace import Workspace
from openjd.sessions._session_user import SessionUser, group_of, other_user

if TYPE_CHECKING:
    from openjd.sessions._platform.protocol import Keeper
    from openjd.sessions._runtime.running_action import RunningAction

LEAVE_LIMIT = 40.0
"""Seconds that a keeper has to end what is left of a Session's processes."""


class SessionResources:
    """Directories, log, loop, outbox and keeper of one Session. Knows nothing of the Session itself."""

    def __init__(
        self,
        workspace: Workspace,
        log: SessionLog,
        redactor: Redactor,
        user: Optional[str],
        *,
        retains_directory: bool,
    ) -> None:
        self._user = user
        self.workspace = workspace
        self.log = log
        self.redactor = redactor
        self.retains_directory = retains_directory
        self.action: Optional[RunningAction] = None
        self._actions: weakref.WeakSet[RunningAction] = weakref.WeakSet()
        self._loop: Optional[Loop] = None
        self._outbox: Optional[Outbox] = None
        self._keeper: Optional[Keeper] = None

    def connect(self) -> tuple[Loop, Outbox]:
        """The loop and the outbox, from the first action on."""
        if self._outbox is None:
            self._loop = default_loop()
            self._loop.join(self)
            self._outbox = Outbox(self._loop.delivery)
        return self._connected_loop, self._outbox

    def begin(self, action: RunningAction) -> None:
        """An action has been accepted."""
        self.action = action
        self._actions.add(action)

    def keeper(self) -> Keeper:
        """The keeper; a new one if there is none, or the last one was lost.

        Raises:
            KeeperError: It could not be made.
        """
        if self._keeper is None or self._keeper.is_lost:
            self.log.flush()
            self._keeper = self._connected_loop.platform.open_keeper(self._user)
        return self._keeper

    def base_variables(self) -> Mapping[str, str]:
        """What processes start from: this program's environment, or another user's login (USER-9).

        Raises:
            KeeperError: Nothing can be run as that user.
        """
        return own_variables() if self._user is None else default_loop().platform.login_variables(self._user)

    @property
    def _connected_loop(self) -> Loop:
        if self._loop is None:
            raise SessionError("This Session has no action yet.")
        return self._loop

    def release(self, scope: str) -> None:
        """End what the actions of a scope have left behind; does not wait."""
        if self._loop is not None and self._keeper is not None:
            self._loop.post(partial(self._keeper.release, scope))

    def terminate(self) -> None:
        """End the running action at once; does not wait."""
        if self.action is not None:
            self.action.cancel(CancelRequested(at_once=True))

    def give_back(self, limit: float = LEAVE_LIMIT) -> list[tuple[Path, str]]:
        """End processes, delete the directory unless it is retained; gives what could not be deleted, and why.

        Args:
            limit: Seconds in which what is left of the processes has to be gone.
        """
        if self._loop is not None and self._keeper is not None:
            gone: SimpleQueue[None] = SimpleQueue()
            self._loop.post(partial(self._keeper.leave, partial(gone.put, None)))
            with suppress(Empty):
                gone.get(timeout=limit)
        for action in list(self._actions):
            if self._loop is not None:
                self._loop.post(action.close)
        if not self.retains_directory:
            self._remove_as_user(limit)
            return self.workspace.delete()
        self.workspace.release()
        return []

    def _remove_as_user(self, limit: float) -> None:
        """Have another user remove what it has made; where it can't, what is left is told by name (USER-16)."""
        if self._user is not None and self._loop is not None and self._keeper is not None:
            with suppress(KeeperError):
                self._loop.platform.remove_contents(self._user, str(self.workspace.directory), limit)

    def disconnect(self) -> None:
        """Let go of log, outbox and loop."""
        self.log.close()
        if self._outbox is not None:
            self._outbox.close()
        if self._loop is not None:
            self._loop.part(self)

    def drop(self) -> None:
        """Give everything back though nobody has asked for it; may be called by the garbage collector."""
        if self._loop is None:
            self._give_back_dropped()
        else:
            self._loop.post(self._end_dropped)

    def _end_dropped(self) -> None:
        """On the loop's thread: terminate what runs, and give everything back once it has ended."""
        self.terminate()
        if self.action is not None:
            self.action.future.add_done_callback(
                lambda _: self._connected_loop.delivery.schedule(self._give_back_dropped)
            )

    def _give_back_dropped(self) -> None:
        self.give_back()
        self.disconnect()

    def forget(self) -> None:
        """This is a forked child: close our copies of descriptors, and touch nothing."""
        self.workspace.close()
        for action in list(self._actions):
            action.forget()
        self.action = None


def open_resources(
    session_id: str, root: Union[Path, str, None], user: Optional[SessionUser], *, retains_directory: bool
) -> SessionResources:
    """Make the directories of a Session and its log, and say so there.

    Raises:
        ValueError: It is not a user of this kind of system.
        KeeperError: Nothing can be run as this user.
        WorkspaceError: The directories cannot be made; nothing is left behind (LC-1).
    """
    group, other = group_of(user), other_user(user)
    if other is not None:
        default_loop().platform.login_variables(other)
    try:
        workspace = Workspace.create(root, group, other)
    except WorkspaceError as error:
        content = LogContent.COMMAND_OUTPUT | LogContent.FILE_PATH
        extra = {"session_id": session_id, "openjd_log_content": content}
        LOG.error(f"ERROR creating Session Working Directory: {error}", extra=extra)
        raise
    if retains_directory:
        workspace.disown()
    if root is None:
        sweep_default_root()
    redactor = Redactor()
    log = SessionLog(session_id, redactor.redact)
    log.hold()
    log_host_information(log)
    log.info(f"Initializing Open Job Description Session: {session_id}")
    directories = (
        f"Session Working Directory: {workspace.path}",
        f"Session's Embedded Files Directory: {workspace.files.path}",
    )
    log.info_lines(directories, LogContent.FILE_PATH)
    for warning in workspace.warnings:
        log.warning(warning, LogContent.HOST_INFO | LogContent.FILE_PATH)
    log.release()
    return SessionResources(workspace, log, redactor, other, retains_directory=retains_directory)
