"""A program that locks its output pipe: it prints from memory that it withholds (userfaultfd).

``python -I -S withholding.py LOCKED [GO]`` makes the file LOCKED, with its process id, once whoever reads its output is
bound to wait. With a named pipe GO, a child does that when something comes from there; the command has ended by then.
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


class Withholder:
    """Prints page after page, until one that is missing keeps the pipe locked while there is something to be read."""

    def __init__(self, locked: str) -> None:
        self._locked = locked
        self._memory = mmap.mmap(-1, _PAGE * _PAGES)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._reader = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK)
        self._faults = open_userfaultfd()
        registration = struct.pack("QQQQ", self._address, _PAGE * _PAGES, _MISSING, 0)
        fcntl.ioctl(self._faults, _REGISTER, bytearray(registration))

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
                self._tell()
                return
            fcntl.ioctl(
                self._faults, _FILL, bytearray(struct.pack("QQQq", self._address + number * _PAGE, _PAGE, 0, 0))
            )

    def _tell(self) -> None:
        with open(f"{self._locked}.new", "w") as file:
            file.write(str(os.getpid()))
        os.rename(f"{self._locked}.new", self._locked)


def main(locked: str, go: str = "") -> None:
    signal.alarm(LIFETIME)
    if go and os.fork():
        return
    signal.alarm(LIFETIME)
    if go:
        with open(go, "rb") as pipe:
            pipe.read(1)
    Withholder(locked).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
