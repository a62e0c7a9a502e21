"""Canceling a running action: rules LC-5, LC-8, LC-24 to LC-29, ACT-16, ACT-19 to ACT-30, ACC-4, ACC-5."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Callable

import pytest
from openjd.model.v2023_09 import StepScript

from openjd.sessions import ActionState, ActionStatus, LogContent, Session, SessionError, SessionState
from support import child
from support.scripts import WITH_WRAPPING, action, environment, notified, script, sh
from support.stage import READY_AND_WAIT, OpenStage, Stage, is_alive, shell, wait_until

KILLED = ActionStatus(state=ActionState.CANCELED, exit_code=-9)
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def notify(seconds: int, *argv: str) -> StepScript:
    """A task that is notified first, and terminated after some seconds."""
    return script(action(*argv, cancelation=notified(seconds)))


def started(stage: Stage, task: StepScript) -> Session:
    """Start a task, and wait until it is ready to be canceled."""
    stage.start_task(task)
    stage.wait_for_line("ready")
    return stage.session


def control_lines(stage: Stage) -> list[str]:
    """What is logged about signals and ends, without times and process ids."""
    lines = [line.text for line in stage.journal.lines if line.content == LogContent.PROCESS_CONTROL]
    return [re.sub(r"(process|pid:?|group) \d+", r"\1 N", re.sub(TIME, "T", line)) for line in lines]


# Termination


def test_action_is_terminated_by_default(stage: Stage) -> None:
    """ACT-19, ACT-20, LC-24, LC-29: killed at once; CANCELED with the real exit code; exits only."""
    stage.start(*child("deaf"))
    stage.wait_for_line("ready")
    stage.session.cancel_action()
    assert stage.wait() == KILLED
    assert stage.state == "READY_ENDING"
    assert control_lines(stage) == [
        "Command started as pid: N",
        "Canceling subprocess N via termination method at T.",
        'INTERRUPT: Sending signal "kill" to process group N',
        "Process pid N exited with code: -9 (unsigned) / -0x9 (hex)",
    ]


@pytest.mark.parametrize("limit", [timedelta(0), timedelta(seconds=5), timedelta(seconds=-1)])
def test_time_limit_has_no_effect_on_termination(stage: Stage, limit: timedelta) -> None:
    """LC-25, GAP-50."""
    stage.start(*READY_AND_WAIT)
    stage.session.cancel_action(time_limit=limit)
    assert stage.wait() == KILLED


def test_state_stays_running_until_the_end(stage: Stage) -> None:
    """LC-5, GAP-1: CANCELING is never published, and a canceled action can be canceled again."""
    session = started(stage, notify(600, *child("stubborn")))
    session.cancel_action()
    stage.wait_for_line("notified")
    assert stage.state == "RUNNING"
    session.cancel_action(time_limit=timedelta(0))
    assert stage.wait() == KILLED
    assert SessionState.CANCELING not in {call.state for call in stage.journal.calls}


def test_whole_tree_is_terminated(stage: Stage) -> None:
    """ACT-30, GAP-13: also who fled into sessions of their own, or has lost its parent."""
    stage.start(*child("family", "8"))
    stage.wait_for_line("ready")
    pids = [int(line.split()[1]) for line in stage.journal.output if line.startswith("descendant")]
    assert len(pids) == 8
    assert all(map(is_alive, pids))
    stage.session.cancel_action()
    assert stage.wait() == KILLED
    wait_until(lambda: not any(map(is_alive, pids)))


# Notification


def test_acceptance_of_a_notified_process(stage: Stage) -> None:
    """ACC-4, ACT-21, ACT-26, ACT-28, LC-8: it can read cancel_info.json, exits with 0 at once, and is CANCELED."""
    session = started(stage, notify(600, *child("polite")))
    session.cancel_action()
    assert stage.wait() == ActionStatus(state=ActionState.CANCELED, exit_code=0)
    [line] = [line for line in stage.journal.output if line.startswith("notified ")]
    info = json.loads(line[len("notified ") :])
    assert list(info) == ["NotifyEnd"]
    assert re.fullmatch(TIME, info["NotifyEnd"])
    assert f"Grace period ends at {info['NotifyEnd']}" in stage.journal.texts
    assert control_lines(stage) == [
        "Command started as pid: N",
        "Canceling subprocess N via notify then terminate method at T.",
        "Grace period ends at T",
        'INTERRUPT: Sending signal "term" to process N',
        "Process pid N exited with code: 0 (unsigned) / 0x0 (hex)",
    ]


def test_acceptance_of_a_process_that_ignores_its_notice(stage: Stage) -> None:
    """ACC-5, ACT-21: killed at the end of its period."""
    session = started(stage, notify(1, *child("deaf")))
    session.cancel_action()
    assert stage.wait() == KILLED
    assert control_lines(stage)[3:] == [
        'INTERRUPT: Sending signal "term" to process N',
        "Notify period ended. Terminate at T",
        'INTERRUPT: Sending signal "kill" to process group N',
        "Process pid N exited with code: -9 (unsigned) / -0x9 (hex)",
    ]


@pytest.mark.parametrize("limit", [timedelta(0), timedelta(milliseconds=50), timedelta(seconds=-3)])
def test_time_limit_shortens_the_period(stage: Stage, limit: timedelta) -> None:
    """LC-25, ACC-5, GAP-50: the notify signal is sent even if nothing is left of the period."""
    session = started(stage, notify(600, *child("stubborn")))
    session.cancel_action(time_limit=limit)
    assert stage.wait() == KILLED
    assert 'INTERRUPT: Sending signal "term" to process N' in control_lines(stage)


def test_time_limit_does_not_lengthen_the_period(stage: Stage) -> None:
    """LC-25, LC-26: neither that of the action nor that of an earlier cancel."""
    session = started(stage, notify(1, *child("deaf")))
    session.cancel_action(time_limit=timedelta(seconds=500))
    session.cancel_action()
    assert stage.wait() == KILLED


def test_repeated_cancel_notifies_again(stage: Stage, account: dict[str, Any]) -> None:
    """LC-26, ACT-26: and cancel_info.json is written anew, with the earlier end, and the mode of WD-11."""
    session = started(stage, notify(600, *child("stubborn")))
    path = session.working_directory / "cancel_info.json"
    ends = []
    for count, seconds in enumerate((500, 100, 300), 1):
        session.cancel_action(time_limit=timedelta(seconds=seconds))
        stage.wait_for_line("notified", count)
        ends.append(datetime.strptime(json.loads(path.read_text())["NotifyEnd"], "%Y-%m-%dT%H:%M:%SZ"))
    assert ends[0] - ends[1] > timedelta(seconds=300)
    assert abs(ends[2] - ends[1]) <= timedelta(seconds=1)
    assert path.stat().st_mode & 0o777 == (0o660 if account else 0o600)
    assert path.stat().st_gid == session.working_directory.stat().st_gid
    session.cancel_action(time_limit=timedelta(0))
    assert stage.wait() == KILLED


@pytest.mark.parametrize(("kind", "seconds"), [("task", 120), ("enter", 30), ("exit", 30)])
def test_default_notify_periods(stage: Stage, kind: str, seconds: int) -> None:
    """ACT-22."""
    wait = sh("echo ready; exec sleep 60", cancelation={"mode": "NOTIFY_THEN_TERMINATE"})
    if kind == "task":
        stage.start_task(script(wait))
    elif kind == "enter":
        stage.session.enter_environment(environment=environment("E", onEnter=wait))
    else:
        stage.enter(environment("E", onExit=wait))
        stage.session.exit_environment(identifier="E")
    stage.wait_for_line("ready")
    stage.session.cancel_action()
    assert stage.wait() == ActionStatus(state=ActionState.CANCELED, exit_code=-15)
    times = [datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ") for text in re.findall(TIME, "\n".join(stage.journal.texts))]
    assert abs(times[1] - times[0] - timedelta(seconds=seconds)) <= timedelta(seconds=1)


def test_only_the_command_is_notified_first(stage: Stage) -> None:
    """ACT-28, ACT-29: the rest of its tree in turn, when it has exited; the action ends with them."""
    session = started(stage, notify(600, *child("tell-when-notified")))
    session.cancel_action()
    assert stage.wait() == ActionStatus(state=ActionState.CANCELED, exit_code=-15)
    assert stage.journal.output == ["ready", "child notified"]


def test_rest_of_the_tree_is_killed_at_the_end_of_the_period(stage: Stage) -> None:
    """ACT-29: what does not heed the notice that it gets in turn."""
    deaf = "trap '' TERM; exec sleep 60"
    session = started(stage, notify(1, *shell(f'sh -c "{deaf}" & echo descendant $!; echo ready; wait')))
    [pid] = [int(line.split()[1]) for line in stage.journal.output if line.startswith("descendant")]
    session.cancel_action()
    assert stage.wait() == ActionStatus(state=ActionState.CANCELED, exit_code=-15)
    assert not is_alive(pid)


@pytest.mark.parametrize("obstacle", ["fifo", "directory", "link"])
def test_notice_that_cannot_be_written(stage: Stage, obstacle: str) -> None:
    """ACT-26, ACT-27, WD-11: nothing but a regular file is replaced; a warning, and it is terminated at once."""
    make = {"fifo": "mkfifo", "directory": "mkdir", "link": "ln -s /etc/motd"}[obstacle]
    session = started(stage, notify(600, *shell(f"{make} cancel_info.json; echo ready; exec sleep 60")))
    session.cancel_action()
    assert stage.wait() == KILLED
    warnings = [line for line in stage.journal.lines if line.level == 30]
    expected = "cancel_info.json could not be written: File exists. Terminating the action."
    content = LogContent.PROCESS_CONTROL | LogContent.EXCEPTION_INFO
    assert [(line.text, line.content) for line in warnings] == [(expected, content)]


# Outcomes


@pytest.mark.parametrize("marks", [(True, False), (False, True), (True,)])
def test_mark_failed_is_never_withdrawn(stage: Stage, marks: tuple[bool, ...]) -> None:
    """LC-8, LC-9: FAILED instead of CANCELED, whichever call has asked for it."""
    session = started(stage, notify(600, *child("stubborn")))
    for count, mark in enumerate(marks, 1):
        session.cancel_action(mark_action_failed=mark)
        stage.wait_for_line("notified", count)
    session.cancel_action(time_limit=timedelta(0))
    assert stage.wait() == ActionStatus(state=ActionState.FAILED, exit_code=-9)


def test_messages_stay_in_the_final_status(stage: Stage) -> None:
    """API §3: of a canceled action as of any other."""
    stage.start(*shell("echo openjd_progress: 5; echo openjd_fail: why; echo ready; exec sleep 60"))
    stage.wait_for_line("ready")
    stage.session.cancel_action()
    assert stage.wait() == ActionStatus(ActionState.CANCELED, progress=5.0, fail_message="why", exit_code=-9)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGSEGV"])
def test_process_that_a_signal_ends(stage: Stage, name: str) -> None:
    """ACT-16: the negative number, FAILED."""
    number = {"SIGKILL": 9, "SIGTERM": 15, "SIGSEGV": 11}[name]
    assert stage.run(*shell(f"kill -{number} $$")) == ActionStatus(state=ActionState.FAILED, exit_code=-number)


# Moments


class Moment:
    """Does something when a record is logged, on the thread that logs it."""

    def __init__(self, stage: Stage, start: str, do: Callable[[], object]) -> None:
        self.results: list[object] = []
        stage.journal.addFilter(self._look)
        self._start, self._do = start, do

    def _look(self, record: Any) -> bool:
        if record.getMessage().startswith(self._start) and not self.results:
            self.results.append(None)
            self.results[0] = self._do()
        return True


NEVER_STARTED = "The action was canceled before its process was started."


@pytest.mark.parametrize("record", ["--------- Running Task", "Phase: Setup", "Wrote: F"])
@pytest.mark.parametrize("marks", [False, True])
def test_cancel_during_setup(stage: Stage, record: str, marks: bool) -> None:
    """LC-27, API 7.3: on the starter's own thread, out of a log handler; the process is never started."""
    Moment(stage, record, lambda: stage.session.cancel_action(mark_action_failed=marks))
    task = script(sh("echo started"), [{"name": "F", "type": "TEXT", "data": "x"}])
    stage.start_task(task)
    state = ActionState.FAILED if marks else ActionState.CANCELED
    assert stage.wait() == ActionStatus(state=state, fail_message=NEVER_STARTED)
    assert [status.state for status in stage.journal.told] == [state]
    assert stage.journal.output == []
    assert stage.state == "READY_ENDING"


