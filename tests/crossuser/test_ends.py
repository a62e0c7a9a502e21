"""Deletion, and bad days: rules USER-12, USER-13, USER-16, LC-33 to LC-35, ACT-30; DESIGN §4, §11."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from openjd.sessions import ActionState, sweep
from openjd.sessions._runtime.loop import default_loop
from support import child
from support.accounts import ALICE, let_others_pass, need_account, user_of
from support.bench import Watched, parent_of
from support.programs import Begin
from support.stage import READY_AND_WAIT, OpenStage, Stage, is_alive, shell, wait_until

AS_ALICE = f"""
from support.accounts import user_of
from support.stage import Stage
stage = Stage(Path(os.environ["ROOT"]), user=user_of({ALICE!r}))
"""
WITH_A_TREE = (
    AS_ALICE
    + """
stage.start(*child("forks", "daemon"))
stage.wait_for_line("ready")
pids = stage.journal.after("Command started as pid: "), stage.journal.output[0].split()[1]
"""
)

LOST = "The keeper of this Session's processes has gone; what it kept is terminated."
SILENT = "The keeper of this Session's processes has not answered for 10 seconds; it and what it kept is terminated."


def pid_of(stage: Stage) -> int:
    """The process of the running action."""
    return int(stage.journal.after("Command started as pid: "))


def as_alice(alice: Stage, script: str) -> None:
    """Have the user do something in a Session of its own, which may be the end of that."""
    alice.start(*shell(script))
    alice.wait()


# Deletion


def test_what_the_user_has_made_is_deleted(root: Path, alice: Stage) -> None:
    """USER-16, LC-35: trees that only their owner may enter, or nobody; odd names; links are not followed."""
    outside = root / "outside"
    outside.mkdir(mode=0o777)
    outside.chmod(0o777)
    (outside / "kept").write_text("")
    alice.run(
        *shell(
            "umask 077; mkdir -p own/a/b none/a 'odd\n name'; echo x >own/a/b/f; echo x >none/a/f; "
            "chmod 0 none/a none; "
            f"mkfifo fifo; ln -s '{outside}' link; ln -s '{outside}' own/link; touch \"$(printf '\\377')\"; "
            "mkdir -p '{{not a symbol}}/x'; chmod 0 embedded_files*/ 2>/dev/null; echo done"
        )
    )
    assert alice.journal.output[-1] == "done"
    alice.session.cleanup()
    assert sorted(path.name for path in root.iterdir()) == ["outside"]
    assert os.listdir(outside) == ["kept"]
    assert not [text for text in alice.journal.texts if text.startswith("Could not delete")]


def test_each_deletes_what_is_theirs(alice: Stage, root: Path) -> None:
    """LC-35: first the user, then we, what only we may enter."""
    folder = alice.session.working_directory / "open-to-all"
    alice.run(*shell("mkdir -m 777 open-to-all; mkdir -m 700 hers; echo x >hers/f"))
    own = Stage(root, session_id="own")
    own.run(*shell(f"mkdir -m 700 '{folder}/ours'; echo x >'{folder}/ours/f'"))
    own.close()
    alice.session.cleanup()
    assert not alice.session.working_directory.exists()


def test_retained_directory_stays(open_stage: OpenStage) -> None:
    """LC-33: with the user's files in it."""
    stage = open_stage(ALICE, retain_working_dir=True)
    stage.run(*shell("mkdir -m 700 own; chmod 755 ."))
    stage.session.cleanup()
    assert (stage.session.working_directory / "own").is_dir()
    default_loop().platform.remove_contents(ALICE, str(stage.session.working_directory), 10)


def test_deletion_after_the_keeper_was_lost(alice: Stage) -> None:
    """USER-13, USER-16: the launcher is asked, not the keeper."""
    alice.run(*shell("mkdir -m 700 own; echo x >own/f; chmod 0 own; kill -KILL $PPID"))
    alice.session.cleanup()
    assert not alice.session.working_directory.exists()


# Bad days


def test_keeper_is_killed(alice: Stage) -> None:
    """USER-13: FAILED, it says so, the tree has gone, and so it is with orphans; the launcher stays."""
    alice.start(*child("forks", "daemon"))
    alice.wait_for_line("ready")
    keeper = parent_of(pid_of(alice))
    launcher = parent_of(keeper)
    descendant = int(alice.journal.output[0].split()[1])
    other = open_other(alice)
    as_alice(other, f"kill -KILL {keeper}")
    status = alice.wait()
    assert (status.state, status.fail_message) == (ActionState.FAILED, LOST)
    wait_until(lambda: not is_alive(pid_of(alice)) and not is_alive(descendant))
    other.run("true")
    assert parent_of_keeper(other) == launcher
    other.close()


