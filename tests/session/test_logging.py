"""What is logged: LOG-1 to LOG-8, DIR-16, API §15 with its flags."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

import pytest

from openjd.sessions import LOG, ActionState, ActionStatus, LogContent, version
from openjd.sessions._logging import LoggerAdapter
from support.scripts import environment, script, sh
from support.stage import Journal, Line, OpenStage, Stage, handler_that, shell

BANNER, HOST = LogContent.BANNER, LogContent.HOST_INFO


def flags(lines: list[Line], start: str) -> set[Any]:
    """The contents of all records that begin with a text."""
    return {line.content for line in lines if line.text.startswith(start)}


def section(title: str) -> list[tuple[str, Any]]:
    return [("", None), ("=" * 46, BANNER), (f"--------- {title}", BANNER), ("=" * 46, BANNER)]


def subsection(title: str) -> list[tuple[str, Any]]:
    return [("-" * 46, BANNER), (title, BANNER), ("-" * 46, BANNER)]


def logged(journal: Journal) -> list[tuple[str, Any]]:
    return [(line.text, line.content) for line in journal.lines]


# Texts and flags


def test_log_is_the_logger_of_the_package() -> None:
    """LOG-1."""
    assert LOG.name == "openjd.sessions"
    assert LOG is logging.getLogger("openjd.sessions")
    assert (LOG.level, LOG.propagate, LOG.handlers) == (logging.INFO, True, [])


def test_contents_are_flags() -> None:
    """LOG-2: their values are part of the contract."""
    values = {content.name: content.value for content in LogContent}
    names = (
        *("BANNER", "FILE_PATH", "FILE_CONTENTS", "COMMAND_OUTPUT"),
        *("EXCEPTION_INFO", "PROCESS_CONTROL", "PARAMETER_INFO", "HOST_INFO"),
    )
    assert values == {name: 1 << place for place, name in enumerate(names)}
    assert LogContent.BANNER in LogContent.BANNER | LogContent.FILE_PATH


def test_lines_of_the_construction(stage: Stage) -> None:
    """LOG-5, API §15: host information, then the Session."""
    lines = logged(stage.journal)
    session = stage.session
    assert [content for _, content in lines[:6]] == [HOST] * 6
    starts = ["openjd.model Library Version: 0.14", f"openjd.sessions Library Version: {version}", "Installed at: "]
    starts += [f"Python Interpreter: {sys.executable}", f"Python Version: {sys.version}", "Platform: "]
    assert all(text.startswith(start) for (text, _), start in zip(lines, starts))
    assert lines[6:] == [
        ("Initializing Open Job Description Session: s", None),
        (f"Session Working Directory: {session.working_directory}", LogContent.FILE_PATH),
        (f"Session's Embedded Files Directory: {session.files_directory}", LogContent.FILE_PATH),
    ]


def test_lines_of_a_task(stage: Stage) -> None:
    """LOG-4, LOG-5, API §15: the whole of one action, in its order, with its flags."""
    stage.journal.clear()
    stage.run_task(script(sh("echo hi; exit 3")))
    lines = logged(stage.journal)
    control = LogContent.PROCESS_CONTROL
    [pid] = [text.rpartition(" ")[2] for text, _ in lines if text.startswith("Command started")]
    assert lines == [
        *section("Running Task"),
        *subsection("Phase: Setup"),
        *subsection("Phase: Running action"),
        ("Running command sh -c 'echo hi; exit 3'", LogContent.FILE_PATH | control),
        (f"Command started as pid: {pid}", control),
        ("Output:", BANNER | LogContent.COMMAND_OUTPUT),
        ("hi", LogContent.COMMAND_OUTPUT),
        (f"Process pid {pid} exited with code: 3 (unsigned) / 0x3 (hex)", control),
    ]
    assert {line.level for line in stage.journal.lines} == {logging.INFO}


@pytest.mark.parametrize(
    ("start", "title"),
    [
        (lambda stage: stage.enter(environment("My Env", variables={"A": "1"})), "Entering Environment: My Env"),
        (lambda stage: stage.run("true", log_banner_message="My banner"), "My banner"),
        (lambda stage: stage.session.cleanup(), "Session Cleanup"),
    ],
)
def test_section_banners(stage: Stage, start: Callable[[Stage], object], title: str) -> None:
    """LOG-4, SUB-4."""
    stage.journal.clear()
    start(stage)
    assert logged(stage.journal)[:4] == section(title)


def test_banner_of_an_exit(stage: Stage) -> None:
    """LOG-5."""
    stage.enter(environment("My Env", variables={"A": "1"}))
    stage.journal.clear()
    stage.exit("My Env")
    assert logged(stage.journal) == section("Exiting Environment: My Env")


@pytest.mark.parametrize("message", [None, ""])
def test_subprocess_without_banner(stage: Stage, message: Any) -> None:
    """SUB-4: only if it is asked for."""
    stage.journal.clear()
    stage.run("true", log_banner_message=message)
    assert logged(stage.journal)[:3] == subsection("Phase: Setup")


def test_lines_of_the_end(stage: Stage) -> None:
    """LOG-5: the last one tells what is deleted."""
    stage.journal.clear()
    stage.session.cleanup()
    deleting = (f"Deleting working directory: {stage.session.working_directory}", LogContent.FILE_PATH)
    assert logged(stage.journal) == [*section("Session Cleanup"), deleting]


def test_output_lines_are_plain_records(stage: Stage) -> None:
    """API §14: msg is the line, args are empty, so that clients can match msg."""
    records: list[logging.LogRecord] = []
    with handler_that(records.append):
        stage.run("echo", "100%d of %s")
    [record] = [
        record for record in records if getattr(record, "openjd_log_content", None) == LogContent.COMMAND_OUTPUT
    ]
    assert (record.msg, record.args, record.getMessage()) == ("100%d of %s", (), "100%d of %s")
    assert (record.name, record.levelno, record.levelname) == ("openjd.sessions", logging.INFO, "INFO")
    assert vars(record)["session_id"] == "s"
    assert (record.exc_info, record.exc_text, record.stack_info) == (None, None, None)


def test_every_record_has_the_session_id(stage: Stage) -> None:
    """LOG-1, API 17.6: banners as well."""
    stage.run("true")
    assert {line.session_id for line in stage.journal.lines} == {"s"}


def test_records_propagate(stage: Stage) -> None:
    """API §15: to handlers of the loggers above."""
    records: list[logging.LogRecord] = []
    with handler_that(records.append, logging.getLogger()):
        stage.run("echo", "hi")
    assert "hi" in [record.getMessage() for record in records]


def test_extras_are_merged() -> None:
    """LOG-3, API §16: those of the adapter win."""
    adapter = LoggerAdapter(LOG, {"session_id": "mine"})
    _, arguments = adapter.process("text", {"extra": {"session_id": "other", "more": 1}})
    assert arguments["extra"] == {"session_id": "mine", "more": 1}
    assert LoggerAdapter(LOG, None).process("text", {})[1]["extra"] == {}


def test_exception_texts_are_flagged(stage: Stage) -> None:
    """LOG-6: set-up failures, failed starts, callbacks."""
    stage.callback_may_fail = True

    def react(status: ActionStatus) -> None:
        raise ValueError(status.state)

    stage.react = react
    stage.run("no-such-program")
    stage.session.cleanup()
    for start in ("Process failed to start: ", "Exception in action callback: "):
        assert flags(stage.journal.lines, start) == {LogContent.EXCEPTION_INFO | LogContent.PROCESS_CONTROL}


# Levels


def test_session_log_level(open_stage: OpenStage) -> None:
    """DIR-16, GAP-15: for this Session, in both directions, until changed; LOG and other Sessions are untouched."""
    stage, other = open_stage(session_id="s"), open_stage(session_id="other")
    stage.run(*shell("echo openjd_session_runtime_loglevel: wArNiNg; echo hidden; echo openjd_progress: 5"))
    assert stage.journal.output == []
    assert stage.journal.told[-1].progress == 5.0
    other.run("echo", "seen")
    assert other.journal.output == ["seen"]
    assert LOG.level == logging.INFO
    stage.run(*shell("echo hidden; echo 'openjd_session_runtime_loglevel:  DEBUG '; echo seen; echo openjd_env: A=1"))
    assert stage.journal.output == ["openjd_session_runtime_loglevel:  DEBUG ", "seen", "openjd_env: A=1"]
    assert len(stage.journal.at(logging.DEBUG)) == 1
    other.run("echo", "openjd_env: A=1")
    assert other.journal.at(logging.DEBUG) == []


@contextmanager
def level(number: int, target: Any = LOG) -> Iterator[None]:
    before = target.level
    target.setLevel(number)
    try:
        yield
    finally:
        target.setLevel(before)


def test_levels_of_log_and_handlers(stage: Stage) -> None:
    """DIR-16: LOG's level holds unless the Session has one; those of handlers hold as ever."""
    with level(logging.WARNING):
        stage.run("echo", "hidden")
    assert stage.journal.output == []
    with level(logging.DEBUG):
        stage.run("echo", "openjd_env: A=1")
    assert len(stage.journal.at(logging.DEBUG)) == 1
    with level(logging.WARNING, stage.journal):
        stage.run(*shell("echo openjd_session_runtime_loglevel: DEBUG; echo hidden"))
    assert "hidden" not in stage.journal.output


def test_logging_that_is_switched_off(stage: Stage) -> None:
    """LOG-7: actions run all the same."""
    logging.disable(logging.CRITICAL)
    try:
        assert stage.run(*shell("echo openjd_progress: 5")) == ActionStatus(ActionState.SUCCESS, 5.0, exit_code=0)
    finally:
        logging.disable(logging.NOTSET)
    assert stage.journal.output == []
