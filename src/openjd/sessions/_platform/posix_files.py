"""The file that a keeper writes into a working directory. Stand-alone, as ``posix_wire`` is."""

from __future__ import annotations

import errno
import os
import stat


def write_cancel_info(directory: bytes, text: bytes) -> int:
    """Put ``cancel_info.json`` in its place whole (rules ACT-26, WD-11); gives 0 or the number of the error."""
    name, fresh = b"cancel_info.json", b".cancel_info.%d" % os.getpid()
    try:
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        if not _may_be_replaced(folder, name):
            return errno.EEXIST
        target = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
        os.fchmod(target, 0o600)  # whatever the umask is
        while text:
            text = text[os.write(target, text) :]
        os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _may_be_replaced(folder: int, name: bytes) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return True
