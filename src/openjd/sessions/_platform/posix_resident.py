"""What launcher and keeper share. Stand-alone, as ``posix_wire`` is."""

from __future__ import annotations

import os
import select
import signal
import time
from typing import Optional

from openjd.sessions._platform.posix_children import become_subreaper, children, groups_of, reap_all, send_signal
from openjd.sessions._platform.posix_wire import Channel

KILL_LIMIT = 30.0
"""Seconds after which what can't be killed is left alone when all is over."""
SWEEP_INTERVAL = 0.005
"""Seconds between two looks for members of a tree that is being ended."""


class Resident:
    """Waits for its owner, its children and the clock, and ends everything when the owner has gone."""

    def __init__(self, channel: Channel, host: Optional[int]) -> None:
        self.channel = channel
        self.is_subreaper = become_subreaper()
        self._wake, self.waker = os.pipe()  # to end a wait: by signals, and by threads
        for end in (self._wake, self.waker):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.waker, warn_on_full_buffer=False)
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._poll.register(channel, select.POLLIN)
        self._is_sending = False
        self.was_woken = False
        """Whether the last wait has ended for a signal, or a thread."""
        self.host: Optional[int] = None
        self.watch_host(host)

    def watch_host(self, host: Optional[int]) -> None:
        """Know a pidfd of the program, which can be read when that has ended; None where there is none."""
        self.host = host
        if host is not None:
            self._poll.register(host, select.POLLIN)

    def run(self) -> None:
        """Serve until the owner has gone; then leave."""
        while self._serve_once():
            self.tend()
        self.leave()

    def leave(self) -> None:
        """End everything."""
        self.end_children(signal.SIGKILL, KILL_LIMIT)

    def _serve_once(self) -> bool:
        ready = self._wait()
        if self.host in ready:
            return False
        if self.channel.fileno() not in ready:
            return True
        self.channel.flush()
        is_open, frames = self.channel.receive()
        for fields in frames:
            self.serve(fields)
        return is_open

    def _wait(self) -> set[int]:
        if self._is_sending != self.channel.has_unsent:
            self._is_sending = self.channel.has_unsent
            self._poll.modify(self.channel, select.POLLIN | (select.POLLOUT if self._is_sending else 0))
        patience = self.patience()
        ready = {number for number, _ in self._poll.poll(None if patience is None else max(0.0, patience) * 1000)}
        self.was_woken = self._wake in ready
        if self.was_woken:
            self._silence_wake()
        return ready

    def _silence_wake(self) -> None:
        try:
            os.read(self._wake, 512)
        except BlockingIOError:
            return

    def serve(self, fields: list[bytes]) -> None:
        """Do what one frame asks for."""
        raise NotImplementedError

    def tend(self) -> None:
        """Reap children that have ended, and do what is due."""
        raise NotImplementedError

    def patience(self) -> Optional[float]:
        """Seconds until something is due; None if nothing is."""
        return None

    def end_children(self, number: int, limit: float) -> None:
        """Signal all children, and adopt and signal theirs, until none is left or the limit is over.

        Each group is asked to end once, but killed as often as it is seen. When the owner goes, nobody is asked longer.
        """
        deadline = time.monotonic() + limit
        asked: set[int] = set()
        while self.groups() and time.monotonic() < deadline:
            if number == signal.SIGTERM and self.has_lost_owner():
                return
            groups = self.groups()
            for group in groups - asked:
                send_signal(group, number)
            if number != signal.SIGKILL:
                asked |= groups
            self.wait_for_child()
            reap_all()

    def groups(self) -> set[int]:
        """The groups of all that is to be ended when all is over."""
        return groups_of(children())

    def wait_for_child(self) -> None:
        """Wait until a child ends, but not long."""
        select.select([self._wake], [], [], SWEEP_INTERVAL)
        self._silence_wake()

    def has_lost_owner(self) -> bool:
        """Whether the program has ended."""
        return self.host is not None and bool(select.select([self.host], [], [], 0)[0])

    def close(self) -> None:
        """In a forked child: let go of everything that is the parent's."""
        signal.set_wakeup_fd(-1)
        os.close(self._wake)
        os.close(self.waker)
        self.channel.close()