@pytest.mark.parametrize("marks", [False, True])
def test_cancel_while_the_process_is_started(stage: Stage, marks: bool) -> None:
    """LC-27: out of a log handler; the process has been asked for by then, and is canceled as soon as it runs."""
    Moment(stage, "Running command", lambda: stage.session.cancel_action(mark_action_failed=marks))
    stage.start(*READY_AND_WAIT)
    status = stage.wait()
    assert (status.state, status.exit_code) == (ActionState.FAILED if marks else ActionState.CANCELED, -9)
    assert stage.state == "READY_ENDING"


def test_cancels_during_setup_merge(stage: Stage) -> None:
    """LC-27: from other threads as well; the mark of one is enough."""

    def cancel() -> None:
        for mark in (False, True, False):
            thread = threading.Thread(target=stage.session.cancel_action, kwargs={"mark_action_failed": mark})
            thread.start()
            thread.join()

    Moment(stage, "Phase: Setup", cancel)
    assert stage.run("true") == ActionStatus(state=ActionState.FAILED, fail_message=NEVER_STARTED)


SLOW = [f"slow{number} = sum([x * x for x in range({20_000 + number})])" for number in range(49)]
"""Bindings, each of which takes some hundredths of a second of processor time."""
WRAPS: dict[str, Any] = dict.fromkeys(["onWrapEnvEnter", "onWrapTaskRun", "onWrapEnvExit"], sh("echo started"))


