"""Every test is checked at its end: no descriptor, thread or process of its own may be left."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Callable

import pytest

from openjd.sessions import Session
from openjd.sessions._runtime.loop import default_loop
from support.accounts import ALICE, BOB, account_uids, is_usable

SETTLING_SECONDS = 3.0
"""How long leftovers may take to go: the library's threads stop within a second of the last clean-up."""

MARK = "OPENJD_SESSIONS_TEST_RUN"
"""A variable in the environment of every process that this test run starts."""

os.environ[MARK] = str(os.getpid())

OTHER_USERS = account_uids()
"""Users whose processes are all of tests."""


def open_descriptors() -> Counter[str]:
    """What the descriptors of this process refer to, sockets and pipes by their kind."""
    found: Counter[str] = Counter()
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:  # the descriptor of the listing itself
            continue
        found[target.partition(":[")[0]] += 1
    return found


def running_threads() -> Counter[str]:
    return Counter(f"{thread.name} ({thread.ident})" for thread in threading.enumerate())


def running_processes() -> Counter[str]:
    """Our own children, and the actions of our sessions wherever they have gone."""
    found: Counter[str] = Counter()
    helpers: dict[str, tuple[str, str]] = {}
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                if is_ours(pid):
                    command = read(pid, "cmdline").replace(b"\0", b" ").decode("utf-8", "replace").strip()
                    if f"launcher of process {os.getpid()}" in command:
                        helpers[pid] = command, parent_of(pid)
                    else:
                        found[f"{pid}: {command}"] += 1
            except OSError:  # it has just ended
                continue
    return found + helpers_in_use(helpers)


def helpers_in_use(helpers: dict[str, tuple[str, str]]) -> Counter[str]:
    """Launchers and keepers by their commands, as one may have replaced another; not the spare keeper of a launcher."""
    found = Counter(command for command, _ in helpers.values())
    found.subtract(helpers[parent][0] for parent in {parent for _, parent in helpers.values()} & helpers.keys())
    return found


def is_ours(pid: str) -> bool:
    if int(parent_of(pid)) == os.getpid():
        return True
    if os.stat(f"/proc/{pid}").st_uid in OTHER_USERS:
        return stat_of(pid)[0] != "Z" and not is_of_another_run(pid)
    variables = read(pid, "environ")
    in_this_run = MARK.encode() + b"=%d\0" % os.getpid()
    return b"OPENJD_SESSION_WORKING_DIR=" in variables and in_this_run in variables


def is_of_another_run(pid: str) -> bool:
    """Whether a process descends from the launcher of another program."""
    while pid not in ("0", "1"):
        line = read(pid, "cmdline").replace(b"\\", b"")  # in that of a login shell it is quoted
        _, launcher, owner = line.partition(b"launcher of process ")
        if launcher:
            return int(owner.partition(b"\0")[0]) != os.getpid()
        pid = parent_of(pid)
    return False


def parent_of(pid: str) -> str:
    return stat_of(pid)[1]


def stat_of(pid: str) -> list[str]:
    """What the system tells of a process after its name: its state, its parent, and more."""
    return read(pid, "stat").rpartition(b")")[2].decode().split()


def read(pid: str, name: str) -> bytes:
    with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
        return file.read()


LEFTOVERS: dict[str, Callable[[], Counter[str]]] = {
    "descriptors": open_descriptors,
    "threads": running_threads,
    "processes": running_processes,
}


@pytest.fixture(scope="session", autouse=sys.platform == "linux")
def what_stays_is_there(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have what the library keeps until the program ends: the launcher's socket, and the pipe that wakes the loop."""
    with Session(
        session_id="first", job_parameter_values={}, session_root_directory=tmp_path_factory.getbasetemp()
    ) as s:
        s.run_subprocess(command="true")
        s.wait()
    for name in filter(is_usable, (ALICE, BOB)):
        default_loop().platform.login_variables(name)


def left_over(before: dict[str, Counter[str]]) -> dict[str, list[str]]:
    """What is there now and was not before, once it has had time to go."""
    pause = threading.Event()
    for _ in range(int(SETTLING_SECONDS * 100)):
        left = {kind: sorted((look() - before[kind]).elements()) for kind, look in LEFTOVERS.items()}
        left = {kind: things for kind, things in left.items() if things}
        if not left:
            break
        pause.wait(0.01)
    return left


@pytest.fixture(autouse=sys.platform == "linux")
def nothing_is_left_over(request: pytest.FixtureRequest) -> Iterator[None]:
    before = {kind: look() for kind, look in LEFTOVERS.items()}
    yield
    left = left_over(before)
    if request.node.get_closest_marker("loses_descriptors"):
        left.pop("descriptors", None)
    assert not left, "The test has left over:\n" + "\n".join(
        f"  {kind}: {thing}" for kind, things in left.items() for thing in things
    )
