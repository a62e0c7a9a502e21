"""The bare limit: a process is spawned, its output read to the end, its exit waited for, and that is all."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from bench.processes import ACTION

BLOCK = 64 * 1024


@dataclass(frozen=True)
class Child:
    """A process, and the end of the pipe from which its output is read."""

    pid: int
    output: int

    def read(self) -> bytes:
        return os.read(self.output, BLOCK)

    def reap(self) -> None:
        os.waitpid(self.pid, 0)
        os.close(self.output)

    def finish(self) -> int:
        """Read its output to the end, wait for its exit; the number of lines that it has printed."""
        lines = 0
        while block := self.read():
            lines += block.count(b"\n")
        self.reap()
        return lines

    def end(self, number: int = signal.SIGKILL) -> float:
        """Send it a signal that ends it; the seconds until it has ended."""
        begin = time.perf_counter()
        os.kill(self.pid, number)
        self.finish()
        return time.perf_counter() - begin


def variables(more: Optional[Mapping[str, str]] = None) -> dict[str, str]:
    """The environment of a process, with the variable by which actions are known."""
    return {**os.environ, ACTION: "/", **(more or {})}


def resolve(command: Sequence[str]) -> list[str]:
    """The command with its program looked up, which can be done once."""
    program = shutil.which(command[0])
    if program is None:
        raise FileNotFoundError(command[0])
    return [program, *command[1:]]


def spawn(command: list[str], environment: Mapping[str, str], *, own_group: bool = False) -> Child:
    reading, writing = os.pipe()  # neither is inherited
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, writing, 1),
        (os.POSIX_SPAWN_DUP2, writing, 2),
    ]
    try:
        if own_group:
            pid = os.posix_spawn(command[0], command, environment, file_actions=actions, setpgroup=0)
        else:
            pid = os.posix_spawn(command[0], command, environment, file_actions=actions)
    finally:
        os.close(writing)
    return Child(pid, reading)


def run(command: list[str], environment: Mapping[str, str]) -> float:
    """Spawn and finish; the seconds that it took."""
    begin = time.perf_counter()
    spawn(command, environment).finish()
    return time.perf_counter() - begin
