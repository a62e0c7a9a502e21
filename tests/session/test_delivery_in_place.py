"""Delivery on the thread that waits: in a start, in a callback, and by turns in all orders (DESIGN §4, API §9)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Callable

import pytest

from openjd.sessions._runtime.delivery import Delivery, Outbox
from support.office import Office, in_thread, is_in


@pytest.fixture
def office() -> Iterator[Office]:
    made = Office()
    yield made
    made.close()


def test_who_starts_delivers_in_place(office: Office) -> None:
    """API §9: what needs no process is told on the caller's thread, before the starter returns."""
    outbox = office.outbox()
    threads: list[int] = []
    open_outbox = outbox.shut()
    assert outbox.is_delivered_here
    outbox.put(lambda: threads.append(threading.get_ident()))
    office.put(outbox, "final", "later")
    outbox.deliver_here(is_in(office.delivered, "final"))
    assert threads == [threading.get_ident()]
    assert "final" in office.delivered
    assert outbox.is_delivered_here
    outbox.end_start(open_outbox)
    assert not outbox.is_delivered_here
    open_outbox()
    assert office.settle(outbox) == ["final", "later"]


def test_delivery_in_place_waits_for_news(office: Office) -> None:
    """A wait inside the RUNNING call: the loop's news come while it waits."""
    outbox = office.outbox()
    outbox.shut()
    has_begun = threading.Event()
    outbox.put(has_begun.set)

    def loop() -> None:
        office.wait_for(has_begun)
        office.put(outbox, "line", "final")

    thread = in_thread(loop)
    outbox.deliver_here(is_in(office.delivered, "final"))
    thread.join()
    assert office.delivered == ["line", "final"]


def test_delivery_in_place_gives_up_in_time(office: Office) -> None:
    """``wait(timeout)`` inside a callback."""
    outbox = office.outbox()
    open_outbox = outbox.shut()
    office.put(outbox, "line")
    outbox.deliver_here(is_in(office.delivered, "final"), timeout=0)
    open_outbox()
    office.put(outbox, "final")
    assert office.settle(outbox) == ["line", "final"]


def test_nested_delivery_in_place(office: Office) -> None:
    """A callback that waits for the action whose news it is told of; order is kept."""
    outbox = office.outbox()

    def callback() -> None:
        assert outbox.is_delivered_here
        outbox.deliver_here(is_in(office.delivered, "second"))
        office.delivered.append("end of the callback")

    release = office.block(outbox)
    outbox.put(callback)
    office.put(outbox, "first", "second", "third")
    release.set()
    assert office.settle(outbox) == ["first", "second", "end of the callback", "third"]


def test_a_callback_that_has_waited_is_still_the_only_one(office: Office) -> None:
    """API §9: calls do not overlap, also when a stand-in serves the others."""
    outbox, other = office.outbox(), office.outbox()
    wait, has_waited, release = office.blocker()

    def callback() -> None:
        outbox.deliver_here(is_in(office.delivered, "waited for"))
        wait()

    release_first = office.block(outbox)
    outbox.put(callback)
    office.put(outbox, "waited for", "later")
    release_first.set()
    office.wait_for(has_waited)
    reached = threading.Event()
    other.put(reached.set)
    office.outlast()
    office.wait_for(reached)
    assert office.delivered == ["waited for"]
    release.set()
    assert office.settle(outbox) == ["waited for", "later"]


def test_nested_delivery_in_place_within_a_start(office: Office) -> None:
    """``cleanup`` in a callback in the RUNNING call."""
    outbox = office.outbox()
    open_outbox = outbox.shut()
    outbox.put(lambda: outbox.deliver_here(is_in(office.delivered, "second")))
    office.put(outbox, "first", "second", "third")
    outbox.deliver_here(is_in(office.delivered, "first"))
    assert office.delivered == ["first", "second"]
    open_outbox()
    assert office.settle(outbox) == ["first", "second", "third"]


