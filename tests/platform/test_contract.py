"""What every platform promises (``_platform.protocol``), tried on the real ones and on their stand-in, the fake."""

from __future__ import annotations

import json
import os
import signal

import pytest

from support import child
from support.bench import Bench, Recorder
from support.fake_platform import LOST, FakeKeeper, FakePlatform
from support.manual_loop import ManualClock

INFO = json.dumps({"NotifyEnd": "2031-01-01T00:00:00Z"})
ENDED = ["started", "exited", "tree ended"]


# From start to end


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_the_exit_code_is_told(bench: Bench, code: int) -> None:
    """ACT-16; the end of the tree comes last, and each is told once."""
    recorder = bench.run(*child("exit", str(code)))
    assert (recorder.code, recorder.heard) == (code, ENDED)
    assert recorder.pid > 0


def test_the_number_of_a_signal_is_told_as_negative(bench: Bench) -> None:
    """ACT-16."""
    assert bench.run(*child("die", "SIGKILL")).code == -9


def test_nothing_is_told_before_the_loop_turns(bench: Bench) -> None:
    """All calls come on the loop's thread."""
    _, recorder = bench.ask_for(child("exit", "0"))
    assert recorder.heard == []
    assert bench.finish(recorder).heard == ENDED


def test_output_comes_through_a_pipe_that_ends_with_the_tree(bench: Bench) -> None:
    assert bench.run(*child("text", "one", "two")).output == b"one\ntwo\n"


def test_the_pipe_does_not_block(bench: Bench) -> None:
    descriptors: list[int] = []

    class Taker(Recorder):
        def started(self, pid: int, output: int) -> None:
            assert not os.get_blocking(output)
            assert not os.get_inheritable(output)
            descriptors.append(output)
            super().started(pid, output)

    taker = Taker(bench.loop)
    bench.recorders.append(taker)
    bench.keeper.process(bench.command(child("exit", "0")), taker).start()
    bench.finish(taker)
    assert len(descriptors) == 1


def test_usage_is_told_with_the_exit(bench: Bench) -> None:
    usage = bench.run(*child("exit", "0")).usage
    assert usage is not None
    assert usage.wall_seconds >= 0
    assert min(usage.user_seconds, usage.system_seconds) >= 0
    assert usage.peak_memory_bytes >= 1 << 20


def test_a_missing_program_is_told_with_the_path_searched(bench: Bench) -> None:
    """ACT-9; nothing more is heard of it, and the keeper goes on."""
    reason = bench.fail("no-such-program", variables={"PATH": "/nowhere:/usr/nowhere"})
    assert reason == "Program 'no-such-program' was not found in the PATH searched: /nowhere:/usr/nowhere"
    assert bench.run(*child("exit", "3")).code == 3


def test_processes_of_a_keeper_follow_each_other(bench: Bench) -> None:
    first = bench.run(*child("text", "first"))
    second = bench.run(*child("text", "second"))
    assert (first.output, second.output) == (b"first\n", b"second\n")
    assert (first.heard, second.heard) == (ENDED, ENDED)


def test_keepers_do_not_know_each_other(bench: Bench) -> None:
    process, recorder = bench.begin("wait")
    other_process, other = bench.begin("polite", "5", keeper=bench.open_keeper())
    process.terminate()
    bench.finish(recorder)
    assert other.heard == ["started"]
    other_process.notify(INFO)
    assert bench.finish(other).code == 5


# Notify


def test_notify_writes_its_text_first(bench: Bench) -> None:
    """ACT-26, ACT-28."""
    process, recorder = bench.begin("polite", "4")
    process.notify(INFO)
    bench.finish(recorder)
    assert recorder.lines == ["ready", f"notified {INFO}"]
    assert (recorder.code, recorder.heard) == (4, ENDED)
    assert (bench.directory / "cancel_info.json").read_text() == INFO


def test_notify_ends_who_does_not_listen_for_it(bench: Bench) -> None:
    process, recorder = bench.begin("wait")
    process.notify(INFO)
    assert bench.finish(recorder).code == -15


def test_notify_again(bench: Bench) -> None:
    """LC-26: the text is written again, and the signal is sent again."""
    process, recorder = bench.begin("stubborn")
    for times, text in enumerate(("first", "second", "third"), start=1):
        process.notify(text)
        bench.loop.run_until(recorder.has_said(b"notified\n", times))
        assert (bench.directory / "cancel_info.json").read_text() == text
    assert recorder.heard == ["started"]
    process.terminate()
    assert bench.finish(recorder).code == -9


