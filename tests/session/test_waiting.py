"""Waiting for an action: ``wait`` and ``future`` of API §16a, wherever they are called."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from contextlib import suppress
from typing import Any, Callable

import pytest

from openjd.sessions import ActionFuture, ActionState, ActionStatus
from support.moments import AtRecord
from support.scripts import action, environment, script
from support.stage import PATIENCE, READY_AND_WAIT, Gate, Stage, shell

SUCCESS = ActionStatus(state=ActionState.SUCCESS, exit_code=0)
FAILED = ActionStatus(state=ActionState.FAILED, exit_code=3)


def in_thread(do: Callable[[], object]) -> concurrent.futures.Future[object]:
    """Do something in a thread of its own; gives its result."""
    done: concurrent.futures.Future[object] = concurrent.futures.Future()

    def run() -> None:
        try:
            done.set_result(do())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run).start()
    return done


# wait()


def test_nothing_to_wait_for(stage: Stage) -> None:
    """API 16a: None before any action; then the last action's final status, also after the end."""
    assert stage.session.wait() is None
    assert stage.session.wait(0) is None
    stage.run(*shell("exit 3"))
    assert stage.session.wait() == stage.session.wait(0) == FAILED
    stage.session.cleanup()
    assert stage.session.wait() == FAILED


def test_time_to_wait_is_over(stage: Stage) -> None:
    """API 16a: TimeoutError, and nothing else changes."""
    stage.start(*READY_AND_WAIT)
    for timeout in (0, 0.01):
        with pytest.raises(TimeoutError) as caught:
            stage.session.wait(timeout)
        assert type(caught.value) is TimeoutError
        assert str(caught.value) == "The action has not ended yet."
    assert stage.state == "RUNNING"
    assert not stage.session.future.done()
    stage.session.cancel_action()
    assert stage.wait().state is ActionState.CANCELED


def test_wait_ends_when_the_final_call_has_returned(stage: Stage) -> None:
    """API 16a: not before; meanwhile the state is final already."""
    entered, may_return = threading.Event(), threading.Event()

    def react(status: ActionStatus) -> None:
        if status.state is ActionState.SUCCESS:
            entered.set()
            may_return.wait(PATIENCE)

    stage.react = react
    stage.start("true")
    waiting = in_thread(stage.wait)
    assert entered.wait(PATIENCE)
    assert stage.state == "READY"
    assert not stage.session.future.done()
    with pytest.raises(TimeoutError):
        stage.session.wait(0.01)
    may_return.set()
    assert waiting.result(PATIENCE) == SUCCESS


def test_several_threads_wait(stage: Stage, gate: Gate) -> None:
    """API 16a: all of them get the same status."""
    stage.start(*shell(f"{gate.wait}; exit 3"))
    waiting = [in_thread(stage.wait) for _ in range(5)]
    gate.open()
    assert [each.result(PATIENCE) for each in waiting] == [FAILED] * 5


def test_wait_in_the_first_call(stage: Stage) -> None:
    """API 16a: the rest is delivered in place, and the starter returns afterwards."""
    seen: list[object] = []
    stage.react = lambda status: seen.append(stage.wait()) if not seen and status.progress is None else None
    stage.start(*shell("echo openjd_progress: 1; echo hi; exit 3"))
    final = ActionStatus(state=ActionState.FAILED, progress=1.0, exit_code=3)
    assert final in seen
    assert stage.journal.story == [
        *("<RUNNING>", "<RUNNING progress=1.0>", "openjd_progress: 1", "hi", "<FAILED progress=1.0 exit_code=3>"),
    ]
    assert {call.thread for call in stage.journal.calls} == {threading.get_ident()}
    assert stage.state == "READY_ENDING"


def test_wait_in_a_message_call(stage: Stage) -> None:
    """API 16a: the line of the message comes after what was waited for."""
    seen: list[object] = []
    stage.react = lambda status: seen.append(stage.wait()) if status.progress == 1 and not seen else None
    stage.start(*shell("echo openjd_progress: 1; echo openjd_progress: 2; exit 3"))
    final = ActionStatus(state=ActionState.FAILED, progress=2.0, exit_code=3)
    stage.journal.wait_for(lambda: "openjd_progress: 1" in stage.journal.output)
    assert seen == [final]
    assert stage.journal.told[-1] == final