def test_a_callback_that_starts_an_action_and_waits_for_it(office: Office) -> None:
    """API §9: any method may be called in a callback; no other thread is needed for it."""
    outbox = office.outbox()
    waited: list[bool] = []

    def callback() -> None:
        open_outbox = outbox.shut()
        office.put(outbox, "final")
        open_outbox()
        outbox.deliver_here(is_in(office.delivered, "final"), timeout=1)
        waited.append("final" in office.delivered)

    outbox.put(callback)
    office.settle(outbox)
    assert waited == [True]
    assert len(office.threads()) == 1


def test_a_starter_takes_over_from_a_blocked_delivery(office: Office) -> None:
    """API §9: the terminal call of the last action still goes on, on its own thread."""
    outbox = office.outbox()
    release = office.block(outbox)
    open_outbox = outbox.shut()
    office.put(outbox, "final")
    outbox.deliver_here(is_in(office.delivered, "final"))
    assert office.delivered == ["final"]
    open_outbox()
    release.set()
    office.put(outbox, "next")
    assert office.settle(outbox) == ["final", "next"]


def test_nobody_else_is_delivered_here(office: Office) -> None:
    """Who merely waits must not deliver: Ctrl-C has to reach it."""
    outbox = office.outbox()
    seen: list[bool] = []
    outbox.shut()
    thread = in_thread(lambda: seen.append(outbox.is_delivered_here))
    thread.join()
    assert (seen, outbox.is_delivered_here) == ([False], True)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), SystemExit(3)])
def test_an_interrupt_in_place_reaches_the_caller(office: Office, interrupt: BaseException) -> None:
    """DESIGN §4: Ctrl-C passes on; the turn is given back, and nothing is lost or told twice."""
    outbox = office.outbox()
    open_outbox = outbox.shut()

    def interrupted() -> None:
        office.delivered.append("interrupted")
        raise interrupt

    outbox.put(interrupted)
    office.put(outbox, "final")
    with pytest.raises(type(interrupt)):
        outbox.deliver_here(is_in(office.delivered, "final"))
    open_outbox()
    assert office.settle(outbox) == ["interrupted", "final"]


def test_an_error_in_place_harms_nobody(office: Office) -> None:
    """LOG-7: a failing handler or callback."""
    outbox = office.outbox()
    outbox.shut()

    def fail() -> None:
        raise ValueError

    outbox.put(fail)
    office.put(outbox, "final")
    outbox.deliver_here(is_in(office.delivered, "final"))
    assert office.delivered == ["final"]


# All orders


class Desk(Delivery):
    """A delivery whose turns the test takes itself, one by one."""

    def __init__(self) -> None:
        super().__init__(post=lambda _: None, call_later=lambda *_: None)
        self.turns: deque[Callable[[], None]] = deque()
        self.put_turn = self.turns.append  # type: ignore[assignment]

    def schedule(self, turn: Callable[[], None]) -> None:
        self.put_turn(turn)


class History:
    """One outbox, and what is done to it on one thread: loop, starter and delivery take turns."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.outbox = Outbox(self.desk)
        self.delivered: list[int] = []
        self.count = 0
        self.open_outbox: Callable[[], None] = lambda: None
        self.is_starting = False

    def put(self) -> None:
        self.outbox.put(partial(self.delivered.append, self.count))
        self.count += 1

    def shut(self) -> None:
        self.open_outbox = self.outbox.shut()
        self.is_starting = True

    def open(self) -> None:
        self.outbox.end_start(self.open_outbox)
        self.open_outbox()
        self.is_starting = False

    def take_turn(self) -> None:
        before = len(self.delivered)
        if self.desk.turns:
            self.desk.turns.popleft()()
        assert not self.is_starting or len(self.delivered) == before

    def deliver_one_here(self) -> None:
        before = len(self.delivered)
        self.outbox.deliver_here(lambda: len(self.delivered) > before, timeout=0)
        self.is_starting = False

    def end(self) -> None:
        self.open()
        while self.desk.turns:
            self.take_turn()


DEEDS = (History.put, History.shut, History.open, History.take_turn, History.deliver_one_here)


def test_all_histories_of_six_deeds() -> None:
    """Nothing is lost, doubled or overtaken, and nothing is told while an action is being started."""
    for deeds in product(DEEDS, repeat=6):
        history = History()
        for deed in deeds:
            deed(history)
            assert history.delivered == list(range(len(history.delivered)))
        history.end()
        assert history.delivered == list(range(history.count))
