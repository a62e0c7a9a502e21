"""On a terminal: colour, and one line of progress below the log; only if ``rich`` is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from support.jobs import chunks, run_child, step, template

pty = pytest.importorskip("pty")

CLEAR_LINE = "\r\x1b[2K"
UPDATES = ["openjd_progress: 50", "openjd_status: half of it"]


def shown_on_terminal(code: str, **variables: str) -> str:
    """What a Python program shows on a terminal of its own."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", **variables}
    with subprocess.Popen([sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, env=environment):
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # how Linux tells that nobody has the terminal open any more
            while block := os.read(ours, 65536):
                shown += block
    os.close(ours)
    return shown.decode()


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A program that runs a job of two tasks, each half done when it ends."""
    monkeypatch.chdir(tmp_path)
    document = template(step("Render", run_child("text", *UPDATES), ranges={"N": ("INT", "1-2")}))
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(document))
    return "from openjd.sessions.cli import main; main(['run', 'job.yaml'])"


def without_colour(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_colour_and_progress(job: str) -> None:
    pytest.importorskip("rich")
    shown = shown_on_terminal(job, TERM="xterm-256color")
    assert "\x1b[1;34mPhase: Setup\x1b[0m" in shown
    pieces = without_colour(shown).split(CLEAR_LINE)
    progress = [piece.strip("━") for piece in pieces if piece.startswith("━")]
    assert list(dict.fromkeys(progress)) == [
        " 0/2 tasks of Render",
        " 0/2 tasks of Render  50%",
        " 0/2 tasks of Render  50%  half of it",
        " 1/2 tasks of Render",
        " 1/2 tasks of Render  50%",
        " 1/2 tasks of Render  50%  half of it",
        " 2/2 tasks of Render",
    ]
    assert pieces[-1].endswith("Tasks run: 2\r\n\r\n")


def test_the_tasks_of_a_chunk_count_one_by_one(job: str) -> None:
    pytest.importorskip("rich")
    frames = {"Frame": ("CHUNK[INT]", "1-8", chunks(3))}
    document = template(step("Render", ranges=frames), extensions=["TASK_CHUNKING"])
    Path("job.yaml").write_text(yaml.safe_dump(document))
    shown = without_colour(shown_on_terminal(job, TERM="xterm-256color"))
    assert list(dict.fromkeys(re.findall(r"\d/8 tasks of Render", shown))) == [
        f"{ended}/8 tasks of Render" for ended in (0, 3, 6, 8)
    ]
    assert shown.endswith("Tasks run: 8\r\n\r\n")


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"TERM": "xterm", "PYTHONIOENCODING": "ascii"}])
def test_terminals_that_can_do_little_get_plain_lines(job: str, variables: dict[str, str]) -> None:
    shown = shown_on_terminal(job, **variables)
    assert "\x1b" not in shown
    assert "\topenjd_status: half of it\r\n" in shown


def test_without_rich(job: str) -> None:
    shown = shown_on_terminal(f"import sys; sys.modules['rich'] = None; {job}", TERM="xterm-256color")
    assert "\x1b" not in shown
    assert "\topenjd_status: half of it\r\n" in shown
