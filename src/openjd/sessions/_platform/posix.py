"""Our side of launcher and keepers: their start, frames and descriptors, and what to say when they have gone."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import weakref
from collections.abc import Mapping
from functools import partial
from typing import Callable, Optional

from openjd.sessions._errors import KeeperError
from openjd.sessions._logging import printable
from openjd.sessions._platform.posix_account import PosixAccount
from openjd.sessions._platform.posix_link import LONGEST_ANSWER, NO_DESCRIPTOR, is_readable, open_pidfd, own_reading_end
from openjd.sessions._platform.posix_wire import Channel, close_elsewhere
from openjd.sessions._platform.protocol import Command, ProcessObserver, Timer, Watcher
from openjd.sessions._types import ActionUsage

_ANSWERED = (b"start", b"notify", b"terminate", b"hello")
_SILENCE_LIMIT = 5.0
"""Seconds without an answer after which a keeper is asked whether it is there, and again after which it is given up."""
_NEXT_TRY = 0.01
"""Seconds after which a channel that could not be closed is closed."""
_KEEPER_SILENT = (
    f"The keeper of this Session's processes has not answered for {2 * _SILENCE_LIMIT:g} seconds; "
    "it and what it kept is terminated."
)
_FOLLOWS = {
    **dict.fromkeys((b"started", b"failed"), b""),
    **dict.fromkeys((b"unwritten", b"refused", b"exited"), b"started"),
    b"ended": b"exited",
}
"""What a keeper says of a process, each but ``unwritten`` once, and what it has said before."""
_KEEPER_LOST = "The keeper of this Session's processes has gone; what it kept is terminated."
_WITHHELD = (
    "What the keeper of this Session's processes sends could not be opened or read for several seconds; "
    "it and what it kept is terminated."
)


class PosixProcess:
    """One process of a keeper."""

    def __init__(self, keeper: PosixKeeper, number: bytes, command: Command, observer: ProcessObserver) -> None:
        self._keeper = keeper
        self._directory = os.fsencode(command.directory)
        self.number = number
        self.command = command
        self.observer = observer
        self.is_over = False
        """Whether nothing more will be heard of it."""
        self._notices = 0
        self._told = [b""]

    @property
    def has_exited(self) -> bool:
        return b"exited" in self._told

    def note(self, kind: bytes) -> None:
        """The keeper says something of the process. ValueError if it can't be so: too early, too late, or once more."""
        follows = _FOLLOWS[kind]
        most = self._notices if kind == b"unwritten" else 1
        if follows not in self._told or self._told.count(kind) >= most or (not follows and len(self._told) > 1):
            raise ValueError(f"{kind!r} after {self._told[-1]!r}")
        self._told.append(kind)

    def start(self) -> None:
        self._keeper.start(self)

    def notify(self, info: str) -> None:
        self._notices += 1
        self._keeper.send(b"notify", self.number, self._directory, info.encode())

    def terminate(self) -> None:
        self._keeper.send(b"terminate", self.number)

    def check(self) -> None:
        if self._keeper.is_lost:
            self.observer.lost(_KEEPER_LOST)
        self._keeper.expect_news()


