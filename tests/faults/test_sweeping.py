"""Directories of programs that have gone: what is swept, and what never is (DESIGN §11, API §16a)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from openjd.sessions import Session, sweep
from openjd.sessions._runtime.sweeping import sweep_default_root
from openjd.sessions.cli import main
from support.alone import NAMESPACE, has_namespaces
from support.programs import Begin, Program
from support.stage import PATIENCE, wait_until

OPEN = """
    session = new_session({options})
    start(session, "sh", "-c", "echo data > file; exec sleep 60")
    say(session.working_directory)
    {then}
"""
WAIT = "say(sys.stdin.readline())"
DIE = "os.kill(os.getpid(), signal.SIGKILL)"


def open_session(begin: Begin, then: str = WAIT, options: str = "") -> tuple[Program, Path]:
    program = begin(OPEN.format(then=then, options=options))
    return program, Path(program.read_line())


def test_what_a_killed_program_has_left(begin: Begin, tmp_path: Path) -> None:
    """And nothing of one that lives."""
    living, of_living = open_session(begin)
    killed, of_killed = open_session(begin, DIE)
    assert killed.finish()[0] == -9
    wait_until(lambda: killed.helpers() == [])
    assert sweep(tmp_path) == [of_killed]
    assert of_living.is_dir()
    living.close()


def test_what_is_to_be_retained_stays(begin: Begin, tmp_path: Path) -> None:
    """LC-33: also if the program is killed before it has said so."""
    program, directory = open_session(begin, DIE, "retain_working_dir=True")
    program.finish()
    assert sweep(tmp_path) == []
    assert (directory / "file").exists()


@pytest.mark.parametrize("made", [[], ["directory"], ["directory", "files"]])
def test_half_made_directories(tmp_path: Path, made: list[str]) -> None:
    """A program may be killed between any two steps of making one."""
    (tmp_path / ".abcdef01.owner").touch(0o600)
    if "directory" in made:
        (tmp_path / "abcdef01").mkdir()
    if "files" in made:
        (tmp_path / "abcdef01" / "embedded_files12345678").mkdir()
    assert sweep(tmp_path) == ([tmp_path / "abcdef01"] if made else [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not has_namespaces, reason="This system gives us no process-id namespace")
def test_owner_in_another_process_id_namespace(begin: Begin, tmp_path: Path) -> None:
    """Its process ids mean nothing there, but its lock does; neither side sweeps the other."""
    living, directory = open_session(begin)
    code = f"import openjd.sessions as s; print(s.sweep({str(tmp_path)!r}))"
    done = subprocess.run([*NAMESPACE, sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.stdout, done.stderr) == ("[]\n", "")
    assert directory.is_dir()
    code = f"""
import openjd.sessions as s, sys
session = s.Session(session_id="s", job_parameter_values=None, session_root_directory={str(tmp_path)!r})
print(session.working_directory, flush=True)
sys.stdin.readline()
session.cleanup()
"""
    inside = subprocess.Popen(
        [*NAMESPACE, sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with inside:
        assert inside.stdout is not None
        of_inside = Path(inside.stdout.readline().rstrip())
        assert sweep(tmp_path) == []
        assert of_inside.is_dir()
        inside.communicate("\n", timeout=PATIENCE)
    assert not of_inside.exists()
    living.close()


@pytest.mark.parametrize("root", ["given", "default"])
def test_default_root_is_swept_by_who_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str) -> None:
    """DESIGN §11: once in a program's life; a root that somebody has given is his to sweep."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    default = tmp_path / "OpenJD"
    (default / "abcdef01" / "sub").mkdir(parents=True)
    (default / ".abcdef01.owner").touch(0o600)
    sweep_default_root.cache_clear()
    given = {"default": None, "given": default}[root]
    with Session(session_id="s", job_parameter_values=None, session_root_directory=given):
        if root == "default":
            wait_until(lambda: not (default / "abcdef01").exists())
    assert (default / ".abcdef01.owner").exists() == (root == "given")
    sweep_default_root.cache_clear()


# For people: openjd-sessions sweep


def leave_behind(root: Path, name: str) -> Path:
    (root / name).mkdir()
    (root / name / "file").touch()
    (root / f".{name}.owner").touch(0o600)
    return root / name


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """API §16a: first a trial, then in earnest."""
    directory = leave_behind(tmp_path, "abcdef01")
    assert main(["sweep", "--dry-run", str(tmp_path)]) == 0
    assert directory.is_dir()
    assert main(["sweep", str(tmp_path)]) == 0
    assert not directory.exists()
    assert main(["sweep", str(tmp_path)]) == 0
    assert capsys.readouterr() == (f"would delete {directory}\ndeleted {directory}\n", "")


def test_command_without_a_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default one, which is made if it is missing."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert main(["sweep"]) == 0
    directory = leave_behind(tmp_path / "OpenJD", "abcdef01")
    assert main(["sweep"]) == 0
    assert not directory.exists()


def test_command_with_a_root_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(tmp_path / "missing")]) == 1
    output, complaint = capsys.readouterr()
    assert output == ""
    assert complaint.startswith(f"ERROR: The session_root_directory '{tmp_path}/missing' must be an existing directory")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_command_tells_what_could_not_be_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The names are those that a job has given; they cannot drive a terminal."""
    directory = leave_behind(tmp_path, "abcdef01")
    mounted = directory / "\x1b[2J\nok\u202e\udcff"
    mounted.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", mounted], capture_output=True, check=False).returncode:
        pytest.skip("may not mount a file system")
    try:
        assert main(["sweep", str(tmp_path)]) == 1
        assert capsys.readouterr() == (
            "",
            f"ERROR: could not delete {directory}/\\x1b[2J\\nok\\u202e\\udcff: Another file system is mounted there\n",
        )
    finally:
        subprocess.run(["umount", mounted], check=True)
    assert sweep(tmp_path) == [directory]
