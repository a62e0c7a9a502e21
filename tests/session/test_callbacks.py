"""What the callback is told, when, and on which thread: rules LC-16 to LC-19, ACC-1, API §9 and §17."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any, Callable

import pytest

from openjd.sessions import ActionState, ActionStatus, LogContent, Session, SessionState
from support.scripts import action, environment, script, sh
from support.stage import PATIENCE, READY_AND_WAIT, Call, Gate, OpenStage, Stage, shell

RUNNING = ActionStatus(state=ActionState.RUNNING)
SUCCESS = ActionStatus(state=ActionState.SUCCESS, exit_code=0)


MOMENTS: dict[str, Callable[[ActionStatus], bool]] = {
    "first": lambda status: status == RUNNING,
    "message": lambda status: status.state is ActionState.RUNNING and status.progress is not None,
    "final": lambda status: status.state is not ActionState.RUNNING,
}


def on(state: ActionState, do: Callable[[], object]) -> Callable[[ActionStatus], None]:
    """A reaction to the first status of a kind."""
    waiting = [do]

    def react(status: ActionStatus) -> None:
        if status.state is state and waiting:
            waiting.pop()()

    return react


# Order


def test_acceptance_of_a_task(stage: Stage) -> None:
    """ACC-1, LC-16: RUNNING, then SUCCESS with exit code 0; READY again."""
    stage.run_task(script(sh("echo hi; exit 0")))
    assert stage.journal.story == ["<RUNNING>", "hi", "<SUCCESS exit_code=0>"]
    assert {call.session_id for call in stage.journal.calls} == {"s"}
    assert stage.state == "READY"


def test_message_is_told_before_its_line_is_logged(stage: Stage) -> None:
    """LC-16, LC-17, API §9: in the order of the output, and nothing after the final call."""
    text = "echo a; echo openjd_progress: 5; echo b; echo openjd_status: s; echo openjd_fail: f; echo c"
    stage.run(*shell(text))
    assert stage.journal.story == [
        *("<RUNNING>", "a"),
        *("<RUNNING progress=5.0>", "openjd_progress: 5", "b"),
        *("<RUNNING progress=5.0 status_message=s>", "openjd_status: s"),
        *("<RUNNING progress=5.0 status_message=s fail_message=f>", "openjd_fail: f", "c"),
        "<SUCCESS progress=5.0 status_message=s fail_message=f exit_code=0>",
    ]
    assert isinstance(stage.journal.entries[-1], Call)


def test_variables_and_log_levels_are_not_told(stage: Stage) -> None:
    """LC-16."""
    lines = (
        "openjd_env: A=1",
        "openjd_unset_env: A",
        "openjd_redacted_env: B=xyz",
        "openjd_session_runtime_loglevel: INFO",
    )
    on_enter = sh("; ".join(f"echo '{line}'" for line in lines))
    stage.enter(environment("E", onEnter=on_enter))
    assert stage.journal.told == [RUNNING, SUCCESS]


def test_running_always_comes_first_and_once(stage: Stage) -> None:
    """LC-17, API 17.1: also for processes that are gone at once."""
    for _ in range(40):
        stage.run("true")
    assert stage.journal.told == [RUNNING, SUCCESS] * 40


def test_threads_of_the_calls(stage: Stage) -> None:
    """API §9: RUNNING on the thread of the starter, before it returns; the others on another one."""
    stage.start(*shell("echo openjd_progress: 1"))
    assert stage.journal.told[0] == RUNNING
    stage.journal.wait_for(lambda: len(stage.journal.calls) == 3)
    here = threading.get_ident()
    assert [call.thread == here for call in stage.journal.calls] == [True, False, False]


def test_state_is_final_when_the_final_call_is_made(stage: Stage) -> None:
    """LC-18: both ``state`` and ``action_status``; before that, the messages' own."""
    seen: list[Any] = []
    stage.react = lambda status: seen.append((stage.session.action_status, status))
    stage.run(*shell("echo openjd_progress: 7; exit 2"))
    assert [call.state.name for call in stage.journal.calls] == ["RUNNING", "RUNNING", "READY_ENDING"]
    assert [at_session for at_session, _ in seen] == [told for _, told in seen]


