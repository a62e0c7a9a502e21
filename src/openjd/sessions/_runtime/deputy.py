"""The deputy of the loop's thread: takes its place if a process has the kernel hold it up.

On Linux a process can keep its output pipe locked for as long as it likes, by printing from memory that it withholds.
Whoever reads from the pipe waits then, although its end is non-blocking. Nothing gets that thread out of there but the
end of the process, which nobody can be sure of: so another thread goes on in its place.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Callable, Optional

from openjd.sessions._platform.protocol import Result
from openjd.sessions._platform.threads import deep_sleep

LOOK_EVERY = 1.0
"""Seconds between two looks at a thread that is in such a call."""
MOST_LOOKS = 4
"""Looks that see it in the same sleep, after which it counts as held up."""

Call = Callable[[], None]
Successor = Callable[[Call], None]
"""What the deputy does in the place of the thread; it is passed what that one has left for the case."""


class LeftBehind(BaseException):
    """Ends a thread that another one has taken the place of."""


class Deputy:
    """A thread that watches the calls of one other, the loop's, and sleeps while there are none.

    Looks are counted, and seconds are not: if the whole program or machine has stood still, both threads go on, and the
    one that is watched is soon out of its sleep.
    """

    def __init__(self, succeed: Successor) -> None:
        self._succeed = succeed
        self._watched = 0
        self._calls: list[Call] = []
        """Of the call under way: what is to be done if it is held up. Who takes it out goes on."""
        self._is_idle = False
        self._is_dismissed = False
        self._bell = threading.Event()

    def start(self) -> None:
        """Begin to watch the thread that calls this.

        Raises:
            RuntimeError: No thread can be had.
        """
        self._watched = threading.get_native_id()
        threading.Thread(target=self._run, name="openjd.sessions deputy", daemon=True).start()

    def dismiss(self) -> None:
        """There will be no more calls; does not wait."""
        self._is_dismissed = True
        self._bell.set()

    def attend(self, call: Callable[[], Result], when_held_up: Call, afterwards: Call) -> Result:
        """Make a call on the watched thread, and see ``Loop.dare`` for the rest.

        Raises:
            LeftBehind: It was held up, and the deputy goes on in its place.
        """
        self._calls.append(when_held_up)
        try:
            if self._is_idle:
                self._is_idle = False
                self._bell.set()
            return call()
        finally:
            if not self._take_out(when_held_up):
                with suppress(Exception):  # whatever becomes of that, there is one loop
                    afterwards()
                raise LeftBehind

    def _take_out(self, when_held_up: Call) -> bool:
        """Have the say of who goes on; False if the other thread has it."""
        try:
            self._calls.remove(when_held_up)
        except ValueError:
            return False
        return True

    # -- the deputy's thread

    def _run(self) -> None:
        while not self._is_dismissed:
            self._wait_for_call()
            held_up = self._find_held_up()
            if held_up is not None and self._take_out(held_up):
                self._succeed(held_up)
                return

    def _wait_for_call(self) -> None:
        self._bell.clear()
        self._is_idle = True
        if not self._calls and not self._is_dismissed:
            self._bell.wait()
        self._is_idle = False

    def _find_held_up(self) -> Optional[Call]:
        """Look on until the thread is in no call, or has been in one sleep for several looks."""
        sleep, looks = None, 0
        while True:
            self._bell.clear()
            if not self._is_dismissed:
                self._bell.wait(LOOK_EVERY)
            calls = self._calls[:]
            before, sleep = sleep, deep_sleep(self._watched) if calls else None
            if sleep is None:
                return None
            looks = looks + 1 if sleep == before else 1
            if looks >= MOST_LOOKS:
                return calls[0]
