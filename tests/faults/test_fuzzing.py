"""Whatever comes in: no crash, no hang, no growth without bound, and every mistake is one clear message.

What was found once is kept in ``corpus``, and tried each time.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openjd.sessions import PathFormat, PathMappingRule
from openjd.sessions._core.lines import MAX_LINE
from openjd.sessions._core.output import OutputInterpreter, Text, Update
from openjd.sessions._core.redaction import Redactor
from openjd.sessions._platform.posix import PosixKeeper
from openjd.sessions._platform.posix_account import PosixAccount
from openjd.sessions._platform.posix_link import LONGEST_ANSWER
from openjd.sessions._platform.posix_wire import Channel, encode_frame
from openjd.sessions._platform.protocol import Command
from openjd.sessions.cli import main
from support.manual_loop import ManualLoop

CORPUS = Path(__file__).with_name("corpus")
relaxed = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=150
)


# Output: lines and directives

tokens = st.sampled_from(
    [
        *(b"openjd_", b"env", b"redacted_env", b"unset_env", b"progress", b"status", b"fail"),
        *(b"session_runtime_loglevel", b": ", b":", b" ", b"\t", b"=", b'"', b"\\", b"\\u", b"\\ud800", b"A=b"),
        *(b"\n", b"\r", b"\r\n", b"\0", b"\xff", b"\xc3", b"\xf0\x9f", b"\xe2\x80\xa8", b"\x85"),
        *(b"DEBUG", b"1e400", b"-0", b"nan", b"99999999999999999999"),
    ]
)
output = st.lists(st.one_of(tokens, st.binary(max_size=6)), max_size=40).map(b"".join)


def interpret(data: bytes, borders: Sequence[int]) -> list[object]:
    interpreter = OutputInterpreter(Redactor(), entering=True, redacted_env_enabled=True)
    places = [0, *sorted(border % (len(data) + 1) for border in borders), len(data)]
    blocks = (data[start:end] for start, end in zip(places, places[1:]))
    items: list[object] = [item for block in blocks for item in interpreter.feed(block)]
    return [*items, *interpreter.close()]


def check_output(data: bytes, borders: Sequence[int] = ()) -> None:
    items = interpret(data, borders)
    texts = [item.text for item in items if isinstance(item, Text)]
    assert all(len(line) <= MAX_LINE for text in texts for line in text.split("\n"))
    told = [item for item in items if not isinstance(item, Text)]
    assert told == [item for item in interpret(data, ()) if not isinstance(item, Text)]
    for item in items:
        if isinstance(item, Update) and item.progress is not None:
            assert 0 <= item.progress <= 100


@relaxed
@given(output, st.lists(st.integers(0, 10**6), max_size=6))
def test_output(data: bytes, borders: list[int]) -> None:
    check_output(data, borders)


@pytest.mark.parametrize("file", sorted(CORPUS.glob("output-*")), ids=lambda file: file.name)
def test_output_of_the_corpus(file: Path) -> None:
    data = file.read_bytes()
    check_output(data)
    check_output(data, range(0, len(data), 3))


# Frames of a keeper, which may be anybody's program by then


class Listener:
    """Writes down what it is told of a process."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def started(self, pid: int, output: int) -> None:
        assert isinstance(pid, int)
        self.heard.append("started")
        os.close(output)

    def over(self, *_: object) -> None:
        self.heard.append("over")

    def told(self, *_: object) -> None:
        self.heard.append("told")

    not_started = tree_ended = lost = over
    notify_failed = signal_refused = exited = told


