"""Cancels at random moments, from everywhere, in every manner (LC-24 to LC-29, ACT-28 to ACT-33).

Every action ends once, in time, in a state that the rules allow; nothing is left, and nobody else is signalled.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any, Callable, Optional

import pytest

from openjd.sessions import ActionState, ActionStatus, SessionError
from support.programs import ABOUT_FORKS, PRELUDE
from support.scripts import action, environment, notified, sh
from support.stage import PATIENCE, OpenStage, Stage

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
            session.exit_environment(identifier=identifier)
            disturber.join()
            began = time.monotonic()
            self.cancel(0.05)  # whatever has been missed
            status = session.wait(PATIENCE)
            assert time.monotonic() - began < GRACE + LATEST
            assert status is not None
            assert status.state in ALLOWED
            assert self.finals[before:] == [status]
            assert session.state.name == "READY_ENDING"


@pytest.fixture
def storm(open_stage: OpenStage) -> Callable[[int, int], Storm]:
    return lambda seed, count: Storm(open_stage(), seed, count)


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


@pytest.mark.slow
def test_from_another_thread(storm: Callable[[int, int], Storm]) -> None:
    """LC-27, LC-28: before the start, while it is prepared, at the moment of the exit, and in between."""
    hit = storm(1, 400)

    def disturb() -> None:
        pause(hit.dice.expovariate(200))
        hit.cancel(hit.dice.choice([None, *[0, 0.05] * 10]), mark=hit.dice.random() < 0.2)

    hit.exit_all(disturb)
    states = {status.state for status in hit.finals}
    assert states == ALLOWED


@pytest.mark.slow
def test_repeated_with_shrinking_limits(storm: Callable[[int, int], Storm]) -> None:
    """LC-25, LC-26: the last one counts, however many there were."""
    hit = storm(2, 200)

    def disturb() -> None:
        for limit in (0.8, 0.4, 0.2, 0.1, 0.0):
            pause(hit.dice.expovariate(500))
            hit.cancel(limit)

    hit.exit_all(disturb)


def test_from_callbacks_and_several_threads(storm: Callable[[int, int], Storm]) -> None:
    """LC-18: the call itself cancels, while others do."""
    hit = storm(3, 200)
    hit.on_running = lambda: hit.cancel(0, mark=True)

    def disturb() -> None:
        others = [threading.Thread(target=hit.cancel, args=[0.01]) for _ in range(3)]
        for other in others:
            other.start()
        for other in others:
            other.join()

    hit.exit_all(disturb)


# From a signal handler, among strangers whose process ids come and go

AMONG_STRANGERS = (
    PRELUDE
    + """
import random, time
from support.scripts import environment, sh

with open("/proc/sys/kernel/pid_max", "w") as file:
    file.write("400")

harmed, is_over = [], threading.Event()
def be_strangers():
    while not is_over.is_set():
        done = subprocess.run(["sh", "-c", ":"])
        if done.returncode:
            harmed.append(done.returncode)
threads = [threading.Thread(target=be_strangers) for _ in range(2)]
for thread in threads:
    thread.start()

def cancel(*_):
    try:
        session.cancel_action()
    except RuntimeError:
        pass

dice = random.Random(4)
tree = environment("tree", onExit=sh("(setsid sleep 60 &); (sleep 60 &); setsid sleep 60 & sleep 60"))
signal.signal(signal.SIGALRM, cancel)
with new_session() as session:
    for number in range(150):
        session.enter_environment(environment=tree, identifier=str(number))
    for identifier in reversed(session.environments_entered):
        signal.setitimer(signal.ITIMER_REAL, 0.0001 + dice.expovariate(100))
        session.exit_environment(identifier=identifier)
        cancel()
        assert session.wait(20).state.name in ("CANCELED", "FAILED"), session.action_status
        signal.setitimer(signal.ITIMER_REAL, 0)
is_over.set()
for thread in threads:
    thread.join()
say("harmed", harmed)
say("highest", max(int(name) for name in os.listdir("/proc") if name.isdigit()) < 400)
commands = [Path(f"/proc/{name}/cmdline").read_bytes() for name in os.listdir("/proc") if name.isdigit()]
say("left", [command for command in commands if command.startswith(b"sleep")])
"""
)
NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc"]
has_own_ids = not subprocess.run(
    [*NAMESPACE, "sh", "-c", "echo 400 > /proc/sys/kernel/pid_max"],
    capture_output=True,
    check=False,
).returncode


def run_alone(code: str, root: str, *command: str) -> list[str]:
    """What a program prints that must succeed and complain of nothing."""
    paths = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [*command, sys.executable, "-W", "error", *ABOUT_FORKS, "-c", code],
        env={**os.environ, "ROOT": root, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.skipif(not has_own_ids, reason="needs a process-id namespace with few ids")
def test_from_a_signal_handler_while_process_ids_are_recycled(tmp_path: Any) -> None:
    """ACT-31: strangers get the ids that members of trees have just had, thousands of times; none is ever signalled."""
    assert run_alone(AMONG_STRANGERS, str(tmp_path), *NAMESPACE) == ["harmed []", "highest True", "left []"]


# While no process can be started

STARVED = (
    PRELUDE
    + """
import time
from support.scripts import action, environment, notified, sh
group = Path("/sys/fs/cgroup/pids", f"openjd-{os.getpid()}")

def allow(more):
    now = int((group / "pids.current").read_text())
    (group / "pids.max").write_text("max" if more is None else str(now + more))

LOG.addHandler(logging.NullHandler())
group.mkdir()
(group / "cgroup.procs").write_text(str(os.getpid()))
try:
    with new_session() as session:
        tree = sh("sleep 60 & sleep 60 & (sleep 60 & sleep 60) & sleep 60", cancelation=notified(1))
        for number in range(40):
            session.enter_environment(environment=environment("E", onExit=tree), identifier=str(number))
        session.exit_environment(identifier="39")
        session.cancel_action()
        session.wait(20)
        states = []
        for number in reversed(range(39)):
            allow(number % 4)
            session.exit_environment(identifier=str(number))
            began = time.monotonic()
            try:
                session.cancel_action()
            except RuntimeError:
                pass
            status = session.wait(20)
            assert time.monotonic() - began < 3.5
            states.append((status.state.name, status.fail_message or ""))
        allow(None)
    failures = {message for name, message in states if name == "FAILED"}
    say({name for name, _ in states} <= {"FAILED", "CANCELED"})
    say([message for message in failures if message and "Resource temporarily unavailable" not in message])
    say(bool(failures))
finally:
    (group.parent / "cgroup.procs").write_text(str(os.getpid()))
    for line in (group / "cgroup.procs").read_text().split():
        (group.parent / "cgroup.procs").write_text(line)
    group.rmdir()
"""
)


@pytest.mark.skipif(not os.access("/sys/fs/cgroup/pids/cgroup.procs", os.W_OK), reason="needs a control group")
def test_while_no_process_can_be_started(tmp_path: Any) -> None:
    """LC-20, LC-27: starts fail with the system's reason, cancels work all the same, and the next action too."""
    assert run_alone(STARVED, str(tmp_path)) == ["True", "[]", "True"]
