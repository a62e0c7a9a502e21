"""The end of a Session: LC-30 to LC-36, LC-4, API §7.3; also of one that was dropped."""

from __future__ import annotations

import gc
import subprocess
import threading
import warnings
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from openjd.sessions import LOG, ActionState, ActionStatus, LogContent, Session, sweep
from support import child
from support.scripts import action, environment, notified, script, sh
from support.stage import READY_AND_WAIT, Journal, OpenStage, Stage, is_alive, shell, wait_until

KILLED = ActionStatus(state=ActionState.CANCELED, exit_code=-9)


def threads_of_the_library() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("openjd.sessions")]


def test_everything_is_given_back(open_stage: OpenStage) -> None:
    """LC-30: idempotent; ENDED, no directory, no filter, no thread, no process."""
    stage = open_stage()
    stage.run(*child("forks", "daemon-quiet", "leave"))
    pid = int(stage.journal.after("descendant "))
    for _ in range(3):
        stage.session.cleanup()
        assert stage.state == "ENDED"
        assert not stage.session.working_directory.exists()
        assert LOG.filters == []
        assert not is_alive(pid)
    wait_until(lambda: threads_of_the_library() == [])
    assert stage.journal.texts.count("--------- Session Cleanup") == 1


def test_cleanup_terminates_what_runs(open_stage: OpenStage) -> None:
    """LC-31, GAP-5: killed, not notified; CANCELED; its final call comes while the directory still exists."""
    stage = open_stage()
    there: list[bool] = []
    stage.react = lambda _: there.append(stage.session.working_directory.exists())
    stage.start_task(script(action(*child("polite"), cancelation=notified(600))))
    stage.wait_for_line("ready")
    stage.session.cleanup()
    assert stage.state == "ENDED"
    assert stage.journal.told[-1] == stage.session.action_status == KILLED
    assert stage.journal.calls[-1].state.name == "READY_ENDING"
    assert there == [True, True]
    assert not stage.session.working_directory.exists()
    assert "notified" not in " ".join(stage.journal.output)
    assert stage.session.wait(0) == KILLED


def test_block_that_raises_terminates_what_runs(tmp_path: Path) -> None:
    """API-6, LC-31."""
    session = Session(session_id="s", job_parameter_values=None, session_root_directory=tmp_path)
    with suppress(KeyError), session:
        session.run_subprocess(command="sleep", args=["60"])
        raise KeyError
    assert session.action_status == KILLED


def test_cleanup_runs_no_exit(stage: Stage) -> None:
    """LC-32: that is the caller's duty."""
    stage.enter(environment("E", onEnter=sh("echo enter"), onExit=sh("echo exit")))
    stage.session.cleanup()
    assert stage.journal.output == ["enter"]
    assert stage.session.environments_entered == ("E",)


def test_directory_that_is_retained(open_stage: OpenStage, tmp_path: Path) -> None:
    """LC-33: nothing is deleted, and no owner mark stays."""
    stage = open_stage(retain_working_dir=True)
    stage.run(*shell("echo x > file"))
    stage.session.cleanup()
    assert stage.state == "ENDED"
    assert (stage.session.working_directory / "file").read_text() == "x\n"
    assert stage.session.files_directory.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == [stage.session.working_directory.name]
    assert not any(text.startswith("Deleting working directory") for text in stage.journal.texts)