class PosixKeeper:
    """Our end of a keeper; made on a caller's thread, used on the loop's, but for starts."""

    def __init__(self, channel: Channel, pid: int, account: PosixAccount, watcher: Watcher) -> None:
        self._channel = channel
        self._sending = threading.Lock()
        """Held while something is sent or the channel is closed; who holds it is a starter, or the loop's thread."""
        self._account = account
        self._pidfd = open_pidfd(pid)
        self._mark = secrets.token_hex(8).encode()
        self._watcher = watcher
        self._is_watched = False
        self._silence: Optional[Timer] = None
        self._environment: Optional[Mapping[str, str]] = None
        self._process: Optional[PosixProcess] = None
        self._count = self._last_dropped = 0
        self._when_gone: Optional[Callable[[], None]] = None
        self.is_lost = False

    def process(self, command: Command, observer: ProcessObserver) -> PosixProcess:
        self._count += 1
        self._process = PosixProcess(self, b"%d" % self._count, command, observer)
        return self._process

    def start(self, process: PosixProcess) -> None:
        """Ask for a process. Most starts are one short frame, for which the loop needs not be woken."""
        if not self._start_at_once(process):
            self._watcher.post(partial(self._start_with_all, process))

    def _start_at_once(self, process: PosixProcess) -> bool:
        if self.is_lost or not self._is_watched or not self._knows(process.command.environment):
            return False
        try:
            frame = _start_frame(process)
        except UnicodeEncodeError:
            return False
        with self._sending:
            return not self.is_lost and self._channel.send_whole(*frame)

    def _start_with_all(self, process: PosixProcess) -> None:
        """Ask for a process, and send what the keeper needs for it first; on the loop's thread."""
        command, observer = process.command, process.observer
        try:
            frame = _start_frame(process)
            if not self._knows(command.environment):
                variables = [os.fsencode(f"{name}={value}") for name, value in command.environment.items()]
                self._channel.put(b"environment", *variables)
                self._environment = command.environment
        except UnicodeEncodeError as error:
            reason = f"{error.object!r} cannot be written in this system's encoding, {error.encoding}"
            observer.not_started(f"Program {command.argv[0]!r} could not be started: {reason}.")
            return
        self.send(*frame)
        process.check()

    def _knows(self, environment: Mapping[str, str]) -> bool:
        """Whether the keeper has these variables already."""
        return environment is self._environment or environment == self._environment

    def release(self, scope: str) -> None:
        self.send(b"release", scope.encode())

    def leave(self, when_gone: Callable[[], None]) -> None:
        self._when_gone = when_gone
        if self.is_lost:
            when_gone()
        else:
            self.send(b"hello")
            self.send(b"leave")

    def send(self, *fields: bytes) -> None:
        """Send a frame; where one has to be answered, see to it that it is."""
        if self.is_lost:
            return
        is_first = not self._is_watched
        if is_first:
            self._is_watched = True
            self._channel.put(b"mark", self._mark)
        had_unsent = self._channel.has_unsent
        self._channel.put(*fields)
        self._unless_starting(self._channel.flush)
        if is_first or had_unsent or self._channel.has_unsent:
            self._watch()
        if fields[0] in _ANSWERED:
            self.expect_news()

    def _unless_starting(self, call: Callable[[], None]) -> bool:
        """Make a call, if no starter sends just now: a signal handler may hold it up there. Whether it was made."""
        is_free = self._sending.acquire(blocking=False)
        if is_free:
            try:
                call()
            finally:
                self._sending.release()
        return is_free

    def expect_news(self) -> None:
        """Find out if nothing is heard from the keeper for some time from now on."""
        if self._silence is None and not self.is_lost:
            self._silence = self._watcher.call_later(_SILENCE_LIMIT, self._ask)

    def _ask(self) -> None:
        """It has not answered for a while: is it there?"""
        self.send(b"hello")
        self._silence = self._watcher.call_later(_SILENCE_LIMIT, self._give_up)

    def _give_up(self) -> None:
        """It is stopped, or hangs in a dead file system: end it, and what bears its mark. Or it is we who are late."""
        self._silence = None
        if is_readable(self._channel.fileno(), 0.0):
            self.expect_news()
        else:
            self._lose(_KEEPER_SILENT)

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

    def _close(self) -> None:
        if not self._unless_starting(self.forget):
            self._watcher.call_later(_NEXT_TRY, self._close)

    def _watch(self) -> None:
        if not self.is_lost:
            self._watcher.watch(self._channel.fileno(), self._on_ready, is_writer=self._channel.has_unsent)

    def _on_ready(self) -> None:
        if self._channel.has_unsent:
            self._unless_starting(self._channel.flush)
            self._watch()
        try:
            is_open, frames = self._receive()
        except (ValueError, MemoryError):  # no frames of ours, or none that could be kept
            is_open, frames = False, []
        try:
            for fields in frames:
                self._tell(fields)
        except (ValueError, IndexError, OSError, MemoryError):  # nor this
            is_open = False
        if frames:
            self._hear()
        if not is_open:
            self._lose(_KEEPER_LOST)

    def _receive(self) -> tuple[bool, list[list[bytes]]]:
        """What has come. Another user may have kept our end of the socket, and hold us up by receiving there, too."""
        if not self._account.is_another:
            return self._channel.receive()
        close_again = partial(self._watcher.post, self._close)  # for the descriptors that come after all
        return self._watcher.dare(self._channel.receive, partial(self._lose, _WITHHELD), close_again)

    def _tell(self, fields: list[bytes]) -> None:
        """Tell the observer what the keeper says of the process."""
        kind, number, values = fields[0], fields[1], fields[2:]
        process = self._process
        if process is None or process.number != number:
            if kind == b"started":
                self._drop_output(int(number))
            return
        observer = process.observer
        if kind in _FOLLOWS:
            process.note(kind)
        if kind == b"started":
            self._tell_started(process, int(values[0]))
        elif kind == b"failed":
            observer.not_started(_text(values[0]))
            process.is_over = True
        elif kind == b"unwritten":
            observer.notify_failed(f"cancel_info.json could not be written: {_text(values[0])}")
        elif kind == b"exited":
            wall, user, system = (float(value) for value in values[1:4])
            usage = ActionUsage(wall, user, system, peak_memory_bytes=int(values[4]))
            observer.exited(int(values[0]), usage, [_text(name) for name in values[5:]])
        elif kind == b"refused":
            observer.signal_refused(f"The process {_text(values[0])} may not be signalled by this user.")
        elif kind == b"ended":
            process.is_over = True
            observer.tree_ended()

    def _drop_output(self, number: int) -> None:
        """A process that has been given up was started after all. ValueError if it can't be so."""
        if not self._last_dropped < number < self._count:
            raise ValueError(f"output of process {number}")
        self._last_dropped = number
        close_elsewhere(self._channel.descriptors[:1])
        del self._channel.descriptors[:1]

    def _tell_started(self, process: PosixProcess, pid: int) -> None:
        if not self._channel.descriptors:
            process.terminate()
            process.observer.not_started(NO_DESCRIPTOR)
            return
        output = self._channel.descriptors.pop(0)
        if self._account.is_another:
            output = self._own(output)
        os.set_blocking(output, False)
        process.observer.started(pid, output)

    def _own(self, output: int) -> int:
        """Open an output that came from another user as our own, which can hold us up as reading from it can."""
        opened: list[int] = []
        self._watcher.dare(
            lambda: opened.append(own_reading_end(output)),
            partial(self._lose, _WITHHELD),
            lambda: close_elsewhere(opened),
        )
        return opened[0]

    def _lose(self, reason: str) -> None:
        if self.is_lost:
            return
        self._hear()
        mark = self._mark + b"."
        if reason is not _KEEPER_LOST:
            pidfd, self._pidfd = self._pidfd, None
            _aside(self._account.end_silent, pidfd, mark)
        elif self._when_gone is None:  # the launcher may be gone, too
            _aside(self._account.end_marked, mark)
        self._watcher.unwatch(self._channel.fileno())
        self.is_lost = True
        self._close()
        process = self._process
        if process is not None and not (process.is_over or (process.has_exited and self._when_gone is not None)):
            process.observer.lost(reason)
        if self._when_gone is not None:
            self._when_gone()