def test_state_is_not_published_before_the_last_line(open_stage: OpenStage, gate: Gate) -> None:
    """API §8: who polls ``state`` never starts an action among the lines of the one before."""
    stage = open_stage()
    seen: list[str] = []

    def look(_: logging.LogRecord) -> bool:
        seen.append(stage.state)
        return True

    stage.journal.addFilter(look)
    stage.start(*shell(f"{gate.wait}; seq 200"))
    seen.clear()
    gate.open()
    stage.wait()
    assert set(seen) == {"RUNNING"}
    assert len(seen) == 201  # the lines, and that of the exit


def test_starters_never_overlap_calls(stage: Stage) -> None:
    """API §9: the calls of one action come one at a time."""
    inside: list[int] = []
    overlaps: list[int] = []

    def react(_: ActionStatus) -> None:
        overlaps.extend(inside)
        inside.append(1)
        threading.Event().wait(0.001)
        inside.pop()

    stage.react = react
    for _ in range(5):
        stage.run(*shell("for n in 1 2 3 4 5 6 7 8 9; do echo openjd_progress: $n; done"))
    assert overlaps == []
    assert len(stage.journal.calls) == 5 * 11


# No callback


class Falsy:
    """A callback whose truth value is asked for."""

    def __init__(self) -> None:
        self.asked = 0
        self.called = 0

    def __bool__(self) -> bool:
        self.asked += 1
        return self.asked > 1

    def __call__(self, _: str, __: ActionStatus) -> None:
        self.called += 1


def test_truth_of_the_callback_is_read_before_each_call(tmp_path: Path) -> None:
    """API §9: once each; a falsy one is never called."""
    callback = Falsy()
    with Session(
        session_id="s", job_parameter_values=None, session_root_directory=tmp_path, callback=callback
    ) as session:
        session.run_subprocess(command="sh", args=["-c", "echo openjd_progress: 1"])
        session.wait(20)
    assert (callback.asked, callback.called) == (3, 2)


def test_without_callback(open_stage: OpenStage) -> None:
    """API 7.1: everything works."""
    stage = open_stage(callback=None)
    assert stage.run(*shell("echo openjd_status: x")) == ActionStatus(
        state=ActionState.SUCCESS, status_message="x", exit_code=0
    )


# What a callback may do


@pytest.mark.parametrize("moment", ["final", "message"])
def test_callback_ends_the_session(stage: Stage, moment: str) -> None:
    """LC-18, LC-31, API 7.3: cleanup() from the callback, also while the action runs."""
    is_over = threading.Event()

    def react(status: ActionStatus) -> None:
        if MOMENTS[moment](status) and not is_over.is_set():
            stage.session.cleanup()
            is_over.set()

    stage.react = react
    stage.start(*shell("echo openjd_progress: 1" + ("" if moment == "final" else "; exec sleep 60")))
    assert is_over.wait(PATIENCE)
    assert stage.state == "ENDED"
    assert stage.journal.told[-1].state is (ActionState.SUCCESS if moment == "final" else ActionState.CANCELED)
    assert not stage.session.working_directory.exists()


def test_first_call_ends_the_session(stage: Stage) -> None:
    """API 7.3, LC-31: cleanup() inside the RUNNING call; all calls come on that thread."""
    stage.react = on(ActionState.RUNNING, stage.session.cleanup)
    stage.start(*READY_AND_WAIT)
    assert stage.state == "ENDED"
    assert [status.state for status in stage.journal.told] == [ActionState.RUNNING, ActionState.CANCELED]
    assert {call.thread for call in stage.journal.calls} == {threading.get_ident()}
    assert not stage.session.working_directory.exists()


