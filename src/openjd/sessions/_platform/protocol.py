"""What the runtime asks of a system, and what a system asks of the loop.

Everything about a running process happens on the loop's thread: requests are made there, and answers are told there.
Only a process is made and started on its starter's thread; and the methods of ``Platform`` may be called on any thread,
and may block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Callable, Optional, Protocol, TypeVar

from openjd.sessions._types import ActionUsage

Result = TypeVar("Result")


@dataclass(frozen=True)
class Command:
    """A process to be started: leader of a session of its own, empty standard input, output and error in one pipe."""

    argv: Sequence[str]
    directory: str
    environment: Mapping[str, str]
    scope: str = ""
    """What it leaves behind lives until this scope is released."""


class ProcessObserver(Protocol):
    """Who wants to know what becomes of a process; all calls come on the loop's thread."""

    def started(self, pid: int, output: int) -> None:
        """The process runs; ``output`` is the reading end of its pipe, non-blocking, now the observer's to close."""

    def not_started(self, reason: str) -> None:
        """No process could be started; nothing more will be heard."""

    def notify_failed(self, reason: str) -> None:
        """The process was not notified."""

    def signal_refused(self, reason: str) -> None:
        """A process of the tree could not be signalled (rule ACT-32)."""

    def exited(self, code: int, usage: ActionUsage, left: Sequence[str]) -> None:
        """The command's own process has exited; on POSIX a signal's number is negative.

        ``left`` names the processes of its tree that live on: number and program.
        """

    def tree_ended(self) -> None:
        """Nothing of the process's tree is left."""

    def lost(self, reason: str) -> None:
        """Those who kept the process have gone; nothing more will be heard."""


class Process(Protocol):
    """A process that is to be started, or runs."""

    def start(self) -> None:
        """Ask for it, on its starter's thread; the observer hears of it.

        An exception (Ctrl-C) may strike anywhere in this call. After that ``terminate`` ends the process, if there is
        one, and the observer hears of that or that there is none.
        """

    def notify(self, info: str) -> None:
        """Write ``info`` to ``cancel_info.json`` in its working directory, then ask the command to end."""

    def terminate(self) -> None:
        """End it and everything that it has started."""

    def check(self) -> None:
        """Make sure that it is still kept; the observer hears if it is not."""


class Keeper(Protocol):
    """Keeps the processes of one Session, one at a time."""

    @property
    def is_lost(self) -> bool:
        """Whether the keeper has gone, so that a new one is needed."""

    def process(self, command: Command, observer: ProcessObserver) -> Process:
        """Make a process known, on its starter's thread; of the last one nothing is heard any more."""

    def release(self, scope: str) -> None:
        """End what the processes of a scope have left behind, first notified, later terminated; does not wait."""

    def leave(self, when_gone: Callable[[], None]) -> None:
        """End what is left, first notified, then terminated; tell when nothing is left."""


class Platform(Protocol):
    """All that the runtime needs to know of a system."""

    def open_keeper(self, user: Optional[str] = None) -> Keeper:
        """Make a keeper for a Session, of another user if one is named. Blocks; every wait for an answer is bounded.

        Raises:
            KeeperError: It could not be made.
        """

    def login_variables(self, user: str) -> Mapping[str, str]:
        """The variables that a login of another user sets. Blocks, bounded, at the first need of that user.

        Raises:
            KeeperError: Nothing can be run as this user.
        """

    def remove_contents(self, user: str, directory: str, limit: float) -> None:
        """Remove, as another user, what that user may remove in a directory. Blocks, for ``limit`` seconds at most.

        Raises:
            KeeperError: Nothing can be run as this user.
        """

    def forget(self) -> None:
        """In a forked child: close what belongs to the parent, and touch nothing else."""


class Timer(Protocol):
    """A call that is due at some moment."""

    def cancel(self) -> None:
        """Don't make it."""


class Watcher(Protocol):
    """What a system asks of the loop."""

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Make this call after some seconds; on the loop's thread."""

    def post(self, call: Callable[[], None]) -> None:
        """Have the loop make this call soon; from any thread, also from a signal handler."""

    def dare(
        self, call: Callable[[], Result], when_held_up: Callable[[], None], afterwards: Callable[[], None]
    ) -> Result:
        """Make a call that another process can have the kernel hold up; the last thing of what the loop calls.

        If that happens, another thread goes on as the loop's, with ``when_held_up`` first; this one makes the call
        ``afterwards``, whenever that may be, and ends.
        """

    def watch(self, descriptor: int, on_ready: Callable[[], None], *, is_writer: bool = False) -> None:
        """Call ``on_ready`` whenever the descriptor can be read, or with ``is_writer`` written too."""

    def unwatch(self, descriptor: int) -> None:
        """Forget a descriptor; one that is not watched is no error."""
