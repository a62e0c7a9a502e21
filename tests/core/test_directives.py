"""What a line asks for (DIR-9 to DIR-19, RED-8)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openjd.sessions._core.directives import (
    Directive,
    FailMessage,
    Malformed,
    NearMiss,
    Progress,
    SetLogLevel,
    SetSecretVariable,
    SetVariable,
    StatusMessage,
    UnsetVariable,
    find_directives,
    parse_directive,
)

BAD_PROGRESS = Malformed("progress", "Progress must be a floating point value between 0.0 and 100.0, inclusive.")
BAD_ASSIGNMENT = Malformed("env", "Failed to parse environment variable assignment.")
BAD_NAME = Malformed("unset_env", "Failed to parse environment variable name.")


@pytest.mark.parametrize(
    ("line", "directive"),
    [
        ("openjd_progress: 5", Progress(5.0)),
        ("openjd_status: hello", StatusMessage("hello")),
        ("openjd_fail: oh no", FailMessage("oh no")),
        ("openjd_env: A=1", SetVariable("A", "1")),
        ("openjd_redacted_env: A=1", SetSecretVariable("A", "1", ("1",))),
        ("openjd_unset_env: A", UnsetVariable("A")),
        ("openjd_session_runtime_loglevel: DEBUG", SetLogLevel(10)),
    ],
)
def test_dir_9_every_kind(line: str, directive: Directive) -> None:
    assert parse_directive(line) == directive


@pytest.mark.parametrize(
    "line",
    [
        "",
        "hello",
        "x openjd_progress: 5",
        " openjd_progress: 5",
        "openjd_progress:5",
        "openjd_progress: ",
        "openjd_progress 5",
        "openjd_Progress: 5",
        "OPENJD_STATUS: x",
        "openjd_status:\tx",
        "openjd_fail:",
        "openjd_unknown: x",
        "openjd_session_runtime_loglevel:DEBUG",
        "openjd_environment: x",
        "openjd_env_setup: y",
        "openjd_env=1",
        "xopenjd_env: A=1",
        "openjd_unset_environment: x",
        "openjd_redacted_env_: x",
    ],
)
def test_dir_18_other_lines_are_ordinary_output(line: str) -> None:
    assert parse_directive(line) is None


@pytest.mark.parametrize(
    ("payload", "percent"),
    [("0", 0), ("100", 100), ("100.0", 100), (" 5 ", 5), ("\t5.\t", 5), (".5", 0.5), ("+1e1", 10), ("2.5E-1", 0.25)],
)
def test_dir_10_progress(payload: str, percent: float) -> None:
    assert parse_directive(f"openjd_progress: {payload}") == Progress(percent)


@pytest.mark.parametrize(
    "payload",
    [
        " ",
        "nan",
        "inf",
        "-1",
        "101",
        "100.1",
        "50%",
        "5_0",
        "1e400",
        "0x1",
        "1 2",
        "٣",
        "e",
        ".",
        "five",
        "1,5",
        "9" * 999,
    ],
)
def test_dir_10_gap_47_no_progress(payload: str) -> None:
    assert parse_directive(f"openjd_progress: {payload}") == BAD_PROGRESS


@pytest.mark.parametrize("payload", [" ", "x", " x ", "\tx", "a: b", "ü\x0b\x1b[0m", "openjd_fail: x", '"x"'])
def test_dir_11_messages_are_unchanged(payload: str) -> None:
    assert parse_directive(f"openjd_status: {payload}") == StatusMessage(payload)
    assert parse_directive(f"openjd_fail: {payload}") == FailMessage(payload)


@pytest.mark.parametrize(
    ("payload", "name", "value"),
    [
        ("A=", "A", ""),
        ("A==", "A", "="),
        ("A=b=c", "A", "b=c"),
        ("A= b ", "A", " b "),
        ("  \tA=b", "A", "b"),
        ("_a1=b", "_a1", "b"),
        ('KEY="a"', "KEY", '"a"'),
        ("A='a'", "A", "'a'"),
        ("A=\x85\x0b", "A", "\x85\x0b"),
        # DIR-13
        ('"KEY=line1\\nline2"', "KEY", "line1\nline2"),
        (' "A=1"', "A", "1"),
        ('"A=1" ', "A", "1"),
        ('"A="', "A", ""),
        ('"A=b=\\"\\u00e4\\ud83d\\ude00"', "A", 'b="ä😀'),
    ],
)
def test_dir_12_dir_13_assignments(payload: str, name: str, value: str) -> None:
    assert parse_directive(f"openjd_env: {payload}") == SetVariable(name, value)
    secret = parse_directive(f"openjd_redacted_env: {payload}")
    assert isinstance(secret, SetSecretVariable)
    assert (secret.name, secret.value, secret.secrets[0]) == (name, value, value)


@pytest.mark.parametrize(
    "payload",
    [
        "  ",
        "A",
        "=b",
        "A =b",
        "1A=b",
        "A-B=c",
        "Ä=b",
        '{"KEY": "a"}',
        "'A=b'",
        '"A"',
        '"=b"',
        '" A=b"',
        '"A =b"',
        '"\\u0041=b"',
        '"A\\u003db"',
        # DIR-14
        "A=\0",
        "A=b\0c",
        '"A=\\u0000"',
        '"A=\\ud800"',
    ],
)
def test_dir_12_to_dir_14_malformed_assignments(payload: str) -> None:
    assert parse_directive(f"openjd_env: {payload}") == BAD_ASSIGNMENT


@pytest.mark.parametrize(
    ("payload", "column"), [('"A=b', 1), ('"A=b"x', 6), (' "A=b" "', 7), ('"A=\\q"', 4), ('"A=\t"', 4), ('"', 1)]
)
def test_dir_13_broken_json(payload: str, column: int) -> None:
    reason = f"Unterminated string starting at: line 1 column {column} (char {column - 1})"
    assert parse_directive(f"openjd_env: {payload}") == Malformed("env", reason)


@pytest.mark.parametrize("payload", ["A", " A", "\t_b1"])
def test_dir_15_unset(payload: str) -> None:
    assert parse_directive(f"openjd_unset_env: {payload}") == UnsetVariable(payload.strip())


@pytest.mark.parametrize("payload", [" ", "A ", "A=1", "1A", '"A"', "A B", "Ä"])
def test_dir_15_malformed_unset(payload: str) -> None:
    assert parse_directive(f"openjd_unset_env: {payload}") == BAD_NAME


@pytest.mark.parametrize(
    ("payload", "level"), [("DEBUG", 10), ("info", 20), (" Warning ", 30), ("\terror", 40), ("ERROR\t", 40)]
)
def test_dir_16_log_level(payload: str, level: int) -> None:
    assert parse_directive(f"openjd_session_runtime_loglevel: {payload}") == SetLogLevel(level)


@pytest.mark.parametrize(("payload", "shown"), [("loud", "LOUD"), (" WARN ", "WARN"), ("10", "10"), (" ", "")])
def test_dir_16_unknown_log_level(payload: str, shown: str) -> None:
    reason = f"Unknown log level: {shown}. Known values: DEBUG,INFO,WARNING,ERROR"
    expected = Malformed("session_runtime_loglevel", reason)
    assert parse_directive(f"openjd_session_runtime_loglevel: {payload}") == expected


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("openjd_ENV: A=1", "env"),
        (" openjd_env: A=1", "env"),
        ("\t\x0bOpenJD_Env: A=1", "env"),
        ("openjd_env:A=1", "env"),
        ("openjd_env A=1", "env"),
        ("openjd_env", "env"),
        ("openjd_env: ", "env"),
        ("openjd_env:", "env"),
        ("openjd_env\t", "env"),
        ("openjd_env:\xa0A=1", "env"),
        ("openjd_unset_env A", "unset_env"),
        ("OPENJD_UNSET_ENV: A", "unset_env"),
    ],
)
def test_dir_19_near_misses(line: str, kind: str) -> None:
    assert parse_directive(line) == NearMiss(kind)


@pytest.mark.parametrize(
    ("payload", "secrets"),
    [
        ("A =hush", ("hush", "hush")),
        ("1A= hush ", ("hush", "hush")),
        ("hush now", ("hush now", "hush now")),
        ('"A=hush', ("hush", "hush")),
        ('"A=hush"x', ('hush"x', 'hush"x')),
        ('"hush"', ('"hush"', "hush")),
        ('{"A": "hush"}', ('{"A": "hush"}', '{"A": "hush"}')),
        ("A =", ()),
        ("  ", ()),
    ],
)
def test_red_8_what_a_malformed_declaration_may_hold(payload: str, secrets: tuple[str, ...]) -> None:
    malformed = parse_directive(f"openjd_redacted_env: {payload}")
    assert isinstance(malformed, Malformed)
    assert (malformed.kind, malformed.secrets) == ("redacted_env", secrets)


@pytest.mark.parametrize(
    ("line", "secrets"),
    [
        ("openjd_redacted_env:K=v", ("v", "v")),
        (" openjd_redacted_env: K=v", ("v", "v")),
        ("OPENJD_REDACTED_ENV K v w", ("K v w", "K v w")),
        ('openjd_Redacted_env: "K=v\\nw"', ('v\\nw"', "v\\nw")),
        ("openjd_redacted_env", ()),
        ("openjd_redacted_env: ", ()),
        ("openjd_redacted_env:K=", ()),
    ],
)
def test_red_8_what_a_near_miss_may_hold(line: str, secrets: tuple[str, ...]) -> None:
    assert parse_directive(line) == NearMiss("redacted_env", secrets)


@pytest.mark.parametrize(
    ("payload", "secrets"),
    [
        ('"K=ab\\ncd"', ("ab\ncd", 'ab\\ncd"', "ab\\ncd")),
        ('"K=hush"', ("hush", 'hush"', "hush")),
        ('"K="', ("",)),
        ('K="hush"', ('"hush"',)),
    ],
)
def test_red_7_json_spellings_are_secret_too(payload: str, secrets: tuple[str, ...]) -> None:
    directive = parse_directive(f"openjd_redacted_env: {payload}")
    assert isinstance(directive, SetSecretVariable)
    assert directive.secrets == secrets


def test_dir_9_directives_are_found_where_a_line_begins() -> None:
    text = "a\nopenjd_status: openjd_fail: x\n\nsay openjd_env: A\n  openjd_env\nopenjd_x: 1\nopenjd_fail: y"
    assert [(text[start:end], found) for start, end, found in find_directives(text)] == [
        ("openjd_status: openjd_fail: x", StatusMessage("openjd_fail: x")),
        ("  openjd_env", NearMiss("env")),
        ("openjd_fail: y", FailMessage("y")),
    ]


line_texts = st.lists(
    st.one_of(
        st.text(alphabet=st.characters(exclude_characters="\n"), max_size=10),
        st.sampled_from(
            ["openjd_", "OPENJD_", "progress", "status", "env", "ENV", "redacted_env", ": ", ":", " ", "A=1"]
        ),
    ),
    max_size=6,
).map("".join)


@given(st.lists(line_texts, min_size=1, max_size=6))
def test_dir_9_searching_a_block_equals_parsing_each_line(lines: list[str]) -> None:
    expected = [(line, parse_directive(line)) for line in lines]
    text = "\n".join(lines)
    found = [(text[start:end], directive) for start, end, directive in find_directives(text)]
    assert found == [(line, directive) for line, directive in expected if directive is not None]


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_dir_13_json_gives_any_value(value: str) -> None:
    assert parse_directive("openjd_env: " + json.dumps(f"A={value}")) == SetVariable("A", value)
