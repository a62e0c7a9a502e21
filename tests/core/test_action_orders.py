"""Races of an action as orders: its machine is driven through all orders of its events that can happen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, permutations
from typing import Optional

import pytest

from openjd.sessions._core.action_events import (
    ActionEffect,
    ActionEvent,
    Arm,
    CancelRequested,
    Complete,
    Deadline,
    Exited,
    GraceEnded,
    KillLimitReached,
    LimitReached,
    Lost,
    Notify,
    NotifyFailed,
    OutputEnded,
    Reported,
    Started,
    Terminate,
    TreeEnded,
)
from openjd.sessions._core.lifecycle import ActionMachine, Phase
from openjd.sessions._types import ActionState

PERIOD = 20.0
CODE = 3

START, EXIT, OUTPUT_END, TREE_END = Started(), Exited(CODE), OutputEnded(), TreeEnded()
LIFE: tuple[ActionEvent, ...] = (START, EXIT, OUTPUT_END, TREE_END)
BROKEN = CancelRequested(mark_failed=True, reason="a broken directive")
WITHHELD = CancelRequested(at_once=True, mark_failed=True, reason="output that can't be read")
CANCELS: tuple[ActionEvent, ...] = (
    CancelRequested(),
    CancelRequested(time_limit=4.0),
    CancelRequested(mark_failed=True),
    CancelRequested(at_once=True),
)
NEED_A_PROCESS: tuple[ActionEvent, ...] = (
    BROKEN,
    WITHHELD,
    LimitReached(),
    GraceEnded(),
    NotifyFailed(),
    Reported(progress=1.0),
)
ENDINGS: tuple[ActionEvent, ...] = (KillLimitReached(), Lost("the keeper has gone"))


def orders(news: Sequence[ActionEvent]) -> Iterator[list[ActionEvent]]:
    """All orders of an action's life with these news among it, but those that cannot be.

    The tree can't end before the command, and most things need a process.
    """
    for output_end in (1, 2, 3):
        life: list[ActionEvent] = [START, EXIT, TREE_END]
        life.insert(output_end, OUTPUT_END)
        yield from merged(life, news)


def merged(order: list[ActionEvent], news: Sequence[ActionEvent]) -> Iterator[list[ActionEvent]]:
    if not news:
        yield order
        return
    first = 0 if isinstance(news[0], CancelRequested) and news[0].reason is None else order.index(START) + 1
    for place in range(first, len(order) + 1):
        yield from merged([*order[:place], news[0], *order[place:]], news[1:])


class Story:
    """One order of events, what came of it, and what must be true of it."""

    def __init__(self, order: Sequence[ActionEvent], period: Optional[float]) -> None:
        self.order = order
        self.machine = ActionMachine()
        self.machine.set_limits(notify_period=period, time_limit=None)
        self.answers: list[list[ActionEffect]] = []
        self.moments: list[float] = []
        now, until = 0.0, 0.0
        for event in order:
            now = max(now + 1.0, until if isinstance(event, GraceEnded) else 0.0)
            answer = self.machine.handle(event, now)
            until = grace_end(answer, until)
            self.moments.append(now)
            self.answers.append(answer)

    def check(self) -> None:
        self.completes_once_and_last()
        self.signals_in_order()
        self.keeps_what_was_asked_for()
        self.grants_the_shortest_period()
        self.is_over_in_time()
        self.ends_by_the_strongest_reason()

    def completes_once_and_last(self) -> None:
        effects = [effect for answer in self.answers for effect in answer]
        assert [effect for effect in effects if isinstance(effect, Complete)] == effects[-1:]
        assert self.machine.phase is Phase.ENDED
        assert effects[-1] == Complete(self.machine.status)

    def signals_in_order(self) -> None:
        """Nothing before the start, nothing after the tree's end, no notice after the termination, which comes once."""
        signals = [
            (number, effect)
            for number, answer in enumerate(self.answers)
            for effect in answer
            if isinstance(effect, (Notify, Terminate))
        ]
        first, last = self.order.index(START), self.order.index(TREE_END)
        assert all(first <= number < last for number, _ in signals)
        assert Terminate() not in [effect for _, effect in signals[:-1]]
        until = [effect.until for _, effect in signals if isinstance(effect, Notify)]
        assert until == sorted(until, reverse=True)

    def keeps_what_was_asked_for(self) -> None:
        """A cancel is never lost: it signals, or the action is being terminated already, or nothing is left."""
        is_terminated = False
        for event, answer in zip(self.order[: self.end], self.answers):
            signals = [effect for effect in answer if isinstance(effect, (Notify, Terminate))]
            is_terminated |= Terminate() in signals
            is_asked = isinstance(event, CancelRequested) or (event is START and self.is_canceled_before(START))
            if is_asked and self.has_come(START, event) and not self.has_come(TREE_END, event):
                assert signals or is_terminated
                assert is_terminated or isinstance(signals[-1], Notify)

    def grants_the_shortest_period(self) -> None:
        """LC-25: what is left of the earliest request counts, and each limit from its own moment or from the start."""
        begin = self.moments[self.order.index(START)]
        asked: list[float] = []
        for event, moment, answer in zip(self.order, self.moments, self.answers):
            if isinstance(event, CancelRequested):
                limit = PERIOD if event.time_limit is None else event.time_limit
                asked.append(max(begin, moment) + limit)
            elif isinstance(event, LimitReached):
                asked.append(moment + PERIOD)
            deadlines = [effect.until for effect in answer if isinstance(effect, Notify)]
            assert deadlines == [min(asked) for _ in deadlines]

    def is_over_in_time(self) -> None:
        """Over once the command has exited and its output has ended; if it was signalled, with its tree. Not before."""
        seen = self.order[: self.end + 1]
        if any(ending in seen for ending in ENDINGS):
            assert seen[-1] in ENDINGS
            return
        signalled = any(isinstance(effect, (Notify, Terminate)) for answer in self.answers for effect in answer)
        needed = [EXIT, OUTPUT_END, TREE_END] if signalled else [EXIT, OUTPUT_END]
        assert all(event in seen for event in needed)
        assert seen[-1] in needed

    def ends_by_the_strongest_reason(self) -> None:
        """LC-8, LC-9, DIR-22, ACT-15."""
        status = self.machine.status
        seen = self.order[: self.end + 1]
        until_exit = seen[: seen.index(EXIT)] if EXIT in seen else seen
        assert status.state is expected_outcome(seen, until_exit)
        assert status.exit_code == (CODE if EXIT in seen else None)
        assert status.progress == (1.0 if Reported(progress=1.0) in seen else None)
        reasons = [event.reason for event in seen if isinstance(event, (CancelRequested, Lost)) and event.reason]
        others = [reason for reason in reasons if reason != BROKEN.reason]
        assert status.fail_message == next(iter((others or reasons)[-1:]), None)

    @property
    def end(self) -> int:
        """The number of the event that ended the action."""
        return max(number for number, answer in enumerate(self.answers) if answer and isinstance(answer[-1], Complete))

    def has_come(self, event: ActionEvent, by: ActionEvent) -> bool:
        return self.order.index(event) <= self.order.index(by)

    def is_canceled_before(self, event: ActionEvent) -> bool:
        return any(isinstance(earlier, CancelRequested) for earlier in self.order[: self.order.index(event)])


