"""Bytes become lines, long lines pieces (DIR-1 to DIR-4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openjd.sessions._core.lines import MAX_LINE, LineAssembler, Lines, Piece, has_long_line


def lines_of(*blocks: bytes) -> list[str]:
    """The lines of some blocks; a long line's pieces follow each other."""
    assembler = LineAssembler(lambda: 0)
    parts = [part for block in blocks for part in assembler.feed(block)] + list(assembler.close())
    shown: list[str] = []
    for part in parts:
        shown += part.text.split("\n") if isinstance(part, Lines) else [part.text[part.start : part.end]]
    return shown


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a\nb\r\nc\rd", ["a", "b", "c", "d"]),
        (b"\n\n", ["", ""]),
        (b"\r\r\n\n\r", ["", "", "", ""]),
        (b"a\x0b\x0c\x1c\x1e\x85\tb\x00\x1b[0m\n", ["a\x0b\x0c\x1c\x1e\\x85\tb\x00\x1b[0m"]),
        ("ä\u2028€\u0085😀\n".encode(), ["ä\u2028€\u0085😀"]),
        (b"a\xffb\xc3\n\xe2\x82", ["a\\xffb\\xc3", "\\xe2\\x82"]),
        (b"\xed\xa0\x80", ["\\xed\\xa0\\x80"]),
        (b"\xef\xbb\xbfa", ["\ufeffa"]),
    ],
)
def test_dir_2_dir_3_text_and_line_ends(output: bytes, lines: list[str]) -> None:
    assert lines_of(output) == lines
    assert lines_of(*(output[index : index + 1] for index in range(len(output)))) == lines


def test_dir_3_a_lone_cr_ends_a_line_at_once_and_takes_its_lf_along_later() -> None:
    assembler = LineAssembler(lambda: 0)
    assert list(assembler.feed(b"50%\r")) == [Lines("50%")]
    assert list(assembler.feed(b"\n")) == []
    assert list(assembler.feed(b"\n")) == [Lines("")]
    assert list(assembler.close()) == []


def test_dir_1_lines_come_as_soon_as_they_are_complete() -> None:
    assembler = LineAssembler(lambda: 0)
    assert list(assembler.feed(b"a\nb\nc")) == [Lines("a\nb")]
    assert list(assembler.feed(b"d\n")) == [Lines("cd")]
    assert list(assembler.feed(b"e")) == []
    assert list(assembler.close()) == [Lines("e")]


@pytest.mark.parametrize(
    ("length", "lengths"),
    [
        (MAX_LINE, [MAX_LINE]),
        (MAX_LINE + 1, [MAX_LINE, 1]),
        (2 * MAX_LINE, [MAX_LINE, MAX_LINE]),
        (2 * MAX_LINE + 5, [MAX_LINE, MAX_LINE, 5]),
    ],
)
@pytest.mark.parametrize("char", ["x", "€"])
@pytest.mark.parametrize("size", [1_000, MAX_LINE, 1_000_000])
def test_dir_4_long_lines_come_in_pieces(length: int, lengths: list[int], char: str, size: int) -> None:
    output = f"a\n{char * length}\nb\n".encode()
    lines = lines_of(*(output[start : start + size] for start in range(0, len(output), size)))
    assert lines == ["a", *(char * piece for piece in lengths), "b"]


def test_dir_4_a_piece_comes_with_what_is_around_it() -> None:
    assembler = LineAssembler(lambda: 3)
    assert list(assembler.feed(b"x" * MAX_LINE + b"ab")) == []
    assert list(assembler.feed(b"c")) == [Piece("x" * MAX_LINE + "abc", 0, MAX_LINE, True)]
    assert list(assembler.feed(b"de\r")) == [Piece("xxxabcde", 3, 8, False)]
    assert list(assembler.feed(b"f\n")) == [Lines("f")]


def test_dir_4_memory_is_bounded() -> None:
    assembler = LineAssembler(lambda: 10)
    for _ in range(100):
        for part in assembler.feed(b"x" * 65_536):
            assert isinstance(part, Piece)
            assert len(part.text) <= 2 * (MAX_LINE + 65_536)


@given(st.lists(st.integers(MAX_LINE - 2, MAX_LINE + 2) | st.integers(0, 9), max_size=5))
def test_dir_4_whether_a_line_is_too_long(lengths: list[int]) -> None:
    text = "\n".join("x" * length for length in lengths)
    assert has_long_line(text) == any(length > MAX_LINE for length in lengths)
