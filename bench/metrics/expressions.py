"""What expressions and wrap hooks cost: an action with 50 parameters and 20 ``let`` bindings, and a wrapped task."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from bench import bare
from bench.metric import BARE, PUBLISHED, Goal, Metric, Row, Values
from bench.processes import Stopwatch
from bench.sessions import Driven, listen

if TYPE_CHECKING:
    from openjd.model import Job, ParameterValue

KINDS = {"STRING": "shot", "INT": "12", "FLOAT": "3.500", "PATH": "/projects/film/shot/plate.exr"}
PARAMETERS = {f"P{number}": kind for number, kind in zip(range(50), list(KINDS) * 13)}
BINDINGS = (
    *(f"text{number} = Param.P{4 * number} + '-{number}'" for number in range(7)),
    *(f"sum{number} = Param.P{4 * number + 1} * 2 + {number}" for number in range(6)),
    *(f"name{number} = Param.P{4 * number + 3}.stem + '.png'" for number in range(5)),
    "frame = Task.Param.Frame + sum1",
    "output = Param.P3.parent / string(frame)",
)
USES = [f"{{{{{binding.partition(' ')[0]}}}}}" for binding in BINDINGS]
HOOK = {"command": "{{WrappedAction.Command}}", "args": ["{{WrappedAction.Args}}"]}
WARM_UP = 10


def with_expressions(quick: bool) -> Values:
    listen()
    driven = Driven(parameters=_values())
    return _beside_plain(driven, _job(["{{Param.P0}}"], []), driven, _job(USES, BINDINGS), quick)


def with_hook(quick: bool) -> Values:
    listen()
    plain, wrapped, job = Driven(), Driven(), _job([], [])
    wrapped.enter(_wrapping())
    return _beside_plain(plain, job, wrapped, job, quick)


def bare_start(quick: bool) -> Values:
    command, variables = bare.resolve(["true"]), bare.variables()
    watch = Stopwatch()
    seconds = median(bare.run(command, variables) for _ in range(_count(quick)))
    processor = watch.processor_seconds() / _count(quick)
    return {"time": seconds * 1000, "more": seconds * 1000, "processor": processor * 1000}


def _count(quick: bool) -> int:
    return 20 if quick else 200


def _beside_plain(plain: Driven, plain_job: Job, driven: Driven, job: Job, quick: bool) -> Values:
    """Tasks of two kinds in turn; each has another parameter than the one before."""
    from openjd.model import ParameterValue, ParameterValueType

    others, seconds, processor = [], [], 0.0
    for frame in range(WARM_UP + _count(quick)):
        parameters = {"Frame": ParameterValue(type=ParameterValueType.INT, value=str(frame))}
        others.append(plain.run(plain_job.steps[0].script, parameters))
        watch = Stopwatch()
        seconds.append(driven.run(job.steps[0].script, parameters))
        processor += watch.processor_seconds() if frame >= WARM_UP else 0.0
    more = median(one - other for one, other in zip(seconds[WARM_UP:], others[WARM_UP:]))
    return {
        "time": median(seconds[WARM_UP:]) * 1000,
        "more": more * 1000,
        "processor": processor / _count(quick) * 1000,
    }


def _values() -> dict[str, ParameterValue]:
    from openjd.model import ParameterValue, ParameterValueType

    return {name: ParameterValue(type=ParameterValueType[kind], value=KINDS[kind]) for name, kind in PARAMETERS.items()}


def _job(arguments: list[str], bindings: Sequence[str]) -> Job:
    from openjd.model import create_job, decode_job_template

    script: dict[str, Any] = {"actions": {"onRun": {"command": "true"}}}
    if arguments:
        script["actions"]["onRun"]["args"] = arguments
    if bindings:
        script["let"] = list(bindings)
    space = {"taskParameterDefinitions": [{"name": "Frame", "type": "INT", "range": "1-1000"}]}
    template = {
        "specificationVersion": "jobtemplate-2023-09",
        "extensions": ["EXPR"],
        "name": "Bench",
        "parameterDefinitions": [{"name": name, "type": kind} for name, kind in PARAMETERS.items()],
        "steps": [{"name": "Bench", "parameterSpace": space, "script": script}],
    }
    decoded = decode_job_template(template=template, supported_extensions=["EXPR"])
    return create_job(job_template=decoded, job_parameter_values=_values())


def _wrapping() -> Any:
    from openjd.model import decode_environment_template

    extensions = ["EXPR", "WRAP_ACTIONS"]
    hooks = dict.fromkeys(("onWrapEnvEnter", "onWrapTaskRun", "onWrapEnvExit"), HOOK)
    template = {
        "specificationVersion": "environment-2023-09",
        "extensions": extensions,
        "environment": {"name": "Wrapping", "script": {"actions": hooks}},
    }
    return decode_environment_template(template=template, supported_extensions=extensions).environment


METRICS = (
    Metric(
        "expressions",
        rows=(
            Row(
                "time",
                f"`true` with {len(PARAMETERS)} parameters and {len(BINDINGS)} `let` bindings",
                "ms",
                Goal(0.33, PUBLISHED),
            ),
            Row("more", "… more than without bindings", "ms", Goal(4, BARE)),
            Row("processor", "… own processor time", "ms"),
        ),
        library=with_expressions,
        bare=bare_start,
    ),
    Metric(
        "wrapped",
        rows=(
            Row("time", "`true` as a wrapped task", "ms"),
            Row("more", "… more than unwrapped", "ms", Goal(1, BARE)),
            Row("processor", "… own processor time", "ms"),
        ),
        library=with_hook,
        bare=bare_start,
    ),
)
