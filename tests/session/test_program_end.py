"""The end of the program with Sessions open, and forks of it: LC-36, DESIGN §4; nothing is left that should not be."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from openjd.sessions import sweep
from support.programs import Begin, Program, Run
from support.stage import is_alive, wait_until

OPEN = """
    LOG.addHandler(Output())
    session = new_session()
    start(session, *child("forks", "daemon-quiet", "leave"))
    session.wait(20)
    start(session, *child("forks", "session"))
"""


def processes(program: Program) -> list[int]:
    """Read what the two actions say: a survivor of the first, and a descendant of the one that runs."""
    pids: list[int] = []
    line = ""
    while line != "ready":
        line = program.read_line()
        if line.startswith("descendant "):
            pids.append(int(line.split()[1]))
    assert len(pids) == 2
    return pids


ENDS = {
    "end": ("pass", 0, ""),
    "sys.exit": ("sys.exit(3)", 3, ""),
    "exception": ("raise KeyError('oh')", 1, "KeyError: 'oh'"),
    "quit in a thread": ("threading.Thread(target=lambda: sys.exit(3)).start()", 0, ""),
}


@pytest.mark.parametrize("end", ENDS)
def test_end_with_a_session_open(begin: Begin, tmp_path: Path, end: str) -> None:
    """DESIGN §4, LC-36: processes gone, survivors too, directory gone; the program's exit status is its own."""
    text, code, complaint = ENDS[end]
    program = begin(f"{OPEN}\n    say(sys.stdin.readline())\n    {text}")
    pids = processes(program)
    program.say("go on")
    status, _, complaints = program.finish()
    assert (status, complaints.splitlines()[-1:]) == (code, [complaint] if complaint else [])
    wait_until(lambda: not any(map(is_alive, pids)))
    assert list(tmp_path.iterdir()) == []


HARD_ENDS = {
    "os._exit": "os._exit(3)",
    "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
    "exec": "os.execv('/bin/true', ['true'])",
}


@pytest.mark.parametrize("end", HARD_ENDS)
def test_hard_end(begin: Begin, tmp_path: Path, end: str) -> None:
    """DESIGN §1: launcher and keeper end their trees and leave; the directory is there to be swept."""
    program = begin(f"{OPEN}\n    say(sys.stdin.readline())\n    {HARD_ENDS[end]}")
    pids = processes(program)
    program.say("go on")
    program.finish()
    wait_until(lambda: not any(map(is_alive, pids)) and program.helpers() == [])
    [directory] = [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert sweep(tmp_path) == [directory]
    assert list(tmp_path.iterdir()) == []


def test_end_while_a_handler_is_stuck(begin: Begin) -> None:
    """DESIGN §4: bounded; the program ends though the final call can't be made."""
    program = begin("""
        class Stuck(logging.Handler):
            def handle(self, record):
                if record.getMessage() == "stop":
                    say("stuck")
                    threading.Event().wait()
        LOG.addHandler(Stuck())
        session = new_session()
        start(session, "sh", "-c", "echo stop; exec sleep 60")
        say(sys.stdin.readline())
    """)
    program.wait_for("stuck")
    program.say("go on")
    status, _, complaints = program.finish()
    assert (status, complaints) == (0, "")


# Forks


def test_forked_child_touches_nothing(run: Run) -> None:
    """LC-36: there the parent's Sessions are ENDED; its cleanup, its end and its garbage do nothing."""
    output = run("""
        import gc, warnings
        warnings.simplefilter("always", ResourceWarning)
        LOG.addHandler(Output())
        session = new_session()
        start(session, *child("wait-for-file", str(session.working_directory / "go"), "done"))
        directory = session.working_directory
        def act(how):
            pid = os.fork()
            if pid:
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            states = (session.state.name, directory.exists())
            if how == "cleanup":
                session.cleanup()
                session.cleanup()
            elif how == "refused":
                try:
                    start(session, "true")
                except RuntimeError as error:
                    say(error)
            elif how == "dropped":
                globals()["session"] = None
                gc.collect()
            if states != ("ENDED", True) or not directory.exists():
                os._exit(9)
            if how == "exit":
                sys.exit(4)
            os._exit(4)
        say([act(how) for how in ("cleanup", "refused", "dropped", "exit", "_exit")])
        (directory / "go").touch()
        say(session.wait(20).exit_code, session.state.name)
        session.cleanup()
        say(directory.exists())
    """)
    refused = "run_subprocess() needs a Session that is READY; this one is ENDED."
    lines = [line for line in output if line in (refused, "[4, 4, 4, 4, 4]", "done", "0 READY", "False")]
    assert lines == [refused, "[4, 4, 4, 4, 4]", "done", "0 READY", "False"]


def test_forked_child_has_sessions_of_its_own(run: Run) -> None:
    """DESIGN §4: beside those of its parent, which go on."""
    output = run("""
        with new_session() as session:
            run(session, "true")
            pid = os.fork()
            if pid == 0:
                with new_session() as mine:
                    status = run(mine, "sh", "-c", "exit 3")
                    ended = (session.state.name, mine.state.name, status.exit_code)
                say(ended, mine.working_directory.exists())
                sys.exit(5)
            say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            say(run(session, "sh", "-c", "exit 6").exit_code)
    """)
    assert output == ["('ENDED', 'READY_ENDING', 3) False", "5", "6"]


def test_forked_child_that_outlives_its_parent(begin: Begin) -> None:
    """DESIGN §1: a fork of the program that holds its descriptors keeps no process of its Sessions alive."""
    program = begin(f"""{OPEN}
    say(sys.stdin.readline())
    if os.fork() == 0:
        os.closerange(0, 3)
        signal.alarm(60)
        signal.pause()
    os._exit(0)
    """)
    pids = processes(program)
    program.say("go on")
    program.finish()
    wait_until(lambda: not any(map(is_alive, pids)) and program.helpers() == [])
    left = [int(name) for name in os.listdir("/proc") if name.isdigit() and session_of(int(name)) == program.pid]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert len(left) == 1


def session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def test_multiprocessing(run: Run) -> None:
    """DESIGN §4: processes by fork while a Session is open, each with a Session too."""
    output = run("""
        import multiprocessing
        context = multiprocessing.get_context("fork")
        def work(number):
            with new_session() as session:
                return run(session, "sh", "-c", f"exit {number}").exit_code
        with new_session() as session:
            start(session, *child("wait-for-file", str(session.working_directory / "go")))
            with context.Pool(2) as pool:
                say(pool.map(work, [1, 2, 3]))
            (session.working_directory / "go").touch()
            say(session.wait(20).exit_code)
    """)
    assert output == ["[1, 2, 3]", "0"]


def test_fork_in_the_midst_of_news(run: Run) -> None:
    """DESIGN §4: whatever locks the other threads hold at that moment."""
    output = run("""
        LOG.addHandler(logging.NullHandler())
        with new_session() as session:
            start(session, "yes", "x" * 200)
            codes = set()
            for _ in range(30):
                pid = os.fork()
                if pid == 0:
                    session.cleanup()
                    LOG.info("hello")
                    os._exit(session.state.name == "ENDED")
                codes.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            session.cancel_action()
            say(codes, session.wait(20).exit_code)
    """)
    assert output == ["{1} -9"]
