"""Programs that embed the platform, to be ended by tests: ``python -m support.host NAME ARGUMENT...``.

Each prints one line of JSON, and goes on until its standard input ends, or for a minute at most.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Callable

from openjd.sessions._platform.posix import PosixPlatform
from openjd.sessions._platform.posix_keeper import Keeper
from openjd.sessions._platform.posix_wire import Channel
from support.bench import Bench, parent_of
from support.manual_loop import ManualLoop

LIFETIME = 60


def open_bench(directory: str) -> Bench:
    loop = ManualLoop()
    return Bench(PosixPlatform(loop), loop, Path(directory))


def report(**found: object) -> None:
    print(json.dumps(found), flush=True)


def report_signals(directory: str) -> None:
    """What signals do in a process, though this program ignores, catches and blocks them."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    bench = open_bench(directory)
    status = dict(line.split(":\t", 1) for line in bench.run("cat", "/proc/self/status").lines)
    report(**{name: int(status[name], 16) for name in ("SigBlk", "SigIgn", "SigCgt")})
    bench.close()


def count_what_is_kept(directory: str) -> None:
    """How much a keeper knows of many actions, when they have gone."""
    ours, theirs = socket.socketpair()
    keeper = Keeper(Channel(theirs), None)
    with ours:
        keeper.serve([b"mark", b"m"])
        for number in range(1, 51):
            keeper.serve([b"start", b"%d" % number, b"scope %d" % number, os.fsencode(directory), b"true"])
            keeper.serve([b"release", b"scope %d" % number])
            while keeper._action is None or not keeper._action.has_ended:
                keeper._wait()
                keeper.tend()
    keeper.close()
    report(owners=len(keeper._owners), scopes=len(keeper._scopes), releases=len(keeper._releases))


def keep(directory: str, name: str, *arguments: str) -> None:
    """Keep a process, and tell of all that it took."""
    bench = open_bench(directory)
    _, recorder = bench.begin(name, *arguments)
    keeper = parent_of(recorder.pid)
    report(process=recorder.pid, keeper=keeper, launcher=parent_of(keeper), descendants=recorder.descendants)
    sys.stdin.read()


def keep_and_fork(directory: str, name: str, *arguments: str) -> None:
    """The same, with a forked child that holds everything open that we have."""
    bench = open_bench(directory)
    _, recorder = bench.begin(name, *arguments)
    keeper = parent_of(recorder.pid)
    found = {"process": recorder.pid, "keeper": keeper, "launcher": parent_of(keeper)}
    fork = os.fork()
    if fork:
        report(**found, descendants=recorder.descendants, fork=fork)
    signal.alarm(LIFETIME)
    sys.stdin.read()


PROGRAMS: dict[str, Callable[..., None]] = {
    "count-what-is-kept": count_what_is_kept,
    "keep": keep,
    "keep-and-fork": keep_and_fork,
    "report-signals": report_signals,
}

if __name__ == "__main__":
    signal.alarm(LIFETIME)
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
