"""The launcher: one small interpreter per program, which forks a keeper for each Session. Stand-alone, too.

================  ======================  ============================================================
to the launcher   ``host`` + descriptor   a pidfd of the program: when it fires, all is over
..                ``keeper`` n            fork one; answered by ``keeper`` n id + descriptor, or ``failed``
================  ======================  ============================================================
"""

from __future__ import annotations

import gc
import os
import signal
import socket

from openjd.sessions._platform.posix_children import children, groups_of, reap_all, send_signal
from openjd.sessions._platform.posix_keeper import Keeper
from openjd.sessions._platform.posix_resident import Resident
from openjd.sessions._platform.posix_wire import Channel

_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGPIPE)


class Launcher(Resident):
    """Forks keepers on request. Its other children are orphans of keepers that were killed; it ends them."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel, None)
        self._keepers: set[int] = set()
        channel.send(b"ready", b"0", b"%d" % os.getpid())

    def serve(self, fields: list[bytes]) -> None:
        if fields[0] == b"host":
            self.watch_host(self.channel.descriptors.pop(0))
        elif fields[0] == b"keeper":
            self._fork_keeper(fields[1])

    def _fork_keeper(self, number: bytes) -> None:
        ours, theirs = socket.socketpair()
        try:
            pid = os.fork()
        except OSError as error:
            self.channel.send(b"failed", number, os.strerror(error.errno or 0).encode())
            return
        if pid == 0:
            theirs.close()
            self.close()
            Keeper(Channel(ours), self.host).run()
            os._exit(0)
        self._keepers.add(pid)
        ours.close()
        self.channel.send(b"keeper", number, b"%d" % pid, descriptor=theirs.detach())

    def leave(self) -> None:
        """Keepers end when the program does; until the last one has, their orphans are ended here."""
        while children():
            self.wait_for_child()
            self.tend()

    def tend(self) -> None:
        self._keepers -= {child.pid for child in reap_all()[0]}
        for group in groups_of(set(children()) - self._keepers):
            send_signal(group, signal.SIGKILL)


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
