"""How processes end on POSIX, with all that they have started (ACT-26 to ACT-31); what outlives whom (DESIGN §4)."""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from openjd.sessions._platform.posix import PosixPlatform
from openjd.sessions._platform.posix_wire import Channel
from support import child
from support.bench import Bench, Recorder, Watched, parent_of, state_of
from support.hosts import running_host
from support.manual_loop import PATIENCE, ManualLoop
from support.mounts import silent_file_system

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches processes by pidfd and /proc")

INFO = '{"NotifyEnd": "2031-01-01T00:00:00Z"}'
LOST = "The keeper of this Session's processes has gone; what it kept is terminated."
KINDS = ["plain", "session", "double", "daemon-quiet"]

WAIT_FOREVER = "while :; do wait; done"
CHILD = "trap 'echo child notified' TERM; echo ready; sleep 60 & " + WAIT_FOREVER
"""A shell that says when it is ready, and when it is notified."""


@pytest.fixture
def own_bench(loop: ManualLoop, tmp_path: Path) -> Iterator[Bench]:
    """A keeper of a launcher of its own, which may be harmed."""
    platform = PosixPlatform(loop)
    bench = Bench(platform, loop, tmp_path)
    yield bench
    bench.close()
    platform.forget()


def cancel_info(bench: Bench) -> Path:
    return bench.directory / "cancel_info.json"


def wait_for_heard(bench: Bench, recorder: Recorder, word: str) -> None:
    bench.loop.run_until(recorder.has_heard(word))


# Notify: the file


def test_cancel_info_is_written_whole_and_for_the_user_only(posix: Bench) -> None:
    """ACT-26, WD-11: mode 0600, and nothing else is left in the directory."""
    process, recorder = posix.begin("stubborn")
    process.notify(INFO)
    posix.loop.run_until(recorder.has_said(b"notified\n"))
    assert [path.name for path in posix.directory.iterdir()] == ["cancel_info.json"]
    assert cancel_info(posix).read_text() == INFO
    assert stat.S_IMODE(cancel_info(posix).stat().st_mode) == 0o600


def test_cancel_info_replaces_what_a_reader_holds_open(posix: Bench) -> None:
    """ACT-26: a repeated cancel never shows half a file, nor changes one that is being read or linked elsewhere."""
    process, recorder = posix.begin("stubborn")
    process.notify("first")
    posix.loop.run_until(recorder.has_said(b"notified\n"))
    os.link(cancel_info(posix), posix.directory / "linked")
    with cancel_info(posix).open() as reader:
        process.notify("second")
        posix.loop.run_until(recorder.has_said(b"notified\n", 2))
        assert reader.read() == "first"
    assert (posix.directory / "linked").read_text() == "first"
    assert cancel_info(posix).read_text() == "second"


def test_notices_that_follow_each_other_closely(posix: Bench) -> None:
    """LC-26: the last text wins, and the signal is not sent before it is there; the keeper gets them all at once."""
    process, recorder = posix.begin("polite")
    keeper = parent_of(recorder.pid)
    os.kill(keeper, signal.SIGSTOP)
    posix.loop.run_until(lambda: state_of(keeper) == "T")
    for text in ("first", "second", "third"):
        process.notify(text)
    os.kill(keeper, signal.SIGCONT)
    posix.finish(recorder)
    assert recorder.lines == ["ready", "notified third"]


TRACED_KEEPER = """
import os, socket, sys
from openjd.sessions._platform.posix_keeper import Keeper
from openjd.sessions._platform.posix_wire import Channel
names = {"os.rename": "written", "os.kill": "signal", "os.killpg": "signal"}
def trace(event, details):
    if event in names and details[1] != 0:
        what = os.fsdecode(details[1]) if event == "os.rename" else details[1]
        os.write(1, f"{names[event]} {what}\\n".encode())
keeper = Keeper(Channel(socket.socket(fileno=int(sys.argv[1]))), None)
sys.addaudithook(trace)
keeper.run()
"""
"""A keeper that prints what it does, in its order: a process that is killed at once can't tell what came before."""


