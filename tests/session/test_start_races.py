"""Two threads that would start an action at the same time, as orders (LC-2, API §8)."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Optional

from openjd.sessions import ActionState, ActionStatus, SessionState
from support.stage import PATIENCE, Gate, Stage, shell


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
