"""A hundred actions that print without end, and how soon one of their neighbours is terminated meanwhile.

The moment of its death is taken by a process of its own: this program's threads are busy.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Callable

from bench import bare
from bench.children import LINE, command
from bench.metric import Goal, Metric, Row, Values
from bench.sessions import Driven, Listener, listen, pause, script

PRINTS = ("yes", LINE.strip())
VICTIMS = 5
GAP = 0.4
"""Seconds between one control message and the next."""


def stream_count(quick: bool) -> int:
    return 10 if quick else 100


@contextmanager
def watched(pids: Iterable[int]) -> Iterator[Callable[[], float]]:
    """Have these processes watched; what is given waits for the next death and tells its moment."""
    with subprocess.Popen(command("watch", *pids), stdout=subprocess.PIPE, text=True) as watcher:
        output = watcher.stdout
        if output is None or output.readline() != "ready\n":
            raise RuntimeError("The watcher does not start.")
        yield lambda: float(output.readline().split()[1])


def streams(quick: bool) -> Values:
    listener = listen("victim ")
    victims = [Driven() for _ in range(VICTIMS)]
    for victim in victims:
        victim.start(script(*command("victim")))
    pids = [int(listener.line().split()[1]) for _ in victims]
    flooding = [Driven() for _ in range(stream_count(quick))]
    counter = listen()
    with watched(pids) as next_death:
        for each in flooding:
            each.start(script(*PRINTS))
        pause(GAP)
        return terminate_each(victims, next_death, counter)


def terminate_each(victims: list[Driven], next_death: Callable[[], float], counter: Listener) -> Values:
    """Cancel one after the other, and count the lines that are logged meanwhile."""
    first, begin = counter.count, time.perf_counter()
    deaths, ends = [], []
    for victim in victims:
        called = time.monotonic()
        ends.append(victim.cancel())
        deaths.append(next_death() - called)
        pause(GAP)
    rate = (counter.count - first) / (time.perf_counter() - begin)
    return {
        "rate": rate / 1000,
        "death": median(deaths) * 1000,
        "worst": max(deaths) * 1000,
        "told": median(ends) * 1000,
    }


def bare_streams(quick: bool) -> Values:
    """One loop reads all of them; between two blocks it looks whether a signal is due."""
    variables = bare.variables()
    victims = [bare.spawn(command("victim"), variables) for _ in range(VICTIMS)]
    for victim in victims:
        victim.read()
    with watched(victim.pid for victim in victims) as next_death, selectors.DefaultSelector() as selector:
        prints = bare.resolve(PRINTS)
        for _ in range(stream_count(quick)):
            child = bare.spawn(prints, variables)
            selector.register(child.output, selectors.EVENT_READ, child)
        lines, deaths = 0, []
        begin = time.perf_counter()
        for victim in victims:
            until = time.perf_counter() + GAP
            while time.perf_counter() < until:
                for key, _ in selector.select():
                    lines += key.data.read().count(b"\n")
            called = time.monotonic()
            os.kill(victim.pid, signal.SIGKILL)
            deaths.append(next_death() - called)
        rate = lines / (time.perf_counter() - begin)
        return {"rate": rate / 1000, "death": median(deaths) * 1000, "worst": max(deaths) * 1000}


METRICS = (
    Metric(
        "streams",
        rows=(
            Row("rate", "100 actions that print without end, all lines", "1,000 lines/s"),
            Row("death", "… from the call that terminates a neighbour to its death", "ms"),
            Row("worst", f"… the slowest of {VICTIMS}", "ms", Goal(25)),
            Row("told", "… to its final status", "ms"),
        ),
        library=streams,
        bare=bare_streams,
        has_published=False,  # its actions start ever more slowly the more of them print
    ),
)
