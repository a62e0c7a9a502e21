"""Cancels at random moments, from everywhere, in every manner (LC-24 to LC-29, ACT-28 to ACT-33).

Every action ends once, in time, in a state that the rules allow; nothing is left, and nobody else is signalled.
"""

from __future__ import annotations

import subprocess
import threading
from typing import Any, Callable

import pytest

from support.alone import NAMESPACE, run_alone
from support.programs import PRELUDE
from support.stage import OpenStage
from support.storm import ALLOWED, Storm, pause


@pytest.fixture
def storm(open_stage: OpenStage) -> Callable[[int, int], Storm]:
    return lambda seed, count: Storm(open_stage(), seed, count)


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
has_own_ids = not subprocess.run(
    [*NAMESPACE, "sh", "-c", "echo 400 > /proc/sys/kernel/pid_max"],
    capture_output=True,
    check=False,
).returncode


@pytest.mark.slow
@pytest.mark.skipif(not has_own_ids, reason="needs a process-id namespace with few ids")
def test_from_a_signal_handler_while_process_ids_are_recycled(tmp_path: Any) -> None:
    """ACT-31: strangers get the ids that members of trees have just had, thousands of times; none is ever signalled."""
    assert run_alone(AMONG_STRANGERS, str(tmp_path), *NAMESPACE) == ["harmed []", "highest True", "left []"]
