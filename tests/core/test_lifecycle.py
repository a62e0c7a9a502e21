"""What a Session may do next: every state and call of the table (LC-2 to LC-7)."""

from __future__ import annotations

from itertools import product
from typing import Callable

import pytest

from openjd.sessions._core.lifecycle import TRANSITIONS, Call, SessionLifecycle
from openjd.sessions._errors import InvalidStateError
from openjd.sessions._types import ActionState, SessionState

READY, RUNNING, CANCELING = SessionState.READY, SessionState.RUNNING, SessionState.CANCELING
READY_ENDING, ENDED = SessionState.READY_ENDING, SessionState.ENDED
SUCCESS = ActionState.SUCCESS
OTHERWISE = (ActionState.FAILED, ActionState.CANCELED, ActionState.TIMEOUT)

CALLS: dict[str, Callable[[SessionLifecycle], None]] = {
    "start": lambda session: session.start("run_task()"),
    "exit": lambda session: session.exit("exit_environment()", keep_session_running=False),
    "exit and keep": lambda session: session.exit("exit_environment()", keep_session_running=True),
    "cancel": lambda session: session.check(Call.CANCEL, "cancel_action()"),
    "succeed": lambda session: session.action_ended(SUCCESS),
    "fail": lambda session: session.action_ended(ActionState.FAILED),
    "cleanup": lambda session: session.cleanup(),
}


def after(*calls: str) -> SessionLifecycle:
    """A Session's state after these calls, all of which are legal."""
    session = SessionLifecycle()
    for call in calls:
        CALLS[call](session)
    return session


SESSIONS: dict[SessionState, tuple[str, ...]] = {
    READY: (),
    RUNNING: ("start",),
    READY_ENDING: ("start", "fail"),
    ENDED: ("cleanup",),
}

# From every state by every call of a client: the state that follows (LC-3), or the text of the refusal (LC-2).
LEGAL = [
    (READY, "start", RUNNING),
    (READY, "exit", RUNNING),
    (READY, "exit and keep", RUNNING),
    (READY, "cleanup", ENDED),
    (RUNNING, "cancel", RUNNING),
    (RUNNING, "cleanup", ENDED),
    (READY_ENDING, "exit", RUNNING),
    (READY_ENDING, "exit and keep", RUNNING),
    (READY_ENDING, "cleanup", ENDED),
    (ENDED, "cleanup", ENDED),
]
REFUSED = [
    (READY, "cancel", "cancel_action() needs a Session that is RUNNING; this one is READY."),
    (RUNNING, "start", "run_task() needs a Session that is READY; this one is RUNNING."),
    (RUNNING, "exit", "exit_environment() needs a Session that is READY or READY_ENDING; this one is RUNNING."),
    (
        RUNNING,
        "exit and keep",
        "exit_environment() needs a Session that is READY or READY_ENDING; this one is RUNNING.",
    ),
    (READY_ENDING, "start", "run_task() needs a Session that is READY; this one is READY_ENDING."),
    (READY_ENDING, "cancel", "cancel_action() needs a Session that is RUNNING; this one is READY_ENDING."),
    (ENDED, "start", "run_task() needs a Session that is READY; this one is ENDED."),
    (ENDED, "exit", "exit_environment() needs a Session that is READY or READY_ENDING; this one is ENDED."),
    (ENDED, "exit and keep", "exit_environment() needs a Session that is READY or READY_ENDING; this one is ENDED."),
    (ENDED, "cancel", "cancel_action() needs a Session that is RUNNING; this one is ENDED."),
]


def test_a_session_begins_ready() -> None:
    """LC-1."""
    assert SessionLifecycle().state is READY


@pytest.mark.parametrize(("state", "call", "follows"), LEGAL, ids=str)
def test_legal_calls(state: SessionState, call: str, follows: SessionState) -> None:
    """LC-2, LC-3."""
    session = after(*SESSIONS[state])
    assert session.state is state
    CALLS[call](session)
    assert session.state is follows


