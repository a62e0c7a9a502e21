"""Signals that interrupt a starter or a wait: LC-27, API §7.3 and 17.2, DESIGN §4; nothing hangs, none is lost."""

from __future__ import annotations

import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Callable

import pytest

from openjd.sessions import ActionState, ActionStatus, SessionError
from openjd.sessions._platform.directories import PrivateDirectory
from support.moments import AtCall, AtLine, AtRecord
from support.scripts import action, environment, file
from support.stage import PATIENCE, READY_AND_WAIT, OpenStage, Stage, wait_until

KILLED = ActionStatus(state=ActionState.CANCELED, exit_code=-9)
FULL = environment("E", variables={"A": "1"}, files=[file("F", "x")], onEnter=action(*READY_AND_WAIT))


@contextmanager
def handled(number: int, handler: Callable[..., object]) -> Iterator[None]:
    """A signal handler of the program that embeds us."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


# cancel_action() in a signal handler


@pytest.mark.parametrize("record", ["Phase: Setup", "Running command", "Command started", "Output:"])
def test_signal_handler_cancels(stage: Stage, record: str) -> None:
    """LC-27, API 17.2: it interrupts the starter on the same thread; no deadlock, and the cancel is not lost."""
    stage.journal.addFilter(AtRecord(record, lambda: signal.raise_signal(signal.SIGUSR1)))
    with handled(signal.SIGUSR1, lambda *_: stage.session.cancel_action()):
        stage.start(*READY_AND_WAIT)
        assert stage.wait().state is ActionState.CANCELED


STARTERS: dict[str, Callable[[Stage], object]] = {
    "subprocess": lambda stage: stage.start(*READY_AND_WAIT),
    "enter": lambda stage: stage.session.enter_environment(environment=FULL),
}
SEVERAL = 31
"""Each so many-th moment is looked at where each needs a Session of its own."""
MOST = 3000
"""More moments than a starter has."""


def enter_many(stage: Stage) -> None:
    """Enter as many environments as there are moments to look at, so that each exit can have another one."""
    stage.run("true")  # what the first action starts is looked at elsewhere
    on_exit = environment("E", onExit=action(*READY_AND_WAIT))
    for number in range(MOST // 4):
        stage.session.enter_environment(environment=on_exit, identifier=str(number))


def exit_of_innermost(stage: Stage) -> Callable[[], object]:
    identifier = stage.session.environments_entered[-1]
    return lambda: stage.session.exit_environment(identifier=identifier)


def count_moments(act: Callable[[int], bool], step: int = 1) -> int:
    """Act at one moment after another until there is none left; how many there were."""
    for count, number in enumerate(range(1, MOST, step)):
        if not act(number):
            return count
    raise AssertionError("A starter has more moments than this test looks at.")


@pytest.mark.parametrize("starter", STARTERS)
def test_cancel_between_two_lines(open_stage: OpenStage, starter: str) -> None:
    """LC-27, API 17.2: as if a signal handler had interrupted the starter there."""

    def act(number: int) -> bool:
        stage = open_stage()
        has_come = cancel_at_line(stage, number, lambda: STARTERS[starter](stage))
        stage.close()
        return has_come

    assert count_moments(act, SEVERAL) > 5


def test_cancel_between_any_two_lines(stage: Stage) -> None:
    """LC-27, API 17.2: the same for each second line of an exit."""
    enter_many(stage)
    assert count_moments(lambda number: cancel_at_line(stage, number, exit_of_innermost(stage)), 2) > 100


def cancel_at_line(stage: Stage, number: int, start: Callable[[], object]) -> bool:
    """Start an action and cancel it at a line; whether it came so far. What is refused comes before the acceptance."""
    accepted: list[bool] = []

    def cancel() -> None:
        with suppress(SessionError):
            stage.session.cancel_action()
            accepted.append(True)

    moment = AtLine(number, cancel)
    with moment:
        start()
    if not accepted:
        stage.session.cancel_action()
    assert stage.wait().state is ActionState.CANCELED
    assert stage.state == "READY_ENDING"
    return moment.has_come


def test_cancel_of_another_thread_that_stops_at_any_line(open_stage: OpenStage) -> None:
    """LC-27: the starter goes on meanwhile; the action is canceled, and not failed."""

    def act(number: int) -> bool:
        stage = open_stage()
        stops, may_go_on = threading.Event(), threading.Event()

        def stop() -> None:
            stops.set()
            may_go_on.wait(PATIENCE)

        def cancel() -> None:
            with moment:
                stage.session.cancel_action()
            stops.set()

        def begin_to_cancel() -> None:
            canceler.start()
            assert stops.wait(PATIENCE)

        moment = AtLine(number, stop)
        canceler = threading.Thread(target=cancel)
        stage.journal.addFilter(AtRecord("Phase: Setup", begin_to_cancel))
        stage.start(*READY_AND_WAIT)
        may_go_on.set()
        canceler.join(PATIENCE)
        assert stage.wait().state is ActionState.CANCELED
        stage.close()
        return moment.has_come

    assert count_moments(act) > 5


# KeyboardInterrupt


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("starter", STARTERS)
@pytest.mark.loses_descriptors
def test_interruption_at_a_call(open_stage: OpenStage, starter: str) -> None:
    """DESIGN §4: either the call was not accepted, or the action is canceled; the Session goes on to its end."""

    def act(number: int) -> bool:
        stage = open_stage()
        has_come = interrupt_at_call(stage, number, lambda: STARTERS[starter](stage))
        if stage.state == "READY":
            assert stage.run("true").state is ActionState.SUCCESS
        stage.close()
        assert not stage.session.working_directory.exists()
        return has_come

    assert count_moments(act, SEVERAL) > 5


@pytest.mark.loses_descriptors
def test_interruption_holds_back_nothing(open_stage: OpenStage) -> None:
    """DESIGN §4, LOG-4: wherever a start is interrupted, what its thread logs from then on is logged at once."""

    def act(number: int) -> bool:
        stage = open_stage()
        has_come = interrupt_at_call(stage, number, lambda: stage.start("true"))
        stage.close()
        assert "--------- Session Cleanup" in stage.journal.texts
        return has_come

    assert count_moments(act, 3) > 50


@pytest.mark.loses_descriptors
def test_interruption_at_any_call(stage: Stage) -> None:
    """DESIGN §4: the same for each second call in an exit."""
    enter_many(stage)
    assert count_moments(lambda number: interrupt_at_call(stage, number, exit_of_innermost(stage)), 2) > 100


@pytest.mark.loses_descriptors
@pytest.mark.parametrize("put", [PrivateDirectory.create, PrivateDirectory.write])
def test_interruption_of_writing_a_file(tmp_path: Path, put: Callable[..., None]) -> None:
    """WD-11: it is not taken for a failure of the file system, and nothing incomplete can be read under its name."""
    directory = PrivateDirectory.open(str(tmp_path), None)
    path = tmp_path / "file"

    def act(number: int) -> bool:
        path.unlink(missing_ok=True)
        moment = AtCall(number, interrupt)
        is_written = False
        with suppress(KeyboardInterrupt), moment:
            put(directory, "file", b"text", executable=False)
            is_written = True
        assert is_written != moment.has_come
        assert {entry.name for entry in tmp_path.iterdir()} <= {"file", f".{tmp_path.name}.draft"}
        if path.exists() and path.stat().st_mode & stat.S_IRUSR:
            assert path.read_bytes() == b"text"
        return moment.has_come

    assert count_moments(act) > 5
    directory.close()


def interrupt_at_call(stage: Stage, number: int, start: Callable[[], object]) -> bool:
    """Start an action and interrupt that at a call; whether it came so far."""
    stage.callback_may_fail = True
    before = (stage.state, stage.session.environments_entered)
    moment = AtCall(number, interrupt)
    is_started = False
    with suppress(KeyboardInterrupt), moment:
        start()
        is_started = True  # also if the interruption hit a finalizer, where Python ignores it
    if is_started:
        stage.session.cancel_action()
    status = stage.session.wait(PATIENCE)
    if (stage.state, stage.session.environments_entered) != before:
        assert status is not None
        assert (status.state, stage.state) == (ActionState.CANCELED, "READY_ENDING")
    return moment.has_come


def test_interruption_of_a_log_handler_in_setup(stage: Stage) -> None:
    """DESIGN §4, LOG-7: it passes on, and the action is not left behind."""
    stage.journal.addFilter(AtRecord("Phase: Setup", interrupt))
    with pytest.raises(KeyboardInterrupt):
        stage.start("true")
    assert stage.wait() == ActionStatus(
        state=ActionState.CANCELED, fail_message="The start of the action was interrupted."
    )
    assert stage.state == "READY_ENDING"


def test_interruption_of_a_log_handler_while_the_process_is_started(stage: Stage) -> None:
    """DESIGN §4, LOG-7: the process has been asked for by then, and is ended."""
    stage.journal.addFilter(AtRecord("Running command", interrupt))
    with pytest.raises(KeyboardInterrupt):
        stage.start(*READY_AND_WAIT)
    status = stage.wait()
    assert (status.state, status.exit_code) == (ActionState.CANCELED, -9)
    assert stage.state == "READY_ENDING"


@contextmanager
def ctrl_c() -> Iterator[None]:
    """Press Ctrl-C until it has been noticed, once; a single signal may come just before a thread goes to sleep."""
    noticed = threading.Event()

    def notice(*_: object) -> None:
        if not noticed.is_set():
            noticed.set()
            raise KeyboardInterrupt

    def press() -> None:
        while not noticed.wait(0.01):
            signal.pthread_kill(main, signal.SIGINT)

    main = threading.get_ident()
    presser = threading.Thread(target=press)
    with handled(signal.SIGINT, notice):
        presser.start()
        try:
            yield
        finally:
            noticed.set()
            presser.join()


@pytest.mark.parametrize("is_polled", [False, True])
def test_interrupted_wait_leaves_the_session_as_it_is(stage: Stage, is_polled: bool) -> None:
    """API 16a: it can be canceled then, and its end be seen in every way."""
    stage.start(*READY_AND_WAIT)
    with pytest.raises(KeyboardInterrupt), ctrl_c():
        stage.wait()
    assert stage.state == "RUNNING"
    stage.session.cancel_action()
    if is_polled:
        wait_until(lambda: stage.state == "READY_ENDING")
    assert stage.wait() == KILLED


def test_interrupted_wait_in_the_first_call(stage: Stage) -> None:
    """API 16a, DESIGN §4: it comes out of the starter, and the action is canceled."""
    stage.callback_may_fail = True

    def react(status: ActionStatus) -> None:
        if status.state is ActionState.RUNNING:
            with ctrl_c():
                stage.session.wait(PATIENCE)

    stage.react = react
    with pytest.raises(KeyboardInterrupt):
        stage.start(*READY_AND_WAIT)
    wait_until(lambda: stage.state == "READY_ENDING")
    assert stage.wait() == KILLED


def test_interruption_of_a_handler_in_the_first_call(stage: Stage) -> None:
    """LOG-7: Ctrl-C is not swallowed where output is delivered in place."""
    stage.callback_may_fail = True
    stage.journal.addFilter(AtRecord("ready", interrupt))

    def react(status: ActionStatus) -> None:
        if status.state is ActionState.RUNNING:
            stage.session.wait(PATIENCE)

    stage.react = react
    with pytest.raises(KeyboardInterrupt):
        stage.start(*READY_AND_WAIT)
    assert stage.wait() == KILLED


def test_interrupted_cleanup_can_be_repeated(stage: Stage) -> None:
    """LC-30: Ctrl-C while cleanup() waits; the next one finishes."""
    stage.start(*READY_AND_WAIT)
    stage.wait_for_line("ready")
    stage.journal.addFilter(AtRecord("--------- Session Cleanup", interrupt))
    with pytest.raises(KeyboardInterrupt):
        stage.session.cleanup()
    stage.session.cleanup()
    assert stage.state == "ENDED"
    assert not stage.session.working_directory.exists()
