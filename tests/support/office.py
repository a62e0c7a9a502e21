"""A delivery whose loop and clock are the test's."""

from __future__ import annotations

import threading
from collections import deque
from typing import Callable

from openjd.sessions._runtime.delivery import STAND_IN_AFTER, Delivery, Outbox
from support.manual_loop import PATIENCE, ManualClock


class Office:
    """What delivers, and a list of what was delivered."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.mailbox: deque[Callable[[], None]] = deque()
        self.delivery = Delivery(self.mailbox.append, self.clock.call_later)
        self.delivered: list[object] = []
        self.outboxes: list[Outbox] = []
        self._releases: list[threading.Event] = []
        self._strangers = set(threading.enumerate())
        self.delivery.start()

    def threads(self) -> list[threading.Thread]:
        """The threads that deliver."""
        found = [thread for thread in threading.enumerate() if thread.name == "openjd.sessions delivery"]
        return [thread for thread in found if thread not in self._strangers]

    def outbox(self) -> Outbox:
        self.outboxes.append(Outbox(self.delivery))
        return self.outboxes[-1]

    def note(self, *words: object) -> Callable[[], None]:
        """News that write these words down."""
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
            assert release.wait(2 * PATIENCE)  # longer than a test waits for what it must not hold up

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

    def outlast(self) -> None:
        """Let so much time pass that a stand-in comes, if it ever does: a block is seen within two periods."""
        for _ in range(2):
            self.pass_time(STAND_IN_AFTER)

    def pass_time(self, seconds: float) -> None:
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


def in_thread(call: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def is_in(delivered: list[object], word: object) -> Callable[[], bool]:
    return lambda: word in delivered
