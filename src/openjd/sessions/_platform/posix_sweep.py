"""What is left to do when a keeper has to be given up: end the processes that bear its mark."""

from __future__ import annotations

import os
import signal
import threading
import time

from openjd.sessions._platform.posix_children import mark_of

SWEEP_LIMIT = 3.0
"""Seconds in which all of them have to be found."""


def main(mark: str) -> None:
    """Run by a launcher, for a keeper that it can't end itself."""
    end_marked(os.fsencode(mark))


def end_marked(mark: bytes) -> None:
    """Kill every process whose mark begins like this, until there is none; where the system shows marks (Linux)."""
    deadline = time.monotonic() + SWEEP_LIMIT
    while time.monotonic() < deadline:
        found = [pid for pid in _processes() if mark_of(pid).startswith(mark)]
        if not found:
            return
        for pid in found:
            _kill(pid, mark)
        threading.Event().wait(0.01)


def _processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _kill(pid: int, mark: bytes) -> None:
    """Kill a process, and surely not another one that has got its number meanwhile."""
    try:
        descriptor = os.pidfd_open(pid)
    except (OSError, AttributeError):
        return
    try:
        if mark_of(pid).startswith(mark):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        return
    finally:
        os.close(descriptor)
