"""A platform without processes: it plays the programs of ``children.py`` by their names.

It is a verified fake: it passes the contract tests of the real platforms (``tests/platform/test_contract.py``). What
those leave open a test may bring about by hand: ``FakeProcess.say`` and ``exit``, ``FakeKeeper.lose``.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Callable, Optional

from openjd.sessions._errors import KeeperError
from openjd.sessions._platform.protocol import Command, ProcessObserver, Watcher
from openjd.sessions._types import ActionUsage
from support import CHILDREN
from support.manual_loop import ManualClock

SURVIVOR_GRACE = 5.0
"""Seconds between the notification of survivors and their termination."""
LOST = "The keeper of this Session's processes has gone; what it kept is terminated."
_SIGTERM, _SIGKILL = -15, -9
_pids = itertools.count(4_000_001)


@dataclass(eq=False)
class Member:
    """A process of a tree: with which code it ends when it is notified, if it does, and what it says then."""

    code_when_notified: Optional[int] = _SIGTERM
    words: str = ""
    pid: int = field(default_factory=lambda: next(_pids))


class FakeProcess:
    """A process, and what it has started."""

    def __init__(self, keeper: FakeKeeper, command: Command, observer: ProcessObserver) -> None:
        self.command = command
        self.root = Member()
        self.pid = self.root.pid
        self.descendants: list[Member] = []
        self._keeper = keeper
        self._observer = observer
        self._began = keeper.clock.now
        self._output = -1
        self.has_exited = True
        self._is_asked_for = self._is_given_up = False
        self._is_notified = False

    # -- the protocol

    def start(self) -> None:
        if self._keeper.is_lost:
            self._keeper.watcher.post(self.check)
        if not self._is_given_up:
            self._is_asked_for = True
            self._keeper.post(self.begin)

    def notify(self, info: str) -> None:
        self._keeper.post(partial(self._take_notice, info))

    def terminate(self) -> None:
        if self._is_asked_for:
            self._keeper.post(self.end)
        else:
            self._is_given_up = True
            self._keeper.post(partial(self._observer.not_started, "The start was interrupted."))

    def check(self) -> None:
        if self._keeper.is_lost:
            self._observer.lost(LOST)

    # -- for tests, on the loop's thread

    def say(self, text: str) -> None:
        """Print something."""
        os.write(self._output, text.encode())

    def exit(self, code: int) -> None:
        """Have the command's own process exit."""
        if not self.has_exited:
            self.has_exited = True
            left = [f"{member.pid} child" for member in self.descendants]
            self._observer.exited(code, ActionUsage(self._keeper.clock.now - self._began, 0.0, 0.0, 1 << 20), left)
        if self._is_notified:
            self.notify_descendants()
        self.end_if_empty()

    # -- what becomes of it

    def begin(self) -> None:
        program = PROGRAMS.get(self._name)
        if program is None:
            searched = self.command.environment.get("PATH", os.defpath)
            self._observer.not_started(
                f"Program '{self.command.argv[0]}' was not found in the PATH searched: {searched}"
            )
            return
        self.has_exited = False
        reading, self._output = os.pipe()
        os.set_blocking(reading, False)
        self._observer.started(self.pid, reading)
        program(self, *self._arguments)

    @property
    def _name(self) -> str:
        argv = list(self.command.argv)
        return argv[argv.index(str(CHILDREN)) + 1] if str(CHILDREN) in argv else argv[0]

    @property
    def _arguments(self) -> list[str]:
        argv = list(self.command.argv)
        return argv[argv.index(self._name) + 1 :]

    def _take_notice(self, info: str) -> None:
        if self._output < 0:
            return
        Path(self.command.directory, "cancel_info.json").write_text(info)
        self._is_notified = True
        if self.has_exited:
            self.notify_descendants()
            self.end_if_empty()
        else:
            self.say(self.root.words.format(info=info))
            if self.root.code_when_notified is not None:
                self.exit(self.root.code_when_notified)

    def notify_descendants(self) -> None:
        for member in list(self.descendants):
            self.say(member.words)
            if member.code_when_notified is not None:
                self.descendants.remove(member)

    def end(self) -> None:
        """Terminate everything."""
        if self._output >= 0:
            self.descendants.clear()
            self.exit(_SIGKILL)

    def end_if_empty(self) -> None:
        if self._output >= 0 and not self.descendants:
            self.close()
            if self._keeper.processes[-1] is self:  # nothing is told of what earlier ones have left behind
                self._observer.tree_ended()

    def close(self) -> None:
        """Let go of the output: nothing of the tree is left."""
        if self._output >= 0:
            os.close(self._output)
            self._output = -1


