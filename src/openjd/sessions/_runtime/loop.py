"""The I/O thread: one mailbox, the deadlines, and every watched descriptor of all Sessions.

It never runs foreign code and never waits for anything but its next event, so no handler, callback or file system can
delay a kill or a time limit. Where a job has the kernel hold it up, its deputy goes on in its place. Its threads start
with the first Session that needs them and stop with the last one.
"""

from __future__ import annotations

import _thread
import atexit
import heapq
import itertools
import os
import selectors
import threading
import time
import weakref
from collections import deque
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Callable, Optional, Protocol

from openjd.sessions._logging import LOG, LogContent, renew_locks
from openjd.sessions._platform import make_platform
from openjd.sessions._platform.protocol import Result
from openjd.sessions._runtime.delivery import Delivery, call_client
from openjd.sessions._runtime.deputy import Deputy, LeftBehind

if TYPE_CHECKING:
    from openjd.sessions._platform.protocol import Platform

Call = Callable[[], None]

FAIRNESS = 0.005
"""Seconds of reading data after which mailbox, deadlines and control descriptors are looked at again."""
_LONGEST_WAIT = 3600.0  # selectors can't be asked to wait for months
_NAME = "openjd.sessions loop"
_NEXT_TRY = 1.0
"""Seconds after which a deputy is looked for again, if no thread could be had."""
EXIT_LIMIT = 5.0
"""Seconds that open Sessions have to end when the interpreter exits."""


def _nothing() -> None:
    """What is posted to have the loop look around."""


class Timer:
    """A call at a moment of the monotonic clock."""

    def __init__(self, at: float, call: Call) -> None:
        self.at = at
        self.call: Optional[Call] = call

    def cancel(self) -> None:
        """Don't make the call; on the loop's thread."""
        self.call = None


class LoopUser(Protocol):
    """A Session, as the loop knows it."""

    def _end_at_exit(self, deadline: float) -> None:
        """The interpreter exits: end within the deadline of the monotonic clock."""

    def _forget(self) -> None:
        """This is a forked child: touch nothing, and count as ended."""


