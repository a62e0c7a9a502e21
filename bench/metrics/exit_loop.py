"""The loop of the first README, which starts an exit, then clears its event, then waits: how often it hangs.

Busy neighbours make it more likely that another thread runs between the two statements.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING

from bench.children import command
from bench.metric import Goal, Metric, Row, Values
from bench.sessions import environment, listen, own_directory

if TYPE_CHECKING:
    from openjd.model.v2023_09 import Environment

    from openjd.sessions import ActionStatus, Session

LOOPS = 300
ENOUGH = 10
"""Hangs after which there is nothing more to find out."""
PATIENCE = 2.0
"""Seconds after which a loop counts as one that hangs."""


@contextmanager
def busy_neighbours() -> Iterator[None]:
    """Four busy processes for each processor."""
    burning = [subprocess.Popen(command("burn")) for _ in range(4 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for process in burning:
            process.kill()
            process.wait()


def exit_loops(quick: bool) -> Values:
    from openjd.sessions import ActionState, Session

    listen()
    action_event = Event()

    def on_status(_: str, status: ActionStatus) -> None:
        if status.state != ActionState.RUNNING:
            action_event.set()

    count = 10 if quick else LOOPS
    true = environment("true", leave=["true"])
    with (
        busy_neighbours(),
        Session(
            session_id="bench", job_parameter_values={}, callback=on_status, session_root_directory=own_directory()
        ) as session,
    ):
        loops = hangs = 0
        while loops < count and hangs < ENOUGH:
            loops += 1
            hangs += hangs_once(session, true, action_event)
    return {"hangs": hangs * 1000 / loops}


def hangs_once(session: Session, environment: Environment, action_event: Event) -> bool:
    """Enter an environment, and exit it as the README does."""
    action_event.clear()
    identifier = session.enter_environment(environment=environment)
    action_event.wait()
    session.exit_environment(identifier=identifier, keep_session_running=True)
    action_event.clear()
    return not action_event.wait(PATIENCE)


METRICS = (
    Metric(
        "exit-loop",
        rows=(Row("hangs", "the first README's exit loop beside busy processes, of 1,000", "hangs", Goal(0)),),
        library=exit_loops,
    ),
)
