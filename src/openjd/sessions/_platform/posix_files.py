"""The file that a keeper writes into a working directory. Stand-alone, as ``posix_wire`` is."""

from __future__ import annotations

import _thread
import contextlib
import errno
import os
import stat
import time
from typing import Optional

FILE_LIMIT = 1.0
"""Seconds in which ``cancel_info.json`` has to be written (rule ACT-26)."""


class CancelInfoWriter:
    """Writes ``cancel_info.json`` in a thread of its own: a dead file system stops neither a kill nor the clock."""

    def __init__(self, directory: bytes, text: bytes, waker: int) -> None:
        """Begin; what wakes the keeper is written to the pipe ``waker`` at the end."""
        self.deadline = time.monotonic() + FILE_LIMIT
        self._failure: Optional[int] = None
        _thread.start_new_thread(self._write, (directory, text, waker))

    @property
    def failure(self) -> Optional[int]:
        """None while it writes; then 0, or the number of the error."""
        if self._failure is None and time.monotonic() >= self.deadline:
            self._failure = errno.ETIMEDOUT
        return self._failure

    def _write(self, directory: bytes, text: bytes, waker: int) -> None:
        self._failure = write_cancel_info(directory, text)
        with contextlib.suppress(BlockingIOError):  # it is awake
            os.write(waker, b"!")


def write_cancel_info(directory: bytes, text: bytes) -> int:
    """Put ``cancel_info.json`` in its place whole (rules ACT-26, WD-11); gives 0 or the number of the error."""
    name, fresh = b"cancel_info.json", b".cancel_info.%d.%d" % (os.getpid(), time.monotonic_ns())
    try:
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if not _may_be_replaced(folder, name):
                return errno.EEXIST
            _write_new(folder, fresh, text)
            os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _write_new(folder: int, name: bytes, text: bytes) -> None:
    target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    try:
        _share_as(folder, target)
        while text:
            text = text[os.write(target, text) :]
    finally:
        os.close(target)


def _share_as(folder: int, target: int) -> None:
    """Give the group of a directory what it has there, whatever the umask is."""
    status = os.fstat(folder)
    if status.st_mode & stat.S_IWGRP and status.st_gid != os.fstat(target).st_gid:
        os.fchown(target, -1, status.st_gid)
    os.fchmod(target, 0o660 if status.st_mode & stat.S_IWGRP else 0o600)


def _may_be_replaced(folder: int, name: bytes) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return True