def open_other(stage: Stage) -> Stage:
    """Another Session of the same user."""
    return Stage(stage.session.working_directory.parent, session_id="other", user=user_of(ALICE))


def parent_of_keeper(stage: Stage) -> int:
    stage.journal.clear()
    stage.start(*READY_AND_WAIT)
    stage.wait_for_line("ready")
    found = parent_of(parent_of(pid_of(stage)))
    stage.session.cancel_action()
    stage.wait()
    return found


@pytest.mark.parametrize("signal_name", ["KILL", "STOP"])
def test_launcher_is_lost(alice: Stage, signal_name: str) -> None:
    """USER-13: running actions go on; the next Session gets a new one, and the old one is ended."""
    alice.start(*READY_AND_WAIT)
    alice.wait_for_line("ready")
    launcher = parent_of(parent_of(pid_of(alice)))
    other = open_other(alice)
    as_alice(other, f"kill -{signal_name} {launcher}")
    other.close()
    assert alice.state == "RUNNING"
    third = open_other(alice)
    third.run("id", "-un")
    assert third.journal.output == [ALICE]
    wait_until(lambda: not is_alive(launcher))
    third.close()
    alice.session.cancel_action()
    assert alice.wait().state is ActionState.CANCELED


@pytest.mark.parametrize("launcher_too", [False, True])
def test_keeper_is_silent(alice: Stage, launcher_too: bool) -> None:
    """USER-13: given up in bounded time; it and its tree are ended as the user, by another launcher if need be."""
    alice.start(*child("forks", "daemon"))
    alice.wait_for_line("ready")
    keeper = parent_of(pid_of(alice))
    launcher = parent_of(keeper)
    descendant = int(alice.journal.output[0].split()[1])
    other = open_other(alice)
    if launcher_too:
        as_alice(other, f"kill -STOP {keeper}; kill -KILL {launcher}")
    else:
        as_alice(other, f"kill -STOP {keeper}")
    alice.session.cancel_action()
    status = alice.wait()
    assert (status.state, status.fail_message) == (ActionState.FAILED, SILENT)
    wait_until(lambda: not any(map(is_alive, [keeper, pid_of(alice), descendant])))
    other.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_our_own_death(begin: Begin, root: Path, how: int) -> None:
    """DESIGN §4: whatever ends the program, every process of the user's actions, keeper and launcher go."""
    need_account(ALICE)
    let_others_pass(root)
    program = begin(
        WITH_A_TREE
        + """
say(*pids)
sys.stdin.read()
"""
    )
    process, descendant = map(int, program.read_line().split())
    keeper = parent_of(process)
    with Watched([process, descendant, keeper, parent_of(keeper)]) as watched:
        program.send(how)
        watched.wait_until_gone()


def test_a_fork_of_ours_lives_on(begin: Begin, root: Path) -> None:
    """DESIGN §4: who holds our descriptors keeps nobody."""
    need_account(ALICE)
    let_others_pass(root)
    program = begin(
        WITH_A_TREE
        + """
if os.fork():
    say(*pids)
    os.kill(os.getpid(), signal.SIGKILL)
os.close(1)
os.close(2)
sys.stdin.read()
"""
    )
    process, descendant = map(int, program.read_line().split())
    with Watched([process, descendant]) as watched:
        watched.wait_until_gone()


def test_what_a_dead_program_has_left_is_swept(begin: Begin, root: Path) -> None:
    """DESIGN §11, USER-16: with the help of the user, who is noted in the owner mark."""
    need_account(ALICE)
    let_others_pass(root)
    program = begin(
        AS_ALICE
        + """
stage.run("sh", "-c", "mkdir -p own/a; echo x >own/a/f; chmod 0 own/a own")
say(stage.session.working_directory)
sys.stdin.read()
"""
    )
    directory = Path(program.read_line())
    assert sweep(root) == []
    assert (directory / "own").is_dir()
    program.send(signal.SIGKILL)
    program.finish()
    assert sweep(root) == [directory]
    assert os.listdir(root) == []
