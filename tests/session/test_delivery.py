"""News of Sessions in their order: shut and open, in place, stand-ins, back-pressure (DESIGN §4, API §9).

Races are orders here: whoever is to come second waits for an event of whoever is to come first.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Callable

import pytest

from openjd.sessions._runtime.delivery import (
    MOST_THREADS,
    PROGRAM_LIMIT,
    SESSION_LIMIT,
    STAND_IN_AFTER,
    Delivery,
    Outbox,
    call_client,
    raise_interrupt,
    run_guarded,
)
from support.manual_loop import PATIENCE, ManualClock


class Office:
    """A delivery whose loop and clock are the test's, and a list of what was delivered."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.mailbox: deque[Callable[[], None]] = deque()
        self.delivery = Delivery(self.mailbox.append, self.clock.call_later)
        self.delivered: list[object] = []
        self.outboxes: list[Outbox] = []
        self._releases: list[threading.Event] = []
        self.delivery.start()

    def outbox(self) -> Outbox:
        self.outboxes.append(Outbox(self.delivery))
        return self.outboxes[-1]

    def note(self, *words: object) -> Callable[[], None]:
        """News that write down that they were delivered, and on which thread."""
        return lambda: self.delivered.extend(words)

    def put(self, outbox: Outbox, *words: object) -> None:
        for word in words:
            outbox.put(self.note(word))

    def blocker(self) -> tuple[Callable[[], None], threading.Event, threading.Event]:
        """Foreign code that keeps the thread which delivers it, what tells that it has begun, and what lets it go."""
        has_begun, release = threading.Event(), threading.Event()
        self._releases.append(release)

        def wait() -> None:
            has_begun.set()
            assert release.wait(PATIENCE)

        return wait, has_begun, release

    def block(self, outbox: Outbox) -> threading.Event:
        """Have a thread be kept by an outbox's news. Gives what lets it go."""
        wait, has_begun, release = self.blocker()
        outbox.put(wait)
        self.wait_for(has_begun)
        return release

    def settle(self, outbox: Outbox) -> list[object]:
        """What has been delivered when everything in an outbox has been."""
        reached = threading.Event()
        outbox.put(reached.set)
        self.wait_for(reached)
        return list(self.delivered)

    def pass_time(self, seconds: float = STAND_IN_AFTER) -> None:
        """A turn of the loop, and some time."""
        while self.mailbox:
            self.mailbox.popleft()()
        self.clock.advance(seconds)

    def wait_for(self, event: threading.Event) -> None:
        assert event.wait(PATIENCE), "waited in vain"

    def close(self) -> None:
        for release in self._releases:
            release.set()
        for outbox in self.outboxes:
            outbox.close()
        self.delivery.stop()


@pytest.fixture
def office() -> Iterator[Office]:
    made = Office()
    yield made
    made.close()


def delivery_threads() -> int:
    return sum(thread.name == "openjd.sessions delivery" for thread in threading.enumerate())