@pytest.fixture
def in_a_while() -> Iterator[Callable[[Callable[[], object]], object]]:
    """Has something done on the main thread after a tenth of a second of our own processor time."""

    def begin(do: Callable[[], object]) -> object:
        signal.signal(signal.SIGPROF, lambda *_: do())
        return signal.setitimer(signal.ITIMER_PROF, 0.1)

    before = signal.getsignal(signal.SIGPROF)
    yield begin
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_cancel_between_bindings(stage: Stage, in_a_while: Callable[..., object], is_wrapped: bool) -> None:
    """LC-27: those that come after it are not evaluated; those of a wrap hook neither."""
    stage.run_task(script(action("true"), let=["engine = 'is loaded'"], extensions=WITH_WRAPPING), step_name="Other")
    slow = [*SLOW, "last = fail('evaluated')"]
    if is_wrapped:
        stage.enter(environment("Wraps", let=slow, extensions=WITH_WRAPPING, **WRAPS))
    Moment(stage, "Phase: Setup", lambda: in_a_while(stage.session.cancel_action))
    task = script(sh("echo started"), let=[] if is_wrapped else slow, extensions=WITH_WRAPPING)
    stage.start_task(task, step_name="Step")
    assert stage.wait() == ActionStatus(state=ActionState.CANCELED, fail_message=NEVER_STARTED)
    assert stage.journal.output == []
    assert [text for text in stage.journal.texts if "openjd_fail" in text] == []
    assert stage.state == "READY_ENDING"