@pytest.fixture
def bystander() -> Iterator[int]:
    """A process that a keeper could be."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


kinds = [b"started", b"failed", b"unwritten", b"exited", b"refused", b"ended", b"hello", b"", b"nonsense"]
values = st.one_of(st.sampled_from([b"1", b"0", b"-9", b"1.5", b"nan", b"9" * 5000, b"\xff"]), st.binary(max_size=8))
frames = st.lists(
    st.tuples(st.sampled_from(kinds), st.sampled_from([b"1", b"2", b""]), st.lists(values, max_size=8)), max_size=8
).map(lambda drawn: b"".join(encode_frame(kind, number, *rest) for kind, number, rest in drawn))


@relaxed
@given(st.one_of(frames, st.binary(max_size=64)), st.integers(0, 3))
def test_frames_of_a_keeper(bystander: int, data: bytes, descriptors: int) -> None:
    """DESIGN §6: what makes no sense counts as the loss of the keeper, and whoever waits for its process is told."""
    check_frames(bystander, data, descriptors)


@pytest.mark.parametrize("file", sorted(CORPUS.glob("frames-*")), ids=lambda file: file.name)
def test_frames_of_the_corpus(bystander: int, file: Path) -> None:
    check_frames(bystander, file.read_bytes(), 1)


def test_a_keeper_that_sends_nothing_but_descriptors(bystander: int) -> None:
    check_frames(bystander, b"\0", 6)


def check_frames(pid: int, data: bytes, descriptors: int) -> None:
    """Have a keeper send these bytes, with as many pipes."""
    theirs, ours = socket.socketpair()
    listener = Listener()
    with theirs, closing(ManualLoop()) as loop:
        keeper = PosixKeeper(Channel(ours, LONGEST_ANSWER), pid, PosixAccount(None), loop)
        keeper.process(Command(["true"], "/", {}), listener).start()
        ends = [end for _ in range(descriptors) for end in os.pipe()]
        if data:
            socket.send_fds(theirs, [data], ends)
        for end in ends:
            os.close(end)
        loop.turn()
        loop.turn()
        theirs.close()
        loop.turn()
        assert keeper.is_lost
        assert "over" in listener.heard


# Path mapping rules

paths = st.text(st.sampled_from("aB/\\:.~ é%?#\0"), max_size=12)


@relaxed
@given(st.sampled_from(list(PathFormat)), paths, paths, paths)
def test_path_mapping(source_format: PathFormat, source: str, destination: str, path: str) -> None:
    """PM-1 to PM-8: a rule is refused with ValueError, or does something sensible to every path."""
    given_rule = {"source_path_format": source_format.value, "source_path": source, "destination_path": destination}
    try:
        rule = PathMappingRule.from_dict(rule=given_rule)
    except ValueError:
        return
    is_mapped, mapped = rule.apply(path=path)
    assert isinstance(mapped, str)
    assert is_mapped or mapped == path
    assert PathMappingRule.from_dict(rule=rule.to_dict()) == rule


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)


@relaxed
@given(anything)
def test_path_mapping_of_anything(rule: object) -> None:
    """Values of wrong kinds are ValueErrors or TypeErrors."""
    with pytest.raises((ValueError, TypeError)):
        PathMappingRule.from_dict(rule=rule)  # type: ignore[arg-type]


# Inputs of the command line

TEMPLATE = {
    "specificationVersion": "jobtemplate-2023-09",
    "name": "Job",
    "parameterDefinitions": [{"name": "N", "type": "INT", "default": 1}, {"name": "S", "type": "STRING"}],
    "steps": [{"name": "Step", "script": {"actions": {"onRun": {"command": "true"}}}}],
}
STATUSES = {0, 1, 2, 3, 4}


def complaints_of(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(argv) in STATUSES
    complaint = capsys.readouterr().err
    assert "Traceback" not in complaint
    return complaint


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "template.json"
    path.write_text(json.dumps(TEMPLATE))
    return path


@relaxed
@given(st.one_of(st.binary(max_size=40), anything.map(lambda value: yaml.safe_dump(value).encode())))
def test_templates(tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes) -> None:
    for ending in ("json", "yaml", "txt"):
        path = tmp_path / f"fuzzed.{ending}"
        path.write_bytes(data)
        assert complaints_of(["check", str(path)], capsys).startswith("ERROR: ")


@relaxed
@given(st.sampled_from(["steps", "name", "parameterDefinitions", "jobEnvironments", "extensions"]), anything)
def test_parts_of_templates(tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str, value: object) -> None:
    path = tmp_path / "fuzzed.json"
    path.write_text(json.dumps({**TEMPLATE, part: value}))
    complaints_of(["check", str(path)], capsys)


words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
options = st.sampled_from(["-p", "--tasks", "--path-mapping-rules", "--env", "--step", "-tp", "--maximum-tasks"])
odd = st.one_of(
    words,
    anything.map(json.dumps),
    st.sampled_from(
        ["N=x", "S=", "N=1", "file://", "file:///dev/null", "file:///proc/self/mem", "{", "[[", "=", "é=1"]
    ),
)


@relaxed
@given(st.lists(st.tuples(options, odd), min_size=1, max_size=3))
def test_options_of_run(
    template: Path, capsys: pytest.CaptureFixture[str], given_options: list[tuple[str, str]]
) -> None:
    """The job lacks a step that is asked for, so that nothing is ever run."""
    argv = [f"{option}={value}" if option.startswith("--") else f"{option}{value}" for option, value in given_options]
    complaint = complaints_of(["run", str(template), *argv, "--step=No such step", "-pS=s"], capsys)
    assert "ERROR: " in complaint or "usage: " in complaint
