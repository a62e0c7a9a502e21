"""Outboxes, and the threads that run foreign code: log handlers, callbacks, and whoever waits for a future.

The news of a Session are delivered in their order, one at a time. One thread takes turns of all outboxes. While foreign
code keeps it busy, a stand-in takes over for the other Sessions.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Callable, Optional

News = Callable[[], None]

TURN_LIMIT = 0.010
"""Seconds that one outbox is delivered from before others have a turn."""
STOPPED_AFTER = 0.003
"""Seconds after which a starter that has just opened its outbox was stopped by the system, on a busy machine, perhaps
before its caller's next statement: less than the interpreter is left to one thread for."""
CATCH_UP = 0.050
"""Seconds that it then has to go on."""
STAND_IN_AFTER = 0.050
"""Seconds after which a turn counts as blocked by foreign code."""
MOST_THREADS = 8
ITEM_SIZE = 200
"""What an item counts beside its text."""
SESSION_LIMIT = 1024 * 1024
"""Characters of undelivered text from which on a Session's output is not read (DESIGN §11)."""
PROGRAM_LIMIT = 64 * 1024 * 1024
"""The same for all Sessions together: each has its share."""


class Delivery:
    """The delivery threads of a loop."""

    def __init__(self, post: Callable[[News], None], call_later: Callable[[float, News], object]) -> None:
        self._post = post
        self._call_later = call_later
        self._turns: SimpleQueue[News] = SimpleQueue()
        self.put_turn = self._turns.put
        self._lock = threading.Lock()
        self._thread_count = 0
        self._busy_count = 0
        self._turn_count = 0
        self._idle_since: dict[int, float] = {}
        self._is_watched = False
        self._is_stopping = False
        self._outbox_count = 0

    def start(self) -> None:
        """Have at least one thread."""
        with self._lock:
            self._is_stopping = False
            if self._thread_count == 0:
                self._start_thread()

    def stop(self) -> None:
        """Let the threads end once they have done what is due."""
        with self._lock:
            self._is_stopping = True
        self._is_watched = False  # the loop has dropped its timers
        self._turns.put(_nothing)

    def count_outbox(self, change: int) -> None:
        """One outbox more or less shares the program's limit of undelivered text."""
        with self._lock:
            self._outbox_count += change

    @property
    def text_limit(self) -> int:
        """Characters of undelivered text that one Session may have."""
        return min(SESSION_LIMIT, PROGRAM_LIMIT // max(1, self._outbox_count))

    def schedule(self, turn: News) -> None:
        """Have a turn taken soon; from any thread. Makes no system call and does not give up the interpreter."""
        self._turns.put(turn)

    def watch_for_blocking(self) -> None:
        """Have a stand-in if foreign code blocks all threads while somebody waits; on the loop's thread."""
        if not self._is_watched:
            self._is_watched = True
            count = self._turn_count
            self._call_later(STAND_IN_AFTER, lambda: self._consider_stand_in(count))

    def _consider_stand_in(self, count: int) -> None:
        self._is_watched = False
        with self._lock:
            is_blocked = self._turn_count == count and self._busy_count >= self._thread_count
            if is_blocked and not self._turns.empty() and self._thread_count < MOST_THREADS:
                self._start_thread()
            goes_on = self._busy_count >= self._thread_count or not self._turns.empty()
        if goes_on:
            self.watch_for_blocking()

    def _start_thread(self) -> None:
        threading.Thread(target=self._run, name="openjd.sessions delivery", daemon=True).start()
        self._thread_count += 1

    def _run(self) -> None:
        while True:
            self._idle_since[threading.get_ident()] = time.monotonic()
            turn = self._turns.get()
            with self._lock:
                self._busy_count += 1
                self._turn_count += 1
            if not self._is_watched:
                self._post(self.watch_for_blocking)
            run_guarded(turn)
            with self._lock:
                self._busy_count -= 1
                if self._may_leave():
                    self._thread_count -= 1
                    del self._idle_since[threading.get_ident()]
                    return

    def has_waited_since(self, moment: float, seconds: float) -> bool:
        """Whether this thread was idle at a moment, and yet got its turn only so many seconds later."""
        was_idle = self._idle_since.get(threading.get_ident(), moment) < moment
        return was_idle and time.monotonic() - moment > seconds

    def _may_leave(self) -> bool:
        """Whether this thread is not needed: another one is idle, or the loop has stopped and nothing is left to do."""
        others = self._thread_count - 1
        return self._busy_count < others or (self._is_stopping and self._turns.empty())


def _nothing() -> None:
    """A turn that wakes a thread, to have it look around."""


def run_guarded(call: News) -> None:
    """Run what may run foreign code; whatever comes out of it is reported, and harms nobody."""
    if (error := call_client(call)) is not None:
        with suppress(Exception):  # standard error may be closed
            print("Exception ignored by openjd.sessions while delivering news:", file=sys.stderr)
            traceback.print_exception(type(error), error, error.__traceback__)


def text_of(error: BaseException) -> str:
    """The text of somebody else's exception, even if that can't be had."""
    text = type(error).__name__
    with suppress(Exception):
        text = str(error)
    return text


def call_client(call: News) -> Optional[BaseException]:
    """Make a call of somebody else's; what comes out of it is given back."""
    try:
        call()
    except BaseException as error:
        return error
    return None


def raise_interrupt(error: Optional[BaseException]) -> None:
    """Pass on what is meant for the thread and not for who made the call: Ctrl-C, or an exit."""
    if error is not None and not isinstance(error, Exception):
        raise error


@dataclass(frozen=True)
class _Item:
    news: News
    size: int


class Outbox:
    """The news of one Session, in their order.

    While an action is being started the outbox is *shut*: news are kept.
    """

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._on_room: Optional[News] = None
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiter_count = 0
        self._items: deque[_Item] = deque()
        self._size = 0
        self._is_scheduled = False
        self._is_shut = False
        self._shut_count = 0
        self._shut_by: Optional[int] = None
        self._is_in_start = False
        self._opening: Optional[News] = None
        self._opened_at = 0.0
        self._deliverer: Optional[int] = None
        delivery.count_outbox(1)

    def close(self) -> None:
        """No more news will come."""
        self._delivery.count_outbox(-1)

    def is_full(self, when_room: News) -> bool:
        """Whether so much text is undelivered that no more should be read until ``when_room`` is called, once."""
        with self._lock:
            if self._size <= self._delivery.text_limit:
                return False
            self._on_room = when_room
            return True

    @property
    def is_delivered_here(self) -> bool:
        """Whether this thread delivers, or starts an action, so that it must not wait for a delivery."""
        me = threading.get_ident()
        return self._deliverer == me or (self._is_in_start and self._shut_by == me)

    def put(self, news: News, size: int = 0) -> None:
        """Add news; ``size`` is the length of the text in them. On the loop's thread."""
        size += ITEM_SIZE
        with self._lock:
            self._items.append(_Item(news, size))
            self._size += size
            if self._waiter_count:
                self._changed.notify_all()
            is_new = not self._is_shut and not self._is_scheduled
            self._is_scheduled = self._is_scheduled or is_new
        self._delivery.watch_for_blocking()  # first: the thread that takes the turn then needs not ask for it
        if is_new:
            self._delivery.schedule(self._take_turn)

    def shut(self) -> News:
        """Keep news back from now on: this thread starts an action. Gives the call that opens the outbox again.

        That call makes no system call, does not give up the interpreter, and can't be interrupted by a signal.
        """
        with self._lock:
            self._is_shut = True
            self._shut_count += 1
            self._shut_by = threading.get_ident()
            self._is_in_start = True
            self._opening = partial(self._delivery.put_turn, partial(self._open, self._shut_count))
            return self._opening

    def end_start(self, open_outbox: News) -> None:
        """The starter makes no call any more in which news could be waited for, and is about to open the outbox.

        Who waits for the interpreter has it now: after that this thread keeps it for a while, if it is not stopped.
        """
        if open_outbox is self._opening:  # else an action was started from within the first or final call of this one
            self._is_in_start = False
        time.sleep(0)
        self._opened_at = time.monotonic()

    def reopen(self) -> None:
        """The start was interrupted: deliver what there is."""
        self._is_in_start = False
        self._delivery.schedule(partial(self._open, self._shut_count))

    def _open(self, count: int) -> None:
        with self._lock:
            if count != self._shut_count:  # another action is being started already
                return
            opened_at = self._opened_at
        if self._delivery.has_waited_since(opened_at, STOPPED_AFTER):
            time.sleep(CATCH_UP)
        with self._lock:
            if count != self._shut_count:
                return
            self._is_shut = False
            if self._waiter_count:
                self._changed.notify_all()
            if self._is_scheduled or self._deliverer is not None or not self._items:
                return
            self._is_scheduled = True
        self._take_turn()

    def _take_turn(self) -> None:
        me = threading.get_ident()
        if not self._begin_turn(me):
            return
        deadline = time.monotonic() + TURN_LIMIT
        item = self._next_item(me)
        while item is not None:
            self._deliver(item)
            if time.monotonic() > deadline:
                self._end_turn(me)
                return
            item = self._next_item(me)

    def _begin_turn(self, me: int) -> bool:
        with self._lock:
            if self._deliverer is not None:  # who delivers in place gives the turn back
                return False
            self._deliverer = me
            return True

    def _next_item(self, me: int) -> Optional[_Item]:
        """The next item of a turn; None ends the turn."""
        with self._lock:
            if self._deliverer != me:  # a starter in its RUNNING call has taken over
                return None
            if self._items and not self._is_shut:
                return self._items.popleft()
            self._deliverer = None
            self._is_scheduled = False
            return None

    def _end_turn(self, me: int) -> None:
        """Let others have their turn, then go on."""
        with self._lock:
            if self._deliverer != me:
                return
            self._deliverer = None
        self._delivery.schedule(self._take_turn)

    def _deliver(self, item: _Item) -> None:
        run_guarded(item.news)
        self._note_delivery(item)

    def _note_delivery(self, item: _Item) -> None:
        with self._lock:
            self._size -= item.size
            if self._on_room is None or self._size > self._delivery.text_limit // 2:
                return
            on_room, self._on_room = self._on_room, None
        on_room()

    def deliver_here(self, is_done: Callable[[], bool], timeout: Optional[float] = None) -> None:
        """Deliver on this thread, which is in the midst of a delivery or of a start, until something is done.

        Args:
            is_done: Tells when.
            timeout: Seconds after which it stops all the same.
        """
        me = threading.get_ident()
        with self._lock:
            outer = self._deliverer
            self._deliverer = me
            self._is_scheduled = True
            if self._shut_by == me:  # whether its starter is still at work, or has just returned
                self._is_shut = False
        try:
            self._deliver_until(is_done, None if timeout is None else time.monotonic() + timeout)
        finally:
            if outer != me:
                self._give_back()

    def _deliver_until(self, is_done: Callable[[], bool], deadline: Optional[float]) -> None:
        while not is_done():
            item = self._wait_for_item(deadline)
            if item is None:
                return
            error = call_client(item.news)
            self._note_delivery(item)
            raise_interrupt(error)

    def _wait_for_item(self, deadline: Optional[float]) -> Optional[_Item]:
        with self._lock:
            while not self._items or self._is_shut:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._waiter_count += 1
                try:
                    self._changed.wait(left)
                finally:
                    self._waiter_count -= 1
            return self._items.popleft()

    def _give_back(self) -> None:
        with self._lock:
            self._deliverer = None
            self._is_scheduled = bool(self._items)
        if self._is_scheduled:
            self._delivery.schedule(self._take_turn)
