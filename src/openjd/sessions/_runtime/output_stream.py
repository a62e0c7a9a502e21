"""The reading end of an action's output: back-pressure, and how long it is waited for.

All of it happens on the loop's thread.
"""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Optional, Protocol

from openjd.sessions._runtime.delivery import Outbox
from openjd.sessions._runtime.loop import Loop, Timer

BLOCK_SIZE = 64 * 1024
"""Bytes read at a time, at most."""
LEAST_BLOCK_SIZE = 1024
PATIENCE = 0.020
"""Seconds of processor time that it may take to understand a block; if it takes longer, less is read at a time."""
LABORIOUS = b"redacted_env"
"""Found in lines that declare a secret, which is by far the most laborious thing that a line can ask for."""
LABORIOUS_SIZE = 4 * 1024
"""Bytes of a block with such lines that are passed on at a time."""
_BREATH = 0.001
"""Seconds after which the rest of such a block goes on, so that all that is not data comes first."""
QUIET_PERIODS = (1.0, 5.0)
"""Seconds to wait for output that something holds open after the command has exited: unsaid, then said (rule DIR-8)."""

_FIRST_WARNING = (
    "Command exited but STDOUT stream is still open. Waiting gracetime of 5 seconds for the STDOUT stream to close "
    "before ending action."
)
_SECOND_WARNING = "Gracetime of 5 seconds elapsed but the STDOUT stream is still open. Ending action."
_DROP_WARNING = "What processes of an ended action still print is dropped from now on."
_WITHHELD = (
    "Output could not be read for several seconds, and is not read any more: a process has locked its pipe, as one can "
    "that prints from memory which it withholds."
)


class OutputListener(Protocol):
    """Who wants to know what a process prints."""

    def take(self, block: bytes) -> None:
        """A block has been read."""

    def output_ended(self) -> None:
        """The output has been read to its end, or is not waited for any longer. Comes once; no block comes after."""

    def warn(self, message: str) -> None:
        """Something about the output should be said."""

    def output_withheld(self, reason: str) -> None:
        """The output can't be read, and its end will be told: the action must be terminated."""


class OutputStream:
    """Reads one pipe until nobody holds it open; what comes after its end was told is dropped."""

    def __init__(self, loop: Loop, descriptor: int, outbox: Outbox, listener: OutputListener) -> None:
        self._loop = loop
        self._descriptor = descriptor
        self._outbox = outbox
        self._listener = listener
        self._block_size = LEAST_BLOCK_SIZE
        self._rest = b""
        """Of a laborious block: what has been read, and not passed on."""
        self._has_ended = False
        self._has_dropped = False
        self._is_paused = False
        self._is_draining = False
        self._ends_when_empty = False
        self._periods = list(QUIET_PERIODS)
        self._timer: Optional[Timer] = None
        self._watch()

    @property
    def is_open(self) -> bool:
        return self._descriptor >= 0

    def drain(self, *, patient: bool) -> None:
        """The command has exited: wait a while for others that hold the output open, or take just what is there."""
        if self._has_ended:
            return
        self._is_draining = patient
        self._ends_when_empty = not patient
        self._stop_clock()
        if self._is_paused:
            return
        if patient:
            self._start_clock()
        else:
            self._loop.post(self._on_ready)

    def end(self) -> None:
        """The action is over, whatever is still in the pipe: what comes from now on is dropped."""
        self._stop_clock()
        self._has_ended = True

    def close(self) -> None:
        """Read no more."""
        if self.is_open:
            self._stop_clock()
            self._close(self._let_go())

    def forget(self) -> None:
        """This is a forked child: close our copy of the descriptor."""
        if self.is_open:
            os.close(self._descriptor)
            self._descriptor = -1

    # -- reading

    def _watch(self) -> None:
        self._loop.watch(self._descriptor, self._on_ready, is_data=True)

    def _on_ready(self) -> None:
        """Read one block; or, when only the rest is of interest, all that is there, unless it is laborious."""
        while self.is_open and not self._is_paused and self._read_block() and self._ends_when_empty and not self._rest:
            pass

    def _read_block(self) -> bool:
        """Read one block, or go on with the last one; False if there is none."""
        try:
            block = self._next_block()
        except BlockingIOError:
            if self._ends_when_empty:
                self._end()
            return False
        if not block:
            descriptor = self._let_go()
            self._end()
            self._close(descriptor)
            return False
        if self._has_ended:
            self._drop()
        else:
            began = time.thread_time()
            self._listener.take(block)
            self._adapt(time.thread_time() - began)
            if self._outbox.is_full(lambda: self._loop.post(self._resume)):
                self._pause()
        return True

    def _next_block(self) -> bytes:
        block, self._rest = self._rest or self._read(self._descriptor), b""
        if len(block) > LABORIOUS_SIZE and LABORIOUS in block.lower():
            block, self._rest = block[:LABORIOUS_SIZE], block[LABORIOUS_SIZE:]
            self._loop.unwatch(self._descriptor)
            self._loop.call_later(_BREATH, self._go_on)
        return block

    def _read(self, descriptor: int) -> bytes:
        read, close = partial(os.read, descriptor, self._block_size), partial(os.close, descriptor)
        return self._loop.dare(read, self._give_up, close)

    def _go_on(self) -> None:
        if self.is_open and not self._is_paused:
            self._watch()
            self._on_ready()

    def _adapt(self, seconds: float) -> None:
        """Read so much at a time that nobody's block holds up the loop, whatever it says."""
        if seconds > PATIENCE:
            self._block_size = max(LEAST_BLOCK_SIZE, self._block_size // 4)
        elif self._block_size < BLOCK_SIZE:
            self._block_size *= 4

    def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._ends_when_empty = False
            self._stop_clock()
            self._listener.output_ended()

    def _drop(self) -> None:
        if not self._has_dropped:
            self._has_dropped = True
            self._listener.warn(_DROP_WARNING)

    def _give_up(self) -> None:
        """The thread that has been reading is held up; it closes the descriptor."""
        self._stop_clock()
        self._let_go()
        if self._has_ended:
            self._listener.warn(_WITHHELD)
        else:
            self._listener.output_withheld(f"{_WITHHELD} The action is terminated.")
            self._end()

    def _let_go(self) -> int:
        """Give the descriptor away."""
        descriptor, self._descriptor = self._descriptor, -1
        self._loop.unwatch(descriptor)
        return descriptor

    def _close(self, descriptor: int) -> None:
        self._loop.dare(partial(os.close, descriptor))

    # -- back-pressure: the process waits for who reads its output

    def _pause(self) -> None:
        self._is_paused = True
        self._loop.unwatch(self._descriptor)
        if self._timer is not None:
            self._periods[0] = self._timer.at - time.monotonic()
            self._stop_clock()

    def _resume(self) -> None:
        if not self.is_open or not self._is_paused:
            return
        self._is_paused = False
        self._watch()
        if self._is_draining:
            self._start_clock()
        if self._rest or self._ends_when_empty:
            self._on_ready()

    # -- waiting for others that hold the output open

    def _start_clock(self) -> None:
        self._timer = self._loop.call_later(self._periods[0], self._on_quiet)

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_quiet(self) -> None:
        self._timer = None
        self._periods.pop(0)
        if self._periods:
            self._listener.warn(_FIRST_WARNING)
            self._start_clock()
        else:
            self._listener.warn(_SECOND_WARNING)
            self._end()
