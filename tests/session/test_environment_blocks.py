"""``with session.environment(...)`` and ``async with``: API §16a."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest

from openjd.sessions import ActionError, ActionState, ActionStatus, SessionError
from support.scripts import environment, sh
from support.stage import PATIENCE, READY_AND_WAIT, Gate, Stage, shell, wait_until

GOOD = environment("Good", onEnter=sh("echo enter"), onExit=sh("echo exit"))
BAD_ENTER = environment("Bad", onEnter=sh("echo openjd_fail: no licence; exit 3"), onExit=sh("echo exit"))
BAD_EXIT = environment("Bad", onEnter=sh("echo enter"), onExit=sh("exit 4"))


class Oh(Exception):
    """What goes wrong in a block."""


@contextmanager
def in_block(stage: Stage, *arguments: Any, **options: Any) -> Iterator[str]:
    with stage.session.environment(*arguments, **options) as identifier:
        yield identifier


@asynccontextmanager
async def in_async_block(stage: Stage, *arguments: Any, **options: Any) -> AsyncIterator[str]:
    async with stage.session.environment(*arguments, **options) as identifier:
        yield identifier


def use(stage: Stage, kind: str, body: Any, *arguments: Any, **options: Any) -> None:
    """Run ``body(identifier)`` in the block of an environment, blocking or in asyncio."""
    if kind == "with":
        with in_block(stage, *arguments, **options) as identifier:
            body(identifier)
        return

    async def run() -> None:
        async with in_async_block(stage, *arguments, **options) as identifier:
            body(identifier)

    asyncio.run(run())


both = pytest.mark.parametrize("kind", ["with", "async with"])


@both
def test_environment_is_entered_and_exited(stage: Stage, kind: str) -> None:
    """API 16a: entering is waited for, the identifier given, exiting waited for; the Session goes on."""
    entered: list[tuple[str, ...]] = []

    def body(identifier: str) -> None:
        assert stage.state == "READY"
        assert stage.session.environments_entered == (identifier,)
        entered.append(stage.session.environments_entered)

    use(stage, kind, body, GOOD)
    assert len(entered) == 1
    assert (stage.state, stage.session.environments_entered) == ("READY", ())
    assert stage.journal.output == ["enter", "exit"]


@both
def test_arguments_are_passed_on(stage: Stage, kind: str) -> None:
    """API 16a: the identifier, the variables of both calls, and keep_session_running."""
    env = environment("E", onEnter=sh("echo enter $A"), onExit=sh("echo exit $A"))
    seen: list[str] = []
    options = {"identifier": "mine", "os_env_vars": {"A": "1"}, "step_name": "S", "keep_session_running": False}
    use(stage, kind, seen.append, env, **options)
    assert seen == ["mine"]
    assert stage.journal.output == ["enter 1", "exit 1"]
    assert stage.state == "READY_ENDING"


def test_blocks_can_be_nested(stage: Stage) -> None:
    """API 16a: exited in reverse order, also if the inner block fails."""
    envs = [environment(name, onExit=sh(f"echo exit {name}")) for name in ("A", "B")]
    with suppress(Oh), stage.session.environment(envs[0]), stage.session.environment(envs[1]):
        assert len(stage.session.environments_entered) == 2
        raise Oh
    assert stage.journal.output == ["exit B", "exit A"]
    assert stage.state == "READY"


@both
def test_failed_enter_is_exited(stage: Stage, kind: str) -> None:
    """API 16a: ActionError with the status of entering; the block is not run."""
    with pytest.raises(ActionError) as caught:
        use(stage, kind, lambda _: pytest.fail("the block was run"), BAD_ENTER)
    assert isinstance(caught.value, SessionError)
    assert str(caught.value) == "Entering the environment 'Bad' ended FAILED (exit code 3): no licence"
    assert caught.value.status == ActionStatus(state=ActionState.FAILED, fail_message="no licence", exit_code=3)
    assert stage.session.environments_entered == ()
    assert stage.journal.output[-1] == "exit"
    assert stage.state == "READY_ENDING"


@both
def test_failed_exit_is_an_error(stage: Stage, kind: str) -> None:
    """API 16a: after a block that did not raise."""
    with pytest.raises(ActionError) as caught:
        use(stage, kind, lambda _: None, BAD_EXIT)
    assert str(caught.value) == "Exiting the environment 'Bad' ended FAILED (exit code 4)"
    assert caught.value.status == ActionStatus(state=ActionState.FAILED, exit_code=4)


@both
@pytest.mark.parametrize("env", [GOOD, BAD_EXIT], ids=lambda env: str(env.name))
@pytest.mark.parametrize("error", [Oh, KeyboardInterrupt, SystemExit])
def test_exception_in_the_block_passes(stage: Stage, kind: str, env: Any, error: type[BaseException]) -> None:
    """API 16a: the environment is exited all the same; a failed exit does not hide the exception."""

    def body(_: str) -> None:
        raise error

    with pytest.raises(error):
        use(stage, kind, body, env)
    assert stage.session.environments_entered == ()
    assert stage.journal.told[-1].exit_code == (0 if env is GOOD else 4)


@both
def test_running_action_is_canceled_on_leaving(stage: Stage, kind: str) -> None:
    """API 16a: by an exception, and at the end of the block; it is waited for before the exit."""

    def body(_: str) -> None:
        stage.start(*READY_AND_WAIT)
        stage.wait_for_line("ready")
        raise Oh

    with pytest.raises(Oh):
        use(stage, kind, body, GOOD)
    assert [status.state.name for status in stage.journal.told] == [
        *("RUNNING", "SUCCESS", "RUNNING", "CANCELED", "RUNNING", "SUCCESS"),
    ]
    assert stage.journal.output == ["enter", "ready", "exit"]
    assert stage.state == "READY_ENDING"


@both
def test_environment_that_the_block_has_exited(stage: Stage, kind: str) -> None:
    """API 16a: is not exited again."""
    use(stage, kind, lambda identifier: stage.exit(identifier), GOOD)
    assert stage.journal.output == ["enter", "exit"]


@both
def test_session_that_the_block_has_ended(stage: Stage, kind: str) -> None:
    """API 16a: there is nothing left to do."""
    use(stage, kind, lambda _: stage.session.cleanup(), GOOD)
    assert stage.state == "ENDED"
    assert stage.journal.output == ["enter"]


@both
def test_refused_enter_comes_out(stage: Stage, kind: str) -> None:
    """LC-2: nothing was entered, so nothing is exited."""
    stage.run("false")
    with pytest.raises(SessionError, match="READY_ENDING"):
        use(stage, kind, lambda _: None, GOOD)
    assert stage.journal.output == []


def test_block_can_be_made_again(stage: Stage) -> None:
    """API 16a: entering one environment several times, one after another."""
    for _ in range(3):
        with stage.session.environment(GOOD, identifier="e"):
            assert stage.session.environments_entered == ("e",)
    assert stage.journal.output == ["enter", "exit"] * 3


def test_entering_does_not_block_the_event_loop(stage: Stage, gate: Gate) -> None:
    """API 16a: other coroutines go on while an environment is entered and exited."""
    slow = environment("Slow", onEnter=sh(gate.wait, timeout=20), onExit=sh(gate.wait, timeout=20))

    async def open_twice() -> None:
        await asyncio.to_thread(wait_until, lambda: len(stage.journal.calls) == 1)
        gate.open()
        await asyncio.to_thread(wait_until, lambda: len(stage.journal.calls) == 3)
        gate.open()

    async def run() -> None:
        opener = asyncio.ensure_future(open_twice())
        async with stage.session.environment(slow):
            pass
        await opener

    asyncio.run(asyncio.wait_for(run(), PATIENCE))
    assert [status.state.name for status in stage.journal.told] == ["RUNNING", "SUCCESS"] * 2


@pytest.mark.parametrize("moment", ["entering", "block"])
def test_cancelation_of_the_task(stage: Stage, moment: str) -> None:
    """API 16a: what runs is canceled, the environment exited, and the cancelation passes on."""
    wait = "echo ready; exec sleep 60"
    env = environment("E", onEnter=sh(wait if moment == "entering" else "echo enter"), onExit=sh("echo exit"))

    async def work() -> None:
        async with stage.session.environment(env):
            stage.start(*shell(wait))
            await stage.session.future

    async def run() -> None:
        task = asyncio.ensure_future(work())
        await asyncio.to_thread(stage.wait_for_line, "ready")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(run(), PATIENCE))
    assert stage.session.environments_entered == ()
    assert stage.journal.output[-1] == "exit"
    assert [status.state.name for status in stage.journal.told][-3:] == ["CANCELED", "RUNNING", "SUCCESS"]
