"""How a process is started on POSIX: which program, with what around it, and why it could not be (ACT-1, 9, 10, 31)."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from openjd.sessions._errors import KeeperError
from openjd.sessions._platform import posix_link
from openjd.sessions._platform.posix import PosixPlatform
from support import child
from support.bench import Bench, parent_of
from support.hosts import run_host
from support.manual_loop import ManualLoop

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
LIMIT_OF_ONE_ARGUMENT = 128 * 1024
ODD = "\udcff\udc80 \n\t'\"\\$(x)`*ö\u2028"


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def because(name: object, number: int) -> str:
    return f"Program '{name}' could not be started: {os.strerror(number)}"


# Which program


def test_a_bare_name_is_searched_in_the_actions_own_path(posix: Bench, tmp_path: Path) -> None:
    """ACT-9: the first executable file of that name; what is no such file is passed over."""
    (tmp_path / "a" / "tool").mkdir(parents=True)
    script(tmp_path / "b" / "tool", "#!/bin/sh\necho not executable", 0o644)
    script(tmp_path / "c" / "tool", "#!/bin/sh\necho the right one")
    script(tmp_path / "d" / "tool", "#!/bin/sh\necho too late")
    path = ":".join(str(tmp_path / name) for name in ("missing", "a", "b", "c", "d"))
    assert posix.run("tool", variables={"PATH": path}).output == b"the right one\n"


@pytest.mark.parametrize("path", ["bin", ".:bin", "bin:", "/nowhere:./bin"])
def test_relative_parts_of_the_path_are_seen_from_the_working_directory(posix: Bench, path: str) -> None:
    """ACT-9: ``cwd`` is the working directory."""
    script(posix.directory / "bin" / "tool", "#!/bin/sh\npwd")
    recorder = posix.run("tool", variables={"PATH": path})
    assert os.path.samefile(recorder.output.decode().strip(), posix.directory)


def test_an_empty_part_of_the_path_is_the_working_directory(posix: Bench) -> None:
    """ACT-9, as execvp has it."""
    script(posix.directory / "tool", "#!/bin/sh\necho here")
    assert posix.run("tool", variables={"PATH": "/nowhere:"}).output == b"here\n"
    assert posix.run("tool", variables={"PATH": ""}).output == b"here\n"


def test_a_name_with_a_slash_is_a_path(posix: Bench) -> None:
    """ACT-9: seen from the working directory, and never searched for."""
    tool = script(posix.directory / "bin" / "tool", "#!/bin/sh\necho found")
    for name in ("bin/tool", "./bin/tool", str(tool)):
        assert posix.run(name, variables={"PATH": "/nowhere"}).output == b"found\n"
    reason = posix.fail("./tool", variables={"PATH": str(posix.directory / "bin")})
    assert reason == because("./tool", errno.ENOENT)


def test_a_script_without_a_first_line_is_run_by_sh(posix: Bench) -> None:
    """ACT-9: as execvp does, whether named by a path or found."""
    tool = script(posix.directory / "bin" / "tool", 'echo "$0 $*"; exit 5')
    recorder = posix.run("bin/tool", "a", "b c")
    assert (recorder.output, recorder.code) == (b"bin/tool a b c\n", 5)
    recorder = posix.run("tool", "a", variables={"PATH": str(tool.parent)})
    assert recorder.output == f"{tool} a\n".encode()


def test_a_program_that_is_still_being_written_is_tried_again(posix: Bench) -> None:
    """ACT-9: for 100 ms; then it is said why it can't be."""
    tool = script(posix.directory / "tool", "#!/bin/sh\necho done")
    with tool.open("a"):
        began = time.monotonic()
        assert posix.fail(str(tool)) == because(tool, errno.ETXTBSY)
        assert time.monotonic() - began >= 0.1
    with tool.open("a"):
        _, recorder = posix.ask_for([str(tool)])
    assert posix.finish(recorder).output == b"done\n"


# Why it could not be started


def test_a_missing_program(posix: Bench) -> None:
    """ACT-9: a bare name is told with the PATH searched, a path without."""
    reason = posix.fail("no-such-program", "argument", variables={"PATH": "/bin:relative:"})
    assert reason == "Program 'no-such-program' was not found in the PATH searched: /bin:relative:"
    assert posix.fail("/nowhere/program") == because("/nowhere/program", errno.ENOENT)


