"""The two state machines: what a Session may do next, and how one action goes from its start to its end.

Both are pure: events in, effects out; the moment ``now`` (seconds of a monotonic clock) is an argument.

**Session.** ``TRANSITIONS`` is the whole table; whatever it does not list raises ``InvalidStateError`` and changes
nothing (rules LC-2 to LC-7). *Ending-only* is set by an exit without ``keep_session_running`` and by any action that
ends other than in SUCCESS, and never cleared.

**Action.** PREPARING → RUNNING → NOTIFIED → TERMINATED → DRAINING → ENDED, skipping allowed. An action that is left
alone is over when its command has exited and its output has been read. One that is canceled, or reaches its time limit,
is over when its whole tree has ended. The outcome is the strongest reason seen (rule LC-8): marked failed, then time
limit, then canceled (both only before the exit), then the exit code. ``Complete`` is the last effect, and comes once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from typing import Callable, Optional

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
from openjd.sessions._errors import InvalidStateError
from openjd.sessions._types import ActionState, ActionStatus, SessionState

# --------------------------------------------------------------------------------------------------- the Session


class Call(Enum):
    """What a client asks of a Session."""

    START = "start"
    """Enter an environment, run a task or a subprocess."""
    EXIT = "exit"
    CANCEL = "cancel"
    SUCCEEDED = "succeeded"
    """Not a client's call: the action ended in SUCCESS."""
    FAILED = "failed"
    """Not a client's call: the action ended otherwise."""
    CLEANUP = "cleanup"


_READY, _RUNNING = SessionState.READY, SessionState.RUNNING
_ENDING, _ENDED = SessionState.READY_ENDING, SessionState.ENDED

TRANSITIONS: Mapping[tuple[SessionState, Call], SessionState] = {
    (_READY, Call.START): _RUNNING,
    (_READY, Call.EXIT): _RUNNING,
    (_ENDING, Call.EXIT): _RUNNING,
    (_RUNNING, Call.CANCEL): _RUNNING,
    (_RUNNING, Call.SUCCEEDED): _READY,  # READY_ENDING if ending-only
    (_RUNNING, Call.FAILED): _ENDING,
    (_READY, Call.CLEANUP): _ENDED,
    (_RUNNING, Call.CLEANUP): _ENDED,
    (_ENDING, Call.CLEANUP): _ENDED,
    (_ENDED, Call.CLEANUP): _ENDED,
}


class SessionLifecycle:
    """The state of a Session. Owned by the Session's lock; ``state`` may be read from any thread."""

    def __init__(self) -> None:
        self.state = SessionState.READY
        self._is_ending_only = False

    def check(self, call: Call, name: str) -> None:
        """Raise ``InvalidStateError``, naming the method, unless the call is legal now (rule LC-2)."""
        if (self.state, call) not in TRANSITIONS:
            allowed = " or ".join(state.name for state, legal in TRANSITIONS if legal is call)
            raise InvalidStateError(name, self.state, allowed)

    def start(self, name: str) -> None:
        """An entering, a task or a subprocess is accepted."""
        self.check(Call.START, name)
        self.state = TRANSITIONS[self.state, Call.START]

    def exit(self, name: str, *, keep_session_running: bool) -> None:
        """An exit is accepted (rule LC-6a)."""
        self.check(Call.EXIT, name)
        self.state = TRANSITIONS[self.state, Call.EXIT]
        self._is_ending_only = self._is_ending_only or not keep_session_running

    def action_ended(self, outcome: ActionState) -> None:
        """The action is over (rules LC-3, LC-6b). After a clean-up that did not wait for it, nothing changes."""
        if self.state is not SessionState.RUNNING:
            return
        call = Call.SUCCEEDED if outcome is ActionState.SUCCESS else Call.FAILED
        self._is_ending_only = self._is_ending_only or call is Call.FAILED
        self.state = SessionState.READY_ENDING if self._is_ending_only else TRANSITIONS[self.state, call]

    def cleanup(self) -> None:
        """The Session is over (rule LC-4)."""
        self.state = TRANSITIONS[self.state, Call.CLEANUP]


# ---------------------------------------------------------------------------------------------------- the action


