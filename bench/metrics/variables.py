"""What an action costs whose environment has many variables, all of them seen by its process."""

from __future__ import annotations

from functools import partial

from bench import bare
from bench.metric import BARE, Goal, Metric, Row, Values
from bench.sessions import Driven, environment, listen, script
from bench.timing import repeated

NAMES = tuple(f"BENCH_VARIABLE_{number:04}" for number in range(2500))
VALUE = "a value of twenty-four b"
COUNT = ("sh", "-c", 'test "$(env | grep -c ^BENCH_VARIABLE_)" = "$0"', str(len(NAMES)))


def with_variables(quick: bool) -> Values:
    listen()
    true = script("true")
    driven = Driven()
    driven.enter(environment(variables=dict.fromkeys(NAMES, VALUE)))
    driven.run(script(*COUNT))
    return repeated(partial(driven.run, true), 20 if quick else 200)


def bare_variables(quick: bool) -> Values:
    command, variables = bare.resolve(["true"]), bare.variables(dict.fromkeys(NAMES, VALUE))
    return repeated(partial(bare.run, command, variables), 20 if quick else 200)


METRICS = (
    Metric(
        "variables",
        rows=(
            Row("time", f"`true` with {len(NAMES):,} variables of an environment", "ms", Goal(1.8, BARE)),
            Row("processor", "… own processor time", "ms"),
        ),
        library=with_variables,
        bare=bare_variables,
    ),
)
