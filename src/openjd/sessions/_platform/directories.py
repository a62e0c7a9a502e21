"""Private directories and files, their ownership, and owner marks (POSIX).

Rules: WD-1 to WD-7, WD-11, WD-13. Everything below a root directory is reached through descriptors and never through a
link: a name that is one component cannot leave the directory it is opened in.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Optional, Union

from openjd.sessions._errors import WorkspaceError

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_LONGEST_NAME = 1024
_ACCESS_LISTS = ("system.posix_acl_access", "system.posix_acl_default")
_MARK = re.compile(r"\.([0-9a-f]{8})\.owner")


@dataclass(frozen=True)
class Root:
    """An open directory that working directories are made in."""

    descriptor: int
    path: str
    """Absolute, without links."""
    warnings: tuple[str, ...]
    """What is said of it and its ancestors, as far as others than this user and root may rename what is in them."""


@contextmanager
def open_root(given: Union[str, os.PathLike[str], None]) -> Iterator[Root]:
    """The given root, which must exist, or the default one, which is made (WD-1 to WD-4)."""
    try:
        root = _open_default_root() if given is None else _open_given_root(os.path.abspath(os.fspath(given)))
    except OSError as error:
        raise WorkspaceError(
            f"The root directory {error.filename or given!r} cannot be used: {error.strerror}. "
            "Give a session_root_directory that exists and that this user may write to."
        ) from error
    try:
        yield root
    finally:
        os.close(root.descriptor)


def _open_given_root(path: str) -> Root:
    try:
        path, warnings = _inspect(path)
        return Root(os.open(path, DIRECTORY | os.O_NOFOLLOW), path, warnings)
    except (FileNotFoundError, NotADirectoryError):
        raise WorkspaceError(
            f"The session_root_directory {path!r} must be an existing directory. "
            "Create it, or leave it out to use the default."
        ) from None


def _open_default_root() -> Root:
    parent = tempfile.gettempdir()
    if not os.path.lexists(os.path.join(parent, "OpenJD")):
        os.makedirs(os.path.join(parent, "OpenJD"), exist_ok=True)
    path = os.path.join(os.path.realpath(parent), "OpenJD")
    try:
        descriptor = os.open(path, DIRECTORY | os.O_NOFOLLOW)
    except NotADirectoryError:
        raise _untrusted(path, "is a link, or no directory") from None
    try:
        _take_default_root(path, descriptor)
        return Root(descriptor, *_inspect(path))
    except BaseException:
        os.close(descriptor)
        raise


def _take_default_root(path: str, descriptor: int) -> None:
    status = os.fstat(descriptor)
    if status.st_uid not in (os.geteuid(), 0):
        raise _untrusted(path, f"belongs to user id {status.st_uid}")
    if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) != 0o755:
        os.fchmod(descriptor, 0o755)


def _untrusted(path: str, reason: str) -> WorkspaceError:
    return WorkspaceError(
        f"The default root directory {path!r} {reason}; it must be a directory that belongs to this user or to root. "
        "Remove it, or give a session_root_directory."
    )


def _inspect(path: str) -> tuple[str, tuple[str, ...]]:
    """The path without links, and what is to be said of it and its ancestors (WD-4)."""
    found = _upwards(path)
    if any(stat.S_ISLNK(status.st_mode) for status in found.values()):
        path = os.path.realpath(path)
        found = _upwards(path)
    warnings = [_warning(name, status) for name, status in reversed(found.items())]
    return path, tuple(filter(None, warnings))


def _upwards(path: str) -> dict[str, os.stat_result]:
    found = {path: os.lstat(path)}
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        found[path] = os.lstat(path)
    return found


def _warning(path: str, status: os.stat_result) -> Optional[str]:
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX:
        reason = f"Sticky bit is not set on {path}"
    elif status.st_uid not in (os.geteuid(), 0):
        reason = f"User id {status.st_uid} owns {path}"
    else:
        return None
    return (
        f"{reason}. This may pose a risk when running work on this host as users may modify or "
        "delete files in this directory which do not belong to them."
    )


def random_name() -> str:
    """Eight random characters."""
    return os.urandom(4).hex()


def group_id(name: str) -> int:
    """The number of a group."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise WorkspaceError(
            f"The session user's group {name!r} does not exist on this host. Give the user an existing group."
        ) from None


