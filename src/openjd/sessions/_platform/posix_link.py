"""How this program gets its launcher: an interpreter, what runs in it, and the talk with it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from importlib import resources
from typing import Optional

from openjd.sessions._errors import KeeperError
from openjd.sessions._platform.posix_wire import Channel

ANSWER_LIMIT = 10.0
"""Seconds in which the launcher has to answer."""
NO_DESCRIPTOR = (
    "This program has no descriptor left to read a process's output: it has reached its limit of open files. Raise the "
    "limit (ulimit -n), or have fewer Sessions open at once."
)
LONGEST_ANSWER = 64 * 1024
"""Bytes of the longest frame that launcher and keepers may send."""
_STAND_ALONE = ("posix_wire", "posix_children", "posix_files", "posix_resident", "posix_keeper", "posix_launcher")
_OLDEST_PYTHON = (3, 9)

# Greets, then runs the program that comes back: its length in 16 digits, and its text.
_BOOTSTRAP = (
    "import os,sys;os.write(0,b'%4d%4d'%sys.version_info[:2]);f=open(0,'rb',closefd=False);"
    "exec(compile(f.read(int(f.read(16))),'launcher','exec'))"
)


def interpreters() -> list[str]:
    """The Python programs that may run launcher and keepers, best first."""
    own: list[str] = [getattr(sys, "_base_executable", None) or "", sys.executable or ""]
    named = [] if getattr(sys, "frozen", False) else [path for path in own if is_named_python(path)]
    version = f"python3.{sys.version_info[1]}"
    found = [*named, os.path.join(sys.base_prefix, "bin", version), "/usr/bin/python3"]
    chosen = os.environ.get("OPENJD_SESSIONS_PYTHON")
    return list(dict.fromkeys(([chosen] if chosen else []) + found))


def is_named_python(path: str) -> bool:
    """Whether a path looks like that of a Python interpreter, and not of a program that embeds one."""
    return os.path.basename(path).startswith("python")


def stand_alone_program() -> bytes:
    """The text of one program that holds the stand-alone modules under their own names, and runs the last one."""
    package = __package__
    sources = {
        f"{package}.{name}": resources.files(package).joinpath(f"{name}.py").read_text(encoding="utf-8")
        for name in _STAND_ALONE
    }
    return (
        "import sys\n"
        f"for name, source in {sources!r}.items():\n"
        "    sys.modules[name] = module = type(sys)(name)\n"
        "    exec(compile(source, name, 'exec'), module.__dict__)\n"
        "module.main()\n"
    ).encode()


class LauncherLink:
    """Our link to the launcher of this program; used by one thread at a time, which waits for each answer."""

    def __init__(self, connection: socket.socket) -> None:
        self._channel = Channel(connection, LONGEST_ANSWER)
        self._count = 0
        self._pidfd = open_pidfd(int(self._await(b"0")[2]))

    @classmethod
    def start(cls) -> LauncherLink:
        """Start a launcher.

        Raises:
            KeeperError: No interpreter can be run for it.
        """
        tried = []
        for python in interpreters():
            try:
                return cls._start_with(python)
            except (OSError, ValueError) as error:
                tried.append(f"{python} ({error})")
        raise KeeperError(
            "No Python interpreter could be run that starts this program's processes. Set OPENJD_SESSIONS_PYTHON to "
            f"the path of one of version {_OLDEST_PYTHON[0]}.{_OLDEST_PYTHON[1]} or newer. Tried: {', '.join(tried)}"
        )

    @classmethod
    def _start_with(cls, python: str) -> LauncherLink:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                child = _start_interpreter(python, theirs)
        except BaseException:
            ours.close()
            raise
        try:
            _greet(ours, stand_alone_program())
            link = cls(ours)
            link._send_host()
        except BaseException:
            ours.close()
            child.kill()
            raise
        finally:
            child.wait()  # it forks the launcher and exits
        return link

    def _send_host(self) -> None:
        """Let launcher and keepers know when this process ends, even if a fork of it holds our end of the socket."""
        host = open_pidfd(os.getpid())
        if host is not None:
            self._channel.send(b"host", descriptor=host)

    def ask_for_keeper(self) -> tuple[int, int]:
        """Give the id of a new keeper, and our end of its socket.

        Raises:
            KeeperError: It could not be forked.
            OSError: The launcher does not answer.
        """
        self._count += 1
        number = b"%d" % self._count
        self._channel.send(b"keeper", number)
        answer = self._await(number)
        if answer[0] != b"keeper":
            raise KeeperError(f"No keeper could be started for this Session's processes: {answer[2].decode()}")
        if not self._channel.descriptors:
            raise KeeperError(NO_DESCRIPTOR)
        return int(answer[2]), self._channel.descriptors.pop(0)

    def _await(self, number: bytes) -> list[bytes]:
        """The answer of this number; one that an interrupted call has left behind is thrown away."""
        deadline = time.monotonic() + ANSWER_LIMIT
        while _is_readable(self._channel.fileno(), deadline):
            is_open, frames = self._channel.receive()
            for answer in frames:
                if answer[1] == number:
                    return answer
                if answer[0] == b"keeper" and self._channel.descriptors:
                    os.close(self._channel.descriptors.pop(0))
            if not is_open:
                raise ConnectionError("it ended")
        raise TimeoutError(f"it did not answer within {ANSWER_LIMIT:g} s")

    def give_up(self) -> None:
        """It does not answer: end it. Keepers don't depend on it."""
        kill(self._pidfd)
        self.close()

    def close(self) -> None:
        """Close our end: the launcher leaves when its keepers have left."""
        self._channel.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


def open_pidfd(pid: int) -> Optional[int]:
    """A descriptor of a process, where the system has such, and a sandbox does not forbid it."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def kill(pidfd: Optional[int]) -> None:
    """Kill a process that may have gone; where there is no descriptor of it, it ends when its channel closes."""
    if pidfd is not None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def _start_interpreter(python: str, connection: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [python, "-I", "-S", "-c", _BOOTSTRAP, f"openjd.sessions launcher of process {os.getpid()}"],
        stdin=connection.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C at the terminal is not for it, from its first moment on
    )


def _is_readable(descriptor: int, deadline: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _greet(connection: socket.socket, program: bytes) -> None:
    """Wait for the interpreter's greeting, which tells its version, and send it the program."""
    connection.settimeout(ANSWER_LIMIT)
    greeting = connection.recv(8, socket.MSG_WAITALL)
    version = tuple(int(part) for part in (greeting[:4], greeting[4:]) if part)
    if version < _OLDEST_PYTHON:
        raise ValueError(f"version {'.'.join(map(str, version))}" if version else "it ended at once")
    connection.sendall(b"%16d" % len(program) + program)
