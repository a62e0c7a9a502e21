"""Secrets in text (RED-1, RED-6, RED-7)."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openjd.sessions._core.lines import MAX_LINE
from openjd.sessions._core.redaction import MASK, Redactor


def redactor(*values: str) -> Redactor:
    made = Redactor()
    for value in values:
        made.add(value)
    return made


def hidden(text: str, secrets: list[str]) -> str:
    """The rule taken literally: every character of every occurrence goes, what touches becomes one mask."""
    covered = [False] * len(text)
    for secret in secrets:
        for start in range(len(text)):
            if text.startswith(secret, start):
                covered[start : start + len(secret)] = [True] * len(secret)
    shown = "".join("\0" if cover else char for char, cover in zip(text, covered))
    while "\0\0" in shown:
        shown = shown.replace("\0\0", "\0")
    return shown.replace("\0", MASK)


@pytest.mark.parametrize(
    ("secrets", "text", "shown"),
    [
        (["hush"], "say hush!", "say ********!"),
        (["hush"], "Hush, HUSH", "Hush, HUSH"),
        (["hush"], "hushhush hush", "******** ********"),
        (["abc", "cde"], "xabcdex", "x********x"),
        (["abc", "de"], "xabcdex", "x********x"),
        (["abcdef", "cd"], "abcdef cd", "******** ********"),
        (["aab"], "aabaab xaabx aabxaab", "******** x********x ********x********"),
        (["aa"], "aaaaa", "********"),
        (["aba"], "ababababab", "********b"),
        (["aabaa"], "aabaaabaa", "********"),
        (["a", "very long value"], "a very long value", "******** ********"),
        (["x"], "xyx", "********y********"),
        (["*"], "a*b", "a********b"),
        (["a.c", "(["], "abc a.c ([", "abc ******** ********"),
        (["ü€😀"], "ü€😀 ü€", "******** ü€"),
        ([" "], "a b", "a********b"),
    ],
)
def test_red_6_every_occurrence_becomes_one_mask(secrets: list[str], text: str, shown: str) -> None:
    assert redactor(*secrets).redact(text) == shown
    assert redactor(*secrets).redact_lines(text) == shown


@pytest.mark.parametrize("value", ["", "\n", "\r\n\r\n"])
def test_red_6_the_empty_string_is_never_secret(value: str) -> None:
    made = redactor(value)
    assert not made.has_secrets
    assert made.redact("a\nb") == "a\nb"
    assert made.reach == 0


def test_red_1_secrets_only_grow() -> None:
    made = redactor("one")
    assert made.has_secrets
    made.add("two")
    made.add("one")
    assert made.redact("one two three") == "******** ******** three"


@pytest.mark.parametrize("value", ["ab\ncd\nef", "ab\r\ncd\r\nef", "ab\rcd\ref", "\nab\ncd\nef\n"])
def test_red_7_first_and_last_line_everywhere_middle_lines_alone(value: str) -> None:
    made = redactor(value)
    assert made.redact_lines("xabx\ncd\nxcd\ncd \nefx") == "x********x\n********\nxcd\ncd \n********x"


def test_red_7_a_whole_value_is_hidden_in_lines_and_in_messages() -> None:
    made = redactor("ab\n\ncd\nef")
    assert made.redact_lines("x ab\n\ncd\nef y") == "x ********\n\n********\n******** y"
    assert made.redact("x ab\n\ncd\nef y") == "x ******** y"
    assert made.redact("x ab\r\n\r\ncd\r\nef y") == "x ********\r\n\r\n********\r\n******** y"


def test_red_7_a_value_with_a_final_line_end_is_one_line() -> None:
    assert redactor("hush\n").redact("xhushx\n") == "x********x\n"


def test_red_7_a_middle_line_that_is_logged_in_pieces_is_hidden_everywhere() -> None:
    line = "y" * (MAX_LINE + 1)
    made = redactor(f"a\n{line}\nz")
    assert made.reach >= MAX_LINE
    assert made.redact_part("xx" + line, 0, MAX_LINE) == "xx" + MASK


@pytest.mark.parametrize(
    ("start", "end", "shown"),
    [
        (0, 2, "xx"),
        (0, 3, f"xx{MASK}"),
        (3, 5, MASK),
        (4, 6, MASK),
        (5, 8, f"{MASK}yy"),
        (6, 8, "yy"),
        (0, 8, f"xx{MASK}yy"),
    ],
)
def test_red_6_a_part_hides_what_crosses_its_borders(start: int, end: int, shown: str) -> None:
    assert redactor("hush").redact_part("xxhushyy", start, end) == shown


def test_red_6_reach_is_enough_to_find_the_longest_secret() -> None:
    assert redactor("ab", "abcd", "first\nlonger middle line\nx").reach >= len("first") - 1
    assert redactor("ab", "abcd").reach == len("abcd") - 1


words = st.lists(st.text(alphabet="ab", min_size=1, max_size=6), max_size=5)


@given(words, st.text(alphabet="abc", max_size=40))
def test_red_6_equals_the_rule_taken_literally(secrets: list[str], text: str) -> None:
    assert redactor(*secrets).redact(text) == hidden(text, secrets)


@given(words, st.lists(st.text(alphabet="abc", max_size=12), max_size=6))
def test_red_6_lines_are_hidden_one_by_one(secrets: list[str], lines: list[str]) -> None:
    made = redactor(*secrets)
    assert made.redact_lines("\n".join(lines)) == "\n".join(made.redact(line) for line in lines)


@given(words, st.text(alphabet="abc", max_size=40), st.integers(0, 40))
def test_red_6_parts_show_no_more_than_the_whole(secrets: list[str], text: str, border: int) -> None:
    made = redactor(*secrets)
    border = min(border, len(text))
    parts = made.redact_part(text, 0, border), made.redact_part(text, border, len(text))
    assert "".join(parts).replace(MASK, "") == made.redact(text).replace(MASK, "")


def test_red_1_secrets_can_be_added_by_many_threads_while_others_read() -> None:
    made = Redactor()
    values = [[f"secret-{number}-{index}." for index in range(200)] for number in range(4)]
    shown: list[str] = []

    def add(some: list[str]) -> None:
        for value in some:
            made.add(value)
            shown.append(made.redact(value))

    threads = [threading.Thread(target=add, args=(some,)) for some in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shown == [MASK] * 800
    assert made.redact(" ".join(value for some in values for value in some)) == " ".join([MASK] * 800)


def test_q_1_a_secret_made_of_repetitions_costs_no_more_than_another() -> None:
    """Taken literally, these are 60,000 occurrences of 30,000 characters each."""
    text = "a" * 90_000
    assert redactor("a" * 30_000, "a" * 29_999, "ab" * 15_000).redact(text) == MASK
