"""A keeper at whose other end is no keeper, but whoever has the socket."""

from __future__ import annotations

import os
import socket
from contextlib import closing

from openjd.sessions._platform.posix import PosixKeeper
from openjd.sessions._platform.posix_account import PosixAccount
from openjd.sessions._platform.posix_link import LONGEST_ANSWER
from openjd.sessions._platform.posix_wire import Channel
from openjd.sessions._platform.protocol import Command
from support.manual_loop import ManualLoop


class Listener:
    """Writes down what it is told of a process."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def started(self, pid: int, output: int) -> None:
        assert isinstance(pid, int)
        self.heard.append("started")
        os.close(output)

    def over(self, *_: object) -> None:
        self.heard.append("over")

    def told(self, *_: object) -> None:
        self.heard.append("told")

    not_started = tree_ended = lost = over
    notify_failed = signal_refused = exited = told


def keeper_of(connection: socket.socket, pid: int, loop: ManualLoop) -> PosixKeeper:
    return PosixKeeper(Channel(connection, LONGEST_ANSWER), pid, PosixAccount(None), loop)


def check_frames(pid: int, data: bytes, descriptors: int) -> None:
    """Have a keeper send these bytes, with as many pipes: it counts as lost, and who waits for its process is told.

    Args:
        pid: A process that it could be.
    """
    theirs, ours = socket.socketpair()
    listener = Listener()
    with theirs, closing(ManualLoop()) as loop:
        keeper = keeper_of(ours, pid, loop)
        keeper.process(Command(["true"], "/", {}), listener).start()
        ends = [end for _ in range(descriptors) for end in os.pipe()]
        if data:
            socket.send_fds(theirs, [data], ends)
        for end in ends:
            os.close(end)
        loop.turn()
        loop.turn()
        theirs.close()
        loop.turn()
        assert keeper.is_lost
        assert "over" in listener.heard