class Phase(Enum):
    """How far an action has come."""

    PREPARING = "preparing"
    RUNNING = "running"
    NOTIFIED = "notified"
    TERMINATED = "terminated"
    DRAINING = "draining"
    ENDED = "ended"


_RUNNING_STATUS = ActionStatus(state=ActionState.RUNNING)
KILL_LIMIT = 30.0
"""Seconds that a terminated tree has to be gone (rule ACT-33)."""


class ActionMachine:
    """One action; owned by the thread that feeds it."""

    def __init__(self) -> None:
        self.phase = Phase.PREPARING
        self.status = _RUNNING_STATUS
        self._notify_period: Optional[float] = None
        self._time_limit: Optional[float] = None
        self._until: Optional[float] = None
        self._exit: Optional[Exited] = None
        self._kept_cancel: Optional[CancelRequested] = None
        self._is_marked_failed = self._is_timed_out = self._is_canceled = False
        self.has_exited = self.has_tree_ended = self._has_output_ended = False
        self._has_nothing_to_run = False
        self._is_broken = False

    def set_limits(self, *, notify_period: Optional[float], time_limit: Optional[float]) -> None:
        """Say, before the start, how it is canceled (None: by termination) and after how many seconds."""
        self._notify_period = notify_period
        self._time_limit = time_limit

    def handle(self, event: ActionEvent, now: float) -> list[ActionEffect]:
        """Take one event; give what has to be done, in order. An ended action answers with nothing."""
        if self.phase is Phase.ENDED:
            return []
        return _HANDLERS[type(event)](self, event, now) + self._completion()

    # -- events

    def _on_started(self, _: Started, now: float) -> list[ActionEffect]:
        if self.phase is not Phase.PREPARING:
            return []
        self.phase = Phase.RUNNING
        effects: list[ActionEffect] = []
        if self._time_limit is not None:
            effects.append(Arm(Deadline.LIMIT, now + self._time_limit))
        if self._kept_cancel is not None:
            effects += self._stop(self._kept_cancel, now)
        return effects

    def _on_start_failed(self, event: StartFailed, _: float) -> list[ActionEffect]:
        return self._give_up(event.reason)

    def _on_nothing_to_run(self, _: NothingToRun, __: float) -> list[ActionEffect]:
        self._has_nothing_to_run = self.has_exited = self.has_tree_ended = self._has_output_ended = True
        return []

    def _on_lost(self, event: Lost, _: float) -> list[ActionEffect]:
        self._is_marked_failed = True
        return self._give_up(event.reason)

    def _on_reported(self, event: Reported, _: float) -> list[ActionEffect]:
        reported = {name: value for name, value in vars(event).items() if value is not None}
        self.status = replace(self.status, **reported)
        return [Publish(self.status)]

    def _on_cancel_requested(self, event: CancelRequested, now: float) -> list[ActionEffect]:
        if event.reason is not None:
            if self._is_broken and not event.at_once:  # one malformed line is enough
                return []
            self._is_broken = True
            self.status = replace(self.status, fail_message=event.reason)
        if event.mark_failed and (not self.has_exited or event.reason is not None):
            self._is_marked_failed = True
        self._is_canceled = self._is_canceled or not self.has_exited
        if self.phase is Phase.PREPARING:
            self._kept_cancel = _merge(self._kept_cancel, event)
            return []
        return self._stop(event, now)

    def _on_limit_reached(self, _: LimitReached, now: float) -> list[ActionEffect]:
        if self.has_exited or self._is_timed_out:
            return []
        self._is_timed_out = True
        return self._stop(CancelRequested(), now) if self.phase is Phase.RUNNING else []

    def _on_grace_ended(self, _: GraceEnded, now: float) -> list[ActionEffect]:
        if self.phase is not Phase.NOTIFIED or self._until is None or now < self._until:
            return []
        return self._terminate(now)

    def _on_notify_failed(self, _: NotifyFailed, now: float) -> list[ActionEffect]:
        return self._terminate(now) if self.phase is Phase.NOTIFIED else []

    def _on_exited(self, event: Exited, _: float) -> list[ActionEffect]:
        self.has_exited = True
        self._exit = event
        if self.phase in (Phase.NOTIFIED, Phase.TERMINATED):
            return [Drain(patient=False)] if self.has_tree_ended else []
        self.phase = Phase.DRAINING
        return [Drain(patient=True)]

    def _on_output_ended(self, _: OutputEnded, __: float) -> list[ActionEffect]:
        self._has_output_ended = True
        return []

    def _on_tree_ended(self, _: TreeEnded, __: float) -> list[ActionEffect]:
        self.has_tree_ended = True
        return [Drain(patient=False)] if self.phase in (Phase.NOTIFIED, Phase.TERMINATED) else []

    def _on_kill_limit_reached(self, _: KillLimitReached, __: float) -> list[ActionEffect]:
        self.has_exited = self.has_tree_ended = self._has_output_ended = True
        return []

    # -- what follows

    def _stop(self, request: CancelRequested, now: float) -> list[ActionEffect]:
        """Notify or terminate, as the action's own method says (rules ACT-20, ACT-21, LC-25, LC-26)."""
        if self.phase is Phase.TERMINATED or self.has_tree_ended:
            return []
        if self._notify_period is None or request.at_once or self.phase is Phase.DRAINING:
            return self._terminate(now)
        grace = self._notify_period if request.time_limit is None else min(self._notify_period, request.time_limit)
        until = now + max(0.0, grace)
        self._until = until if self._until is None else min(self._until, until)
        self.phase = Phase.NOTIFIED
        return [Notify(self._until), Arm(Deadline.GRACE, self._until)]

    def _terminate(self, now: float) -> list[ActionEffect]:
        if self.has_tree_ended:  # only its output is still being read
            return []
        self.phase = Phase.TERMINATED
        return [Terminate(), Arm(Deadline.KILL, now + KILL_LIMIT)]

    def _give_up(self, reason: str) -> list[ActionEffect]:
        """The action is over, whatever is still missing."""
        self.has_exited = self.has_tree_ended = self._has_output_ended = True
        self.status = replace(self.status, fail_message=reason)
        return []

    def _completion(self) -> list[ActionEffect]:
        is_stopping = self.phase in (Phase.NOTIFIED, Phase.TERMINATED)
        if not self.has_exited or not self._has_output_ended or (is_stopping and not self.has_tree_ended):
            return []
        self.phase = Phase.ENDED
        code, usage = (self._exit.code, self._exit.usage) if self._exit is not None else (None, None)
        self.status = replace(self.status, state=self._outcome(), exit_code=code, usage=usage)
        return [Complete(self.status)]

    def _outcome(self) -> ActionState:
        if self._is_marked_failed:
            return ActionState.FAILED
        if self._is_timed_out:
            return ActionState.TIMEOUT
        if self._is_canceled:
            return ActionState.CANCELED
        is_success = self._has_nothing_to_run or (self._exit is not None and self._exit.code == 0)
        return ActionState.SUCCESS if is_success else ActionState.FAILED