def test_everything_in_the_directory_is_deleted(stage: Stage, tmp_path: Path) -> None:
    """LC-30, USER-16: whatever its modes; links are not followed."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    script_text = f"""
        mkdir -p a/b/c && touch a/b/c/file && chmod 000 a/b a
        ln -s {kept} link; ln -s {kept} {{Session}}-dangling; mkfifo pipe; touch '-rf *'
        touch "$(printf 'line\\nend')"
    """
    stage.run(*shell(script_text))
    stage.session.cleanup()
    assert not stage.session.working_directory.exists()
    assert (kept / "file").exists()
    assert stage.journal.at(30) == []


def test_directory_that_has_gone(stage: Stage) -> None:
    """LC-34: nothing is left to delete."""
    stage.run(*shell("cd /; rm -r $OPENJD_SESSION_WORKING_DIR"))
    stage.session.cleanup()
    assert stage.state == "ENDED"
    assert stage.journal.at(30) == []


def test_what_cannot_be_deleted_is_named(stage: Stage) -> None:
    """LC-34: each item with its reason, as warnings; nothing is raised. Its name cannot drive a terminal."""
    mounted = stage.session.working_directory / "caf\u00e9 \x1b[2J\nok\u202e\udcff"
    mounted.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", mounted], capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount")
    try:
        stage.session.cleanup()
    finally:
        subprocess.run(["umount", mounted], check=True)
    assert stage.state == "ENDED"
    warnings = [line for line in stage.journal.lines if line.level == 30]
    shown = f"{mounted.parent}/caf\u00e9 \\x1b[2J\\nok\\u202e\\udcff"
    assert [line.text for line in warnings] == [f"Could not delete {shown}: Another file system is mounted there"]
    assert {line.content for line in warnings} == {LogContent.FILE_PATH | LogContent.EXCEPTION_INFO}
    assert sweep(mounted.parent.parent) == [mounted.parent]


# Several threads


def test_cleanup_by_several_threads(open_stage: OpenStage) -> None:
    """LC-30: while an action runs; all of them return, and it is done once."""
    stage = open_stage()
    stage.start(*READY_AND_WAIT)
    threads = [threading.Thread(target=stage.session.cleanup) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stage.state == "ENDED"
    assert stage.journal.texts.count("--------- Session Cleanup") == 1
    assert len(stage.journal.calls) == 2


def test_cleanup_during_a_start(open_stage: OpenStage) -> None:
    """LC-31: from another thread, at any moment; the start is refused, or its action is over."""
    for _ in range(20):
        stage = open_stage()
        errors: list[BaseException] = []
        thread = threading.Thread(target=stage.session.cleanup)
        thread.start()
        try:
            stage.start("true")
        except RuntimeError as error:
            errors.append(error)
        thread.join()
        assert stage.state == "ENDED"
        assert (len(errors), len(stage.journal.calls)) in ((1, 0), (0, 1), (0, 2))
        assert not stage.session.working_directory.exists()
        stage.session.wait(0)


def test_cleanup_in_a_log_handler(stage: Stage) -> None:
    """LC-31, API §7.3: on the delivery thread, while the action runs."""
    is_over = threading.Event()

    def end(record: Any) -> bool:
        if record.getMessage() == "ready" and not is_over.is_set():
            stage.session.cleanup()
            is_over.set()
        return True

    stage.journal.addFilter(end)
    stage.start(*READY_AND_WAIT)
    assert is_over.wait(30)
    assert stage.state == "ENDED"
    assert stage.journal.told[-1] == KILLED
    assert not stage.session.working_directory.exists()


# A Session that was dropped


class Record:
    """What a dropped Session leaves: warnings, and processes."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.journal = Journal()
        LOG.addHandler(self.journal)
        self.session: Any = Session(
            session_id="dropped", job_parameter_values=None, session_root_directory=root, **options
        )
        self.directory = self.session.working_directory

    def close(self) -> None:
        LOG.removeHandler(self.journal)

    def drop(self) -> str:
        """Drop the Session; gives the warning's text."""
        gone = weakref.ref(self.session)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.session = None
            gc.collect()
        [text] = [str(warning.message) for warning in caught if warning.category is ResourceWarning]
        caught.clear()  # a warning holds its source
        assert gone() is None
        return text


@pytest.fixture
def dropped(tmp_path: Path) -> Iterator[Any]:
    made: list[Record] = []

    def make(**options: Any) -> Record:
        made.append(Record(tmp_path, **options))
        return made[-1]

    yield make
    for record in made:
        record.close()


TEXT = "Session 'dropped' was dropped without cleanup()"


def test_dropped_session(dropped: Any) -> None:
    """LC-36: ResourceWarning; its directory is deleted."""
    record = dropped()
    assert record.drop() == TEXT
    wait_until(lambda: not record.directory.exists())


def test_dropped_session_with_processes(dropped: Any) -> None:
    """LC-36: what runs and what earlier actions left is terminated, wherever it fled; then the directory goes."""
    record = dropped()
    session = record.session
    session.run_subprocess(command=child("forks")[0], args=child("forks", "daemon-quiet", "leave")[1:])
    session.wait(30)
    session.run_subprocess(command=child("forks")[0], args=child("forks", "session")[1:])
    record.journal.wait_for_line("ready")
    pids = [int(text.split()[1]) for text in record.journal.output if text.startswith("descendant")]
    future = session.future
    del session
    assert record.drop() == TEXT
    wait_until(lambda: not record.directory.exists())
    assert not any(map(is_alive, pids))
    assert future.result(30).state is ActionState.CANCELED


def test_dropped_session_whose_directory_is_retained(dropped: Any) -> None:
    """LC-36, LC-33."""
    record = dropped(retain_working_dir=True)
    record.session.run_subprocess(command="true")
    record.session.wait(30)
    assert record.drop() == TEXT
    wait_until(lambda: threads_of_the_library() == [])
    assert record.directory.exists()


def test_callback_that_holds_the_session_does_not_keep_it(dropped: Any) -> None:
    """DESIGN §4: a cycle of Session and callback is collected as a whole."""
    holder: list[Any] = []
    record = dropped(callback=lambda *_: holder)
    holder.append(record.session)
    record.session.run_subprocess(command="true")
    record.session.wait(30)
    holder.clear()
    assert record.drop() == TEXT


def test_ended_session_is_dropped_silently(tmp_path: Path) -> None:
    """LC-36: nothing to warn of."""
    session = Session(session_id="s", job_parameter_values=None, session_root_directory=tmp_path)
    session.cleanup()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del session
        gc.collect()
