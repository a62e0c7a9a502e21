"""Where a platform is tried out: a keeper, its processes, and all that is heard of them."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Callable, Optional

from openjd.sessions._platform.protocol import Command, Keeper, Platform, Process
from openjd.sessions._types import ActionUsage
from support import child
from support.manual_loop import PATIENCE, ManualLoop


class Recorder:
    """A ``ProcessObserver`` that writes down what it hears, and reads the output to its end."""

    def __init__(self, loop: ManualLoop) -> None:
        self.heard: list[str] = []
        self.reasons: list[str] = []
        self.output = b""
        self.has_output_ended = False
        self.pid = 0
        self.code: Optional[int] = None
        self.usage: Optional[ActionUsage] = None
        self.left: list[str] = []
        self._loop = loop
        self._descriptor = -1

    def started(self, pid: int, output: int) -> None:
        self.heard.append("started")
        self.pid = pid
        self._descriptor = output
        self._loop.watch(output, self._read)

    def not_started(self, reason: str) -> None:
        self.heard.append("not started")
        self.reasons.append(reason)

    def notify_failed(self, reason: str) -> None:
        self.heard.append("notify failed")
        self.reasons.append(reason)

    def exited(self, code: int, usage: ActionUsage, left: Sequence[str]) -> None:
        self.heard.append("exited")
        self.code, self.usage, self.left = code, usage, list(left)

    def signal_refused(self, reason: str) -> None:
        self.heard.append("signal refused")
        self.reasons.append(reason)

    def tree_ended(self) -> None:
        self.heard.append("tree ended")

    def lost(self, reason: str) -> None:
        self.heard.append("lost")
        self.reasons.append(reason)

    def _read(self) -> None:
        block = os.read(self._descriptor, 65536)
        self.output += block
        if not block:
            self.has_output_ended = True
            self.close()

    def close(self) -> None:
        """Read no more."""
        if self._descriptor >= 0:
            self._loop.unwatch(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def is_over(self) -> bool:
        return not {"not started", "tree ended", "lost"}.isdisjoint(self.heard)

    def has_heard(self, *words: str) -> Callable[[], bool]:
        return lambda: set(words) <= set(self.heard)

    def has_said(self, text: bytes, times: int = 1) -> Callable[[], bool]:
        return lambda: self.output.count(text) >= times

    @property
    def lines(self) -> list[str]:
        return os.fsdecode(self.output).splitlines()

    @property
    def descendants(self) -> list[int]:
        """The processes that it has said to have forked."""
        return [int(line.split()[1]) for line in self.lines if line.startswith("descendant ")]


class Bench:
    """A keeper in a directory."""

    def __init__(self, platform: Platform, loop: ManualLoop, directory: Path) -> None:
        self.platform = platform
        self.loop = loop
        self.directory = directory
        self.recorders: list[Recorder] = []
        self.keepers: list[Keeper] = []
        self._last: dict[Keeper, tuple[Process, Recorder]] = {}
        self.keeper = self.open_keeper()

    def open_keeper(self) -> Keeper:
        self.keepers.append(self.platform.open_keeper())
        self.loop.turn()
        return self.keepers[-1]

    def ask_for(
        self,
        argv: Iterable[str],
        variables: Optional[Mapping[str, str]] = None,
        keeper: Optional[Keeper] = None,
        directory: Optional[Path] = None,
        scope: str = "",
    ) -> tuple[Process, Recorder]:
        """Ask for a process, and wait for nothing."""
        recorder = self.new_recorder()
        keeper = keeper or self.keeper
        process = keeper.process(self.command(argv, variables, directory, scope), recorder)
        process.start()
        self._last[keeper] = process, recorder
        return process, recorder

    def command(
        self,
        argv: Iterable[str],
        variables: Optional[Mapping[str, str]] = None,
        directory: Optional[Path] = None,
        scope: str = "",
    ) -> Command:
        folder = str(directory or self.directory)
        environment = {**os.environ, "OPENJD_SESSION_WORKING_DIR": folder, **(variables or {})}
        return Command(list(argv), folder, environment, scope)

    def new_recorder(self) -> Recorder:
        self.recorders.append(Recorder(self.loop))
        return self.recorders[-1]

    def begin(
        self, name: str, *arguments: str, keeper: Optional[Keeper] = None, scope: str = ""
    ) -> tuple[Process, Recorder]:
        """Start a child program that goes on running, and wait until it is ready."""
        process, recorder = self.ask_for(child(name, *arguments), keeper=keeper, scope=scope)
        self.loop.run_until(recorder.has_said(b"ready\n"))
        return process, recorder

    def abandon(self, *argv: str, scope: str = "") -> Recorder:
        """Run a program that leaves one process behind, and wait until it has exited."""
        _, recorder = self.ask_for(argv, scope=scope)
        self.loop.run_until(recorder.has_heard("exited"))
        return recorder

    def finish(self, recorder: Recorder) -> Recorder:
        """Wait until nothing of a process and its output is left."""
        self.loop.run_until(lambda: "tree ended" in recorder.heard and recorder.has_output_ended)
        return recorder

    def run(self, *argv: str, variables: Optional[Mapping[str, str]] = None) -> Recorder:
        """Run a program to its end."""
        return self.finish(self.ask_for(argv, variables)[1])

    def fail(self, *argv: str, variables: Optional[Mapping[str, str]] = None, directory: Optional[Path] = None) -> str:
        """Why a program can't be started."""
        _, recorder = self.ask_for(argv, variables, directory=directory)
        self.loop.run_until(lambda: bool(recorder.heard))
        assert recorder.heard == ["not started"]
        return recorder.reasons[0]

    def leave(self, keeper: Optional[Keeper] = None) -> None:
        """Have a keeper leave, and wait until it has."""
        gone: list[bool] = []
        (keeper or self.keeper).leave(lambda: gone.append(True))
        self.loop.run_until(lambda: bool(gone))

    def close(self) -> None:
        """End everything, without waiting for those who don't listen."""
        for keeper, (process, recorder) in self._last.items():
            process.terminate()
            self.loop.run_until(lambda: keeper.is_lost or recorder.is_over)  # noqa: B023 - it is called here only
        for keeper in self.keepers:
            self.leave(keeper)
        for recorder in self.recorders:
            recorder.close()


# Processes of Linux


def keeper_of(bench: Bench) -> int:
    """The process id of a keeper."""
    process, recorder = bench.begin("wait")
    keeper = parent_of(recorder.pid)
    process.terminate()
    bench.finish(recorder)
    return keeper


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0].decode()


class Watched:
    """Processes of whatever parent, known by more than their numbers."""

    def __init__(self, pids: Iterable[int]) -> None:
        if sys.platform == "linux":
            self._handles = {os.pidfd_open(pid): pid for pid in pids}

    def alive(self) -> set[int]:
        poll = select.poll()
        for handle in self._handles:
            poll.register(handle, select.POLLIN)
        gone = {handle for handle, _ in poll.poll(0)}
        return {pid for handle, pid in self._handles.items() if handle not in gone}

    def wait_until_gone(self) -> None:
        poll = select.poll()
        for handle in self._handles:
            poll.register(handle, select.POLLIN)
            assert poll.poll(PATIENCE * 1000), f"process {self._handles[handle]} is still there"
            poll.unregister(handle)

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            os.close(handle)
