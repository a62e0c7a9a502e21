"""How one action goes from its start to its end, told as single orders of events: one for each rule."""

from __future__ import annotations

from typing import Optional

import pytest

from openjd.sessions._core.action_events import (
    ActionEffect,
    ActionEvent,
    Arm,
    CancelRequested,
    Complete,
    Deadline,
    Drain,
    Exited,
    GraceEnded,
    KillLimitReached,
    LimitReached,
    Lost,
    NothingToRun,
    Notify,
    NotifyFailed,
    OutputEnded,
    Publish,
    Reported,
    Started,
    StartFailed,
    Terminate,
    TreeEnded,
)
from openjd.sessions._core.lifecycle import ActionMachine, Phase
from openjd.sessions._types import ActionState, ActionStatus, ActionUsage

SUCCESS, FAILED = ActionState.SUCCESS, ActionState.FAILED
CANCELED, TIMEOUT = ActionState.CANCELED, ActionState.TIMEOUT
BROKEN = CancelRequested(mark_failed=True, reason="a broken directive")
PATIENT, AT_ONCE = Drain(patient=True), Drain(patient=False)
KILLED: list[ActionEvent] = [Exited(-9), TreeEnded(), OutputEnded()]
USAGE = ActionUsage(1.5, 0.5, 0.25, 1 << 20)


class Action:
    """A machine, and the moment it lives in; NOTIFY with a period, TERMINATE without."""

    def __init__(self, period: Optional[float] = None, limit: Optional[float] = None, now: float = 100.0) -> None:
        self.machine = ActionMachine()
        self.machine.set_limits(notify_period=period, time_limit=limit)
        self.now = now

    def hears(self, *events: ActionEvent, at: Optional[float] = None) -> list[ActionEffect]:
        """What it answers to the events, all of them together."""
        self.now = self.now if at is None else at
        return [effect for event in events for effect in self.machine.handle(event, self.now)]

    def ends_with(self, *events: ActionEvent) -> ActionStatus:
        """Its final status, which the last of the events brings."""
        effects = self.hears(*events)
        assert isinstance(effects[-1], Complete)
        return effects[-1].status


def started(period: Optional[float] = None, limit: Optional[float] = None) -> Action:
    action = Action(period, limit)
    action.hears(Started())
    return action


def notifies(until: float) -> list[ActionEffect]:
    return [Notify(until), Arm(Deadline.GRACE, until)]


def terminates(now: float) -> list[ActionEffect]:
    return [Terminate(), Arm(Deadline.KILL, now + 30)]


# Left alone


@pytest.mark.parametrize(("code", "state"), [(0, SUCCESS), (1, FAILED), (255, FAILED), (-9, FAILED)])
def test_the_exit_code_decides(code: int, state: ActionState) -> None:
    """LC-8, ACT-16, ACT-18."""
    action = started()
    assert action.machine.status == ActionStatus(ActionState.RUNNING)
    assert action.hears(Exited(code, USAGE)) == [PATIENT]
    assert action.hears(OutputEnded()) == [Complete(ActionStatus(state, exit_code=code))]
    assert action.machine.status.usage == USAGE


def test_the_action_is_over_when_its_output_has_been_read() -> None:
    """ACT-17: in whichever order; what the command leaves behind is not waited for."""
    action = started()
    assert action.hears(OutputEnded()) == []
    assert action.hears(Exited(0)) == [PATIENT, Complete(ActionStatus(SUCCESS, exit_code=0))]
    action = started()
    assert action.hears(Exited(0), TreeEnded()) == [PATIENT]
    assert action.hears(OutputEnded()) == [Complete(ActionStatus(SUCCESS, exit_code=0))]


def test_an_action_without_a_command_succeeds() -> None:
    """LC-14."""
    assert Action().hears(NothingToRun()) == [Complete(ActionStatus(SUCCESS))]


def test_an_action_that_can_not_be_started_fails() -> None:
    """LC-8, LC-20, ACT-18."""
    assert Action().hears(StartFailed("why")) == [Complete(ActionStatus(FAILED, fail_message="why"))]


def test_an_action_that_has_ended_answers_nothing() -> None:
    """LC-28: a cancel that races with the end is a silent no-op, as is everything else that comes late."""
    action = started(period=10, limit=60)
    status = action.ends_with(Exited(0), OutputEnded())
    late: list[ActionEvent] = [
        CancelRequested(mark_failed=True),
        LimitReached(),
        GraceEnded(),
        TreeEnded(),
        Lost("x"),
        Exited(1),
    ]
    assert action.hears(*late, BROKEN, Reported(progress=1.0), KillLimitReached(), Started()) == []
    assert (action.machine.status, action.machine.phase) == (status, Phase.ENDED)


# What it reports


