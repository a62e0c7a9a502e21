"""Frames and descriptors between this program and its launcher and keepers; the same code at both ends. Stand-alone.

A frame is a length (4 bytes, big-endian) and fields separated by NUL, which no argument and no variable can contain.
The stand-alone files are sent over a socket to ``python -I -S`` (3.9 or newer), so they import nothing of this package
but each other, and little else.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import socket
import sys
from collections.abc import Iterable
from typing import Optional

MAX_FRAME = 64 * 1024 * 1024
"""Bytes of the longest frame to a keeper: the variables of an action cross in one."""

_SHORT = 64 * 1024
"""Bytes up to which frames are sent together."""
_LONGEST_WHOLE = 8 * 1024 if sys.platform == "linux" else 0
"""Bytes up to which a frame may be sent in one step."""
_NOW = int(socket.MSG_DONTWAIT)  # whatever whoever shares the socket makes of its mode
_CLOSE_ON_EXEC = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))  # Linux: no moment in which a fork could hand it on
_RIGHTS = (int(socket.SOL_SOCKET), int(socket.SCM_RIGHTS))
_MOST_DESCRIPTORS = 16
_ROOM = socket.CMSG_SPACE(253 * 4)  # as many as the kernel lets one message have


def encode_frame(*fields: bytes) -> bytes:
    """The bytes of one frame."""
    body = b"\0".join(fields)
    return len(body).to_bytes(4, "big") + body


class FrameBuffer:
    """Puts received bytes together to frames; a frame longer than ``limit`` bytes is a ``ValueError``."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()

    def feed(self, data: bytes) -> list[list[bytes]]:
        """Take received bytes; give the fields of each frame they complete."""
        self._data += data
        frames = []
        while len(self._data) >= 4:
            length = int.from_bytes(self._data[:4], "big")
            if length > self._limit:
                raise ValueError(f"a frame of {length} bytes")
            if len(self._data) < 4 + length:
                break
            frames.append(bytes(self._data[4 : 4 + length]).split(b"\0"))
            del self._data[: 4 + length]
        return frames


class Channel:
    """One end of a stream socket: frames out, each with at most one descriptor, and frames in. Never blocks."""

    def __init__(self, connection: socket.socket, limit: int = MAX_FRAME, *, is_trusted: bool = True) -> None:
        self.connection = connection
        self.descriptors: list[int] = []
        """Descriptors that have come along and were not taken yet; each comes no later than its frame."""
        connection.setblocking(False)
        self._frames = FrameBuffer(limit)
        self._is_trusted = is_trusted
        self._unsent: list[tuple[bytes, Optional[int]]] = []
        # Linux takes as a whole or not at all what fits into half of the buffer, less a few bytes
        self._longest_whole = min(_LONGEST_WHOLE, connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 4)

    def fileno(self) -> int:
        return self.connection.fileno()

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def send(self, *fields: bytes, descriptor: Optional[int] = None) -> None:
        """Send a frame, or keep what the peer can't take yet; ``descriptor`` is closed once it is sent."""
        self._unsent.append((encode_frame(*fields), descriptor))
        self.flush()

    def put(self, *fields: bytes) -> None:
        """Add a frame that goes together with the next one, or at the latest with ``flush``."""
        self._unsent.append((encode_frame(*fields), None))

    def send_whole(self, *fields: bytes) -> bool:
        """Send a short frame in one step that nothing can interrupt; False if that can't be done now."""
        frame = encode_frame(*fields)
        try:
            return not self._unsent and len(frame) <= self._longest_whole and self.connection.send(frame, _NOW) > 0
        except BlockingIOError:
            return False
        except OSError:  # the peer is gone; its end-of-file tells, too
            return True

    def flush(self) -> None:
        """Send what is waiting, as far as the peer takes it."""
        while self._unsent:
            self._join_short()
            data, descriptor = self._unsent[0]
            try:
                sent = self._send_some(data, descriptor)
            except BlockingIOError:
                return
            except OSError:  # the peer is gone; its end-of-file tells, too
                sent = len(data)
            if descriptor is not None:
                os.close(descriptor)  # it went with the first byte
            self._unsent[0] = (data[sent:], None)
            if sent == len(data):
                del self._unsent[0]

    def _join_short(self) -> None:
        """Make one of the first two frames, if they are short and the second one has no descriptor."""
        if len(self._unsent) > 1 and self._unsent[1][1] is None:
            (first, descriptor), (second, _) = self._unsent[:2]
            if len(first) + len(second) <= _SHORT:
                self._unsent[:2] = [(first + second, descriptor)]

    def _send_some(self, data: bytes, descriptor: Optional[int]) -> int:
        if descriptor is None:
            return self.connection.send(data, _NOW)
        rights = descriptor.to_bytes(4, sys.byteorder)
        return self.connection.sendmsg([data], [(*_RIGHTS, rights)], _NOW)

    def receive(self) -> tuple[bool, list[list[bytes]]]:
        """Give whether the peer is still there, and the frames that are complete; keep descriptors that came along."""
        try:
            data, received = receive_all(self.connection)
        except BlockingIOError:
            return True, []
        except OSError:
            return False, []
        self.descriptors += received
        if len(self.descriptors) > _MOST_DESCRIPTORS:  # nobody honest sends so many
            return False, []
        return bool(data), self._frames.feed(data)

    def close(self) -> None:
        """Close this end, and the descriptors that were never sent or taken."""
        left = [descriptor for _, descriptor in self._unsent if descriptor is not None] + self.descriptors
        self._unsent.clear()
        self.descriptors.clear()
        if self._is_trusted:
            _close_all(left)
            self.connection.close()
        else:  # among them, and among those that nobody has received, may be some whose closing waits
            close_elsewhere([*left, self.connection.detach()])


def receive_all(connection: socket.socket) -> tuple[bytes, list[int]]:
    """Receive bytes, and every descriptor that comes along: those that find no room are closed, which may wait."""
    data, ancillary, _, _ = connection.recvmsg(65536, _ROOM, _NOW | _CLOSE_ON_EXEC)
    received = [
        int.from_bytes(rights[at : at + 4], sys.byteorder)
        for level, kind, rights in ancillary
        if (level, kind) == _RIGHTS
        for at in range(0, len(rights) - 3, 4)
    ]
    if not _CLOSE_ON_EXEC:
        for descriptor in received:
            os.set_inheritable(descriptor, False)
    return data, received


def close_elsewhere(descriptors: Iterable[int]) -> None:
    """Close what somebody else has opened, in a thread of its own: that may wait for as long as they like.

    Where no thread can be had they stay open, rather than that who has to go on waits.
    """
    left = list(descriptors)
    if left:
        has_begun = _thread.allocate_lock()
        has_begun.acquire()
        try:
            _thread.start_new_thread(_begin_to_close, (left, has_begun))
        except RuntimeError:
            return
        has_begun.acquire()  # a thread that begins while the interpreter ends can crash it


def _begin_to_close(descriptors: list[int], has_begun: _thread.LockType) -> None:
    has_begun.release()
    _close_all(descriptors)


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