def test_notify_is_passed_on_when_the_command_has_exited(bench: Bench) -> None:
    """ACT-29: to the rest of its tree, whose end is told last."""
    process, recorder = bench.begin("tell-when-notified")
    process.notify(INFO)
    bench.finish(recorder)
    assert recorder.lines == ["ready", "child notified"]
    assert (recorder.code, recorder.heard) == (-15, ENDED)


def test_notify_after_the_exit_reaches_the_rest(bench: Bench) -> None:
    """ACT-29."""
    process, recorder = bench.ask_for(child("forks", "session", "leave"))
    bench.loop.run_until(recorder.has_heard("exited"))
    assert recorder.heard == ["started", "exited"]
    process.notify(INFO)
    assert bench.finish(recorder).heard == ENDED


# Terminate


@pytest.mark.parametrize("name", ["wait", "deaf", "stubborn", "polite"])
def test_terminate_ends_whoever_it_is(bench: Bench, name: str) -> None:
    """ACT-20."""
    process, recorder = bench.begin(name)
    process.terminate()
    bench.finish(recorder)
    assert (recorder.code, recorder.heard, recorder.lines) == (-9, ENDED, ["ready"])


def test_terminate_after_notify(bench: Bench) -> None:
    """ACT-21."""
    process, recorder = bench.begin("stubborn")
    process.notify(INFO)
    bench.loop.run_until(recorder.has_said(b"notified\n"))
    process.terminate()
    assert bench.finish(recorder).code == -9


def test_terminate_ends_what_the_command_has_left(bench: Bench) -> None:
    """ACT-30."""
    process, recorder = bench.ask_for(child("forks", "daemon", "leave"))
    bench.loop.run_until(recorder.has_heard("exited"))
    assert not recorder.has_output_ended
    process.terminate()
    bench.finish(recorder)
    assert (recorder.code, recorder.heard) == (0, ENDED)


def test_terminate_at_once(bench: Bench) -> None:
    """A request may come before the start has been told."""
    process, recorder = bench.ask_for(child("deaf"))
    bench.loop.turn()
    process.terminate()
    bench.finish(recorder)
    assert (recorder.code, recorder.heard) == (-9, ENDED)


@pytest.mark.parametrize("earlier", [0, 1], ids=["the first one", "a later one"])
@pytest.mark.parametrize("is_asked_for", [False, True], ids=["never asked for", "asked for too late"])
def test_terminate_before_the_start(bench: Bench, earlier: int, is_asked_for: bool) -> None:
    """API §9: an interrupted starter leaves nothing behind; there is no process then, and that is told once."""
    for _ in range(earlier):
        bench.run(*child("exit", "0"))
    recorder = bench.new_recorder()
    process = bench.keeper.process(bench.command(child("wait")), recorder)
    process.terminate()
    bench.loop.run_until(recorder.has_heard("not started"))
    if is_asked_for:
        process.start()
    assert bench.run(*child("exit", "3")).code == 3
    assert recorder.heard == ["not started"]


def test_what_comes_too_late_does_nothing(bench: Bench) -> None:
    """DESIGN §4: nothing is signalled after the end of the tree; a later process is not meant."""
    process, recorder = bench.begin("wait")
    process.terminate()
    bench.finish(recorder)
    process.notify(INFO)
    process.terminate()
    next_process, following = bench.begin("wait")
    process.notify(INFO)
    process.terminate()
    next_process.terminate()
    bench.finish(following)
    assert (following.code, following.lines) == (-9, ["ready"])
    assert recorder.heard == ENDED
    assert not (bench.directory / "cancel_info.json").exists()


# What a command leaves behind


def test_who_lives_on_is_named(bench: Bench) -> None:
    """DESIGN §11: number and command."""
    recorder = bench.abandon(*child("forks", "daemon", "leave"))
    assert [name.split()[0] for name in recorder.left] == [str(pid) for pid in recorder.descendants]
    assert len(recorder.left[0].split()) >= 2
    assert bench.run(*child("exit", "0")).left == []


def test_survivors_of_an_earlier_process_are_not_ended_with_a_later_one(bench: Bench) -> None:
    """DESIGN §11: and their end is not told of the later one."""
    first = bench.abandon(*child("forks", "plain", "leave"))
    process, second = bench.begin("wait")
    process.terminate()
    bench.loop.run_until(second.has_heard("tree ended"))
    assert not first.has_output_ended
    bench.keeper.release("")
    bench.loop.run_until(lambda: first.has_output_ended)
    assert (first.heard, second.heard) == (["started", "exited"], ENDED)


