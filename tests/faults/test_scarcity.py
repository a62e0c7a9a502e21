"""While processes, threads, descriptors or memory cannot be had (LC-20, LC-24, LC-27, DESIGN §4 and §6)."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Optional

import pytest

from openjd.sessions import ActionState
from support.alone import NAMESPACE, has_control_groups, has_namespaces, run_alone
from support.programs import PRELUDE, Run, helpers_of
from support.stage import OpenStage, is_alive
from support.storm import ALLOWED, Storm, pause

# While no process can be started

STARVED = (
    PRELUDE
    + """
import time
from support.alone import control_group
from support.scripts import environment, notified, sh

def allow(more):
    now = int((group / "pids.current").read_text())
    (group / "pids.max").write_text("max" if more is None else str(now + more))

LOG.addHandler(logging.NullHandler())
with control_group("pids") as group:
    (group / "cgroup.procs").write_text(str(os.getpid()))
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
"""
)


needs_process_group = pytest.mark.skipif(not has_control_groups("pids"), reason="needs a control group")


@needs_process_group
def test_while_no_process_can_be_started(tmp_path: Any) -> None:
    """LC-20, LC-27: starts fail with the system's reason, cancels work all the same, and the next action too."""
    assert run_alone(STARVED, str(tmp_path)) == ["True", "[]", "True"]


BEREFT = (
    PRELUDE
    + """
from support.alone import control_group
from support.bench import parent_of
from queue import SimpleQueue
numbers = SimpleQueue()

class Ready(Output):
    def emit(self, record):
        super().emit(record)
        if record.getMessage().isdigit():
            numbers.put(int(record.getMessage()))

LOG.addHandler(Ready())
with control_group("pids") as group:
    (group / "cgroup.procs").write_text(str(os.getpid()))
    with new_session() as session:
        start(session, "sh", "-c", "setsid sleep 60 & echo $!; exec sleep 60")
        keeper = parent_of(parent_of(numbers.get(timeout=20)))
        (group / "pids.max").write_text("1")
        os.kill(keeper, signal.SIGKILL)
        status = session.wait(20)
        (group / "pids.max").write_text("max")
        say("ended", status.state.name, status.fail_message)
    with new_session() as later:
        say("later", run(later, "true").state.name)
"""
)


@needs_process_group
def test_keeper_that_is_lost_while_no_thread_can_be_started(tmp_path: Any) -> None:
    """DESIGN §6, LC-20: what it kept is ended all the same, and the loss told once."""
    lines = run_alone(BEREFT, str(tmp_path))
    reason = "The keeper of this Session's processes has gone; what it kept is terminated."
    assert f"ended FAILED {reason}" in lines
    assert lines.count(reason) == 1
    assert "later SUCCESS" in lines
    assert [line for line in lines if "Internal error" in line] == []
    assert [is_alive(int(pid)) for pid in lines if pid.isdigit()] == [False]


def test_where_no_thread_can_be_had(run: Run) -> None:
    """DESIGN §6, USER-13: to become another user fails with the system's reason; nobody waits to close something."""
    assert run(
        """
        import resource, time
        from openjd.sessions._platform.posix_inheritance import inheriting_nothing
        from openjd.sessions._platform.posix_wire import close_elsewhere
        if os.geteuid() == 0:  # who is above this limit
            os.setgroups([])
            os.setresuid(65534, 65534, 65534)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        close_elsewhere([os.dup(0)])
        try:
            inheriting_nothing(bool, time.monotonic() + 10)
        except OSError as error:
            say(error.strerror)
        """
    ) == ["can't start new thread"]


# While memory runs out for launcher, keepers and actions together: the kernel kills one of them

CROWDED = (
    PRELUDE
    + """
import random, time
from support.alone import control_group
from support.programs import helpers_of
from support.scripts import environment, sh
dice = random.Random(7)
kept, hungry = "tail /dev/zero", "sleep 60 & tail /dev/zero & (setsid tail /dev/zero &); sleep 60"
LOG.addHandler(logging.NullHandler())
with control_group("memory") as group:
    states = []
    with new_session() as session:
        for number in range(30):
            step = sh(dice.choice([kept, hungry]))
            session.enter_environment(environment=environment("E", onExit=step), identifier=str(number))
        for number in reversed(range(30)):
            for pid in helpers_of(os.getpid()):
                (group / "cgroup.procs").write_text(str(pid))
            used = int((group / "memory.usage_in_bytes").read_text())
            (group / "memory.limit_in_bytes").write_text(str(max(used, 2**24) + dice.choice([0, 2**20, 2**24])))
            session.exit_environment(identifier=str(number))
            threading.Event().wait(dice.expovariate(20))
            began = time.monotonic()
            try:
                session.cancel_action()
            except RuntimeError:
                pass
            states.append(session.wait(20).state.name)
            assert time.monotonic() - began < 3
            (group / "memory.limit_in_bytes").write_text("-1")
    say(set(states) <= {"FAILED", "CANCELED"}, int((group / "memory.failcnt").read_text()) > 0)
    with new_session() as later:
        say(run(later, "true").state.name)
commands = [Path(f"/proc/{name}/cmdline").read_bytes() for name in os.listdir("/proc") if name.isdigit()]
say("left", [command for command in commands if command.startswith((b"tail", b"sleep"))])
"""
)
can_crowd = has_control_groups("memory") and has_namespaces