def test_reports_are_published_and_kept() -> None:
    """API §3: each with one field new, the others as they were, RUNNING as long as the action is not over."""
    action = started()
    running = ActionState.RUNNING
    assert action.hears(Reported(progress=50.0)) == [Publish(ActionStatus(running, progress=50.0))]
    assert action.hears(Reported(status_message="half")) == [Publish(ActionStatus(running, 50.0, "half"))]
    assert action.hears(Reported(fail_message="oh")) == [Publish(ActionStatus(running, 50.0, "half", "oh"))]
    assert action.hears(Reported(progress=0.0)) == [Publish(ActionStatus(running, 0.0, "half", "oh"))]
    assert action.ends_with(Exited(2), OutputEnded()) == ActionStatus(FAILED, 0.0, "half", "oh", 2)


def test_a_fail_message_does_not_make_it_fail() -> None:
    """LC-10."""
    status = started().ends_with(Reported(fail_message="oh"), Exited(0), OutputEnded())
    assert status == ActionStatus(SUCCESS, fail_message="oh", exit_code=0)


def test_reports_count_until_the_output_has_ended() -> None:
    """DIR-8, ACT-18: the exit code comes with the end."""
    action = started()
    action.hears(Exited(0))
    assert action.hears(Reported(progress=99.0)) == [Publish(ActionStatus(ActionState.RUNNING, 99.0))]
    assert action.ends_with(OutputEnded()) == ActionStatus(SUCCESS, 99.0, exit_code=0)


# Canceled


def test_cancel_by_termination() -> None:
    """ACT-20: the tree at once; a repeated cancel has nothing to add; over when the tree is."""
    action = started()
    assert action.hears(CancelRequested(), at=105) == terminates(105)
    assert action.hears(CancelRequested(), CancelRequested(time_limit=5)) == []
    assert action.hears(Exited(-9), OutputEnded()) == []
    assert action.hears(TreeEnded()) == [AT_ONCE, Complete(ActionStatus(CANCELED, exit_code=-9))]


@pytest.mark.parametrize("limit", [0, 5, None])
def test_a_time_limit_has_no_effect_on_a_terminate_action(limit: Optional[float]) -> None:
    """LC-25."""
    assert started().hears(CancelRequested(time_limit=limit)) == terminates(100)


def test_cancel_by_notification_and_a_command_that_obeys() -> None:
    """ACT-21, ACT-29, LC-8: exit code 0 does not make it a success."""
    action = started(period=30)
    assert action.hears(CancelRequested()) == notifies(130)
    assert action.hears(Exited(0)) == []
    assert action.hears(TreeEnded()) == [AT_ONCE]
    assert action.hears(OutputEnded()) == [Complete(ActionStatus(CANCELED, exit_code=0))]


def test_cancel_by_notification_and_a_command_that_does_not() -> None:
    """ACT-21."""
    action = started(period=30)
    action.hears(CancelRequested())
    assert action.hears(GraceEnded(), at=130) == terminates(130)
    assert action.ends_with(*KILLED) == ActionStatus(CANCELED, exit_code=-9)


@pytest.mark.parametrize("code", [0, 3, -15])
def test_what_the_command_leaves_has_the_rest_of_the_grace_period(code: int) -> None:
    """ACT-29, GAP-13: however the command ended; then it is terminated."""
    action = started(period=30)
    action.hears(CancelRequested())
    assert action.hears(Exited(code), at=110) == []
    assert action.hears(OutputEnded()) == []
    assert action.hears(GraceEnded(), at=130) == terminates(130)
    assert action.ends_with(TreeEnded()) == ActionStatus(CANCELED, exit_code=code)


def test_a_repeated_cancel_recomputes_the_deadline_and_notifies_again() -> None:
    """LC-25, LC-26: the smallest of limit, period and what is left."""
    action = started(period=30)
    assert action.hears(CancelRequested(), at=110) == notifies(140)
    assert action.hears(CancelRequested(time_limit=5), at=112) == notifies(117)
    assert action.hears(CancelRequested(time_limit=100), at=113) == notifies(117)
    assert action.hears(CancelRequested(), at=114) == notifies(117)
    assert action.hears(CancelRequested(time_limit=1), at=115) == notifies(116)


def test_a_time_limit_of_zero_still_notifies_first() -> None:
    """LC-25."""
    action = started(period=30)
    assert action.hears(CancelRequested(time_limit=0)) == notifies(100)
    assert action.hears(GraceEnded()) == terminates(100)


def test_a_grace_period_that_was_shortened_meanwhile() -> None:
    """LC-25: the alarm of a deadline that is not reached yet changes nothing; a second one neither."""
    action = started(period=30)
    action.hears(CancelRequested())
    assert action.hears(GraceEnded(), at=129.9) == []
    assert action.hears(GraceEnded(), at=130) == terminates(130)
    assert action.hears(GraceEnded(), at=131) == []