def test_a_notice_is_not_overtaken_by_the_end(tmp_path: Path) -> None:
    """LC-25, ACT-26: without any grace the file is written, then the signal sent, then the process killed."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", TRACED_KEEPER, str(theirs.fileno())]
    with subprocess.Popen(command, pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, text=True) as keeper:
        theirs.close()
        channel = Channel(ours)
        channel.put(b"mark", b"m")
        channel.put(b"start", b"1", b"", os.fsencode(tmp_path), *map(os.fsencode, child("stubborn")))
        channel.flush()
        wait_for_frame(channel, b"started")
        with open(channel.descriptors.pop(), "rb") as output:
            assert output.readline() == b"ready\n"
            channel.put(b"notify", b"1", os.fsencode(tmp_path), INFO.encode())
            channel.send(b"terminate", b"1")
            wait_for_frame(channel, b"ended")
        channel.close()
        assert keeper.stdout is not None
        trace = list(dict.fromkeys(keeper.stdout.read().splitlines()))  # who is slow to die is killed again
    assert trace == ["written cancel_info.json", "signal 15", "signal 9"]
    assert (tmp_path / "cancel_info.json").read_text() == INFO


def wait_for_frame(channel: Channel, kind: bytes) -> None:
    kinds: list[bytes] = []
    while kind not in kinds:
        assert select.select([channel], [], [], PATIENCE)[0], f"only {kinds} came"
        is_open, frames = channel.receive()
        assert is_open
        kinds += [fields[0] for fields in frames]


def test_many_notices_leave_nothing_in_the_keeper(posix: Bench) -> None:
    """ACT-26: neither descriptors nor threads."""
    process, recorder = posix.begin("stubborn")
    keeper = Path(f"/proc/{parent_of(recorder.pid)}")
    before = sorted(os.listdir(keeper / "fd"))
    for times in range(1, 51):
        process.notify(INFO)
        posix.loop.run_until(recorder.has_said(b"notified\n", times))
    posix.loop.run_until(lambda: len(os.listdir(keeper / "task")) == 1)
    assert sorted(os.listdir(keeper / "fd")) == before


def test_a_notice_on_a_file_system_that_does_not_answer(posix: Bench) -> None:
    """ACT-26, ACT-27: it is told after a second, and no signal sent; a kill goes through; nothing is left."""
    process, recorder = posix.begin("stubborn")
    keeper = Path(f"/proc/{parent_of(recorder.pid)}")
    before = sorted(os.listdir(keeper / "fd"))
    with silent_file_system(posix.directory):
        began = time.monotonic()
        process.notify(INFO)
        wait_for_heard(posix, recorder, "notify failed")
        assert time.monotonic() - began >= 1.0
        process.notify(INFO)
        process.terminate()
        posix.finish(recorder)
    assert recorder.heard == ["started", "notify failed", "notify failed", "exited", "tree ended"]
    assert set(recorder.reasons) == {"cancel_info.json could not be written: Connection timed out"}
    assert recorder.lines == ["ready"]
    posix.loop.run_until(lambda: len(os.listdir(keeper / "task")) == 1)
    assert sorted(os.listdir(keeper / "fd")) == before


def a_link(path: Path) -> None:
    path.symlink_to(path.with_name("target"))
    path.with_name("target").write_text("untouched")


@pytest.mark.parametrize("make", [a_link, os.mkfifo, os.mkdir, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file_in_the_place_of_cancel_info(posix: Bench, make: Callable[[Path], None]) -> None:
    """ACT-26, ACT-27: it is told, nothing is written through it, and nothing is signalled."""
    make(cancel_info(posix))
    before = sorted(posix.directory.iterdir())
    process, recorder = posix.begin("stubborn")
    process.notify(INFO)
    wait_for_heard(posix, recorder, "notify failed")
    assert recorder.reasons == ["cancel_info.json could not be written: File exists"]
    process.terminate()
    posix.finish(recorder)
    assert recorder.lines == ["ready"]
    assert sorted(posix.directory.iterdir()) == before
    assert not (posix.directory / "target").exists() or (posix.directory / "target").read_text() == "untouched"


def test_a_directory_that_has_gone(posix: Bench) -> None:
    """ACT-27."""
    process, recorder = posix.begin("stubborn")
    posix.directory.rmdir()
    process.notify(INFO)
    wait_for_heard(posix, recorder, "notify failed")
    assert recorder.reasons == ["cancel_info.json could not be written: No such file or directory"]
    assert recorder.lines == ["ready"]


# Notify: the signal


def test_only_the_command_is_notified(posix: Bench) -> None:
    """ACT-28, GAP-12: its children are not, as long as it lives, though they are in its group."""
    process, recorder = posix.ask_for(["/bin/sh", "-c", f"trap 'echo notified' TERM; ({CHILD}) & {WAIT_FOREVER}"])
    posix.loop.run_until(recorder.has_said(b"ready\n"))
    for times in (1, 2):
        process.notify(INFO)
        posix.loop.run_until(recorder.has_said(b"notified\n", times))
    process.terminate()
    posix.finish(recorder)
    assert recorder.lines == ["ready", "notified", "notified"]


@pytest.mark.parametrize("kind", ["plain", "session"])
def test_the_rest_is_notified_when_the_command_has_exited(posix: Bench, kind: str) -> None:
    """ACT-29, GAP-13: in whatever session it is; the end of the tree is told after it."""
    process, recorder = posix.begin("tell-when-notified", kind)
    process.notify(INFO)
    posix.finish(recorder)
    assert recorder.lines == ["ready", "child notified"]
    assert (recorder.code, recorder.heard) == (-15, ["started", "exited", "tree ended"])


def test_a_repeated_notice_reaches_the_rest_again(posix: Bench) -> None:
    """LC-26, ACT-29."""
    process, recorder = posix.ask_for(["/bin/sh", "-c", f"({CHILD}) & {WAIT_FOREVER}"])
    posix.loop.run_until(recorder.has_said(b"ready\n"))
    for times in (1, 2):
        process.notify(INFO)
        posix.loop.run_until(recorder.has_said(b"child notified\n", times))
    assert recorder.heard == ["started", "exited"]
    process.terminate()
    posix.finish(recorder)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_after_a_notice_that_all_obey(posix: Bench, kind: str) -> None:
    """ACT-29."""
    process, recorder = posix.begin("forks", kind)
    with Watched([recorder.pid, *recorder.descendants]) as tree:
        process.notify(INFO)
        wait_for_heard(posix, recorder, "tree ended")
        assert tree.alive() == set()
    assert recorder.heard == ["started", "exited", "tree ended"]


# Terminate


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("then", ["wait", "leave"])
def test_the_whole_tree_is_terminated_before_its_end_is_told(posix: Bench, kind: str, then: str) -> None:
    """ACT-30, GAP-13: group, sessions of their own, orphans; also when the command has already exited."""
    process, recorder = posix.ask_for(child("forks", kind, then))
    posix.loop.run_until(recorder.has_said(b"ready\n") if then == "wait" else recorder.has_heard("exited"))
    posix.loop.run_until(lambda: len(recorder.descendants) == 1)
    with Watched(recorder.descendants) as tree:
        assert len(tree.alive()) == 1
        process.terminate()
        wait_for_heard(posix, recorder, "tree ended")
        assert tree.alive() == set()
    assert recorder.code == (-9 if then == "wait" else 0)


def test_a_large_family_is_terminated(posix: Bench) -> None:
    """ACT-30."""
    process, recorder = posix.begin("family", "60")
    assert len(recorder.descendants) == 60
    with Watched([recorder.pid, *recorder.descendants]) as tree:
        process.terminate()
        wait_for_heard(posix, recorder, "tree ended")
        assert tree.alive() == set()


@pytest.mark.parametrize("name", ["forks", "deaf"])
def test_stopped_processes_are_terminated(posix: Bench, name: str) -> None:
    """ACT-30."""
    process, recorder = posix.begin(name, *(["daemon"] if name == "forks" else []))
    pids = [recorder.pid, *recorder.descendants]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    posix.loop.run_until(lambda: all(state_of(pid) == "T" for pid in pids))
    with Watched(pids) as tree:
        process.terminate()
        wait_for_heard(posix, recorder, "tree ended")
        assert tree.alive() == set()


def test_a_tree_that_goes_on_forking_is_terminated(posix: Bench) -> None:
    """ACT-30: members that come while it is being terminated included."""
    forever = "while :; do setsid sh -c 'sleep 60 & sleep 60' & echo ready; done"
    process, recorder = posix.ask_for(["/bin/sh", "-c", forever], {"MARKER_OF_THIS_TREE": str(posix.directory)})
    posix.loop.run_until(recorder.has_said(b"ready\n", 20))
    process.terminate()
    posix.finish(recorder)
    assert marked_processes(str(posix.directory)) == []


def marked_processes(marker: str) -> list[int]:
    """The processes that have a variable MARKER_OF_THIS_TREE with this value."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                variables = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if f"MARKER_OF_THIS_TREE={marker}".encode() in variables:
                found.append(int(entry.name))
    return found