@pytest.mark.parametrize("kind", ["plain", "session", "daemon"])
def test_releasing_a_scope_ends_its_survivors(bench: Bench, kind: str) -> None:
    """DESIGN §11: of all its processes, and of no other scope."""
    inner = [bench.abandon(*child("forks", kind, "leave"), scope="inner") for _ in range(2)]
    outer = bench.abandon(*child("forks", kind, "leave"), scope="outer")
    bench.keeper.release("inner")
    bench.loop.run_until(lambda: all(recorder.has_output_ended for recorder in inner))
    assert not outer.has_output_ended
    bench.keeper.release("outer")
    bench.loop.run_until(lambda: outer.has_output_ended)


def test_releasing_a_scope_notifies_first(bench: Bench) -> None:
    """DESIGN §11."""
    _, recorder = bench.begin("tell-when-notified", scope="s")
    end_only_the_command(bench, recorder)
    bench.loop.run_until(recorder.has_heard("exited"))
    bench.keeper.release("s")
    bench.loop.run_until(lambda: recorder.has_output_ended)
    assert recorder.lines == ["ready", "child notified"]


def end_only_the_command(bench: Bench, recorder: Recorder) -> None:
    """Let the command's own process go, and nothing else."""
    if isinstance(bench.keeper, FakeKeeper):
        bench.keeper.processes[-1].exit(-9)
    else:
        os.kill(recorder.pid, signal.SIGKILL)


def test_releasing_a_scope_leaves_a_running_process_alone(bench: Bench) -> None:
    """DESIGN §11: it is not left behind yet."""
    process, recorder = bench.begin("forks", "session", scope="s")
    bench.keeper.release("s")
    bench.keeper.release("of nobody")
    process.notify(INFO)
    bench.finish(recorder)
    assert (recorder.code, recorder.heard) == (-15, ENDED)


# The keeper's end


@pytest.mark.parametrize("kind", ["plain", "session", "daemon-quiet"])
def test_leaving_ends_survivors(bench: Bench, kind: str) -> None:
    """Of all scopes; it is told once, when nothing is left."""
    survivors = [bench.abandon(*child("forks", kind, "leave"), scope=scope) for scope in ("", "inner")]
    gone: list[bool] = []
    bench.keeper.leave(lambda: gone.append(True))
    assert gone == []
    bench.loop.run_until(lambda: bool(gone))
    bench.loop.run_until(lambda: all(recorder.has_output_ended for recorder in survivors))
    assert (gone, [recorder.reasons for recorder in survivors]) == ([True], [[], []])


def test_leaving_without_anything_left(bench: Bench) -> None:
    before = bench.loop.watched
    keeper = bench.open_keeper()
    bench.finish(bench.ask_for(child("exit", "0"), keeper=keeper)[1])
    bench.leave(keeper)
    assert keeper.is_lost
    assert bench.loop.watched == before
    bench.leave(keeper)
    assert not bench.keeper.is_lost


def test_a_lost_keeper_says_so_to_who_would_start(bench: Bench) -> None:
    """The observer hears of it: nobody waits for a keeper that has gone."""
    bench.leave()
    process, recorder = bench.ask_for(child("wait"))
    process.notify(INFO)
    process.terminate()
    bench.keeper.release("")
    bench.loop.run_until(lambda: bool(recorder.heard))
    assert (recorder.heard, recorder.reasons) == (["lost"], [LOST])


# What only the fake can do


def test_the_fake_ends_deaf_survivors_when_its_clock_says_so(fake: Bench, clock: ManualClock) -> None:
    keeper = fake.keeper
    assert isinstance(keeper, FakeKeeper)
    _, recorder = fake.ask_for(child("forks", "plain", "leave"))
    fake.loop.run_until(recorder.has_heard("exited"))
    keeper.processes[0].descendants[0].code_when_notified = None
    gone: list[bool] = []
    keeper.leave(lambda: gone.append(True))
    clock.advance(4.9)
    fake.loop.turn()
    assert gone == []
    clock.advance(0.1)
    assert gone == [True]


def test_the_fake_plays_by_hand(fake: Bench, clock: ManualClock) -> None:
    platform = fake.platform
    assert isinstance(platform, FakePlatform)
    _, recorder = fake.begin("wait")
    process = platform.keepers[0].processes[0]
    clock.advance(2.5)
    process.say("openjd_progress: 50\n")
    process.exit(3)
    fake.finish(recorder)
    assert (recorder.code, recorder.lines) == (3, ["ready", "openjd_progress: 50"])
    assert recorder.usage is not None
    assert recorder.usage.wall_seconds == 2.5


def test_the_fake_loses_its_keeper(fake: Bench) -> None:
    keeper = fake.keeper
    assert isinstance(keeper, FakeKeeper)
    _, recorder = fake.begin("wait")
    keeper.lose()
    fake.loop.run_until(lambda: recorder.has_output_ended)
    assert (recorder.heard, recorder.reasons, keeper.is_lost) == (["started", "lost"], [LOST], True)