@pytest.mark.slow
@pytest.mark.skipif(not can_crowd, reason="needs a control group, and a namespace")
def test_while_the_kernel_kills_for_lack_of_memory(tmp_path: Any) -> None:
    """LC-24, DESIGN §6: an action, something of its tree, a keeper or the launcher; the next action works."""
    assert run_alone(CROWDED, str(tmp_path), *NAMESPACE) == ["True True", "SUCCESS", "left []"]


# While memory is short: that of launcher and keepers, of the program, or of all of them and the actions


def squeeze(kind: int, room: Optional[int]) -> None:
    """Let launcher and keepers have so much more memory than they use; None for as much as they like."""
    for pid in helpers_of(os.getpid()):
        with suppress(OSError):  # it has ended
            sizes = Path(f"/proc/{pid}/statm").read_text().split()
            used = int(sizes[0 if kind == resource.RLIMIT_AS else 5]) * resource.getpagesize()
            limit = resource.RLIM_INFINITY if room is None else used + room
            resource.prlimit(pid, kind, (limit, resource.RLIM_INFINITY))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_while_keepers_are_short_of_memory(open_stage: OpenStage, kind: str) -> None:
    """LC-20, LC-27, DESIGN §6: no start, no thread, no room for a frame; who dies of it is a keeper that was lost."""
    hit = Storm(open_stage(), 5, 60)
    hit.variables = lambda: {f"V{number}": "x" * hit.dice.randrange(1000) for number in range(1000)}
    limit = getattr(resource, kind)

    def disturb() -> None:
        squeeze(limit, hit.dice.choice([None, 0, 2**16, 2**18, 2**20, 2**21]))
        pause(hit.dice.expovariate(100))
        hit.cancel(0.05)

    try:
        hit.exit_all(disturb)
        squeeze(limit, 0)
        starved = open_stage(session_id="starved").run("true")
    finally:
        squeeze(limit, None)
    reasons = {status.fail_message for status in hit.finals if status.state is ActionState.FAILED}
    assert any("Cannot allocate memory" in str(reason) or "has gone" in str(reason) for reason in reasons)
    assert {status.state for status in hit.finals} > {ActionState.FAILED}
    assert starved.state in ALLOWED
    assert open_stage(session_id="later").run("true").state is ActionState.SUCCESS


def test_helpers_without_descriptors(open_stage: OpenStage) -> None:
    """LC-20: the reason is told, for Sessions with a keeper, with the spare one, with none; nothing is lost."""
    stages = [open_stage(session_id=name) for name in ("with", "spare", "without")]
    stages[0].run("true")
    own = resource.getrlimit(resource.RLIMIT_NOFILE)
    limited = limit_descriptors(own[1])
    try:
        statuses = [stage.run("true") for stage in stages]
    finally:
        for pid in limited:
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, own)
    assert [status.state for status in statuses] == [ActionState.FAILED] * 3
    assert all("Too many open files" in str(status.fail_message) for status in statuses)
    assert set(helpers_of(os.getpid())) <= limited
    assert open_stage(session_id="later").run("true").state is ActionState.SUCCESS


def limit_descriptors(most: int) -> set[int]:
    """Let no helper open anything more, nor one that is just being made; gives them."""
    limited: set[int] = set()
    while others := set(helpers_of(os.getpid())) - limited:
        for pid in others:
            with suppress(ProcessLookupError):  # that of a Session before
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, most))
        limited |= others
    return limited


