"""What an action costs that does nothing: ``true`` in one session, and in many at once."""

from __future__ import annotations

import selectors
import time
from functools import partial
from queue import SimpleQueue
from statistics import median, quantiles

from bench import bare, processes
from bench.metric import BARE, Goal, Metric, Row, Values
from bench.sessions import LONGEST_ACTION, Driven, listen, script

COMMAND = ("true",)
WARM_UP = 10


def in_one_session(quick: bool) -> Values:
    listen()
    true = script(*COMMAND)
    driven = Driven()
    for _ in range(WARM_UP):
        driven.run(true)
    watch = processes.Stopwatch()
    seconds = [driven.run(true) for _ in range(30 if quick else 300)]
    return latencies(seconds, watch)


def bare_one(quick: bool) -> Values:
    command, variables = bare.resolve(COMMAND), bare.variables()
    for _ in range(WARM_UP):
        bare.run(command, variables)
    watch = processes.Stopwatch()
    seconds = [bare.run(command, variables) for _ in range(30 if quick else 300)]
    return latencies(seconds, watch)


def latencies(seconds: list[float], watch: processes.Stopwatch) -> Values:
    return {**of_all(seconds, watch), "late": quantiles(seconds, n=20)[-1] * 1000}


def of_all(seconds: list[float], watch: processes.Stopwatch) -> dict[str, float]:
    """What actions took that have ended now, all since the stopwatch was made."""
    passed = watch.seconds()
    return {
        "latency": median(seconds) * 1000,
        "rate": len(seconds) / passed,
        "processor": watch.processor_seconds() / len(seconds) * 1000,
    }


def in_sessions(count: int, quick: bool) -> Values:
    """One thread starts the next action of a session whenever one has ended."""
    listen()
    true = script(*COMMAND)
    ended: SimpleQueue[Driven] = SimpleQueue()
    sessions = [Driven(ended=ended) for _ in range(count)]
    for driven in sessions:
        driven.run(true)
    seconds = []
    watch = processes.Stopwatch()
    for driven in sessions:
        driven.start(true)
    threads = processes.threads()
    for left in reversed(range(actions_of(count, quick))):
        driven = ended.get(timeout=LONGEST_ACTION)
        seconds.append(driven.seconds())
        if left >= count:
            driven.start(true)
    return {**of_all(seconds, watch), "threads": threads}


def bare_many(count: int, quick: bool) -> Values:
    command, variables = bare.resolve(COMMAND), bare.variables()
    left = actions_of(count, quick)
    seconds = []
    watch = processes.Stopwatch()
    with selectors.DefaultSelector() as selector:

        def start() -> None:
            begin = time.perf_counter()
            child = bare.spawn(command, variables)
            selector.register(child.output, selectors.EVENT_READ, (child, begin))

        for _ in range(count):
            start()
        while left:
            for key, _ in selector.select():
                child, begin = key.data
                if not child.read():
                    selector.unregister(child.output)
                    child.reap()
                    seconds.append(time.perf_counter() - begin)
                    left -= 1
                    if left >= count:
                        start()
    return {**of_all(seconds, watch), "threads": 1}


def actions_of(count: int, quick: bool) -> int:
    return count * 2 if quick else max(1000, count * 10)


def many(count: int) -> Metric:
    return Metric(
        f"sessions-{count}",
        rows=(
            Row(
                "rate",
                f"`true` in {count} sessions at once",
                "actions/s",
                Goal(0.6, BARE, True) if count == 32 else None,
            ),
            Row("latency", "… from the call to the final status", "ms"),
            Row("processor", "… own processor time of an action", "ms"),
            Row("threads", "… threads of the program", ""),
        ),
        library=partial(in_sessions, count),
        bare=partial(bare_many, count),
    )


METRICS = (
    Metric(
        "action",
        rows=(
            Row("latency", "`true`, from the call to the final status", "ms", Goal(1.8, BARE)),
            Row("late", "… the slowest twentieth", "ms"),
            Row("rate", "… one after the other", "actions/s"),
            Row("processor", "… own processor time of an action", "ms"),
        ),
        library=in_one_session,
        bare=bare_one,
    ),
    *(many(count) for count in (8, 32, 128)),
)
