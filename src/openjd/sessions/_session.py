"""The Session: validates calls, begins actions, has them prepared and started, and announces what becomes of them."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Union

from openjd.sessions._core.environments import EnteredEnvironment, VariableLayer
from openjd.sessions._core.parameters import Task, as_parameter_values
from openjd.sessions._path_mapping import PathMappingRule
from openjd.sessions._platform import check_platform
from openjd.sessions._runtime.process_environment import (
    Inherit,
    ProcessVariables,
    checked_inherit,
    checked_variables,
)
from openjd.sessions._runtime.session_view import SessionView
from openjd.sessions._session_user import SessionUser
from openjd.sessions._types import EnvironmentIdentifier, Parameters, SessionCallbackType

_BASE_REVISION = "2023-09"

if TYPE_CHECKING:
    from types import TracebackType

    from openjd.expr import SerializedSymbolTable
    from openjd.model import RevisionExtensions
    from openjd.model.v2023_09 import Environment as EnvironmentModel
    from openjd.model.v2023_09 import StepScript as StepScriptModel

    from openjd.sessions._runtime.environment_context import EnvironmentContext


class Session(SessionView):
    """Runs the actions of one job, one at a time, in a working directory of its own (How Jobs Are Run, Sessions).

    A starter (``enter_environment``, ``exit_environment``, ``run_task``, ``run_subprocess``) returns when the process
    runs or is known not to start; ``wait()``, ``future`` and the callback tell of its end. Misuse raises and changes
    nothing; whatever goes wrong with an action ends that action as FAILED.

    Args:
        session_id: Identifies the Session in log records and calls.
        job_parameter_values: A dictionary of ``openjd.model.ParameterValue``, or a list of ``Parameter``.
        job_name: Name of the job.
        path_mapping_rules: How paths of other hosts are found on this one; copied.
        retain_working_dir: Leave the working directory where it is when the Session ends.
        user: The account that actions run as; this program's own if not given.
        callback: ``callback(session_id, status)``, called for every change of an action's status.
        os_env_vars: Environment variables for all actions.
        session_root_directory: Existing directory to make the working directory in.
        revision_extensions: What the job's template may use; revision 2023-09 without extensions if not given.
        inherit_env: What actions inherit of this program's environment, or of the login of another user: all, nothing,
            or the variables whose names match one of the patterns (``fnmatch``).

    Raises:
        RuntimeError: The working directory cannot be made (``WorkspaceError``); user can't be used (``KeeperError``).
        NotImplementedError: This system is not supported yet.
        ValueError, TypeError: An argument has a wrong value.
    """

    def __init__(
        self,
        *,
        session_id: str,
        job_parameter_values: Parameters,
        job_name: Optional[str] = None,
        path_mapping_rules: Optional[list[PathMappingRule]] = None,
        retain_working_dir: bool = False,
        user: Optional[SessionUser] = None,
        callback: Optional[SessionCallbackType] = None,
        os_env_vars: Optional[Mapping[str, str]] = None,
        session_root_directory: Optional[Union[Path, str]] = None,
        revision_extensions: Optional[RevisionExtensions] = None,
        inherit_env: Inherit = True,
    ) -> None:
        check_platform()
        # with the first Session, so that importing this package stays cheap
        from openjd.sessions._runtime.resources import open_resources
        from openjd.sessions._runtime.session_actions import SessionActions
        from openjd.sessions._runtime.starters import Starters

        self._session_id = session_id
        job_parameters = as_parameter_values(job_parameter_values)
        self._path_mapping_rules = _sorted_rules(path_mapping_rules)
        self._extensions = sorted(revision_extensions.extensions) if revision_extensions is not None else []
        inherit, of_session = checked_inherit(inherit_env), checked_variables(os_env_vars)
        self._resources = open_resources(session_id, session_root_directory, user, retains_directory=retain_working_dir)
        own = {"OPENJD_SESSION_WORKING_DIR": self._resources.workspace.path}
        self._variables = ProcessVariables(inherit, of_session, own, self._resources.base_variables)
        self._optional_actions = SessionActions(
            session_id, self._resources, callback, redacted_env_enabled=_has_redacted_env(revision_extensions)
        )
        self._start = Starters(self._optional_actions, self._resources, job_parameters, job_name)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.cleanup()

    def __del__(self) -> None:
        if self._optional_actions is not None and not self._optional_actions.is_cleaned_up:
            self._resources.drop()
            text = f"Session {self._session_id!r} was dropped without cleanup()"
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)  # may raise: the last thing done

    # -- actions

    def enter_environment(
        self,
        *,
        environment: EnvironmentModel,
        identifier: Optional[EnvironmentIdentifier] = None,
        os_env_vars: Optional[Mapping[str, str]] = None,
        step_name: Optional[str] = None,
        resolved_symtab: Optional[SerializedSymbolTable] = None,
    ) -> EnvironmentIdentifier:
        """Start to enter an environment: its variables count from now on, and its ``onEnter`` is run if it has one.

        It counts as entered, and must be exited, even if its action fails.

        Args:
            environment: The environment of a template.
            identifier: What to call it; made up if not given.
            os_env_vars: Environment variables for this action only.
            step_name: Name of the step whose environment it is.
            resolved_symtab: Symbols resolved at the job's creation (needs EXPR).

        Returns:
            The identifier to exit it with.

        Raises:
            RuntimeError: The Session is not READY, the identifier is in use, or a second environment would wrap.
            ValueError: A variable's name or value is impossible.
        """
        entered = EnteredEnvironment(
            identifier=identifier if identifier is not None else f"{self._session_id}:{uuid.uuid4().hex}",
            environment=environment,
            layer=VariableLayer(),
            step_name=step_name,
            resolved_symtab=resolved_symtab,
        )
        open_outbox = self._start.enter(entered, self._path_mapping_rules or (), self._variables.with_call(os_env_vars))
        open_outbox()
        return entered.identifier

    def exit_environment(
        self,
        *,
        identifier: EnvironmentIdentifier,
        os_env_vars: Optional[Mapping[str, str]] = None,
        keep_session_running: bool = False,
        resolved_symtab: Optional[SerializedSymbolTable] = None,
    ) -> None:
        """Start to exit the innermost environment: its ``onExit`` is run if it has one, with its variables.

        Args:
            identifier: What ``enter_environment`` gave.
            os_env_vars: Environment variables for this action only.
            keep_session_running: Whether more may be run afterwards; otherwise only exits remain.
            resolved_symtab: As for ``enter_environment``; the one given there if not given here.

        Raises:
            RuntimeError: The Session is neither READY nor READY_ENDING, or this is not the innermost environment.
            ValueError: A variable's name or value is impossible.
        """
        open_outbox = self._start.exit(
            identifier,
            self._path_mapping_rules or (),
            self._variables.with_call(os_env_vars),
            keep_session_running=keep_session_running,
            resolved_symtab=resolved_symtab,
        )
        open_outbox()

    def run_task(
        self,
        *,
        step_script: StepScriptModel,
        task_parameter_values: Parameters,
        os_env_vars: Optional[Mapping[str, str]] = None,
        log_task_banner: bool = True,
        step_name: Optional[str] = None,
        resolved_symtab: Optional[SerializedSymbolTable] = None,
    ) -> None:
        """Start to run a task: a step's ``onRun`` with one set of task parameters.

        Args:
            step_script: The script of a step.
            task_parameter_values: As ``job_parameter_values`` of the Session.
            os_env_vars: Environment variables for this action only.
            log_task_banner: Whether to log the banner "Running Task".
            step_name: Name of the step.
            resolved_symtab: Symbols resolved at the job's creation (needs EXPR).

        Raises:
            RuntimeError: The Session is not READY.
            ValueError, TypeError: A parameter or variable is impossible, or a wrapped task has no step_name.
        """
        parameters = as_parameter_values(task_parameter_values)
        task = Task(step_script, parameters, step_name, resolved_symtab, has_banner=log_task_banner)
        variables = self._variables.with_call(os_env_vars)
        open_outbox = self._start.run_task(task, self._path_mapping_rules or (), variables, sees_environments=True)
        open_outbox()

    def _run_task_without_session_env(
        self,
        *,
        step_script: StepScriptModel,
        task_parameter_values: Parameters,
        os_env_vars: Optional[Mapping[str, str]] = None,
        log_task_banner: bool = True,
    ) -> None:
        """``run_task`` without the variables of the entered environments; for existing worker programs (API §16)."""
        parameters = as_parameter_values(task_parameter_values)
        task = Task(step_script, parameters, step_name=None, resolved_symtab=None, has_banner=log_task_banner)
        variables = self._variables.with_call(os_env_vars)
        open_outbox = self._start.run_task(task, self._path_mapping_rules or (), variables, sees_environments=False)
        open_outbox()

    def run_subprocess(
        self,
        *,
        command: str,
        args: Optional[list[str]] = None,
        timeout: Optional[int] = None,
        os_env_vars: Optional[Mapping[str, str]] = None,
        use_session_env_vars: bool = True,
        log_banner_message: Optional[str] = None,
    ) -> None:
        """Start a process of your own; command and arguments are taken literally.

        Args:
            command: The program.
            args: Its arguments.
            timeout: Seconds after which it is terminated; no limit if not given.
            os_env_vars: Environment variables for this action only.
            use_session_env_vars: Whether the variables of the entered environments count.
            log_banner_message: Title of a banner to log.

        Raises:
            RuntimeError: The Session is not READY.
            ValueError: The command is blank, it or an argument contains NUL, or the timeout is below 1.
        """
        open_outbox = self._start.run_subprocess(
            self._start.subprocess(command, args, timeout),
            self._variables.with_call(os_env_vars),
            banner=log_banner_message,
            sees_environments=use_session_env_vars,
        )
        open_outbox()

    # -- influencing it

    def cancel_action(self, *, time_limit: Optional[timedelta] = None, mark_action_failed: bool = False) -> None:
        """Ask the running action to end, by its own cancelation method; does not wait. May be called repeatedly.

        Callable from any thread, from a callback and from a signal handler.

        Args:
            time_limit: At most this long is waited between notifying and terminating.
            mark_action_failed: Have the action end FAILED instead of CANCELED.

        Raises:
            RuntimeError: No action is running.
        """
        limit = time_limit.total_seconds() if time_limit is not None else None
        self._actions.cancel(limit, mark_failed=mark_action_failed)

    def environment(
        self,
        environment: EnvironmentModel,
        *,
        identifier: Optional[EnvironmentIdentifier] = None,
        os_env_vars: Optional[Mapping[str, str]] = None,
        step_name: Optional[str] = None,
        resolved_symtab: Optional[SerializedSymbolTable] = None,
        keep_session_running: bool = True,
    ) -> EnvironmentContext:
        """``with session.environment(env) as identifier:`` enters, waits, and exits at the end of the block.

        Also as ``async with``. On leaving, also by an exception, what still runs is canceled and waited for first.
        The arguments are those of ``enter_environment`` and ``exit_environment``.

        Raises:
            ActionError: Entering did not succeed; or exiting did not, and the block did not raise.
        """
        from openjd.sessions._runtime.environment_context import EnvironmentContext

        return EnvironmentContext(
            self,
            environment.name,
            partial(
                self.enter_environment,
                environment=environment,
                identifier=identifier,
                os_env_vars=os_env_vars,
                step_name=step_name,
                resolved_symtab=resolved_symtab,
            ),
            partial(self.exit_environment, os_env_vars=os_env_vars, keep_session_running=keep_session_running),
            self.cancel_action,
        )

    def extend_path_mapping_rules(self, additional: Iterable[PathMappingRule]) -> None:
        """Add rules, which count from the next action on (rule PM-20).

        Raises:
            RuntimeError: An action is running, or the Session has ended.
        """
        self._actions.check_idle("extend_path_mapping_rules()")
        self._path_mapping_rules = _sorted_rules([*(self._path_mapping_rules or ()), *additional])

    def add_redaction(self, value: str) -> None:
        """Hide a value in everything that is logged for this Session from now on (rules RED-1, RED-6).

        Raises:
            ValueError: The value is empty.
        """
        if not value:
            raise ValueError("The empty string can't be hidden.")
        self._resources.redactor.add(value)

    def cleanup(self) -> None:
        """End the Session: terminate what runs, and delete the working directory unless it is retained.

        Runs no ``onExit``: exit all environments first. Idempotent; callable from a callback.
        """
        self._actions.cleanup()


def _sorted_rules(rules: Optional[Iterable[PathMappingRule]]) -> Optional[list[PathMappingRule]]:
    """A copy, longest source first (rule PM-11)."""
    if rules is None:
        return None
    return sorted(rules, key=lambda rule: -rule._source_path_component_count())


def _has_redacted_env(revision_extensions: Optional[RevisionExtensions]) -> bool:
    """Whether REDACTED_ENV_VARS is enabled: as an extension, or by a later revision (RED-2)."""
    if revision_extensions is None:
        return False
    revision = revision_extensions.spec_rev.value
    is_later = revision[:1].isdigit() and revision > _BASE_REVISION
    return is_later or "REDACTED_ENV_VARS" in revision_extensions.extensions