def test_callback_starts_the_next_action(stage: Stage) -> None:
    """LC-18: from the final call; its RUNNING call is nested there."""
    stage.react = on(ActionState.SUCCESS, lambda: stage.start(*shell("echo second")))
    stage.start(*shell("echo first"))
    stage.journal.wait_for(lambda: stage.journal.told.count(SUCCESS) == 2)
    stage.wait()
    assert stage.journal.story == [
        "<RUNNING>",
        "first",
        "<SUCCESS exit_code=0>",
        "<RUNNING>",
        "second",
        "<SUCCESS exit_code=0>",
    ]
    assert stage.journal.calls[2].thread == stage.journal.calls[1].thread
    assert stage.state == "READY"


def test_callback_drives_the_whole_session(stage: Stage) -> None:
    """LC-18: enter, task, exit and cleanup, each from the final call of the one before."""
    env = environment("E", onEnter=sh("echo enter"), onExit=sh("echo exit"))
    steps: list[Callable[[], object]] = [
        lambda: stage.start_task(script(sh("echo task"))),
        lambda: stage.session.exit_environment(identifier="E"),
        stage.session.cleanup,
    ]

    def react(status: ActionStatus) -> None:
        if status.state is ActionState.SUCCESS:
            steps.pop(0)()

    stage.react = react
    stage.session.enter_environment(environment=env, identifier="E")
    stage.journal.wait_for(lambda: not steps and "Deleting" in stage.journal.texts[-1])
    stage.wait()
    assert stage.journal.output == ["enter", "task", "exit"]
    assert stage.state == "ENDED"


def test_callback_of_an_action_without_process_starts_the_next(stage: Stage) -> None:
    """LC-18: on the calling thread, before its starter returns."""
    empty = environment("E", variables={"A": "1"})
    stage.react = on(ActionState.SUCCESS, lambda: stage.session.exit_environment(identifier="E"))
    stage.session.enter_environment(environment=empty, identifier="E")
    assert [call.status.state for call in stage.journal.calls] == [ActionState.SUCCESS] * 2
    assert {call.thread for call in stage.journal.calls} == {threading.get_ident()}
    assert (stage.state, stage.session.environments_entered) == ("READY_ENDING", ())


def test_refused_call_in_a_message_call(stage: Stage) -> None:
    """LC-2, LC-19: the action still runs then; the error is the client's own."""
    stage.callback_may_fail = True
    stage.react = lambda status: stage.start("true") if MOMENTS["message"](status) else None
    stage.run(*shell("echo openjd_progress: 1; echo after"))
    assert stage.journal.story[-2:] == ["after", "<SUCCESS progress=1.0 exit_code=0>"]
    text = "run_subprocess() needs a Session that is READY; this one is RUNNING."
    assert f"openjd_progress: 1 -- ERROR: {text}" in stage.journal.output


def test_another_thread_starts_the_next_action_during_the_final_call(stage: Stage) -> None:
    """LC-18, API §9: a starter does not wait for a callback that runs on another thread."""
    may_return = threading.Event()
    stage.react = on(ActionState.SUCCESS, lambda: may_return.wait(20))
    stage.start("true")
    stage.journal.wait_for(lambda: len(stage.journal.calls) == 2)
    stage.start(*shell("echo second"))
    assert stage.journal.calls[2].status == RUNNING
    may_return.set()
    stage.journal.wait_for(lambda: len(stage.journal.calls) == 4)
    stage.wait()
    assert stage.journal.output == ["second"]


def test_starter_does_not_wait_for_locks_that_the_callback_takes(stage: Stage) -> None:
    """API §9, 7.3: nor does cancel_action(); the first call comes on the thread that holds a re-entrant lock."""
    lock = threading.RLock()

    def react(_: ActionStatus) -> None:
        with lock:
            pass

    stage.react = react
    with lock:
        stage.start(*shell("echo openjd_progress: 1; echo ready; exec sleep 60"))
        stage.session.cancel_action()
    assert stage.wait().state is ActionState.CANCELED


# Callbacks that raise


class Stop(BaseException):
    """Neither an Exception nor the end of the program."""


