"""News of Sessions in their order: shut and open, in place, stand-ins, back-pressure (DESIGN §4, API §9).

Races are orders here: whoever is to come second waits for an event of whoever is to come first.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from queue import SimpleQueue
from typing import Optional

import pytest

from openjd.sessions._runtime import delivery
from openjd.sessions._runtime.delivery import (
    ITEM_SIZE,
    MOST_THREADS,
    PROGRAM_LIMIT,
    SESSION_LIMIT,
    STAND_IN_AFTER,
    News,
    call_client,
    raise_interrupt,
    run_guarded,
)
from support.manual_loop import PATIENCE
from support.office import Office, in_thread, is_in


@pytest.fixture
def office() -> Iterator[Office]:
    made = Office()
    yield made
    made.close()


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
    outbox.end_start(open_first)
    open_first()
    first_has_ended.set()
    thread.join()
    assert seen == [True]


def test_an_interrupted_start_opens_too(office: Office) -> None:
    """LC-27, DESIGN §4: Ctrl-C in a starter."""
    outbox = office.outbox()
    outbox.shut()
    office.put(outbox, "news")
    outbox.reopen()
    assert not outbox.is_delivered_here
    assert office.settle(outbox) == ["news"]


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


# Stand-ins


def test_a_stand_in_takes_over_when_one_blocks(office: Office) -> None:
    """DESIGN §4: for the other Sessions; the blocked one keeps its order."""
    blocked, other = office.outbox(), office.outbox()
    release = office.block(blocked)
    office.put(blocked, "of the blocked")
    reached = threading.Event()
    other.put(reached.set)
    assert not reached.is_set()
    office.outlast()
    office.wait_for(reached)
    assert office.delivered == []
    assert len(office.threads()) == 2
    release.set()
    assert office.settle(blocked) == ["of the blocked"]


def test_no_stand_in_before_its_time(office: Office) -> None:
    """DESIGN §4: a turn that ends in time needs none."""
    office.block(office.outbox())
    office.put(office.outbox(), "waits")
    office.pass_time(STAND_IN_AFTER * 0.9)
    assert len(office.threads()) == 1


def test_no_stand_in_if_nobody_waits(office: Office) -> None:
    office.block(office.outbox())
    for _ in range(5):
        office.outlast()
    assert len(office.threads()) == 1


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
        office.outlast()
    open_other()
    office.outlast()
    office.wait_for(reached)


def test_a_stand_in_comes_for_a_block_that_no_news_have_announced(office: Office) -> None:
    """DESIGN §4: the giving back of a dropped Session, say. The others' news came long ago, and nobody watches."""
    other = office.outbox()
    open_other = other.shut()
    reached = threading.Event()
    other.put(reached.set)
    office.outlast()
    wait, has_begun, _ = office.blocker()
    office.delivery.schedule(wait)
    office.wait_for(has_begun)
    open_other()
    office.outlast()
    office.wait_for(reached)


class HeldQueue(SimpleQueue[News]):
    """Holds up whoever has taken something, until it is let go: there the system may stop a thread."""

    def __init__(self) -> None:
        super().__init__()
        self.has_taken, self.may_go_on = threading.Event(), threading.Event()

    def get(self, block: bool = True, timeout: Optional[float] = None) -> News:
        taken = super().get(block, timeout)
        self.has_taken.set()
        assert self.may_go_on.wait(PATIENCE)
        return taken


def test_a_stand_in_comes_though_the_look_fell_between_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """DESIGN §4: nothing waited any more, and the thread had not yet noted that it was busy."""
    queue = HeldQueue()
    monkeypatch.setattr(delivery, "SimpleQueue", lambda: queue)
    with closing(Office()) as office:
        blocked, other = office.outbox(), office.outbox()
        open_other = other.shut()
        reached = threading.Event()
        other.put(reached.set)
        wait, has_begun, _ = office.blocker()
        blocked.put(wait)
        office.wait_for(queue.has_taken)
        office.outlast()
        queue.may_go_on.set()
        office.wait_for(has_begun)
        open_other()
        office.outlast()
        office.wait_for(reached)


def test_stand_ins_for_stand_ins_up_to_eight(office: Office) -> None:
    """DESIGN §4: at most eight threads; when one comes free, it serves the others."""
    releases = []
    for number in range(MOST_THREADS):
        wait, has_begun, release = office.blocker()
        releases.append(release)
        office.outbox().put(wait)
        if number:
            office.outlast()
        office.wait_for(has_begun)
    waiting = office.outbox()
    office.put(waiting, "at last")
    for _ in range(5):
        office.outlast()
    assert (office.delivered, len(office.threads())) == ([], MOST_THREADS)
    releases[3].set()
    assert office.settle(waiting) == ["at last"]


def test_threads_end_when_they_are_not_needed(office: Office) -> None:
    """LC-30: stand-ins when the blocked come back, all when the loop stops, but not before what is due is done."""
    blocked, other = office.outbox(), office.outbox()
    release = office.block(blocked)
    office.put(other, "waits")
    office.outlast()
    office.settle(other)
    release.set()
    office.settle(blocked)
    threads = office.threads()
    office.put(other, *range(100))
    office.delivery.stop()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert office.delivered == ["waits", *range(100)]


def test_it_can_start_again(office: Office) -> None:
    """LC-30: with the next Session."""
    threads = office.threads()
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
    outbox.put(office.note(1), SESSION_LIMIT - 2 * ITEM_SIZE)
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
        outbox.put(office.note(number), SESSION_LIMIT // 4 - 2 * ITEM_SIZE)
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
