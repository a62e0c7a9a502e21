"""Whatever comes in: no crash, no hang, no growth without bound, and every mistake is one clear message.

What was found once is kept in ``corpus``, and tried each time; beside it lies what a fuzzer had best begin with.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openjd.sessions import PathFormat, PathMappingRule
from openjd.sessions._platform.posix_wire import encode_frame
from support import fuzzing
from support.frames import check_frames
from support.fuzzing import CORPUS, TARGETS, TEMPLATE
from support.stage import PATIENCE

relaxed = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=150
)


@pytest.mark.parametrize("file", sorted(CORPUS.iterdir()), ids=lambda file: file.name)
def test_corpus(file: Path) -> None:
    """Each file is for the target that its name begins with."""
    TARGETS[file.name.partition("-")[0]](file.read_bytes())


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


@relaxed
@given(output, st.lists(st.integers(0, 10**6), max_size=6))
def test_output(data: bytes, borders: list[int]) -> None:
    fuzzing.check_output(data, borders)


# Frames of a keeper, which may be anybody's program by then


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


def test_a_keeper_that_sends_nothing_but_descriptors(bystander: int) -> None:
    check_frames(bystander, b"\0", 6)


@relaxed
@given(st.lists(st.binary(max_size=300).map(lambda data: data.replace(b"\0", b"")), min_size=1), st.integers(1, 400))
def test_frames_to_a_keeper(fields: list[bytes], size: int) -> None:
    """DESIGN §6: it trusts what we say, so what it hears must be that."""
    fuzzing.check_frames_to_a_keeper(fields, size)


# Path mapping rules

paths = st.text(st.sampled_from("aB/\\:.~ é%?#\0"), max_size=12)


@relaxed
@given(st.sampled_from(list(PathFormat)), paths, paths, paths)
def test_path_mapping(source_format: PathFormat, source: str, destination: str, path: str) -> None:
    """PM-1 to PM-8."""
    fuzzing.check_path_mapping(source_format, source, destination, path)


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


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "template.json"
    path.write_text(json.dumps(TEMPLATE))
    return path


@relaxed
@given(st.one_of(st.binary(max_size=40), anything.map(lambda value: yaml.safe_dump(value).encode())))
def test_templates(tmp_path: Path, data: bytes) -> None:
    fuzzing.check_template(data, tmp_path)


@relaxed
@given(st.sampled_from(["steps", "name", "parameterDefinitions", "jobEnvironments", "extensions"]), anything)
def test_parts_of_templates(tmp_path: Path, part: str, value: object) -> None:
    fuzzing.check_template(json.dumps({**TEMPLATE, part: value}).encode(), tmp_path)


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
def test_options_of_run(template: Path, given_options: list[tuple[str, str]]) -> None:
    argv = [f"{option}={value}" if option.startswith("--") else f"{option}{value}" for option, value in given_options]
    fuzzing.check_run(template, argv)


# Led by coverage


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("atheris"), reason="atheris is not installed: pip install -e '.[fuzz]'")
@pytest.mark.parametrize("target", TARGETS)
def test_led_by_coverage(target: str, tmp_path: Path) -> None:
    """A few seconds of what `fuzz.py` does at length; what it finds is added to the corpus."""
    program = [sys.executable, str(Path(__file__).with_name("fuzz.py")), target, "-max_total_time=3"]
    own = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(program, env=own, capture_output=True, text=True, check=False, timeout=2 * PATIENCE)
    assert done.returncode == 0, done.stderr
    assert " cov: " in done.stderr