def test_other_keepers_processes_are_not_touched(posix: Bench) -> None:
    """ACT-31: a keeper signals only what is its own."""
    process, recorder = posix.begin("forks", "daemon")
    _, other = posix.begin("forks", "daemon", keeper=posix.open_keeper())
    with Watched([other.pid, *other.descendants]) as others:
        process.terminate()
        posix.finish(recorder)
        assert others.alive() == {other.pid, *other.descendants}


# A later process, and what earlier ones have left


def test_a_notice_that_crosses_with_the_end_reaches_no_later_process(posix: Bench) -> None:
    """ACT-31: it was meant for the process that had just ended."""
    process, recorder = posix.ask_for(child("exit", "0"))
    posix.finish(recorder)
    process.notify(INFO)
    following, later = posix.ask_for(child("stubborn"))
    posix.loop.run_until(recorder.has_heard("tree ended"))
    posix.loop.run_until(later.has_said(b"ready\n"))
    following.terminate()
    posix.finish(later)
    assert (later.lines, later.code) == (["ready"], -9)
    assert not cancel_info(posix).exists()


# The end of a keeper


def survivor(bench: Bench, kind: str) -> int:
    """A process that outlives the command that has started it."""
    _, recorder = bench.ask_for(child("forks", kind, "leave"))
    bench.loop.run_until(lambda: "exited" in recorder.heard and len(recorder.descendants) == 1)
    return recorder.descendants[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_keeper_that_leaves_ends_survivors_first(posix: Bench, kind: str) -> None:
    """DESIGN §11: of all processes that it has ever started."""
    survivors = {survivor(posix, kind), survivor(posix, kind)}
    keeper = parent_of(min(survivors))
    with Watched([*survivors, keeper]) as everything:
        assert everything.alive() == {*survivors, keeper}
        posix.leave()
        assert everything.alive() <= {keeper}
        everything.wait_until_gone()


@pytest.mark.parametrize("kind", KINDS)
def test_a_keeper_that_is_killed(posix: Bench, kind: str) -> None:
    """DESIGN §4: it is told, and the launcher ends what it has kept; the next keeper works."""
    process, recorder = posix.begin("forks", kind)
    keeper = parent_of(recorder.pid)
    with Watched([keeper, recorder.pid, *recorder.descendants]) as everything:
        os.kill(keeper, signal.SIGKILL)
        wait_for_heard(posix, recorder, "lost")
        everything.wait_until_gone()
    assert (recorder.heard, recorder.reasons) == (["started", "lost"], [LOST])
    assert posix.keeper.is_lost
    process.notify(INFO)
    process.terminate()
    posix.leave()
    assert posix.begin("wait", keeper=posix.open_keeper())[1].heard == ["started"]


def test_an_idle_keeper_that_is_killed(posix: Bench) -> None:
    """DESIGN §4: it is known to be lost, before anybody asks it for a process."""
    _, recorder = posix.begin("wait")
    keeper = parent_of(recorder.pid)
    idle = posix.open_keeper()
    _, of_idle = posix.begin("polite", keeper=idle)
    other = parent_of(of_idle.pid)
    assert other != keeper
    os.kill(other, signal.SIGKILL)
    posix.loop.run_until(lambda: idle.is_lost)
    assert not posix.keeper.is_lost
    assert recorder.heard == ["started"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP])
