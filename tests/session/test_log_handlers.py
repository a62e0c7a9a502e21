"""Log handlers, filters and record factories of other people, good and bad ones: LOG-7, Q-3, DESIGN §4 and §11."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import re
import sys
import threading
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Callable

import pytest

from openjd.sessions import LOG, ActionState, ActionStatus, LogContent, Session
from support.scripts import action, environment, file, script
from support.stage import (
    PATIENCE,
    READY_AND_WAIT,
    Journal,
    OpenStage,
    Stage,
    handler_that,
    is_alive,
    shell,
    wait_until,
)

SUCCESS = ActionStatus(state=ActionState.SUCCESS, exit_code=0)


class Stop(BaseException):
    """What is no Exception."""


@pytest.mark.parametrize("error", [ValueError, Stop, SystemExit])
def test_handler_that_raises(
    open_stage: OpenStage, error: type[BaseException], capfd: pytest.CaptureFixture[str]
) -> None:
    """LOG-7: no output is lost to others, the process is reaped, nobody hangs; a kill does not depend on it."""
    stage = open_stage()

    def fail(record: logging.LogRecord) -> None:
        if (
            getattr(record, "openjd_log_content", None) == LogContent.COMMAND_OUTPUT
            or "INTERRUPT" in record.getMessage()
        ):
            raise error("oh")

    with handler_that(fail):
        assert stage.run(*shell("echo one; echo openjd_progress: 5; echo two")).progress == 5.0
        stage.start(*READY_AND_WAIT)
        stage.wait_for_line("ready")
        stage.session.cancel_action()
        assert stage.wait() == ActionStatus(state=ActionState.CANCELED, exit_code=-9)
    assert stage.journal.output == ["one", "openjd_progress: 5", "two", "ready"]
    assert "oh" in capfd.readouterr().err


def test_handler_that_raises_in_every_record(open_stage: OpenStage, capfd: pytest.CaptureFixture[str]) -> None:
    """LOG-7: also in set-up, on the caller's thread, and before the journal has heard of it."""

    def fail(_: logging.LogRecord) -> None:
        raise ValueError("oh")

    with handler_that(fail):
        stage = open_stage()
        assert stage.enter(environment("E", variables={"A": "1"}, onEnter=action("true"))) == SUCCESS
        assert stage.exit("E").state is ActionState.SUCCESS
        stage.session.cleanup()
    assert stage.state == "ENDED"
    assert not stage.session.working_directory.exists()
    assert "ValueError: oh" in capfd.readouterr().err