def test_wait_in_the_final_call(stage: Stage) -> None:
    """API 16a: at once, with the status that is being told."""
    seen: list[object] = []
    stage.react = lambda status: seen.append(stage.wait()) if status.state is ActionState.FAILED else None
    stage.start(*shell("exit 3"))
    assert stage.wait() == FAILED
    assert seen == [FAILED]


def test_wait_in_the_final_call_for_the_next_action(stage: Stage) -> None:
    """API 16a: whole jobs can be run from within a callback."""
    seen: list[ActionStatus] = []
    is_over = threading.Event()

    def react(status: ActionStatus) -> None:
        if status.state is ActionState.SUCCESS and not seen:
            for code in (0, 0, 3):
                seen.append(SUCCESS)
                seen[-1] = stage.run(*shell(f"exit {code}"))
            is_over.set()

    stage.react = react
    stage.start("true")
    assert is_over.wait(PATIENCE)
    assert seen == [SUCCESS, SUCCESS, FAILED]


def test_wait_in_the_call_of_an_action_without_process(stage: Stage) -> None:
    """API 16a: the same on the calling thread."""
    seen: list[object] = []
    stage.react = lambda _: seen.append(stage.wait())
    stage.session.enter_environment(environment=environment("E", variables={"A": "1"}))
    assert seen == [ActionStatus(state=ActionState.SUCCESS)]


