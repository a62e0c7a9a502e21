"""The actions of one Session, one at a time: begun, prepared, started, announced.

This is where a Session's state changes: under its lock when a call is accepted, and in its outbox when an action ends.
The lock is never held while foreign code runs, nor across any input or output.
"""

from __future__ import annotations

import re
import shlex
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Callable, Optional, Union

from openjd.sessions._core.action_events import CancelRequested, NothingToRun, StartFailed
from openjd.sessions._core.actions import ResolvedAction, check_command_line
from openjd.sessions._core.environments import EnvironmentStack, ProcessEnvironment
from openjd.sessions._core.lifecycle import Call, SessionLifecycle
from openjd.sessions._core.output import OutputInterpreter
from openjd.sessions._core.redaction import MASK
from openjd.sessions._errors import ActionCanceled, ActionFailed, InvalidStateError, KeeperError
from openjd.sessions._logging import LogContent, printable
from openjd.sessions._platform.limits import longest_argument, longest_command_line
from openjd.sessions._platform.protocol import Command
from openjd.sessions._runtime.delivery import News, call_client, raise_interrupt, text_of
from openjd.sessions._runtime.loop import default_loop
from openjd.sessions._runtime.resources import LEAVE_LIMIT, SessionResources
from openjd.sessions._runtime.running_action import RunningAction, Surroundings
from openjd.sessions._types import ActionStatus, SessionCallbackType, SessionState

_CONTROL = LogContent.PROCESS_CONTROL
_COMMAND = LogContent.FILE_PATH | LogContent.PROCESS_CONTROL
_OUTPUT = LogContent.BANNER | LogContent.COMMAND_OUTPUT
_LONGEST_REASON = 65_536
"""Characters of a failure's reason, which may quote values of any length."""
_SECRET_DIRECTIVE = re.compile("openjd_redacted_env:?", re.IGNORECASE)  # near misses declare secrets, too (RED-8)


@dataclass(frozen=True)
class Plan:
    """What has to be done for one action."""

    commit: Callable[[], None]
    """Changes the state, under the lock: the call is accepted from now on."""
    prepare: Callable[[], Optional[ResolvedAction]]
    """Gives the action, or None if there is nothing to run; raises ActionFailed or ActionCanceled."""
    variables: Callable[[], ProcessEnvironment]
    """Gives the environment of its process, once it is prepared."""
    banner: Optional[str] = None
    entering: Optional[str] = None
    """Identifier of the environment that it enters."""
    released_scope: Optional[str] = None
    """Scope of the environment that it exits."""
    is_of_job: bool = True
    """Whether it belongs to the job, rather than to the host program: what it prints of variables is kept."""


