"""What is true of any input: checks for hypothesis, for the corpus, and for a fuzzer that is led by coverage."""

from __future__ import annotations

import atexit
import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Callable

from openjd.sessions import PathFormat, PathMappingRule
from openjd.sessions._core.lines import MAX_LINE
from openjd.sessions._core.output import OutputInterpreter, Text, Update
from openjd.sessions._core.redaction import Redactor
from openjd.sessions._platform.posix_wire import MAX_FRAME, FrameBuffer, encode_frame
from openjd.sessions.cli import main
from support.frames import check_frames

CORPUS = Path(__file__).resolve().parents[1] / "faults" / "corpus"
"""Files whose names begin with that of the target they are for."""


# Output: lines and directives


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


def fuzz_output(data: bytes) -> None:
    check_output(data)
    check_output(data, range(0, len(data), 3))


# Frames: what a keeper says, which may be anybody's program by then; and what it is told


def fuzz_frames(data: bytes) -> None:
    with subprocess.Popen(["sleep", "60"]) as bystander:
        try:
            check_frames(bystander.pid, data, 1)
        finally:
            bystander.kill()


def check_frames_to_a_keeper(fields: Sequence[bytes], size: int) -> None:
    """Whatever is said to it arrives as it was, in whichever pieces of this size; after it comes another frame."""
    buffer = FrameBuffer(MAX_FRAME)
    data = encode_frame(*fields) + encode_frame(b"leave")
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    assert [frame for piece in pieces for frame in buffer.feed(piece)] == [list(fields), [b"leave"]]


def fuzz_requests(data: bytes) -> None:
    check_frames_to_a_keeper(data[1:].split(b"\0"), 1 + data[0] if data else 1)


# Path mapping rules


def check_path_mapping(source_format: PathFormat, source: str, destination: str, path: str) -> None:
    """PM-1 to PM-8: a rule is refused with ValueError, or does something sensible to every path."""
    given = {"source_path_format": source_format.value, "source_path": source, "destination_path": destination}
    try:
        rule = PathMappingRule.from_dict(rule=given)
    except ValueError:
        return
    is_mapped, mapped = rule.apply(path=path)
    assert isinstance(mapped, str)
    assert is_mapped or mapped == path
    if type(rule.source_path)(str(rule.source_path)) == rule.source_path:  # pathlib can't read all that it writes
        assert PathMappingRule.from_dict(rule=rule.to_dict()) == rule


def fuzz_paths(data: bytes) -> None:
    """A letter for the format; then a line each for the two ends of a rule, and a path."""
    formats = {b"W": PathFormat.WINDOWS, b"U": PathFormat.URI}
    source, destination, path = [*data[1:].decode("utf-8", "surrogateescape").split("\n", 2), "", "", ""][:3]
    check_path_mapping(formats.get(data[:1], PathFormat.POSIX), source, destination, path)


# Inputs of the command line

TEMPLATE = {
    "specificationVersion": "jobtemplate-2023-09",
    "name": "Job",
    "parameterDefinitions": [{"name": "N", "type": "INT", "default": 1}, {"name": "S", "type": "STRING"}],
    "steps": [{"name": "Step", "script": {"actions": {"onRun": {"command": "true"}}}}],
}
STATUSES = {0, 1, 2, 3, 4}


def complaint_of(argv: list[str]) -> str:
    """What the command line complains of."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()) as complaints:
        assert main(argv) in STATUSES
    assert "Traceback" not in complaints.getvalue()
    return complaints.getvalue()


def check_template(data: bytes, folder: Path) -> None:
    for ending in ("json", "yaml", "txt"):
        path = folder / f"fuzzed.{ending}"
        path.write_bytes(data)
        complaint = complaint_of(["check", str(path)])
        assert complaint == "" or complaint.startswith("ERROR: ")


def check_run(template: Path, arguments: Sequence[str]) -> None:
    """The job lacks a step that is asked for, so that nothing is ever run."""
    complaint = complaint_of(["run", str(template), *arguments, "--step=No such step", "-pS=s"])
    assert "ERROR: " in complaint or "usage: " in complaint


def fuzz_inputs(data: bytes) -> None:
    """A letter for what it is of the command line; then that: a template, or the value of an option."""
    folder = _folder()
    options = {b"p": "-p", b"t": "--tasks=", b"m": "--path-mapping-rules=", b"x": "-tp", b"n": "--maximum-tasks="}
    if data[:1] not in options:
        check_template(data[1:], folder)
        return
    value = data[1:].decode("utf-8", "replace").replace("\0", "")
    check_run(folder / "template.json", [options[data[:1]] + value])


@lru_cache(maxsize=1)
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="openjd-fuzz-"))
    atexit.register(shutil.rmtree, folder)
    (folder / "template.json").write_text(json.dumps(TEMPLATE))
    return folder


TARGETS: dict[str, Callable[[bytes], None]] = {
    "output": fuzz_output,
    "frames": fuzz_frames,
    "requests": fuzz_requests,
    "paths": fuzz_paths,
    "inputs": fuzz_inputs,
}
"""What is fuzzed, each with bytes."""
