"""Print to standard output or standard error, for as long as somebody reads it."""

from __future__ import annotations

import os
from typing import Callable, Optional, TextIO


class Output:
    """A stream that may lose its reader, which is told once; what is written after that goes nowhere.

    Characters that the stream's encoding lacks are written as escapes.
    """

    def __init__(self, stream: TextIO) -> None:
        self.when_lost: Callable[[], None] = lambda: None
        self.error: Optional[OSError] = None
        """Why nothing is written any more."""
        self._stream = stream
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")

    def is_terminal(self) -> bool:
        return self._stream.isatty()

    def write(self, text: str) -> None:
        """Write a text, at once."""
        if self.error is not None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            self.error = error
            self._forget()
            self.when_lost()

    def _forget(self) -> None:
        """Keep what is still buffered from failing again when the interpreter flushes it at its end."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
