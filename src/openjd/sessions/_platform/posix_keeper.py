"""Launcher and keeper: the parents of all processes of a program's Sessions. Stand-alone, as ``posix_wire`` is.

The *launcher* is one small interpreter per program. It forks a *keeper* for each Session at its first action. The
keeper starts that Session's processes, signals and reaps them, and is their subreaper: a descendant whose parent dies
becomes the keeper's child, wherever it fled, and so is found when a tree has to end. Both leave, ending their trees,
when the program that owns them goes away.

==================  =================================  ==================================================
to the launcher     ``host`` + descriptor              a pidfd of the program: when it fires, all is over
..                  ``keeper``                         fork one; answered by ``keeper`` id + descriptor
to a keeper         ``environment`` NAME=value ...     what the processes started from now on get
..                  ``start`` n folder command ...     answered by ``started`` n id + descriptor, or ``failed``
..                  ``notify`` n folder text           write cancel_info.json, then SIGTERM; or ``unwritten``
..                  ``terminate`` n                    end the tree of action n
..                  ``leave``                          notify and end all that is left, then exit
from a keeper       ``exited`` n code usage ...        the command of action n
..                  ``ended`` n                        nothing of its tree is left
==================  =================================  ==================================================
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import select
import signal
import socket
import stat
import time
from typing import Optional

from openjd.sessions._platform.posix_children import (
    Reaped,
    become_subreaper,
    children,
    group_exists,
    groups_of,
    reap_one,
    send_signal,
    spawn,
    why_not_started,
)
from openjd.sessions._platform.posix_wire import Channel

FILE_LIMIT = 1.0
"""Seconds in which ``cancel_info.json`` has to be written (rule ACT-26)."""
SURVIVOR_GRACE = 5.0
"""Seconds between notifying what earlier actions left behind and terminating it."""
KILL_LIMIT = 30.0
"""Seconds after which what can't be killed is left alone when all is over."""
SWEEP_INTERVAL = 0.005
"""Seconds between two looks for members of a tree that is being ended."""

_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGPIPE)


class Resident:
    """What launcher and keeper share: they wait for their owner, their children and the clock, and end their trees."""

    def __init__(self, channel: Channel, host: Optional[int]) -> None:
        self.channel = channel
        self.host = host
        self.is_subreaper = become_subreaper()
        self._wake, self._waker = os.pipe()
        for end in (self._wake, self._waker):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)

    def run(self) -> None:
        """Serve until the owner has gone; then end everything."""
        while self._serve_once():
            self.tend()
        self.end_children(signal.SIGKILL, KILL_LIMIT)

    def _serve_once(self) -> bool:
        ready = self._wait()
        if self.host in ready:
            return False
        if self.channel.fileno() not in ready:
            return True
        self.channel.flush()
        is_open, frames = self.channel.receive()
        for fields in frames:
            self.serve(fields)
        return is_open

    def _wait(self) -> set[int]:
        poll = select.poll()
        poll.register(self.channel, select.POLLIN | (select.POLLOUT if self.channel.has_unsent else 0))
        poll.register(self._wake, select.POLLIN)
        if self.host is not None:
            poll.register(self.host, select.POLLIN)
        patience = self.patience()
        ready = {number for number, _ in poll.poll(None if patience is None else max(0.0, patience) * 1000)}
        self._silence_wake()
        return ready

    def _silence_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 512)

    def serve(self, fields: list[bytes]) -> None:
        """Do what one frame asks for."""
        raise NotImplementedError

    def tend(self) -> None:
        """Reap children that have ended, and do what is due."""
        raise NotImplementedError

    def patience(self) -> Optional[float]:
        """Seconds until something is due; None if nothing is."""
        return None

    def end_children(self, number: int, limit: float) -> None:
        """Signal all children, once each, and adopt and signal theirs, until none is left or the limit is over."""
        deadline = time.monotonic() + limit
        signalled: set[int] = set()
        while children() and time.monotonic() < deadline:
            groups = groups_of(children())
            for group in groups - signalled if number != signal.SIGKILL else groups:
                send_signal(group, number)
            signalled |= groups
            select.select([self._wake], [], [], SWEEP_INTERVAL)
            self._silence_wake()
            while reap_one() is not None:
                pass

    def close(self) -> None:
        """In a forked child: let go of everything that is the parent's."""
        signal.set_wakeup_fd(-1)
        os.close(self._wake)
        os.close(self._waker)
        self.channel.close()


