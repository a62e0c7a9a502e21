"""Where the time of an action goes: its way from thread to thread, as the scheduler of Linux saw it.

``python -m bench.ways`` prints it for an action that does nothing, and for one that is terminated. It needs ``perf``,
and the right to use it. What the command's own process takes is the bare limit; all the rest is this library.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import processes
from bench.backends import DIRECTORY
from bench.metrics.cancel import SETTLED
from bench.sessions import LONG, Driven, listen, pause, script

CALLER, LOOP, DELIVERY, KEEPER, COMMAND, OTHER = "caller", "loop", "delivery", "keeper", "command", "other"
ACTIONS = 400
WARM_UP = 50

_WAKING = re.compile(r"\s*([\d.]+) \[\d+\]\s+(.+)\[(\d+)(?:/\d+)?\]\s+awakened: (.+)\[(\d+)(?:/\d+)?\]")


class Waking(NamedTuple):
    """Somebody wakes somebody else."""

    moment: float
    waker: str
    woken: str


class Way(NamedTuple):
    """What is done over and over, and whom it passes."""

    command: str
    run: Callable[[], None]
    start: tuple[str, str]
    """Who wakes whom when it begins."""
    steps: dict[str, tuple[str, str]]
    """What is done next, and who wakes whom when it is done."""


def say_who() -> None:
    """Write down who has which number; there may be more keepers than one after the other."""
    names = {"MainThread": CALLER, "openjd.sessions loop": LOOP, "openjd.sessions delivery": DELIVERY}
    who = {thread.native_id: names[thread.name] for thread in threading.enumerate() if thread.name in names}
    known = json.loads(_who().read_text()) if _who().exists() else {}
    _who().write_text(json.dumps({**known, **who, **dict.fromkeys(processes.helpers(), KEEPER)}))


def _who() -> Path:
    return Path(os.environ[DIRECTORY], "who.json")


def do_nothing() -> None:
    true, driven = script("true"), Driven()
    for _ in range(WARM_UP):
        driven.run(true)
    say_who()
    for _ in range(ACTIONS):
        driven.run(true)


def terminate() -> None:
    """Each in a session of its own: nothing more can be run in it."""
    sleep = script(*LONG)
    for _ in range(ACTIONS // 10):
        driven = Driven()
        driven.start(sleep)
        say_who()
        pause(SETTLED)
        driven.cancel()
        driven.close()


WAYS = {
    "`true`": Way(
        "true",
        do_nothing,
        (DELIVERY, CALLER),
        {
            "caller: is told of the last end, checks, resolves, asks": (CALLER, KEEPER),
            "keeper: looks for the program, makes the process": (KEEPER, OTHER),
            "the process": (COMMAND, KEEPER),
            "keeper: reaps it, says so": (KEEPER, LOOP),
            "loop: decides": (LOOP, DELIVERY),
            "delivery: logs, calls back": (DELIVERY, CALLER),
        },
    ),
    "terminate a `sleep`": Way(
        "sleep",
        terminate,
        (CALLER, LOOP),
        {
            "loop: decides": (LOOP, KEEPER),
            "keeper: kills": (KEEPER, COMMAND),
            "the process dies": (COMMAND, KEEPER),
            "keeper: reaps it, looks for its tree, says so": (KEEPER, LOOP),
            "loop: decides again": (LOOP, DELIVERY),
            "delivery: logs, calls back": (DELIVERY, CALLER),
        },
    ),
}


def passages(wakings: Iterable[Waking], way: Way) -> Iterator[list[float]]:
    """The moments of the start and of all steps, for each time that the way was gone to its end."""
    expected = [way.start, *way.steps.values()]
    moments: list[float] = []
    for moment, waker, woken in wakings:
        if (waker, woken) == expected[len(moments)]:
            moments.append(moment)
        elif (waker, woken) == way.start:
            moments = [moment]
        if len(moments) == len(expected):
            yield moments
            moments = [moment] if expected[-1] == way.start else []


def recorded(name: str) -> Iterator[Waking]:
    """Every waking while a way is gone, by the parts that they play."""
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory, "sched.data")
        own = {DIRECTORY: directory, processes.MARK: str(os.getpid())}
        program = [sys.executable, "-m", "bench.ways", "--go", name]
        _perf("record", "-o", str(data), *program, env={**os.environ, **own})
        parts: dict[str, str] = json.loads(Path(directory, "who.json").read_text())
        for line in _perf("timehist", "--wakeups", "--next", "-i", str(data)).splitlines():
            if found := _WAKING.match(line):
                moment, waker, waker_id, woken, woken_id = found.groups()
                yield Waking(
                    float(moment),
                    parts.get(waker_id) or (COMMAND if waker == WAYS[name].command else OTHER),
                    parts.get(woken_id) or (COMMAND if woken == WAYS[name].command else OTHER),
                )


def _perf(*arguments: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(["perf", "sched", *arguments], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"perf failed: {done.stderr}")
    return done.stdout


def show(name: str, way: Way) -> None:
    gone = list(passages(recorded(name), way))
    print(f"\n{name}, {len(gone)} times: {median(each[-1] - each[0] for each in gone) * 1e6:.0f} µs")
    for number, what in enumerate(way.steps):
        print(f"{median(each[number + 1] - each[number] for each in gone) * 1e6:6.0f}  {what}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.ways", description=__doc__)
    parser.add_argument("--go", choices=WAYS, help=argparse.SUPPRESS)
    name = parser.parse_args().go
    if name is not None:
        listen()
        WAYS[name].run()
        sys.stdout.flush()
        os._exit(0)
    if shutil.which("perf") is None:
        raise SystemExit("This needs perf, which comes with the kernel's tools.")
    for name, way in WAYS.items():
        show(name, way)


if __name__ == "__main__":
    main()
