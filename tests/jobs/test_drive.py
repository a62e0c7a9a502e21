"""One plan in one session, with real processes: order, failures, interruptions (DESIGN §6, Whole jobs)."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, Optional

import pytest
from openjd.model import Job

from openjd.sessions import LOG, LogContent
from openjd.sessions.jobs.drive import Interruption, run_session
from openjd.sessions.jobs.events import (
    ActionStarted,
    ActionUpdated,
    Event,
    SessionEnded,
    SessionResult,
    SessionStarted,
    StepStarted,
    TaskEnded,
)
from openjd.sessions.jobs.plan import SessionPlan, StepPlan, select_steps
from support.jobs import action, chunks, echo, environment, job, run_child, step, stubborn
from support.manual_loop import ManualClock

FAIL = action("sh", "-c", "echo failing; exit 3")
WAIT = run_child("wait")


class Output(logging.Handler):
    """The lines of all actions, in order; tells somebody of each."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.tell: Callable[[str], None] = lambda _: None

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "openjd_log_content", None) == LogContent.COMMAND_OUTPUT:
            self.lines.append(record.getMessage())
            self.tell(record.getMessage())


@pytest.fixture
def output() -> Iterator[Output]:
    made = Output()
    LOG.addHandler(made)
    yield made
    LOG.removeHandler(made)


def plan(made: Job, *, retain_working_dir: bool = False) -> SessionPlan:
    return SessionPlan(
        job_name=made.name,
        steps=tuple(StepPlan(each) for each in select_steps(made)),
        environments=tuple(made.jobEnvironments or ()),
        retain_working_dir=retain_working_dir,
    )


def outcome(result: SessionResult) -> tuple[Optional[str], Optional[str], bool]:
    """The action that failed and how, and whether it was an interruption."""
    if result.failure is None:
        return None, None, result.was_interrupted
    return result.failure.action, result.failure.status.state.name, result.was_interrupted


def test_steps_and_their_environments_follow_each_other_in_one_session(output: Output) -> None:
    events: list[Event] = []
    made = job(
        step("second", after=["first"], environments=[environment("E3"), environment("E4")]),
        step("first", environments=[environment("E2")], ranges={"N": ("INT", "1-2")}),
        step("third"),
        environments=[environment("E1")],
    )
    result = run_session(plan(made), events.append)
    assert output.lines == ["+E1", "+E2", "first", "first", "/E2", "+E3", "+E4", "second", "/E4", "/E3", "third", "/E1"]
    assert (result.succeeded, result.tasks_succeeded, result.job_name) == (True, 4, "Test")
    assert [event.action for event in events if isinstance(event, ActionStarted)] == [
        "Enter environment 'E1'",
        "Enter environment 'E2'",
        "Run step 'first' with N=1",
        "Run step 'first' with N=2",
        "Exit environment 'E2'",
        "Enter environment 'E3'",
        "Enter environment 'E4'",
        "Run step 'second'",
        "Exit environment 'E4'",
        "Exit environment 'E3'",
        "Run step 'third'",
        "Exit environment 'E1'",
    ]
    steps = [(event.step_name, event.task_count) for event in events if isinstance(event, StepStarted)]
    assert steps == [("first", 2), ("second", 1), ("third", 1)]
    ended = [(event.step_name, event.status.exit_code) for event in events if isinstance(event, TaskEnded)]
    assert ended == [("first", 0), ("first", 0), ("second", 0), ("third", 0)]
    assert isinstance(events[0], SessionStarted)
    assert events[-1] == SessionEnded(result)
    assert pickle.loads(pickle.dumps(events)) == events


def test_the_step_without_environments_around_it_keeps_the_session_running(output: Output) -> None:
    """An exit of the outermost environment between two steps must not make the session ending-only (LC-6)."""
    made = job(step("a", environments=[environment("E")]), step("b", environments=[environment("E")]))
    assert run_session(plan(made)).succeeded
    assert output.lines == ["+E", "a", "/E", "+E", "b", "/E"]


