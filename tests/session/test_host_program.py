"""The program that embeds us keeps its own children, handlers, signals and streams (DESIGN §1, §4)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from support.programs import Begin, Run

# Its children


def test_own_children(run: Run) -> None:
    """They are its own to wait for, and ours are none of them."""
    output = run("""
        own = subprocess.Popen(["sh", "-c", "exit 7"])
        with new_session() as session:
            say(run(session, "sh", "-c", "exit 3").exit_code)
            say(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split() in ([], [str(own.pid)]))
        say(own.wait())
    """)
    assert output == ["3", "True", "7"]


def test_program_that_waits_for_any_child(run: Run) -> None:
    """In another thread, as daemons do; it gets its own, we get ours."""
    output = run("""
        codes = {}
        own = [
            os.posix_spawn("/bin/sh", ["sh", "-c", f"sleep 0.2; exit {code}"], os.environ) for code in (5, 6)
        ]
        def reap():
            while len(codes.keys() & set(own)) < 2:
                pid, status = os.wait()
                codes[pid] = os.WEXITSTATUS(status)
        reaper = threading.Thread(target=reap)
        reaper.start()
        with new_session() as session:
            for code in (0, 0, 3):
                say(run(session, "sh", "-c", f"exit {code}").exit_code)
        reaper.join()
        say([codes[pid] for pid in own])
    """)
    assert output == ["0", "0", "3", "[5, 6]"]


def test_program_that_ignores_its_children(run: Run) -> None:
    """SIGCHLD set to SIG_IGN: exit codes arrive all the same, and it stays so."""
    output = run("""
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        with new_session() as session:
            say(run(session, "sh", "-c", "exit 3").exit_code)
        say(signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN)
    """)
    assert output == ["3", "True"]


def test_own_handler_for_children(run: Run) -> None:
    """It stays, and is not called for ours."""
    output = run("""
        calls = []
        def handler(*_):
            calls.append(1)
        signal.signal(signal.SIGCHLD, handler)
        with new_session() as session:
            run(session, "true")
            calls.clear()
            for _ in range(5):
                run(session, "true")
        say(len(calls), signal.getsignal(signal.SIGCHLD) is handler)
    """)
    assert output == ["0 True"]


# Its signals


def test_signal_mask_and_dispositions(run: Run) -> None:
    """Neither is changed, and neither reaches the processes of actions."""
    output = run("""
        import json
        blocked = {signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        before = [signal.getsignal(number) for number in signal.valid_signals()]
        lines = []
        class Lines(logging.Handler):
            def emit(self, record):
                lines.append(record.getMessage())
        LOG.addHandler(Lines())
        with new_session() as session:
            run(session, *child("surroundings"))
        found = json.loads(next(line for line in lines if line.startswith("{")))
        ignored = found["ignored_signals"]
        say(found["blocked_signals"], ignored >> (signal.SIGTERM - 1) & 1, ignored >> (signal.SIGHUP - 1) & 1)
        say(signal.pthread_sigmask(signal.SIG_BLOCK, ()) == blocked)
        say(before == [signal.getsignal(number) for number in signal.valid_signals()])
    """)
    assert output == ["0 0 0", "True", "True"]


def test_ctrl_c_reaches_the_program_alone(begin: Begin) -> None:
    """The running action, launcher and keeper go on; what happens next is the program's decision."""
    program = begin("""
        LOG.addHandler(Output())
        with new_session() as session:
            start(session, *child("stubborn"))
            try:
                session.wait(20)
            except KeyboardInterrupt:
                say("interrupted", session.state.name)
            session.cancel_action()
            say(session.wait(20).exit_code, session.state.name)
        with new_session() as session:
            say(run(session, "sh", "-c", "exit 3").exit_code)
    """)
    program.wait_for("ready")
    program.press_ctrl_c()
    code, output, complaints = program.finish()
    assert (code, complaints) == (0, "")
    assert "notified" not in output
    assert [line for line in output if line in ("interrupted RUNNING", "-9 READY_ENDING", "3")] == [
        *("interrupted RUNNING", "-9 READY_ENDING", "3"),
    ]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGQUIT"])
def test_signal_to_the_group_that_ends_the_program(begin: Begin, name: str) -> None:
    """Launcher and keeper outlive it just long enough to end its trees."""
    program = begin("""
        LOG.addHandler(Output())
        session = new_session()
        start(session, *child("forks", "daemon"))
        session.wait(20)
    """)
    program.wait_for("ready")
    os.killpg(program.pid, getattr(signal, name))
    code, _, _ = program.finish()
    assert code == -getattr(signal, name)


# Its streams and threads


def test_standard_input_is_left_alone(begin: Begin) -> None:
    """It can be read while actions run."""
    program = begin("""
        with new_session() as session:
            start(session, "cat")
            say("reading")
            say(sys.stdin.readline().strip())
            say(session.wait(20).exit_code)
    """)
    program.wait_for("reading")
    program.say("mine")
    assert program.finish() == (0, ["mine", "0"], "")


def test_program_without_standard_streams(run: Run, tmp_path: Path) -> None:
    """A daemon that has closed them; descriptors 0 to 2 are then given out like any other."""
    run("""
        import faulthandler
        os.closerange(0, 3)
        sys.stdin = sys.stdout = sys.stderr = None
        with new_session() as session:
            for code in (0, 3):
                status = run(session, "sh", "-c", f"echo x; echo y >&2; exit {code}")
        Path(os.environ["ROOT"], "result").write_text(str(status.exit_code))
        os._exit(0)
    """)
    assert (tmp_path / "result").read_text() == "3"


def test_few_threads(run: Run) -> None:
    """Two for all sessions; none before the first action, none soon after the last clean-up."""
    output = run("""
        from contextlib import ExitStack
        with ExitStack() as stack:
            sessions = [stack.enter_context(new_session()) for _ in range(20)]
            say(threading.active_count())
            for session in sessions:
                start(session, "sleep", "60")
            say(threading.active_count())
        for thread in threading.enumerate():
            if thread is not threading.main_thread():
                thread.join(5)
        say(threading.active_count())
    """)
    assert output[0] == output[2] == "1"
    assert 2 <= int(output[1]) - 1 <= 4


def test_descriptors_of_the_program_do_not_reach_actions(run: Run) -> None:
    """Not even those that it lets its children inherit."""
    output = run("""
        import json
        os.set_inheritable(os.open("/", os.O_RDONLY), True)
        LOG.addHandler(Output())
        with new_session() as session:
            run(session, *child("surroundings"))
    """)
    [found] = [line for line in output if line.startswith("{")]
    assert '"descriptors": [0, 1, 2]' in found
