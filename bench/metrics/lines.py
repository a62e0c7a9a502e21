"""How fast the output of one action becomes log records, with a handler that discards them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from bench import bare, processes
from bench.children import DIRECTIVE, MANY_SECRETS, SECRETS, command
from bench.metric import PUBLISHED, Goal, Metric, Row, Values
from bench.sessions import Driven, environment, listen, script

IDLE = 127
LEAST = 1000
QUICK = 50_000
MANY = 1_000_000
SOME = 200_000


def of_kind(kind: str, count: int, quick: bool) -> Values:
    driven = Driven()
    driven.run(script(*command("lines", kind, LEAST)))
    return printed(driven, kind, QUICK if quick else count)


def with_secrets(kind: str, count: int, quick: bool) -> Values:
    """Plain lines, and then those of which some show a secret."""
    count = QUICK if quick else count
    driven = Driven()
    driven.run(script(*command("lines", "plain", LEAST)))
    plain = printed(driven, "plain", count)
    hide_secrets(driven, kind)
    found = printed(driven, kind, count)
    return {**found, "part": found["rate"] / plain["rate"], "own": plain["processor"] / found["processor"]}


def hide_secrets(driven: Driven, kind: str) -> None:
    """Make the secrets known, and look whether they are hidden indeed."""
    driven.enter(environment(*command("declare-secrets", kind)))
    listener = listen("The password is ")
    driven.run(script(*command("lines", kind, LEAST)))
    shown = {listener.line() for _ in range(LEAST // 100)}
    if shown != {"The password is ********."}:
        raise RuntimeError(f"Secrets are shown: {shown}")


def printed(driven: Driven, kind: str, count: int) -> Values:
    """Let an action print lines, and look whether all have come."""
    prints = script(*command("lines", kind, count))
    listener = listen()
    before, watch = processes.memory(), processes.Stopwatch()
    seconds = driven.run(prints)
    processor = watch.processor_seconds()
    if listener.count < count:
        raise RuntimeError(f"Only {listener.count} of {count} lines were logged.")
    return {
        "rate": count / seconds / 1000,
        "processor": processor / count * 1e6,
        "growth": max(0.0, processes.most_memory() - before),
    }


def bare_lines(kind: str, count: int, quick: bool) -> Values:
    count = QUICK if quick else count
    prints, variables = command("lines", kind, count), bare.variables()
    before, watch = processes.memory(), processes.Stopwatch()
    if bare.spawn(prints, variables).finish() != count:
        raise RuntimeError("Not all lines have come.")
    return {
        "rate": count / watch.seconds() / 1000,
        "processor": watch.processor_seconds() / count * 1e6,
        "growth": max(0.0, processes.most_memory() - before),
    }


def beside_idle_sessions(quick: bool) -> Values:
    """The same lines alone and then beside sessions that have nothing to do, each after its first action."""
    count = QUICK if quick else SOME
    driven = Driven()
    true = script("true")
    printed(driven, "plain", LEAST)
    alone = printed(driven, "plain", count)
    idle = [Driven() for _ in range(5 if quick else IDLE)]
    for each in idle:
        each.run(true)
    beside = printed(driven, "plain", count)
    return {"rate": beside["rate"], "processor": beside["processor"], "part": beside["rate"] / alone["rate"]}


def metric(kind: str, label: str, *more: Row) -> Metric:
    rows = (
        Row("rate", label, "1,000 lines/s", Goal(4, PUBLISHED, at_least=True) if kind == "plain" else None),
        Row("processor", "… own processor time of a line", "µs"),
    )
    return Metric(
        f"lines-{kind}", (*rows, *more), library=partial(of_kind, kind, MANY), bare=partial(bare_lines, kind, MANY)
    )


def secrets_metric(kind: str, count: int, wanted: str, goal: Goal) -> Metric:
    rows = (
        Row("rate", f"{SOME:,} lines, one of 100 shows one of {count} secrets", "1,000 lines/s"),
        Row("processor", "… own processor time of a line", "µs"),
        Row("part", "… part of the rate without secrets", ""),
        Row("own", "… the same by processor time", ""),
    )
    return Metric(
        f"lines-{kind}",
        rows=tuple(replace(row, goal=goal) if row.key == wanted else row for row in rows),
        library=partial(with_secrets, kind, SOME),
        bare=partial(bare_lines, kind, SOME),
    )


METRICS = (
    metric("plain", "a million lines of one action", Row("growth", "… growth of the program's memory", "MB")),
    metric("directives", f"… one of 100 is `{DIRECTIVE.strip()}`"),
    secrets_metric("secrets", len(SECRETS), "part", Goal(0.7, at_least=True)),
    secrets_metric("many-secrets", len(MANY_SECRETS), "rate", Goal(50, at_least=True)),
    Metric(
        "lines-idle",
        rows=(
            Row("rate", f"{SOME:,} lines beside {IDLE} idle sessions", "1,000 lines/s"),
            Row("processor", "… own processor time of a line", "µs"),
            Row("part", "… part of the rate without them", "", Goal(0.9, at_least=True)),
        ),
        library=beside_idle_sessions,
        bare=partial(bare_lines, "plain", SOME),
    ),
)
