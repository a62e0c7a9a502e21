"""A starter that is interrupted while it asks for a process: by Ctrl-C, or for long by a signal handler (DESIGN §4)."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Callable

import pytest

from openjd.sessions._platform.protocol import Process
from support import child
from support.bench import Bench, Recorder, keeper_of
from support.moments import AtCall

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="starters ask for a process themselves")

MOST = 200
"""More moments than a start has."""


def starts(posix: Bench, do: Callable[[Process], object]) -> Iterator[tuple[Process, Recorder]]:
    """Start one process after another, and do something in each at a later moment, until there is none left."""
    for number in range(1, MOST):
        assert posix.run("true").code == 0
        recorder = posix.new_recorder()
        process = posix.keeper.process(posix.command(child("wait")), recorder)
        moment = AtCall(number, lambda: do(process))  # noqa: B023 - it is called here only
        with suppress(KeyboardInterrupt), moment:
            process.start()
        if not moment.has_come:
            process.terminate()
            posix.finish(recorder)
            assert number > 5
            return
        yield process, recorder
    raise AssertionError("A start has more moments than this test looks at.")


def interrupt(_: Process) -> None:
    raise KeyboardInterrupt


def test_interrupted_at_any_call(posix: Bench) -> None:
    """API §9: the process is ended, or there is none; that is heard once."""
    for process, recorder in starts(posix, interrupt):
        process.terminate()
        posix.loop.run_until(lambda: recorder.is_over)  # noqa: B023
        assert recorder.heard in (["not started"], ["started", "exited", "tree ended"])


def test_held_up_at_any_call_while_the_loop_ends_the_process(posix: Bench) -> None:
    """DESIGN §4: the loop waits for nobody; what it has to say is said later."""

    def turn(process: Process) -> None:
        process.terminate()
        posix.loop.turn()

    for _, recorder in starts(posix, turn):
        posix.loop.run_until(lambda: recorder.is_over)  # noqa: B023
        assert recorder.heard in (["not started"], ["started", "exited", "tree ended"])


def test_held_up_at_any_call_while_the_keeper_is_lost(posix: Bench) -> None:
    """DESIGN §4: the loop waits for nobody, and closes nothing that is used."""

    def lose(_: Process) -> None:
        os.kill(keeper, signal.SIGKILL)
        posix.loop.run_until(lambda: posix.keeper.is_lost)

    posix.keeper = posix.open_keeper()
    keeper = keeper_of(posix)
    for _, recorder in starts(posix, lose):
        posix.loop.run_until(lambda: recorder.is_over)  # noqa: B023
        posix.loop.clock.advance(1)  # its end is closed
        assert recorder.heard in (["lost"], ["started", "lost"])
        posix.keeper = posix.open_keeper()
        keeper = keeper_of(posix)