@pytest.mark.parametrize("end", ["onEnter", "onExit"])
def test_cancel_before_bindings(stage: Stage, end: str) -> None:
    """LC-27, ENV-2, LC-9: none is evaluated; an environment counts as entered or exited all the same."""
    actions: dict[str, Any] = {end: action("true")}
    failing = environment("E", let=["x = fail('evaluated')"], extensions=WITH_WRAPPING, **actions)
    moment = Moment(stage, "Phase: Setup", lambda: stage.session.cancel_action())
    stage.enter(failing)
    if end == "onExit":
        assert moment.results == []
        stage.exit("E", keep_session_running=False)
    assert stage.wait() == ActionStatus(state=ActionState.CANCELED, fail_message=NEVER_STARTED)
    assert stage.session.environments_entered == (("E",) if end == "onEnter" else ())


def test_cancel_in_the_first_call(stage: Stage) -> None:
    """LC-27, API 7.3: the process exists then, and is ended."""
    stage.react = lambda status: stage.session.cancel_action() if status.state is ActionState.RUNNING else None
    stage.start(*READY_AND_WAIT)
    assert stage.wait() == KILLED


def test_cancel_in_a_message_call(stage: Stage) -> None:
    """API 7.3: an action that is canceled for what it says."""
    stage.react = lambda status: stage.session.cancel_action() if stage.state == "RUNNING" and status.progress else None
    stage.start(*shell("echo openjd_progress: 50; exec sleep 60"))
    assert stage.wait().state is ActionState.CANCELED


def test_cancel_after_the_exit_does_nothing(stage: Stage) -> None:
    """LC-28: while its end is being told of; the outcome stays what it was."""
    moment = Moment(stage, "Process pid", lambda: stage.session.cancel_action(mark_action_failed=True))
    assert stage.run("true") == ActionStatus(state=ActionState.SUCCESS, exit_code=0)
    assert moment.results == [None]
    assert stage.state == "READY"
    assert stage.run("true").state is ActionState.SUCCESS


def test_cancel_in_the_final_call_is_refused(stage: Stage) -> None:
    """LC-28: nothing runs any more."""
    errors: list[str] = []

    def react(status: ActionStatus) -> None:
        if status.state is ActionState.SUCCESS:
            with pytest.raises(SessionError) as caught:
                stage.session.cancel_action()
            errors.append(str(caught.value))

    stage.react = react
    stage.run("true")
    assert errors == ["cancel_action() needs a Session that is RUNNING; this one is READY."]


def test_cancel_at_any_moment(open_stage: OpenStage) -> None:
    """LC-27, LC-28, Q-7: beside actions that end on their own; it is refused, ignored or done, and never hangs."""
    outcomes = set()
    for _ in range(25):
        stage = open_stage()
        canceler = threading.Thread(target=cancel_quietly, args=[stage])
        canceler.start()
        stage.start("true")
        outcomes.add(stage.wait().state)
        canceler.join()
        assert stage.state == ("READY" if stage.wait().state is ActionState.SUCCESS else "READY_ENDING")
    assert outcomes <= {ActionState.SUCCESS, ActionState.CANCELED}


def cancel_quietly(stage: Stage) -> None:
    while stage.state == "READY" and not stage.journal.calls:
        pass
    with suppress(SessionError):
        stage.session.cancel_action()
