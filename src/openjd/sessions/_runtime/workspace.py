"""The directories and files of a Session, and its owner mark (rules WD-1 to WD-13, FILE-3, FILE-5, LC-34).

Beside a working directory lies ``.<name>.owner``, locked by the program from before the directory is made until after
it is deleted. A mark that can be locked thus tells of a directory whose owner is gone.
"""

from __future__ import annotations

import os
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Union

from openjd.sessions._errors import WorkspaceError
from openjd.sessions._runtime.files_directory import FilesDirectory, unwritable

if TYPE_CHECKING:
    from openjd.sessions._platform.directories import OwnerMark, PrivateDirectory, Root


class Workspace:
    """A working directory with its files directory."""

    def __init__(self, root: Root, mark: OwnerMark, files: PrivateDirectory) -> None:
        self.path = os.path.join(root.path, mark.name)
        self._mark = mark
        self.files = FilesDirectory(files)
        self._rules_path = ""
        self._rules_document: Optional[str] = None
        self.warnings = root.warnings

    @cached_property
    def directory(self) -> Path:
        """The working directory."""
        return Path(self.path)

    @cached_property
    def files_directory(self) -> Path:
        """The directory of embedded files."""
        return Path(self.files.path)

    @classmethod
    def create(cls, root: Union[Path, str, None], group: Optional[str], user: Optional[str] = None) -> Workspace:
        """Make the directories and the owner mark.

        Args:
            root: The directory to make the working directory in; ``None`` for the default one.
            group: The group that may use it too.
            user: The other user who runs the actions, if there is one.

        Raises:
            WorkspaceError: They cannot be made, or the root cannot be trusted.
        """
        from openjd.sessions._platform import directories

        number = directories.group_id(group) if group is not None else None
        with directories.open_root(root) as place:
            try:
                return cls._create(place, number, user)
            except OSError as error:
                whom = f" that the group {group!r} may use" if group is not None else ""
                raise WorkspaceError(
                    f"A directory{whom} cannot be made in {place.path!r}: {error.strerror}. "
                    "This user must be allowed to make it, and to hand it to the group if there is one."
                ) from error

    @classmethod
    def _create(cls, root: Root, group: Optional[int], user: Optional[str]) -> Workspace:
        from openjd.sessions._platform import directories

        working, mark = directories.make_marked_directory(root, group)
        try:
            if user is not None:
                mark.note_user(user)
            name = "embedded_files" + directories.random_name()
            return cls(root, mark, directories.PrivateDirectory.make(working.path, working.descriptor, name, group))
        except OSError:
            os.rmdir(working.path)
            mark.remove()
            raise
        finally:
            working.close()

    def write_rules(self, document: str) -> str:
        """The path of the path mapping file, written when it is new, has changed or has been deleted (PM-15).

        Raises:
            ActionFailed: It cannot be written.
        """
        if document == self._rules_document and os.path.lexists(self._rules_path):
            return self._rules_path
        from openjd.sessions._platform import directories

        name = os.path.basename(self._rules_path) or f"{directories.random_name()}.json"
        try:
            opened = directories.PrivateDirectory.open(self.path, self.files.group)
            with closing(opened) as directory:
                directory.write(name, document.encode("utf-8"), executable=False)
        except OSError as error:
            raise unwritable("The path mapping file", self.path, error) from error
        self._rules_path, self._rules_document = os.path.join(self.path, name), document
        return self._rules_path

    def delete(self) -> list[tuple[Path, str]]:
        """Delete everything; what could not be deleted, and why (LC-34).

        The owner mark stays, unlocked, beside what could not be deleted.
        """
        self.files.close()
        rest = self._delete_directories()
        if rest:
            self._mark.close()
        else:
            self._mark.remove()
        return [(Path(path), reason) for path, reason in rest]

    def _delete_directories(self) -> list[tuple[str, str]]:
        try:
            os.rmdir(self.files.path)
            os.rmdir(self.path)
            return []
        except OSError:
            from openjd.sessions._platform.removal import remove_tree

            return remove_tree(*os.path.split(self.path))

    def disown(self) -> None:
        """Have the directory be nobody's property, which is never swept."""
        self._mark.remove()

    def release(self) -> None:
        """Leave everything where it is, as nobody's property."""
        self.files.close()
        self._mark.remove()

    def close(self) -> None:
        """Close the descriptors and touch nothing else: for a forked child, whose parent owns the rest."""
        self.files.close()
        self._mark.close()