GREEDY = (
    PRELUDE
    + """
import random, resource
from contextlib import suppress
from datetime import timedelta
from support.scripts import environment, notified, sh

dice = random.Random(6)
ALL = resource.RLIM_INFINITY

def eat(seconds):
    # take all memory there is, down to the smallest pieces, and give it back
    held = []
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + dice.choice([0, 2**20]), ALL))
    try:
        for size in (2**20, 2**16, 2**12, 512, 256, 128, 64, 32):
            with suppress(MemoryError):
                while True:
                    held.append(bytes(size))
        is_over.wait(seconds)
    finally:
        held.clear()
        resource.setrlimit(resource.RLIMIT_AS, (ALL, ALL))

def be_greedy():
    while not is_over.is_set():
        with suppress(MemoryError):
            eat(dice.expovariate(200))
            is_over.wait(dice.expovariate(200))

def cancel():
    with suppress(RuntimeError):
        session.cancel_action(time_limit=timedelta(seconds=0.05))

told = []
options = {"job_parameter_values": None, "session_root_directory": os.environ["ROOT"]}
tree = sh("(setsid sleep 60 &) ; sleep 60 & (trap '' TERM; sleep 60) & sleep 60", cancelation=notified(1))
with Session(session_id="s", callback=lambda _, status: told.append(status), **options) as session:
    for number in range(60):
        session.enter_environment(environment=environment("E", onExit=tree), identifier=str(number))
    while session.environments_entered:
        entered, before, is_over = session.environments_entered, len(told), threading.Event()
        greedy = threading.Thread(target=be_greedy)
        greedy.start()
        try:
            session.exit_environment(identifier=entered[-1])
            is_over.wait(dice.expovariate(100))
            cancel()
        except MemoryError:
            pass
        finally:
            is_over.set()
        greedy.join()
        if session.environments_entered != entered:  # else it was refused as a whole
            cancel()
            status = session.wait(20)
            assert status.state.name in ("CANCELED", "FAILED"), status
            assert [each for each in told[before:] if each.state.name != "RUNNING"] == [status]
commands = [Path(f"/proc/{name}/cmdline").read_bytes() for name in os.listdir("/proc") if name.isdigit()]
say("left", [command for command in commands if command.startswith(b"sleep")])
with new_session() as later:
    say(run(later, "true").state.name)
"""
)


@pytest.mark.slow
@pytest.mark.skipif(not has_namespaces, reason="needs a process-id namespace")
def test_while_the_program_is_short_of_memory(tmp_path: Any) -> None:
    """LC-27: a part of it takes all that there is, again and again; what its other parts do then may raise."""
    assert run_alone(GREEDY, str(tmp_path), *NAMESPACE, may_complain=True) == ["left []", "SUCCESS"]


SPOILT = (
    PRELUDE
    + """
import _testcapi
from functools import partial
from openjd.sessions._runtime.loop import default_loop

LOG.addHandler(logging.NullHandler())
with new_session() as session:
    run(session, "true")
    for count in range(1, 300):
        is_over = threading.Lock()
        is_over.acquire()
        default_loop().post(partial(_testcapi.set_nomemory, 0, count))
        default_loop().post(is_over.release)
        is_over.acquire(timeout=20)
        _testcapi.remove_mem_hooks()
    say(run(session, "true").state.name)
"""
)
UNHEARD = (
    PRELUDE
    + """
import _testcapi, socket
from contextlib import closing
from support.frames import Listener, keeper_of
from openjd.sessions._platform.posix_wire import encode_frame
from openjd.sessions._platform.protocol import Command
from support.manual_loop import ManualLoop

unheard = []
for number in range(60):
    theirs, ours = socket.socketpair()
    listener = Listener()
    with theirs, closing(ManualLoop()) as loop:
        keeper_of(ours, os.getpid(), loop).process(Command(["true"], "/", {}), listener).start()
        loop.turn()
        theirs.send(encode_frame(b"failed", b"1", b"reason"))
        try:
            _testcapi.set_nomemory(number, number + 1)
            loop.turn()
        except MemoryError:
            pass
        finally:
            _testcapi.remove_mem_hooks()
        loop.turn()
        if listener.heard != ["over"]:
            unheard.append(number)
say(unheard)
"""
)
can_spoil = pytest.mark.skipif(not find_spec("_testcapi"), reason="needs an interpreter with its own tests")


@can_spoil
def test_loop_survives_any_lack_of_memory(tmp_path: Any) -> None:
    """DESIGN §4: the kills and limits of all Sessions depend on it; here up to 300 allocations in a row fail."""
    assert run_alone(SPOILT, str(tmp_path), may_complain=True) == ["SUCCESS"]


@can_spoil
def test_what_a_keeper_says_is_not_lost_for_lack_of_memory(tmp_path: Any) -> None:
    """DESIGN §6: it is heard, or the keeper counts as lost; here each allocation fails in turn."""
    assert run_alone(UNHEARD, str(tmp_path), may_complain=True) == ["[]"]
