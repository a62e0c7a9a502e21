"""What 128 actions cost that print nothing and run on."""

from __future__ import annotations

from bench import bare, processes
from bench.metric import Goal, Metric, Row, Values
from bench.sessions import LONG, Driven, listen, pause, script

ACTIONS = 128


def silent(quick: bool) -> Values:
    listen()
    sleep = script(*LONG)
    before = processes.memory_with_helpers()
    running = [Driven() for _ in range(ACTIONS)]
    for each in running:
        each.start(sleep)
    return observed(before, quick)


def bare_silent(quick: bool) -> Values:
    command, variables = bare.resolve(LONG), bare.variables()
    before = processes.memory_with_helpers()
    for _ in range(ACTIONS):
        bare.spawn(command, variables)
    return observed(before, quick)


def observed(before: float, quick: bool) -> Values:
    """Let time pass, with nothing else to do."""
    pause(1)
    watch = processes.Stopwatch()
    pause(0.5 if quick else 5)
    passed = watch.seconds()
    return {
        "processor": watch.processor_seconds() / passed * 100,
        "threads": processes.threads(),
        "helpers": len(processes.helpers()),
        "memory": processes.memory_with_helpers() - before,
    }


METRICS = (
    Metric(
        "silent",
        rows=(
            Row("processor", f"{ACTIONS} silent actions, own processor time", "% of a core", Goal(0.1)),
            Row("threads", "… threads of the program", "", Goal(6)),
            Row("helpers", "… launcher and keepers", ""),
            Row("memory", "… memory of the program and its helpers for them", "MB"),
        ),
        library=silent,
        bare=bare_silent,
    ),
)
