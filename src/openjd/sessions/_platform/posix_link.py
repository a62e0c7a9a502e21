"""How this program gets its launcher: an interpreter, what runs in it, and the talk with it."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import socket
import stat
import sys
import time
from importlib import resources
from typing import Optional

from openjd.sessions._errors import KeeperError
from openjd.sessions._logging import printable
from openjd.sessions._platform.posix_birth import OLDEST_PYTHON, Birth
from openjd.sessions._platform.posix_wire import Channel, close_elsewhere

ANSWER_LIMIT = 10.0
"""Seconds in which the launcher has to answer."""
NO_DESCRIPTOR = (
    "This program has no descriptor left to read a process's output: it has reached its limit of open files. Raise the "
    "limit (ulimit -n), or have fewer Sessions open at once."
)
_LEAST_PATIENCE = 0.001
LONGEST_ANSWER = 64 * 1024
"""Bytes of the longest frame that keepers may send."""
_LONGEST_ENVIRONMENT = 2 * 1024 * 1024
"""Bytes of the longest frame that a launcher may send: the variables of a login."""
_STAND_ALONE = ("posix_wire", "posix_children", "posix_files", "posix_resident", "posix_keeper", "posix_launcher")


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

    def __init__(self, connection: socket.socket, deadline: float = math.inf, *, is_trusted: bool = True) -> None:
        self._channel = Channel(connection, _LONGEST_ENVIRONMENT, is_trusted=is_trusted)
        self._count = 0
        self.login_variables: dict[str, str] = {}
        """What another user's login has set."""
        self.deadline = deadline
        """When it has to have answered, if its time for an answer is not over before."""
        self._pidfd = open_pidfd(int(self._await(b"0")[2]))

    @classmethod
    def start(cls, user: Optional[str], deadline: float) -> LauncherLink:
        """Start a launcher, as another user if one is given, until a moment.

        Raises:
            KeeperError: No interpreter can be run for it.
        """
        tried: list[str] = []
        for python in interpreters():
            if tried and time.monotonic() >= deadline:
                break
            try:
                return cls._start_with(Birth(python, user, deadline), deadline)
            except (OSError, ValueError) as error:
                tried.append(f"{python} ({error})")
        oldest = f"{OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]}"
        advice = f"Set OPENJD_SESSIONS_PYTHON to the path of one of version {oldest} or newer"
        if user is None:
            what = f"No Python interpreter could be run that starts this program's processes. {advice}."
        else:
            what = f"No login as the user {user!r} led to a Python interpreter. {advice} that this user can run."
        raise KeeperError(f"{what} Tried: {', '.join(tried)}")

    @classmethod
    def _start_with(cls, birth: Birth, deadline: float) -> LauncherLink:
        link: Optional[LauncherLink] = None
        try:
            connection = birth.wait_for_greeting(deadline)
            connection.settimeout(max(_LEAST_PATIENCE, deadline - time.monotonic()))
            program = stand_alone_program()
            connection.sendall(b"%16d" % len(program) + program)
            link = cls(connection, deadline, is_trusted=birth.user is None)
            link._send_host()
            if birth.user is not None:
                link._ask_for_login()
        except BaseException:
            birth.fail()
            if link is not None and link._pidfd is not None:
                os.close(link._pidfd)
            raise
        birth.succeed(connection)
        return link

    def _send_host(self) -> None:
        """Let launcher and keepers know when this process ends, even if a fork of it holds our end of the socket."""
        host = open_pidfd(os.getpid())
        if host is not None:
            self._channel.send(b"host", descriptor=host)

    def _ask_for_login(self) -> None:
        variables = self._ask(b"login")[2:]
        self.login_variables = dict(os.fsdecode(variable).split("=", 1) for variable in variables)

    def ask_for_keeper(self) -> tuple[int, int]:
        """Give the id of a new keeper, and our end of its socket.

        Raises:
            KeeperError: It could not be forked.
            OSError, ValueError: The launcher does not answer, or with something else.
        """
        return self._ask_for_child(b"keeper")

    def run(self, program: str, *arguments: str) -> int:
        """Have a child of the launcher run a stand-alone module; gives a socket that is closed when it is done.

        Raises:
            As ``ask_for_keeper``.
        """
        return self._ask_for_child(b"run", program.encode(), *map(os.fsencode, arguments))[1]

    def end(self, pidfd: int) -> None:
        """Have the launcher kill a process of its user; takes the descriptor over.

        Raises:
            As ``ask_for_keeper``.
        """
        self._ask(b"end", descriptor=pidfd)

    def _ask_for_child(self, *request: bytes) -> tuple[int, int]:
        answer = self._ask(*request)
        if answer[0] != b"keeper":
            reason = printable(answer[2].decode())
            raise KeeperError(f"No keeper could be started for this Session's processes: {reason}")
        if not self._channel.descriptors:
            raise KeeperError(NO_DESCRIPTOR)
        return int(answer[2]), self._channel.descriptors.pop(0)

    def _ask(self, kind: bytes, *arguments: bytes, descriptor: Optional[int] = None) -> list[bytes]:
        self._count += 1
        number = b"%d" % self._count
        self._channel.send(kind, number, *arguments, descriptor=descriptor)
        return self._await(number)

    def _await(self, number: bytes) -> list[bytes]:
        """The answer of this number; one that an interrupted call has left behind is thrown away."""
        deadline = min(self.deadline, time.monotonic() + ANSWER_LIMIT)
        while time.monotonic() < deadline and is_readable(self._channel.fileno(), deadline):
            is_open, frames = self._channel.receive()
            for answer in frames:
                if len(answer) >= 3 and answer[1] == number:
                    return answer
                if answer[0] == b"keeper" and self._channel.descriptors:
                    close_elsewhere([self._channel.descriptors.pop(0)])
            if not is_open:
                raise ConnectionError("it ended")
        raise TimeoutError("it did not answer in time")

    def close(self) -> Optional[int]:
        """Close our end: the launcher leaves when its keepers have. Gives the descriptor of its process, if any."""
        self._channel.close()
        return self._pidfd


def open_pidfd(pid: int) -> Optional[int]:
    """A descriptor of a process, where there is one, the system has such, and a sandbox does not forbid it."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError, OverflowError):
        return None


def own_reading_end(descriptor: int) -> int:
    """Exchange the reading end of a pipe for one whose mode nobody else can change; takes the descriptor over.

    It comes from another user. Reading from anything else, or in another mode, could hold up who reads, and already to
    ask the file system what it is could. So the kernel is asked, where it tells (Linux).

    Raises:
        OSError, ValueError: It is no pipe, or not ours to open.
    """
    path = f"/proc/self/fd/{descriptor}"
    is_linux = sys.platform == "linux"
    try:
        if not (os.readlink(path).startswith("pipe:[") if is_linux else stat.S_ISFIFO(os.fstat(descriptor).st_mode)):
            raise ValueError("no pipe")
    except (OSError, ValueError):
        close_elsewhere([descriptor])
        raise
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK) if is_linux else os.dup(descriptor)
    finally:
        os.close(descriptor)


def kill(pidfd: Optional[int]) -> None:
    """Kill a process that may have gone; where there is no descriptor of it, it ends when its channel closes."""
    if pidfd is not None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def is_readable(descriptor: int, deadline: float) -> bool:
    """Wait until a descriptor can be read, or has come to its end; False if it has not until the deadline."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