def test_filter_that_raises(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    """LOG-7: on LOG itself; what it loses are its own records."""

    def fail(record: logging.LogRecord) -> bool:
        if record.getMessage() == "bad":
            raise ValueError("oh")
        return True

    LOG.addFilter(fail)
    try:
        assert stage.run(*shell("echo good; echo bad; echo better")) == SUCCESS
    finally:
        LOG.removeFilter(fail)
    assert stage.journal.output == ["good", "better"]
    assert "ValueError: oh" in capfd.readouterr().err


def test_filter_of_somebody_else(stage: Stage) -> None:
    """API §15: on LOG, it sees each record, redacted, and may drop or change it."""
    seen: list[str] = []

    def watch(record: logging.LogRecord) -> bool:
        seen.append(record.getMessage())
        vars(record)["mark"] = 1
        return record.getMessage() != "drop"

    stage.session.add_redaction("hush")
    records: list[logging.LogRecord] = []
    LOG.addFilter(watch)
    try:
        with handler_that(records.append):
            stage.run(*shell("echo drop; echo hush; echo keep"))
    finally:
        LOG.removeFilter(watch)
    assert stage.journal.output == ["********", "keep"]
    assert [text for text in seen if text in ("drop", "********", "keep", "hush")] == ["drop", "********", "keep"]
    assert {getattr(record, "mark", None) for record in records} == {1}


def test_record_factory_of_somebody_else(stage: Stage) -> None:
    """API §15: it makes the records of output as well."""

    class Record(logging.LogRecord):
        mine = True

    records: list[logging.LogRecord] = []
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(Record)
    try:
        with handler_that(records.append):
            stage.run("echo", "hi")
    finally:
        logging.setLogRecordFactory(before)
    assert {type(record) for record in records} == {Record}
    assert stage.journal.output == ["hi"]


def test_formats_find_all_they_need(stage: Stage) -> None:
    """API §15: records of output are complete."""
    shown: list[str] = []
    formatter = logging.Formatter(
        "%(name)s %(levelname)s %(asctime)s %(process)d %(threadName)s %(filename)s:%(lineno)d %(session_id)s %(msg)s"
    )
    with handler_that(lambda record: shown.append(formatter.format(record))):
        stage.run("echo", "hi")
    assert re.fullmatch(r"openjd\.sessions INFO \S+ \S+ \d+ .* \S+:\d+ s hi", shown[-2])


@pytest.mark.parametrize("name", ["asyncio", "multiprocessing"])
def test_output_while_another_thread_imports_a_module(stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """LOG-7: no line is lost to a module of which nothing is there yet. (From Python 3.12 on records name a task.)"""
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    assert stage.run(*shell("echo one; echo two")) == SUCCESS
    assert stage.journal.output == ["one", "two"]


def change_level_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(logging._levelToName, logging.INFO, "INFO")  # both are put back at the end
    monkeypatch.setitem(logging._nameToLevel, "note", logging.INFO)
    logging.addLevelName(logging.INFO, "note")


def rename_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "name", "worker-7")


def leave_out(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda monkeypatch: monkeypatch.setattr(logging, name, False, raising=False)


CHANGES = {
    "level name": change_level_name,
    "process name": rename_process,
    "threads": leave_out("logThreads"),
    "processes": leave_out("logProcesses"),
    "multiprocessing": leave_out("logMultiprocessing"),
    "tasks": leave_out("logAsyncioTasks"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_records_hold_what_logging_is_told_to_put_into_them(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """API §15: also if it is told so late. They are compared with records that ``logging`` itself makes."""
    moments = ("created", "msecs", "relativeCreated")
    ours = (*moments, "session_id", "openjd_log_content")
    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def compare(record: logging.LogRecord) -> None:
        usual = logging.LogRecord(record.name, record.levelno, record.pathname, record.lineno, record.msg, (), None)
        pairs.append((without(vars(record), ours), without(vars(usual), moments)))

    async def run() -> None:
        stage.start("echo", "hi")
        await stage.session.future

    stage.run("true")
    CHANGES[change](monkeypatch)
    with handler_that(compare):
        asyncio.run(run())
    assert "hi" in [found["msg"] for found, _ in pairs]
    assert [found for found, _ in pairs] == [usual for _, usual in pairs]


def without(fields: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


# When a start logs


def test_what_leads_to_a_start_is_logged_while_the_process_starts(stage: Stage, tmp_path: Path) -> None:
    """DESIGN §6: a handler of the banner does not hold up the process."""
    stage.run_task(script(action("true")))  # the first one has more to do
    there = tmp_path / "there"
    seen: list[str] = []

    def wait_for_the_process(record: logging.LogRecord) -> None:
        if record.getMessage() == "--------- Running Task":
            wait_until(there.exists)
            seen.append("there")

    with handler_that(wait_for_the_process):
        stage.run_task(script(action("touch", str(there))))
    assert seen == ["there"]
    texts = stage.journal.texts
    assert texts.index("--------- Running Task") < texts.index("Phase: Setup") < texts.index("Phase: Running action")


def test_what_precedes_work_that_may_take_long_is_logged_before_it(stage: Stage) -> None:
    """FILE-15, LOG-4: who reads the log of a start that hangs in a file system sees how far it has come."""
    stage.run_task(script(action("true")))
    found: dict[str, list[str]] = {}

    def look(record: logging.LogRecord) -> None:
        found.setdefault(record.getMessage(), os.listdir(stage.session.files_directory))

    with handler_that(look):
        stage.run_task(script(action("true"), [file("F", "text", filename="f")]))
    assert found["--------- Running Task"] == found["Writing embedded files to disk for Task."] == []
    assert found["Phase: Running action"] == ["f"]


def test_what_other_threads_log_is_not_held_back(stage: Stage, records: list[logging.LogRecord]) -> None:
    """LOG-4: a start holds back what its own thread logs, nobody else's."""
    log = stage.session._resources.log
    other = threading.Thread(target=log.info, args=["of another thread"])
    log.hold()
    log.info("held back")
    other.start()
    other.join()
    before = [record.getMessage() for record in records]
    log.release()
    assert "of another thread" in before
    assert "held back" not in before
    assert records[-1].getMessage() == "held back"


def test_a_handler_that_comes_or_goes_while_a_start_is_logged(stage: Stage) -> None:
    """LOG-7: what is logged later reaches it, or does not, as if each record had been logged on its own."""
    seen: list[str] = []

    class Successor(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            seen.append(f"later: {record.getMessage()}")
            return True

    class Predecessor(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            seen.append(record.getMessage())
            if record.getMessage() == "":
                LOG.removeHandler(self)
                LOG.addHandler(successor)
            return True

    successor = Successor()
    LOG.addHandler(Predecessor())
    try:
        stage.run_task(script(action("true")))
    finally:
        LOG.removeHandler(successor)
    assert seen[0] == ""
    assert seen.count("later: --------- Running Task") == seen.count("later: Phase: Setup") == 1
    assert [text for text in seen[1:] if not text.startswith("later: ")] == []


# Slow handlers


class Stall:
    """A handler that stalls at a record of one Session."""

    def __init__(self, session_id: str, text: str) -> None:
        self.may_go_on = threading.Event()
        self.has_come = threading.Event()
        self._session_id, self._text = session_id, text

    def __call__(self, record: logging.LogRecord) -> None:
        if getattr(record, "session_id", None) == self._session_id and record.getMessage() == self._text:
            self.has_come.set()
            self.may_go_on.wait(PATIENCE)


def test_stalled_handler_delays_no_other_session(open_stage: OpenStage) -> None:
    """DESIGN §4: neither news, cancels and time limits of others, nor the kill of its own."""
    stalled, other = open_stage(session_id="stalled"), open_stage(session_id="other")
    stall = Stall("stalled", "stop here")
    with handler_that(stall):
        stalled.start(*shell("echo stop here; exec sleep 60"))
        other.start(*READY_AND_WAIT)
        assert stall.has_come.wait(PATIENCE)
        other.wait_for_line("ready")
        other.session.cancel_action()
        assert other.wait() == ActionStatus(state=ActionState.CANCELED, exit_code=-9)
        pid = pid_of(stalled)
        stalled.session.cancel_action()
        wait_until(lambda: not is_alive(pid))
        assert stalled.state == "RUNNING"
        stall.may_go_on.set()
        assert stalled.wait() == ActionStatus(state=ActionState.CANCELED, exit_code=-9)


def pid_of(stage: Stage) -> int:
    """The process of the running action."""
    return int(stage.journal.after("Command started as pid: "))


def written_by(pid: int) -> int:
    """How many bytes a process has written."""
    return int(re.findall(r"wchar: (\d+)", Path(f"/proc/{pid}/io").read_text())[0])


def test_back_pressure_loses_nothing(open_stage: OpenStage) -> None:
    """DESIGN §4 and §11, Q-3: output waits in the process's own pipe while a handler stalls; then all of it comes."""
    stage = open_stage()
    stall = Stall("s", "0" * 499 + "1")
    with handler_that(stall):
        stage.start("seq", "-f", "%0500.f", "10000")
        assert stall.has_come.wait(PATIENCE)
        pid = pid_of(stage)
        before = -1
        while written_by(pid) > before:
            before = written_by(pid)
            threading.Event().wait(0.2)
        assert 1024 * 1024 < before < 2 * 1024 * 1024
        assert stage.state == "RUNNING"
        stall.may_go_on.set()
        assert stage.wait() == SUCCESS
    assert [int(line) for line in stage.journal.output] == list(range(1, 10001))


def test_cancel_of_an_action_whose_output_waits(open_stage: OpenStage) -> None:
    """DESIGN §4: a kill needs no room in the outbox."""
    stage = open_stage()
    line = "y" * 1000
    stall = Stall("s", line)
    with handler_that(stall):
        stage.start("yes", line)
        assert stall.has_come.wait(PATIENCE)
        stage.session.cancel_action()
        stall.may_go_on.set()
        assert stage.wait() == ActionStatus(state=ActionState.CANCELED, exit_code=-9)
    assert set(stage.journal.output[:-1]) == {line}


def test_handlers_may_log_themselves(stage: Stage) -> None:
    """LOG-7: to LOG, from within a handler."""

    def echo(record: logging.LogRecord) -> None:
        if record.getMessage() == "hi":
            LOG.info("heard", extra={"session_id": "s"})

    with handler_that(echo):
        stage.run("echo", "hi")
    assert "heard" in stage.journal.texts


def test_handlers_added_later_hear_what_comes_later(tmp_path: Path) -> None:
    """API §15: also while a Session is open."""
    with Session(session_id="s", job_parameter_values=None, session_root_directory=tmp_path) as session:
        journal = Journal()
        LOG.addHandler(journal)
        try:
            session.run_subprocess(command="echo", args=["hi"])
            session.wait(PATIENCE)
        finally:
            LOG.removeHandler(journal)
    assert journal.output == ["hi"]
    assert "Initializing Open Job Description Session: s" not in journal.texts