@pytest.mark.parametrize(("state", "call", "text"), REFUSED, ids=str)
def test_refused_calls_name_the_method_and_change_nothing(state: SessionState, call: str, text: str) -> None:
    """LC-2: the error is a RuntimeError and carries its data."""
    session = after(*SESSIONS[state])
    with pytest.raises(InvalidStateError) as refusal:
        CALLS[call](session)
    assert str(refusal.value) == text
    assert (refusal.value.call, refusal.value.state) == (text.partition(" ")[0], state)
    assert isinstance(refusal.value, RuntimeError)
    assert vars(session) == vars(after(*SESSIONS[state]))


def test_the_table_has_every_state_and_call_of_a_client() -> None:
    calls = [call for call in CALLS if call not in ("succeed", "fail")]
    listed = [(state, call) for state, call, _ in (*LEGAL, *REFUSED)]
    assert sorted(listed) == sorted(product(SESSIONS, calls))


def test_canceling_is_never_published() -> None:
    """LC-5."""
    mentioned = {state for state, _ in TRANSITIONS} | set(TRANSITIONS.values())
    assert mentioned == set(SessionState) - {CANCELING}


@pytest.mark.parametrize("state", [READY, READY_ENDING, ENDED])
@pytest.mark.parametrize("outcome", [SUCCESS, *OTHERWISE])
def test_an_action_that_ends_late_changes_nothing(state: SessionState, outcome: ActionState) -> None:
    """LC-4: ENDED is terminal, also for the action that a clean-up did not wait for."""
    session = after(*SESSIONS[state])
    session.action_ended(outcome)
    assert vars(session) == vars(after(*SESSIONS[state]))


@pytest.mark.parametrize("start", ["start", "exit and keep"])
def test_success_makes_ready_again(start: str) -> None:
    """LC-3."""
    assert after(start, "succeed").state is READY
    assert after(start, "succeed", start, "succeed", "start").state is RUNNING


@pytest.mark.parametrize("start", ["start", "exit and keep", "exit"])
@pytest.mark.parametrize("outcome", OTHERWISE)
def test_any_other_end_leaves_only_exits(start: str, outcome: ActionState) -> None:
    """LC-6b: whatever action it was, and however an exit was to keep the Session running."""
    session = after(start)
    session.action_ended(outcome)
    assert session.state is READY_ENDING


@pytest.mark.parametrize("end", ["succeed", "fail"])
def test_an_exit_that_does_not_keep_the_session_running_leaves_only_exits(end: str) -> None:
    """LC-6a: at its acceptance, whatever its outcome."""
    assert after("exit", end).state is READY_ENDING


@pytest.mark.parametrize("before", [("start", "fail"), ("exit", "succeed"), ("exit and keep", "fail")], ids=", ".join)
def test_ending_only_is_never_cleared(before: tuple[str, ...]) -> None:
    """LC-6, LC-7: ``keep_session_running=True`` is accepted, and does not reopen the Session."""
    assert after(*before, "exit and keep", "succeed").state is READY_ENDING
    assert after(*before, "exit and keep", "succeed", "exit and keep", "succeed").state is READY_ENDING


def test_a_refused_exit_does_not_make_ending_only() -> None:
    """LC-2, LC-6a: only an accepted exit counts."""
    session = after("start")
    with pytest.raises(InvalidStateError):
        CALLS["exit"](session)
    session.action_ended(SUCCESS)
    assert session.state is READY


def test_all_histories_of_five_calls() -> None:
    """LC-3 to LC-7: after any calls at all, what is over stays over, and only exits follow a failure."""
    for calls in product(CALLS, repeat=5):
        session, is_ending_only = SessionLifecycle(), False
        for call in calls:
            before = session.state
            try:
                CALLS[call](session)
            except InvalidStateError:
                assert session.state is before
                continue
            accepted = before in (READY, READY_ENDING)
            is_ending_only |= (call == "exit" and accepted) or (call == "fail" and before is RUNNING)
            assert before is not ENDED or session.state is ENDED
            assert session.state is not CANCELING
            assert not (is_ending_only and session.state is READY)
