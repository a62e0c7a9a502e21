"""Two threads that would start an action at the same time, as orders (LC-2, API §8)."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Optional

import pytest

from openjd.sessions import ActionState, ActionStatus, SessionState
from openjd.sessions._platform.posix import PosixKeeper
from openjd.sessions._platform.posix_account import PosixAccount
from openjd.sessions._platform.posix_wire import MAX_FRAME, Channel, FrameBuffer, encode_frame
from openjd.sessions._runtime import running_action
from openjd.sessions._runtime.loop import default_loop
from support.moments import AtRecord
from support.stage import PATIENCE, READY_AND_WAIT, Gate, Stage, shell


class Gateway:
    """A lock before which one thread stops until it is let through; others pass."""

    def __init__(self) -> None:
        self.stopped: Optional[threading.Thread] = None
        self.has_come, self.may_pass = threading.Event(), threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if threading.current_thread() is self.stopped:
            self.has_come.set()
            assert self.may_pass.wait(PATIENCE)
        self._lock.acquire()

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._lock.release()


def test_a_start_that_comes_second_is_refused_and_changes_nothing(stage: Stage, gate: Gate) -> None:
    """LC-2: the first one's action goes on."""
    refusals: list[str] = []

    def come_second() -> None:
        try:
            stage.session.run_subprocess(command="true")
        except RuntimeError as error:
            refusals.append(str(error))

    gateway = Gateway()
    actions = stage.session._actions
    assert actions is not None
    actions.lock = gateway  # type: ignore[assignment]
    second = gateway.stopped = threading.Thread(target=come_second, daemon=True)
    second.start()
    assert gateway.has_come.wait(PATIENCE)
    stage.start(*shell(f"echo ready; {gate.wait}; echo done"))
    stage.journal.wait_for_line("ready")
    gateway.may_pass.set()
    second.join(PATIENCE)
    assert refusals == ["run_subprocess() needs a Session that is READY; this one is RUNNING."]
    assert stage.session.state is SessionState.RUNNING
    gate.open()
    assert stage.wait() == ActionStatus(ActionState.SUCCESS, exit_code=0)
    assert "done" in stage.journal.texts


def test_a_start_that_comes_while_the_session_is_cleaned_up(stage: Stage) -> None:
    """LC-30: accepted just before the end, its action is ended, too."""
    gateway = Gateway()
    actions = stage.session._actions
    actions.lock = gateway  # type: ignore[assignment]
    cleaner = gateway.stopped = threading.Thread(target=stage.session.cleanup, daemon=True)
    cleaner.start()
    assert gateway.has_come.wait(PATIENCE)
    stage.start(*READY_AND_WAIT)
    gateway.may_pass.set()
    assert stage.wait() == ActionStatus(ActionState.CANCELED, exit_code=-9)
    cleaner.join(PATIENCE)
    assert stage.state == "ENDED"


class IdleKeeper(threading.Thread):
    """A keeper that is there, and starts nothing."""

    def __init__(self) -> None:
        super().__init__()
        ours, self._theirs = socket.socketpair()
        self.keeper = PosixKeeper(Channel(ours), -1, PosixAccount(None), default_loop())
        self.heard: list[bytes] = []

    def run(self) -> None:
        frames = FrameBuffer(MAX_FRAME)
        with self._theirs as connection:
            while data := connection.recv(65536):
                for fields in frames.feed(data):
                    self.heard.append(fields[0])
                    if fields[0] == b"hello":
                        connection.sendall(encode_frame(b"heard", b""))
                    elif fields[0] == b"leave":
                        return


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_a_start_that_is_not_answered(stage: Stage, monkeypatch: pytest.MonkeyPatch, is_interrupted: bool) -> None:
    """DESIGN §4: it is given up, also if nobody waits for it any more; what may come of it is to end."""
    monkeypatch.setattr(running_action, "START_LIMIT", 0.3)
    idle = IdleKeeper()
    idle.start()
    stage.session._actions._resources._keeper = idle.keeper
    if is_interrupted:
        stage.journal.addFilter(AtRecord("Running command", interrupt))
        with pytest.raises(KeyboardInterrupt):
            stage.start("true")
    else:
        stage.start("true")
    assert stage.wait() == ActionStatus(ActionState.FAILED, fail_message="The process was not started in time.")
    assert stage.state == "READY_ENDING"
    stage.session.cleanup()
    idle.join(PATIENCE)
    assert b"terminate" in idle.heard


def interrupt() -> None:
    raise KeyboardInterrupt
