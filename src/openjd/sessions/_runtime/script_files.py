"""The embedded files of a script: first their paths, then their contents (rules FILE-1 to FILE-15)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from openjd.model.v2023_09 import EmbeddedFileText, EndOfLine

from openjd.sessions._core.scopes import Scope
from openjd.sessions._errors import ActionFailed
from openjd.sessions._logging import LogContent, SessionLog
from openjd.sessions._runtime.files_directory import FilesDirectory

_NOT_A_BASE_NAME = re.compile(r"|\.\.?|.*[/\\\0].*|[A-Za-z]:.*", re.DOTALL)


@dataclass(frozen=True)
class ScriptOwner:
    """Whose script it is."""

    title: str
    """For the reasons of failures: ``Environment 'Maya'``, ``Step 'Render'``, ``Task``."""
    kind: str
    """For the log: ``Environment`` or ``Task``."""
    file_symbol: str
    """What precedes the name of a file in its symbol: ``Env.File`` or ``Task.File``."""


class ScriptFiles:
    """The embedded files of one script; their paths stay the same for the life of this object (FILE-8)."""

    def __init__(
        self,
        owner: ScriptOwner,
        files: Optional[Sequence[EmbeddedFileText]],
        directory: FilesDirectory,
        log: SessionLog,
        *,
        is_apart: bool = False,
    ) -> None:
        """Files of a script.

        Args:
            owner: Whose script it is.
            files: The files.
            directory: Where they are written.
            log: Where that is told.
            is_apart: Whether they have a directory of their own in that one, so that they exist at the same time as
                other files of the same names (FILE-7).
        """
        self.owner = owner
        self._files = files or ()
        self._directory = directory
        self._needs_own_directory = is_apart
        self._log = log
        self._names: dict[str, str] = {}
        self._is_written = False

    def allocate(self) -> dict[str, str]:
        """The symbols of the files, with their paths as values.

        Raises:
            ActionFailed: A given file name cannot be used, or the directory of its own cannot be made.
        """
        if not self._files:
            return {}
        self._check_filenames()
        if self._needs_own_directory:
            self._move_to_own_directory()
        self._log.info(f"{'Reusing' if self._names else 'Allocating'} embedded file paths for {self.owner.kind}.")
        self._names = self._names or _names_of(self._files)
        symbols = {
            f"{self.owner.file_symbol}.{name}": self._directory.path_of(filename)
            for name, filename in self._names.items()
        }
        lines = [f"Mapping: {symbol} -> {path}" for symbol, path in symbols.items()]
        self._log.info_lines(lines, LogContent.FILE_PATH | LogContent.PARAMETER_INFO)
        return symbols

    def write(self, scope: Scope) -> None:
        """Write all files, with contents resolved anew (FILE-1).

        Raises:
            ActionFailed: The contents of a file have no value, or it cannot be written.
        """
        if not self._files:
            return
        self._log.info(f"Writing embedded files to disk for {self.owner.kind}.")
        self._log.flush()
        written: dict[str, str] = {}
        is_first, self._is_written = not self._is_written, True
        try:
            for file in self._files:
                text: str = file.data
                if file.data.expressions:
                    text = scope.resolve(file.data, f"{self._where(file)}, data")
                written[f"Wrote: {file.name} -> {self._write_file(file, text, is_first)}"] = text
        finally:
            self._log.info_lines(written, LogContent.FILE_PATH)
            self._log.debug_lines((f"Contents:\n{text}" for text in written.values()), LogContent.FILE_CONTENTS)

    def discard(self) -> None:
        """Remove the files with random names, which nothing can refer to any more."""
        if self._names:
            self._log.flush()
        for file in self._files:
            if file.filename is None and file.name in self._names:
                self._directory.remove(self._names[file.name])
        self._directory.leave()

    def _where(self, file: EmbeddedFileText) -> str:
        return f"{self.owner.title}, embedded file {file.name!r}"

    def _check_filenames(self) -> None:
        owners: dict[str, EmbeddedFileText] = {}
        for file in self._files:
            if file.filename is None:
                continue
            if _NOT_A_BASE_NAME.fullmatch(file.filename):
                raise ActionFailed(
                    f"{self._where(file)}: filename {file.filename!r} must be the plain name of a file, "
                    "without directory, drive or NUL."
                )
            other = owners.setdefault(file.filename.casefold(), file)
            if other is not file and (other.filename == file.filename or self._directory.ignores_case()):
                raise ActionFailed(
                    f"{self._where(file)}: filename {file.filename!r} is the same file as filename "
                    f"{other.filename!r} of embedded file {other.name!r}. Give each file a name of its own."
                )

    def _move_to_own_directory(self) -> None:
        try:
            self._directory = self._directory.make_inner()
        except ActionFailed as error:
            raise ActionFailed(f"{self.owner.title}: {error}") from error
        self._needs_own_directory = False

    def _write_file(self, file: EmbeddedFileText, text: str, is_first: bool) -> str:
        name, is_new = self._names[file.name], is_first and file.filename is None
        try:
            data = _contents(text, file.endOfLine)
            return self._directory.write(name, data, executable=bool(file.runnable), is_new=is_new)
        except ActionFailed as error:
            raise ActionFailed(f"{self._where(file)}: {error}") from error


def _names_of(files: Sequence[EmbeddedFileText]) -> dict[str, str]:
    """The given names; and for files without one, names that nobody has made up before, nor will (FILE-3)."""
    made_up = os.urandom(8 * len(files)).hex()
    return {
        file.name: made_up[16 * number : 16 * number + 16] if file.filename is None else file.filename
        for number, file in enumerate(files)
    }


def _contents(text: str, end_of_line: Optional[EndOfLine]) -> bytes:
    """What is in a file; its line ends are the host's own unless the template says otherwise (FILE-10, FILE-11)."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ActionFailed(
            f"data contains {text[error.start]!r}, which cannot be written as UTF-8. "
            "Remove it from the text, or from the parameter that the text uses."
        ) from error
    if b"\r" in data:  # a search for one character is far quicker
        data = data.replace(b"\r\n", b"\n")
    use_crlf = end_of_line == EndOfLine.CRLF or (end_of_line != EndOfLine.LF and os.linesep == "\r\n")
    return data.replace(b"\n", b"\r\n") if use_crlf else data
