"""What a process printed: what is shown, and what it asks for (DIR-5 to DIR-22, RED-2 to RED-10, ENV-12, ENV-13)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openjd.sessions._core.lines import MAX_LINE
from openjd.sessions._core.output import (
    Broken,
    LogLevel,
    Notice,
    OutputInterpreter,
    OutputItem,
    Text,
    Update,
    VariableChange,
)
from openjd.sessions._core.redaction import MASK, Redactor

DEBUG, WARNING = 10, 30
BAD_ASSIGNMENT = "Failed to parse environment variable assignment."
BAD_NAME = "Failed to parse environment variable name."
BAD_PROGRESS = "Progress must be a floating point value between 0.0 and 100.0, inclusive."
NOT_ENABLED = Notice(WARNING, "Received openjd_redacted_env message but REDACTED_ENV_VARS extension is not enabled")


def near_miss(line: str) -> str:
    return f"Open Job Description: Incorrectly formatted openjd env command ({line})"


def ignored(kind: str, name: str) -> Notice:
    return Notice(
        DEBUG,
        f"Ignoring {kind} for '{name}': "
        "environment variables can only be defined by the Action that enters an Environment.",
    )


def interpret(
    *blocks: bytes, secrets: Iterable[str] = (), entering: bool = True, enabled: bool = True
) -> list[OutputItem]:
    redactor = Redactor()
    for secret in secrets:
        redactor.add(secret)
    interpreter = OutputInterpreter(redactor, entering=entering, redacted_env_enabled=enabled)
    items = [item for block in blocks for item in interpreter.feed(block)] + interpreter.close()
    return joined(items)


def joined(items: list[OutputItem]) -> list[OutputItem]:
    """The same with texts that follow each other as one."""
    result: list[OutputItem] = []
    for item in items:
        if isinstance(item, Text) and result and isinstance(result[-1], Text):
            result[-1] = Text(f"{result[-1].text}\n{item.text}")
        else:
            result.append(item)
    return result


def said(line: str, entering: bool = True, enabled: bool = True) -> list[OutputItem]:
    return interpret(line.encode() + b"\n", entering=entering, enabled=enabled)


def shown(items: list[OutputItem]) -> list[str]:
    """All text that leaves the room, but the values of variables."""
    texts: list[Optional[str]] = []
    for item in items:
        if isinstance(item, Text):
            texts += item.text.split("\n")
        elif isinstance(item, Update):
            texts += [item.line, item.status_message, item.fail_message]
        elif isinstance(item, Broken):
            texts.append(item.reason)
        elif isinstance(item, Notice):
            texts.append(item.message)
    return [text for text in texts if text is not None]


# What is not a variable


@pytest.mark.parametrize("entering", [True, False])
@pytest.mark.parametrize(
    ("line", "update"),
    [
        ("openjd_progress: 5", Update("", progress=5.0)),
        ("openjd_status:  hello ", Update("", status_message=" hello ")),
        ("openjd_fail: oh no", Update("", fail_message="oh no")),
    ],
)
def test_dir_11_dir_17_updates_come_with_their_line(line: str, update: Update, entering: bool) -> None:
    assert said(line, entering) == [replace(update, line=line)]


@pytest.mark.parametrize("entering", [True, False])
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("openjd_progress: 101", BAD_PROGRESS),
        ("openjd_session_runtime_loglevel: loud", "Unknown log level: LOUD. Known values: DEBUG,INFO,WARNING,ERROR"),
    ],
)
def test_dir_10_dir_16_wrong_values_are_only_marked(line: str, reason: str, entering: bool) -> None:
    assert said(line, entering) == [Text(f"{line} -- ERROR: {reason}")]


def test_dir_16_the_level_comes_before_its_line() -> None:
    line = "openjd_session_runtime_loglevel: warning"
    assert said(line) == [LogLevel(30), Text(line)]


def test_dir_1_items_keep_the_order_of_the_output() -> None:
    output = b"\na\nopenjd_progress: 1\nopenjd_status: s\n\nb\nopenjd_env: A=1\nopenjd_x: y\n\nopenjd_fail: f"
    assert interpret(output) == [
        Text("\na"),
        Update("openjd_progress: 1", progress=1.0),
        Update("openjd_status: s", status_message="s"),
        Text("\nb"),
        VariableChange("A", "1"),
        Text("openjd_env: A=1\nopenjd_x: y\n"),
        Update("openjd_fail: f", fail_message="f"),
    ]


# Variables


def test_env_12_variables_change_while_an_environment_is_entered() -> None:
    assert said("openjd_env: A=1") == [VariableChange("A", "1"), Text("openjd_env: A=1")]
    assert said("openjd_unset_env: A") == [VariableChange("A", None), Text("openjd_unset_env: A")]
    assert said('openjd_env: "A=1\\n2"') == [VariableChange("A", "1\n2"), Text('openjd_env: "A=1\\n2"')]


def test_env_13_wrap_16_otherwise_they_are_only_known() -> None:
    assert said("openjd_env: A=1", entering=False) == [
        VariableChange("A", "1"),
        ignored("env", "A"),
        Text("openjd_env: A=1"),
    ]
    assert said("openjd_unset_env: A", entering=False) == [
        VariableChange("A", None),
        ignored("unset_env", "A"),
        Text("openjd_unset_env: A"),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("openjd_env: A =1", BAD_ASSIGNMENT),
        ('openjd_env: {"KEY": "a"}', BAD_ASSIGNMENT),
        ('openjd_env: "A=1', "Unterminated string starting at: line 1 column 1 (char 0)"),
        ("openjd_env: A=\0", BAD_ASSIGNMENT),
        ("openjd_unset_env: A ", BAD_NAME),
    ],
)
def test_dir_20_dir_21_malformed_payload(line: str, reason: str) -> None:
    marked = Text(f"{line} -- ERROR: {reason}")
    assert said(line, entering=True) == [Broken(reason), marked]
    assert said(line, entering=False) == [marked]


@pytest.mark.parametrize("entering", [True, False])
@pytest.mark.parametrize(
    "line", ["openjd_ENV: A=1", " openjd_env: A=1", "openjd_env:A=1", "openjd_unset_env", "openjd_env: "]
)
def test_dir_19_near_misses_break_every_action(line: str, entering: bool) -> None:
    assert said(line, entering) == [Broken(near_miss(line)), Text(f"{line} -- ERROR: {near_miss(line)}")]


# Secrets


@pytest.mark.parametrize(
    ("entering", "enabled", "first"),
    [
        (True, True, [VariableChange("K", "hush")]),
        (False, True, [VariableChange("K", "hush"), ignored("redacted_env", "K")]),
        (True, False, [NOT_ENABLED]),
        (False, False, [NOT_ENABLED]),
    ],
)
def test_red_2_to_red_5_a_declared_value_is_secret_at_once(
    entering: bool, enabled: bool, first: list[OutputItem]
) -> None:
    output = b"hush\nopenjd_redacted_env: K=hush\nsay hush!\n"
    assert interpret(output, entering=entering, enabled=enabled) == [
        Text("hush"),
        *first,
        Text("openjd_redacted_env: K=********\nsay ********!"),
    ]


def test_red_7_values_of_several_lines() -> None:
    output = b'openjd_redacted_env: "K=ab!\\ncd\\nef!"\nab!\ncd\nef!\nxcd\nzef!z\nab!\\ncd\\nef!\n'
    assert interpret(output) == [
        VariableChange("K", "ab!\ncd\nef!"),
        Text('openjd_redacted_env: "K=********\n********\n********\n********\nxcd\nz********z\n********'),
    ]


def test_red_2_the_empty_value_is_set_and_not_secret() -> None:
    assert said('openjd_redacted_env: "K="') == [VariableChange("K", ""), Text('openjd_redacted_env: "K="')]


def test_red_9_malformed_declaration_with_the_extension_only_warns() -> None:
    warning = f"Malformed openjd_redacted_env command: {BAD_ASSIGNMENT} No environment variable will be set."
    for entering in (True, False):
        assert said("openjd_redacted_env: A =hush", entering) == [
            Notice(WARNING, warning),
            Text(f"openjd_redacted_env: A =******** -- ERROR: {BAD_ASSIGNMENT}"),
        ]


def test_red_9_malformed_declaration_without_the_extension_is_like_any_other() -> None:
    marked = Text(f"openjd_redacted_env: ******** -- ERROR: {BAD_ASSIGNMENT}")
    assert said("openjd_redacted_env: hush", True, False) == [NOT_ENABLED, Broken(BAD_ASSIGNMENT), marked]
    assert said("openjd_redacted_env: hush", False, False) == [NOT_ENABLED, marked]


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("entering", [True, False])
@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        ("openjd_redacted_env:K=hush", "openjd_redacted_env:K=********"),
        (" openjd_Redacted_env: K=hush", " openjd_Redacted_env: K=********"),
        ("openjd_redacted_env K hush", "openjd_redacted_env ********"),
    ],
)
def test_red_8_near_misses_leak_nothing(line: str, hidden: str, entering: bool, enabled: bool) -> None:
    reason = near_miss(hidden)
    assert said(line, entering, enabled) == [Broken(reason), Text(f"{hidden} -- ERROR: {reason}")]


@pytest.mark.parametrize(
    "line", ["openjd_redacted_env: K =hush", 'openjd_redacted_env: "K=hush', "openjd_redacted_env:K=hush"]
)
def test_red_8_what_was_malformed_stays_secret(line: str) -> None:
    items = interpret(f"{line}\nhush".encode())
    assert isinstance(items[-1], Text)
    assert items[-1].text.endswith(f"\n{MASK}")
    assert not any("hush" in text for text in shown(items))


def test_red_10_messages_are_redacted() -> None:
    output = b"openjd_status: a hush b\nopenjd_fail: hush"
    assert interpret(output, secrets=["hush"]) == [
        Update("openjd_status: a ******** b", status_message="a ******** b"),
        Update("openjd_fail: ********", fail_message="********"),
    ]


def test_red_10_a_secret_that_begins_before_the_message_is_hidden_in_it() -> None:
    assert interpret(b"openjd_status: hush now", secrets=["status: hush"]) == [
        Update("openjd_******** now", status_message="******** now")
    ]


def test_red_8_reasons_are_redacted_as_a_whole() -> None:
    reason = "Open Job Description: In******** formatted openjd env command (openjd_env)"
    items = interpret(b"openjd_env", secrets=["correctly"])
    assert items == [Broken(reason), Text(f"openjd_env -- ERROR: {reason}")]


def test_red_6_a_variable_keeps_its_real_value() -> None:
    assert interpret(b"openjd_env: A=a hush", secrets=["hush"]) == [
        VariableChange("A", "a hush"),
        Text("openjd_env: A=a ********"),
    ]


def test_gap_45_short_values_are_hidden_with_a_warning() -> None:
    warning = (
        "The value of the redacted environment variable 'K' has fewer than 3 characters; hiding it wherever it occurs "
        "makes this log hard to read."
    )
    assert said("openjd_redacted_env: K=42") == [
        Notice(WARNING, warning),
        VariableChange("K", "42"),
        Text("openjd_redacted_env: K=********"),
    ]


# Long lines


def test_dir_4_only_the_first_piece_is_examined() -> None:
    piece = "openjd_status: " + "x" * (MAX_LINE - len("openjd_status: "))
    assert interpret(f"{piece}openjd_fail: forged\n".encode()) == [
        Update(piece, status_message=piece[len("openjd_status: ") :]),
        Text("openjd_fail: forged"),
    ]
    assert interpret(f"{'x' * MAX_LINE}openjd_fail: forged\n".encode()) == [
        Text(f"{'x' * MAX_LINE}\nopenjd_fail: forged")
    ]


@pytest.mark.parametrize("before", range(5))
def test_dir_4_a_secret_across_a_border_is_hidden_on_both_sides(before: int) -> None:
    line = "x" * (MAX_LINE - before) + "hush" + "yy"
    first = "x" * (MAX_LINE - before) + MASK * (before > 0)
    last = MASK * (before < 4) + "yy"
    expected = "\n".join([first[:MAX_LINE], *filter(None, [first[MAX_LINE:]]), last])
    assert interpret(line.encode(), secrets=["hush"]) == [Text(expected)]


def test_red_10_a_message_hides_a_secret_that_ends_in_the_next_piece() -> None:
    start = "openjd_status: " + "x" * (MAX_LINE - len("openjd_status: ") - 2)
    items = interpret(f"{start}hush\n".encode(), secrets=["hush"])
    assert items == [Update(start + MASK, status_message=start[len("openjd_status: ") :] + MASK), Text(MASK)]


@pytest.mark.parametrize("start", ["openjd_redacted_env: K=", "openjd_redacted_env:K=", "openjd_redacted_env: K "])
def test_dir_4_red_8_what_follows_a_long_declaration_is_hidden(start: str) -> None:
    line = start + "hush" * (2 * MAX_LINE // 4)
    items = interpret(f"{line}\nafter\n".encode())
    assert isinstance(items[-1], Text)
    assert items[-1].text.endswith(f"\n{MASK}\n{MASK}\nafter")
    assert not any("hush" in text for text in shown(items))


def test_dir_4_lines_that_masks_or_marks_make_too_long_are_cut() -> None:
    items = interpret(b"ab" * 30_000 + b"\nc\n\n", secrets=["a"])
    assert isinstance(items[0], Text)
    lines = items[0].text.split("\n")
    assert [len(line) for line in lines] == [MAX_LINE] * 4 + [14_000, 1, 0]
    assert "".join(lines[:5]) == (MASK + "b") * 30_000


# Any split


lines = st.one_of(
    st.text(alphabet="ab €\udcff", max_size=8),
    st.sampled_from(
        [
            "openjd_env: A=1",
            "openjd_env:A=ab",
            "openjd_redacted_env: K=ab",
            "openjd_redacted_env: K=bb b",
            'openjd_redacted_env: "K=a€\\nbb\\nb b"',
            "openjd_redacted_env:K=aab",
            "openjd_redacted_env: K b a",
            "openjd_status: ab aab bb b",
            "openjd_progress: 7",
            "openjd_progress: ab",
            " OPENJD_env",
        ]
    ),
    st.tuples(st.integers(MAX_LINE - 30, MAX_LINE + 2), st.sampled_from(["x", "ab", "€"])).map(
        lambda drawn: (drawn[1] * drawn[0])[: drawn[0]] + "aabbb b" * 6
    ),
)
outputs = st.lists(st.tuples(lines, st.sampled_from(["\n", "\r\n", "\r"])), max_size=8).map(
    lambda drawn: "".join(line + end for line, end in drawn).encode("utf-8", "surrogateescape")
)
some_secrets = st.lists(st.sampled_from(["ab", "aab", "bb b", "b€", "x" * 40, "xa", "€a", "ab" * 40]), max_size=4)


def split(output: bytes, borders: list[int]) -> list[bytes]:
    places = [0, *sorted(border % (len(output) + 1) for border in borders), len(output)]
    return [output[start:end] for start, end in zip(places, places[1:])]


@given(outputs, some_secrets, st.lists(st.integers(0, 10**6), max_size=12), st.booleans(), st.booleans())
def test_dir_1_how_the_output_is_split_makes_no_difference(
    output: bytes, secrets: list[str], borders: list[int], entering: bool, enabled: bool
) -> None:
    whole = interpret(output, secrets=secrets, entering=entering, enabled=enabled)
    blocks = split(output, borders)
    assert interpret(*blocks, secrets=secrets, entering=entering, enabled=enabled) == whole


@given(outputs, some_secrets, st.lists(st.integers(0, 10**6), max_size=12))
def test_red_4_no_secret_is_ever_shown(output: bytes, secrets: list[str], borders: list[int]) -> None:
    items = interpret(*split(output, borders), secrets=secrets)
    assert not [text for text in shown(items) if any(secret in text for secret in secrets)]
    assert not [item for item in items if isinstance(item, Text) and max(map(len, item.text.split("\n"))) > MAX_LINE]


@given(outputs, st.lists(st.integers(0, 10**6), max_size=12))
def test_dir_1_without_secrets_and_directives_all_text_is_shown(output: bytes, borders: list[int]) -> None:
    output = output.replace(b"_", b"-")
    text = output.decode("utf-8", "backslashreplace").replace("\r\n", "\n").replace("\r", "\n")
    expected = [
        line[start : start + MAX_LINE]
        for line in text.split("\n")[:-1]
        for start in range(0, max(len(line), 1), MAX_LINE)
    ]
    assert shown(interpret(*split(output, borders))) == expected


def test_red_6_hostile_split_of_a_secret_longer_than_a_piece() -> None:
    secret = "s" * (MAX_LINE + 100)
    items = interpret(b"a", secret.encode() + b"b" * 10, b"\n", secrets=[secret])
    assert items == [Text(f"a{MASK}\n{MASK}{'b' * 10}")]