@pytest.mark.parametrize("error", [ValueError("oh"), KeyError("oh"), Stop("oh"), SystemExit("oh")], ids=repr)
@pytest.mark.parametrize("moment", ["message", "final"])
def test_exception_of_the_callback_is_logged_and_harms_nothing(stage: Stage, moment: str, error: BaseException) -> None:
    """LC-19, API §15, 17.8: output goes on, the process is reaped, the state is right."""
    stage.callback_may_fail = True

    def react(status: ActionStatus) -> None:
        if MOMENTS[moment](status):
            raise error

    stage.react = react
    stage.start(*shell("echo openjd_progress: 1; echo after; exit 0"))
    assert stage.wait() == ActionStatus(state=ActionState.SUCCESS, progress=1.0, exit_code=0)
    assert stage.state == "READY"
    if moment == "message":
        expected = (
            f"Open Job Description: Exception in the action message callback: {error}",
            LogContent.EXCEPTION_INFO,
        )
        assert stage.journal.output == [f"openjd_progress: 1 -- ERROR: {error}", "after"]
        [marked] = [line for line in stage.journal.lines if "-- ERROR" in line.text]
        assert marked.content == LogContent.COMMAND_OUTPUT | LogContent.EXCEPTION_INFO  # LOG-6
    else:
        content = LogContent.EXCEPTION_INFO | LogContent.PROCESS_CONTROL
        expected = (f"Exception in action callback: {error}", content)
    assert [(line.text, line.content) for line in stage.journal.lines if line.level == 40] == [expected]
    stage.react = lambda _: None
    assert stage.run("true") == SUCCESS


def test_exception_in_the_first_call_does_not_come_out_of_the_starter(stage: Stage) -> None:
    """LC-19, API 17.7."""
    stage.callback_may_fail = True

    def fail() -> None:
        raise ValueError("oh")

    stage.react = on(ActionState.RUNNING, fail)
    stage.start(*shell("echo after"))
    assert stage.wait() == SUCCESS
    assert stage.journal.output == ["after"]
    assert stage.journal.at(40) == ["Exception in action callback: oh"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Stop])
def test_interruption_of_the_first_call_passes_on(stage: Stage, kind: type[BaseException]) -> None:
    """DESIGN §4: what is no Exception cancels the action, which is not forgotten, and comes out of the starter."""
    stage.callback_may_fail = True

    def interrupt() -> None:
        raise kind

    stage.react = on(ActionState.RUNNING, interrupt)
    with pytest.raises(kind):
        stage.start(*READY_AND_WAIT)
    assert stage.wait() == ActionStatus(state=ActionState.CANCELED, exit_code=-9)
    assert stage.state == "READY_ENDING"
    assert stage.journal.told[-1].state is ActionState.CANCELED


def test_status_is_a_value(stage: Stage) -> None:
    """API §3, §9: frozen, equal by value, hashable, and it stays as it was."""
    stage.run(*shell("echo openjd_progress: 1; echo openjd_progress: 2"))
    assert [status.progress for status in stage.journal.told] == [None, 1.0, 2.0, 2.0]
    final = stage.journal.told[-1]
    assert {final, ActionStatus(ActionState.SUCCESS, 2.0, None, None, 0)} == {final}
    with pytest.raises(AttributeError):
        final.progress = 3.0  # type: ignore[misc]
    assert final.usage is not None
    assert final.usage.wall_seconds > 0
    assert final.usage.peak_memory_bytes > 1_000_000
    assert (final.usage.user_seconds >= 0, final.usage.system_seconds >= 0) == (True, True)


def test_state_polled_by_another_thread_never_goes_back(stage: Stage) -> None:
    """LC-5, API §8: who waits with ``while state is RUNNING`` sees the end once, and the final status with it."""
    stage.start(*shell("echo hi; exit 4"))
    pause = threading.Event()
    while stage.session.state is SessionState.RUNNING:
        pause.wait(0.001)
    assert stage.session.action_status == ActionStatus(state=ActionState.FAILED, exit_code=4)
    assert stage.journal.output == ["hi"]


def test_action_of_an_exit_that_starts_no_process(stage: Stage) -> None:
    """API §9: no RUNNING where nothing runs."""
    stage.enter(environment("E", onExit=action("no-such-program")))
    stage.journal.clear()
    stage.exit("E")
    assert [status.state for status in stage.journal.told] == [ActionState.FAILED]