_HANDLERS: Mapping[type, Callable[..., list[ActionEffect]]] = {
    Started: ActionMachine._on_started,
    StartFailed: ActionMachine._on_start_failed,
    NothingToRun: ActionMachine._on_nothing_to_run,
    Reported: ActionMachine._on_reported,
    CancelRequested: ActionMachine._on_cancel_requested,
    LimitReached: ActionMachine._on_limit_reached,
    GraceEnded: ActionMachine._on_grace_ended,
    NotifyFailed: ActionMachine._on_notify_failed,
    Exited: ActionMachine._on_exited,
    OutputEnded: ActionMachine._on_output_ended,
    TreeEnded: ActionMachine._on_tree_ended,
    KillLimitReached: ActionMachine._on_kill_limit_reached,
    Lost: ActionMachine._on_lost,
}


def _merge(kept: Optional[CancelRequested], event: CancelRequested) -> CancelRequested:
    """Several cancels that came before the process: the smallest limit, and any mark (rule LC-27)."""
    if kept is None:
        return event
    limits = [limit for limit in (kept.time_limit, event.time_limit) if limit is not None]
    return CancelRequested(
        time_limit=min(limits) if limits else None,
        mark_failed=kept.mark_failed or event.mark_failed,
        reason=kept.reason or event.reason,
        at_once=kept.at_once or event.at_once,
    )
