"""What actions leave behind when they end by themselves: TASK-8, GAP-10, DESIGN §11; what they print then: DIR-8."""

from __future__ import annotations

from openjd.sessions import ActionState, LogContent
from support import child
from support.scripts import action, environment, script
from support.stage import Stage, is_alive, shell, wait_until

DAEMON = child("forks", "daemon-quiet", "leave")
LEFT = (
    " was left behind by the action. It may go on until the environment it was started in is exited, or the Session "
    "ends."
)


def leave_one(stage: Stage) -> int:
    """Run a task that leaves a process behind; gives its id."""
    assert stage.run_task(script(action(*DAEMON))).state is ActionState.SUCCESS
    return int(stage.journal.after("descendant "))


def test_survivors_are_named(stage: Stage) -> None:
    """DESIGN §11: each with its id and its program, when the action has ended; also after a failure."""
    leave = "setsid sleep 60 > /dev/null 2>&1 & until grep -q sleep /proc/$!/comm; do :; done; echo pid $!"
    stage.run(*shell(f"for n in 1 2 3; do {leave}; done; exit 3"))
    pids = [line.split()[1] for line in stage.journal.output if line.startswith("pid ")]
    lines = [line for line in stage.journal.lines if line.text.endswith(LEFT)]
    assert sorted(line.text.split()[1] for line in lines) == sorted(pids)
    assert all("sleep" in line.text for line in lines)
    assert {line.content for line in lines} == {LogContent.PROCESS_CONTROL}
    assert all(is_alive(int(pid)) for pid in pids)


def test_survivors_live_as_long_as_their_environment(stage: Stage) -> None:
    """TASK-8, DESIGN §11: the one that was innermost when their action was started."""
    before = leave_one(stage)
    pids = []
    for name in ("Outer", "Inner"):
        stage.enter(environment(name, onEnter=action(*DAEMON)))
        pids.append(int(stage.journal.after("descendant ")))
    task = leave_one(stage)
    assert all(map(is_alive, [before, *pids, task]))
    stage.exit("Inner")
    wait_until(lambda: not is_alive(pids[1]) and not is_alive(task))
    stage.run("true")
    assert is_alive(before)
    assert is_alive(pids[0])
    stage.exit("Outer")
    wait_until(lambda: not is_alive(pids[0]))
    assert is_alive(before)
    stage.session.cleanup()
    assert not is_alive(before)


def test_what_an_exit_leaves_belongs_to_the_outer_environment(stage: Stage) -> None:
    """DESIGN §11, ENV-9: its own environment is no longer entered when it starts."""
    stage.enter(environment("Outer", variables={"A": "1"}))
    stage.enter(environment("Inner", onExit=action(*DAEMON)))
    stage.exit("Inner")
    pid = int(stage.journal.after("descendant "))
    stage.run("true")
    assert is_alive(pid)
    stage.exit("Outer")
    wait_until(lambda: not is_alive(pid))


def test_survivors_are_notified_then_terminated(stage: Stage) -> None:
    """DESIGN §11: five seconds later, unless the Session's end comes first; they may use their notice."""
    note, up = (stage.session.working_directory / name for name in ("note", "up"))
    polite = f'trap "echo notified > {note}; exit 0" TERM; touch {up}1; while :; do sleep 0.01; done'
    deaf = f'trap "" TERM; touch {up}2; while :; do sleep 0.01; done'
    both = "; ".join(f"setsid sh -c '{text}' > /dev/null 2>&1 & echo pid $!" for text in (polite, deaf))
    on_enter = action(*shell(f"{both}; while [ ! -e {up}1 -o ! -e {up}2 ]; do sleep 0.01; done"))
    stage.enter(environment("E", onEnter=on_enter))
    pids = [int(line.split()[1]) for line in stage.journal.output if line.startswith("pid ")]
    assert stage.exit("E").state is ActionState.SUCCESS
    wait_until(lambda: note.exists() and not is_alive(pids[0]))
    assert note.read_text() == "notified\n"
    assert is_alive(pids[1])
    wait_until(lambda: not is_alive(pids[1]))
    assert stage.state == "READY"


def test_canceled_action_leaves_nothing(stage: Stage) -> None:
    """ACT-30: its tree dies; that of earlier actions is not touched."""
    before = leave_one(stage)
    stage.start(*child("forks", "daemon-quiet"))
    stage.wait_for_line("ready")
    pid = int(stage.journal.after("descendant "))
    stage.session.cancel_action()
    stage.wait()
    assert not is_alive(pid)
    assert is_alive(before)
    assert not any(text.startswith(f"Process {pid} ") and text.endswith(LEFT) for text in stage.journal.texts)
