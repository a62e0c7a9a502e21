"""What happens to an action (events), and what is to be done about it (effects): frozen values.

``lifecycle.ActionMachine`` takes events and gives effects; the runtime reports the one and performs the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Optional, Union

from openjd.sessions._types import ActionStatus, ActionUsage


@dataclass(frozen=True)
class Started:
    """The process has started."""


@dataclass(frozen=True)
class StartFailed:
    """No process could be started; or, without another reason, none was to be started any more."""

    reason: str = "The action was canceled before its process was started."


@dataclass(frozen=True)
class NothingToRun:
    """The action turned out to be empty (rule LC-14)."""


@dataclass(frozen=True)
class Reported:
    """A progress, status or fail directive was read; exactly one field is set."""

    progress: Optional[float] = None
    status_message: Optional[str] = None
    fail_message: Optional[str] = None


@dataclass(frozen=True)
class CancelRequested:
    """Somebody wants the action to end: a client; with a reason, a broken directive, or at once, withheld output."""

    time_limit: Optional[float] = None
    mark_failed: bool = False
    reason: Optional[str] = None
    at_once: bool = False
    """Terminate without notifying, whatever the action's own method (rule LC-31)."""


@dataclass(frozen=True)
class LimitReached:
    """The action's time limit is over."""


@dataclass(frozen=True)
class GraceEnded:
    """The notify period is over."""


@dataclass(frozen=True)
class NotifyFailed:
    """The process could not be notified as it should (rule ACT-27)."""


@dataclass(frozen=True)
class Exited:
    """The command's own process has exited."""

    code: int
    usage: Optional[ActionUsage] = None


@dataclass(frozen=True)
class OutputEnded:
    """The output has been read to its end, or is not waited for any longer (rules ACT-17, DIR-8)."""


@dataclass(frozen=True)
class TreeEnded:
    """Nothing that the action started is left."""


@dataclass(frozen=True)
class KillLimitReached:
    """What was terminated will not die (rule ACT-33)."""


@dataclass(frozen=True)
class Lost:
    """Those who kept the process have gone; nothing more will be heard of it."""

    reason: str


ActionEvent = Union[
    Started, StartFailed, NothingToRun, Reported, CancelRequested, LimitReached, GraceEnded, NotifyFailed, Exited,
    OutputEnded, TreeEnded, KillLimitReached, Lost,
]  # fmt: skip


class Deadline(Enum):
    """The moments an action waits for."""

    LIMIT = "limit"
    GRACE = "grace"
    KILL = "kill"


@dataclass(frozen=True)
class Notify:
    """Tell the process to end, and until when it may (moment of the monotonic clock)."""

    until: float


@dataclass(frozen=True)
class Terminate:
    """End the whole tree now."""


@dataclass(frozen=True)
class Arm:
    """Come back at this moment; a later ``Arm`` of the same kind replaces it."""

    deadline: Deadline
    at: float


@dataclass(frozen=True)
class Drain:
    """Read the output to its end; if others hold it open, be patient (rule DIR-8) or take just what is there."""

    patient: bool


@dataclass(frozen=True)
class Publish:
    """The status has changed."""

    status: ActionStatus


@dataclass(frozen=True)
class Complete:
    """The action is over."""

    status: ActionStatus


ActionEffect = Union[Notify, Terminate, Arm, Drain, Publish, Complete]
