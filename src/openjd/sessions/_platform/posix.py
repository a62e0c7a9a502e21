"""Our side of launcher and keepers: their start, frames and descriptors, and what to say when they have gone."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from functools import partial
from importlib import resources
from typing import Callable, Optional

from openjd.sessions._errors import KeeperError
from openjd.sessions._platform.posix_sweep import end_marked
from openjd.sessions._platform.posix_wire import Channel
from openjd.sessions._platform.protocol import Command, ProcessObserver, Timer, Watcher
from openjd.sessions._types import ActionUsage

ANSWER_LIMIT = 10.0
"""Seconds in which launcher and keepers have to answer."""
_LONGEST_ANSWER = 64 * 1024
_STAND_ALONE = ("posix_wire", "posix_children", "posix_files", "posix_resident", "posix_keeper", "posix_launcher")
_OLDEST_PYTHON = (3, 9)
_ANSWERED = (b"start", b"notify", b"terminate", b"hello")
_SILENCE_LIMIT = 5.0
"""Seconds without an answer after which a keeper is asked whether it is there, and again after which it is given up."""
_KEEPER_SILENT = (
    f"The keeper of this Session's processes has not answered for {2 * _SILENCE_LIMIT:g} seconds; "
    "it and what it kept is terminated."
)
_KEEPER_LOST = "The keeper of this Session's processes has gone; what it kept is terminated."

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


class _Launcher:
    """The launcher of this program; its channel is used by one thread at a time, which waits for each answer."""

    def __init__(self, connection: socket.socket) -> None:
        self._channel = Channel(connection, _LONGEST_ANSWER)

    @classmethod
    def start(cls) -> _Launcher:
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
    def _start_with(cls, python: str) -> _Launcher:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                child = _start_interpreter(python, theirs)
        except BaseException:
            ours.close()
            raise
        try:
            _greet(ours, stand_alone_program())
            launcher = cls(ours)
            launcher.ask()  # it says that it is ready
            launcher.send_host()
        except BaseException:
            ours.close()
            child.kill()
            raise
        finally:
            child.wait()  # it forks the launcher and exits
        return launcher

    def send_host(self) -> None:
        """Let launcher and keepers know when this process ends, even if a fork of it holds our end of the socket."""
        if hasattr(os, "pidfd_open"):
            self._channel.send(b"host", descriptor=os.pidfd_open(os.getpid()))

    def ask(self, *fields: bytes) -> list[bytes]:
        """Send a frame, if any, and give the answer. Raises OSError if there is none."""
        if fields:
            self._channel.send(*fields)
        deadline = time.monotonic() + ANSWER_LIMIT
        while _is_readable(self._channel.fileno(), deadline):
            is_open, frames = self._channel.receive()
            if frames:
                return frames[0]
            if not is_open:
                raise ConnectionError("it ended")
        raise TimeoutError(f"it did not answer within {ANSWER_LIMIT:g} s")

    def take_descriptor(self) -> int:
        """The descriptor that came with the last answer."""
        return self._channel.descriptors.pop(0)

    def close(self) -> None:
        self._channel.close()


def _start_interpreter(python: str, connection: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [python, "-I", "-S", "-c", _BOOTSTRAP, f"openjd.sessions launcher of process {os.getpid()}"],
        stdin=connection.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
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


class PosixProcess:
    """One process of a keeper."""

    def __init__(self, keeper: PosixKeeper, number: bytes, command: Command, observer: ProcessObserver) -> None:
        self._keeper = keeper
        self._directory = os.fsencode(command.directory)
        self.number = number
        self.observer = observer

    def notify(self, info: str) -> None:
        self._keeper.send(b"notify", self.number, self._directory, info.encode())

    def terminate(self) -> None:
        self._keeper.send(b"terminate", self.number)

    def check(self) -> None:
        self._keeper.send(b"hello")


class PosixKeeper:
    """Our end of a keeper; used on the loop's thread only."""

    def __init__(self, channel: Channel, pid: int, watcher: Watcher) -> None:
        self._channel = channel
        self._pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
        self._pid = pid
        self._mark = secrets.token_hex(8).encode()
        self._watcher = watcher
        self._silence: Optional[Timer] = None
        self._environment: Optional[Mapping[str, str]] = None
        self._process: Optional[PosixProcess] = None
        self._count = 0
        self._when_gone: Optional[Callable[[], None]] = None
        self.is_lost = False
        watcher.post(self._greet)

    def start(self, command: Command, observer: ProcessObserver) -> PosixProcess:
        if self.is_lost:
            self._watcher.post(partial(observer.lost, _KEEPER_LOST))
        self._count += 1
        self._process = PosixProcess(self, b"%d" % self._count, command, observer)
        try:
            argv = [os.fsencode(argument) for argument in command.argv]
            self._send_environment(command.environment)
        except UnicodeEncodeError as error:
            reason = f"{error.object!r} cannot be written in this system's encoding, {error.encoding}"
            observer.not_started(f"Program {command.argv[0]!r} could not be started: {reason}.")
            return self._process
        where = (command.scope.encode(), os.fsencode(command.directory))
        self.send(b"start", self._process.number, *where, *argv)
        return self._process

    def _send_environment(self, environment: Mapping[str, str]) -> None:
        """Send the variables of processes from now on, if they have changed."""
        if environment != self._environment:
            self.send(b"environment", *(os.fsencode(f"{name}={value}") for name, value in environment.items()))
            self._environment = dict(environment)

    def release(self, scope: str) -> None:
        self.send(b"release", scope.encode())

    def leave(self, when_gone: Callable[[], None]) -> None:
        self._when_gone = when_gone
        if self.is_lost:
            when_gone()
        else:
            self.send(b"leave")

    def send(self, *fields: bytes) -> None:
        """Send a frame; where one has to be answered, see to it that it is."""
        if self.is_lost:
            return
        self._channel.send(*fields)
        if self._channel.has_unsent:
            self._watch()
        if fields[0] in _ANSWERED and self._silence is None:
            self._silence = self._watcher.call_later(_SILENCE_LIMIT, self._ask)

    def _greet(self) -> None:
        self._watch()
        self.send(b"mark", self._mark)

    def _ask(self) -> None:
        """It has not answered for a while: is it there?"""
        self.send(b"hello")
        self._silence = self._watcher.call_later(_SILENCE_LIMIT, self._give_up)

    def _give_up(self) -> None:
        """It is stopped, or hangs in a dead file system: end it, and what bears its mark."""
        self._kill()
        threading.Thread(target=end_marked, args=(self._mark + b".",), daemon=True).start()
        self._lose(_KEEPER_SILENT)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            else:
                os.kill(self._pid, signal.SIGKILL)

    def _hear(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def forget(self) -> None:
        """Close our end, and leave the loop alone, which a forked child shares with its parent."""
        self.is_lost = True
        self._channel.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def _watch(self) -> None:
        if not self.is_lost:
            self._watcher.watch(self._channel.fileno(), self._on_ready, is_writer=self._channel.has_unsent)

    def _on_ready(self) -> None:
        if self._channel.has_unsent:
            self._channel.flush()
            self._watch()
        try:
            is_open, frames = self._channel.receive()
        except ValueError:  # not a frame of ours
            is_open, frames = False, []
        for fields in frames:
            self._tell(fields)
        if frames:
            self._hear()
        if not is_open:
            self._lose(_KEEPER_LOST)

    def _tell(self, fields: list[bytes]) -> None:
        """Tell the observer what the keeper says of the process."""
        kind, number, values = fields[0], fields[1], fields[2:]
        process = self._process
        if process is None or process.number != number:
            return
        observer = process.observer
        if kind == b"started":
            output = self._channel.descriptors.pop(0)
            os.set_blocking(output, False)
            observer.started(int(values[0]), output)
        elif kind == b"failed":
            observer.not_started(_text(values[0]))
        elif kind == b"unwritten":
            observer.notify_failed(f"cancel_info.json could not be written: {_text(values[0])}")
        elif kind == b"exited":
            wall, user, system = (float(value) for value in values[1:4])
            usage = ActionUsage(wall, user, system, peak_memory_bytes=int(values[4]))
            observer.exited(int(values[0]), usage, [_text(name) for name in values[5:]])
        elif kind == b"ended":
            observer.tree_ended()

    def _lose(self, reason: str) -> None:
        if self.is_lost:
            return
        self._hear()
        self._watcher.unwatch(self._channel.fileno())
        self.forget()
        if self._when_gone is not None:
            self._when_gone()
        elif self._process is not None:
            self._process.observer.lost(reason)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


class PosixPlatform:
    """Linux and macOS: one launcher per program, started at first need, and a keeper per Session."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._lock = threading.Lock()
        self._launcher: Optional[_Launcher] = None
        self._keepers: weakref.WeakSet[PosixKeeper] = weakref.WeakSet()

    def open_keeper(self) -> PosixKeeper:
        with self._lock:
            try:
                launcher, answer = self._ask_for_keeper()
            except OSError as error:
                raise KeeperError(f"The launcher of this program's processes failed: {error}") from error
            if answer[0] != b"keeper":
                raise KeeperError(f"No keeper could be started for this Session's processes: {_text(answer[1])}")
            channel = Channel(socket.socket(fileno=launcher.take_descriptor()), _LONGEST_ANSWER)
            keeper = PosixKeeper(channel, int(answer[1]), self._watcher)
            self._keepers.add(keeper)
        return keeper

    def _ask_for_keeper(self) -> tuple[_Launcher, list[bytes]]:
        """Ask the launcher; one that has gone since it last answered is replaced."""
        if self._launcher is not None:
            try:
                return self._launcher, self._launcher.ask(b"keeper")
            except OSError:
                self._launcher.close()
        self._launcher = None
        self._launcher = _Launcher.start()
        return self._launcher, self._launcher.ask(b"keeper")

    def forget(self) -> None:
        if self._launcher is not None:
            self._launcher.close()
            self._launcher = None
        for keeper in list(self._keepers):
            keeper.forget()
        self._lock = threading.Lock()
