"""Run one plan in one session, from the first enter to the last exit.

Plain blocking code: environments are entered, tasks run, and everything that was entered is exited in reverse,
always. After a failure or an interruption only exits follow.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Callable, Optional
from uuid import uuid4

from openjd.model import RevisionExtensions, SpecificationRevision, TaskParameterSet
from openjd.model.v2023_09 import Environment

from openjd.sessions._errors import InvalidStateError
from openjd.sessions._session import Session
from openjd.sessions._types import ActionState, ActionStatus
from openjd.sessions.jobs.chunks import Clock, task_count
from openjd.sessions.jobs.events import (
    ActionStarted,
    ActionUpdated,
    Failure,
    Report,
    SessionEnded,
    SessionResult,
    SessionStarted,
    StepStarted,
    TaskEnded,
)
from openjd.sessions.jobs.plan import SessionPlan, StepPlan

if TYPE_CHECKING:
    from openjd.expr import SerializedSymbolTable


class Interruption:
    """Lets another thread, or a signal handler, stop a session that is being driven; neither method waits."""

    def __init__(self) -> None:
        self.urgency = 0
        """0: not interrupted; 1: canceled, only exits follow; 2: terminated, nothing follows."""
        self._session: Optional[Session] = None

    def cancel(self) -> None:
        """Cancel the running action; then the environments are exited."""
        self._raise_to(1)

    def terminate(self) -> None:
        """Terminate the running action at once; nothing is exited any more."""
        self._raise_to(2)

    def attach(self, session: Session) -> None:
        """Let it reach this session."""
        self._session = session

    def cancel_action(self) -> None:
        """Cancel what runs, as urgently as it was asked for; nothing, if nothing runs."""
        if self._session is not None:
            with suppress(InvalidStateError):
                self._session.cancel_action(time_limit=timedelta(0) if self.urgency > 1 else None)

    def _raise_to(self, urgency: int) -> None:
        if urgency > self.urgency:
            self.urgency = urgency
            self.cancel_action()


def run_session(
    plan: SessionPlan,
    report: Report = lambda _: None,
    interruption: Optional[Interruption] = None,
    clock: Clock = time.monotonic,
) -> SessionResult:
    """Run all that is planned in a new session, as far as it succeeds.

    Args:
        plan: What to do.
        report: Told of what happens.
        interruption: How another thread may stop it.
        clock: Measures the session, and the chunks of steps that aim for a run time.

    Raises:
        SessionError: If there can't be a session, or its processes can't be managed.
    """
    started = clock()
    interruption = interruption or Interruption()
    session_id = f"job-{uuid4().hex}"
    with _new_session(session_id, plan, report) as session:
        interruption.attach(session)
        report(SessionStarted(session_id, plan.job_name, session.working_directory))
        run = _Run(session, report, interruption, clock)
        run.everything(plan)
        result = SessionResult(
            job_name=plan.job_name,
            working_directory=session.working_directory,
            duration=clock() - started,
            tasks_succeeded=run.tasks_succeeded,
            chunks_succeeded=run.chunks_succeeded,
            failure=run.failure,
            was_interrupted=interruption.urgency > 0,
        )
        report(SessionEnded(result))
    return result


def _new_session(session_id: str, plan: SessionPlan, report: Report) -> Session:
    def report_update(_: str, status: ActionStatus) -> None:
        if status.state is ActionState.RUNNING:
            report(ActionUpdated(status))

    return Session(
        session_id=session_id,
        job_parameter_values=dict(plan.job_parameters),
        job_name=plan.job_name,
        path_mapping_rules=list(plan.path_mapping_rules),
        retain_working_dir=plan.retain_working_dir,
        callback=report_update,
        revision_extensions=RevisionExtensions(
            spec_rev=SpecificationRevision.v2023_09, supported_extensions=sorted(plan.extensions)
        ),
    )


class _Run:
    """A plan on its way through its session."""

    def __init__(self, session: Session, report: Report, interruption: Interruption, clock: Clock) -> None:
        self._session = session
        self._report = report
        self._interruption = interruption
        self._clock = clock
        self.failure: Optional[Failure] = None
        self.tasks_succeeded = 0
        self.chunks_succeeded = 0

    def everything(self, plan: SessionPlan) -> None:
        try:
            self._enter(plan.environments, plan.symbols)
            for step in plan.steps:
                if self._goes_on:
                    self._run_step(step)
        finally:
            self._stop_action()
            self._exit_to(0)

    @property
    def _goes_on(self) -> bool:
        return self.failure is None and not self._interruption.urgency

    def _run_step(self, plan: StepPlan) -> None:
        name = plan.step.name
        depth = len(self._session.environments_entered)
        self._report(StepStarted(name, plan.task_count))
        self._enter(plan.environments, plan.symbols, name)
        for parameters in plan.tasks(self._clock):
            if not self._goes_on:
                break
            self._run_task(plan, parameters)
        self._exit_to(depth, keep_session_running=True)

    def _run_task(self, plan: StepPlan, parameters: TaskParameterSet) -> None:
        name = plan.step.name
        start = partial(
            self._session.run_task,
            step_script=plan.step.script,
            task_parameter_values=parameters,
            step_name=name,
            resolved_symtab=plan.symbols,
        )
        status = self._perform(_task_description(name, parameters), start)
        count = task_count(parameters)
        if status.state is ActionState.SUCCESS:
            self.tasks_succeeded += count
            self.chunks_succeeded += 1
        self._report(TaskEnded(name, parameters, count, status))

    def _enter(
        self,
        environments: Iterable[Environment],
        symbols: Optional[SerializedSymbolTable],
        step_name: Optional[str] = None,
    ) -> None:
        for environment in environments:
            if not self._goes_on:
                break
            depth = len(self._session.environments_entered)
            start = partial(
                self._session.enter_environment,
                environment=environment,
                identifier=f"{depth}:{environment.name}",
                step_name=step_name,
                resolved_symtab=symbols,
            )
            self._perform(f"Enter environment {environment.name!r}", start)

    def _exit_to(self, depth: int, *, keep_session_running: bool = False) -> None:
        """Exit the innermost environments until so many are left."""
        while len(self._session.environments_entered) > depth:
            urgency = self._interruption.urgency
            if urgency > 1:
                break
            identifier = self._session.environments_entered[-1]
            start = partial(
                self._session.exit_environment, identifier=identifier, keep_session_running=keep_session_running
            )
            self._perform(f"Exit environment {identifier.partition(':')[2]!r}", start, urgency)

    def _perform(self, action: str, start: Callable[[], object], urgency: int = 0) -> ActionStatus:
        """Run one action to its end.

        Args:
            action: What it does, for people.
            start: Starts it.
            urgency: The interruption in spite of which it is run; a more urgent one stops it.
        """
        self._report(ActionStarted(action))
        start()
        if self._interruption.urgency > urgency:  # it may have come before there was anything to cancel
            self._interruption.cancel_action()
        status = self._session.wait()
        assert status is not None  # an action was started
        if status.state is not ActionState.SUCCESS and self.failure is None:
            self.failure = Failure(action, status)
        return status

    def _stop_action(self) -> None:
        """End what still runs after an exception."""
        with suppress(InvalidStateError):
            self._session.cancel_action()
        self._session.wait()


def _task_description(step_name: str, parameters: TaskParameterSet) -> str:
    values = ", ".join(f"{name}={parameter.value}" for name, parameter in parameters.items())
    return f"Run step {step_name!r}" + (f" with {values}" if values else "")
