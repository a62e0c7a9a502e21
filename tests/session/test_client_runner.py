"""The base class of clients' own runners: API §16."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from openjd.model import SymbolTable, parse_model
from openjd.model.v2023_09 import StepScript

import openjd.sessions
from openjd.sessions import ActionState, LogContent, PosixSessionUser
from openjd.sessions._embedded_files import EmbeddedFilesScope
from openjd.sessions._logging import LoggerAdapter
from openjd.sessions._runner_base import ScriptRunnerBase, TerminateCancelMethod
from support import child
from support.scripts import action, file, script
from support.stage import PATIENCE, READY_AND_WAIT, Journal, shell, wait_until


class Runner(ScriptRunnerBase):
    """What a client makes of it."""

    def cancel(self, *, time_limit: Optional[timedelta] = None, mark_action_failed: bool = False) -> None:
        self._cancel(TerminateCancelMethod(), time_limit, mark_action_failed)


class Client:
    """A client with a runner, a logger of its own, and what it was told."""

    def __init__(self, directory: Path, logger: Any, **options: Any) -> None:
        self.told: list[tuple[ActionState, bool]] = []
        self.is_over = threading.Event()
        self.journal = Journal()
        self.logger = logger
        self.logger.addHandler(self.journal)
        here = threading.get_ident()

        def hear(state: ActionState) -> None:
            self.told.append((state, threading.get_ident() == here))
            if state is not ActionState.RUNNING:
                self.is_over.set()

        given = {"callback": hear, "session_working_directory": directory, **options}
        self.runner = Runner(logger=LoggerAdapter(logger, {"session_id": "s"}), **given)

    def run(self, *argv: str, **options: Any) -> ActionState:
        self.runner._run(list(argv), **options)
        return self.end()

    def end(self) -> ActionState:
        assert self.is_over.wait(PATIENCE)
        return self.told[-1][0]


@pytest.fixture
def client_of(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    logger = logging.getLogger("client of openjd.sessions")
    logger.setLevel(logging.INFO)
    logger.propagate = False

    yield lambda **options: Client(tmp_path, logger, **options)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


def test_run(client_of: Callable[..., Client], tmp_path: Path) -> None:
    """RUNNING first, on the calling thread; the end last, on another one; output goes to the client's logger."""
    client = client_of(os_env_vars={"A": "1", "B": None})
    assert client.runner.exit_code is None
    assert client.run(*shell("pwd; echo $A ${B-unset}; exit 3")) is ActionState.FAILED
    assert client.told == [(ActionState.RUNNING, True), (ActionState.FAILED, False)]
    assert client.runner.exit_code == 3
    assert client.journal.output == [str(tmp_path), "1 unset"]
    assert {line.session_id for line in client.journal.lines} == {"s"}
    texts = client.journal.texts
    assert texts[:3] == ["-" * 46, "Phase: Running action", "-" * 46]
    assert texts[3].startswith("Command started as pid: ")
    assert texts[-1].endswith("exited with code: 3 (unsigned) / 0x3 (hex)")


def test_nothing_goes_to_log(client_of: Callable[..., Client]) -> None:
    """The logger's records are the client's own."""
    journal = Journal()
    openjd.sessions.LOG.addHandler(journal)
    try:
        assert client_of().run("true") is ActionState.SUCCESS
    finally:
        openjd.sessions.LOG.removeHandler(journal)
    assert journal.lines == []


def test_without_banner(client_of: Callable[..., Client]) -> None:
    client = client_of()
    client.runner._print_section_banner = False
    client.run("true")
    assert client.journal.texts[0].startswith("Command started as pid: ")


def test_directives_mean_nothing(client_of: Callable[..., Client]) -> None:
    """They are output like any other."""
    lines = ["openjd_progress: 5", "openjd_env", "openjd_redacted_env: K=hush", "hush", "openjd_fail: x"]
    client = client_of()
    assert client.run(*child("text", *lines)) is ActionState.SUCCESS
    assert client.journal.output == lines
    assert len(client.told) == 2


