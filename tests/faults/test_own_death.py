"""The program dies: at each step of a start (LC-13), in each state of an action, in every way.

Within three seconds nothing of any action is alive, and the next program finds the directory and sweeps it (DESIGN §4,
§11). The programs are forks of one that has imported everything and has no thread yet.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from openjd.sessions import sweep
from support.death import STATES, STEPS
from support.programs import Program
from support.stage import wait_until

MOST_SECONDS = 3.0
MARK = "OPENJD_DEATH"
"""A variable of all processes of one dying program."""

CODE = """
from support.death import MOMENTS, begin

def die_in_fork(mark, moment, way):
    pid = os.fork()
    if pid:
        say("died", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    else:
        os.environ["OPENJD_DEATH"] = mark
        begin(MOMENTS[moment], way)
    return pid == 0

say("ready")
for line in sys.stdin:
    if die_in_fork(*line.rstrip().split("|")):
        break
"""
CODES = {"SIGKILL": -9, "SIGTERM": -15, "os._exit": 3, "sys.exit": 3, "exception": 1}


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The program whose forks die."""
    program = Program(tmp_path_factory.mktemp("root"), CODE)
    program.wait_for("ready")
    yield program
    program.close()


def marked(mark: str) -> list[int]:
    """The processes of a dying program's actions, and its helpers."""
    wanted = f"{MARK}={mark}\0".encode()
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if wanted in variables_of(pid)]


def variables_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it has ended, or is somebody else's
        return b""


def die(nursery: Program, moment: str, way: str) -> None:
    mark = f"{moment}-{way}-{os.getpid()}"
    nursery.say(f"{mark}|{moment}|{way}")
    died = nursery.read_line()
    began = time.monotonic()
    wait_until(lambda: marked(mark) == [])
    assert time.monotonic() - began < MOST_SECONDS
    assert died == f"died {CODES[way]}"
    root = nursery.root
    swept = sweep(root)
    assert list(root.iterdir()) == []
    assert len(swept) == (0 if way in ("sys.exit", "exception") else 1)


@pytest.mark.parametrize("way", ["SIGKILL", "exception"])
@pytest.mark.parametrize("step", STEPS)
def test_at_each_step_of_a_start(nursery: Program, step: str, way: str) -> None:
    """LC-13."""
    die(nursery, step, way)


@pytest.mark.parametrize("state", STATES)
def test_in_each_state_of_an_action(nursery: Program, state: str) -> None:
    """DESIGN §4: the action's machine, and what comes after it."""
    die(nursery, state, "SIGKILL")


@pytest.mark.parametrize("state", ["running", "notified", "clean-up"])
@pytest.mark.parametrize("way", [way for way in CODES if way != "SIGKILL"])
def test_in_every_way(nursery: Program, state: str, way: str) -> None:
    """DESIGN §4: who ends orderly deletes the directory himself."""
    die(nursery, state, way)
