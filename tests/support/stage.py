"""A Session on a stage: what it logs and what it tells its callback in one order, and bounded ways to wait for it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional, Union

from openjd.sessions import LOG, ActionState, ActionStatus, LogContent, Session, SessionState

PATIENCE = 30.0
"""Seconds after which a test gives up on what it waits for."""

CALLBACK_ERRORS = ("Exception in action callback", "Open Job Description: Exception in the action message callback")


@dataclass(frozen=True)
class Line:
    """A log record, as a handler saw it."""

    text: str
    level: int
    content: Optional[LogContent]
    session_id: Optional[str]
    thread: int

    @property
    def is_output(self) -> bool:
        """Whether an action has printed it; it may be marked with the text of an exception."""
        return self.content in (LogContent.COMMAND_OUTPUT, LogContent.COMMAND_OUTPUT | LogContent.EXCEPTION_INFO)


@dataclass(frozen=True)
class Call:
    """A call of the callback, and the state that the Session was in then."""

    session_id: str
    status: ActionStatus
    state: SessionState
    thread: int


class Journal(logging.Handler):
    """Keeps records and calls in the order in which they came.

    Args:
        session_id: Whose records it keeps, besides those that belong to no Session; those of all Sessions if not given.
    """

    def __init__(self, session_id: Optional[str] = None) -> None:
        super().__init__()
        self._session_id = session_id
        self.entries: list[Union[Line, Call]] = []
        self._changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        content = getattr(record, "openjd_log_content", None)
        session_id = getattr(record, "session_id", None)
        if self._session_id is None or session_id in (None, self._session_id):
            self.add(Line(record.getMessage(), record.levelno, content, session_id, threading.get_ident()))

    def add(self, entry: Union[Line, Call]) -> None:
        with self._changed:
            self.entries.append(entry)
            self._changed.notify_all()

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Wait until something can be seen in this journal."""
        with self._changed:
            assert self._changed.wait_for(is_so, PATIENCE), f"It didn't come. What came:\n{self.entries}"

    def wait_for_line(self, text: str, count: int = 1) -> None:
        self.wait_for(lambda: self.texts.count(text) >= count)

    def clear(self) -> None:
        with self._changed:
            self.entries.clear()

    @property
    def lines(self) -> list[Line]:
        return [entry for entry in self.entries.copy() if isinstance(entry, Line)]

    @property
    def texts(self) -> list[str]:
        return [line.text for line in self.lines]

    @property
    def output(self) -> list[str]:
        """The lines that actions have printed."""
        return [line.text for line in self.lines if line.is_output]

    @property
    def calls(self) -> list[Call]:
        return [entry for entry in self.entries.copy() if isinstance(entry, Call)]

    @property
    def told(self) -> list[ActionStatus]:
        """What the callback was told."""
        return [call.status for call in self.calls]

    @property
    def story(self) -> list[str]:
        """Output lines, and calls as ``<SUCCESS exit_code=0>``, in their order."""
        found = []
        for entry in self.entries.copy():
            if isinstance(entry, Call):
                found.append(brief(entry.status))
            elif entry.is_output:
                found.append(entry.text)
        return found

    def after(self, start: str) -> str:
        """The rest of the last line that begins with a text."""
        return [text[len(start) :] for text in self.texts if text.startswith(start)][-1]

    def at(self, level: int) -> list[str]:
        """The texts of one level."""
        return [line.text for line in self.lines if line.level == level]


def brief(status: ActionStatus) -> str:
    """A status as ``<FAILED exit_code=3>``: its state, and the fields that have been reported."""
    fields = ("progress", "status_message", "fail_message", "exit_code")
    known = [f" {name}={getattr(status, name)}" for name in fields if getattr(status, name) is not None]
    return f"<{status.state.name}{''.join(known)}>"