def test_other_directory(client_of: Callable[..., Client], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    client = client_of(startup_directory=other)
    client.run("pwd")
    assert client.journal.output == [str(other)]


@pytest.mark.parametrize("marks", [False, True])
def test_cancel(client_of: Callable[..., Client], marks: bool) -> None:
    client = client_of()
    client.runner._run(READY_AND_WAIT)
    client.journal.wait_for_line("ready")
    client.runner.cancel(time_limit=timedelta(seconds=5), mark_action_failed=marks)
    assert client.end() is (ActionState.FAILED if marks else ActionState.CANCELED)
    assert client.runner.exit_code == -9
    client.runner.cancel()


def test_cancel_before_the_run(client_of: Callable[..., Client]) -> None:
    """Nothing runs; nothing happens."""
    client = client_of()
    client.runner.cancel()
    assert client.run("true") is ActionState.SUCCESS


def test_time_limit(client_of: Callable[..., Client]) -> None:
    client = client_of()
    assert client.run(*READY_AND_WAIT, time_limit=timedelta(milliseconds=50)) is ActionState.TIMEOUT
    assert client.runner.exit_code == -9


def test_missing_program(client_of: Callable[..., Client]) -> None:
    """FAILED, no RUNNING."""
    client = client_of()
    assert client.run("no-such-program") is ActionState.FAILED
    assert [state for state, _ in client.told] == [ActionState.FAILED]
    assert client.runner.exit_code is None
    assert client.journal.texts[-1].startswith("Process failed to start: Program 'no-such-program' was not found")


def test_run_happens_once(client_of: Callable[..., Client]) -> None:
    client = client_of()
    client.run("true")
    with pytest.raises(RuntimeError) as caught:
        client.runner._run(["true"])
    assert str(caught.value) == "This runner has run its process already; make a new one for each process."


def test_wrong_use(client_of: Callable[..., Client], tmp_path: Path) -> None:
    """An abstract class; a method of canceling must be one; users that are not supported yet."""
    logger = logging.getLogger("client of openjd.sessions")
    with pytest.raises(TypeError):
        ScriptRunnerBase(logger=logger, session_working_directory=tmp_path)  # type: ignore[abstract]
    client = client_of()
    with pytest.raises(TypeError) as caught:
        client.runner._cancel("TERMINATE")  # type: ignore[arg-type]
    assert str(caught.value) == "A TerminateCancelMethod is needed to cancel a runner; got 'TERMINATE'."


def test_user_that_does_not_exist(client_of: Callable[..., Client]) -> None:
    """USER-1: it is not run as somebody else instead."""
    client = client_of(user=PosixSessionUser("nobody-of-this-name", group="g"))
    assert client.run("true") is ActionState.FAILED
    assert client.told == [(ActionState.FAILED, False)]


def test_callback_that_raises(client_of: Callable[..., Client]) -> None:
    """It is logged, and harms nothing."""

    def fail(_: ActionState) -> None:
        raise ValueError("oh")

    client = client_of(callback=fail)
    client.runner._run(shell("echo hi; exit 3"))
    client.journal.wait_for_line("Exception in action callback: oh", 2)
    assert client.runner.exit_code == 3
    assert client.journal.output == ["hi"]


def test_without_callback(client_of: Callable[..., Client]) -> None:
    client = client_of(callback=None)
    client.runner._run(["true"])
    wait_until(lambda: client.runner.exit_code == 0)


@pytest.mark.parametrize("scope", EmbeddedFilesScope)
def test_embedded_files(client_of: Callable[..., Client], tmp_path: Path, scope: EmbeddedFilesScope) -> None:
    """Their paths are added to the symbols, and can be used by their contents."""
    symbol = {"STEP": "Task.File", "ENV": "Env.File"}[scope.name]
    files = tmp_path / "files"
    files.mkdir()
    parsed = script_with_files(symbol)
    symtab = SymbolTable(source={"Param.X": "x"})
    client = client_of()
    client.runner._materialize_files(scope=scope, files=parsed, dest_directory=files, symtab=symtab)
    assert symtab[f"{symbol}.A"] == str(files / "a.txt")
    assert (files / "a.txt").read_text() == str(symtab[f"{symbol}.B"])
    assert client.run(str(symtab[f"{symbol}.B"])) is ActionState.SUCCESS
    assert client.journal.output == ["x"]


def script_with_files(symbol: str) -> Any:
    files = [
        file("A", f"{{{{{symbol}.B}}}}", filename="a.txt"),
        file("B", "#!/bin/sh\necho {{Param.X}}\n", runnable=True),
    ]
    obj = {"name": "E", "script": {"actions": {"onEnter": action("true")}, "embeddedFiles": files}}
    if symbol == "Env.File":
        from openjd.model.v2023_09 import Environment

        env = parse_model(model=Environment, obj=obj)
        assert env.script is not None
        return env.script.embeddedFiles
    return parse_model(
        model=StepScript, obj={"actions": {"onRun": action("true")}, "embeddedFiles": files}
    ).embeddedFiles


def test_embedded_files_that_cannot_be_written(client_of: Callable[..., Client], tmp_path: Path) -> None:
    """FAILED, the reason is logged, and nothing runs."""
    client = client_of()
    files = script(action("true"), [file("F", "x", filename="..")]).embeddedFiles
    assert files is not None
    client.runner._materialize_files(EmbeddedFilesScope.STEP, files, tmp_path, SymbolTable())
    assert client.told == [(ActionState.FAILED, True)]
    reason = "Task, embedded file 'F': filename '..' must be the plain name of a file, without directory, drive or NUL."
    assert [(line.text, line.content) for line in client.journal.lines] == [(reason, LogContent.EXCEPTION_INFO)]
    client.runner._run(["true"])
    assert len(client.told) == 1
