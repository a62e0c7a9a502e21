"""While nobody asks for anything, the launcher keeps a keeper in reserve (DESIGN §4)."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from openjd.sessions._platform.posix_launcher import CALM
from openjd.sessions._platform.posix_link import LauncherLink, is_readable
from openjd.sessions._platform.posix_wire import Channel
from support.bench import parent_of
from support.stage import PATIENCE, is_alive, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


class Launcher:
    """A launcher with one keeper, and a spare one."""

    def __init__(self) -> None:
        self.link = LauncherLink.start(None, time.monotonic() + PATIENCE)
        self.keeper, self._socket = self.link.ask_for_keeper()
        self._pid = parent_of(self.keeper)
        wait_until(lambda: len(self.children()) == 2)
        [self.spare] = self.children() - {self.keeper}

    def children(self) -> set[int]:
        return set(map(int, Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split()))

    def close(self) -> None:
        os.close(self._socket)
        pidfd = self.link.close()
        if pidfd is not None:
            os.close(pidfd)


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    with closing(Launcher()) as made:
        yield made


def answers(descriptor: int) -> bool:
    """Whether a keeper is at the other end; closes ours."""
    with closing(Channel(socket.socket(fileno=descriptor))) as channel:
        channel.send(b"hello")
        return is_readable(channel.fileno(), time.monotonic() + PATIENCE) and channel.receive() == (
            True,
            [[b"heard", b""]],
        )


def test_the_next_keeper_is_there_already(launcher: Launcher) -> None:
    """It is the spare one; then there is another."""
    pid, descriptor = launcher.link.ask_for_keeper()
    assert pid == launcher.spare
    assert answers(descriptor)
    wait_until(lambda: len(launcher.children() - {launcher.keeper, launcher.spare}) == 1)


def test_a_spare_keeper_that_was_killed_is_given_to_nobody(launcher: Launcher) -> None:
    """DESIGN §4: the next Session has one all the same."""
    os.kill(launcher.spare, signal.SIGKILL)
    wait_until(lambda: not is_alive(launcher.spare))
    pid, descriptor = launcher.link.ask_for_keeper()
    assert pid != launcher.spare
    assert answers(descriptor)


def test_a_spare_keeper_that_was_stopped_goes_on(launcher: Launcher) -> None:
    """DESIGN §4: what somebody has done to it harms no later Session."""
    os.kill(launcher.spare, signal.SIGSTOP)
    pid, descriptor = launcher.link.ask_for_keeper()
    assert pid == launcher.spare
    assert answers(descriptor)


def test_a_spare_keeper_leaves_with_its_launcher() -> None:
    """DESIGN §6: when the program closes its end, and when the launcher is killed."""
    for way in ("closed", "killed"):
        with closing(Launcher()) as launcher:
            if way == "killed":
                os.kill(parent_of(launcher.spare), signal.SIGKILL)
                wait_until(lambda spare=launcher.spare: not is_alive(spare))  # type: ignore[misc]
        wait_until(lambda spare=launcher.spare: not is_alive(spare))  # type: ignore[misc]


def test_a_launcher_that_leaves_makes_no_spare_keeper() -> None:
    """DESIGN §6: each would wait for the end of the other; it has been left just when one was to be made."""
    link = LauncherLink.start(None, time.monotonic() + PATIENCE)
    keeper, descriptor = link.ask_for_keeper()
    launcher = parent_of(keeper)
    pidfd = link.close()
    assert not is_readable(descriptor, time.monotonic() + 10 * CALM)
    os.close(descriptor)
    wait_until(lambda: not is_alive(launcher))
    if pidfd is not None:
        os.close(pidfd)
