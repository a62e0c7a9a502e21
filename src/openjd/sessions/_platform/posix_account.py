"""One account that processes run as: its launcher, started at first need, and what that is asked for."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from importlib import resources
from typing import Callable, Optional, TypeVar

from openjd.sessions._errors import KeeperError
from openjd.sessions._platform.posix_link import ANSWER_LIMIT, LauncherLink, is_readable, kill
from openjd.sessions._platform.posix_login import LOGIN_LIMIT, LoginError
from openjd.sessions._platform.posix_sweep import SWEEP_LIMIT, end_marked

_SILENCE_LIMIT = 5.0
"""Seconds in which the launcher of another user has to answer, before there is another login."""

_Answer = TypeVar("_Answer")


class PosixAccount:
    """The account of a user; that of the program itself if none is named.

    What a launcher of another user answers is not trusted: no number from there is ever signalled by this program.
    """

    def __init__(self, user: Optional[str]) -> None:
        self._user = user
        self.is_another = user is not None
        """Whether what comes from there is not to be trusted."""
        self._lock = threading.Lock()
        self._launcher: Optional[LauncherLink] = None
        self._failure: Optional[KeeperError] = None
        """Why the last launcher could not be started, and when that was found out."""
        self._failed_at = -math.inf

    def ask_for_keeper(self) -> tuple[int, int]:
        """Give the id of a new keeper, and our end of its socket.

        Raises:
            KeeperError: It could not be made.
        """
        return self._ask(LauncherLink.ask_for_keeper)

    def login_variables(self) -> dict[str, str]:
        """What a login has set, as the launcher found it.

        Raises:
            KeeperError: Nothing can be run as this user.
        """
        return self._ask(lambda launcher: launcher.login_variables)

    def remove_contents(self, directory: str, limit: float) -> None:
        """Remove, as this user, what this user may remove in a directory of the program's; gives up after some seconds.

        Raises:
            KeeperError: Nothing can be run as this user.
        """
        self._run("removal", directory, str(os.geteuid()), limit=limit)

    def end_silent(self, pidfd: Optional[int], mark: bytes) -> None:
        """Kill a keeper that does not answer, and what bears its mark; takes the descriptor over."""
        if self._user is None:
            kill(pidfd)
        elif pidfd is not None:
            with contextlib.suppress(KeeperError):
                self._ask(lambda launcher: launcher.end(os.dup(pidfd)))
        self.end_marked(mark)
        if pidfd is not None:
            os.close(pidfd)

    def end_marked(self, mark: bytes) -> None:
        """Kill every process whose mark begins like this."""
        if self._user is None:
            end_marked(mark)
        else:
            with contextlib.suppress(KeeperError):
                self._run("posix_sweep", os.fsdecode(mark), limit=SWEEP_LIMIT)

    def forget(self) -> None:
        """Close our ends: this is a forked child, or the end."""
        if self._launcher is not None:
            pidfd = self._launcher.close()
            self._launcher = None
            if pidfd is not None:
                os.close(pidfd)
        self._lock = threading.Lock()

    def _run(self, module: str, *arguments: str, limit: float) -> None:
        """Have a module be run as this user, and wait until it is done, or for some seconds."""
        program = resources.files(__package__).joinpath(f"{module}.py").read_text(encoding="utf-8")
        descriptor = self._ask(lambda launcher: launcher.run(program, *arguments))
        try:
            is_readable(descriptor, time.monotonic() + limit)
        finally:
            os.close(descriptor)

    def _ask(self, question: Callable[[LauncherLink], _Answer]) -> _Answer:
        """Ask the launcher; one that has gone, or does not answer as it should any more, is replaced."""
        began = time.monotonic()
        with self._lock:
            if self._failure is not None and self._failed_at > began:  # this call has waited for that, too
                raise _once_more(self._failure)
            try:
                return self._answer(question)
            except (OSError, ValueError) as error:
                raise KeeperError(f"The launcher of {self._whose} failed: {error}") from error

    def _answer(self, question: Callable[[LauncherLink], _Answer]) -> _Answer:
        """The launcher's answer. Another user's has less time, so that a login in its place still has enough."""
        began = time.monotonic()
        if self._launcher is not None:
            self._launcher.deadline = math.inf if self._user is None else began + _SILENCE_LIMIT
            with contextlib.suppress(OSError, ValueError):
                return question(self._launcher)
        deadline = time.monotonic() + ANSWER_LIMIT if self._user is None else began + LOGIN_LIMIT
        try:
            launcher = self._new_launcher(deadline)
        except KeeperError as error:
            self._failure, self._failed_at = _once_more(error), time.monotonic()
            raise
        return question(launcher)

    def _new_launcher(self, deadline: float) -> LauncherLink:
        """Start one; end what is left of the last one."""
        old, self._launcher = self._launcher, None
        pidfd = old.close() if old is not None else None
        try:
            if self._user is None:
                kill(pidfd)
            self._launcher = launcher = LauncherLink.start(self._user, deadline)
            if self._user is not None and pidfd is not None:
                launcher.end(os.dup(pidfd))
        finally:
            if pidfd is not None:
                os.close(pidfd)
        return launcher

    @property
    def _whose(self) -> str:
        return "this program's processes" if self._user is None else f"processes of the user {self._user!r}"


def _once_more(error: KeeperError) -> KeeperError:
    """The same error, for another thread, without what the first one holds of its calls."""
    return LoginError(error.problem, error.remedy) if isinstance(error, LoginError) else KeeperError(str(error))
