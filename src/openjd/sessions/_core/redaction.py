"""Hide known secrets in text, however they are spelled.

Rules: RED-1, RED-6, RED-7. A whole block is searched at once, which costs nanoseconds a line; careful work begins at a
hit. Work and memory are bounded, whatever the secrets look like and however many there are: beyond that, everything is
hidden.
"""

from __future__ import annotations

import re
from typing import Callable

from openjd.sessions._core.disguises import Family, families
from openjd.sessions._core.lines import MAX_LINE
from openjd.sessions._core.spellings import Span, Spellings, TooMuchWork

MASK = "********"

MOST_MEMORY = 96 * 1024 * 1024
"""About how many bytes all spellings of the secrets may take."""
_LINE_SIZE = 200
"""About the bytes that a line takes beside its text."""

_LINE_END = re.compile(r"\r\n|\r|\n")
_LINE = re.compile(r"[^\r\n]+")
_COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


class Redactor:
    """The secrets of one Session: they only grow, from any thread.

    Inserting into a dictionary and copying it are single steps, and readers work on copies: nothing has to be locked.
    """

    def __init__(self) -> None:
        self._known: dict[str, None] = {}
        self._inside = Spellings()
        """What is hidden wherever it occurs in a line."""
        self._across = Spellings()
        """Values of several lines, hidden as a whole."""
        self._alone: dict[str, None] = {}
        """What is hidden only where it is a complete line."""
        self._memory = 0

    @property
    def has_secrets(self) -> bool:
        return bool(self._known)

    @property
    def reach(self) -> int:
        """How many characters beyond a border in a line must be known to find a secret that crosses it."""
        return self._inside.reach

    def add(self, value: str) -> None:
        """Make a value secret from now on; the empty one never is (RED-6, RED-7)."""
        value = value.strip("\r\n")
        if not value or value in self._known or self._hides_everything:
            return
        first, *middle = _LINE_END.split(value)
        last = middle.pop() if middle else ""
        for line in filter(None, (first, last)):
            self._hide_inside(line)
        for line in filter(None, middle):
            if len(line) <= MAX_LINE:
                self._alone[line] = None
                self._memory += len(line) + _LINE_SIZE
            else:  # longer lines are not logged as a whole (DIR-4)
                self._hide_inside(line)
        if last:
            self._memory += self._across.add(Family((value,), (value,)))
            self._hide_inside(value)
        self._known[value] = None

    def _hide_inside(self, secret: str) -> None:
        for family in families(secret):
            self._memory += self._inside.add(family)

    @property
    def _hides_everything(self) -> bool:
        return self._memory > MOST_MEMORY

    def redact(self, text: str) -> str:
        """Hide the secrets in one message; a value of several lines becomes one mask."""
        if not self._known:
            return text
        found = self._found_lines(text)
        if _LINE_END.search(text) is not None:
            found += self._found(self._across, text)
        return _hide(text, 0, len(text), found)

    def redact_lines(self, text: str) -> str:
        """Hide the secrets in complete lines, joined by line feeds, which stay as many as they are."""
        return _hide(text, 0, len(text), self._found_lines(text)) if self.has_secrets else text

    def redact_part(self, text: str, start: int, end: int) -> str:
        """Give a part of a line, without the secrets in it and those that cross its borders."""
        return _hide(text, start, end, self._found(self._inside, text)) if self.has_secrets else text[start:end]

    def _found_lines(self, text: str) -> list[Span]:
        found = self._found(self._inside, text)
        if self._alone:
            found += _lines(text, self._is_alone)
        return found

    def _found(self, secrets: Spellings, text: str) -> list[Span]:
        try:
            return secrets.find(text) if not self._hides_everything else _lines(text)
        except TooMuchWork:
            return _lines(text)

    def _is_alone(self, line: str) -> bool:
        return line in self._alone or ("\x1b" in line and _COLOUR.sub("", line) in self._alone)


def _lines(text: str, is_hidden: Callable[[str], bool] = bool) -> list[Span]:
    return [line.span() for line in _LINE.finditer(text) if is_hidden(line[0])]


def _hide(text: str, start: int, end: int, spans: list[Span]) -> str:
    """Give a part of a text with a mask for every span that lies in it or crosses its borders."""
    shown = []
    for first, last in _merged(spans):
        if first < end and last > start:
            shown += [text[start : max(first, start)], MASK]
            start = min(last, end)
    return "".join((*shown, text[start:end]))


def _merged(spans: list[Span]) -> list[Span]:
    """Merge spans that overlap or touch."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