class Loop:
    """One thread that watches, and those that go with it: its deputy, and the delivery threads."""

    def __init__(self) -> None:
        self.delivery = Delivery(self.post, self.call_later)
        self.platform: Platform = make_platform(self)
        self._lock = threading.Lock()
        self._users: weakref.WeakSet[LoopUser] = weakref.WeakSet()
        self._joined: set[object] = set()
        self._mailbox: deque[Call] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._selector: Optional[selectors.BaseSelector] = None
        self._watched: set[int] = set()
        self._thread: Optional[threading.Thread] = None
        self._deputy = Deputy(self._succeed)
        self._bell, self._bell_pull = os.pipe()  # kept while the threads are stopped: ``post`` may come at any time
        for end in (self._bell, self._bell_pull):
            os.set_blocking(end, False)
        atexit.register(self._end_users)

    # -- who uses it; any thread

    def know(self, user: LoopUser) -> None:
        """Tell this Session when the program forks or exits, also before it joins."""
        with self._lock:
            self._users.add(user)

    def join(self, key: object) -> None:
        """Be there until ``part`` is called with this key; the threads start if they don't run."""
        with self._lock:
            self._joined.add(key)
        if self._thread is None:
            _as_a_whole(self._start)

    def part(self, key: object) -> None:
        """One user less; with the last one the threads stop, as soon as the mailbox is empty."""
        with self._lock:
            self._joined.discard(key)
        self.post(_nothing)

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            self._watched.clear()  # a start for which no thread could be had is begun anew
            self._selector = selectors.DefaultSelector()
            self.watch(self._bell, self._answer_bell)
            self.delivery.start()
            thread = threading.Thread(target=self._run, name=_NAME, daemon=True)
            thread.start()
            self._thread = thread
            self._mailbox.appendleft(self._appoint_deputy)  # comes first: no turn begins while we have the lock

    def _is_used(self) -> bool:
        with self._lock:
            if self._joined or self._mailbox or self._selector is None:
                return self._selector is not None
            self._selector.close()
            self._selector = self._thread = None
            self._watched.clear()
            self._timers.clear()
            self.delivery.stop()
            self._deputy.dismiss()
            return False

    # -- what it watches

    def post(self, call: Call) -> None:
        """Have the loop make this call soon; from any thread, also from a signal handler: no lock is taken."""
        self._mailbox.append(call)
        try:
            os.write(self._bell_pull, b"!")
        except OSError:  # it rings already; or this is a forked child
            return

    def watch(self, descriptor: int, on_ready: Call, *, is_writer: bool = False, is_data: bool = False) -> None:
        """Call ``on_ready`` whenever the descriptor is ready. Data waits for all that is not data."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if is_writer else 0)
        selector = self._selector
        if selector is None:
            return
        data = (on_ready, is_data)
        if descriptor in self._watched:
            selector.modify(descriptor, events, data)
        else:
            self._watched.add(descriptor)
            selector.register(descriptor, events, data)

    def unwatch(self, descriptor: int) -> None:
        """Forget a descriptor; one that is not watched is no error."""
        if self._selector is not None and descriptor in self._watched:
            self._watched.discard(descriptor)
            self._selector.unregister(descriptor)

    def call_at(self, moment: float, call: Call) -> Timer:
        """Make this call at a moment of the monotonic clock; on the loop's thread."""
        timer = Timer(moment, call)
        heapq.heappush(self._timers, (moment, next(self._order), timer))
        return timer

    def call_later(self, seconds: float, call: Call) -> Timer:
        return self.call_at(time.monotonic() + seconds, call)

    def dare(self, call: Callable[[], Result], when_held_up: Call = _nothing, afterwards: Call = _nothing) -> Result:
        """Make a call that a job can have the kernel hold up; the last thing of what the loop calls.

        If that happens, another thread goes on as the loop's, with ``when_held_up`` first; this one makes the call
        ``afterwards``, whenever that may be, and ends.
        """
        return self._deputy.attend(call, when_held_up, afterwards)

    # -- the thread

    def _run(self) -> None:
        while True:
            try:
                if not self._is_used():
                    return
                self.guarded(self._turn)
            except MemoryError:  # not even enough to say so: others depend on this thread
                continue
            except LeftBehind:
                return

    def _appoint_deputy(self) -> None:
        self._deputy.dismiss()
        try:
            self._deputy = Deputy(self._succeed)
            self._deputy.start()
        except (RuntimeError, MemoryError):
            self.call_later(_NEXT_TRY, self._appoint_deputy)

    def _succeed(self, when_held_up: Call) -> None:
        """Be the loop's thread from now on, with a deputy of its own."""
        self._thread = threading.current_thread()
        self._thread.name = _NAME
        self._mailbox.extendleft((when_held_up, self._appoint_deputy))
        self._run()

    def _turn(self) -> None:
        selector = self._selector
        if selector is None:
            return
        ready = selector.select(self._patience())
        began = time.monotonic()
        self._serve_control(ready)
        for key, _ in ready:
            on_ready, is_data = key.data
            if is_data:
                self.guarded(on_ready)
                if time.monotonic() - began > FAIRNESS:
                    self._serve_control(selector.select(0))
                    began = time.monotonic()

    def _serve_control(self, ready: list[tuple[selectors.SelectorKey, int]]) -> None:
        """Mailbox, due deadlines, and all that is ready but data."""
        while self._mailbox:
            self.guarded(self._mailbox.popleft())
        now = time.monotonic()  # what is set meanwhile has its turn later, however soon it is due
        while self._timers and self._timers[0][0] <= now:
            call = heapq.heappop(self._timers)[-1].call
            if call is not None:
                self.guarded(call)
        for key, _ in ready:
            on_ready, is_data = key.data
            if not is_data:
                self.guarded(on_ready)

    def _patience(self) -> Optional[float]:
        while self._timers and self._timers[0][-1].call is None:
            heapq.heappop(self._timers)
        if self._mailbox:
            return 0
        if not self._timers:
            return None
        return min(_LONGEST_WAIT, max(0.0, self._timers[0][0] - time.monotonic()))

    def _answer_bell(self) -> None:
        try:
            os.read(self._bell, 4096)
        except BlockingIOError:
            return

    def guarded(self, call: Call, on_bug: Call = _nothing) -> None:
        """Make a call; a bug of ours must not stop the loop, which everybody depends on."""
        try:
            call()
        except Exception as error:
            self.report_bug(error, on_bug)

    def report_bug(self, error: Exception, on_bug: Call) -> None:
        """Say what has gone wrong, and do what is left to be done then."""
        try:
            self.delivery.schedule(partial(_log_bug, error))
        finally:
            on_bug()

    # -- the end of the process, and forks of it

    def _end_users(self) -> None:
        deadline = time.monotonic() + EXIT_LIMIT
        for user in list(self._users):
            user._end_at_exit(deadline)
        thread = self._thread
        if thread is not None:  # Sessions that have been dropped just now
            thread.join(max(0.0, deadline - time.monotonic()))

    def forget(self) -> None:
        """This is a forked child: close what is the parent's."""
        atexit.unregister(self._end_users)
        for user in list(self._users):
            user._forget()
        self.platform.forget()
        os.close(self._bell)
        os.close(self._bell_pull)
        self._bell = self._bell_pull = -1
        if self._selector is not None:
            self._selector.close()


def _as_a_whole(call: Call) -> None:
    """Make a call that Ctrl-C must not break off in the midst: on a thread of its own, where no signal is handled.

    Raises:
        BaseException: What the call raises; or what comes out of a signal handler meanwhile, and the call goes on.
    """
    results: SimpleQueue[Optional[BaseException]] = SimpleQueue()
    _thread.start_new_thread(lambda: results.put(call_client(call)), ())
    if (error := results.get()) is not None:
        raise error


def _log_bug(error: Exception) -> None:
    content = {"openjd_log_content": LogContent.EXCEPTION_INFO}
    LOG.error("Internal error of openjd.sessions: %r", error, exc_info=error, extra=content)


_default_loop: Optional[Loop] = None
_default_lock = threading.Lock()


def default_loop() -> Loop:
    """The loop that all Sessions of this program share; made when it is first asked for."""
    global _default_loop
    with _default_lock:
        if _default_loop is None:
            os.register_at_fork(after_in_child=_forget_default_loop)
            _default_loop = Loop()
        return _default_loop


def _forget_default_loop() -> None:
    """This is a forked child: whoever held a lock is not here to release it."""
    global _default_loop, _default_lock
    renew_locks()
    _default_lock = threading.Lock()
    forgotten, _default_loop = _default_loop, None
    if forgotten is not None:
        forgotten.forget()
