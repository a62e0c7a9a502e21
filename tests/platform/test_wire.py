"""Frames and descriptors between this program and its launcher and keepers (DESIGN §4)."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openjd.sessions._platform.posix_wire import Channel, FrameBuffer, encode_frame

MakePipe = Callable[[], "tuple[int, int]"]

LIMIT = 1000
FRAMES = [[b"start", b"1", b"/a folder", b"echo", b"", b"\xff\xfe"], [b""], [b"leave"], [b"x" * LIMIT]]
STREAM = b"".join(encode_frame(*fields) for fields in FRAMES)


# Frames


def test_a_frame_is_its_length_and_its_fields() -> None:
    assert encode_frame(b"started", b"7", b"") == b"\0\0\0\x0astarted\x007\0"
    assert encode_frame(b"leave") == b"\0\0\0\x05leave"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100, len(STREAM)])
def test_frames_that_come_in_pieces(size: int) -> None:
    buffer = FrameBuffer(LIMIT)
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert [frame for piece in pieces for frame in buffer.feed(piece)] == FRAMES


def test_frames_that_are_split_anywhere() -> None:
    """A frame is given as soon as its last byte is there, not before and not later."""
    ends = [sum(4 + len(b"\0".join(fields)) for fields in FRAMES[: number + 1]) for number in range(len(FRAMES))]
    for at in range(len(STREAM) + 1):
        buffer = FrameBuffer(LIMIT)
        complete = sum(end <= at for end in ends)
        assert buffer.feed(STREAM[:at]) == FRAMES[:complete]
        assert buffer.feed(STREAM[at:]) == FRAMES[complete:]


@pytest.mark.parametrize("length", [LIMIT + 1, (1 << 32) - 1])
def test_a_frame_that_is_too_long_is_refused_at_its_first_bytes(length: int) -> None:
    """Frames of a keeper are bounded, and nothing of a longer one is waited for (DESIGN §6)."""
    buffer = FrameBuffer(LIMIT)
    assert buffer.feed(length.to_bytes(4, "big")[:3]) == []
    with pytest.raises(ValueError, match=f"^a frame of {length} bytes$"):
        buffer.feed(length.to_bytes(4, "big")[3:])


field = st.binary(max_size=40).map(lambda data: data.replace(b"\0", b"0"))


@given(frames=st.lists(st.lists(field, min_size=1, max_size=5), max_size=6), cuts=st.lists(st.integers(1, 60)))
def test_whatever_is_sent_arrives(frames: list[list[bytes]], cuts: list[int]) -> None:
    data = b"".join(encode_frame(*fields) for fields in frames)
    buffer, received = FrameBuffer(LIMIT), []
    for cut in cuts:
        received += buffer.feed(data[:cut])
        data = data[cut:]
    assert received + buffer.feed(data) == frames


# Channels


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    left, right = (Channel(end) for end in socket.socketpair())
    with closing(left), closing(right):
        yield left, right


@pytest.fixture
def raw_pair() -> Iterator[tuple[socket.socket, Channel]]:
    """A peer that may send what it likes, and our end."""
    theirs, ours = socket.socketpair()
    channel = Channel(ours, LIMIT)
    with theirs, closing(channel):
        yield theirs, channel


def inode(descriptor: int) -> int:
    return os.fstat(descriptor).st_ino


@pytest.fixture
def new_pipe() -> Iterator[MakePipe]:
    """Makes a pipe whose reading end stays with the test, while the writing end is given away."""
    readers: list[int] = []

    def make() -> tuple[int, int]:
        reader, writer = os.pipe()
        readers.append(reader)
        return reader, writer

    yield make
    for reader in readers:
        os.close(reader)


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_a_channel_carries_frames_both_ways(pair: tuple[Channel, Channel]) -> None:
    left, right = pair
    for fields in FRAMES:
        left.send(*fields)
    right.send(b"answer")
    assert right.receive() == (True, FRAMES)
    assert left.receive() == (True, [[b"answer"]])


def test_a_channel_never_blocks(pair: tuple[Channel, Channel]) -> None:
    """What the peer does not take is kept, in order, and sent when it does."""
    left, right = pair
    assert right.receive() == (True, [])
    sent = [[b"environment", b"x" * 300_000], [b"start", b"1"], [b"environment", b"y" * 300_000], [b"leave"]]
    for fields in sent:
        left.send(*fields)
    assert left.has_unsent
    assert exchange(left, right, len(sent)) == sent
    assert not left.has_unsent


def exchange(left: Channel, right: Channel, count: int) -> list[list[bytes]]:
    """What the right end has received when it has got that many frames."""
    received: list[list[bytes]] = []
    while len(received) < count:
        is_there, frames = right.receive()
        assert is_there
        received += frames
        left.flush()
    return received


def test_a_peer_that_has_gone(pair: tuple[Channel, Channel]) -> None:
    """Sending is no error; that it has gone is told after all that it has sent."""
    left, right = pair
    right.send(b"last words")
    right.close()
    left.send(b"anyone?")
    assert not left.has_unsent
    assert left.receive() == (True, [[b"last words"]])
    assert left.receive() == (False, [])
    assert left.receive() == (False, [])


def test_a_frame_of_the_peer_that_is_too_long(raw_pair: tuple[socket.socket, Channel]) -> None:
    theirs, channel = raw_pair
    theirs.sendall((LIMIT + 1).to_bytes(4, "big"))
    with pytest.raises(ValueError, match=r"^a frame of 1001 bytes$"):
        channel.receive()


# Descriptors


def test_a_descriptor_goes_with_its_frame(pair: tuple[Channel, Channel], new_pipe: MakePipe) -> None:
    """It is closed here once it is sent; what arrives is not inherited by anybody (DESIGN §4)."""
    left, right = pair
    reader, writer = new_pipe()
    left.send(b"started", b"1", descriptor=writer)
    assert not is_open(writer)
    assert right.receive() == (True, [[b"started", b"1"]])
    (received,) = right.descriptors
    assert inode(received) == inode(reader)
    assert not os.get_inheritable(received)


def test_descriptors_of_several_frames_keep_their_order(pair: tuple[Channel, Channel], new_pipe: MakePipe) -> None:
    left, right = pair
    pipes = [new_pipe() for _ in range(3)]
    for _, writer in pipes:
        left.send(b"started", descriptor=writer)
    assert exchange(left, right, len(pipes)) == [[b"started"] for _ in pipes]
    assert [inode(received) for received in right.descriptors] == [inode(reader) for reader, _ in pipes]


def test_a_descriptor_waits_with_its_frame_for_a_peer_that_is_busy(
    pair: tuple[Channel, Channel], new_pipe: MakePipe
) -> None:
    left, right = pair
    reader, writer = new_pipe()
    left.send(b"x" * 1_000_000)
    left.send(b"started", descriptor=writer)
    assert is_open(writer)
    assert exchange(left, right, 2) == [[b"x" * 1_000_000], [b"started"]]
    assert [inode(received) for received in right.descriptors] == [inode(reader)]
    assert not left.has_unsent


@pytest.mark.parametrize("at", range(1, len(encode_frame(b"started", b"1"))))
def test_a_descriptor_stays_with_its_frame_wherever_that_is_split(
    raw_pair: tuple[socket.socket, Channel], new_pipe: MakePipe, at: int
) -> None:
    """It comes with the first byte of a frame whose end may come later."""
    theirs, channel = raw_pair
    reader, writer = new_pipe()
    frame = encode_frame(b"started", b"1")
    theirs.sendmsg([frame[:at]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, writer.to_bytes(4, sys.byteorder))])
    os.close(writer)
    assert channel.receive() == (True, [])
    theirs.sendall(frame[at:])
    assert channel.receive() == (True, [[b"started", b"1"]])
    assert [inode(received) for received in channel.descriptors] == [inode(reader)]


def test_closing_closes_descriptors_that_were_not_sent_or_not_taken(
    pair: tuple[Channel, Channel], new_pipe: MakePipe
) -> None:
    left, right = pair
    taken, unsent = new_pipe()[1], new_pipe()[1]
    left.send(b"started", descriptor=taken)
    right.receive()
    (received,) = right.descriptors
    left.send(b"x" * 1_000_000)
    left.send(b"started", descriptor=unsent)
    left.close()
    right.close()
    assert not is_open(unsent)
    assert not is_open(received)
    assert not left.has_unsent


def test_a_descriptor_for_a_peer_that_has_gone_is_closed(pair: tuple[Channel, Channel], new_pipe: MakePipe) -> None:
    left, right = pair
    _, writer = new_pipe()
    right.close()
    left.send(b"started", descriptor=writer)
    assert not is_open(writer)


# Frames in one step


@pytest.mark.parametrize("room", [1, 4096, 8192, 16384, 0])
@pytest.mark.parametrize("size", [1, 1000, 2000, 4000, 8000])
def test_a_frame_is_sent_as_a_whole_or_not_at_all(pair: tuple[Channel, Channel], room: int, size: int) -> None:
    """DESIGN §4: however little the system has room for, and however much waits there."""
    left, right = pair
    if room:
        left.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    channel = Channel(left.connection.dup())
    with closing(channel):
        count = 0
        while channel.send_whole(b"x" * size):
            count += 1
        received: list[list[bytes]] = []
        while frames := right.receive()[1]:
            received += frames
        assert received == [[b"x" * size]] * count
        channel.send(b"end")
        assert right.receive() == (True, [[b"end"]])
