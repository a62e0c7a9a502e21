"""One action from start to end: feeds its machine, and performs what the machine decides.

All of it happens on the loop's thread but starts and ``cancel``. What others are to hear of goes to the outbox.
"""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Callable, Optional, Protocol, Union

from openjd.sessions._core.action_events import (
    ActionEffect,
    ActionEvent,
    Arm,
    CancelRequested,
    Complete,
    Deadline,
    Drain,
    Exited,
    GraceEnded,
    KillLimitReached,
    LimitReached,
    Lost,
    NothingToRun,
    Notify,
    NotifyFailed,
    OutputEnded,
    Publish,
    Reported,
    Started,
    StartFailed,
    Terminate,
    TreeEnded,
)
from openjd.sessions._core.environments import VariableChanges
from openjd.sessions._core.lifecycle import ActionMachine, Phase
from openjd.sessions._core.output import Broken, Interpreter, LogLevel, Notice, OutputItem, Text, Update, VariableChange
from openjd.sessions._logging import LogContent, SessionLog
from openjd.sessions._runtime.action_future import ActionFuture
from openjd.sessions._runtime.delivery import Outbox
from openjd.sessions._runtime.loop import Loop, Timer
from openjd.sessions._runtime.output_stream import OutputStream
from openjd.sessions._types import ActionStatus, ActionUsage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openjd.sessions._platform.protocol import Command, Keeper, Process

START_LIMIT = 15.0
"""Seconds after which a start is given up; a keeper that does not answer is noticed before."""
_LATE = 0.1
"""Seconds after which a start that has not been answered is watched."""
_CONTROL = LogContent.PROCESS_CONTROL


class Audience(Protocol):
    """Who is told of an action, in its Session's outbox."""

    def status_changed(self, status: ActionStatus, line: str) -> None:
        """The line that the action printed changed its status; it is still to be logged."""

    def action_ended(self, action: RunningAction, status: ActionStatus) -> None:
        """The action is over."""


@dataclass(frozen=True)
class Surroundings:
    """What the actions of one Session share."""

    loop: Loop
    outbox: Outbox
    log: SessionLog
    audience: Audience