class FakeKeeper:
    """Keeps processes that are none."""

    def __init__(self, watcher: Watcher, clock: ManualClock) -> None:
        self.clock = clock
        self.is_lost = False
        self.processes: list[FakeProcess] = []
        self.watcher = watcher
        self._observer: Optional[ProcessObserver] = None

    def process(self, command: Command, observer: ProcessObserver) -> FakeProcess:
        process = FakeProcess(self, command, observer)
        self.processes.append(process)
        self._observer = observer
        return process

    def release(self, scope: str) -> None:
        self.post(partial(self._end_survivors, scope))

    def _end_survivors(self, scope: str) -> None:
        """Notify what a scope has left behind, and terminate it later."""
        for process in self.processes:
            if process.command.scope == scope and process.has_exited:
                process.notify_descendants()
                process.end_if_empty()
                self.clock.call_later(SURVIVOR_GRACE, process.end)

    def leave(self, when_gone: Callable[[], None]) -> None:
        if self.is_lost:
            when_gone()
            return
        for process in self.processes:
            process.notify_descendants()
        if any(process.descendants for process in self.processes):
            self.clock.call_later(SURVIVOR_GRACE, partial(self._be_gone, when_gone))
        else:
            self.watcher.post(partial(self._be_gone, when_gone))

    def _be_gone(self, when_gone: Callable[[], None]) -> None:
        self.close()
        when_gone()

    def close(self) -> None:
        """Have nothing any more."""
        self.is_lost = True
        for process in self.processes:
            process.close()

    def lose(self) -> None:
        """For tests: be killed."""
        if not self.is_lost:
            self.close()
            if self._observer is not None:
                self._observer.lost(LOST)

    def post(self, call: Callable[[], None]) -> None:
        """Do something on the loop, if it is not too late then."""
        self.watcher.post(lambda: None if self.is_lost else call())


class FakePlatform:
    """A system that needs no processes and no time."""

    def __init__(self, watcher: Watcher, clock: ManualClock) -> None:
        self.keepers: list[FakeKeeper] = []
        self._watcher = watcher
        self._clock = clock

    def open_keeper(self, user: Optional[str] = None) -> FakeKeeper:
        if user is not None:
            raise KeeperError(f"There is no account {user!r} on this host.")
        self.keepers.append(FakeKeeper(self._watcher, self._clock))
        return self.keepers[-1]

    def login_variables(self, user: str) -> Mapping[str, str]:
        raise KeeperError(f"There is no account {user!r} on this host.")

    def remove_contents(self, user: str, directory: str, limit: float) -> None:  # noqa: ARG002
        raise KeeperError(f"There is no account {user!r} on this host.")

    def forget(self) -> None:
        for keeper in self.keepers:
            keeper.close()


# The programs


def _wait(process: FakeProcess, code_when_notified: Optional[int] = _SIGTERM, words: str = "") -> None:
    process.root.code_when_notified, process.root.words = code_when_notified, words
    process.say("ready\n")


def _exit_with(process: FakeProcess, code: str) -> None:
    process.exit(int(code))


def _die(process: FakeProcess, _: str) -> None:
    process.exit(_SIGKILL)


def _text(process: FakeProcess, *texts: str) -> None:
    for text in texts:
        process.say(f"{text}\n")
    process.exit(0)


def _forks(process: FakeProcess, _: str, then: str = "wait") -> None:
    process.descendants.append(Member())
    process.say(f"descendant {process.descendants[-1].pid}\n")
    if then == "wait":
        _wait(process)
    else:
        process.exit(0)


def _tell_when_notified(process: FakeProcess, _: str = "plain") -> None:
    process.descendants.append(Member(0, "child notified\n"))
    _wait(process)


PROGRAMS: Mapping[str, Callable[..., None]] = {
    "deaf": partial(_wait, code_when_notified=None),
    "die": _die,
    "exit": _exit_with,
    "forks": _forks,
    "polite": lambda process, code="0": _wait(process, int(code), "notified {info}\n"),
    "stubborn": partial(_wait, code_when_notified=None, words="notified\n"),
    "tell-when-notified": _tell_when_notified,
    "text": _text,
    "wait": _wait,
}
