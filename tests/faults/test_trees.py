"""Random trees of processes of all habits (ACT-28 to ACT-33): all of them end, and nobody else.

Members have sessions of their own, are forked twice, ignore signals, have closed their output or hold it open, are
stopped, have another name and an empty environment, or go on forking while they are killed.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from openjd.sessions import ActionState
from support import child
from support.scripts import action, environment, notified
from support.stage import Stage, wait_until

SOON = 2.0
AFTER_NOTICE = 7.0
FEW, SOME, MANY = 60, 300, 1000


@pytest.fixture
def strangers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes of this user that look like members, but are none."""
    alike = [["sleep", "60"], ["sh", "-c", "sleep 60; true"], child("wait")]
    started = [subprocess.Popen(each, stdout=subprocess.DEVNULL, start_new_session=True) for each in alike]
    yield started
    found = [process.poll() for process in started]
    for process in started:
        process.kill()
        process.wait()
    assert found == [None] * len(alike)


class Jungle:
    """A tree, known by a variable and by the directory that all of its members are in."""

    def __init__(self, stage: Stage) -> None:
        self._directory = str(stage.session.working_directory)

    def members(self) -> list[int]:
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_member(pid)]

    def _is_member(self, pid: int) -> bool:
        try:
            status = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
            return os.readlink(f"/proc/{pid}/cwd") == self._directory and status.rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def seconds_until_gone(self) -> float:
        began = time.monotonic()
        wait_until(lambda: self.members() == [])
        return time.monotonic() - began


@pytest.mark.parametrize(("seed", "size"), [*((seed, FEW) for seed in range(12)), (100, MANY)])
def test_canceled(stage: Stage, strangers: list[object], seed: int, size: int) -> None:
    """ACT-29, ACT-30: notified first or not; nobody is alive when the action is over."""
    jungle = Jungle(stage)
    cancelation = {"cancelation": notified(1)} if seed % 2 else {}
    stage.session.enter_environment(
        environment=environment("E", onEnter=action(*child("jungle", str(seed), str(size)), **cancelation))
    )
    stage.wait_for_line("ready")
    assert len(jungle.members()) > size // 2
    stage.session.cancel_action()
    assert stage.wait().state is ActionState.CANCELED
    assert jungle.seconds_until_gone() < SOON
    assert len(strangers) == 3


@pytest.mark.parametrize("seed", range(20, 22))
def test_at_the_time_limit(stage: Stage, strangers: list[object], seed: int) -> None:
    """ACT-30: also while the tree still grows."""
    jungle = Jungle(stage)
    argv = child("jungle", str(seed), str(SOME))
    assert stage.run(*argv, timeout=1).state is ActionState.TIMEOUT
    assert jungle.seconds_until_gone() < SOON
    assert len(strangers) == 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30, 31))
def test_left_behind(stage: Stage, strangers: list[object], seed: int) -> None:
    """DESIGN §11: survivors of an environment are notified at its exit, and terminated five seconds later."""
    jungle = Jungle(stage)
    stage.enter(environment("E", onEnter=action(*child("jungle", str(seed), str(FEW), "leave"))))
    assert len(jungle.members()) > FEW // 3
    stage.exit("E")
    assert jungle.seconds_until_gone() < AFTER_NOTICE
    assert len(strangers) == 3


@pytest.mark.slow
def test_left_behind_by_the_session(stage: Stage, strangers: list[object]) -> None:
    """LC-36: at the latest by its end, and before the directory is deleted."""
    jungle = Jungle(stage)
    stage.run(*child("jungle", "40", str(SOME), "leave"))
    began = time.monotonic()
    stage.session.cleanup()
    assert jungle.members() == []
    assert time.monotonic() - began < AFTER_NOTICE
    assert not stage.session.working_directory.exists()
    assert len(strangers) == 3