class Launcher(Resident):
    """Forks keepers on request. Its other children are orphans of keepers that were killed; it ends them."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel, None)
        self._keepers: set[int] = set()
        channel.send(b"ready", b"%d" % os.getpid())

    def serve(self, fields: list[bytes]) -> None:
        if fields[0] == b"host":
            self.host = self.channel.descriptors.pop(0)
        elif fields[0] == b"keeper":
            self._fork_keeper()

    def _fork_keeper(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            pid = os.fork()
        except OSError as error:
            self.channel.send(b"failed", os.strerror(error.errno or 0).encode())
            return
        if pid == 0:
            theirs.close()
            self.close()
            Keeper(Channel(ours), self.host).run()
            os._exit(0)
        self._keepers.add(pid)
        ours.close()
        self.channel.send(b"keeper", b"%d" % pid, descriptor=theirs.detach())

    def tend(self) -> None:
        ended = reap_one()
        while ended is not None:
            self._keepers.discard(ended.pid)
            ended = reap_one()
        for group in groups_of(set(children()) - self._keepers):
            send_signal(group, signal.SIGKILL)


class Action:
    """The action that a keeper has started last, and how far its end has come."""

    def __init__(self, number: bytes, pid: int) -> None:
        self.number = number
        self.pid = pid
        self.began = time.monotonic()
        self.has_exited = False
        self.has_ended = False
        self.is_notified = False
        self.is_terminated = False
        self.notified_groups: set[int] = set()
        self.writer: Optional[int] = None
        """The process that writes cancel_info.json."""
        self.writer_deadline = 0.0
        self.next_notice: Optional[tuple[bytes, bytes]] = None
        """What to write when the writer is done: a repeated cancel has changed it (LC-26)."""


class Keeper(Resident):
    """Keeps the processes of one Session; one action at a time."""

    def __init__(self, channel: Channel, host: Optional[int]) -> None:
        super().__init__(channel, host)
        self._environment: dict[bytes, bytes] = {}
        self._action: Optional[Action] = None
        self._survivors: set[int] = set()

    def serve(self, fields: list[bytes]) -> None:
        kind, arguments = fields[0], fields[1:]
        action = self._action
        if kind == b"environment":
            self._environment = dict(variable.split(b"=", 1) for variable in arguments if variable)
        elif kind == b"start":
            self._start(arguments[0], arguments[1], arguments[2:])
        elif kind == b"leave":
            self.end_children(signal.SIGTERM, SURVIVOR_GRACE)
            self.end_children(signal.SIGKILL, KILL_LIMIT)
            os._exit(0)
        elif action is None or action.has_ended or action.number != arguments[0]:
            return
        elif kind == b"notify":
            self._write_cancel_info(action, arguments[1], arguments[2])
        elif kind == b"terminate":
            action.is_terminated = True

    def _start(self, number: bytes, directory: bytes, argv: list[bytes]) -> None:
        self._survivors.update(children())
        reader, writer = os.pipe()
        try:
            os.chdir(directory)
            self._action = Action(number, spawn(argv, self._environment, writer))
        except OSError as error:
            os.close(reader)
            self.channel.send(b"failed", number, why_not_started(argv[0], directory, error).encode())
        else:
            self.channel.send(b"started", number, b"%d" % self._action.pid, descriptor=reader)
        finally:
            os.close(writer)
            os.chdir("/")

    def _write_cancel_info(self, action: Action, directory: bytes, text: bytes) -> None:
        """Begin to notify: the file is written by a child, so that a dead file system stops neither kill nor clock."""
        if action.writer is not None:
            action.next_notice = (directory, text)
            return
        action.writer = os.fork()
        if action.writer == 0:
            os._exit(write_cancel_info(directory, text))
        action.writer_deadline = time.monotonic() + FILE_LIMIT

    def _notify(self, action: Action, failure: int) -> None:
        """The writer is done: notify, if the file is in its place."""
        action.writer = None
        if failure:
            self.channel.send(b"unwritten", action.number, os.strerror(failure).encode())
        elif action.next_notice is not None:
            notice, action.next_notice = action.next_notice, None
            self._write_cancel_info(action, *notice)
        else:
            action.is_notified = True
            action.notified_groups.clear()
            if not action.has_exited:
                send_signal(action.pid, signal.SIGTERM)

    def tend(self) -> None:
        action = self._action
        ended = reap_one()
        while ended is not None:
            self._survivors.discard(ended.pid)
            if action is not None:
                self._note_end(action, ended)
            ended = reap_one()
        if action is None or action.has_ended:
            return
        if action.writer is not None and time.monotonic() >= action.writer_deadline:
            send_signal(action.writer, signal.SIGKILL)
            self._survivors.add(action.writer)
            self._notify(action, errno.ETIMEDOUT)
        self._see_to(action)

    def _note_end(self, action: Action, ended: Reaped) -> None:
        if ended.pid == action.writer:
            self._notify(action, ended.code if ended.code >= 0 else errno.EIO)
        elif ended.pid == action.pid and not action.has_exited:
            action.has_exited = True
            wall = time.monotonic() - action.began
            usage = (wall, ended.user_seconds, ended.system_seconds, ended.peak_memory_bytes)
            self.channel.send(b"exited", action.number, *(str(figure).encode() for figure in (ended.code, *usage)))

    def _see_to(self, action: Action) -> None:
        """Notify or terminate what is there of the tree; say when nothing of it is left."""
        if action.writer is not None:
            return
        if action.is_terminated:
            for group in self._groups(action):
                send_signal(group, signal.SIGKILL)
        elif action.is_notified and action.has_exited:  # the command was notified; now the others are (ACT-29)
            for group in self._groups(action) - action.notified_groups:
                send_signal(group, signal.SIGTERM)
                action.notified_groups.add(group)
        if action.has_exited and not self._groups(action):
            action.has_ended = True
            self.channel.send(b"ended", action.number)

    def _groups(self, action: Action) -> set[int]:
        """The groups of the action's processes: its own children that no earlier action left behind."""
        if not self.is_subreaper:
            return {-action.pid} if group_exists(action.pid) else set()
        return groups_of(set(children()) - self._survivors)

    def patience(self) -> Optional[float]:
        if self._action is None or self._action.has_ended:
            return None
        if self._action.writer is not None:
            return self._action.writer_deadline - time.monotonic()
        return SWEEP_INTERVAL if self._action.is_terminated else None


def write_cancel_info(directory: bytes, text: bytes) -> int:
    """Put ``cancel_info.json`` in its place whole (rules ACT-26, WD-11); gives 0 or the number of the error."""
    name, fresh = b"cancel_info.json", b".cancel_info.%d" % os.getpid()
    try:
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        if not _may_be_replaced(folder, name):
            return errno.EEXIST
        target = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
        os.write(target, text)
        os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _may_be_replaced(folder: int, name: bytes) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return True


def main() -> None:
    """Become the launcher of the program at the other end of standard input."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    connection = socket.socket(fileno=os.dup(0))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    launcher = Launcher(Channel(connection))
    gc.freeze()
    launcher.run()
    os._exit(0)
