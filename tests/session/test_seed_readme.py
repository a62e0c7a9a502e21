"""The example of the library's first README, as it stands there, and the loop that makes it delicate (API §9)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from openjd.sessions import ActionState, ActionStatus, Session
from support.scripts import action, environment
from support.stage import PATIENCE, shell

README = Path(__file__).resolve().parents[3] / "shared" / "seed-readme.md"
RUNS = 1000


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Have other processes compete for the processors."""
    processes = [subprocess.Popen(shell("while :; do :; done")) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_exit_loop(tmp_path: Path) -> None:
    """API §9: it starts an exit, then clears its event, then waits; not one final call comes between the first two."""
    action_event = threading.Event()
    last: list[ActionStatus] = []

    def callback(_: str, status: ActionStatus) -> None:
        last[:] = [status]
        if status.state != ActionState.RUNNING:
            action_event.set()

    on_exit = environment("E", onExit=action("true"))
    with (
        Session(
            session_id="demo", job_parameter_values=[], callback=callback, session_root_directory=tmp_path
        ) as session,
        busy_processes(2 * (os.cpu_count() or 1)),
    ):
        environment_ids = [session.enter_environment(environment=on_exit) for _ in range(RUNS)]
        environment_ids.reverse()
        for number, identifier in enumerate(environment_ids):
            session.exit_environment(identifier=identifier)
            action_event.clear()
            assert action_event.wait(PATIENCE), f"It hangs in round {number}."
            assert last == [ActionStatus(state=ActionState.SUCCESS, exit_code=0)]


def test_exit_loop_where_the_program_is_missing(tmp_path: Path) -> None:
    """API §9: reported in the same way, so that the loop ends as well."""
    action_event = threading.Event()
    on_exit = environment("E", onExit=action("no-such-program"))
    with Session(
        session_id="demo",
        job_parameter_values=[],
        callback=lambda _, status: action_event.set() if status.state != ActionState.RUNNING else None,
        session_root_directory=tmp_path,
    ) as session:
        for identifier in reversed([session.enter_environment(environment=on_exit) for _ in range(50)]):
            session.exit_environment(identifier=identifier)
            action_event.clear()
            assert action_event.wait(PATIENCE)


@pytest.fixture
def example() -> str:
    """The Python program of the first README."""
    if not README.exists():
        pytest.skip("The first README is not beside this checkout, as shared/seed-readme.md.")
    [code] = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    return str(code)


def run_example(code: str, folder: Path, path: Path) -> list[str]:
    """What the example prints, run with this PATH alone."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=60,
        env={**os.environ, "PATH": str(path)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_example(example: str, tmp_path: Path) -> None:
    """API §9: unchanged, it runs both environments and ten tasks, and ends."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (programs / "python").chmod(0o700)
    lines = run_example(example, tmp_path, programs)
    texts = ("Entering", "Exiting", "Foo=")
    assert [line for line in lines if line.startswith(texts)] == [
        *("Entering DemoJobEnv", "Entering DemoStepEnv"),
        *(f"Foo=12 Bar={number}" for number in range(1, 11)),
        *("Exiting DemoStepEnv", "Exiting DemoJobEnv"),
    ]
    assert sum(line == "--------- Running Task" for line in lines) == 10


def test_example_where_there_is_no_python(example: str, tmp_path: Path) -> None:
    """API §9: it ends there, too; what it has entered it exits."""
    programs = tmp_path / "bin"
    programs.mkdir()
    lines = run_example(example, tmp_path, programs)
    assert [line for line in lines if line.startswith("--------- ")] == [
        *("--------- Entering Environment: DemoJobEnv", "--------- Exiting Environment: DemoJobEnv"),
        "--------- Session Cleanup",
    ]
    reason = f"Process failed to start: Program 'python' was not found in the PATH searched: {programs}"
    assert lines.count(reason) == 2