@pytest.mark.parametrize(
    ("made", "lines", "failed"),
    [
        (
            job(step("a"), environments=[environment("E1"), environment("E2", FAIL), environment("E3")]),
            ["+E1", "failing", "/E2", "/E1"],
            "Enter environment 'E2'",
        ),
        (
            job(
                step("a", FAIL, environments=[environment("E2")], ranges={"N": ("INT", "1-2")}),
                step("b"),
                environments=[environment("E1")],
            ),
            ["+E1", "+E2", "failing", "/E2", "/E1"],
            "Run step 'a' with N=1",
        ),
        (
            job(step("a", environments=[environment("E2", leave=FAIL)]), step("b"), environments=[environment("E1")]),
            ["+E1", "+E2", "a", "failing", "/E1"],
            "Exit environment 'E2'",
        ),
        (
            job(step("a", FAIL), environments=[environment("E1"), environment("E2", leave=FAIL)]),
            ["+E1", "+E2", "failing", "failing", "/E1"],
            "Run step 'a'",
        ),
    ],
    ids=["enter", "task", "exit of a step's environment", "the first failure counts"],
)
def test_after_a_failure_only_exits_follow(made: Job, lines: list[str], failed: str, output: Output) -> None:
    """An environment whose entering failed is exited, too (LC-6, LC-7, LC-21)."""
    result = run_session(plan(made))
    assert output.lines == lines
    assert outcome(result) == (failed, "FAILED", False)
    assert result.failure is not None
    assert result.failure.status.exit_code == 3


def test_a_time_limit_is_told_apart(output: Output) -> None:
    made = job(step("a", run_child("wait", timeout=1)), environments=[environment("E")])
    assert outcome(run_session(plan(made))) == ("Run step 'a'", "TIMEOUT", False)
    assert output.lines == ["+E", "ready", "/E"]


def test_updates_of_the_running_action_are_reported(output: Output) -> None:
    events: list[Event] = []
    said = ["openjd_progress: 50", "openjd_status: half", "openjd_fail: no"]
    run_session(plan(job(step("a", run_child("text", *said)))), events.append)
    updates = [event.status for event in events if isinstance(event, ActionUpdated)]
    assert [(each.progress, each.status_message, each.fail_message) for each in updates] == [
        (None, None, None),
        (50.0, None, None),
        (50.0, "half", None),
        (50.0, "half", "no"),
    ]
    assert output.lines == said


def test_chunks_are_run_and_their_size_follows_the_time_they_take(output: Output) -> None:
    """CHK-1, CHK-6: one run of the task for each chunk; by a clock that shows a second for each task that has ended."""
    clock = ManualClock()
    ended: list[int] = []

    def report(event: Event) -> None:
        if isinstance(event, TaskEnded):
            ended.append(event.task_count)
            clock.advance(event.task_count)

    chunked = ("CHUNK[INT]", "1-20", chunks(2, target=5))
    made = job(step("a", echo("{{Task.Param.Frame}}", "{{Task.RawParam.Frame}}"), ranges={"Frame": chunked}))
    result = run_session(plan(made), report, clock=lambda: clock.now)
    assert output.lines == ["1-2 1-2", "3-7 3-7", "8-12 8-12", "13-17 13-17", "18-20 18-20"]
    assert ended == [2, 5, 5, 5, 3]
    assert (result.succeeded, result.tasks_succeeded, result.chunks_succeeded) == (True, 20, 5)
    assert result.duration == 20


def test_a_failed_chunk_is_a_failed_task(output: Output) -> None:
    """CHK-6: there is no partial completion, and no chunk follows."""
    fail_from_3 = action("sh", "-c", "echo {{Task.Param.Frame}}; test {{Task.Param.Frame}} = 1-2")
    chunked = ("CHUNK[INT]", "1-6", chunks(2))
    result = run_session(plan(job(step("a", fail_from_3, ranges={"Frame": chunked}))))
    assert output.lines == ["1-2", "3-4"]
    assert outcome(result) == ("Run step 'a' with Frame=3-4", "FAILED", False)
    assert (result.tasks_succeeded, result.chunks_succeeded) == (2, 1)


@pytest.mark.parametrize("retain", [False, True])
def test_the_working_directory_is_kept_if_planned(retain: bool) -> None:
    result = run_session(plan(job(step("a")), retain_working_dir=retain))
    assert result.working_directory.exists() is retain


