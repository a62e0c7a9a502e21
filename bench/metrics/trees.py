"""Trees of 200 processes: when a terminated action's final status comes, and who is still alive then."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from bench import bare, processes
from bench.children import command
from bench.metric import Goal, Metric, Row, Values
from bench.sessions import Driven, listen, pause, script

if TYPE_CHECKING:
    from openjd.model.v2023_09 import StepScript

SIZE = 200
KINDS = {
    "group": "in one group",
    "setsid": "one in a session of its own",
    "double": "one forked twice, in a session of its own, without the output",
    "sessions": "each in a session of its own",
}
AFTERWARDS = 0.5
"""Seconds after the final status within which a process that was killed has surely gone."""


def count(quick: bool) -> int:
    return 1 if quick else 3


def terminated(kind: str, quick: bool) -> Values:
    task = script(*command("tree", kind, SIZE))
    return several([terminate_one(task) for _ in range(count(quick))])


def terminate_one(task: StepScript) -> tuple[float, int]:
    listener = listen("members ")
    driven = Driven()
    driven.start(task)
    members = members_of(listener.line())
    seconds = driven.cancel()
    return seconds, left_alive(members)


def bare_terminated(kind: str, quick: bool) -> Values:
    """Its group is killed and the command waited for; what becomes of the others is not known."""
    tree, variables = command("tree", kind, SIZE), bare.variables()
    found = []
    for _ in range(count(quick)):
        child = bare.spawn(tree, variables, own_group=True)
        line = b""
        while not line.endswith(b"\n"):
            line += child.read()
        begin = time.perf_counter()
        os.killpg(child.pid, signal.SIGKILL)
        child.reap()
        found.append((time.perf_counter() - begin, left_alive(members_of(line.decode()))))
    return several(found)


def members_of(line: str) -> list[int]:
    return [int(pid) for pid in line.split()[1:]]


def left_alive(members: list[int]) -> int:
    """How many are left a while later; these are killed now."""
    pause(AFTERWARDS)
    alive = [pid for pid in members if processes.is_alive(pid)]
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    return len(alive)


def several(found: list[tuple[float, int]]) -> Values:
    return {"time": median(seconds for seconds, _ in found) * 1000, "alive": max(alive for _, alive in found)}


def metric(kind: str, label: str) -> Metric:
    return Metric(
        f"tree-{kind}",
        rows=(
            Row("time", f"tree of {SIZE}, {label}: terminated, to the final status", "ms", Goal(120)),
            Row("alive", "… left alive", "", Goal(0)),
        ),
        library=partial(terminated, kind),
        bare=partial(bare_terminated, kind),
    )


METRICS = tuple(metric(kind, label) for kind, label in KINDS.items())
