"""How soon a canceled action has ended, and this is known."""

from __future__ import annotations

import signal
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from bench import bare
from bench.metric import BARE, Goal, Metric, Row, Values
from bench.sessions import LONG, NOTIFY, Driven, listen, pause, script

if TYPE_CHECKING:
    from openjd.model.v2023_09 import StepScript

SETTLED = 0.02
"""Seconds after which a command that was started has surely begun, and everybody waits."""


def count(quick: bool) -> int:
    return 5 if quick else 40


def canceled(cancelation: object, quick: bool) -> Values:
    """A session runs nothing more after it: each is canceled in a session of its own."""
    listen()
    sleep = script(*LONG, cancelation=cancelation)
    return {"time": median(cancel_one(sleep) for _ in range(count(quick))) * 1000}


def cancel_one(sleep: StepScript) -> float:
    driven = Driven()
    driven.start(sleep)
    pause(SETTLED)
    seconds = driven.cancel()
    driven.close()
    return seconds


def bare_canceled(number: int, quick: bool) -> Values:
    command, variables = bare.resolve(LONG), bare.variables()
    seconds = []
    for _ in range(count(quick)):
        child = bare.spawn(command, variables)
        pause(SETTLED)
        seconds.append(child.end(number))
    return {"time": median(seconds) * 1000}


METRICS = (
    Metric(
        "terminate",
        rows=(Row("time", "`sleep` terminated, from the call to the final status", "ms", Goal(2.5, BARE)),),
        library=partial(canceled, None),
        bare=partial(bare_canceled, signal.SIGKILL),
    ),
    Metric(
        "notify",
        rows=(Row("time", "`sleep` notified, from the call to the final status", "ms"),),
        library=partial(canceled, NOTIFY),
        bare=partial(bare_canceled, signal.SIGTERM),
    ),
)
