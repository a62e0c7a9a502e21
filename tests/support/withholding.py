"""A program that locks its output pipe: it prints from memory that it withholds (userfaultfd).

``python -I -S withholding.py LOCKED [GO]`` makes the file LOCKED, with its process id, once whoever reads its output is
bound to wait. With a named pipe GO, a child does that when something comes from there; the command has ended by then.
With ``socket`` in its place it receives into such memory from standard input, and whoever else receives there waits.
None outlives its test by more than a minute.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import platform
import select
import signal
import socket
import struct
import sys
import threading

LIFETIME = 60
_SYSTEM_CALLS = {"x86_64": 323, "aarch64": 282}
_NO_WAIT, _CLOSE_ON_EXEC = os.O_NONBLOCK, getattr(os, "O_CLOEXEC", 0)
_INTRODUCE, _REGISTER, _FILL = 0xC018AA3F, 0xC020AA00, 0xC020AA04
_MISSING = 1
_PAGE = mmap.PAGESIZE
_PAGES = 1000


def open_userfaultfd() -> int:
    """A descriptor for memory that this program serves itself.

    Raises:
        OSError: The system has no such thing, or does not let this user have it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.syscall(_SYSTEM_CALLS.get(platform.machine(), -1), _CLOSE_ON_EXEC | _NO_WAIT))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    fcntl.ioctl(descriptor, _INTRODUCE, bytearray(struct.pack("QQQ", 0xAA, 0, 0)))
    return descriptor


def withhold(pages: int) -> tuple[mmap.mmap, int, int]:
    """Memory that is missing, its address, and the descriptor that tells when it is touched."""
    memory = mmap.mmap(-1, _PAGE * pages)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    faults = open_userfaultfd()
    fcntl.ioctl(faults, _REGISTER, bytearray(struct.pack("QQQQ", address, _PAGE * pages, _MISSING, 0)))
    return memory, address, faults


def tell(locked: str) -> None:
    """Make the file that tells."""
    with open(f"{locked}.new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(f"{locked}.new", locked)


def receive(locked: str) -> None:
    """Receive from the socket that is standard input, which keeps it locked."""
    memory, _, faults = withhold(1)

    def tell_when_touched() -> None:
        select.select([faults], [], [])
        tell(locked)

    threading.Thread(target=tell_when_touched, daemon=True).start()
    socket.socket(fileno=0).recv_into(memoryview(memory))


class Withholder:
    """Prints page after page, until one that is missing keeps the pipe locked while there is something to be read."""

    def __init__(self, locked: str) -> None:
        self._locked = locked
        self._memory, self._address, self._faults = withhold(_PAGES)
        self._reader = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK)

    def run(self) -> None:
        threading.Thread(target=self._serve, daemon=True).start()
        for number in range(_PAGES):
            os.write(1, b"filling\n" * 2000)
            os.write(1, memoryview(self._memory)[number * _PAGE : (number + 1) * _PAGE])

    def _serve(self) -> None:
        for number in range(_PAGES):
            select.select([self._faults], [], [])
            os.read(self._faults, 4096)
            if select.select([self._reader], [], [], 0)[0]:
                tell(self._locked)
                return
            fcntl.ioctl(
                self._faults, _FILL, bytearray(struct.pack("QQQq", self._address + number * _PAGE, _PAGE, 0, 0))
            )


def main(locked: str, go: str = "") -> None:
    signal.alarm(LIFETIME)
    if go == "socket":
        receive(locked)
        return
    if go and os.fork():
        return
    signal.alarm(LIFETIME)
    if go:
        with open(go, "rb") as pipe:
            pipe.read(1)
    Withholder(locked).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
