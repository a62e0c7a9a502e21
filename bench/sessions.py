"""Sessions as a host program drives them, through the interface that both libraries have.

The library is imported when it is first used: the bare limit runs without it.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Optional

from bench.backends import DIRECTORY

if TYPE_CHECKING:
    from openjd.model import ParameterValue
    from openjd.model.v2023_09 import Environment, StepScript

    from openjd.sessions import ActionStatus, PathMappingRule, PosixSessionUser

LONGEST_ACTION = 300.0
"""Seconds after which an action is taken for one that hangs."""
LONG = ("sleep", "1000")
"""A command that runs until it is ended."""
NOTIFY = {"mode": "NOTIFY_THEN_TERMINATE", "notifyPeriodInSeconds": 30}

_numbers = itertools.count(1)


def own_directory() -> Path:
    """Where this workload has its files."""
    return Path(os.environ[DIRECTORY])


def pause(seconds: float) -> None:
    """Let time pass without using the processor."""
    threading.Event().wait(seconds)


class Listener(logging.Handler):
    """Takes what is logged: counts it and, if there is a beginning to look for, keeps the lines that have it."""

    def __init__(self, beginning: Optional[str] = None) -> None:
        super().__init__()
        self.count = 0
        self._beginning = beginning
        self._found: SimpleQueue[str] = SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
        if self._beginning is not None and record.getMessage().startswith(self._beginning):
            self._found.put(record.getMessage())

    def line(self) -> str:
        """The next line with the beginning; waits for it."""
        return self._found.get(timeout=LONGEST_ACTION)


def listen(beginning: Optional[str] = None) -> Listener:
    """A listener that takes what is logged from now on, in the place of the one before."""
    from openjd.sessions import LOG

    for handler in list(LOG.handlers):
        LOG.removeHandler(handler)
    listener = Listener(beginning)
    LOG.addHandler(listener)
    return listener


class Driven:
    """A Session, and the ends of its actions as its callback tells them."""

    def __init__(
        self,
        *,
        ended: Optional[SimpleQueue[Driven]] = None,
        parameters: Optional[Mapping[str, ParameterValue]] = None,
        rules: Optional[Sequence[PathMappingRule]] = None,
        user: Optional[PosixSessionUser] = None,
    ) -> None:
        from openjd.sessions import ActionState, Session

        self._running = ActionState.RUNNING
        self._ended: SimpleQueue[Driven] = SimpleQueue() if ended is None else ended
        self.started_at = self.ended_at = 0.0
        self.session = Session(
            session_id=f"bench-{next(_numbers)}",
            job_parameter_values=dict(parameters or {}),
            path_mapping_rules=list(rules) if rules else None,
            session_root_directory=own_directory(),
            callback=self._on_status,
            user=user,
        )

    def _on_status(self, _: str, status: ActionStatus) -> None:
        if status.state is not self._running:
            self.ended_at = time.perf_counter()
            self._ended.put(self)

    def start(self, script: StepScript, parameters: Optional[Mapping[str, ParameterValue]] = None) -> None:
        self.started_at = time.perf_counter()
        self.session.run_task(step_script=script, task_parameter_values=dict(parameters or {}), step_name="Bench")

    def wait(self) -> float:
        """Wait for the end of an action of this session; the moment in which it was told."""
        self._ended.get(timeout=LONGEST_ACTION)
        return self.ended_at

    def run(self, script: StepScript, parameters: Optional[Mapping[str, ParameterValue]] = None) -> float:
        """Run a task that is expected to succeed; the seconds from the call to the final status."""
        self.start(script, parameters)
        self.wait()
        self._check()
        return self.seconds()

    def seconds(self) -> float:
        """How long the last action took, from the call to the final status."""
        return self.ended_at - self.started_at

    def enter(self, environment: Environment) -> str:
        identifier = self.session.enter_environment(environment=environment)
        self.wait()
        self._check()
        return identifier

    def cancel(self) -> float:
        """Cancel the running action; the seconds from the call to the final status."""
        begin = time.perf_counter()
        self.session.cancel_action()
        return self.wait() - begin

    def _check(self) -> None:
        status = self.session.action_status
        if status is None or status.state.name != "SUCCESS":
            raise RuntimeError(f"An action ended with {status}.")

    def close(self) -> None:
        self.session.cleanup()


def script(
    *command: str, files: Sequence[tuple[str, str]] = (), cancelation: object = None, paths: Sequence[str] = ()
) -> StepScript:
    """The script of a step: a command, embedded files, a way to be canceled, names of PATH parameters that it uses."""
    run = _action(command)
    if cancelation is not None:
        run["cancelation"] = cancelation
    made: dict[str, object] = {"actions": {"onRun": run}}
    if files:
        made["embeddedFiles"] = [{"name": name, "type": "TEXT", "data": data} for name, data in files]
    return _job(made, paths=paths).steps[0].script  # type: ignore[no-any-return]


def environment(*enter: str, leave: Sequence[str] = (), variables: Optional[Mapping[str, str]] = None) -> Environment:
    """An environment: the commands of its actions, and its variables."""
    made: dict[str, object] = {"name": "Bench"}
    commands = {"onEnter": enter, "onExit": leave}
    actions = {key: _action(words) for key, words in commands.items() if words}
    if actions:
        made["script"] = {"actions": actions}
    if variables:
        made["variables"] = dict(variables)
    return _job({"actions": {"onRun": {"command": "true"}}}, made).jobEnvironments[0]  # type: ignore[no-any-return]


def _action(command: Sequence[str]) -> dict[str, object]:
    return {"command": command[0], **({"args": list(command[1:])} if len(command) > 1 else {})}


def _job(
    script: Mapping[str, object], environment: Optional[Mapping[str, object]] = None, *, paths: Sequence[str] = ()
) -> Any:
    from openjd.model import ParameterValue, ParameterValueType, create_job, decode_job_template

    template = {
        "specificationVersion": "jobtemplate-2023-09",
        "name": "Bench",
        "steps": [{"name": "Bench", "script": script}],
        **({"jobEnvironments": [environment]} if environment else {}),
        **({"parameterDefinitions": [{"name": name, "type": "PATH"} for name in paths]} if paths else {}),
    }
    values = {name: ParameterValue(type=ParameterValueType.PATH, value="/") for name in paths}
    return create_job(job_template=decode_job_template(template=template), job_parameter_values=values)
