"""Keepers and launchers that are stopped or hang are given up, with all that they kept (DESIGN §4)."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Callable

import pytest

from openjd.sessions._platform import posix_link
from openjd.sessions._platform.posix import PosixKeeper, PosixPlatform
from openjd.sessions._platform.protocol import Process
from support import child
from support.bench import Bench, Watched, keeper_of, parent_of, state_of
from support.manual_loop import ManualLoop

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches processes by pidfd and /proc")

PATIENCE = 5.0
"""Seconds without an answer after which it is asked whether it is there, and again after which it is given up."""
SILENT = "The keeper of this Session's processes has not answered for 10 seconds; it and what it kept is terminated."
INFO = '{"NotifyEnd": "2031-01-01T00:00:00Z"}'


@pytest.fixture
def own_bench(loop: ManualLoop, tmp_path: Path) -> Iterator[Bench]:
    """A keeper of a launcher of its own, which may be harmed."""
    platform = PosixPlatform(loop)
    bench = Bench(platform, loop, tmp_path)
    yield bench
    bench.close()
    platform.forget()


def stop(bench: Bench, *pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    bench.loop.run_until(lambda: all(state_of(pid) == "T" for pid in pids))


@contextmanager
def stopped(bench: Bench, pid: int) -> Iterator[None]:
    stop(bench, pid)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


REQUESTS: dict[str, Callable[[Process], None]] = {
    "notify": lambda process: process.notify(INFO),
    "terminate": lambda process: process.terminate(),
    "check": lambda process: process.check(),
}


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("kind", ["plain", "daemon"])
def test_a_stopped_keeper_is_given_up_with_its_processes(posix: Bench, request_name: str, kind: str) -> None:
    """DESIGN §4: after 10 s, and not before; the next keeper works."""
    process, recorder = posix.begin("forks", kind)
    keeper = parent_of(recorder.pid)
    with Watched([keeper, recorder.pid, *recorder.descendants]) as everything:
        stop(posix, keeper)
        REQUESTS[request_name](process)
        posix.loop.clock.advance(PATIENCE)
        posix.loop.clock.advance(PATIENCE * 0.99)
        assert recorder.heard == ["started"]
        posix.loop.clock.advance(PATIENCE * 0.01)
        assert (recorder.heard, recorder.reasons) == (["started", "lost"], [SILENT])
        assert posix.keeper.is_lost
        everything.wait_until_gone()
    assert posix.begin("wait", keeper=posix.open_keeper())[1].heard == ["started"]


def test_a_keeper_that_does_not_start_what_it_should(posix: Bench) -> None:
    """DESIGN §4."""
    keeper = keeper_of(posix)
    with Watched([keeper]) as watched:
        stop(posix, keeper)
        process, recorder = posix.ask_for(child("wait"))
        process.check()
        posix.loop.clock.advance(2 * PATIENCE)
        assert (recorder.heard, recorder.reasons) == (["lost"], [SILENT])
        watched.wait_until_gone()


def test_marked_processes_are_found_when_the_launcher_is_stopped_too(own_bench: Bench) -> None:
    """DESIGN §4: if both are gone, they are killed by their mark."""
    process, recorder = own_bench.begin("forks", "daemon")
    other_process, other = own_bench.begin("polite", "4", keeper=own_bench.open_keeper())
    keeper = parent_of(recorder.pid)
    with Watched([recorder.pid, *recorder.descendants]) as tree, stopped(own_bench, parent_of(keeper)):
        stop(own_bench, keeper)
        process.terminate()
        own_bench.loop.clock.advance(2 * PATIENCE)
        tree.wait_until_gone()
    other_process.notify(INFO)
    assert own_bench.finish(other).code == 4


def test_a_keeper_that_answers_late_is_kept(posix: Bench) -> None:
    """DESIGN §4: any answer counts."""
    process, recorder = posix.begin("deaf")
    with stopped(posix, parent_of(recorder.pid)):
        process.terminate()
        posix.loop.clock.advance(PATIENCE * 1.9)
    posix.finish(recorder)
    posix.loop.clock.advance(100 * PATIENCE)
    assert recorder.code == -9
    assert not posix.keeper.is_lost


def test_a_keeper_whose_answer_has_not_been_read_is_kept(posix: Bench) -> None:
    """DESIGN §4: it is not its fault if this program is held up, or stopped."""
    process, recorder = posix.begin("wait")
    assert isinstance(posix.keeper, PosixKeeper)
    process.check()
    posix.loop.clock.advance(PATIENCE)
    assert select.select([posix.keeper._channel], [], [], PATIENCE)[0]
    posix.loop.clock.advance(PATIENCE)
    assert recorder.heard == ["started"]
    posix.loop.turn()
    posix.loop.clock.advance(100 * PATIENCE)
    process.terminate()
    posix.finish(recorder)
    assert recorder.code == -9


def test_a_keeper_that_takes_a_frame_in_pieces(posix: Bench) -> None:
    """DESIGN §4: the loop waits to write only as long as there is a rest, whoever sends it: idle, it costs nothing."""
    assert isinstance(posix.keeper, PosixKeeper)
    channel = posix.keeper._channel
    with stopped(posix, keeper_of(posix)):
        _, recorder = posix.ask_for(child("wait"), {f"V{number}": "x" * 1000 for number in range(1000)})
        posix.loop.turn()
        assert posix.loop.watched_for_writing == {channel.fileno()}
    while channel.has_unsent:  # the next frames take the rest along, before the loop turns
        assert select.select([], [channel], [], PATIENCE)[1]
        posix.keeper.send(b"hello")
    assert posix.loop.watched_for_writing == set()
    posix.loop.run_until(recorder.has_said(b"ready\n"))


def test_a_silent_process_is_no_silent_keeper(posix: Bench) -> None:
    """DESIGN §4: nobody asks as long as nothing is expected; and who is asked answers."""
    process, recorder = posix.begin("wait")
    posix.loop.clock.advance(100 * PATIENCE)
    process.check()
    posix.loop.clock.advance(PATIENCE)
    process.terminate()
    posix.finish(recorder)
    assert recorder.code == -9


def test_a_keeper_that_is_stopped_when_it_should_leave(posix: Bench) -> None:
    """DESIGN §4: it is given up, at the latest when its survivors' time is over; whoever waits is told."""
    recorder = posix.abandon(*child("forks", "daemon", "leave"))
    keeper = parent_of(recorder.descendants[0])
    gone: list[bool] = []
    with Watched([keeper, *recorder.descendants]) as everything, stopped(posix, keeper):
        posix.keeper.leave(lambda: gone.append(True))
        posix.loop.clock.advance(60.0)
        posix.loop.turn()
        assert gone == [True]
        everything.wait_until_gone()


def test_a_launcher_that_is_stopped_is_replaced(own_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """DESIGN §4: it is ended; its keepers go on."""
    monkeypatch.setattr(posix_link, "ANSWER_LIMIT", 1.0)
    process, recorder = own_bench.begin("polite", "4")
    launcher = parent_of(parent_of(recorder.pid))
    with Watched([launcher]) as watched:
        stop(own_bench, launcher)
        _, following = own_bench.begin("wait", keeper=own_bench.open_keeper())
        assert parent_of(parent_of(following.pid)) != launcher
        watched.wait_until_gone()
    process.notify(INFO)
    assert own_bench.finish(recorder).code == 4
