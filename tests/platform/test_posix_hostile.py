"""Launchers and keepers of another user that are not ours: rule USER-14. What comes from there harms nobody else."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Optional

import pytest

from openjd.sessions import KeeperError
from openjd.sessions._platform import posix_link
from openjd.sessions._platform.posix import PosixKeeper, PosixPlatform
from openjd.sessions._platform.posix_account import PosixAccount
from openjd.sessions._platform.posix_link import LauncherLink, own_reading_end
from openjd.sessions._platform.posix_wire import Channel, encode_frame
from openjd.sessions._platform.protocol import Command
from support.bench import Recorder
from support.manual_loop import ManualLoop
from support.stage import READY_AND_WAIT

LOST = "The keeper of this Session's processes has gone; what it kept is terminated."


class Impostor:
    """The other end of a keeper's socket; it says what a test wants."""

    def __init__(self, loop: ManualLoop, pid: int) -> None:
        ours, theirs = socket.socketpair()
        self.channel = Channel(theirs)
        self.recorder = Recorder(loop)
        self._loop = loop
        self._watched = ours.fileno()
        account = PosixAccount("nobody-of-this-name")
        self.keeper = PosixKeeper(Channel(ours, 1000), pid, account, loop)
        self.keeper.process(Command(["true"], "/", {}), self.recorder).start()

    def say(self, *fields: bytes, descriptor: Optional[int] = None) -> None:
        self.channel.send(*fields, descriptor=descriptor)
        self._loop.run_until(lambda: not self.channel.has_unsent)
        self._loop.turn()

    def wait_until_lost(self) -> None:
        self._loop.run_until(lambda: self.keeper.is_lost)
        if "not started" not in self.recorder.heard:  # after that nothing more is heard
            assert (self.recorder.heard[-1], self.recorder.reasons[-1]) == ("lost", LOST)

    def close(self) -> None:
        self.recorder.close()
        self.channel.close()
        if not self.keeper.is_lost:
            self._loop.unwatch(self._watched)
        self.keeper.forget()


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is nobody's business."""
    process = subprocess.Popen(READY_AND_WAIT, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        assert process.poll() is None
        process.kill()


@pytest.fixture
def impostor(loop: ManualLoop, bystander: subprocess.Popen[bytes]) -> Iterator[Impostor]:
    """One that claims to be another process."""
    watched = loop.watched
    made = Impostor(loop, bystander.pid)
    yield made
    made.close()
    assert loop.watched == watched


@pytest.mark.parametrize(
    "fields",
    [(b"",), (b"started",), (b"started", b"1"), (b"started", b"1", b"x"), (b"exited", b"1", b"0"),
     (b"exited", b"1", b"1e9", b"", b"", b"", b""), (b"failed", b"1"), (b"x" * 2000,)],
)  # fmt: skip
def test_frames_without_sense(impostor: Impostor, fields: tuple[bytes, ...]) -> None:
    """The keeper counts as lost; the loop goes on, and the process that it says to be is left alone."""
    impostor.say(*fields)
    impostor.wait_until_lost()


@pytest.mark.parametrize(
    "story",
    ["started started", "started failed", "failed failed", "failed started", "exited", "ended", "started ended",
     "refused", "unwritten", "started unwritten", "started refused refused", "started exited exited"],
)  # fmt: skip
def test_what_cannot_be_so(impostor: Impostor, story: str) -> None:
    """Told too early, too late, or twice; nothing that came along stays open."""
    values = {"started": [b"1"], "exited": [b"0", b"1", b"1", b"1", b"1"], "ended": []}
    for word in story.split():
        descriptor = None
        if word == "started":
            descriptor, writer = os.pipe()
            os.close(writer)
        impostor.say(word.encode(), b"1", *values.get(word, [b"x"]), descriptor=descriptor)
    impostor.wait_until_lost()


def test_what_it_says_cannot_drive_a_terminal(impostor: Impostor) -> None:
    impostor.say(b"failed", b"1", "caf\u00e9 \x1b[2J\nok\u202e".encode())
    impostor.say(b"")
    impostor.wait_until_lost()
    assert impostor.recorder.reasons[0] == "caf\u00e9 \\x1b[2J\\nok\\u202e"


def test_frames_that_are_not_meant_for_anybody(impostor: Impostor) -> None:
    for fields in ((b"unknown", b"1"), (b"ended", b"2"), (b"exited", b"", b"0")):
        impostor.say(*fields)
    assert not impostor.keeper.is_lost
    assert impostor.recorder.heard == []


def test_silence_ends_nobody_else(impostor: Impostor, loop: ManualLoop) -> None:
    """It claims to be a process of ours, which must not be ended for it."""
    impostor.keeper._give_up()
    loop.turn()
    assert impostor.keeper.is_lost


@pytest.mark.parametrize("kind", ["file", "directory", "named pipe", "socket"])
def test_output_that_is_no_pipe(impostor: Impostor, tmp_path: Path, kind: str) -> None:
    """Reading it could hold up the loop."""
    if kind == "file":
        descriptor = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    elif kind == "directory":
        descriptor = os.open(tmp_path, os.O_RDONLY)
    elif kind == "named pipe":
        os.mkfifo(tmp_path / "p")
        descriptor = os.open(tmp_path / "p", os.O_RDWR)
    else:
        one, other = socket.socketpair()
        other.close()
        descriptor = one.detach()
    impostor.say(b"started", b"1", b"1", descriptor=descriptor)
    impostor.wait_until_lost()


def test_mode_of_the_output_is_ours() -> None:
    """Who shares the pipe can't make reading it block."""
    reader, writer = os.pipe()
    os.set_blocking(reader, True)
    ours = own_reading_end(os.dup(reader))
    os.set_blocking(reader, True)
    assert not os.get_blocking(ours)
    with pytest.raises(BlockingIOError):
        os.read(ours, 1)
    os.write(writer, b"x")
    assert os.read(ours, 2) == b"x"
    for end in (reader, writer, ours):
        os.close(end)


def test_mode_of_the_socket_does_not_matter() -> None:
    """Nor can it make us wait by what it does to a socket that both hold."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    ours.setblocking(True)
    assert channel.receive() == (True, [])
    channel.send(b"x" * (1 << 22))
    assert channel.has_unsent
    channel.close()
    theirs.close()


def test_more_descriptors_than_sense(impostor: Impostor) -> None:
    """They are closed."""
    for _ in range(17):
        impostor.say(b"unknown", b"", descriptor=os.open(os.devnull, os.O_RDONLY))
    impostor.wait_until_lost()


@pytest.mark.parametrize(
    "answer",
    [
        encode_frame(b"login", b"1", b"no variable"),
        encode_frame(b"login", b"1"),
        encode_frame(b"failed", b"1", b"no keeper"),
        encode_frame(b""),
        (3_000_000).to_bytes(4, "big"),
        b"",
    ],
)
def test_launcher_without_sense(answer: bytes) -> None:
    """It is an error, and no variable comes of it."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(encode_frame(b"ready", b"0", b"%d" % os.getpid()))
        link = LauncherLink(ours)
        theirs.sendall(answer)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises((OSError, ValueError)):
            link._ask_for_login()
        assert link.login_variables == {}
        pidfd = link.close()
        assert pidfd is not None
        os.close(pidfd)


@contextlib.contextmanager
def descriptor_whose_closing_waits() -> Iterator[int]:
    """For whoever takes it over."""
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    with server, server.accept()[0]:  # who reads nothing
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
        client.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                client.send(b"x" * 65536)
        yield client.detach()


def test_descriptor_whose_closing_waits(impostor: Impostor) -> None:
    """Its closing waits in a thread of its own, and the loop goes on."""
    with descriptor_whose_closing_waits() as descriptor:
        impostor.say(b"started", b"1", b"%d" % os.getpid(), descriptor=descriptor)
        impostor.wait_until_lost()


def test_descriptor_that_comes_too_late(impostor: Impostor) -> None:
    """The same for the output of a process that has been given up; it comes once."""
    impostor.keeper.process(Command(["true"], "/", {}), impostor.recorder)
    with descriptor_whose_closing_waits() as descriptor:
        impostor.say(b"started", b"1", b"%d" % os.getpid(), descriptor=descriptor)
        assert not impostor.keeper.is_lost
        impostor.say(b"started", b"1", b"%d" % os.getpid(), descriptor=os.open(os.devnull, os.O_RDONLY))
        impostor.wait_until_lost()


@pytest.mark.parametrize("number", [b"0", b"-1", b"2", b"x"])
def test_output_of_no_process(impostor: Impostor, number: bytes) -> None:
    impostor.say(b"started", number, b"1", descriptor=os.open(os.devnull, os.O_RDONLY))
    impostor.wait_until_lost()


def test_launcher_that_talks_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says is no answer, and holds nobody up for longer than silence would."""
    monkeypatch.setattr(posix_link, "ANSWER_LIMIT", 0.5)
    ours, theirs = socket.socketpair()
    theirs.sendall(encode_frame(b"ready", b"0", b"%d" % os.getpid()))
    link = LauncherLink(ours)
    flood = threading.Thread(target=_talk_until_nobody_hears, args=(theirs,))
    flood.start()
    with pytest.raises(TimeoutError):
        link.ask_for_keeper()
    pidfd = link.close()
    flood.join()
    assert pidfd is not None
    os.close(pidfd)


def test_one_deadline_for_all_that_a_start_asks() -> None:
    """DESIGN §6: a launcher that answers at first, and then no more, has no more time for that."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(encode_frame(b"ready", b"0", b"%d" % os.getpid()))
        begin = time.monotonic()
        link = LauncherLink(ours, begin + 0.5)
        with pytest.raises(TimeoutError):
            link._ask_for_login()
        assert time.monotonic() - begin < posix_link.ANSWER_LIMIT / 2
        pidfd = link.close()
        assert pidfd is not None
        os.close(pidfd)


def _talk_until_nobody_hears(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        while True:
            connection.sendall(encode_frame(b"unknown", b"0") * 1000)


@pytest.mark.parametrize("number", [-1, 0, 1 << 31, 1 << 80])
def test_number_of_no_process(number: int) -> None:
    assert posix_link.open_pidfd(number) is None


def test_keeper_whose_socket_is_none(monkeypatch: pytest.MonkeyPatch, loop: ManualLoop) -> None:
    """It is an error of the keeper's, and what came does not stay open."""
    reader, writer = os.pipe()
    platform = PosixPlatform(loop)
    monkeypatch.setattr(PosixAccount, "ask_for_keeper", lambda _: (1 << 80, writer))
    with pytest.raises(KeeperError):
        platform.open_keeper("nobody-of-this-name")
    assert os.read(reader, 1) == b""
    os.close(reader)
