"""From "enter", "exit" or "run a task" to a resolved action.

The order of work is LC-13: path mapping file, symbols, variables, paths of embedded files, their contents, command and
limits. Whatever fails on the way raises ``ActionFailed`` with the whole reason. This module loads ``openjd.model``; it
is imported with a Session's first action.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Optional

from openjd.model import ParameterValue
from openjd.model.v2023_09 import Action

from openjd.sessions._core.actions import ResolvedAction, resolve_action
from openjd.sessions._core.environments import EnteredEnvironment, VariableLayer, has_wrap_hooks
from openjd.sessions._core.scopes import Scope, parameter_symbols, session_symbols
from openjd.sessions._errors import ActionFailed
from openjd.sessions._logging import LogContent, SessionLog
from openjd.sessions._path_mapping import PathMapper, PathMappingRule
from openjd.sessions._runtime.script_files import ScriptFiles, ScriptOwner
from openjd.sessions._runtime.workspace import Workspace

if TYPE_CHECKING:
    from openjd.model.v2023_09 import Environment, StepScript

_UNSCHEDULABLE_TIMEOUT = 4_611_686_019


class Preparation:
    """Prepares the actions of one Session, one at a time and on the caller's thread."""

    def __init__(
        self,
        workspace: Workspace,
        log: SessionLog,
        job_parameters: Mapping[str, ParameterValue],
        job_name: Optional[str],
    ) -> None:
        self._workspace = workspace
        self._log = log
        self._job_parameters = job_parameters
        self._job_name = job_name
        self._use_rules(())
        self._environment_files: dict[str, ScriptFiles] = {}
        self._finished: list[ScriptFiles] = []

    def enter(
        self,
        identifier: str,
        environment: Environment,
        rules: Sequence[PathMappingRule],
        step_name: Optional[str],
        resolved_symtab: Optional[object],
    ) -> tuple[VariableLayer, Optional[ResolvedAction]]:
        """The variables of an environment, and its ``onEnter`` if it has one."""
        self._discard_finished()
        if has_wrap_hooks(environment):
            raise ActionFailed(
                f"Environment {environment.name!r} defines wrap hooks, which need the extension WRAP_ACTIONS; this "
                "version does not run it."
            )
        files = self._environment_files[identifier] = self._files_of(environment)
        scope = self._make_scope(rules, step_name, resolved_symtab)
        layer = self._resolve_variables(environment, scope, files.owner)
        action = environment.script.actions.onEnter if environment.script else None
        return layer, self._resolve(action, "onEnter", files, scope) if action else None

    def exit(self, entered: EnteredEnvironment, rules: Sequence[PathMappingRule]) -> Optional[ResolvedAction]:
        """The ``onExit`` of an environment if it has one; the paths of its files are forgotten (FILE-8)."""
        self._discard_finished()
        environment = entered.environment
        files = self._environment_files.pop(entered.identifier, None) or self._files_of(environment)
        self._finished.append(files)
        scope = self._make_scope(rules, entered.step_name, entered.resolved_symtab)
        action = environment.script.actions.onExit if environment.script else None
        return self._resolve(action, "onExit", files, scope) if action else None

    def task(
        self,
        script: StepScript,
        parameters: Mapping[str, ParameterValue],
        rules: Sequence[PathMappingRule],
        step_name: Optional[str],
        resolved_symtab: Optional[object],
    ) -> ResolvedAction:
        """The ``onRun`` of a step with the parameters of one task."""
        self._discard_finished()
        owner = ScriptOwner(f"Step {step_name!r}" if step_name else "Task", "Task", "Task.File")
        files = ScriptFiles(owner, script.embeddedFiles, self._workspace.files, self._log)
        self._finished.append(files)
        self._log_parameters(parameters)
        scope = self._make_scope(rules, step_name, resolved_symtab)
        scope = scope.extended(parameter_symbols("Task.", parameters, self._mapper))
        return self._resolve(script.actions.onRun, "onRun", files, scope)

    def _resolve(self, action: Action, name: str, files: ScriptFiles, scope: Scope) -> ResolvedAction:
        self._log.subsection("Phase: Setup")
        scope = scope.extended(files.allocate())
        files.write(scope)
        resolved = resolve_action(action, name, scope, files.owner.title)
        if resolved.timeout is not None and resolved.timeout >= _UNSCHEDULABLE_TIMEOUT:
            self._log.warning(
                f"{files.owner.title}, {name}, timeout of {resolved.timeout} seconds is longer than can be measured; "
                "the action runs without a time limit.",
                LogContent.PROCESS_CONTROL,
            )
            return replace(resolved, timeout=None)
        return resolved

    def _make_scope(
        self, rules: Sequence[PathMappingRule], step_name: Optional[str], resolved_symtab: Optional[object]
    ) -> Scope:
        """What every action sees: the Session, its job, its path mapping and the name of the step (SYM-5)."""
        if resolved_symtab is not None:
            raise ActionFailed(
                "A resolved symbol table (resolved_symtab) needs the EXPR extension, which this version does not run. "
                "Leave it out for templates without EXPR."
            )
        if tuple(rules) != self._rules:
            self._use_rules(tuple(rules))
        rules_file = self._workspace.write_rules(self._rules_document)
        symbols = session_symbols(self._workspace.path, rules_file, self._mapper)
        if step_name is not None:
            symbols["Step.Name"] = step_name
        return self._job_scope.extended(symbols)

    def _use_rules(self, rules: tuple[PathMappingRule, ...]) -> None:
        """Map the job's parameters, once for all actions until the rules change."""
        self._mapper = PathMapper(rules)
        self._rules_document = _rules_document(self._mapper)
        symbols = parameter_symbols("", self._job_parameters, self._mapper)
        if self._job_name is not None:
            symbols["Job.Name"] = self._job_name
        self._job_scope = Scope.of(symbols)
        self._rules = rules

    def _resolve_variables(self, environment: Environment, scope: Scope, owner: ScriptOwner) -> VariableLayer:
        values: dict[str, Optional[str]] = {}
        for name, text in (environment.variables or {}).items():
            values[name] = value = scope.resolve_argument(text, f"{owner.title}, variable {name!r}")
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
        return ScriptFiles(owner, files, self._workspace.files, self._log)

    def _discard_finished(self) -> None:
        """Remove what earlier actions alone could use, so that files do not pile up."""
        while self._finished:
            self._finished.pop().discard()


def _rules_document(mapper: PathMapper) -> str:
    """The text of the path mapping file (PM-16, PM-17)."""
    if not mapper.rules:
        return "{}"
    rules = [rule.to_dict() for rule in mapper.rules]
    return json.dumps({"version": "pathmapping-1.0", "path_mapping_rules": rules})