def test_an_observer_that_raises_ends_the_session_with_all_exits(output: Output) -> None:
    def report(event: Event) -> None:
        if isinstance(event, TaskEnded):
            raise KeyError("observer")

    made = job(
        step("a", ranges={"N": ("INT", "1-2")}, environments=[environment("E2")]), environments=[environment("E1")]
    )
    with pytest.raises(KeyError, match="observer"):
        run_session(plan(made), report)
    assert output.lines == ["+E1", "+E2", "a", "/E2", "/E1"]


# Interruptions


def when(line: str, act: Callable[[], None], output: Output) -> None:
    def tell(said: str) -> None:
        if said == line:
            act()

    output.tell = tell


TWO_ENVIRONMENTS = [environment("E1"), environment("E2")]


def test_interrupted_before_the_start_nothing_runs(output: Output) -> None:
    interruption = Interruption()
    interruption.cancel()
    result = run_session(plan(job(step("a"), environments=TWO_ENVIRONMENTS)), interruption=interruption)
    assert outcome(result) == (None, None, True)
    assert output.lines == []


def test_the_running_action_is_canceled_and_environments_are_exited(output: Output) -> None:
    interruption = Interruption()
    when("ready", interruption.cancel, output)
    result = run_session(
        plan(job(step("a", WAIT), step("b"), environments=TWO_ENVIRONMENTS)), interruption=interruption
    )
    assert outcome(result) == ("Run step 'a'", "CANCELED", True)
    assert output.lines == ["+E1", "+E2", "ready", "/E2", "/E1"]
    assert not result.succeeded


def test_terminated_at_once_nothing_is_exited(output: Output) -> None:
    """Also when the action was canceled already, and has minutes left to leave."""
    interruption = Interruption()

    def cancel_then_terminate() -> None:
        interruption.cancel()
        output.tell = lambda line: interruption.terminate() if line == "notified" else None

    when("ready", cancel_then_terminate, output)
    made = job(step("a", stubborn()), environments=TWO_ENVIRONMENTS)
    result = run_session(plan(made), interruption=interruption)
    assert outcome(result) == ("Run step 'a'", "CANCELED", True)
    assert output.lines[:4] == ["+E1", "+E2", "ready", "notified"]
    assert not {"/E1", "/E2"} & set(output.lines)
    assert not result.working_directory.exists()


@pytest.mark.parametrize(
    ("stop", "lines"),
    [
        (Interruption.cancel, ["+E1", "+E2", "a", "ready", "/E1"]),
        (Interruption.terminate, ["+E1", "+E2", "a", "ready"]),
    ],
)
def test_an_exit_is_interrupted_like_any_action(
    stop: Callable[[Interruption], None], lines: list[str], output: Output
) -> None:
    interruption = Interruption()
    when("ready", lambda: stop(interruption), output)
    made = job(step("a"), environments=[environment("E1"), environment("E2", leave=WAIT)])
    result = run_session(plan(made), interruption=interruption)
    assert outcome(result) == ("Exit environment 'E2'", "CANCELED", True)
    assert output.lines == lines


@pytest.mark.parametrize("stop", [Interruption.cancel, Interruption.terminate])
def test_an_interruption_between_decision_and_start_is_not_lost(stop: Callable[[Interruption], None]) -> None:
    """It comes when the next action is decided upon and there is nothing to cancel yet."""
    interruption = Interruption()

    def report(event: Event) -> None:
        if isinstance(event, ActionStarted) and event.action == "Run step 'a'":
            stop(interruption)

    result = run_session(plan(job(step("a", WAIT))), report, interruption)
    assert outcome(result) == ("Run step 'a'", "CANCELED", True)


def test_a_less_urgent_request_changes_nothing(tmp_path: Path, output: Output) -> None:
    interruption = Interruption()
    interruption.terminate()
    interruption.cancel()
    assert interruption.urgency == 2
    interruption.cancel_action()
    exited = tmp_path / "exited"
    made = job(step("a"), environments=[environment("E", leave=action("touch", str(exited)))])
    assert outcome(run_session(plan(made), interruption=interruption)) == (None, None, True)
    assert not exited.exists()
    assert output.lines == []
