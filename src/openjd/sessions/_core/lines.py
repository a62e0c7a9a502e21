"""Blocks of bytes become lines, and long lines pieces.

Rules: DIR-2 to DIR-4. A block is decoded and cut at its last line end as a whole, so an ordinary line costs nothing of
its own. Memory is bounded for lines of any length.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable, Optional, Union

_Decoder = codecs.getincrementaldecoder("utf-8")

MAX_LINE = 64_000
"""A longer line is logged in pieces of at most so many characters (DIR-4)."""


@dataclass(frozen=True)
class Lines:
    """Complete lines of ordinary length, joined by line feeds."""

    text: str


@dataclass(frozen=True)
class Piece:
    """``text[start:end]`` is the next piece of a long line, the rest of ``text`` what is known around it."""

    text: str
    start: int
    end: int
    is_first: bool


class LineAssembler:
    """Makes lines of blocks of bytes, however they are split (DIR-2 to DIR-4).

    Args:
        reach: How many characters beyond a piece must be known before it is passed on, unless the line ends earlier.
    """

    def __init__(self, reach: Callable[[], int]) -> None:
        self._reach = reach
        self._decoder = _Decoder("backslashreplace")
        self._after_cr = False
        self._unfinished = ""
        self._long_line: Optional[_LongLine] = None

    def feed(self, block: bytes) -> Iterator[Union[Lines, Piece]]:
        """Give the lines that a block completes, and the pieces of a long line that can be told."""
        return self._split(self._normalised(self._decoder.decode(block)))

    def close(self) -> Iterator[Union[Lines, Piece]]:
        """Give what is left: the last line has perhaps no end (DIR-1)."""
        yield from self._split(self._normalised(self._decoder.decode(b"", True)))
        if self._unfinished or self._long_line:
            yield from self._split("\n")

    def _normalised(self, text: str) -> str:
        """Make every line end a line feed; a CR at the end of a block may be followed by its LF in the next."""
        if text:
            skip = self._after_cr and text[0] == "\n"
            self._after_cr = text[-1] == "\r"
            text = text[skip:]
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return text

    def _split(self, text: str) -> Iterator[Union[Lines, Piece]]:
        if self._long_line:
            head, ended, text = text.partition("\n")
            yield from self._long_line.add(head, bool(ended))
            if not ended:
                return
            self._long_line = None
        head, ended, tail = text.rpartition("\n")
        if ended:
            complete, self._unfinished = self._unfinished + head, ""
            yield from self._complete(complete)
        self._unfinished += tail
        if len(self._unfinished) > MAX_LINE:
            self._long_line = _LongLine(self._reach)
            begun, self._unfinished = self._unfinished, ""
            yield from self._long_line.add(begun, False)

    def _complete(self, text: str) -> Iterator[Union[Lines, Piece]]:
        if not has_long_line(text):
            yield Lines(text)
            return
        for line in text.split("\n"):
            if len(line) > MAX_LINE:
                yield from _LongLine(self._reach).add(line, True)
            else:
                yield Lines(line)


class _LongLine:
    """A line that is passed on in pieces; of what has been passed on only ``reach`` characters are kept."""

    def __init__(self, reach: Callable[[], int]) -> None:
        self._reach = reach
        self._text = ""
        self._start = 0
        self._is_first = True

    def add(self, text: str, ended: bool) -> Iterator[Piece]:
        self._text += text
        while self._is_ready(ended):
            end = min(self._start + MAX_LINE, len(self._text))
            yield Piece(self._text, self._start, end, self._is_first)
            self._is_first = False
            dropped = max(end - self._reach(), 0)
            self._text, self._start = self._text[dropped:], end - dropped

    def _is_ready(self, ended: bool) -> bool:
        left = len(self._text) - self._start
        return left > 0 if ended else left >= MAX_LINE + self._reach()


def has_long_line(text: str) -> bool:
    """Whether one of these lines is longer than MAX_LINE; costs next to nothing when none is."""
    start = 0
    while len(text) - start > MAX_LINE:
        end = text.rfind("\n", start, start + MAX_LINE + 1)
        if end < 0:
            return True
        start = end + 1
    return False