def test_launcher_and_keepers_are_deaf(own_bench: Bench, number: signal.Signals) -> None:
    """DESIGN §4: to what a terminal or a stranger may send them."""
    process, recorder = own_bench.begin("polite", "3")
    keeper = parent_of(recorder.pid)
    launcher = parent_of(keeper)
    os.kill(keeper, number)
    os.kill(launcher, number)
    process.notify(INFO)
    assert own_bench.finish(recorder).code == 3
    assert own_bench.begin("wait", keeper=own_bench.open_keeper())[1].heard == ["started"]


def test_a_launcher_that_is_killed(own_bench: Bench) -> None:
    """DESIGN §4: its keepers go on; the next keeper comes from a new launcher."""
    process, recorder = own_bench.begin("polite", "3")
    launcher = parent_of(parent_of(recorder.pid))
    with Watched([launcher]) as watched:
        os.kill(launcher, signal.SIGKILL)
        watched.wait_until_gone()
    _, other = own_bench.begin("wait", keeper=own_bench.open_keeper())
    assert parent_of(parent_of(other.pid)) != launcher
    process.notify(INFO)
    assert own_bench.finish(recorder).code == 3


# The end of the program


@pytest.mark.parametrize("kind", ["plain", "daemon-quiet"])
def test_everything_ends_with_a_program_that_is_killed(tmp_path: Path, kind: str) -> None:
    """DESIGN §1: processes, keepers and launcher."""
    with running_host("keep", str(tmp_path), "forks", kind) as (host, found):
        pids = [found["process"], *found["descendants"], found["keeper"], found["launcher"]]
        with Watched(pids) as everything:
            assert everything.alive() == set(pids)
            host.kill()
            everything.wait_until_gone()


