"""Find all places of many texts in another one, in a time that depends neither on their number nor on their kind.

A few are searched for one by one. For more there is an index of the groups of four characters in their first seven: a
place of one of them has such a group at a multiple of four, so only every fourth place of the text is looked at.
Unlike a pattern or an automaton, the index costs next to nothing to extend.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, islice

from openjd.sessions._core.disguises import Family

FEW = 160
"""So many texts are searched for one by one."""
_HEAD = 8
"""Texts that are shorter are not in the index."""
_GROUP = re.compile(".{4}", re.DOTALL)
_LEAST_WORK = 16_384
_WORK_PER_CHARACTER = 128
"""How much may be compared, in characters, beside what a look-up costs."""
_LOOK_UP = 64
_BASE64_DIGITS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")
_PADDING = "=="

_SIZE = 900
"""About the bytes of memory that each takes beside its text."""

Span = tuple[int, int]


class TooMuchWork(Exception):
    """The search would take too long: texts and what is searched for were made to that end."""


class Spellings:
    """What is searched for. It only grows, from any thread: every step of that needs no lock."""

    def __init__(self) -> None:
        self._all: dict[str, bool] = {}
        """Whether each is base64."""
        self._families: dict[tuple[str, ...], dict[str, bool]] = {}
        """The same, by what those of a family have in common."""
        self._short: dict[str, None] = {}
        self._short_lengths: dict[int, None] = {}
        self._reaches: dict[int, None] = {}
        self._periods: dict[str, int] = {}
        self._groups: dict[str, None] = {}
        self._heads: dict[str, dict[int, None]] = {}
        """The lengths of those that begin so."""

    @property
    def reach(self) -> int:
        """How many characters beyond a border must be known to find all that cross it."""
        return max(self._reaches.copy(), default=0)

    def add(self, family: Family) -> int:
        """Search for these from now on; gives about how many bytes of memory they take."""
        members = {text: family.is_base64 for text in family.spellings if text not in self._all}
        if not members:
            return 0
        self._families.setdefault(family.cores, {}).update(members)
        for text in members:
            if len(text) < _HEAD:
                self._short[text] = None
                self._short_lengths[len(text)] = None
            else:
                self._heads.setdefault(text[:_HEAD], {})[len(text)] = None
                groups = text[:4], text[1:5], text[2:6], text[3:7]
                self._groups.update(dict.fromkeys(groups))
        lengths = list(map(len, members))
        self._reaches[max(lengths) + (len(_PADDING) if family.is_base64 else -1)] = None
        self._all.update(members)  # last: whoever finds one here may rely on the rest
        return sum(lengths) + len(lengths) * _SIZE

    def find(self, text: str) -> list[Span]:
        """Give all places; those of one text that overlap or touch may be given as one.

        Raises:
            TooMuchWork: What is searched for begins too often, in too many ways.
        """
        if len(self._all) <= FEW:
            return self._bounded(text, self._find_one_by_one(text))
        return self._bounded(text, chain(self._find_long(text), self._find_short(text)))

    def _bounded(self, text: str, found: Iterator[Span]) -> list[Span]:
        spans = list(islice(found, len(text) + 1))
        if len(spans) > len(text):
            raise TooMuchWork
        return spans

    def _find_one_by_one(self, text: str) -> Iterator[Span]:
        for cores, members in self._families.copy().items():
            if all(core in text for core in cores):
                for member, is_base64 in members.copy().items():
                    for span in self._occurrences(text, member):
                        yield _widened(text, span) if is_base64 else span

    def _find_long(self, text: str) -> Iterator[Span]:
        """Give the longest one at each place."""
        work = 0
        allowed = _LEAST_WORK + _WORK_PER_CHARACTER * len(text)
        for start in self._heads_in(text):
            longest = 0
            for length in self._heads[text[start : start + _HEAD]].copy():
                work += _LOOK_UP
                if longest < length <= len(text) - start:
                    work += length
                    if text[start : start + length] in self._all:
                        longest = length
                if work > allowed:
                    raise TooMuchWork
            if longest:
                span = start, start + longest
                yield _widened(text, span) if self._all[text[start : start + longest]] else span

    def _heads_in(self, text: str) -> Iterator[int]:
        """Give the places where one of those in the index may begin."""
        groups, heads = self._groups, self._heads
        for number, group in enumerate(_GROUP.findall(text)):
            if group in groups:
                for start in range(max(0, 4 * number - 3), 4 * number + 1):
                    if text[start : start + _HEAD] in heads:
                        yield start

    def _find_short(self, text: str) -> Iterator[Span]:
        if len(self._short) <= FEW:
            for member in self._short.copy():
                yield from self._occurrences(text, member)
            return
        lengths = sorted(self._short_lengths.copy(), reverse=True)
        for start in range(len(text)):
            for length in lengths:
                if text[start : start + length] in self._short:
                    yield start, start + length
                    break

    def _occurrences(self, text: str, wanted: str) -> Iterator[Span]:
        """Give the places of one; where it overlaps itself by whole periods, or touches itself, they are one."""
        start = text.find(wanted)
        while start >= 0:
            end = start + len(wanted)
            again = text.find(wanted, start + 1)
            if 0 <= again <= end:
                end = self._end_of_repetition(text, wanted, end)
                again = text.find(wanted, end - len(wanted) + 1)
            yield start, end
            start = again

    def _end_of_repetition(self, text: str, wanted: str, end: int) -> int:
        period = self._periods.get(wanted)
        if period is None:
            period = self._periods[wanted] = _period(wanted)
        repeated = wanted[-period:]
        while text.startswith(repeated, end):
            end += period
        return end


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


def _widened(text: str, span: Span) -> Span:
    """Cover the digits beside that hold the other bits of the first and of the last byte, and the padding."""
    start, end = span
    if start and text[start - 1] in _BASE64_DIGITS:
        start -= 1
    if text[end : end + 1] in _BASE64_DIGITS:
        end += 1
    for sign in _PADDING:
        end += text.startswith(sign, end)
    return start, end