def test_a_file_that_is_not_executable(posix: Bench) -> None:
    """ACT-9: by its path; as a bare name it is not found."""
    script(posix.directory / "tool", "#!/bin/sh\n", 0o644)
    assert posix.fail("./tool") == because("./tool", errno.EACCES)
    path = str(posix.directory)
    expected = f"Program 'tool' was not found in the PATH searched: {path}"
    assert posix.fail("tool", variables={"PATH": path}) == expected


def test_a_directory(posix: Bench) -> None:
    """ACT-9."""
    (posix.directory / "folder").mkdir()
    assert posix.fail("./folder") == because("./folder", errno.EISDIR)
    assert posix.fail(str(posix.directory)) == because(posix.directory, errno.EISDIR)


def test_a_script_whose_interpreter_is_missing(posix: Bench) -> None:
    """ACT-9."""
    script(posix.directory / "tool", "#!/no/such/interpreter\n")
    assert posix.fail("./tool") == because("./tool", errno.ENOENT)


def test_arguments_that_are_too_long(posix: Bench) -> None:
    """ACT-9: the keeper survives, and starts the next one."""
    reason = posix.fail("/bin/echo", "x" * LIMIT_OF_ONE_ARGUMENT)
    assert reason == because("/bin/echo", errno.E2BIG)
    assert posix.run("/bin/echo", "fine").output == b"fine\n"


def test_a_working_directory_that_has_gone(posix: Bench) -> None:
    """ACT-9."""
    reason = posix.fail("echo", directory=posix.directory / "gone")
    assert reason == "Program 'echo' could not be started: the working directory has gone."


def test_a_name_in_odd_bytes(posix: Bench) -> None:
    """ACT-9: what is no UTF-8 is shown by its bytes."""
    assert posix.fail("/nowhere/\udcff") == because("/nowhere/\\xff", errno.ENOENT)


@linux
def test_a_text_that_cannot_be_written_in_bytes(posix: Bench) -> None:
    """ACT-9: a lone surrogate, for instance; in an argument or in a variable."""
    reason = posix.fail("echo", "\ud800")
    assert reason == (
        "Program 'echo' could not be started: '\\ud800' cannot be written in this system's encoding, utf-8."
    )
    reason = posix.fail("echo", variables={"NAME": "\ud800"})
    assert reason == (
        "Program 'echo' could not be started: 'NAME=\\ud800' cannot be written in this system's encoding, utf-8."
    )
    assert posix.run("/bin/echo", "fine").output == b"fine\n"


# What is around it


def surroundings(posix: Bench) -> dict[str, Any]:
    found = json.loads(posix.run(*child("surroundings")).output)
    assert isinstance(found, dict)
    return found


@linux
def test_surroundings_of_a_process(posix: Bench) -> None:
    """ACT-10, ACT-31: empty standard input, a session and group of its own, three descriptors, nothing blocked."""
    inherited = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        found = surroundings(posix)
    finally:
        os.close(inherited)
    assert found["standard_input"] == ""
    assert (found["leads_session"], found["leads_group"]) == (True, True)
    assert found["descriptors"] == [0, 1, 2]
    assert found["blocked_signals"] == 0
    assert os.path.samefile(found["directory"], posix.directory)
    assert found["pid"] == posix.recorders[0].pid


def test_standard_input_can_not_be_written_to_either(posix: Bench) -> None:
    """ACT-10: it is the null device."""
    recorder = posix.run("/bin/sh", "-c", "[ /dev/fd/0 -ef /dev/null ] && cat && echo nothing more")
    assert recorder.output == b"nothing more\n"


def test_standard_error_goes_with_standard_output(posix: Bench) -> None:
    """ACT-10: in the order of writing."""
    expected = [f"{stream} {number}" for number in range(1, 201) for stream in ("out", "err")]
    assert posix.run(*child("both-streams", "200")).lines == expected


@linux
def test_signals_are_as_they_are_by_default_whatever_the_host_has_set(tmp_path: Path) -> None:
    """DESIGN §4: nothing ignored, nothing blocked, nothing caught, though the host ignores and blocks a lot."""
    masks = run_host("report-signals", str(tmp_path))
    known = sum(1 << number - 1 for number in signal.valid_signals())
    assert {name: mask & known for name, mask in masks.items()} == {"SigBlk": 0, "SigIgn": 0, "SigCgt": 0}


