"""Time that passes only when a test says so, and a loop that turns only then."""

from __future__ import annotations

import heapq
import itertools
import selectors
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Callable

from openjd.sessions._platform.protocol import Result

Call = Callable[[], None]

PATIENCE = 10.0
"""Seconds after which a test has waited in vain; a test that passes never waits as long."""
LOOK_EVERY = 0.01
"""Seconds between two looks at what nothing tells the loop of."""


@dataclass(order=True)
class Alarm:
    """A call at a moment."""

    at: float
    order: int
    call: Call = field(compare=False)

    def cancel(self) -> None:
        self.call = _nothing


def _nothing() -> None:
    """What is left of a call that was canceled."""


class ManualClock:
    """A clock that stands still, and the calls that wait for it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._alarms: list[Alarm] = []

    def call_later(self, seconds: float, call: Call) -> Alarm:
        alarm = Alarm(self.now + seconds, next(self._order), call)
        heapq.heappush(self._alarms, alarm)
        return alarm

    def advance(self, seconds: float) -> None:
        """Let time pass, and make the calls that come due meanwhile, each at its moment."""
        end = self.now + seconds
        while self._alarms and self._alarms[0].at <= end:
            alarm = heapq.heappop(self._alarms)
            self.now = alarm.at
            alarm.call()
        self.now = end


class ManualLoop:
    """A ``Watcher`` on the test's own thread, whose clock stands still."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self._mailbox: deque[Call] = deque()
        self._selector = selectors.DefaultSelector()

    def call_later(self, seconds: float, call: Call) -> Alarm:
        return self.clock.call_later(seconds, call)

    def post(self, call: Call) -> None:
        self._mailbox.append(call)

    def dare(self, call: Callable[[], Result], when_held_up: Call, afterwards: Call) -> Result:  # noqa: ARG002
        return call()  # nobody else is there

    def watch(self, descriptor: int, on_ready: Call, *, is_writer: bool = False) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if is_writer else 0)
        if descriptor in self._selector.get_map():
            self._selector.modify(descriptor, events, on_ready)
        else:
            self._selector.register(descriptor, events, on_ready)

    def unwatch(self, descriptor: int) -> None:
        if descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)

    @property
    def watched(self) -> set[int]:
        """The descriptors it watches."""
        return {key.fd for key in self._selector.get_map().values()}

    @property
    def watched_for_writing(self) -> set[int]:
        """Those of them that it waits to write to."""
        return {key.fd for key in self._selector.get_map().values() if key.events & selectors.EVENT_WRITE}

    def turn(self, patience: float = 0.0) -> None:
        """Make the calls that were posted, and look once at what it watches."""
        while self._mailbox:
            self._mailbox.popleft()()
        for key, _ in self._selector.select(patience):
            key.data()

    def run_until(self, is_done: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Turn until something is so."""
        deadline = time.monotonic() + patience
        while not is_done():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {patience:g} s in vain")
            self.turn(LOOK_EVERY)

    def close(self) -> None:
        self._selector.close()
