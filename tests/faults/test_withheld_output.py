"""Jobs that lock the pipe of their output, so that whoever reads from it waits in the kernel (DESIGN §4)."""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Callable

import pytest

from openjd.sessions import ActionState
from openjd.sessions._platform.posix import PosixKeeper
from openjd.sessions._platform.posix_account import PosixAccount
from openjd.sessions._platform.posix_wire import Channel, encode_frame
from openjd.sessions._platform.protocol import Command
from openjd.sessions._runtime import deputy
from openjd.sessions._runtime.deputy import Deputy, LeftBehind
from openjd.sessions._runtime.loop import Loop, default_loop
from support import withholding
from support.bench import Recorder
from support.manual_loop import ManualLoop
from support.programs import Begin, Program
from support.scripts import action, environment, notified
from support.stage import PATIENCE, READY_AND_WAIT, OpenStage, Stage, is_alive, wait_until
from support.withholding import open_userfaultfd

WITHHELD = (
    "Output could not be read for several seconds, and is not read any more: a process has locked its pipe, as one can "
    "that prints from memory which it withholds."
)
SHORT = 0.05
"""Seconds between two looks."""


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """The file that tells that an output is locked."""
    try:
        os.close(open_userfaultfd())
    except OSError as error:
        pytest.skip(f"may not serve memory itself (userfaultfd): {error}")
    return tmp_path / "locked"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deputy, "LOOK_EVERY", SHORT)


def withholder(*arguments: object) -> list[str]:
    return [sys.executable, "-I", "-S", withholding.__file__, *map(str, arguments)]


def lock_output(stage: Stage, locked: Path) -> int:
    """Have a Session's action lock its output; gives its process."""
    stage.start(*withholder(locked))
    wait_until(locked.exists)
    return int(locked.read_text())


def test_others_are_served(open_stage: OpenStage, locked: Path) -> None:
    """DESIGN §4: no job delays a cancel of another Session for longer than some seconds; its own action fails."""
    stage, other = open_stage(), open_stage(session_id="other")
    stage.enter(environment("E", onExit=action("echo", "exited")))
    other.start(*READY_AND_WAIT)
    other.wait_for_line("ready")
    pid = lock_output(stage, locked)
    began = time.monotonic()
    other.session.cancel_action()
    assert other.wait().state is ActionState.CANCELED
    assert time.monotonic() - began < 10
    status = stage.wait()
    assert (status.state, status.exit_code) == (ActionState.FAILED, -9)
    assert status.fail_message == f"{WITHHELD} The action is terminated."
    assert not is_alive(pid)
    assert stage.journal.at(40) == [status.fail_message]
    assert stage.exit("E").state is ActionState.SUCCESS
    assert "exited" in stage.journal.output


@pytest.mark.usefixtures("quick")
def test_time_after_time(open_stage: OpenStage, locked: Path) -> None:
    """DESIGN §4: whoever goes on in the place of the thread that waits is as good as that one; nothing is left over."""
    for number in range(5):
        stage = open_stage(session_id=str(number))
        lock_output(stage, locked)
        assert stage.wait().state is ActionState.FAILED
        locked.unlink()
    assert open_stage().run("true").state is ActionState.SUCCESS


@pytest.mark.usefixtures("quick")
def test_directive_before_does_not_save_it(open_stage: OpenStage, locked: Path) -> None:
    """DIR-22: a malformed directive has begun a cancel with a long grace period; it is terminated all the same."""
    stage = open_stage()
    lines = f"trap '' TERM; echo 'openjd_env: x'; exec {shlex.join(withholder(locked))}"
    status = stage.enter(environment("E", onEnter=action("sh", "-c", lines, cancelation=notified(60))))
    assert locked.exists()
    assert (status.state, status.fail_message) == (ActionState.FAILED, f"{WITHHELD} The action is terminated.")


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_survivor(open_stage: OpenStage, locked: Path, tmp_path: Path) -> None:
    """DIR-8: what an earlier action has left behind is read no more; later actions run, and the Session ends it."""
    go = tmp_path / "go"
    os.mkfifo(go)
    stage = open_stage()
    stage.start(*withholder(locked, go))
    stage.wait_for_line("Gracetime of 5 seconds elapsed but the STDOUT stream is still open. Ending action.")
    assert stage.wait().state is ActionState.SUCCESS
    go.write_bytes(b"!")
    stage.wait_for_line(WITHHELD)
    assert stage.run("true").state is ActionState.SUCCESS
    pid = int(locked.read_text())
    assert is_alive(pid)
    stage.session.cleanup()
    assert not is_alive(pid)