@pytest.mark.parametrize(
    "words", [[], [""], ["", " ", ""], [ODD], ["--", "-c", "{{Param.X}}", "~", "a=b"], ["ü" * 1000, "\udce4"]]
)
def test_arguments_arrive_as_they_are(posix: Bench, words: list[str]) -> None:
    """ACT-1, ACT-3: no shell interprets them, odd bytes and empty ones included."""
    assert json.loads(posix.run(*child("arguments", *words)).output) == words


def test_many_arguments_and_a_large_environment(posix: Bench) -> None:
    """300 kB of each."""
    words = [f"{number:04}" + "x" * 1000 for number in range(300)]
    assert json.loads(posix.run(*child("arguments", *words)).output) == words
    variables = {f"LARGE_{number}": str(number) * 100_000 for number in range(3)}
    lines = posix.run(*child("variables", *variables), variables=variables).lines
    assert lines == [f"{name}={value}" for name, value in variables.items()]


def test_variables_arrive_as_they_are(posix: Bench) -> None:
    """Odd bytes, odd names, and empty values included."""
    variables = {"ODD": ODD, "EMPTY": "", "WITH_EQUALS": "=a=b=", "odd-name.\udcff": "1"}
    output = posix.run("/usr/bin/env", variables=variables).output
    for name, value in variables.items():
        assert os.fsencode(f"{name}={value}\n") in output


def test_only_the_given_variables_are_there(posix: Bench) -> None:
    """Nothing of the launcher's own, and of the keeper only what marks its processes; each process has its own set."""
    posix.run(*child("exit", "0"), variables={"OF_THE_FIRST": "1"})
    given = {*os.environ, "OPENJD_SESSION_WORKING_DIR", "OF_THE_SECOND", "OPENJD_SESSIONS_ACTION"}
    lines = posix.run("/usr/bin/env", variables={"OF_THE_SECOND": "2"}).lines
    assert sorted(line.split("=")[0] for line in lines if "=" in line) == sorted(given)


# Launcher and keepers


def test_the_program_has_no_new_children(posix: Bench) -> None:
    """DESIGN §4: its own ``wait`` never meets launcher or keepers."""
    posix.begin("wait")
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@linux
def test_the_launcher_says_whose_it_is(posix: Bench) -> None:
    """DESIGN §4: its title; it leads a session of its own in the root directory."""
    _, recorder = posix.begin("wait")
    launcher = parent_of(parent_of(recorder.pid))
    arguments = Path(f"/proc/{launcher}/cmdline").read_bytes().split(b"\0")
    assert arguments[-2] == b"openjd.sessions launcher of process %d" % os.getpid()
    assert b"-I" in arguments
    assert os.getsid(launcher) == launcher
    assert os.readlink(f"/proc/{launcher}/cwd") == "/"


def test_interpreters_that_do_not_work_are_told_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, loop: ManualLoop
) -> None:
    """DESIGN §4: each that was tried."""
    monkeypatch.setattr(posix_link, "interpreters", lambda: ["/nowhere/python", "/bin/false"])
    with pytest.raises(KeeperError) as refusal:
        PosixPlatform(loop).open_keeper()
    assert str(refusal.value) == (
        "No Python interpreter could be run that starts this program's processes. Set OPENJD_SESSIONS_PYTHON to the "
        "path of one of version 3.9 or newer. Tried: /nowhere/python ([Errno 2] No such file or directory: "
        "'/nowhere/python'), /bin/false (it ended at once)"
    )


def test_an_interpreter_that_is_too_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, loop: ManualLoop) -> None:
    """DESIGN §4."""
    old = script(tmp_path / "python", "#!/bin/sh\nprintf '\\0openjd.sessions    3   8' >&0\nexec cat >&0\n")
    monkeypatch.setattr(posix_link, "interpreters", lambda: [str(old)])
    with pytest.raises(KeeperError) as refusal:
        PosixPlatform(loop).open_keeper()
    assert str(refusal.value).endswith(f"Tried: {old} (version 3.8)")


def test_the_interpreter_may_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """DESIGN §4: OPENJD_SESSIONS_PYTHON comes first, then our own, each once."""
    own = posix_link.interpreters()
    monkeypatch.setenv("OPENJD_SESSIONS_PYTHON", "/opt/python")
    assert posix_link.interpreters() == ["/opt/python", *own]
    assert own[-1] == "/usr/bin/python3"
    assert len(set(own)) == len(own)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert not {sys.executable} & set(posix_link.interpreters()[:2])
