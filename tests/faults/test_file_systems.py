"""Directories and file systems that are against us (WD-11, WD-13, LC-34, LC-20, ACT-26, DESIGN §4)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from openjd.sessions import ActionState, Session, sweep
from support import child
from support.mounts import (
    disk,
    fail,
    make_immutable,
    make_mutable,
    make_read_only,
    mend,
    silent_file_system,
    small_file_system,
)
from support.programs import Run
from support.scripts import action, environment, file, notified, script, sh
from support.stage import READY_AND_WAIT, OpenStage, Stage, shell

IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="makes devices, or files of other users")


def warnings_of(stage: Stage) -> list[str]:
    return stage.journal.at(30)


# What a job makes of its directory

LEAVE_ALL_SORTS = """
import os, socket
os.mkfifo("pipe")
listener = socket.socket(socket.AF_UNIX); listener.bind("socket")
for number in range(int({count})):
    os.close(os.open(b"file \\xff\\x80 %d\\n" % number, os.O_CREAT | os.O_WRONLY))
os.symlink({outside!r}, "link")
os.link({outside!r} + "/kept", "hard link")
here = os.open(".", os.O_RDONLY)
for number in range(200):
    name = b"deep\\xfe" * 40
    os.mkdir(name, dir_fd=here)
    below = os.open(name, os.O_RDONLY, dir_fd=here)
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=below))
    os.fchmod(here, 0o500 if number % 2 else 0)
    os.close(here)
    here = below
"""


@pytest.mark.parametrize("count", [10, 100_000])
def test_cleanup_of_all_sorts_of_files(stage: Stage, tmp_path: Path, count: int) -> None:
    """LC-30, LC-34: pipes, sockets, links, names in no encoding, 200 levels, modes, and a hundred thousand files."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    program = LEAVE_ALL_SORTS.format(count=count, outside=str(outside))
    assert stage.run(sys.executable, "-I", "-S", "-c", program).state is ActionState.SUCCESS
    stage.session.cleanup()
    assert warnings_of(stage) == []
    assert os.listdir(tmp_path) == ["outside"]
    assert (outside / "kept").read_text() == "kept"


SWAP = """
import os, sys
print("ready", flush=True)
while True:
    try:
        os.rename("d", "e"); os.symlink(sys.argv[1], "d")
        os.unlink("d"); os.rename("e", "d")
    except OSError:
        if not os.path.isdir("."):
            break
        for make in (lambda: os.mkdir("d"), lambda: os.unlink("d"), lambda: os.rename("e", "d")):
            try:
                make()
            except OSError:
                pass
"""
"""A program that puts a link in the place of a directory and takes it away again, for as long as there are both."""


def test_links_that_are_swapped_in_during_cleanup(open_stage: OpenStage, tmp_path: Path) -> None:
    """LC-34: what they lead to is not touched. The one who swaps is no process of the job, so nobody ends it before."""
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    for number in range(20):
        (outside / f"kept {number}").touch()
    for _ in range(5):
        stage = open_stage()
        directory = stage.session.working_directory
        stage.run(*shell("mkdir -p d/sub; cd d; touch $(seq 500)"))
        swapper = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", SWAP, str(outside)], cwd=directory, stdout=subprocess.PIPE, text=True
        )
        with swapper:
            assert swapper.stdout is not None
            swapper.stdout.readline()
            stage.session.cleanup()
            swapper.kill()
        assert len(os.listdir(outside)) == 21
    sweep(tmp_path)  # what has just been a link could be left
    assert os.listdir(tmp_path) == ["outside"]


@needs_root
def test_devices_and_files_that_can_not_be_deleted(stage: Stage) -> None:
    """LC-34: the rest is deleted, and what is left is named with its reason."""
    directory = stage.session.working_directory
    stage.run(*shell("mknod zero c 1 5; mkdir -p a/b c; touch a/b/stays a/goes c/goes goes; chown -R 12345 c"))
    stays = directory / "a" / "b" / "stays"
    make_immutable(stays)
    try:
        stage.session.cleanup()
    finally:
        make_mutable(stays)
    assert warnings_of(stage) == [f"Could not delete {stays}: Operation not permitted"]
    assert [path.name for path in directory.rglob("*")] == ["a", "b", "stays"]
    assert sweep(directory.parent) == [directory]


@pytest.mark.parametrize("obstacle", ["ln -s /etc/passwd", "mkfifo", "mkdir"])
def test_obstacles_in_the_place_of_files(stage: Stage, obstacle: str) -> None:
    """WD-11: a file of ours is never written through what a job has put there, and nobody hangs."""
    files = [file("F", "data", filename="f.txt")]
    stage.run_task(script(action("true"), files))
    stage.run(*shell(f"cd '{stage.session.files_directory}'; rm -f f.txt; {obstacle} f.txt"))
    status = stage.run_task(script(sh("echo started"), files))
    assert status.state is ActionState.FAILED
    assert "f.txt" in (status.fail_message or "")
    assert "started" not in stage.journal.output


# File systems that can't take any more


@contextmanager
def stage_on(root: Path, **options: object) -> Iterator[Stage]:
    stage = Stage(root, **options)
    try:
        yield stage
    finally:
        stage.close()


def test_full_disk(tmp_path: Path) -> None:
    """LC-20, WD-13: a clear failure, and no half file under the name of a whole one."""
    with small_file_system(tmp_path), stage_on(tmp_path) as stage:
        status = stage.run_task(
            script(sh("echo started"), [file("S", "x"), file("F", "y" * 1_000_000, filename="large")])
        )
        assert (status.state, status.exit_code) == (ActionState.FAILED, None)
        assert "No space left on device" in (status.fail_message or "")
        assert not (stage.session.files_directory / "large").exists()
        assert stage.journal.output == []