def in_thread(call: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


# Order


def test_news_are_delivered_in_their_order(office: Office) -> None:
    outbox = office.outbox()
    office.put(outbox, *range(1000))
    assert office.settle(outbox) == list(range(1000))


def test_news_come_one_at_a_time_and_not_on_the_callers_thread(office: Office) -> None:
    """API §9: also those of several Sessions, as long as nobody blocks."""
    outboxes = [office.outbox() for _ in range(5)]
    threads: set[int] = set()
    for number in range(100):
        for outbox in outboxes:
            outbox.put(lambda: threads.add(threading.get_ident()))
            office.put(outbox, (outbox, number))
    for outbox in outboxes:
        office.settle(outbox)
    for outbox in outboxes:
        mine = [entry for entry in office.delivered if isinstance(entry, tuple) and entry[0] is outbox]
        assert mine == [(outbox, number) for number in range(100)]
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_news_may_bring_news(office: Office) -> None:
    outbox = office.outbox()
    outbox.put(lambda: office.put(outbox, "third"))
    outbox.put(office.note("second"))
    first = threading.Event()
    outbox.put(first.set)
    office.wait_for(first)
    assert office.settle(outbox) == ["second", "third"]


# Shut and open


def test_a_shut_outbox_keeps_its_news(office: Office) -> None:
    """API §9: until the starter has done everything else."""
    outbox, other = office.outbox(), office.outbox()
    open_outbox = outbox.shut()
    office.put(outbox, "first", "second")
    assert office.settle(other) == []
    open_outbox()
    assert office.settle(outbox) == ["first", "second"]


def test_what_came_before_the_start_is_not_overtaken(office: Office) -> None:
    outbox, other = office.outbox(), office.outbox()
    release = office.block(outbox)
    office.put(outbox, "before")
    open_outbox = outbox.shut()
    office.put(outbox, "after")
    release.set()
    assert office.settle(other) == []
    open_outbox()
    assert office.settle(outbox) == ["before", "after"]


def test_opening_an_empty_outbox_does_nothing(office: Office) -> None:
    outbox = office.outbox()
    outbox.shut()()
    assert office.settle(outbox) == []


def test_opening_is_one_put_to_the_delivery_thread(office: Office) -> None:
    """API §9: the starter's thread delivers nothing and waits for nobody."""
    outbox = office.outbox()
    release = office.block(office.outbox())
    open_outbox = outbox.shut()
    office.put(outbox, "news")
    open_outbox()
    assert office.delivered == []
    release.set()
    assert office.settle(outbox) == ["news"]


def test_an_earlier_start_does_not_open_for_a_later_one(office: Office) -> None:
    """A starter called from a callback, or by who has seen the new state, has shut the outbox again."""
    outbox, other = office.outbox(), office.outbox()
    open_first = outbox.shut()
    open_second = outbox.shut()
    office.put(outbox, "news")
    open_first()
    assert office.settle(other) == []
    open_second()
    assert office.settle(outbox) == ["news"]


def test_the_end_of_an_earlier_start_does_not_end_a_later_one(office: Office) -> None:
    """API §9: a wait in the RUNNING call of the second delivers in place, though the first starter returns only now."""
    outbox = office.outbox()
    seen: list[bool] = []
    has_shut, first_has_ended = threading.Event(), threading.Event()

    def start_second() -> None:
        open_second = outbox.shut()
        has_shut.set()
        office.wait_for(first_has_ended)
        seen.append(outbox.is_delivered_here)
        open_second()

    open_first = outbox.shut()
    thread = in_thread(start_second)
    office.wait_for(has_shut)
    open_first()
    first_has_ended.set()
    thread.join()
    assert seen == [True]


def test_a_start_within_a_delivery(office: Office) -> None:
    """API §8: the callback starts the next action; its news come after the callback."""
    outbox = office.outbox()

    def callback() -> None:
        open_outbox = outbox.shut()
        office.put(outbox, "news of the next")
        open_outbox()
        office.delivered.append("end of the callback")

    outbox.put(callback)
    reached = threading.Event()
    outbox.put(reached.set)
    office.wait_for(reached)
    assert office.settle(outbox) == ["end of the callback", "news of the next"]


# In place


def is_in(delivered: list[object], word: object) -> Callable[[], bool]:
    return lambda: word in delivered


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
    open_outbox()
    assert not outbox.is_delivered_here
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
    office.pass_time()
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
    assert delivery_threads() == 1


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

    def schedule(self, turn: Callable[[], None]) -> None:
        self.turns.append(turn)


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


# Stand-ins


def test_a_stand_in_takes_over_when_one_blocks(office: Office) -> None:
    """DESIGN §4: for the other Sessions; the blocked one keeps its order."""
    blocked, other = office.outbox(), office.outbox()
    release = office.block(blocked)
    office.put(blocked, "of the blocked")
    reached = threading.Event()
    other.put(reached.set)
    assert not reached.is_set()
    office.pass_time()
    office.wait_for(reached)
    assert office.delivered == []
    assert delivery_threads() == 2
    release.set()
    assert office.settle(blocked) == ["of the blocked"]


def test_no_stand_in_before_its_time(office: Office) -> None:
    """DESIGN §4: a turn that ends in time needs none."""
    office.block(office.outbox())
    office.put(office.outbox(), "waits")
    office.pass_time(STAND_IN_AFTER * 0.9)
    assert delivery_threads() == 1


def test_no_stand_in_if_nobody_waits(office: Office) -> None:
    office.block(office.outbox())
    for _ in range(5):
        office.pass_time()
    assert delivery_threads() == 1


@pytest.mark.parametrize("times", [0, 3])
def test_a_stand_in_comes_for_news_that_were_there_before(office: Office, times: int) -> None:
    """DESIGN §4: kept while their action was started, they are opened when the only thread is blocked already."""
    other = office.outbox()
    open_other = other.shut()
    reached = threading.Event()
    other.put(reached.set)
    wait, has_begun, _ = office.blocker()
    office.delivery.schedule(wait)
    office.wait_for(has_begun)
    for _ in range(times):
        office.pass_time()
    open_other()
    office.pass_time()
    office.pass_time()
    office.wait_for(reached)


def test_stand_ins_for_stand_ins_up_to_eight(office: Office) -> None:
    """DESIGN §4: at most eight threads; when one comes free, it serves the others."""
    releases = []
    for number in range(MOST_THREADS):
        wait, has_begun, release = office.blocker()
        releases.append(release)
        office.outbox().put(wait)
        if number:
            office.pass_time()
        office.wait_for(has_begun)
    waiting = office.outbox()
    office.put(waiting, "at last")
    for _ in range(5):
        office.pass_time()
    assert (office.delivered, delivery_threads()) == ([], MOST_THREADS)
    releases[3].set()
    assert office.settle(waiting) == ["at last"]


def test_threads_end_when_they_are_not_needed(office: Office) -> None:
    """LC-30: stand-ins when the blocked come back, all when the loop stops, but not before what is due is done."""
    blocked, other = office.outbox(), office.outbox()
    release = office.block(blocked)
    office.put(other, "waits")
    office.pass_time()
    office.settle(other)
    release.set()
    office.settle(blocked)
    threads = [thread for thread in threading.enumerate() if thread.name == "openjd.sessions delivery"]
    office.put(other, *range(100))
    office.delivery.stop()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert office.delivered == ["waits", *range(100)]


def test_it_can_start_again(office: Office) -> None:
    """LC-30: with the next Session."""
    threads = [thread for thread in threading.enumerate() if thread.name == "openjd.sessions delivery"]
    office.delivery.stop()
    for thread in threads:
        thread.join(PATIENCE)
    outbox = office.outbox()
    office.put(outbox, "kept")
    office.delivery.start()
    assert office.settle(outbox) == ["kept"]


# Back-pressure


def test_an_outbox_is_full_beyond_its_limit(office: Office) -> None:
    """DESIGN §11: 1 MiB of undelivered text; room is told once, when half is delivered."""
    outbox = office.outbox()
    rooms: list[int] = []
    release = office.block(outbox)
    outbox.put(office.note(1), SESSION_LIMIT)
    assert not outbox.is_full(partial(rooms.append, 0))
    outbox.put(office.note(2), 1)
    assert outbox.is_full(lambda: rooms.append(len(office.delivered)))
    assert outbox.is_full(lambda: rooms.append(len(office.delivered)))
    outbox.put(office.note(3), 10)
    release.set()
    office.settle(outbox)
    assert rooms == [1]
    assert not outbox.is_full(partial(rooms.append, 0))
    office.put(outbox, "more")
    office.settle(outbox)
    assert rooms == [1]


def test_room_is_told_only_when_half_is_delivered(office: Office) -> None:
    outbox = office.outbox()
    rooms: list[int] = []
    release = office.block(outbox)
    for number in range(5):
        outbox.put(office.note(number), SESSION_LIMIT // 4)
    assert outbox.is_full(lambda: rooms.append(len(office.delivered)))
    release.set()
    office.settle(outbox)
    assert rooms == [3]


def test_room_is_told_by_who_delivers_in_place(office: Office) -> None:
    outbox = office.outbox()
    rooms: list[str] = []
    open_outbox = outbox.shut()
    outbox.put(office.note("long"), SESSION_LIMIT + 1)
    assert outbox.is_full(lambda: rooms.append("room"))
    outbox.deliver_here(is_in(office.delivered, "long"))
    assert rooms == ["room"]
    open_outbox()


def test_news_that_fail_make_room_too(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    outbox = office.outbox()
    room = threading.Event()
    release = office.block(outbox)

    def fail() -> None:
        raise ValueError("of a handler")

    outbox.put(fail, SESSION_LIMIT + 1)
    assert outbox.is_full(room.set)
    release.set()
    office.wait_for(room)
    office.settle(outbox)
    assert "ValueError: of a handler" in capsys.readouterr().err


def test_sessions_share_the_limit_of_the_program(office: Office) -> None:
    """DESIGN §11: 64 MiB a program."""
    share = PROGRAM_LIMIT // 128
    outboxes = [office.outbox() for _ in range(128)]
    assert office.delivery.text_limit == share
    office.block(outboxes[0])
    outboxes[0].put(office.note(1), share + 1)
    assert outboxes[0].is_full(lambda: None)
    while len(office.outboxes) > 1:
        office.outboxes.pop().close()
    assert office.delivery.text_limit == SESSION_LIMIT
    assert not outboxes[0].is_full(lambda: None)


# Guards


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyboardInterrupt("x"), SystemExit("x"), GeneratorExit("x")], ids=repr
)
def test_whatever_comes_out_of_news_is_reported_and_harms_nobody(
    office: Office, capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    """DESIGN §4: the delivery guard catches BaseException."""
    outbox = office.outbox()

    def fail() -> None:
        raise error

    outbox.put(fail)
    office.put(outbox, "next")
    assert office.settle(outbox) == ["next"]
    reported = capsys.readouterr().err.splitlines()
    assert reported[0] == "Exception ignored by openjd.sessions while delivering news:"
    assert reported[-1] == f"{type(error).__name__}: x"


def test_run_guarded_runs(capsys: pytest.CaptureFixture[str]) -> None:
    done: list[bool] = []
    run_guarded(lambda: done.append(True))
    assert (done, capsys.readouterr().err) == ([True], "")


def test_what_comes_out_of_a_clients_call_is_given_back() -> None:
    """LOG-7; and Ctrl-C is passed on by who wants it."""
    error = KeyboardInterrupt()

    def fail() -> None:
        raise error

    assert call_client(fail) is error
    assert call_client(lambda: None) is None
    with pytest.raises(KeyboardInterrupt):
        raise_interrupt(error)
    raise_interrupt(ValueError())
    raise_interrupt(None)
