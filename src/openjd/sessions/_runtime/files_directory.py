"""The directory of embedded files: held open, and never reached through a path that a job could have replaced."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Optional

from openjd.sessions._errors import ActionFailed

if TYPE_CHECKING:
    from openjd.sessions._platform.directories import PrivateDirectory


class FilesDirectory:
    """Files that the library writes for an action (rules FILE-3, FILE-5, WD-11, WD-13)."""

    def __init__(self, directory: PrivateDirectory, outer: Optional[FilesDirectory] = None) -> None:
        self._directory = directory
        self._outer = outer
        self._inner: list[FilesDirectory] = []
        self.path = directory.path
        self.group = directory.group
        self._prefix = os.path.join(self.path, "")

    def make_inner(self) -> FilesDirectory:
        """A new directory in this one, which is closed with it.

        Raises:
            ActionFailed: None can be made.
        """
        from openjd.sessions._platform.directories import PrivateDirectory, random_name

        try:
            made = PrivateDirectory.make(self.path, self._directory.descriptor, random_name(), self.group)
        except OSError as error:
            raise ActionFailed(
                f"a directory for its files cannot be made in {self.path!r}: {error.strerror}."
            ) from error
        self._inner.append(FilesDirectory(made, self))
        return self._inner[-1]

    def leave(self) -> None:
        """Close and remove an inner directory before the outer one is closed."""
        if self._outer is not None:
            self.close()
            self._outer._inner.remove(self)
            self._outer._directory.remove_inner(os.path.basename(self.path))

    def path_of(self, name: str) -> str:
        """The path of a file."""
        return self._prefix + name

    def ignores_case(self) -> bool:
        """Whether two names that differ in letter case only are one file here."""
        parent, name = os.path.split(self.path)
        return os.path.exists(os.path.join(parent, name.swapcase()))

    def write(self, name: str, data: bytes, *, executable: bool = False, is_new: bool = False) -> str:
        """Put a file in place of a regular file of that name, if there is one; gives its path.

        Args:
            name: The name of the file.
            data: What is in it.
            executable: Whether it is a program.
            is_new: Whether the name has just been made up, so that nothing has it, and nobody knows it.

        Raises:
            ActionFailed: It cannot be written; what was there before is still there.
        """
        put = self._directory.create if is_new else self._directory.write
        try:
            put(name, data, executable)
        except OSError as error:
            raise unwritable(repr(name), self.path, error) from error
        return self.path_of(name)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        self._directory.remove(name)

    def close(self) -> None:
        """Close the descriptor, and those of the inner directories."""
        for inner in self._inner:
            inner.close()
        self._directory.close()


def unwritable(what: str, where: str, error: OSError) -> ActionFailed:
    """The failure of an action whose files can't be written."""
    return ActionFailed(f"{what} cannot be written in {where!r}: {error.strerror}.")
