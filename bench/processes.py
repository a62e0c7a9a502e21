"""What the system says about this run's processes: their processor time, threads, memory and descriptors.

Every process of a run has the run's mark in its environment, and every action has the variable that tells it the
session's working directory; what has the mark and is neither the program nor an action is a helper of the library.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

MARK = "OPENJD_BENCH_RUN"
ACTION = "OPENJD_SESSION_WORKING_DIR"


def marked(mark: str) -> Iterator[tuple[int, bytes]]:
    """Process id and environment of everything that has the mark of a run, except this process."""
    wanted = f"{MARK}={mark}".encode()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                variables = Path("/proc", name, "environ").read_bytes()
            except OSError:  # it has ended, or is another user's
                continue
            if wanted in variables.split(b"\0"):
                yield int(name), variables


def end_all(mark: str) -> None:
    """Kill what a run has left behind."""
    for pid, _ in marked(mark):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def helpers() -> list[int]:
    """The processes that the library runs for itself: neither this program nor an action."""
    return [pid for pid, variables in marked(os.environ[MARK]) if f"{ACTION}=".encode() not in variables]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


class Stopwatch:
    """Time on the clock and on processors since it was made, helpers included, actions not."""

    def __init__(self) -> None:
        self._helpers = {pid: processor_seconds(pid) for pid in helpers()}
        self._own = time.process_time()
        self._start = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def processor_seconds(self) -> float:
        own = time.process_time() - self._own
        return own + sum(processor_seconds(pid) - self._helpers.get(pid, 0.0) for pid in helpers())


def processor_seconds(pid: int) -> float:
    """Time that the threads of a process have spent on a processor; 0 if it has ended."""
    total = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            total += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return total / 1e9


def threads() -> int:
    """Threads of this program, the main one included."""
    return len(os.listdir("/proc/self/task"))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def memory() -> float:
    """Resident memory of this program in MB."""
    return of_process("self", "status", "VmRSS") / 1024


def most_memory() -> float:
    """The most resident memory that this program has had, in MB."""
    return of_process("self", "status", "VmHWM") / 1024


def memory_with_helpers() -> float:
    """Memory of this program and its helpers in MB, each page that several share counted once."""
    return sum(of_process(str(pid), "smaps_rollup", "Pss") for pid in [os.getpid(), *helpers()]) / 1024


def of_process(pid: str, file: str, field: str) -> int:
    return kilobytes(Path("/proc", pid, file).read_text(), field)


def kilobytes(text: str, field: str) -> int:
    """The value of a field in the text of a file of /proc."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0])
    raise ValueError(f"There is no {field} in:\n{text}")