class RunningAction:
    """One accepted action of a Session."""

    def __init__(
        self, surroundings: Surroundings, entering: Optional[str] = None, released_scope: Optional[str] = None
    ) -> None:
        self.entering = entering
        """Identifier of the environment that it enters."""
        self.released_scope = released_scope
        """Scope of the environment that it exits: what was left behind there ends with it."""
        self.future = ActionFuture()
        self.changes = VariableChanges()
        self.is_over = False
        """Whether its final call has been made, or is being made."""
        self.pid: Optional[int] = None
        self.around = surroundings
        self._machine = ActionMachine()
        self.initial_status = self._machine.status
        self._interpreter: Optional[Interpreter] = None
        self._process: Optional[Process] = None
        self.is_canceled = False
        """Whether a cancel has been asked for, by any thread."""
        self._stream: Optional[OutputStream] = None
        self._left: Sequence[str] = ()
        self._timers: dict[Deadline, Timer] = {}
        self._answers: SimpleQueue[None] = SimpleQueue()

    # -- any thread

    def configure(
        self, interpreter: Interpreter, *, notify_period: Optional[float], time_limit: Optional[float]
    ) -> None:
        """Say how it is read, canceled and limited; before ``start``."""
        self._interpreter = interpreter
        self._machine.set_limits(notify_period=notify_period, time_limit=time_limit)

    def start(self, keeper: Keeper, command: Command) -> None:
        """Ask for the process, unless the action has been canceled before."""
        if self.is_canceled:
            self.end_unstarted(StartFailed())
        else:
            self._process = process = keeper.process(command, self)
            process.start()

    def wait_for_start(self) -> bool:
        """Wait until the process runs; False if it does not."""
        process = self._process
        if process is not None:  # else it has been canceled, or is over already
            for seconds, when_late in ((_LATE, process.check), (START_LIMIT, self._give_up_start)):
                try:
                    self._answers.get(timeout=seconds)
                    break
                except Empty:
                    self.around.loop.post(when_late)
        return self.pid is not None

    def cancel(self, request: CancelRequested) -> None:
        """Ask the action to end. Takes no lock, so that a signal handler may call it."""
        self.around.loop.post(partial(self._handle, request))
        self.is_canceled = True  # only then: the starter, who looks at it, must not come first to the machine

    def end_unstarted(self, event: Union[StartFailed, NothingToRun]) -> None:
        """No process will be asked for."""
        self.around.loop.post(partial(self._handle, event))

    def abandon(self) -> None:
        """The start was interrupted: end the action, however far it came."""
        self.cancel(CancelRequested(at_once=True))
        self.around.loop.post(self._end_if_not_begun)

    def close(self) -> None:
        """The Session is over: read no more of what survivors print. On the loop's thread."""
        if self._stream is not None:
            self._stream.close()

    def forget(self) -> None:
        """This is a forked child: the output is the parent's."""
        if self._stream is not None:
            self._stream.forget()

    # -- what becomes of the process (ProcessObserver); the loop's thread from here on

    def started(self, pid: int, output: int) -> None:
        if self._machine.phase is Phase.ENDED:  # it has been given up before
            self.around.loop.post(partial(self.around.loop.dare, partial(os.close, output)))
            if self._process is not None:
                self._process.terminate()
            return
        self.pid = pid
        self._stream = OutputStream(self.around.loop, output, self.around.outbox, self)
        self._handle(Started())
        self._answers.put(None)  # last: it wakes the starter, which then needs not wait for the interpreter

    def not_started(self, reason: str) -> None:
        reason = self.around.log.redact(reason)
        self._put(partial(self.around.log.info, f"Process failed to start: {reason}", _FAILURE))
        self._handle(StartFailed(reason))
        self._answers.put(None)

    def notify_failed(self, reason: str) -> None:
        self._put(partial(self.around.log.warning, f"{reason}. Terminating the action.", _FAILURE))
        self._handle(NotifyFailed())

    def exited(self, code: int, usage: ActionUsage, left: Sequence[str]) -> None:
        self._left = left
        self._disarm(Deadline.LIMIT)
        self._handle(Exited(code, usage))

    def signal_refused(self, reason: str) -> None:
        self._put(partial(self.around.log.warning, reason, _FAILURE))

    def tree_ended(self) -> None:
        self._handle(TreeEnded())

    def lost(self, reason: str) -> None:
        if self._machine.phase is Phase.ENDED:
            return
        reason = self.around.log.redact(reason)
        self._put(partial(self.around.log.error, reason, _FAILURE))
        self._handle(Lost(reason))
        self._answers.put(None)

    # -- what it prints (OutputListener)

    def take(self, block: bytes) -> None:
        self.around.loop.guarded(partial(self._take, block), self._end_by_bug)

    def _take(self, block: bytes) -> None:
        if self._interpreter is not None:
            for item in self._interpreter.feed(block):
                self._take_item(item)

    def output_ended(self) -> None:
        if self._interpreter is not None:
            for item in self._interpreter.close():
                self._take_item(item)
        if self._process is not None and not self._machine.has_exited:
            self._process.check()  # who prints nothing any more is about to exit; or has, and its keeper is stuck
        self._handle(OutputEnded())

    def warn(self, message: str) -> None:
        self._put(partial(self.around.log.warning, message, _CONTROL))

    def output_withheld(self, reason: str) -> None:
        self._put(partial(self.around.log.error, reason, _FAILURE))
        self._handle(CancelRequested(at_once=True, mark_failed=True, reason=reason))

    def _take_item(self, item: OutputItem) -> None:
        log = self.around.log
        if isinstance(item, Text):
            self._put(partial(_log_text, log, item.text), len(item.text))
        elif isinstance(item, Update):
            self._take_update(item)
        elif isinstance(item, VariableChange):
            self.changes.note(item.name, item.value)
        elif isinstance(item, LogLevel):
            self._put(partial(setattr, log, "level", item.level))
        elif isinstance(item, Broken):
            self._handle(CancelRequested(mark_failed=True, reason=item.reason))
        elif isinstance(item, Notice):
            self._put(partial(log.log, item.level, item.message), len(item.message))

    def _take_update(self, update: Update) -> None:
        event = Reported(update.progress, update.status_message, update.fail_message)
        for effect in self._machine.handle(event, time.monotonic()):
            if isinstance(effect, Publish):
                news = partial(self.around.audience.status_changed, effect.status, update.line)
                self._put(news, len(update.line))

    # -- the machine

    def _end_if_not_begun(self) -> None:
        if self._process is None:
            self._handle(StartFailed("The start of the action was interrupted."))
        elif self.pid is None:
            self._process.terminate()
            self._process.check()
            self.around.loop.call_later(START_LIMIT, self._give_up_start)

    def _give_up_start(self) -> None:
        if self._machine.phase is Phase.PREPARING and self._process is not None:
            self._process.terminate()
            self.lost("The process was not started in time.")

    def _handle(self, event: ActionEvent) -> None:
        try:
            self._handle_event(event)
        except Exception as error:
            self.around.loop.report_bug(error, self._end_by_bug)

    def _end_by_bug(self) -> None:
        """The action can't go on as it should: end it, and say why."""
        if self._process is not None:
            self._process.terminate()
        self._handle_event(Lost("Internal error of openjd.sessions; see the log."))

    def _handle_event(self, event: ActionEvent) -> None:
        for effect in self._machine.handle(event, time.monotonic()):
            self._perform(effect)

    def _perform(self, effect: ActionEffect) -> None:
        if isinstance(effect, Notify):
            self._notify(effect.until)
        elif isinstance(effect, Terminate):
            self._terminate()
        elif isinstance(effect, Arm):
            self._arm(effect)
        elif isinstance(effect, Drain) and self._stream is not None:
            self._stream.drain(patient=effect.patient)
        elif isinstance(effect, Complete):
            self._complete(effect.status)

    def _notify(self, until: float) -> None:
        end = _utc(until)
        self._log_control(
            f"Canceling subprocess {self.pid} via notify then terminate method at {_utc(time.monotonic())}.",
            f"Grace period ends at {end}",
            f'INTERRUPT: Sending signal "term" to process {self.pid}',
        )
        if self._process is not None:
            self._process.notify(json.dumps({"NotifyEnd": end}))

    def _terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()
        if Deadline.GRACE not in self._timers:
            now = _utc(time.monotonic())
            self._log_control(f"Canceling subprocess {self.pid} via termination method at {now}.")
        self._log_control(f'INTERRUPT: Sending signal "kill" to process group {self.pid}')

    def _arm(self, effect: Arm) -> None:
        self._disarm(effect.deadline)
        reached: dict[Deadline, Callable[[], None]] = {
            Deadline.LIMIT: self._reach_limit,
            Deadline.GRACE: self._end_grace,
            Deadline.KILL: self._reach_kill_limit,
        }
        self._timers[effect.deadline] = self.around.loop.call_at(effect.at, reached[effect.deadline])

    def _disarm(self, deadline: Deadline) -> None:
        timer = self._timers.pop(deadline, None)
        if timer is not None:
            timer.cancel()

    def _reach_limit(self) -> None:
        self._log_control(f"TIMEOUT - Runtime limit reached at {_utc(time.monotonic())}. Canceling action.")
        self._handle(LimitReached())

    def _end_grace(self) -> None:
        self._log_control(f"Notify period ended. Terminate at {_utc(time.monotonic())}")
        self._handle(GraceEnded())

    def _reach_kill_limit(self) -> None:
        self.warn(f"Process {self.pid}, or something it started, could not be terminated. Ending action.")
        self._handle(KillLimitReached())

    def _complete(self, status: ActionStatus) -> None:
        for deadline in list(self._timers):
            self._disarm(deadline)
        if self._stream is not None:
            self._stream.end()
            if not self._stream.is_open:
                self._stream = self._process = None  # each refers to this action, too: no work for the collector
        left = [] if self._machine.has_tree_ended else [_SURVIVOR.format(process) for process in self._left]
        self._put(partial(self._tell_end, status, left))

    def _tell_end(self, status: ActionStatus, left: Sequence[str]) -> None:
        """In the outbox's turn: log how it ended, then tell."""
        if status.exit_code is not None:
            self.around.log.info_lines([_exit_line(self.pid, status.exit_code), *left], _CONTROL)
        self.around.audience.action_ended(self, status)

    # -- the outbox

    def _log_control(self, *lines: str) -> None:
        for line in lines:
            self._put(partial(self.around.log.info, line, _CONTROL))

    def _put(self, news: partial[Any], size: int = 0) -> None:
        self.around.outbox.put(news, size)


_SURVIVOR = (
    "Process {} was left behind by the action. It may go on until the environment it was started in is exited, or the "
    "Session ends."
)
_FAILURE = LogContent.EXCEPTION_INFO | LogContent.PROCESS_CONTROL


def _log_text(log: SessionLog, text: str) -> None:
    log.lines(text.split("\n"))


def _utc(moment: float) -> str:
    """A moment of the monotonic clock as UTC time, rounded up to full seconds."""
    seconds = math.ceil(time.time() + moment - time.monotonic())
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _exit_line(pid: Optional[int], code: int) -> str:
    """How a process's exit is logged (API §15)."""
    signed = f" / {code - (1 << 32)} (signed)" if code >= 0x7FFFFFFF else ""
    return f"Process pid {pid} exited with code: {code} (unsigned) / {hex(code)} (hex){signed}"