def test_a_late_end_of_the_grace_period_signals_nothing() -> None:
    """ACT-29: nothing of the tree is left, only its output is still to be read; the pending kill is withdrawn."""
    action = started(period=30)
    action.hears(CancelRequested(), Exited(0), TreeEnded())
    assert action.hears(GraceEnded(), at=130) == []
    assert action.hears(NotifyFailed(), CancelRequested(at_once=True)) == []
    assert action.ends_with(OutputEnded()) == ActionStatus(CANCELED, exit_code=0)


def test_terminate_at_once_whatever_the_method() -> None:
    """LC-31: also after it was notified."""
    assert started(period=30).hears(CancelRequested(at_once=True)) == terminates(100)
    action = started(period=30)
    action.hears(CancelRequested())
    assert action.hears(CancelRequested(at_once=True), at=101) == terminates(101)


def test_a_process_that_can_not_be_notified_is_terminated() -> None:
    """ACT-27."""
    action = started(period=30)
    action.hears(CancelRequested())
    assert action.hears(NotifyFailed(), at=101) == terminates(101)
    assert action.hears(NotifyFailed(), GraceEnded(), at=130) == []
    assert action.ends_with(*KILLED) == ActionStatus(CANCELED, exit_code=-9)


def test_a_cancel_after_the_exit_terminates_the_rest() -> None:
    """LC-28, DESIGN §4: the action ends with its own exit code, also when it should be marked failed."""
    for cancel in (CancelRequested(), CancelRequested(mark_failed=True), CancelRequested(time_limit=5)):
        action = started(period=30)
        action.hears(Exited(0))
        assert action.hears(cancel) == terminates(100)
        assert action.hears(OutputEnded()) == []
        assert action.ends_with(TreeEnded()) == ActionStatus(SUCCESS, exit_code=0)


def test_a_cancel_after_the_end_of_the_tree_signals_nothing() -> None:
    """DESIGN §4: only the output is still to be read."""
    action = started(period=30)
    action.hears(Exited(0), TreeEnded())
    assert action.hears(CancelRequested(), CancelRequested(at_once=True), BROKEN) == []
    assert action.ends_with(OutputEnded()).exit_code == 0


# Canceled before there is a process


def test_a_cancel_before_the_process_is_kept() -> None:
    """LC-27."""
    action = Action(period=30)
    assert action.hears(CancelRequested()) == []
    assert action.hears(Started(), at=150) == notifies(180)
    assert action.ends_with(*KILLED) == ActionStatus(CANCELED, exit_code=-9)


@pytest.mark.parametrize(
    ("limits", "until"), [([None, None], 130), ([None, 7], 107), ([7, None], 107), ([9, 3, 5], 103), ([50, 40], 130)]
)
def test_cancels_before_the_process_merge_to_the_smallest_limit(limits: list[Optional[float]], until: float) -> None:
    """LC-27: no limit is the largest."""
    action = Action(period=30)
    action.hears(*(CancelRequested(time_limit=limit) for limit in limits))
    assert action.hears(Started()) == notifies(until)


@pytest.mark.parametrize("marked", [0, 1, 2])
def test_cancels_before_the_process_merge_their_marks(marked: int) -> None:
    """LC-27, LC-9."""
    action = Action()
    action.hears(*(CancelRequested(mark_failed=number == marked) for number in range(3)))
    assert action.hears(Started()) == terminates(100)
    assert action.ends_with(*KILLED) == ActionStatus(FAILED, exit_code=-9)


def test_termination_before_the_process_is_not_lost_in_a_merge() -> None:
    """LC-27, LC-31."""
    action = Action(period=30)
    action.hears(CancelRequested(), CancelRequested(at_once=True), CancelRequested(time_limit=5))
    assert action.hears(Started()) == terminates(100)


@pytest.mark.parametrize("end", [StartFailed("why"), NothingToRun()])
@pytest.mark.parametrize(("marked", "state"), [(False, CANCELED), (True, FAILED)])
def test_a_canceled_action_that_never_gets_a_process(end: ActionEvent, marked: bool, state: ActionState) -> None:
    """LC-8, LC-27: canceled is stronger than not started."""
    action = Action()
    action.hears(CancelRequested(mark_failed=marked))
    assert action.ends_with(end).state is state


# Time limits


def test_the_time_limit_runs_from_the_start_of_the_process() -> None:
    """ACT-14."""
    assert Action(limit=60).hears(Started(), at=200) == [Arm(Deadline.LIMIT, 260)]
    assert Action().hears(Started()) == []


def test_a_kept_cancel_does_not_hide_the_time_limit() -> None:
    """LC-9, LC-27, ACT-14."""
    action = Action(period=30, limit=60)
    action.hears(CancelRequested())
    assert action.hears(Started()) == [Arm(Deadline.LIMIT, 160), *notifies(130)]


