"""Cancels at random moments: exits of many environments, each disturbed."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any, Callable, Optional

from openjd.sessions import ActionState, ActionStatus, SessionError
from support.scripts import action, environment, notified, sh
from support.stage import PATIENCE, Stage

GRACE = 1
LATEST = 2.0
"""Seconds after the end of its grace period in which an action has to be over."""
COMMANDS: dict[str, Any] = {
    "short": action("true"),
    "failing": sh("exit 3"),
    "long": action("sleep", "60"),
    "polite": sh("trap 'exit 0' TERM; sleep 60 & wait", cancelation=notified(GRACE)),
    "deaf": sh("trap '' TERM; sleep 60", cancelation=notified(GRACE)),
    "tree": sh("(setsid sleep 60 &) ; sleep 60 & (trap '' TERM; sleep 60) & sleep 0.02", cancelation=notified(GRACE)),
    "noisy": action("yes", "x" * 1000),
    "missing": action("no such program"),
}
ALLOWED = {ActionState.SUCCESS, ActionState.FAILED, ActionState.CANCELED}


class Storm:
    """Exits of many environments, each canceled; in a Session, exits are all that a cancel leaves."""

    def __init__(self, stage: Stage, seed: int, count: int) -> None:
        self.stage = stage
        self.dice = random.Random(seed)
        self.count = count
        self.finals: list[ActionStatus] = []
        stage.react = self._hear
        self.on_running: Callable[[], object] = lambda: None
        self.variables: Callable[[], Optional[dict[str, str]]] = lambda: None
        for number in range(count):
            kind = self.dice.choice(sorted(COMMANDS))
            stage.session.enter_environment(
                environment=environment(kind, onExit=COMMANDS[kind]), identifier=str(number)
            )
        self.finals.clear()

    def _hear(self, status: ActionStatus) -> None:
        if status.state is ActionState.RUNNING:
            self.on_running()
        else:
            self.finals.append(status)

    def cancel(self, limit: Optional[float] = None, *, mark: bool = False) -> None:
        with suppress(SessionError):  # it has not begun, or is over
            self.stage.session.cancel_action(
                time_limit=None if limit is None else timedelta(seconds=limit), mark_action_failed=mark
            )

    def exit_all(self, disturb: Callable[[], object]) -> None:
        """Exit one environment after the other; the disturbance begins at the same time, and must be an end."""
        session = self.stage.session
        for identifier in reversed(session.environments_entered):
            before = len(self.finals)
            disturber = threading.Thread(target=disturb)
            disturber.start()
            session.exit_environment(identifier=identifier, os_env_vars=self.variables())
            disturber.join()
            began = time.monotonic()
            self.cancel(0.05)  # whatever has been missed
            status = session.wait(PATIENCE)
            assert time.monotonic() - began < GRACE + LATEST
            assert status is not None
            assert status.state in ALLOWED
            assert self.finals[before:] == [status]
            assert session.state.name == "READY_ENDING"


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)
