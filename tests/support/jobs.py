"""Small job templates, and the jobs that are made of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from openjd.model import Job, create_job, decode_job_template

from support import child

Template = dict[str, Any]


def action(*argv: str, **fields: object) -> Template:
    return {"command": argv[0], "args": list(argv[1:]), **fields}


def echo(*words: str) -> Template:
    return action("echo", *words)


def run_child(name: str, *arguments: str, **fields: object) -> Template:
    """An action that runs one of the child programs."""
    return action(*child(name, *arguments), **fields)


def stubborn() -> Template:
    """An action that says ``ready``, then ``notified`` on each SIGTERM, and has ten minutes after the first one."""
    go_on = action("sh", "-c", "trap 'echo notified' TERM; echo ready; while :; do sleep 0.1; done")
    return {**go_on, "cancelation": {"mode": "NOTIFY_THEN_TERMINATE", "notifyPeriodInSeconds": 600}}


def environment(name: str, enter: Optional[Template] = None, leave: Optional[Template] = None) -> Template:
    """An environment that prints ``+NAME`` and ``/NAME``, unless it is told otherwise."""
    actions = {"onEnter": enter or echo(f"+{name}"), "onExit": leave or echo(f"/{name}")}
    return {"name": name, "script": {"actions": actions}}


def step(
    name: str,
    run: Optional[Template] = None,
    *,
    after: Sequence[str] = (),
    environments: Sequence[Template] = (),
    ranges: Optional[Mapping[str, tuple[object, ...]]] = None,
) -> Template:
    """A step that prints its name, unless it is told otherwise.

    ``ranges``: type and range of its task parameters, and for those of type CHUNK[INT] what ``chunks`` gives.
    """
    made: Template = {"name": name, "script": {"actions": {"onRun": run or echo(name)}}}
    if after:
        made["dependencies"] = [{"dependsOn": other} for other in after]
    if environments:
        made["stepEnvironments"] = list(environments)
    if ranges:
        fields = ("name", "type", "range", "chunks")
        definitions = [dict(zip(fields, (name, *values))) for name, values in ranges.items()]
        made["parameterSpace"] = {"taskParameterDefinitions": definitions}
    return made


def chunks(default: int, *, contiguous: bool = True, target: Optional[int] = None) -> Template:
    made: Template = {"defaultTaskCount": default, "rangeConstraint": "CONTIGUOUS" if contiguous else "NONCONTIGUOUS"}
    return made if target is None else {**made, "targetRuntimeSeconds": target}


def template(*steps: Template, environments: Sequence[Template] = (), **fields: object) -> Template:
    made: Template = {"specificationVersion": "jobtemplate-2023-09", "name": "Test", "steps": list(steps), **fields}
    if environments:
        made["jobEnvironments"] = list(environments)
    return made


def job(*steps: Template, environments: Sequence[Template] = ()) -> Job:
    """A job; its template uses the extension TASK_CHUNKING."""
    extensions = ["TASK_CHUNKING"]
    made = template(*steps, environments=environments, extensions=extensions)
    decoded = decode_job_template(template=made, supported_extensions=extensions)
    return create_job(job_template=decoded, job_parameter_values={})


def exactly(text: str) -> str:
    """A pattern for ``pytest.raises`` that nothing but this text matches."""
    return f"^{re.escape(text)}$"
