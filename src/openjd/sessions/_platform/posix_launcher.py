"""The launcher: one small interpreter per program, which forks a keeper for each Session. Stand-alone, too.

A keeper that has been forked and rehearsed beforehand is ready at once; so while nobody asks for anything there is a
spare one.

================  ======================  ============================================================
to the launcher   ``host`` + descriptor   a pidfd of the program: when it fires, all is over
..                ``login`` n             answered by ``login`` n N=value ...: what this user's login has set
..                ``keeper`` n            give one; answered by ``keeper`` n id + descriptor, or ``failed``
..                ``run`` n text word ... fork a process that calls ``main(word, ...)`` of this module; same answers
..                ``end`` n + descriptor  kill the process of this pidfd; answered by ``ended`` n
================  ======================  ============================================================
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import signal
import socket
import sys
import time
from typing import Callable, NamedTuple, Optional

from openjd.sessions._platform.posix_children import children, groups_of, reap_all, send_signal
from openjd.sessions._platform.posix_keeper import Keeper, rehearse
from openjd.sessions._platform.posix_resident import Resident
from openjd.sessions._platform.posix_wire import Channel

CALM = 0.01
"""Seconds without a request for a keeper after which a spare one is made: then nobody waits for what that takes."""

_NOT_OF_THE_LOGIN = (b"_=", b"OLDPWD=", b"PWD=", b"SUDO_")
"""How variables begin that tell of who has started us."""
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGPIPE)


class Child(NamedTuple):
    """A process that has been forked for somebody who is to have the other end of its socket."""

    pid: int
    connection: socket.socket


class Launcher(Resident):
    """Forks keepers on request. Its other children are orphans of keepers that were killed; it ends them."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel, None)
        self._keepers: set[int] = set()
        self._spare: Optional[Child] = None
        self._next_spare = math.inf
        """When a spare keeper is to be made."""
        channel.send(b"ready", b"0", b"%d" % os.getpid())

    def serve(self, fields: list[bytes]) -> None:
        if fields[0] == b"host":
            self.watch_host(self.channel.descriptors.pop(0))
        elif fields[0] == b"keeper":
            self._give(fields[1], self._take_keeper)
        elif fields[0] == b"run":
            self._give(fields[1], lambda: self._fork(lambda _: _run(fields[2], fields[3:])))
        elif fields[0] == b"login":
            self.channel.send(b"login", fields[1], *_login_variables())
        elif fields[0] == b"end":
            _kill(self.channel.descriptors.pop(0))
            self.channel.send(b"ended", fields[1], b"")

    def _give(self, number: bytes, get: Callable[[], Child]) -> None:
        try:
            child = get()
        except OSError as error:
            self.channel.send(b"failed", number, os.strerror(error.errno or 0).encode())
        else:
            self.channel.send(b"keeper", number, b"%d" % child.pid, descriptor=child.connection.detach())

    def _take_keeper(self) -> Child:
        self._next_spare = time.monotonic() + CALM
        self._reap()
        if self._spare is None:
            return self._fork(self._keep)
        spare, self._spare = self._spare, None
        send_signal(spare.pid, signal.SIGCONT)  # somebody may have stopped it meanwhile
        return spare

    def _make_spare(self) -> None:
        self._next_spare = math.inf
        with contextlib.suppress(OSError, MemoryError):  # who needs one will hear of it
            self._spare = self._fork(self._rehearse_and_keep)

    def _drop_spare(self) -> None:
        """Let it end, if there is one: nobody is at the other end any more."""
        if self._spare is not None:
            self._spare.connection.close()
            self._spare = None

    def _rehearse_and_keep(self, channel: Channel) -> None:
        rehearse()
        self._keep(channel)

    def _keep(self, channel: Channel) -> None:
        Keeper(channel, self.host).run()

    def _fork(self, work: Callable[[Channel], None]) -> Child:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            try:
                theirs.close()
                self.close()
                work(Channel(ours))
            finally:
                os._exit(0)
        self._keepers.add(pid)
        ours.close()
        return Child(pid, theirs)

    def patience(self) -> Optional[float]:
        return None if self._next_spare == math.inf else self._next_spare - time.monotonic()

    def close(self) -> None:
        super().close()
        self._drop_spare()

    def leave(self) -> None:
        """Keepers end when the program does; until the last one has, their orphans are ended here."""
        self._next_spare = math.inf
        self._drop_spare()
        while children():
            self.wait_for_child()
            self.tend()

    def tend(self) -> None:
        self._reap()
        for group in groups_of(set(children()) - self._keepers):
            send_signal(group, signal.SIGKILL)
        if time.monotonic() >= self._next_spare:
            self._make_spare()

    def _reap(self) -> None:
        ended = {child.pid for child in reap_all()[0]}
        self._keepers -= ended
        if self._spare is not None and self._spare.pid in ended:
            self._drop_spare()


def _login_variables() -> list[bytes]:
    try:
        with open("/proc/self/environ", "rb") as start:  # the interpreter may have added to its environment
            variables = start.read().split(b"\0")
    except OSError:
        variables = [b"%s=%s" % variable for variable in os.environb.items()]
    return [text for text in variables if b"=" in text and not text.startswith(_NOT_OF_THE_LOGIN)]


def _run(source: bytes, arguments: list[bytes]) -> None:
    name = "openjd.sessions program"
    sys.modules[name] = module = type(sys)(name)
    exec(compile(source, name, "exec"), module.__dict__)
    module.main(*map(os.fsdecode, arguments))


def _kill(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:
        pass
    finally:
        os.close(pidfd)


def main() -> None:
    """Become the launcher of the program at the other end of standard input."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)  # first: a terminal that sudo has made hangs up when we leave it
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    connection = socket.socket(fileno=os.dup(0))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    launcher = Launcher(Channel(connection))
    gc.freeze()
    launcher.run()
    os._exit(0)
