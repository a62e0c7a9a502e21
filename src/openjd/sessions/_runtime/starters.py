"""From the call of a client to an action that is accepted, prepared and started.

Every method gives the call that lets the action's news be delivered: the last thing the client's starter does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Optional

from openjd.sessions._core.actions import CancelMethod, ResolvedAction
from openjd.sessions._core.environments import EnteredEnvironment, VariableLayer, Variables
from openjd.sessions._core.lifecycle import Call
from openjd.sessions._core.parameters import Task
from openjd.sessions._path_mapping import PathMappingRule
from openjd.sessions._runtime.delivery import News
from openjd.sessions._runtime.process_environment import ProcessVariables
from openjd.sessions._runtime.resources import SessionResources
from openjd.sessions._runtime.session_actions import Plan, SessionActions

if TYPE_CHECKING:
    from openjd.model import ParameterValue

    from openjd.sessions._runtime.preparation import Preparation

Rules = Sequence[PathMappingRule]


class Starters:
    """Starts the actions of one Session."""

    def __init__(
        self,
        actions: SessionActions,
        resources: SessionResources,
        job_parameters: Mapping[str, ParameterValue],
        job_name: Optional[str],
    ) -> None:
        self._actions = actions
        self._resources = resources
        self._job_parameters = job_parameters
        self._job_name = job_name
        self._preparation: Optional[Preparation] = None

    def enter(self, entered: EnteredEnvironment, rules: Rules, variables: ProcessVariables) -> News:
        """Enter an environment; once that is accepted it counts as entered (ENV-2)."""
        actions, name = self._actions, "enter_environment()"

        def commit() -> None:
            actions.lifecycle.start(name)
            actions.stack.push(entered)

        def accept() -> Plan:
            actions.stack.check_enter(entered.identifier, entered.environment)
            return Plan(
                banner=f"Entering Environment: {entered.environment.name}",
                entering=entered.identifier,
                commit=commit,
                prepare=lambda: self._prepare_entering(entered, rules),
                variables=lambda: variables.with_layers(actions.stack.variables()),
            )

        return actions.start(name, Call.START, accept)

    def exit(
        self,
        identifier: str,
        rules: Rules,
        variables: ProcessVariables,
        *,
        keep_session_running: bool,
        resolved_symtab: Optional[object],
    ) -> News:
        """Exit the innermost environment; the symbol table of its entering is used if none is given (SYM-14)."""
        actions, name = self._actions, "exit_environment()"

        def commit() -> None:
            actions.lifecycle.exit(name, keep_session_running=keep_session_running)
            actions.stack.pop()

        def accept() -> Plan:
            entered = actions.stack.check_exit(identifier)
            if resolved_symtab is not None:
                entered = replace(entered, resolved_symtab=resolved_symtab)
            layers = actions.stack.variables()  # its own included (ENV-9)
            return Plan(
                banner=f"Exiting Environment: {entered.environment.name}",
                released_scope=entered.scope,
                commit=commit,
                prepare=lambda: self._prepared().exit(entered, rules),
                variables=lambda: variables.with_layers(layers),
            )

        return actions.start(name, Call.EXIT, accept)

    def run_task(self, task: Task, rules: Rules, variables: ProcessVariables, *, sees_environments: bool) -> News:
        """Run a task, with or without the variables and the wrap hooks of the entered environments."""
        name = "run_task()" if sees_environments else "_run_task_without_session_env()"

        def accept() -> Plan:
            if sees_environments:
                self._actions.stack.check_task(task.step_name)
            return Plan(
                banner="Running Task" if task.has_banner else None,
                commit=lambda: self._actions.lifecycle.start(name),
                prepare=lambda: self._prepared().task(task, rules, is_wrapped=sees_environments),
                variables=lambda: variables.with_layers(self._layers(sees_environments)),
            )

        return self._actions.start(name, Call.START, accept)

    def run_subprocess(
        self,
        resolved: ResolvedAction,
        variables: ProcessVariables,
        *,
        banner: Optional[str],
        sees_environments: bool,
    ) -> News:
        """Run an ad-hoc process, with or without the variables of the entered environments (SUB-5)."""
        name = "run_subprocess()"
        return self._actions.start(
            name,
            Call.START,
            lambda: Plan(
                banner=banner,
                commit=lambda: self._actions.lifecycle.start(name),
                prepare=lambda: self._prepare_subprocess(resolved),
                variables=lambda: variables.with_layers(self._layers(sees_environments)),
                is_of_job=False,
            ),
        )

    @staticmethod
    def subprocess(command: str, args: Optional[Sequence[str]], timeout: Optional[int]) -> ResolvedAction:
        """An ad-hoc process as an action (SUB-1, SUB-2, SUB-6).

        Raises:
            ValueError: The command is blank, it or an argument contains NUL, or the timeout is below 1.
            TypeError: Something is of another type.
        """
        if isinstance(args, str) or not all(isinstance(text, str) for text in (command, *(args or ()))):
            raise TypeError(
                f"run_subprocess: command must be a str, and args a list of str; got {command!r}, {args!r}."
            )
        if not isinstance(timeout, (int, type(None))):
            raise TypeError(f"run_subprocess: timeout must be a whole number of seconds; got {timeout!r}.")
        argv = (command, *(args or ()))
        if not command.strip():
            raise ValueError("run_subprocess: command must be the name or path of a program; it is blank.")
        if any("\0" in argument for argument in argv):
            raise ValueError("run_subprocess: command and args can't contain NUL characters.")
        if timeout is not None and timeout < 1:
            raise ValueError(f"run_subprocess: timeout must be at least 1 second; got {timeout}.")
        return ResolvedAction(argv=argv, timeout=timeout, cancel_method=CancelMethod(notify_period=None))

    def _layers(self, sees_environments: bool) -> list[Variables]:
        return self._actions.stack.variables() if sees_environments else []

    def _prepare_entering(self, entered: EnteredEnvironment, rules: Rules) -> Optional[ResolvedAction]:
        def define(layer: VariableLayer) -> None:
            with self._actions.lock:
                self._actions.stack.replace_layer(entered.identifier, layer)

        return self._prepared().enter(entered, rules, define)

    def _prepare_subprocess(self, resolved: ResolvedAction) -> ResolvedAction:
        self._resources.log.subsection("Phase: Setup")
        return resolved

    def _prepared(self) -> Preparation:
        """The preparation, which loads openjd.model, with the first action of a template."""
        if self._preparation is None:
            self._resources.log.flush()
            from openjd.sessions._runtime.preparation import Preparation

            self._preparation = Preparation(
                self._resources.workspace,
                self._resources.log,
                self._job_parameters,
                self._job_name,
                self._actions.stack,
                self._actions.is_canceled,
            )
        return self._preparation
