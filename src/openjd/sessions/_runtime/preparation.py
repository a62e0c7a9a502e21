"""From "enter", "exit" or "run a task" to a resolved action.

The order of work is LC-13: path mapping file, symbols, variables, paths of embedded files, ``let``, contents of the
files, command and limits. Whatever fails on the way raises ``ActionFailed`` with the whole reason; before each ``let``
it is asked whether the action is canceled. This module loads ``openjd.model``; it is imported with a Session's first
action.

An action that a wrap hook replaces goes this way as if it were to run; what it has become is shown to the hook, which
then goes the same way in its own scope (WRAP-9 to WRAP-13).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Callable, Optional

from openjd.model import ParameterValue
from openjd.model.v2023_09 import Action

from openjd.sessions._core.actions import (
    ResolvedAction,
    resolve_action,
    resolve_command_line,
    without_secrets,
    wrapped_symbols,
)
from openjd.sessions._core.environments import (
    HOOKS,
    EnteredEnvironment,
    EnvironmentStack,
    VariableLayer,
    Variables,
    has_wrap_hooks,
)
from openjd.sessions._core.parameters import Task
from openjd.sessions._core.redaction import MASK
from openjd.sessions._core.scopes import Scope, Symbols, Typed, parameter_symbols, session_symbols, table_symbols
from openjd.sessions._errors import ActionCanceled, ActionFailed
from openjd.sessions._logging import LogContent, SessionLog
from openjd.sessions._path_mapping import PathMapper, PathMappingRule
from openjd.sessions._runtime.script_files import ScriptFiles, ScriptOwner
from openjd.sessions._runtime.workspace import Workspace

if TYPE_CHECKING:
    from openjd.model.v2023_09 import Environment

_UNSCHEDULABLE_TIMEOUT = 4_611_686_019
_MOST_TABLES = 16


@dataclass(frozen=True)
class _Script:
    """What the actions of a script have in common."""

    files: ScriptFiles
    bindings: Sequence[str]
    """Its ``let``."""
    scope: Scope
    """What it sees besides its files and its ``let``."""

    @property
    def title(self) -> str:
        return self.files.owner.title


class Preparation:
    """Prepares the actions of one Session, one at a time and on the caller's thread."""

    def __init__(
        self,
        workspace: Workspace,
        log: SessionLog,
        job_parameters: Mapping[str, ParameterValue],
        job_name: Optional[str],
        stack: EnvironmentStack,
        is_canceled: Callable[[], bool],
    ) -> None:
        self._workspace = workspace
        self._log = log
        self._job_parameters = job_parameters
        self._job_name = job_name
        self._stack = stack
        self._is_canceled = is_canceled
        self._job_symbols: Optional[Symbols] = None
        self._use_rules(())
        self._environment_files: dict[str, ScriptFiles] = {}
        self._finished: list[ScriptFiles] = []

    def enter(
        self,
        entered: EnteredEnvironment,
        rules: Sequence[PathMappingRule],
        define: Callable[[VariableLayer], None],
    ) -> Optional[ResolvedAction]:
        """What is run to enter an environment, if anything.

        Args:
            entered: The environment.
            rules: The path mapping rules.
            define: Called with its variables as soon as they are known: they count, whatever fails then (LC-15).
        """
        self._begin(rules)
        environment = entered.environment
        files = self._environment_files[entered.identifier] = self._files_of(environment)
        try:
            self._job_scope(entered.resolved_symtab)
        except ActionFailed:
            self._stack.forget_symtab(entered.identifier)  # the exit does without it (SYM-14)
            raise
        script = self._script_of(entered, files)
        layer = self._resolve_variables(environment, script)
        define(layer)
        return self._prepare_environment_action("onEnter", entered, script, layer.values)

    def exit(self, entered: EnteredEnvironment, rules: Sequence[PathMappingRule]) -> Optional[ResolvedAction]:
        """What is run to exit an environment, if anything; the paths of its files are forgotten (FILE-8)."""
        self._begin(rules)
        files = self._environment_files.pop(entered.identifier, None) or self._files_of(entered.environment)
        self._finished.append(files)
        return self._prepare_environment_action(
            "onExit", entered, self._script_of(entered, files), entered.layer.values
        )

    def task(self, task: Task, rules: Sequence[PathMappingRule], *, is_wrapped: bool) -> ResolvedAction:
        """What is run for a task.

        Args:
            task: The task.
            rules: The path mapping rules.
            is_wrapped: Whether a wrap hook of an entered environment is run in its place.
        """
        self._begin(rules)
        owner = ScriptOwner(f"Step {task.step_name!r}" if task.step_name else "Task", "Task", "Task.File")
        files = ScriptFiles(owner, task.script.embeddedFiles, self._workspace.files, self._log)
        self._finished.append(files)
        self._log_parameters(task.parameters)
        scope = self._make_scope(task.step_name, task.resolved_symtab)
        scope = scope.extended(parameter_symbols("Task.", task.parameters, self._mapper))
        script = _Script(files, task.script.let or (), scope)
        self._log.subsection("Phase: Setup")
        resolved = self._resolve(task.script.actions.onRun, "onRun", script)
        wrapper = self._stack.wrapper_of("onRun") if is_wrapped else None
        if wrapper is not None:
            symbols = wrapped_symbols(resolved, self._stack.defined_variables({}))
            resolved = self._resolve_hook("onRun", wrapper, {**symbols, "WrappedStep.Name": task.step_name}, resolved)
        return self._schedulable(resolved)

    def _prepare_environment_action(
        self, name: str, entered: EnteredEnvironment, script: _Script, variables: Variables
    ) -> Optional[ResolvedAction]:
        environment = entered.environment
        action = getattr(environment.script.actions, name) if environment.script else None
        if action is None:
            return None
        self._log.subsection("Phase: Setup")
        resolved = self._resolve(action, name, script)
        wrapper = self._stack.wrapper_of(name, entered.identifier)
        if wrapper is not None:
            symbols = wrapped_symbols(resolved, self._stack.defined_variables(variables))
            resolved = self._resolve_hook(name, wrapper, {**symbols, "WrappedEnv.Name": environment.name}, resolved)
        return self._schedulable(resolved)

    def _resolve_hook(
        self, name: str, wrapper: tuple[EnteredEnvironment, Action], symbols: Symbols, wrapped: ResolvedAction
    ) -> ResolvedAction:
        """The hook that is run in place of an action, in its own scope; it alone sees symbols (WRAP-10, WRAP-11)."""
        entered, hook = wrapper
        script = self._script_of(entered, self._environment_files[entered.identifier])
        scope = self._write_files(script)
        resolved = resolve_action(hook, HOOKS[name], scope.extended(symbols), script.title)
        shown = self._shown(hook, scope, symbols)
        return replace(resolved, title=f"{resolved.title} (in place of {wrapped.title})", shown=shown)

    def _shown(self, hook: Action, scope: Scope, symbols: Symbols) -> Optional[tuple[str, ...]]:
        """The command line of a hook without the secrets of what it replaces, if there are any (RED-1, RED-13).

        They are hidden before the hook quotes them, for afterwards nobody could find them.
        """
        hidden = without_secrets(symbols, self._log.redact)
        if hidden == symbols:
            return None
        try:
            return resolve_command_line(hook, scope.extended(hidden), "")
        except ActionFailed:
            return (MASK,)

    def _resolve(self, action: Action, name: str, script: _Script) -> ResolvedAction:
        return resolve_action(action, name, self._write_files(script), script.title)

    def _write_files(self, script: _Script) -> Scope:
        """Write the files of a script; gives what its actions see."""
        paths = script.files.allocate()
        scope = script.scope.extended({symbol: Typed(path, "path") for symbol, path in paths.items()})
        scope = scope.with_bindings(self._unless_canceled(script.bindings), script.title)
        script.files.write(scope)
        return scope

    def _unless_canceled(self, bindings: Iterable[str]) -> Iterator[str]:
        """Bindings, each of which may take long to evaluate, until somebody cancels the action (LC-27)."""
        for binding in bindings:
            self._log.flush()
            if self._is_canceled():
                raise ActionCanceled
            yield binding

    def _schedulable(self, resolved: ResolvedAction) -> ResolvedAction:
        """Without a time limit that is too long to be measured (ACT-13)."""
        if resolved.timeout is None or resolved.timeout < _UNSCHEDULABLE_TIMEOUT:
            return resolved
        self._log.warning(
            f"{resolved.title}, timeout of {resolved.timeout} seconds is longer than can be measured; "
            "the action runs without a time limit.",
            LogContent.PROCESS_CONTROL,
        )
        return replace(resolved, timeout=None)

    def _begin(self, rules: Sequence[PathMappingRule]) -> None:
        self._discard_finished()
        if tuple(rules) != self._rules:
            self._use_rules(tuple(rules))
        self._rules_file = self._workspace.write_rules(self._rules_document)

    def _script_of(self, entered: EnteredEnvironment, files: ScriptFiles) -> _Script:
        script = entered.environment.script
        scope = self._make_scope(entered.step_name, entered.resolved_symtab)
        return _Script(files, (script.let or ()) if script else (), scope)

    def _make_scope(self, step_name: Optional[str], resolved_symtab: Optional[object]) -> Scope:
        """What every action sees: the Session, its job, its path mapping and the name of the step (SYM-5)."""
        scope = self._job_scope(resolved_symtab)
        return scope.extended({"Step.Name": step_name}) if step_name is not None else scope

    def _job_scope(self, resolved_symtab: Optional[object]) -> Scope:
        """The Session, the job's parameters and name, and a resolved symbol table; kept, for other actions share it."""
        known, scope = self._job_scopes.get(id(resolved_symtab), (None, None))
        if scope is None or known is not resolved_symtab:
            symbols: dict[str, object] = {} if self._job_name is None else {"Job.Name": self._job_name}
            if resolved_symtab is not None:
                symbols.update(table_symbols(resolved_symtab))
            if self._job_symbols is None:
                self._job_symbols = parameter_symbols("", self._job_parameters, self._mapper)
            of_session = session_symbols(self._workspace.path, self._rules_file, self._mapper)
            scope = Scope.of(symbols, self._mapper.rules).extended(self._job_symbols).extended(of_session)
            if len(self._job_scopes) >= _MOST_TABLES:
                self._job_scopes.clear()
            self._job_scopes[id(resolved_symtab)] = resolved_symtab, scope
        return scope

    def _use_rules(self, rules: tuple[PathMappingRule, ...]) -> None:
        """Have the job's parameters mapped, once for all actions until the rules change."""
        self._mapper = PathMapper(rules)
        self._rules_document = _rules_document(self._mapper)
        self._job_symbols = None
        self._job_scopes: dict[int, tuple[object, Scope]] = {}
        self._rules = rules

    def _resolve_variables(self, environment: Environment, script: _Script) -> VariableLayer:
        values: dict[str, Optional[str]] = {}
        for name, text in (environment.variables or {}).items():
            values[name] = value = script.scope.resolve_argument(text, f"{script.title}, variable {name!r}")
            self._log.info(f"Setting: {name}={value}", LogContent.PARAMETER_INFO)
        return VariableLayer(values)

    def _log_parameters(self, parameters: Mapping[str, ParameterValue]) -> None:
        if parameters:
            self._log.info("Parameter values:", LogContent.PARAMETER_INFO)
        for name, parameter in parameters.items():
            self._log.info(f"{name}({parameter.type.value}) = {parameter.value}", LogContent.PARAMETER_INFO)

    def _files_of(self, environment: Environment) -> ScriptFiles:
        owner = ScriptOwner(f"Environment {environment.name!r}", "Environment", "Env.File")
        files = environment.script.embeddedFiles if environment.script else None
        return ScriptFiles(owner, files, self._workspace.files, self._log, is_apart=has_wrap_hooks(environment))

    def _discard_finished(self) -> None:
        """Remove what earlier actions alone could use: nothing piles up, and nothing vanishes while a process runs."""
        while self._finished:
            self._finished.pop().discard()


def _rules_document(mapper: PathMapper) -> str:
    """The text of the path mapping file (PM-16, PM-17)."""
    if not mapper.rules:
        return "{}"
    rules = [rule.to_dict() for rule in mapper.rules]
    return json.dumps({"version": "pathmapping-1.0", "path_mapping_rules": rules})