def test_the_time_limit_cancels_by_the_actions_own_method() -> None:
    """ACT-14."""
    assert started(limit=60).hears(LimitReached(), at=160) == terminates(160)
    action = started(period=30, limit=60)
    assert action.hears(LimitReached(), at=160) == notifies(190)
    assert action.ends_with(Exited(0), OutputEnded(), TreeEnded()) == ActionStatus(TIMEOUT, exit_code=0)


def test_a_late_time_limit_changes_nothing() -> None:
    """ACT-15: the command has exited, its output is still open."""
    action = started(period=30, limit=60)
    action.hears(Exited(0), at=159)
    assert action.hears(LimitReached(), at=160) == []
    assert action.ends_with(OutputEnded()) == ActionStatus(SUCCESS, exit_code=0)


def test_a_time_limit_after_the_exit_of_a_canceled_command_changes_nothing() -> None:
    """ACT-15."""
    action = started(period=30, limit=60)
    action.hears(CancelRequested(), Exited(0))
    assert action.hears(LimitReached()) == []
    assert action.ends_with(OutputEnded(), TreeEnded()).state is CANCELED


@pytest.mark.parametrize("period", [None, 30])
def test_the_time_limit_during_a_cancelation_makes_it_a_time_out(period: Optional[float]) -> None:
    """LC-9: nothing more is signalled for it, and the grace period stays as it is."""
    action = started(period, limit=60)
    action.hears(CancelRequested())
    assert action.hears(LimitReached()) == []
    assert action.ends_with(*KILLED) == ActionStatus(TIMEOUT, exit_code=-9)


def test_a_cancel_after_the_time_limit_shortens_the_grace_period() -> None:
    """LC-25, LC-26: the outcome stays a time-out."""
    action = started(period=30, limit=60)
    action.hears(LimitReached(), at=160)
    assert action.hears(CancelRequested(time_limit=5), at=170) == notifies(175)
    assert action.ends_with(*KILLED) == ActionStatus(TIMEOUT, exit_code=-9)


# Marked failed, and other misfortune


def test_marked_failed_is_the_strongest_reason() -> None:
    """LC-8, LC-9: never withdrawn by what comes later."""
    action = started(period=30, limit=60)
    action.hears(CancelRequested(mark_failed=True), CancelRequested(mark_failed=False), LimitReached())
    assert action.ends_with(Exited(0), TreeEnded(), OutputEnded()) == ActionStatus(FAILED, exit_code=0)


def test_a_broken_directive_cancels_by_the_actions_own_method() -> None:
    """DIR-22: without a time limit."""
    action = started(period=30)
    assert action.hears(BROKEN) == notifies(130)
    assert action.ends_with(Exited(0), OutputEnded(), TreeEnded()) == ActionStatus(FAILED, None, None, BROKEN.reason, 0)
    assert started().hears(BROKEN) == terminates(100)


def test_a_broken_directive_that_is_read_after_the_exit() -> None:
    """DIR-22: FAILED all the same; what is left of the tree is terminated."""
    action = started()
    action.hears(Exited(0))
    assert action.hears(BROKEN) == terminates(100)
    assert action.ends_with(TreeEnded(), OutputEnded()) == ActionStatus(FAILED, None, None, BROKEN.reason, 0)


def test_output_that_is_withheld_ends_the_action() -> None:
    """DESIGN §4: it is terminated at once, though a malformed line has begun a cancel; FAILED, saying why."""
    withheld = CancelRequested(at_once=True, mark_failed=True, reason="it could not be read")
    action = started(period=10)
    action.hears(BROKEN)
    assert action.hears(withheld) == terminates(100)
    assert action.ends_with(OutputEnded(), Exited(-9), TreeEnded()) == ActionStatus(
        FAILED, fail_message=withheld.reason, exit_code=-9
    )


def test_a_keeper_that_is_lost_ends_the_action() -> None:
    """DESIGN §4: FAILED, whatever went before, saying why."""
    lost = Lost("the keeper has gone")
    assert started().ends_with(lost) == ActionStatus(FAILED, fail_message=lost.reason)
    assert Action().ends_with(lost) == ActionStatus(FAILED, fail_message=lost.reason)
    action = started(limit=60)
    action.hears(LimitReached())
    assert action.ends_with(Exited(0), lost) == ActionStatus(FAILED, fail_message=lost.reason, exit_code=0)


@pytest.mark.parametrize(("seen", "code"), [([], None), ([Exited(-9)], -9), ([Exited(-9), OutputEnded()], -9)])
def test_what_will_not_die_is_given_up(seen: list[ActionEvent], code: Optional[int]) -> None:
    """ACT-33."""
    action = started()
    action.hears(CancelRequested(), *seen)
    assert action.ends_with(KillLimitReached()) == ActionStatus(CANCELED, exit_code=code)
