"""Removing a tree, whatever a job has left in it (POSIX). Stand-alone: launchers run it, for what their users own.

One descriptor is held, links are never followed, other file systems are not entered, and depth does not matter: the way
up goes through ``..``, checked to be the directory that the way down came from.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Optional

Rest = tuple[str, str]
"""The path of what could not be removed, and why."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_PASSES = 10
"""How often a directory is gone through in which files keep appearing."""


def main(directory: str, owner: str) -> None:
    """Remove what this user may remove of what is in a directory, which must belong to the user with that number.

    Raises:
        OSError: There is a link, or a directory of somebody else, in its place.
    """
    descriptor = os.open(directory, _DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid != int(owner):
            raise PermissionError(errno.EPERM, "It belongs to another user", directory)
        for name in os.listdir(descriptor):
            remove_tree(directory, name, descriptor)
    finally:
        os.close(descriptor)


def remove_tree(parent: str, name: str, descriptor: Optional[int] = None) -> list[Rest]:
    """Remove a directory, or whatever has its name, and everything in it.

    Args:
        parent: The path of the directory that contains it; no link itself, and nobody else may have put one into it.
        name: Its name there.
        descriptor: That directory, open; its path is for the report only then.

    Returns:
        What is left. Directories that are left only because of what is left in them are not mentioned.
    """
    rest: list[Rest] = []
    for _ in range(_PASSES):
        try:
            removal = _Removal(parent, descriptor)
        except OSError as error:
            return [(os.path.join(parent, name), str(error.strerror))]
        try:
            removal.run(name)
            return removal.rest
        except OSError as error:  # another one is at work in the tree
            rest = [*removal.rest, (removal.path, str(error.strerror))]
        finally:
            removal.close()
    return rest


@dataclass
class _Level:
    """A directory on the way down."""

    name: str
    path: str
    identity: tuple[int, int]
    directories: list[str] = field(default_factory=list)
    passes: int = 0
    has_rest: bool = False


class _Removal:
    """One attempt; the current directory is that of the last level."""

    def __init__(self, parent: str, descriptor: Optional[int] = None) -> None:
        self.rest: list[Rest] = []
        self._current = os.open(parent if descriptor is None else ".", _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
        self._levels = [_Level("", parent, _identity(self._current))]

    def close(self) -> None:
        os.close(self._current)

    @property
    def path(self) -> str:
        """The path of the current directory."""
        return self._levels[-1].path

    def run(self, name: str) -> None:
        """Remove what can be removed; ``OSError`` if the way is lost because something was moved meanwhile."""
        self._remove(name)
        while len(self._levels) > 1:
            level = self._levels[-1]
            if level.directories:
                self._remove(level.directories.pop())
            else:
                self._go_up(level)

    def _remove(self, name: str) -> None:
        """Remove a file or an empty directory; go into one that is not empty."""
        try:
            os.rmdir(name, dir_fd=self._current)
        except FileNotFoundError:
            pass
        except NotADirectoryError:
            self._unlink(name)
        except OSError:
            self._go_down(name)

    def _unlink(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self._current)
        except (FileNotFoundError, IsADirectoryError):  # another one is at work here: see the next pass
            pass
        except OSError as error:
            self._leave(name, error.strerror)

    def _leave(self, name: str, reason: object) -> None:
        self._levels[-1].has_rest = True
        self.rest.append((os.path.join(self.path, name), str(reason)))

    def _go_down(self, name: str) -> None:
        try:
            descriptor = _open_own(name, self._current)
        except OSError as error:
            self._leave(name, error.strerror)
            return
        identity = _identity(descriptor)
        if len(self._levels) > 1 and identity[0] != self._levels[1].identity[0]:
            os.close(descriptor)
            self._leave(name, "Another file system is mounted there")
            return
        os.close(self._current)
        self._current = descriptor
        self._levels.append(_Level(name, os.path.join(self.path, name), identity))
        self._remove_files()

    def _remove_files(self) -> None:
        """Remove the files of the current directory, and note its directories."""
        level = self._levels[-1]
        level.passes += 1
        with os.scandir(self._current) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        level.directories = [name for name, is_directory in found if is_directory]
        for name, is_directory in found:
            if not is_directory:
                self._unlink(name)

    def _go_up(self, level: _Level) -> None:
        """Go to the directory above, and remove the current one from there."""
        above = os.open("..", _DIRECTORY, dir_fd=self._current)
        if _identity(above) != self._levels[-2].identity:
            os.close(above)
            raise OSError(errno.ESTALE, "It was moved while it was being removed")
        reason = None if level.has_rest else _remove_directory(level.name, above)
        if reason in (errno.ENOTEMPTY, errno.EEXIST) and level.passes < _PASSES:
            os.close(above)
            self._remove_files()
            return
        os.close(self._current)
        self._current = above
        self._levels.pop()
        if level.has_rest:
            self._levels[-1].has_rest = True
        elif reason is not None:
            self._leave(level.name, os.strerror(reason))


def _remove_directory(name: str, parent: int) -> Optional[int]:
    """Remove an empty directory; the number of the error if it is still there."""
    try:
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.errno
    return None


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _open_own(name: str, parent: int) -> int:
    """Open a directory, giving us the permissions on it that we lack if it is ours."""
    try:
        descriptor = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except PermissionError:
        _grant(name, parent)
        descriptor = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    mode = os.fstat(descriptor).st_mode
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        with suppress(OSError):
            os.fchmod(descriptor, stat.S_IRWXU)
    return descriptor


def _grant(name: str, parent: int) -> None:
    if os.chmod in os.supports_follow_symlinks:
        os.chmod(name, stat.S_IRWXU, dir_fd=parent, follow_symlinks=False)
        return
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{handle}", stat.S_IRWXU)
    finally:
        os.close(handle)