def test_files_that_may_not_become_so_large(run: Run) -> None:
    """LC-20, WD-13: the same by a limit of the program, which is to be had everywhere."""
    assert run(
        """
        import resource
        from support.scripts import file, script, sh
        with new_session() as session:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
            files = [file("S", "x"), file("F", "y" * 1_000_000, filename="large")]
            session.run_task(step_script=script(sh("true"), files), task_parameter_values=None)
            status = session.wait(20)
            say(status.state.name, status.exit_code, "File too large" in status.fail_message)
            say((session.files_directory / "large").exists())
        """
    ) == ["FAILED None True", "False"]


def test_full_disk_while_an_action_is_notified(tmp_path: Path) -> None:
    """ACT-27: cancel_info.json can't be written, so the action is terminated."""
    with small_file_system(tmp_path), stage_on(tmp_path) as stage:
        stage.start_task(
            script(sh("cat /dev/zero > fill 2>/dev/null; echo ready; exec sleep 60", cancelation=notified(60)))
        )
        stage.wait_for_line("ready")
        stage.session.cancel_action()
        assert stage.wait().state is ActionState.CANCELED
        assert any("No space left on device" in text for text in warnings_of(stage))


@pytest.mark.parametrize("limits", [{"files": 2}, {"files": 3}], ids=["directory", "files"])
def test_file_system_without_room_for_a_session(tmp_path: Path, limits: dict[str, int]) -> None:
    """LC-1: the construction fails as a whole, and leaves nothing."""
    with small_file_system(tmp_path, **limits):
        with pytest.raises(RuntimeError, match="No space left on device"):
            Session(session_id="s", job_parameter_values=None, session_root_directory=tmp_path)
        assert list(tmp_path.iterdir()) == []


def test_read_only_root(tmp_path: Path) -> None:
    """LC-1."""
    with small_file_system(tmp_path):
        make_read_only(tmp_path)
        with pytest.raises(RuntimeError, match="Read-only file system"):
            Session(session_id="s", job_parameter_values=None, session_root_directory=tmp_path)


def test_disk_that_fails(tmp_path: Path) -> None:
    """LC-20, LC-34: it is read-only from then on; actions fail, cleanup tells what stays, a later sweep finds it."""
    root, image = tmp_path / "root", tmp_path / "image"
    root.mkdir()
    with disk(root, image), stage_on(root) as stage:
        directory = stage.session.working_directory
        stage.run(*shell("touch file"))
        fail(root)
        status = stage.run_task(script(action("true"), [file("F", "data")]))
        assert status.state is ActionState.FAILED
        assert "Read-only file system" in (status.fail_message or "")
        stage.session.cleanup()
        assert [text for text in warnings_of(stage) if "Could not delete" in text and "Read-only" in text]
        mend(root, image)
        assert sweep(root) == [directory]


def test_working_directory_that_has_vanished(stage: Stage) -> None:
    """LC-20: with and without files, and for an environment; the Session goes on to its end."""
    stage.run(*shell("cd /; rm -r $OPENJD_SESSION_WORKING_DIR"))
    status = stage.run_task(script(action("true"), [file("F", "data")]))
    assert status.state is ActionState.FAILED
    assert "No such file or directory" in (status.fail_message or "")
    stage.session.cleanup()
    assert warnings_of(stage) == []


def test_working_directory_that_has_vanished_before_a_start(stage: Stage) -> None:
    stage.run(*shell("cd /; rm -r $OPENJD_SESSION_WORKING_DIR"))
    status = stage.run("true")
    assert status.state is ActionState.FAILED
    assert status.fail_message == "Program 'true' could not be started: the working directory has gone."


# A file system that does not answer


@contextmanager
def other_sessions_go_on(open_stage: OpenStage) -> Iterator[None]:
    """While something hangs elsewhere, another Session starts actions and cancels them in no time."""
    is_over = threading.Event()
    times: list[float] = []

    def go_on() -> None:
        while not is_over.is_set() and len(times) < 40:
            began = time.monotonic()
            other.session.enter_environment(environment=entered, identifier=str(len(times)))
            other.wait()
            times.append(time.monotonic() - began)

    other = open_stage(session_id="other")
    entered = environment("E", onEnter=action("true"))
    worker = threading.Thread(target=go_on)
    worker.start()
    yield
    is_over.set()
    worker.join()
    assert len(times) > 2
    assert max(times) < 2
    other.start(*READY_AND_WAIT)
    other.wait_for_line("ready")
    other.session.cancel_action()
    assert other.wait().state is ActionState.CANCELED


@pytest.mark.slow
def test_start_on_a_file_system_that_does_not_answer(open_stage: OpenStage) -> None:
    """DESIGN §4: the action ends FAILED after its keeper was given up, and nobody else waits."""
    stage = open_stage()
    stage.run("true")
    with silent_file_system(stage.session.working_directory), other_sessions_go_on(open_stage):
        status = stage.run("true")
    assert status.state is ActionState.FAILED
    assert status.fail_message


def test_notice_on_a_file_system_that_does_not_answer(open_stage: OpenStage) -> None:
    """ACT-26: what is not written within a second counts as not written, so the action is terminated."""
    stage = open_stage()
    stage.start_task(script(action(*child("stubborn"), cancelation=notified(60))))
    stage.wait_for_line("ready")
    with silent_file_system(stage.session.working_directory), other_sessions_go_on(open_stage):
        stage.session.cancel_action()
        assert stage.wait().state is ActionState.CANCELED
    assert "notified" not in stage.journal.output
