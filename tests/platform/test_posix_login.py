"""Becoming another user: rules USER-11, USER-14. Whoever stops what is started there holds nobody up."""

from __future__ import annotations

import os
import subprocess
import threading
import time
import weakref

import pytest

from openjd.sessions._errors import KeeperError
from openjd.sessions._platform import accounts, posix_login
from openjd.sessions._platform.posix_account import PosixAccount
from openjd.sessions._platform.posix_inheritance import inheriting_nothing
from support.stage import READY_AND_WAIT


def test_work_that_does_not_end_in_time() -> None:
    """It is undone as soon as it ends."""
    gate, undone = threading.Event(), threading.Event()
    with pytest.raises(TimeoutError):
        inheriting_nothing(gate.wait, time.monotonic(), lambda _: undone.set())
    gate.set()
    assert undone.wait(10)


def test_work_that_fails() -> None:
    """Whatever it raises is raised where it was asked for."""
    with pytest.raises(IndexError):
        inheriting_nothing([].pop, time.monotonic() + 10)


class Held:
    """Something that who asks for a login has."""


def test_a_failure_is_remembered_without_those_who_were_told() -> None:
    """DESIGN §6: an account is there as long as the program."""
    account = PosixAccount("nobody-of-this-name")

    def ask() -> weakref.ref[Held]:
        held = Held()
        try:
            account.login_variables()
        except KeeperError:
            return weakref.ref(held)
        raise AssertionError("There is such an account.")

    assert ask()() is None


def test_all_descendants_are_found() -> None:
    with subprocess.Popen(["sh", "-c", '"$@"; true', "sh", *READY_AND_WAIT], stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        shell.stdout.readline()
        (child,) = posix_login._descendants(shell.pid)
        assert set(posix_login._descendants(os.getpid())) >= {shell.pid, child}
        os.kill(child, 9)


def test_what_a_login_prints_cannot_drive_a_terminal() -> None:
    error = posix_login.why_no_greeting(accounts.user_name(), 3, b"\x1b]0;root\x07\n\xff", 12, 12.0)
    assert r'It said: "\x1b]0;root\x07 / ' in str(error)
    assert str(error).isprintable()