def test_everything_ends_with_a_program_that_exits(tmp_path: Path) -> None:
    """DESIGN §1: without a clean-up."""
    with running_host("keep", str(tmp_path), "deaf") as (host, found):
        pids = [found["process"], found["keeper"], found["launcher"]]
        with Watched(pids) as everything:
            assert everything.alive() == set(pids)
            host.communicate()
            everything.wait_until_gone()


def test_everything_ends_though_a_fork_of_the_program_lives_on(tmp_path: Path) -> None:
    """DESIGN §4: the fork holds our ends of the sockets open; the program's pidfd tells."""
    with running_host("keep-and-fork", str(tmp_path), "forks", "daemon") as (host, found):
        pids = [found["process"], *found["descendants"], found["keeper"], found["launcher"]]
        with Watched(pids) as everything, Watched([found["fork"]]) as fork:
            host.kill()
            everything.wait_until_gone()
            assert fork.alive() == {found["fork"]}
            assert host.stdin is not None
            host.stdin.close()
            fork.wait_until_gone()


def test_a_forked_child_forgets_without_harm(posix: Bench) -> None:
    """DESIGN §4: it closes its copies; processes, keeper and loop of the parent go on."""
    process, recorder = posix.begin("polite", "6")
    fork = os.fork()
    if fork == 0:
        posix.platform.forget()
        os._exit(0 if posix.keeper.is_lost else 1)
    assert os.waitpid(fork, 0)[1] == 0
    assert not posix.keeper.is_lost
    process.notify(INFO)
    assert posix.finish(recorder).code == 6
    assert posix.begin("wait", keeper=posix.open_keeper())[1].heard == ["started"]
