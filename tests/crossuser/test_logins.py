"""Logins that lead nowhere, or not straight on: rules USER-8, USER-11, USER-13, USER-14; DESIGN §6."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from openjd.sessions import KeeperError, Session
from openjd.sessions._platform import accounts, posix_account, posix_login
from openjd.sessions._platform.posix_account import PosixAccount
from openjd.sessions._platform.posix_login import LoginError
from support import child
from support.accounts import ALICE, HOST, need_account, user_of
from support.stage import OpenStage, Stage, is_alive, wait_until

LIMIT = 15.0
SHORT = 6.0
"""Seconds for a login that need not be tried in the real time."""
ME = accounts.user_name()
needs_sudo = pytest.mark.skipif(ME != HOST, reason=f"needs sudo: to be run as {HOST}")


@pytest.mark.parametrize("name", ["ojd-noisy", "ojd-fish", "ojd-csh", pytest.param("ojd-logged", marks=needs_sudo)])
def test_login_that_is_unusual(root: Path, name: str) -> None:
    """DESIGN §6: a script that prints; a shell that is none of POSIX; sudo that records standard input."""
    need_account(name)
    stage = Stage(root, user=user_of(name))
    stage.run("id", "-un")
    assert stage.journal.output == [name]
    stage.close()
    forget(name)


def forget(name: str) -> None:
    """Let go of a launcher, so that nothing is left over."""
    from openjd.sessions._runtime.loop import default_loop

    platform = default_loop().platform
    platform._account(name).forget()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "ojd-nologin",
            "The account 'ojd-nologin' can't log in: its shell is /usr/sbin/nologin. It said: "
            '"This account is currently not available.". Give it a shell, for example: usermod --shell /bin/sh '
            "ojd-nologin",
        ),
        (
            "ojd-reader",
            "Probably it waits for something, or reads from standard input, and nobody answers. It said: "
            '"Your name?". Look at the start files of its shell.',
        ),
        ("ojd-stuck", "A login as 'ojd-stuck' has not come to its end within 1"),
        (
            "ojd-forever",
            "A login as 'ojd-forever' prints without end. It said: \"again / again",
        ),
        ("ojd-quits", '/usr/bin/python3 (the login exited with 3. It said: "Go away")'),
        pytest.param(
            "ojd-denied",
            "sudo does not let 'ojd-host' run programs as 'ojd-denied'. It said: "
            '"sudo: a password is required". The sudoers file needs the line: '
            "ojd-host ALL=(ojd-denied) NOPASSWD: ALL",
            marks=needs_sudo,
        ),
        pytest.param(
            "ojd-recorded",
            "Switch that off for the one rule, whose line in the sudoers file is then: "
            "ojd-host ALL=(ojd-recorded) NOPASSWD: NOLOG_INPUT: NOLOG_OUTPUT: ALL",
            marks=needs_sudo,
        ),
    ],
)
def test_login_that_leads_nowhere(root: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str) -> None:
    """USER-8, DESIGN §6: the constructor says the likely cause, soon; no directory and no process is left."""
    need_account(name)
    if name != "ojd-stuck":  # once in the real time
        monkeypatch.setattr(posix_account, "LOGIN_LIMIT", SHORT)
    began = time.monotonic()
    with pytest.raises(KeeperError) as caught:
        Session(session_id="s", job_parameter_values={}, session_root_directory=root, user=user_of(name))
    assert reason in str(caught.value)
    assert time.monotonic() - began < LIMIT
    assert not list(root.iterdir())


def test_many_at_once_wait_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """DESIGN §6: one login for all who ask meanwhile; if it leads nowhere, each is told so, in time."""
    need_account("ojd-stuck")
    monkeypatch.setattr(posix_account, "LOGIN_LIMIT", SHORT)
    account = PosixAccount("ojd-stuck")
    began = time.monotonic()
    with ThreadPoolExecutor(3) as pool:
        tries = [pool.submit(account.login_variables) for _ in range(3)]
        errors = {str(done.exception()) for done in tries}
    assert time.monotonic() - began < 2 * SHORT
    (error,) = errors
    assert error.startswith("A login as 'ojd-stuck' has not come to its end within ")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who becomes the user directly")
def test_child_is_stopped_before_it_runs_the_shell(open_stage: OpenStage) -> None:
    """USER-11, USER-14: the user stops it as soon as it is its own. The error comes in time, and nothing is left."""
    need_account(ALICE)
    attacker = open_stage(ALICE, session_id="attacker")
    attacker.start(*child("stop-newcomers", str(os.getpid())))
    attacker.wait_for_line("ready")
    seconds, error = first_failure(ALICE, attacker)
    assert seconds < LIMIT
    assert str(error) == (
        "A process that should become the user 'ojd-alice' has not got as far as the login shell in time. "
        "Perhaps this user has stopped it: have a look at its processes."
    )
    attacker.wait()
    stopped = int(attacker.journal.output[-1].removeprefix("stopped "))
    wait_until(lambda: not is_alive(stopped))


def first_failure(name: str, attacker: Stage) -> tuple[float, LoginError]:
    """Log in again and again; how long the first failure takes, and what it says."""
    while attacker.state == "RUNNING":
        began = time.monotonic()
        account = PosixAccount(name)
        try:
            account.login_variables()
        except LoginError as error:
            return time.monotonic() - began, error
        account.forget()
    pytest.skip("the moment between becoming the user and running the shell was not hit")


def test_interpreters_that_the_user_cannot_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, root: Path) -> None:
    """USER-8: those tried are named, with what the login said of each."""
    need_account("ojd-noisy")
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    monkeypatch.setattr("openjd.sessions._platform.posix_link.interpreters", lambda: [f"{hidden}/python", "/no/python"])
    with pytest.raises(KeeperError) as caught:
        Session(session_id="s", job_parameter_values={}, session_root_directory=root, user=user_of("ojd-noisy"))
    text = str(caught.value)
    assert text.startswith(
        "No login as the user 'ojd-noisy' led to a Python interpreter. Set OPENJD_SESSIONS_PYTHON to the path of one "
        f"of version 3.9 or newer that this user can run. Tried: {hidden}/python (the login exited with 12"
    )
    assert "/no/python (the login exited with 127." in text


def test_sudo_is_not_looked_for_in_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """USER-11."""
    (tmp_path / "id").write_text("#!/bin/sh\n")
    (tmp_path / "id").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert posix_login.find_program("id") == "/usr/bin/id"
    with pytest.raises(KeeperError) as caught:
        posix_login.find_program("no-such-program")
    assert str(caught.value) == (
        "The program 'no-such-program' is needed, and is in none of /run/wrappers/bin, /run/current-system/sw/bin, "
        "/usr/bin, /bin, /usr/sbin, /sbin. Install it."
    )


@pytest.mark.parametrize(
    "text", ["a b", "$HOME", "'x'", '"', "a;b|c&d", "~", "*", "!1", "a\\b", "%1", "{a,b}", "#", "é"]
)
@pytest.mark.parametrize("name", ["ojd-alice", "ojd-fish", "ojd-csh"])
def test_no_shell_sees_anything_in_what_is_quoted(text: str, name: str) -> None:
    """USER-10: neither bash nor fish nor csh."""
    import subprocess

    account = accounts.find(name)
    if account is None:
        pytest.skip(f"needs the account {name}")
    command = posix_login.quoted(["printf", "%s", text])
    done = subprocess.run([account.shell, "-c", command], capture_output=True, text=True, env={"LC_ALL": "C.UTF-8"})
    assert done.stdout == text