def _aside(work: Callable[..., object], *arguments: object) -> None:
    """Do what takes some time in a thread of its own; here, where none can be had."""
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        work(*arguments)


def _start_frame(process: PosixProcess) -> tuple[bytes, ...]:
    command = process.command
    where = (command.scope.encode(), os.fsencode(command.directory))
    return (b"start", process.number, *where, *(os.fsencode(argument) for argument in command.argv))


def _text(data: bytes) -> str:
    return printable(data.decode("utf-8", "backslashreplace"))


def _socket_of(descriptor: int) -> socket.socket:
    """The socket of a keeper; takes the descriptor over.

    Raises:
        KeeperError: It is no socket, or none that a keeper has: those can make everything wait.
    """
    try:
        connection = socket.socket(fileno=descriptor)
    except OSError as error:
        close_elsewhere([descriptor])
        raise KeeperError(f"What came as the socket of a keeper is none: {error}") from error
    if (connection.family, connection.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
        close_elsewhere([connection.detach()])
        raise KeeperError("What came as the socket of a keeper is one of another kind.")
    return connection


class PosixPlatform:
    """Linux and macOS: one launcher for each user, started at first need, and a keeper per Session."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._lock = threading.Lock()
        self._accounts: dict[Optional[str], PosixAccount] = {}
        self._keepers: weakref.WeakSet[PosixKeeper] = weakref.WeakSet()

    def open_keeper(self, user: Optional[str] = None) -> PosixKeeper:
        account = self._account(user)
        pid, descriptor = account.ask_for_keeper()
        connection = _socket_of(descriptor)
        try:
            channel = Channel(connection, LONGEST_ANSWER, is_trusted=not account.is_another)
            keeper = PosixKeeper(channel, pid, account, self._watcher)
            with self._lock:
                self._keepers.add(keeper)
        except BaseException:  # Ctrl-C: the keeper leaves when nobody is at the other end
            connection.close()
            raise
        return keeper

    def login_variables(self, user: str) -> Mapping[str, str]:
        return self._account(user).login_variables()

    def remove_contents(self, user: str, directory: str, limit: float) -> None:
        self._account(user).remove_contents(directory, limit)

    def _account(self, user: Optional[str]) -> PosixAccount:
        with self._lock:
            return self._accounts.setdefault(user, PosixAccount(user))

    def forget(self) -> None:
        for account in self._accounts.values():
            account.forget()
        for keeper in list(self._keepers):
            keeper.forget()
        self._lock = threading.Lock()
