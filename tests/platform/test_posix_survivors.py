"""What outlives its command on POSIX, and whose it is (DESIGN §4 and §11)."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from openjd.sessions._platform import posix_link
from openjd.sessions._platform.posix import PosixPlatform
from support import child
from support.bench import Bench, Recorder, Watched, parent_of
from support.hosts import run_host
from support.manual_loop import ManualLoop

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches processes by pidfd and /proc")

SLEEP = "sleep 60"


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch, loop: ManualLoop, tmp_path: Path) -> Iterator[Bench]:
    """A keeper that gives survivors a tenth of a second instead of 5."""
    program = posix_link.stand_alone_program()
    shorter = program.replace(b"SURVIVOR_GRACE = 5.0", b"SURVIVOR_GRACE = 0.1")
    assert shorter != program
    monkeypatch.setattr(posix_link, "stand_alone_program", lambda: shorter)
    platform = PosixPlatform(loop)
    bench = Bench(platform, loop, tmp_path)
    yield bench
    bench.close()
    platform.forget()


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def deaf_survivor(bench: Bench, scope: str = "") -> Recorder:
    """A process that says when it is notified, and goes on; its command has gone."""
    os.mkfifo(bench.directory / "go")
    loop = "while :; do wait; done"
    script = (
        f"(trap 'echo notified' TERM; echo descendant $(exec sh -c 'echo $PPID'); {SLEEP} & {loop}) & read -r _ < go"
    )
    _, recorder = bench.ask_for(shell(script), scope=scope)
    bench.loop.run_until(lambda: len(recorder.descendants) == 1)
    (bench.directory / "go").write_text("\n")
    bench.loop.run_until(recorder.has_heard("exited"))
    return recorder


# Who is named


def test_the_processes_left_are_named(posix: Bench) -> None:
    """DESIGN §11: by number and command, those that fled included; at most 20 of them."""
    recorder = posix.abandon(*child("forks", "daemon", "leave"))
    command = Path(f"/proc/{recorder.descendants[0]}/cmdline").read_text().replace("\0", " ").strip()
    assert recorder.left == [f"{recorder.descendants[0]} {command}"]
    recorder = posix.abandon(*shell("for i in $(seq 25); do sleep 60 & done"))
    assert len(recorder.left) == 20


def test_what_has_ended_with_the_command_is_not_named(posix: Bench) -> None:
    """DESIGN §11: only what lives on, though the keeper has not looked yet."""
    _, recorder = posix.ask_for(shell(f"{SLEEP} & echo descendant $!; echo ready; wait"))
    posix.loop.run_until(recorder.has_said(b"ready\n"))
    keeper = parent_of(recorder.pid)
    with Watched([recorder.pid, *recorder.descendants]) as tree:
        os.kill(keeper, signal.SIGSTOP)
        os.kill(recorder.pid, signal.SIGKILL)
        os.kill(recorder.descendants[0], signal.SIGKILL)
        tree.wait_until_gone()
        os.kill(keeper, signal.SIGCONT)
    posix.finish(recorder)
    assert recorder.left == []


# How they end


def test_survivors_that_do_not_listen_are_terminated_after_a_while(hurried: Bench) -> None:
    """DESIGN §11: a released scope's are notified, then terminated."""
    recorder = deaf_survivor(hurried, scope="s")
    with Watched(recorder.descendants) as survivor:
        hurried.keeper.release("s")
        hurried.loop.run_until(lambda: recorder.has_output_ended)
        survivor.wait_until_gone()
    assert recorder.lines[1:] == ["notified"]


def test_a_keeper_that_leaves_terminates_who_does_not_listen(hurried: Bench) -> None:
    """DESIGN §11."""
    recorder = deaf_survivor(hurried)
    with Watched(recorder.descendants) as survivor:
        hurried.leave()
        assert survivor.alive() == set()
    hurried.loop.run_until(lambda: recorder.has_output_ended)
    assert recorder.lines[1:] == ["notified"]


