"""A door kept for existing clients: the base class of a runner of their own (API §16). Nothing of ours uses it."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Optional, Union

from openjd.sessions._core.action_events import CancelRequested, StartFailed
from openjd.sessions._core.environments import compose_environment
from openjd.sessions._core.lines import LineAssembler, Lines, Piece
from openjd.sessions._core.output import OutputItem, Text
from openjd.sessions._errors import ActionFailed, KeeperError, SessionError
from openjd.sessions._logging import LogBatch, LogContent, SessionLog
from openjd.sessions._platform.protocol import Command, Keeper, Platform
from openjd.sessions._runtime.delivery import News, Outbox, call_client, raise_interrupt, text_of
from openjd.sessions._runtime.files_directory import FilesDirectory
from openjd.sessions._runtime.loop import default_loop
from openjd.sessions._runtime.process_environment import checked_variables, own_variables
from openjd.sessions._runtime.running_action import RunningAction, Surroundings
from openjd.sessions._session_user import SessionUser, group_of, other_user
from openjd.sessions._types import ActionState, ActionStatus

if TYPE_CHECKING:
    from openjd.model import SymbolTable
    from openjd.model.v2023_09 import EmbeddedFileText

    from openjd.sessions._embedded_files import EmbeddedFilesScope

_OWNERS = {
    "STEP": ("Task", "Task", "Task.File"),
    "ENV": ("Environment", "Environment", "Env.File"),
}


@dataclass(frozen=True)
class TerminateCancelMethod:
    """Cancel by ending the whole process tree at once."""


class ScriptRunnerBase(ABC):
    """Runs one process for a client's own purposes, outside of any Session.

    Args:
        logger: Where its records go; lines that begin with ``openjd_`` have no meaning here.
        user: The account to run as; this program's own if not given.
        os_env_vars: Environment variables on top of this program's own, or of those of the user's login.
        session_working_directory: The working directory of the Session it belongs to.
        startup_directory: The directory it runs in, if that is another one.
        callback: Called with RUNNING on the thread that starts it, and last, on another one, with how it ended.
    """

    def __init__(
        self,
        *,
        logger: Union[logging.Logger, logging.LoggerAdapter[logging.Logger]],
        user: Optional[SessionUser] = None,
        os_env_vars: Optional[Mapping[str, Optional[str]]] = None,
        session_working_directory: Path,
        startup_directory: Optional[Path] = None,
        callback: Optional[Callable[[ActionState], None]] = None,
    ) -> None:
        self._print_section_banner = True
        group_of(user)  # refuses users of other systems
        self._user = other_user(user)
        self._log = _ClientLog(logger)
        self._os_env_vars = checked_variables(os_env_vars)
        self._directory = startup_directory or session_working_directory
        self._callback = callback
        self._run_of_process: Optional[_Run] = None
        self._failure: Optional[str] = None

    @abstractmethod
    def cancel(self, *, time_limit: Optional[timedelta] = None, mark_action_failed: bool = False) -> None:
        """Cancel what runs; to be written with ``_cancel``."""

    @property
    def exit_code(self) -> Optional[int]:
        """Exit code of the process once it has ended."""
        run = self._run_of_process
        return run.action.future.result().exit_code if run is not None and run.action.future.done() else None

    def _run(self, args: Sequence[str], time_limit: Optional[timedelta] = None) -> None:
        """Start the process and return; only once.

        Raises:
            RuntimeError: It has been called before.
        """
        if self._run_of_process is not None:
            raise SessionError("This runner has run its process already; make a new one for each process.")
        if self._failure is not None:
            return
        self._run_of_process = run = _Run(self._log, self._callback)
        if self._print_section_banner:
            self._log.subsection("Phase: Running action")
        open_outbox = run.start(lambda platform: self._prepare(platform, args), time_limit)
        open_outbox()

    def _prepare(self, platform: Platform, args: Sequence[str]) -> tuple[Keeper, Command]:
        """Who is to start it, and what."""
        keeper = platform.open_keeper(self._user)
        base = own_variables() if self._user is None else platform.login_variables(self._user)
        return keeper, Command(args, str(self._directory), compose_environment(base, self._os_env_vars))

    def _materialize_files(
        self,
        scope: EmbeddedFilesScope,
        files: Sequence[EmbeddedFileText],
        dest_directory: Path,
        symtab: SymbolTable,
    ) -> None:
        """Write embedded files, and add the symbols of their paths to ``symtab``.

        A failure is logged and told as FAILED; ``_run`` does nothing then.
        """
        from openjd.sessions._core.scopes import Scope
        from openjd.sessions._platform.directories import PrivateDirectory
        from openjd.sessions._runtime.script_files import ScriptFiles, ScriptOwner

        owner = ScriptOwner(*_OWNERS[scope.name])
        try:
            with closing(FilesDirectory(PrivateDirectory.open(str(dest_directory), None))) as directory:
                script_files = ScriptFiles(owner, files, directory, self._log)
                for symbol, path in script_files.allocate().items():
                    symtab[symbol] = path
                script_files.write(Scope.of({name: symtab[name] for name in symtab.symbols}))
        except (ActionFailed, OSError) as failure:
            self._failure = str(failure)
            self._log.error(self._failure, LogContent.EXCEPTION_INFO)
            tell(self._log, self._callback, ActionState.FAILED)

    def _cancel(
        self, method: TerminateCancelMethod, time_limit: Optional[timedelta] = None, mark_action_failed: bool = False
    ) -> None:
        """End the process; nothing happens if none runs.

        Args:
            method: How; there is only termination.
            time_limit: At most this long is waited between notifying and terminating; not for termination.
            mark_action_failed: Have it end FAILED instead of CANCELED.
        """
        if not isinstance(method, TerminateCancelMethod):
            raise TypeError(f"A TerminateCancelMethod is needed to cancel a runner; got {method!r}.")
        if self._run_of_process is not None:
            limit = time_limit.total_seconds() if time_limit is not None else None
            self._run_of_process.action.cancel(CancelRequested(time_limit=limit, mark_failed=mark_action_failed))


class _Run:
    """The one process of a runner."""

    def __init__(self, log: SessionLog, callback: Optional[Callable[[ActionState], None]]) -> None:
        self._log = log
        self._callback = callback
        self._loop = default_loop()
        self._loop.know(self)
        self._loop.join(self)
        self._outbox = Outbox(self._loop.delivery)
        self._keeper: Optional[Keeper] = None
        self.action = RunningAction(Surroundings(self._loop, self._outbox, log, self))

    def start(self, prepare: Callable[[Platform], tuple[Keeper, Command]], time_limit: Optional[timedelta]) -> News:
        """Start the process, tell RUNNING, and give the call that lets further news be told."""
        open_outbox = self._outbox.shut()
        limit = time_limit.total_seconds() if time_limit is not None else None
        self.action.configure(_PlainOutput(), notify_period=None, time_limit=limit)
        try:
            self._keeper, command = prepare(self._loop.platform)
            self.action.start(self._keeper, command)
            if self.action.wait_for_start():
                self._log.info(f"Command started as pid: {self.action.pid}", LogContent.PROCESS_CONTROL)
                self._log.info("Output:", LogContent.BANNER | LogContent.COMMAND_OUTPUT)
                tell(self._log, self._callback, ActionState.RUNNING)
        except KeeperError as error:
            self.action.end_unstarted(StartFailed(str(error)))
        except BaseException:
            self.action.abandon()
            self._outbox.reopen()
            raise
        self._outbox.end_start(open_outbox)
        return open_outbox

    def status_changed(self, status: ActionStatus, line: str) -> None:
        """Never called: output has no meaning here."""

    def action_ended(self, action: RunningAction, status: ActionStatus) -> None:
        """The process is over: give everything back, then tell."""
        action.is_over = True
        self._loop.post(action.close)
        self._outbox.close()
        part = partial(self._loop.part, self)
        if self._keeper is not None:
            self._loop.post(partial(self._keeper.leave, part))
        else:
            part()
        action.future.set_result(status)
        tell(self._log, self._callback, status.state)

    def _end_at_exit(self, deadline: float) -> None:
        """Nothing to do: the keeper ends the process when this program has gone."""

    def _forget(self) -> None:
        self.action.forget()


def tell(log: SessionLog, callback: Optional[Callable[[ActionState], None]], state: ActionState) -> None:
    """Make a call of a runner's client."""
    error = call_client(lambda: callback(state)) if callback else None
    if error is not None:
        content = LogContent.EXCEPTION_INFO | LogContent.PROCESS_CONTROL
        log.error(f"Exception in action callback: {text_of(error)}", content)


class _ClientLog(SessionLog):
    """Logs to a client's logger instead of ``LOG``."""

    def __init__(self, logger: Union[logging.Logger, logging.LoggerAdapter[logging.Logger]]) -> None:
        self._logger = logger
        self._held, self._holder = [], None

    def redact(self, text: str) -> str:
        return text

    def shows(self, level: int) -> bool:
        return self._logger.isEnabledFor(level)

    def _handle(self, batches: Iterable[LogBatch]) -> None:
        for level, messages, content in batches:
            extra = {"openjd_log_content": content} if content is not None else None
            for message in messages:
                raise_interrupt(call_client(partial(self._logger.log, level, message, extra=extra)))


class _PlainOutput:
    """Output that is shown and means nothing else."""

    def __init__(self) -> None:
        self._assembler = LineAssembler(lambda: 0)

    def feed(self, block: bytes) -> list[OutputItem]:
        return [_as_text(part) for part in self._assembler.feed(block)]

    def close(self) -> list[OutputItem]:
        return [_as_text(part) for part in self._assembler.close()]


def _as_text(part: Union[Lines, Piece]) -> Text:
    return Text(part.text if isinstance(part, Lines) else part.text[part.start : part.end])
