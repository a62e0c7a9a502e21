"""Hide known secrets in text.

Rules: RED-1, RED-6, RED-7. Each value is searched for in a whole block at once, which costs nanoseconds a line; careful
work begins at a hit. The work is bounded by the length of the text, whatever the values look like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from openjd.sessions._core.lines import MAX_LINE

MASK = "********"

_LINE_END = re.compile(r"\r\n|\r|\n")
_LINE = re.compile(r"[^\r\n]+")

_Span = tuple[int, int]


class Redactor:
    """The secrets of one Session: they only grow, from any thread.

    Inserting into a dictionary and copying it are single steps, and readers work on copies: nothing has to be locked.
    """

    def __init__(self) -> None:
        self._inside: dict[str, int] = {}
        """What is hidden wherever it occurs in a line, with its period."""
        self._across: dict[str, int] = {}
        """Values of several lines, hidden as a whole."""
        self._alone: dict[str, None] = {}
        """What is hidden only where it is a complete line."""

    @property
    def has_secrets(self) -> bool:
        return bool(self._inside)

    @property
    def reach(self) -> int:
        """How many characters beyond a border in a line must be known to find a secret that crosses it."""
        return max((len(secret) - 1 for secret in self._inside.copy()), default=0)

    def add(self, value: str) -> None:
        """Make a value secret from now on; the empty one never is (RED-6, RED-7)."""
        value = value.strip("\r\n")
        first, *middle = _LINE_END.split(value)
        last = middle.pop() if middle else ""
        for line in filter(None, (first, last)):
            self._inside[line] = _period(line)
        for line in filter(None, middle):
            if len(line) <= MAX_LINE:
                self._alone[line] = None
            else:  # longer lines are not logged as a whole (DIR-4)
                self._inside[line] = _period(line)
        if last:
            self._across[value] = _period(value)

    def redact(self, text: str) -> str:
        """Hide the secrets in one message; a value of several lines becomes one mask."""
        if not self.has_secrets:
            return text
        return _hide(text, 0, len(text), [*self._found_lines(text), *_find(text, self._across)])

    def redact_lines(self, text: str) -> str:
        """Hide the secrets in complete lines, joined by line feeds, which stay as many as they are."""
        return _hide(text, 0, len(text), self._found_lines(text))

    def redact_part(self, text: str, start: int, end: int) -> str:
        """Give a part of a line, without the secrets in it and those that cross its borders."""
        return _hide(text, start, end, _find(text, self._inside))

    def _found_lines(self, text: str) -> list[_Span]:
        found = _find(text, self._inside)
        if self._alone and not self._alone.keys().isdisjoint(_LINE.findall(text)):
            found += [line.span() for line in _LINE.finditer(text) if line.group() in self._alone]
        return found


def _find(text: str, secrets: dict[str, int]) -> list[_Span]:
    return [span for secret, period in secrets.copy().items() for span in _occurrences(text, secret, period)]


def _occurrences(text: str, secret: str, period: int) -> Iterator[_Span]:
    """Give the places of a secret; where it overlaps itself by whole periods, or touches itself, they are one."""
    repeat = secret[-period:]
    start = text.find(secret)
    while start >= 0:
        end = start + len(secret)
        while text.startswith(repeat, end):
            end += period
        yield start, end
        start = text.find(secret, end - len(secret) + 1)


def _period(text: str) -> int:
    """The smallest distance at which a text agrees with itself (Knuth, Morris, Pratt).

    With it, occurrences that overlap by more than a half are passed over in one go, and searching stays linear.
    """
    borders = [0] * len(text)
    border = 0
    for index in range(1, len(text)):
        while border and text[index] != text[border]:
            border = borders[border - 1]
        if text[index] == text[border]:
            border += 1
        borders[index] = border
    return len(text) - border


def _hide(text: str, start: int, end: int, spans: list[_Span]) -> str:
    """Give a part of a text with a mask for every span that lies in it or crosses its borders."""
    shown = []
    for first, last in _merged(spans):
        if first < end and last > start:
            shown += [text[start : max(first, start)], MASK]
            start = min(last, end)
    return "".join((*shown, text[start:end]))


def _merged(spans: list[_Span]) -> list[_Span]:
    """Merge spans that overlap or touch."""
    merged: list[_Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