class OwnerMark:
    """The locked file ``.<name>.owner`` beside a directory.

    One that is locked belongs to a living program. Where the file system has no locks nobody can lock it, so nobody
    mistakes the directory for an abandoned one either.
    """

    def __init__(self, root: Root, name: str, flags: int) -> None:
        self.name = name
        self._path = os.path.join(root.path, f".{name}.owner")
        self._descriptor = os.open(f".{name}.owner", flags, 0o600, dir_fd=root.descriptor)

    @classmethod
    def make(cls, root: Root, name: str) -> OwnerMark:
        """A new mark; ``FileExistsError`` if another one has the name."""
        mark = cls(root, name, NEW_FILE)
        try:
            mark._lock()
            os.fchmod(mark._descriptor, 0o600)
        except (BlockingIOError, FileNotFoundError):  # taken for abandoned before it was locked
            mark.close()
            raise FileExistsError(mark._path) from None
        except OSError:  # no locks, or no modes here
            pass
        return mark

    @classmethod
    def take_over(cls, root: Root, name: str) -> OwnerMark:
        """An abandoned mark of this user, as ``make`` makes them; ``OSError`` if it is not."""
        mark = cls(root, name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            mark._lock()
            status = os.fstat(mark._descriptor)
            if (status.st_uid, status.st_mode, status.st_nlink) != (os.geteuid(), stat.S_IFREG | 0o600, 1):
                raise PermissionError(mark._path)
        except OSError:
            mark.close()
            raise
        return mark

    def _lock(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(self._descriptor).st_nlink:
            raise FileNotFoundError(self._path)

    def note_user(self, name: str) -> None:
        """Write down who else may have files in the directory."""
        _write_all(self._descriptor, os.fsencode(name))

    @property
    def user(self) -> Optional[str]:
        """Who else may have files in the directory, if anybody."""
        return os.fsdecode(os.pread(self._descriptor, _LONGEST_NAME, 0)) or None

    def remove(self) -> None:
        """Give the directory up."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.unlink(self._path)
            self.close()

    def close(self) -> None:
        """Unlock the mark and leave it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def make_marked_directory(root: Root, group: Optional[int]) -> tuple[PrivateDirectory, OwnerMark]:
    """A new private directory in a root, with its owner mark."""
    while True:
        with suppress(FileExistsError):
            mark = OwnerMark.make(root, random_name())
            try:
                return PrivateDirectory.make(root.path, root.descriptor, mark.name, group), mark
            except OSError:
                mark.remove()
                raise


def abandoned_marks(root: Root) -> Iterator[OwnerMark]:
    """The marks of this user whose programs are gone, taken over.

    Raises:
        WorkspaceError: Others may write to the root, and so put a mark there that tells of somebody else's directory.
    """
    _refuse_shared(root)
    for found in filter(None, map(_MARK.fullmatch, os.listdir(root.descriptor))):
        with suppress(OSError):
            yield OwnerMark.take_over(root, found[1])


def _refuse_shared(root: Root) -> None:
    status = os.fstat(root.descriptor)
    if status.st_uid not in (os.geteuid(), 0) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise WorkspaceError(
            f"The root directory {root.path!r} is not swept: others than this user and root may write to it, and what "
            "they put there is not trusted. Delete by hand what has been left there, or give a root of this user alone."
        )


class PrivateDirectory:
    """An open directory for this user, or for a group, and nobody else (WD-7)."""

    def __init__(self, path: str, descriptor: int, group: Optional[int]) -> None:
        self.path = path
        self.descriptor = descriptor
        self.group = group
        self._draft = f".{os.path.basename(path)}.draft"

    @classmethod
    def make(cls, parent: str, parent_descriptor: int, name: str, group: Optional[int]) -> PrivateDirectory:
        """A new directory; ``FileExistsError`` if there is something of that name."""
        os.mkdir(name, 0o700, dir_fd=parent_descriptor)
        made = cls(os.path.join(parent, name), -1, group)
        try:
            made.descriptor = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=parent_descriptor)
            _drop_access_lists(made.descriptor)
            made._give(made.descriptor, 0o700)
        except OSError:
            made.close()
            os.rmdir(name, dir_fd=parent_descriptor)
            raise
        return made

    @classmethod
    def open(cls, path: str, group: Optional[int]) -> PrivateDirectory:
        """One that was made before."""
        return cls(path, os.open(path, DIRECTORY | os.O_NOFOLLOW), group)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def create(self, name: str, data: bytes, executable: bool) -> None:
        """Make a file of a name that nothing has; none but root can read it before it is complete (FILE-3)."""
        descriptor = os.open(name, NEW_FILE, stat.S_IWUSR, dir_fd=self.descriptor)
        try:
            try:
                _write_all(descriptor, data)
                self._give(descriptor, 0o700 if executable else 0o600)
            finally:
                os.close(descriptor)
        except BaseException:
            self.remove(name)
            raise

    def write(self, name: str, data: bytes, executable: bool) -> None:
        """Put a complete file in place of what had the name, which must be a regular file, if anything (WD-11)."""
        self._check_replaceable(name)
        try:
            self._create_draft(data, executable)
            os.rename(self._draft, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        except BaseException:
            self.remove(self._draft)  # if it is there: Ctrl-C may have come after it has got its name
            raise

    def _create_draft(self, data: bytes, executable: bool) -> None:
        try:
            self.create(self._draft, data, executable)
        except FileExistsError:  # Ctrl-C has left it
            self.remove(self._draft)
            self.create(self._draft, data, executable)

    def remove(self, name: str) -> None:
        """Remove a file, if it is still there and can be removed."""
        try:
            os.unlink(name, dir_fd=self.descriptor)
        except OSError:
            return

    def remove_inner(self, name: str) -> None:
        """Remove a directory in this one and what is in it, as far as that can be removed."""
        from openjd.sessions._platform.removal import remove_tree

        remove_tree(self.path, name, self.descriptor)

    def _check_replaceable(self, name: str) -> None:
        try:
            kind = stat.S_IFMT(os.stat(name, dir_fd=self.descriptor, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return
        if kind != stat.S_IFREG:
            what = {stat.S_IFLNK: "A link", stat.S_IFDIR: "A directory"}.get(kind, "A pipe or device")
            raise OSError(errno.EEXIST, f"{what} is in its place, and only a regular file is ever replaced")

    def _give(self, descriptor: int, mode: int) -> None:
        """Set the group, then the mode, whatever the umask is; a group has what its owner has (WD-7, WD-11)."""
        if self.group is not None:
            os.fchown(descriptor, -1, self.group)
            mode |= mode >> 3
        os.fchmod(descriptor, mode)


def _drop_access_lists(descriptor: int) -> None:
    """Drop what a directory has inherited from its parent: a group's mode would give it effect (Linux)."""
    for name in _ACCESS_LISTS if hasattr(os, "removexattr") else ():
        try:
            os.removexattr(descriptor, name)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOTSUP):
                raise


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])