def grace_end(answer: Sequence[ActionEffect], before: float) -> float:
    """When the grace period ends, now that this has been answered."""
    armed = [effect.at for effect in answer if isinstance(effect, Arm) and effect.deadline is Deadline.GRACE]
    return armed[-1] if armed else before


def expected_outcome(seen: Sequence[ActionEvent], until_exit: Sequence[ActionEvent]) -> ActionState:
    """The outcome by the rules: marked failed, then time limit, then canceled, then the exit code."""
    cancels = [event for event in until_exit if isinstance(event, CancelRequested)]
    is_lost = any(isinstance(event, Lost) for event in seen)
    if is_lost or BROKEN in seen or WITHHELD in seen or any(cancel.mark_failed for cancel in cancels):
        return ActionState.FAILED
    if LimitReached() in until_exit:
        return ActionState.TIMEOUT
    return ActionState.CANCELED if cancels else ActionState.FAILED


NEWS = (*CANCELS, *NEED_A_PROCESS, *ENDINGS)


@pytest.mark.parametrize("period", [None, PERIOD], ids=["terminate", "notify"])
@pytest.mark.parametrize("size", [0, 1, 2])
def test_all_orders_of_any_two_news(size: int, period: Optional[float]) -> None:
    """LC-8, LC-9, LC-25 to LC-28, DIR-22, ACT-14, ACT-15, ACT-27, ACT-29, ACT-33 and DESIGN §4."""
    for news in combinations(NEWS, size):
        for order in orders(news):
            Story(order, period).check()


ESSENTIAL: tuple[ActionEvent, ...] = (
    CancelRequested(),
    CancelRequested(time_limit=4.0, mark_failed=True),
    BROKEN,
    LimitReached(),
    GraceEnded(),
    NotifyFailed(),
)


@pytest.mark.parametrize("period", [None, PERIOD], ids=["terminate", "notify"])
def test_all_orders_of_any_three_essential_news(period: Optional[float]) -> None:
    """The same rules."""
    for news in combinations(ESSENTIAL, 3):
        for order in orders(news):
            Story(order, period).check()


@pytest.mark.parametrize("period", [None, PERIOD], ids=["terminate", "notify"])
def test_no_order_at_all_breaks_the_machine(period: Optional[float]) -> None:
    """Even orders that cannot be complete once, at the end, and answer nothing after it."""
    for order in permutations((*LIFE, CancelRequested(), LimitReached(), GraceEnded())):
        Story(order, period).completes_once_and_last()