def test_other_scopes_are_not_touched(hurried: Bench) -> None:
    """DESIGN §11: neither notified nor terminated; nor is the process that runs, whatever its scope."""
    released = hurried.abandon(*child("forks", "session", "leave"), scope="inner")
    kept = hurried.abandon(*child("forks", "session", "leave"), scope="outer")
    process, running = hurried.begin("forks", "session", scope="inner")
    _, others = hurried.begin("forks", "session", scope="inner", keeper=hurried.open_keeper())
    untouched = [*kept.descendants, running.pid, *running.descendants, others.pid, *others.descendants]
    with Watched(released.descendants) as ended, Watched(untouched) as alive:
        hurried.keeper.release("inner")
        hurried.loop.run_until(lambda: released.has_output_ended)
        ended.wait_until_gone()
        assert alive.alive() == set(untouched)
    process.terminate()
    hurried.loop.run_until(running.has_heard("tree ended"))


def test_a_scope_may_be_released_twice(posix: Bench) -> None:
    """An environment that is exited again under the same name."""
    for _ in range(2):
        recorder = posix.abandon(*child("forks", "session", "leave"), scope="s")
        posix.keeper.release("s")
        posix.loop.run_until(lambda: recorder.has_output_ended)  # noqa: B023 - it is called here only


# Whose an orphan is


def orphan_of_an_earlier_process(bench: Bench, start: str) -> tuple[Recorder, Path]:
    """What a survivor has started, and the fifo that lets the survivor go and so makes an orphan of it."""
    gate = bench.directory / "gate"
    os.mkfifo(gate)
    survivor = f"{start} & echo descendant $!; read -r _ < gate"
    recorder = bench.abandon(*shell(f"setsid sh -c '{survivor}' &"), scope="of the earlier")
    bench.loop.run_until(lambda: len(recorder.descendants) == 1)
    return recorder, gate


def make_orphan(bench: Bench, pid: int, gate: Path) -> None:
    keeper = parent_of(parent_of(pid))
    gate.write_text("\n")
    bench.loop.run_until(lambda: parent_of(pid) == keeper)


def test_an_orphan_of_an_earlier_process_is_not_the_running_ones(posix: Bench) -> None:
    """DESIGN §4: it carries the mark of its own; it ends when its own scope is released."""
    earlier, gate = orphan_of_an_earlier_process(posix, SLEEP)
    with Watched(earlier.descendants) as orphan:
        process, running = posix.begin("wait", scope="of the running")
        make_orphan(posix, earlier.descendants[0], gate)
        process.terminate()
        posix.loop.run_until(running.has_heard("tree ended"))
        assert orphan.alive() == set(earlier.descendants)
        assert running.left == []
        posix.keeper.release("of the running")
        posix.run(*child("exit", "0"))
        assert orphan.alive() == set(earlier.descendants)
        posix.keeper.release("of the earlier")
        orphan.wait_until_gone()


def test_an_orphan_without_a_mark_counts_as_the_running_ones(posix: Bench) -> None:
    """DESIGN §4: it has cleared its environment, so nobody can know better."""
    earlier, gate = orphan_of_an_earlier_process(posix, f"env -i {SLEEP}")
    with Watched(earlier.descendants) as orphan:
        process, running = posix.begin("wait")
        make_orphan(posix, earlier.descendants[0], gate)
        process.terminate()
        posix.loop.run_until(running.has_heard("tree ended"))
        assert orphan.alive() == set()


def test_a_member_that_has_cleared_its_environment_is_terminated(posix: Bench) -> None:
    """ACT-30: the mark is not needed to find the running one's."""
    process, recorder = posix.ask_for(shell(f"setsid env -i {SLEEP} & echo descendant $!; echo ready; wait"))
    posix.loop.run_until(recorder.has_said(b"ready\n"))
    with Watched(recorder.descendants) as member:
        posix.loop.run_until(lambda: b"sleep" in Path(f"/proc/{recorder.descendants[0]}/cmdline").read_bytes())
        process.terminate()
        posix.loop.run_until(recorder.has_heard("tree ended"))
        assert member.alive() == set()


def test_a_keeper_forgets_what_has_gone(tmp_path: Path) -> None:
    """Memory stays flat over thousands of actions, each in a scope of its own."""
    assert run_host("count-what-is-kept", str(tmp_path)) == {"owners": 0, "scopes": 1, "releases": 0}