class SessionActions:
    """The state of a Session, and its running action."""

    def __init__(
        self,
        session_id: str,
        resources: SessionResources,
        callback: Optional[SessionCallbackType],
        *,
        redacted_env_enabled: bool,
    ) -> None:
        self.lifecycle = SessionLifecycle()
        self.stack = EnvironmentStack()
        self.status: Optional[ActionStatus] = None
        self.lock = threading.Lock()
        self._session_id = session_id
        self._resources = resources
        self._callback = callback
        self._redacted_env_enabled = redacted_env_enabled
        self._log = resources.log
        self._audience = _WeakAudience(self)
        self._around: Optional[Surroundings] = None
        self.is_cleaned_up = False
        self._is_of_job = True
        default_loop().know(self)

    @property
    def current(self) -> Optional[RunningAction]:
        """The running action, or the last one."""
        return self._resources.action

    def is_canceled(self) -> bool:
        """Whether a cancel of the current action has been asked for."""
        return self.current is not None and self.current.is_canceled

    # -- starting; on the caller's thread

    def start(self, name: str, call: Call, accept: Callable[[], Plan]) -> News:
        """Accept, prepare and start an action.

        Gives what lets the news of it be delivered: the last call that a starter makes, so that its caller's next
        statement runs before any further news (API §9).

        Args:
            name: The method that was called.
            call: What it is to the lifecycle.
            accept: Under the lock: checks what else there is to check, and gives the plan.
        """
        previous, is_accepted = None, False
        try:
            with self.lock:
                self.lifecycle.check(call, name)
                plan = accept()
                previous, is_accepted = self.current, True
                action = self._make_current(plan)
                open_outbox = action.around.outbox.shut()
                plan.commit()
            self._prepare_and_start(action, plan)
            action.around.outbox.end_start(open_outbox)
        except BaseException:  # refused; or Ctrl-C, which must not leave an accepted action behind unfinished
            begun = self.current
            if is_accepted and begun is not None and begun is not previous:
                begun.abandon()
                try:
                    self._log.release()
                finally:
                    begun.around.outbox.reopen()
            raise
        return open_outbox

    def _make_current(self, plan: Plan) -> RunningAction:
        """Make the action known, before the state says that one is running: a signal handler may cancel it then."""
        if self._around is None:
            loop, outbox = self._resources.connect()
            self._around = Surroundings(loop, outbox, self._log, self._audience)
        action = RunningAction(self._around, plan.entering, plan.released_scope)
        self._resources.begin(action)
        self._is_of_job = plan.is_of_job
        self.status = action.initial_status
        return action

    def _prepare_and_start(self, action: RunningAction, plan: Plan) -> None:
        self._log.hold()  # what there is to log waits until the keeper is at work
        end = self._ask_for_process(action, plan)
        self._log.release()
        if end is not None:
            action.end_unstarted(end)
            action.around.outbox.deliver_here(action.future.done)  # an end without a process is told here (API §9)
        elif action.wait_for_start():
            self._announce_running(action)

    def _ask_for_process(self, action: RunningAction, plan: Plan) -> Optional[Union[StartFailed, NothingToRun]]:
        """Prepare an action and ask for its process; gives why there is none to wait for."""
        if plan.banner:
            self._log.section(plan.banner)
        try:
            resolved = plan.prepare()
            if resolved is None:
                return NothingToRun()
            directory, scope = self._resources.workspace.path, self.stack.innermost_scope
            variables = plan.variables()
            check_command_line(resolved, variables, longest_argument(), longest_command_line())
            command = Command(resolved.argv, directory, variables, scope)
            keeper = self._resources.keeper()
        except ActionCanceled:
            return StartFailed()
        except (ActionFailed, KeeperError) as failure:
            reason = _shortened(self._resources.redactor.redact(str(failure)))
            self._log.info(f"openjd_fail: {reason}", LogContent.EXCEPTION_INFO)
            return StartFailed(reason)
        action.configure(
            self._make_interpreter(action),
            notify_period=resolved.cancel_method.notify_period,
            time_limit=resolved.timeout,
        )
        action.start(keeper, command)
        self._log.subsection("Phase: Running action")
        shown = _shown(resolved.shown or resolved.argv, self._log.redact)
        self._log.info(f"Running command {shown}", _COMMAND)
        return None

    def _make_interpreter(self, action: RunningAction) -> OutputInterpreter:
        return OutputInterpreter(
            self._resources.redactor,
            entering=action.entering is not None,
            redacted_env_enabled=self._redacted_env_enabled,
        )

    def _announce_running(self, action: RunningAction) -> None:
        self._log.hold()
        self._log.info(f"Command started as pid: {action.pid}", _CONTROL)
        self._log.info("Output:", _OUTPUT)
        self._log.release()
        if not action.is_over and self.status == action.initial_status:  # else a log handler has waited for news
            raise_interrupt(self._tell(action.initial_status))

    # -- announcing (Audience); in the outbox's turn

    def status_changed(self, status: ActionStatus, line: str) -> None:
        self.status = status
        error = call_client(lambda: self._call_back(status))
        if error is not None:
            reason = text_of(error)
            self._log.error(
                f"Open Job Description: Exception in the action message callback: {reason}", LogContent.EXCEPTION_INFO
            )
            self._log.info(f"{line} -- ERROR: {reason}", LogContent.COMMAND_OUTPUT | LogContent.EXCEPTION_INFO)
        else:
            self._log.info(line, LogContent.COMMAND_OUTPUT)
        raise_interrupt(error)

    def action_ended(self, action: RunningAction, status: ActionStatus) -> None:
        with self.lock:
            self.status = status  # before the state, for those who poll that without the lock
            if self._is_of_job:
                self.stack.apply_changes(action.entering, action.changes)
            self.lifecycle.action_ended(status.state)
        action.is_over = True
        if action.released_scope is not None:
            self._resources.release(action.released_scope)
        error = self._tell(status)
        action.future.set_result(status)
        raise_interrupt(error)

    def _call_back(self, status: ActionStatus) -> None:
        if self._callback:  # its truth value is read once before each call (API §9)
            self._callback(self._session_id, status)

    def _tell(self, status: ActionStatus) -> Optional[BaseException]:
        """Make the first or the final call of an action; gives what came out of it."""
        error = call_client(lambda: self._call_back(status))
        if error is not None:
            self._log.error(f"Exception in action callback: {text_of(error)}", LogContent.EXCEPTION_INFO | _CONTROL)
        return error

    # -- waiting and ending

    def check_idle(self, name: str) -> None:
        """Raise InvalidStateError while an action runs, and after the end."""
        if self.lifecycle.state in (SessionState.RUNNING, SessionState.ENDED):
            raise InvalidStateError(name, self.lifecycle.state, "READY or READY_ENDING")

    def cancel(self, time_limit: Optional[float], *, mark_failed: bool) -> None:
        """Ask the running action to end. Takes no lock, so that a signal handler may call it."""
        self.lifecycle.check(Call.CANCEL, "cancel_action()")
        action = self.current
        if action is not None:
            action.cancel(CancelRequested(time_limit=time_limit, mark_failed=mark_failed))

    def wait(self, timeout: Optional[float] = None) -> Optional[ActionStatus]:
        """The final status of the current action, once its final call has been made."""
        action = self.current
        if action is None:
            return None
        if action.around.outbox.is_delivered_here and not action.future.done():
            if action.is_over:  # this is its final call
                return self.status
            action.around.outbox.deliver_here(action.future.done, timeout)
            return _result(action, 0)
        return _result(action, timeout)

    def cleanup(self, deadline: Optional[float] = None) -> None:
        """End: terminate what runs, wait for its end, give everything back (LC-30 to LC-36).

        Args:
            deadline: Moment of the monotonic clock until which a running action is waited for; None for no limit.
        """
        has_time = True
        while True:
            if self.lifecycle.state is SessionState.RUNNING:
                has_time = self._end_action(deadline)
            with self.lock:
                if self.is_cleaned_up:
                    return
                if not has_time or self.lifecycle.state is not SessionState.RUNNING:  # nor has one been started since
                    self.is_cleaned_up = True
                    self.lifecycle.cleanup()
                    break
        try:
            self._give_back(deadline)
        except BaseException:  # Ctrl-C: whoever calls again finishes it
            self.is_cleaned_up = False
            raise

    def _end_action(self, deadline: Optional[float]) -> bool:
        """Terminate what runs; whether it has ended in time."""
        self._resources.terminate()
        try:
            self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            return False
        return True

    def _give_back(self, deadline: Optional[float]) -> None:
        self._log.hold()
        self._log.section("Session Cleanup")
        directory = self._resources.workspace.path
        if not self._resources.retains_directory:
            self._log.info(f"Deleting working directory: {directory}", LogContent.FILE_PATH)
        self._log.release()
        limit = LEAVE_LIMIT if deadline is None else max(0.0, deadline - time.monotonic())
        for path, reason in self._resources.give_back(limit):
            text = f"Could not delete {printable(str(path))}: {reason}"
            self._log.warning(text, LogContent.FILE_PATH | LogContent.EXCEPTION_INFO)
        self._resources.disconnect()

    def _end_at_exit(self, deadline: float) -> None:
        self.cleanup(deadline)

    def _forget(self) -> None:
        self.lock = threading.Lock()
        self.is_cleaned_up = True
        self.lifecycle.cleanup()
        self._resources.forget()