class Stage:
    """One Session, with a journal of all that can be heard of it.

    ``react`` is what the callback does, besides keeping the journal.
    """

    def __init__(self, root: Path, **options: Any) -> None:
        given = {"session_id": "s", "job_parameter_values": None, "callback": self._hear, **options}
        self.journal = Journal(str(given["session_id"]))
        self.react: Callable[[ActionStatus], None] = lambda _: None
        self.callback_may_fail = False
        LOG.addHandler(self.journal)
        try:
            self.session = Session(session_root_directory=root, **given)
        except BaseException:
            LOG.removeHandler(self.journal)
            raise

    def close(self) -> None:
        try:
            self.session.cleanup()
        finally:
            LOG.removeHandler(self.journal)
        if not self.callback_may_fail:
            assert [text for text in self.journal.texts if text.startswith(CALLBACK_ERRORS)] == []

    def _hear(self, session_id: str, status: ActionStatus) -> None:
        self.journal.add(Call(session_id, status, self.session.state, threading.get_ident()))
        self.react(status)

    # -- short ways to say things

    def start(self, *argv: str, **options: Any) -> None:
        """Start a subprocess."""
        self.session.run_subprocess(command=argv[0], args=list(argv[1:]), **options)

    def start_task(self, script: Any, **options: Any) -> None:
        self.session.run_task(step_script=script, **{"task_parameter_values": None, **options})

    def run(self, *argv: str, **options: Any) -> ActionStatus:
        """Run a subprocess to its end."""
        self.start(*argv, **options)
        return self.wait()

    def run_task(self, script: Any, **options: Any) -> ActionStatus:
        self.start_task(script, **options)
        return self.wait()

    def enter(self, environment: Any, **options: Any) -> ActionStatus:
        self.session.enter_environment(environment=environment, **{"identifier": environment.name, **options})
        return self.wait()

    def exit(self, identifier: str, **options: Any) -> ActionStatus:
        self.session.exit_environment(identifier=identifier, **{"keep_session_running": True, **options})
        return self.wait()

    def wait(self) -> ActionStatus:
        status = self.session.wait(PATIENCE)
        assert status is not None
        return status

    def wait_for_line(self, text: str, count: int = 1) -> None:
        self.journal.wait_for_line(text, count)

    @property
    def state(self) -> str:
        """The name of the Session's state."""
        return self.session.state.name

    @property
    def files(self) -> list[str]:
        """Names in the working directory, but for the files directory."""
        found = os.listdir(self.session.working_directory)
        return sorted(name for name in found if not name.startswith("embedded_files"))


OpenStage = Callable[..., Stage]
"""Opens a stage, given what its Session is to be made with."""


class Gate:
    """Holds up a shell script: ``read`` from it waits until the gate is opened."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._end = os.open(path, os.O_RDWR)
        self.wait = f"read -r _ < '{path}'"
        """The shell command that waits."""

    def open(self) -> None:
        """Let one waiting script pass, or the next that comes."""
        os.write(self._end, b"\n")

    def close(self) -> None:
        os.close(self._end)


def shell(script: str) -> list[str]:
    """The command line of a shell script: it starts far more quickly than a Python program."""
    return ["sh", "-c", script]


READY_AND_WAIT = shell("echo ready; exec sleep 60")
"""Says that it is ready; SIGTERM ends it."""


@contextmanager
def handler_that(do: Callable[[logging.LogRecord], object], logger: logging.Logger = LOG) -> Iterator[None]:
    """A handler of somebody else; it holds no lock of ``logging`` while it is at work."""

    class Handler(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            do(record)
            return True

    handler = Handler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for something that tells nobody when it happens."""
    pause = threading.Event()
    for _ in range(int(PATIENCE * 100)):
        if is_so():
            return
        pause.wait(0.01)
    raise AssertionError("It did not happen.")


def seconds_to_cancel(stage: Stage) -> float:
    """How long it takes to cancel an action that waits."""
    stage.start(*READY_AND_WAIT)
    stage.wait_for_line("ready")
    began = time.monotonic()
    stage.session.cancel_action()
    assert stage.wait().state is ActionState.CANCELED
    return time.monotonic() - began
