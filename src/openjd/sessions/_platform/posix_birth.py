"""From an interpreter's start to its greeting, which is found in whatever else is printed before."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Optional

from openjd.sessions._platform.posix_login import NO_SOCKET, end_login, reap, start_login, why_no_greeting
from openjd.sessions._platform.posix_wire import close_elsewhere, receive_all

OLDEST_PYTHON = (3, 9)
"""The version of Python that launcher and keepers need."""

_GREETING = b"\0openjd.sessions "
"""What an interpreter says first. Its command line spells the NUL, so that a shell's echo of that is no greeting."""
_GREETING_LENGTH = len(_GREETING) + 8
_KEPT = 2000
_LOOK_EVERY = 0.05
_END_LIMIT = 1.0

# Greets on the first standard stream that is a socket, then runs the program that comes back there: its length in 16
# digits, and its text.
_BOOTSTRAP = (
    f"import os,stat,sys;n=[n for n in(0,1,2)if stat.S_ISSOCK(os.fstat(n).st_mode)]or sys.exit({NO_SOCKET});"
    "os.dup2(n[0],0);os.write(0,b'\\0openjd.sessions '+b'%4d%4d'%sys.version_info[:2]);f=open(0,'rb',closefd=False);"
    "exec(compile(f.read(int(f.read(16))),'launcher','exec'))"
)


class Birth:
    """An interpreter that is being started, until the launcher runs in it or that has failed."""

    def __init__(self, python: str, user: Optional[str], deadline: float) -> None:
        title = f"openjd.sessions launcher of process {os.getpid()}"
        command = [python, "-I", "-S", "-c", _BOOTSTRAP, title]
        self.user = user
        self._printed = b""
        self._amount = 0
        self._seconds = deadline - time.monotonic()
        pairs = [socket.socketpair() for _ in range(1 if user is None else 2)]
        self._ends = [ours for ours, _ in pairs]
        theirs = [end for _, end in pairs]
        try:
            self._child = (
                _start(command, theirs[0])
                if user is None
                else start_login(user, command, theirs[0], theirs[1], deadline)
            )
        except BaseException:
            self._close()
            raise
        finally:
            for end in theirs:
                end.close()

    def wait_for_greeting(self, deadline: float) -> socket.socket:
        """The socket that the interpreter has greeted on.

        Raises:
            OSError, ValueError: Another interpreter may do better.
            LoginError: None will.
        """
        received = dict.fromkeys(self._ends, b"")
        while True:
            status = self._child.poll()  # before what it has printed is read
            now = time.monotonic()
            ready = _readable(received, 0 if status is not None else min(_LOOK_EVERY, deadline - now))
            for end in ready:
                data, descriptors = receive_all(end)
                close_elsewhere(descriptors)
                self._note(data, is_talk=end is not self._ends[0])
                _, greeting, version = (received[end] + data).partition(_GREETING)
                if len(greeting + version) >= _GREETING_LENGTH:
                    _check_version(version[:8])
                    return end
                received[end] = (received[end] + data)[-_KEPT:]
                if not data:
                    del received[end]
            if not received or (status is not None and not ready) or now >= deadline:
                raise self._why_not(min(_END_LIMIT, deadline - now) if not received else 0)

    def _note(self, data: bytes, *, is_talk: bool) -> None:
        self._amount += len(data)
        if is_talk:
            self._printed = (self._printed + data)[-_KEPT:]

    def _why_not(self, patience: float) -> Exception:
        status: Optional[int] = None
        with suppress(subprocess.TimeoutExpired):
            status = self._child.wait(max(0.0, patience))
        if self.user is not None:
            return why_no_greeting(self.user, status, self._printed, self._amount, self._seconds)
        return TimeoutError("it did not greet in time") if status is None else ValueError("it ended at once")

    def succeed(self, connection: socket.socket) -> None:
        """The launcher has forked and detached itself: let go of all but its connection."""
        self._ends.remove(connection)
        self._close()
        if self.user is None:
            self._see_its_end()
        else:
            reap(self._child)

    def fail(self) -> None:
        """End what has been started."""
        self._close()
        if self.user is None:
            self._child.kill()
            self._see_its_end()
        else:
            end_login(self.user, self._child)

    def _see_its_end(self) -> None:
        with suppress(subprocess.TimeoutExpired):  # Ctrl-C in the midst of ``poll`` leaves taken the lock of ``wait``
            self._child.wait(_END_LIMIT)

    def _close(self) -> None:
        if self.user is None:
            for end in self._ends:
                end.close()
        else:
            close_elsewhere([end.detach() for end in self._ends])


def _start(command: list[str], connection: socket.socket) -> subprocess.Popen[bytes]:
    """Start it as our own user."""
    return subprocess.Popen(
        command,
        stdin=connection.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C at the terminal is not for it, from its first moment on
    )


def _check_version(digits: bytes) -> None:
    version = int(digits[:4]), int(digits[4:])
    if version < OLDEST_PYTHON:
        raise ValueError(f"version {version[0]}.{version[1]}")


def _readable(ends: Iterable[socket.socket], seconds: float) -> list[socket.socket]:
    """Those of the sockets that have something to read, or have ended."""
    by_number = {end.fileno(): end for end in ends}
    poll = select.poll()
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(max(0.0, seconds) * 1000)]
