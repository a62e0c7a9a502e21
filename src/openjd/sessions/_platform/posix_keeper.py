"""The keeper: the parent of one Session's processes. Stand-alone, as ``posix_wire`` is.

It starts, signals and reaps the processes, and is their subreaper: a descendant whose parent dies becomes its child,
wherever that fled, and so is found when a tree has to end. Every action's command has a variable that marks it, which
its descendants inherit: so an orphan is known as one of an earlier action. One without the mark counts as one of the
action that runs.

=============  ==========================  ======================================================
to a keeper    ``environment`` N=value …   what the processes started from now on get
..             ``start`` n scope folder …  answered by ``started`` n id + descriptor, or ``failed``
..             ``notify`` n folder text    write cancel_info.json, then SIGTERM; or ``unwritten``
..             ``terminate`` n             end the tree of action n; ``failed`` if it has not been started
..             ``release`` scope           notify, later end, what the actions of a scope left behind
..             ``leave``                   notify and end all that is left, then exit
..             ``mark`` text               what the marks of this keeper begin with
..             ``hello``                   answered by ``heard``
from a keeper  ``exited`` n code usage …   the command of action n, and the members of its tree left
..             ``refused`` n id            a process may not be signalled
..             ``ended`` n                 nothing of its tree is left
=============  ==========================  ======================================================
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import time
from itertools import islice
from typing import Optional

from openjd.sessions._platform.posix_children import (
    Reaped,
    children,
    command_of,
    group_exists,
    groups_of,
    mark_of,
    reap_all,
    send_signal,
    spawn,
    why_not_started,
)
from openjd.sessions._platform.posix_files import CancelInfoWriter
from openjd.sessions._platform.posix_resident import KILL_LIMIT, SWEEP_INTERVAL, Resident
from openjd.sessions._platform.posix_wire import Channel

SURVIVOR_GRACE = 5.0
"""Seconds between notifying what earlier actions left behind and terminating it."""
MOST_NAMED = 20
"""How many processes that an action leaves behind are named."""


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
        self.is_refused = False
        self.notified_groups: set[int] = set()
        self.writer: Optional[CancelInfoWriter] = None
        self.next_look = 0.0
        """When to look for members of its tree that nobody tells of."""
        self.next_notice: Optional[tuple[bytes, bytes]] = None
        """What to write when the writer is done: a repeated cancel has changed it (LC-26)."""


class Release:
    """The end of what the actions of one scope left behind."""

    def __init__(self) -> None:
        self.deadline = time.monotonic() + SURVIVOR_GRACE
        self.next_look = 0.0
        self.notified_groups: set[int] = set()


class Keeper(Resident):
    """Keeps the processes of one Session; one action at a time."""

    def __init__(self, channel: Channel, host: Optional[int]) -> None:
        super().__init__(channel, host)
        self._environment: dict[bytes, bytes] = {}
        self._mark = b""
        self._latest = 0
        """The number of the action that was to be started last, or of one that is not to be started any more."""
        self._started: set[int] = set()
        """The groups that were started: all that can be found again where there is no subreaper (macOS)."""
        self._action: Optional[Action] = None
        self._owners: dict[int, bytes] = {}
        """The number of the action that each child belongs to."""
        self._scopes: dict[bytes, bytes] = {}
        """The scope of each action that has children."""
        self._releases: dict[bytes, Release] = {}

    def serve(self, fields: list[bytes]) -> None:
        kind, arguments = fields[0], fields[1:]
        if kind == b"environment":
            self._environment = dict(variable.split(b"=", 1) for variable in arguments if variable)
        elif kind == b"mark":
            self._mark = arguments[0]
        elif kind == b"hello":
            self.channel.send(b"heard", b"")
        elif kind == b"start" and self._is_new(arguments[0]):
            self._start(arguments[0], arguments[1], arguments[2], arguments[3:])
        elif kind == b"release":
            self._releases[arguments[0]] = Release()
        elif kind == b"leave":
            self.end_children(signal.SIGTERM, SURVIVOR_GRACE)
            self.end_children(signal.SIGKILL, KILL_LIMIT)
            self.channel.close()  # for who waits for that: to give its memory back takes the kernel some time
            os._exit(0)
        elif kind in (b"notify", b"terminate"):
            self._stop(kind, arguments)

    def _is_new(self, number: bytes) -> bool:
        """Whether nothing has been heard of this action yet."""
        before, self._latest = self._latest, max(self._latest, int(number))
        return self._latest > before

    def _start(self, number: bytes, scope: bytes, directory: bytes, argv: list[bytes]) -> None:
        if self._owners:
            self._adopt()
        kept = set(self._owners.values())
        self._scopes = {other: place for other, place in self._scopes.items() if other in kept}
        if self.is_subreaper:
            self._started.clear()
        try:
            reader, writer = os.pipe()
            if sys.platform == "linux":
                os.fchmod(reader, 0o604)  # so that another user whom we hand it to may open it anew
        except OSError as error:
            self.channel.send(b"failed", number, why_not_started(argv[0], directory, error).encode())
            return
        try:
            os.chdir(directory)
            self._action = Action(number, spawn(argv, self._environment, b"%s.%s" % (self._mark, number), writer))
        except OSError as error:
            os.close(reader)
            self.channel.send(b"failed", number, why_not_started(argv[0], directory, error).encode())
        else:
            self._owners[self._action.pid] = number
            self._started.add(self._action.pid)
            self._scopes[number] = scope
            self.channel.send(b"started", number, b"%d" % self._action.pid, descriptor=reader)
        finally:
            os.close(writer)
            os.chdir("/")

    def _stop(self, kind: bytes, arguments: list[bytes]) -> None:
        action = self._action
        if self._is_new(arguments[0]):  # whoever wanted to start it was interrupted
            self.channel.send(b"failed", arguments[0], b"The start was interrupted.")
        if action is None or action.has_ended or action.number != arguments[0]:
            return
        if kind == b"notify":
            self._write_cancel_info(action, arguments[1], arguments[2])
        else:
            action.is_terminated = True
            if not action.has_exited and action.writer is None:  # its group at once; later all that can be found
                self._signal(action, -action.pid, signal.SIGKILL)
                action.next_look = time.monotonic() + SWEEP_INTERVAL

    # -- notifying

    def _write_cancel_info(self, action: Action, directory: bytes, text: bytes) -> None:
        """Begin to notify."""
        if action.writer is not None:
            action.next_notice = (directory, text)
            return
        try:
            action.writer = CancelInfoWriter(directory, text, self.waker)
        except RuntimeError:  # no thread could be started
            self._notify(action, errno.EAGAIN)

    def _notify(self, action: Action, failure: int) -> None:
        """The writer is done: notify, if the file is in its place."""
        action.writer = None
        notice, action.next_notice = action.next_notice, None
        if failure:
            self.channel.send(b"unwritten", action.number, os.strerror(failure).encode())
        elif notice is not None:
            self._write_cancel_info(action, *notice)
        else:
            action.is_notified = True
            action.notified_groups.clear()
            if not action.has_exited:
                self._signal(action, action.pid, signal.SIGTERM)

    # -- what becomes of the processes

    def tend(self) -> None:
        if not self.was_woken and self.patience() != 0:
            return
        ended, has_children = reap_all()
        for child in ended:
            self._owners.pop(child.pid, None)
        if has_children:
            self._adopt()
        for child in ended:
            self._note_end(child)
        action = self._action
        if action is not None and not action.has_ended:
            if action.writer is not None and action.writer.failure is not None:
                self._notify(action, action.writer.failure)
            self._see_to(action)
        for scope, release in list(self._releases.items()):
            self._end_released(scope, release)
        self.channel.flush()

    def _adopt(self) -> None:
        """Find out whose the children are that have come since the last look."""
        for pid in children():
            if pid not in self._owners:
                keeper, _, number = mark_of(pid).partition(b".")
                current = self._action.number if self._action is not None else b""
                self._owners[pid] = number if keeper == self._mark and number in self._scopes else current

    def _note_end(self, ended: Reaped) -> None:
        action = self._action
        if action is None:
            return
        if ended.pid == action.pid and not action.has_exited:
            action.has_exited = True
            wall = time.monotonic() - action.began
            usage = (wall, ended.user_seconds, ended.system_seconds, ended.peak_memory_bytes)
            commands = ((pid, command_of(pid)) for pid in self._members(action.number))
            left = islice((b"%d %s" % (pid, command) for pid, command in commands if command), MOST_NAMED)
            self.channel.put(b"exited", action.number, *(str(x).encode() for x in (ended.code, *usage)), *left)

    def _see_to(self, action: Action) -> None:
        """Notify or terminate what is there of the tree; say when nothing of it is left."""
        if action.writer is not None:  # first it is notified (LC-25)
            return
        if action.is_terminated:
            for group in self._groups(action):
                self._signal(action, group, signal.SIGKILL)
        elif action.is_notified and action.has_exited:  # the command was notified; now the others are (ACT-29)
            for group in self._groups(action) - action.notified_groups:
                self._signal(action, group, signal.SIGTERM)
                action.notified_groups.add(group)
        action.next_look = time.monotonic() + SWEEP_INTERVAL
        if action.has_exited and not self._groups(action):
            action.has_ended = True
            self.channel.send(b"ended", action.number)

    def _signal(self, action: Action, target: int, number: int) -> None:
        """Signal a process or group; say once if that is refused (ACT-32)."""
        if not send_signal(target, number) and not action.is_refused:
            action.is_refused = True
            self.channel.send(b"refused", action.number, b"%d" % abs(target))

    def _end_released(self, scope: bytes, release: Release) -> None:
        """Notify what is left of a scope; when its time is over, terminate it."""
        numbers = [number for number, other in self._scopes.items() if other == scope]
        members = [pid for number in numbers if not self._is_current(number) for pid in self._members(number)]
        groups = groups_of(members)
        if not groups:
            del self._releases[scope]
        elif time.monotonic() >= release.deadline:
            release.next_look = time.monotonic() + SWEEP_INTERVAL
            for group in groups:
                send_signal(group, signal.SIGKILL)
        else:
            release.next_look = release.deadline
            for group in groups - release.notified_groups:
                send_signal(group, signal.SIGTERM)
                release.notified_groups.add(group)

    def _is_current(self, number: bytes) -> bool:
        """Whether an action's command still runs."""
        return self._action is not None and self._action.number == number and not self._action.has_exited

    def _members(self, number: bytes) -> list[int]:
        return [pid for pid, owner in self._owners.items() if owner == number]

    def _groups(self, action: Action) -> set[int]:
        """The groups of the action's processes."""
        if not self.is_subreaper:
            return {-action.pid} if group_exists(action.pid) else set()
        return groups_of(self._members(action.number))

    def groups(self) -> set[int]:
        if self.is_subreaper:
            return super().groups()
        self._started = {pid for pid in self._started if group_exists(pid)}
        return {-pid for pid in self._started}

    def _has_to_look(self, action: Action) -> bool:
        """Whether nobody tells when its processes come or go."""
        return action.is_terminated or (not self.is_subreaper and action.is_notified and action.has_exited)

    def patience(self) -> Optional[float]:
        moments = [release.next_look for release in self._releases.values()]
        action = self._action
        if action is not None and not action.has_ended:
            if action.writer is not None:
                moments.append(action.writer.deadline if action.writer.failure is None else 0.0)
            elif self._has_to_look(action):
                moments.append(action.next_look)
        return max(0.0, min(moments) - time.monotonic()) if moments else None


def rehearse() -> None:
    """Go through an action once. Of all that a fork touches first it makes a copy, for which nobody waits yet."""
    ours, theirs = map(Channel, socket.socketpair())
    keeper = Keeper(ours, None)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    keeper._action = action = Action(b"1", pid)
    keeper._owners[pid] = action.number
    theirs.put(b"mark", b"rehearsal")
    theirs.put(b"environment", b"NAME=value")
    theirs.put(b"start", b"2", b"", b"/", b"/")  # a directory: nothing can be started
    theirs.send(b"terminate", action.number)
    give_up = time.monotonic() + KILL_LIMIT
    while not action.has_ended and time.monotonic() < give_up:
        keeper._serve_once()
        keeper.tend()
    keeper.close()
    theirs.close()