def test_wait_in_a_log_handler(stage: Stage) -> None:
    """API 16a: handlers run on the delivery thread, too."""
    seen: list[object] = []

    class Waiter(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "first" and not seen:
                seen.append(None)
                seen[0] = stage.wait()

    waiter = Waiter()
    logging.getLogger("openjd.sessions").addHandler(waiter)
    try:
        stage.start(*shell("echo first; echo second; exit 3"))
        stage.journal.wait_for(lambda: bool(stage.journal.calls[1:]))
        assert stage.wait() == FAILED
    finally:
        logging.getLogger("openjd.sessions").removeHandler(waiter)
    assert seen == [FAILED]


@pytest.mark.parametrize("record", ["Phase: Setup", "Running command", "Command started", "Output:"])
def test_wait_in_a_log_handler_of_a_start(stage: Stage, record: str) -> None:
    """LC-17: the process has been asked for by then, so it ends there; no call comes after its final one."""
    stage.run("true")  # what the first action starts is looked at elsewhere
    stage.journal.clear()
    handler = AtRecord(record, lambda: stage.session.wait(PATIENCE))
    stage.journal.addFilter(handler)
    stage.start("true")
    assert handler.results == [ActionStatus(state=ActionState.SUCCESS, exit_code=0)]
    assert [call.status.state for call in stage.journal.calls] == [ActionState.SUCCESS]


@pytest.mark.parametrize("record", ["Phase: Setup", "Output:"])
def test_wait_in_a_log_handler_of_a_start_until_a_message(stage: Stage, record: str) -> None:
    """LC-17: no call without progress comes after one with it."""
    stage.run("true")  # what the first action starts is looked at elsewhere
    stage.journal.clear()

    def wait_for_progress() -> None:
        while not stage.journal.calls:
            with suppress(TimeoutError):
                stage.session.wait(0.01)

    stage.journal.addFilter(AtRecord(record, wait_for_progress))
    stage.start(*shell("echo openjd_progress: 5; exec sleep 60"))
    stage.session.cancel_action()
    stage.wait()
    assert [call.status.progress for call in stage.journal.calls] == [5, 5]


def test_wait_with_a_time_limit_in_a_callback(stage: Stage) -> None:
    """API 16a: what comes later is delivered as ever."""
    errors: list[str] = []

    def react(status: ActionStatus) -> None:
        if status.state is ActionState.RUNNING:
            with pytest.raises(TimeoutError) as caught:
                stage.session.wait(0.01)
            errors.append(str(caught.value))

    stage.react = react
    stage.start(*shell("echo openjd_progress: 1; echo ready; exec sleep 60"))
    stage.wait_for_line("ready")
    stage.session.cancel_action()
    assert stage.wait().state is ActionState.CANCELED
    assert errors == ["The action has not ended yet."] * 2


# future


def test_future(stage: Stage, gate: Gate) -> None:
    """API 16a: a future of the standard library whose result is the final status."""
    stage.start(*shell(f"{gate.wait}; exit 3"))
    future = stage.session.future
    assert isinstance(future, ActionFuture)
    assert isinstance(future, concurrent.futures.Future)
    assert future is stage.session.future
    assert (future.running(), future.done(), future.cancelled()) == (True, False, False)
    gate.open()
    assert future.result(PATIENCE) == FAILED
    assert future.exception(0) is None
    assert future.done()
    stage.session.cleanup()
    assert stage.session.future is future


def test_future_cannot_be_canceled(stage: Stage) -> None:
    """API 16a: neither itself nor the action."""
    stage.start(*READY_AND_WAIT)
    future = stage.session.future
    assert future.cancel() is False
    assert stage.state == "RUNNING"
    stage.session.cancel_action()
    assert future.result(PATIENCE).state is ActionState.CANCELED


def test_each_action_has_a_future_of_its_own(stage: Stage) -> None:
    """API 16a: also those that start no process; they can be waited for together."""
    futures = []
    for start in (
        lambda: stage.start("true"),
        lambda: stage.session.enter_environment(environment=environment("E", variables={"A": "1"})),
        lambda: stage.start_task(script(action("{{Param.Unknown}}"))),
    ):
        start()
        futures.append(stage.session.future)
        futures[-1].result(PATIENCE)
    done, _ = concurrent.futures.wait(futures, 0)
    assert {future.result().state for future in done} == {ActionState.SUCCESS, ActionState.FAILED}
    assert len(done) == 3


def test_future_is_done_after_the_final_call(stage: Stage) -> None:
    """API 16a: so that who waits sees all that the callback has done."""
    order: list[str] = []
    stage.react = lambda status: order.append(status.state.name)
    stage.start("true")
    stage.session.future.add_done_callback(lambda _: order.append("done"))
    stage.session.future.result(PATIENCE)
    assert order in (["RUNNING", "SUCCESS", "done"], ["RUNNING", "SUCCESS"])
    stage.run("true")
    assert order == ["RUNNING", "SUCCESS", "done", "RUNNING", "SUCCESS"]


# asyncio


def test_future_can_be_awaited(stage: Stage) -> None:
    """API 16a: in any event loop, also several times, and once it is done."""

    async def run() -> list[ActionStatus]:
        stage.start(*shell("exit 3"))
        first = await stage.session.future
        return [first, await stage.session.future, *await asyncio.gather(waiter(), waiter())]

    async def waiter() -> ActionStatus:
        return await stage.session.future

    assert asyncio.run(run()) == [FAILED] * 4
    assert asyncio.run(waiter()) == FAILED


def test_event_loop_is_not_blocked(stage: Stage, gate: Gate) -> None:
    """API 16a: other coroutines go on."""

    async def run() -> ActionStatus:
        stage.start(*shell(f"{gate.wait}; exit 3"), timeout=20)
        waits = asyncio.Event()
        waiting = asyncio.ensure_future(waiter(waits))
        await waits.wait()
        gate.open()
        return await waiting

    async def waiter(waits: asyncio.Event) -> ActionStatus:
        waits.set()
        return await stage.session.future

    assert asyncio.run(run()) == FAILED


def test_cancelling_who_waits_cancels_nothing(stage: Stage) -> None:
    """API 16a: neither ``wait_for`` nor the cancelation of a task touches the action."""

    async def waiter(waits: asyncio.Event) -> ActionStatus:
        waits.set()
        return await stage.session.future

    async def run() -> Any:
        stage.start(*READY_AND_WAIT)
        waits = asyncio.Event()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(waiter(waits), 0.01)
        waits.clear()
        task = asyncio.ensure_future(waiter(waits))
        await waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (stage.state, stage.session.future.done()) == ("RUNNING", False)
        stage.session.cancel_action()
        return await asyncio.wait_for(waiter(waits), PATIENCE)

    assert asyncio.run(run()) == ActionStatus(state=ActionState.CANCELED, exit_code=-9)


def test_several_sessions_in_one_event_loop(open_stage: Callable[..., Stage]) -> None:
    """API 16a: side by side."""
    stages = [open_stage(session_id=str(number)) for number in range(4)]

    async def drive(stage: Stage, code: int) -> list[ActionStatus]:
        statuses = []
        for text in ("exit 0", "exit 0", f"exit {code}"):
            stage.start(*shell(text))
            statuses.append(await stage.session.future)
        return statuses

    async def run() -> list[list[ActionStatus]]:
        return await asyncio.gather(*(drive(stage, 3) for stage in stages))

    assert asyncio.run(run()) == [[SUCCESS, SUCCESS, FAILED]] * 4