class _WeakAudience:
    """Passes news on to a Session as long as somebody holds it; ends the future of its action in any case."""

    def __init__(self, actions: SessionActions) -> None:
        self._actions = weakref.ref(actions)

    def status_changed(self, status: ActionStatus, line: str) -> None:
        actions = self._actions()
        if actions is not None:
            actions.status_changed(status, line)

    def action_ended(self, action: RunningAction, status: ActionStatus) -> None:
        actions = self._actions()
        if actions is not None:
            actions.action_ended(action, status)
        else:
            action.future.set_result(status)


def _result(action: RunningAction, timeout: Optional[float]) -> ActionStatus:
    try:
        return action.future.result(timeout)
    except FutureTimeoutError:
        raise TimeoutError("The action has not ended yet.") from None


def _shortened(reason: str) -> str:
    if len(reason) <= _LONGEST_REASON:
        return reason
    return f"{reason[:_LONGEST_REASON]}... (the first {_LONGEST_REASON} of {len(reason)} characters)"


def _shown(argv: Sequence[str], redact: Callable[[str], str]) -> str:
    """A command line for the log: secrets are hidden before they are quoted, and what follows their directive, too."""
    line = " ".join(_quoted(redact(word)) for word in argv)
    directive = _SECRET_DIRECTIVE.search(line)
    return f"{line[: directive.end()]} {MASK}" if directive else line  # RED-12


def _quoted(word: str) -> str:
    """A word as a shell reads it; a mask alone needs no quotes."""
    like = word.replace(MASK, "x")
    return word if shlex.quote(like) == like else shlex.quote(word)
