"""Actions that run out of time: rules LC-8, LC-9, ACT-11 to ACT-15, SUB-6, ACC-3. A limit cannot be below a second."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Callable

from openjd.model import ParameterValue, ParameterValueType

from openjd.sessions import ActionState, ActionStatus, LogContent
from support import child
from support.scripts import action, environment, notified, script, sh
from support.stage import READY_AND_WAIT, OpenStage, Stage, shell

TIMEOUT = ActionStatus(state=ActionState.TIMEOUT, exit_code=-9)
LIMIT = {"Limit": ParameterValue(type=ParameterValueType.STRING, value="1")}


def waiting(**fields: Any) -> dict[str, Any]:
    return action(*READY_AND_WAIT, timeout=1, **fields)


def enter(stage: Stage) -> None:
    stage.session.enter_environment(environment=environment("E", onEnter=waiting()), identifier="e")


def exit_(stage: Stage) -> None:
    stage.session.enter_environment(environment=environment("E", onExit=waiting()), identifier="e")
    stage.session.exit_environment(identifier="e")


STARTS: dict[str, Callable[[Stage], object]] = {
    "task": lambda stage: stage.start_task(script(waiting())),
    "enter": enter,
    "exit": exit_,
    "subprocess": lambda stage: stage.start(*READY_AND_WAIT, timeout=1),
    "format string": lambda stage: stage.start_task(script(action(*READY_AND_WAIT, timeout="{{Param.Limit}}"))),
    "left in time": lambda stage: stage.start(*shell("exit 3"), timeout=1),
    "polite": lambda stage: stage.start_task(script(action(*child("polite"), timeout=1, cancelation=notified(600)))),
    "canceled before": lambda stage: stage.start_task(
        script(action(*child("stubborn"), timeout=1, cancelation=notified(600)))
    ),
    "marked failed before": lambda stage: stage.start_task(
        script(action(*child("stubborn"), timeout=1, cancelation=notified(600)))
    ),
}


def test_time_limits(open_stage: OpenStage) -> None:
    """ACC-3, ACT-12, ACT-14, ACT-15, LC-9, SUB-6: one second for nine actions side by side."""
    stages = {name: open_stage(session_id=name, job_parameter_values=LIMIT) for name in STARTS}
    for name, start in STARTS.items():
        start(stages[name])
    for name in ("canceled before", "marked failed before"):
        stages[name].wait_for_line("ready")
        stages[name].session.cancel_action(mark_action_failed=name.startswith("marked"))
    for name in ("task", "enter", "exit", "subprocess", "format string"):
        assert (name, stages[name].wait()) == (name, TIMEOUT)
        assert stages[name].state == "READY_ENDING"
    assert stages["enter"].session.environments_entered == ("e",)
    assert stages["left in time"].wait() == ActionStatus(state=ActionState.FAILED, exit_code=3)
    assert stages["polite"].wait() == ActionStatus(state=ActionState.TIMEOUT, exit_code=0)
    for name, state in (("canceled before", ActionState.TIMEOUT), ("marked failed before", ActionState.FAILED)):
        stage = stages[name]
        stage.journal.wait_for(lambda stage=stage: any(text.startswith("TIMEOUT") for text in stage.journal.texts))  # type: ignore[misc]
        assert stage.state == "RUNNING"
        stage.session.cancel_action(time_limit=timedelta(0))
        assert stage.wait() == ActionStatus(state=state, exit_code=-9)


def test_reached_limit_is_logged(open_stage: OpenStage) -> None:
    """ACT-14, API §15: then the action is canceled by its own method."""
    stage = open_stage()
    assert stage.run_task(script(waiting(cancelation=notified(1)))).state is ActionState.TIMEOUT
    control = [line.text for line in stage.journal.lines if line.content == LogContent.PROCESS_CONTROL]
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.fullmatch(f"TIMEOUT - Runtime limit reached at {time}. Canceling action.", control[1])
    assert re.fullmatch(rf"Canceling subprocess \d+ via notify then terminate method at {time}\.", control[2])


def test_late_limit_does_not_reach_a_later_action(open_stage: OpenStage) -> None:
    """ACT-15: the limit of an action that has ended; another Session serves as a clock."""
    stage, clock = open_stage(session_id="s"), open_stage(session_id="clock")
    stage.run("true", timeout=1)
    stage.start(*READY_AND_WAIT)
    clock.run(*READY_AND_WAIT, timeout=1)
    assert stage.state == "RUNNING"
    assert [text for text in stage.journal.texts if text.startswith("TIMEOUT")] == []


def test_limit_that_cannot_be_measured(stage: Stage) -> None:
    """ACT-13: a warning, and no limit."""
    for seconds in (4_611_686_019, 2**63 - 1):
        stage.journal.clear()
        assert stage.run_task(script(action("true", timeout=seconds))).state is ActionState.SUCCESS
        assert stage.journal.at(30) == [
            f"Task, onRun, timeout of {seconds} seconds is longer than can be measured; "
            "the action runs without a time limit."
        ]


def test_longest_limits_that_can_be_measured(stage: Stage) -> None:
    """ACT-13: they do no harm."""
    for seconds in (4_611_686_018, 10**9):
        assert stage.run_task(script(sh("true", timeout=seconds))).state is ActionState.SUCCESS
    assert stage.run("true", timeout=2**70).state is ActionState.SUCCESS
    assert stage.journal.at(30) == []