HOLD = """
from openjd.sessions._runtime import deputy
from support import withholding
LOG.addHandler(logging.NullHandler())
deputy.LOOK_EVERY = 0.1
locked = Path(os.environ["ROOT"], "locked")
session = new_session()
start(session, sys.executable, "-I", "-S", withholding.__file__, str(locked))
"""


def test_program_ends_afterwards(begin: Begin, locked: Path) -> None:
    """LC-30: a thread that has waited keeps no program from its end."""
    program = begin(HOLD + "say(session.wait(20).state.name)")
    assert program.finish() == (0, ["FAILED"], "")
    assert locked.exists()


def test_program_ends_meanwhile(begin: Begin, locked: Path) -> None:
    """LC-30: nor does one that waits."""
    program = begin(HOLD + "sys.stdin.readline()")
    wait_until(locked.exists)
    program.say("end")
    assert program.finish() == (0, [], "")
    assert not is_alive(int(locked.read_text()))


@contextmanager
def locked_pipe(locked: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A pipe's reading end, and the process that keeps it locked."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with subprocess.Popen(withholder(locked), stdout=writer) as process:
        os.close(writer)
        try:
            wait_until(locked.exists)
            yield reader, process
        finally:
            process.kill()


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = default_loop()
    loop.join(loop)
    yield loop
    loop.part(loop)


@contextmanager
def keeper_of_another_user(connection: socket.socket, loop: Loop, pid: int) -> Iterator[tuple[PosixKeeper, Recorder]]:
    """Our end of one that is to start a process, and the observer of that."""
    manual_loop = ManualLoop()
    recorder = Recorder(manual_loop)
    manual_loop.close()
    keeper = PosixKeeper(Channel(connection, is_trusted=False), pid, PosixAccount("nobody-of-this-name"), loop)
    keeper.process(Command(["true"], "/", {}), recorder).start()
    yield keeper, recorder
    wait_until(lambda: keeper.is_lost)
    wait_until(lambda: recorder.heard == ["lost"])


@pytest.mark.usefixtures("quick")
def test_output_that_cannot_be_opened(loop: Loop, locked: Path) -> None:
    """USER-14: that of another user is opened anew, which waits likewise; its keeper counts as lost."""
    ours, theirs = socket.socketpair()
    with locked_pipe(locked) as (reader, process), theirs:
        with keeper_of_another_user(ours, loop, process.pid) as (_, recorder):
            Channel(theirs).send(b"started", b"1", b"77", descriptor=reader)
        assert "could not be opened or read" in recorder.reasons[0]
        assert process.poll() is None


@pytest.mark.usefixtures("quick")
def test_socket_that_somebody_else_reads(loop: Loop, locked: Path) -> None:
    """USER-14: another user, who has made a keeper's socket, may keep our end, and have us wait; the keeper is lost."""
    ours, theirs = socket.socketpair()
    theirs.send(encode_frame(b"heard", b""))
    with theirs, subprocess.Popen(withholder(locked, "socket"), stdin=ours.fileno()) as process:
        try:
            wait_until(locked.exists)
            with keeper_of_another_user(ours, loop, process.pid) as (_, recorder):
                pass
            assert "could not be opened or read" in recorder.reasons[0]
            assert process.poll() is None
        finally:
            process.kill()


@pytest.mark.usefixtures("quick")
def test_output_whose_closing_waits(loop: Loop, locked: Path) -> None:
    """LC-30: the end of a Session does not hold up the others."""
    is_served = threading.Event()
    with locked_pipe(locked) as (reader, _):
        loop.post(partial(loop.dare, partial(os.close, reader)))
        loop.post(is_served.set)
        assert is_served.wait(PATIENCE)


# What is no reason to go on without a thread


def wait() -> None:
    """Wait as for input, for as long as twenty looks take."""
    threading.Event().wait(20 * SHORT)


def compute() -> None:
    """Be busy for as long."""
    end = time.monotonic() + 20 * SHORT
    while time.monotonic() < end:
        pass


def attend(call: Callable[[], None]) -> None:
    """Have a deputy watch a call of this thread; LeftBehind if it takes the thread's place."""
    made = Deputy(lambda _: None)
    made.start()
    try:
        made.attend(call, lambda: None, lambda: None)
    finally:
        made.dismiss()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("call", [wait, compute])
def test_thread_that_is_not_held_up(call: Callable[[], None]) -> None:
    """DESIGN §4: nobody is ended because the program waits for something else, or is busy."""
    attend(call)


class DeepSleep:
    """A wait in the kernel: for a child that has yet to become another program, and opens a named pipe before."""

    def __init__(self, place: Path) -> None:
        self._fifo = place / "fifo"
        os.mkfifo(self._fifo)
        self._libc = ctypes.CDLL(None)
        self._actions = ctypes.create_string_buffer(256)
        self._libc.posix_spawn_file_actions_init(self._actions)
        self._libc.posix_spawn_file_actions_addopen(self._actions, 0, os.fsencode(self._fifo), os.O_RDONLY, 0)

    def fall_asleep(self) -> None:
        pid, argv = ctypes.c_int(), (ctypes.c_char_p * 2)(b"true", None)
        assert self._libc.posix_spawn(ctypes.byref(pid), b"/bin/true", self._actions, None, argv, argv) == 0
        os.waitpid(pid.value, 0)

    def wake(self) -> None:
        """End it; if it has not begun yet, wait for that."""
        os.close(os.open(self._fifo, os.O_WRONLY))


@pytest.mark.usefixtures("quick")
def test_many_short_sleeps(tmp_path: Path) -> None:
    """DESIGN §4: nor because it waits in the kernel again and again, as for a slow disk."""
    sleep, count = DeepSleep(tmp_path), 20

    def wake_often() -> None:
        for _ in range(count):
            threading.Event().wait(1.5 * SHORT)
            sleep.wake()

    def sleep_often() -> None:
        for _ in range(count):
            sleep.fall_asleep()

    waker = threading.Thread(target=wake_often)
    waker.start()
    attend(sleep_often)
    waker.join()


@pytest.mark.usefixtures("quick")
def test_one_long_sleep(tmp_path: Path) -> None:
    """DESIGN §4: another thread goes on then; the one that has slept does what is left to be done, and ends."""
    done: list[str] = []
    sleep = DeepSleep(tmp_path)

    def succeed(when_held_up: Callable[[], None]) -> None:
        when_held_up()
        sleep.wake()

    made = Deputy(succeed)
    made.start()
    with pytest.raises(LeftBehind):
        made.attend(sleep.fall_asleep, partial(done.append, "held up"), partial(done.append, "afterwards"))
    assert done == ["held up", "afterwards"]


@pytest.mark.usefixtures("quick")
def test_what_is_left_to_be_done_fails(tmp_path: Path) -> None:
    """DESIGN §4: whatever becomes of it, the one that has slept ends: there is one loop."""
    sleep = DeepSleep(tmp_path)
    made = Deputy(lambda _: sleep.wake())
    made.start()
    with pytest.raises(LeftBehind):
        made.attend(sleep.fall_asleep, lambda: None, partial(os.close, -1))


def test_program_that_is_stopped(begin: Begin) -> None:
    """DESIGN §4: however long; its actions go on with it."""
    program = begin("""
        from openjd.sessions._runtime import deputy
        deputy.LOOK_EVERY = 0.05
        session = new_session()
        start(session, "sh", "-c", "while echo line; do :; done")
        say("ready")
        sys.stdin.readline()
        session.cancel_action()
        say(session.wait(20).state.name)
    """)
    program.wait_for("ready")
    for _ in range(3):
        stop_for_a_while(program)
    program.say("end")
    assert program.finish() == (0, ["CANCELED"], "")


def stop_for_a_while(program: Program) -> None:
    """Stop it for longer than a thread may be held up, and let it go on for as long."""
    program.send(signal.SIGSTOP)
    wait_until(lambda: "\nState:\tT" in Path(f"/proc/{program.pid}/status").read_text())
    threading.Event().wait(10 * SHORT)
    program.send(signal.SIGCONT)
    threading.Event().wait(10 * SHORT)
