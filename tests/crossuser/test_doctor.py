"""``openjd-sessions doctor``: every precondition of USER-6 and USER-8, and exactly what to do."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Optional

import pytest

from openjd.sessions._platform import accounts
from openjd.sessions.cli import main
from support.accounts import ALICE, BOB, HOST, need_account

ME = accounts.user_name()
WAY = "directly" if accounts.may_become_others() else "through sudo"
FOUND = f"ok    The account '{ALICE}' exists; its shell is /usr/bin/bash."
LOGIN = f"ok    A login as '{ALICE}', {WAY}, leads to a Python interpreter."


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch, root: Path) -> Path:
    """Where the default root is made."""
    monkeypatch.setattr("tempfile.tempdir", str(root))
    return root


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    """The exit status and the lines of the answer."""
    status = main(["doctor", *arguments])
    output, complaints = capsys.readouterr()
    assert complaints == ""
    return status, output.splitlines()


def test_all_is_well(capsys: pytest.CaptureFixture[str], root: Path) -> None:
    need_account(ALICE)
    group = f"{ALICE}-files"
    status, lines = ask(capsys, "--user", ALICE, "--group", group)
    others = [line for line in lines if line.startswith("ok    Others")]
    assert [line for line in lines if line not in others] == [
        FOUND,
        f"ok    This program may share its files with the group '{group}'.",
        f"ok    '{ALICE}' is in the group '{group}'.",
        LOGIN,
        f"ok    A Session in {root}/OpenJD ran an action, and left nothing behind.",
        f"Ready: Sessions can run as '{ALICE}' with the group '{group}'.",
    ]
    assert others == ([] if ME == HOST else [others[0]])
    assert status == 0
    assert os.listdir(root / "OpenJD") == []


def test_user_is_not_in_the_group(capsys: pytest.CaptureFixture[str]) -> None:
    need_account(ALICE)
    group = f"{BOB}-files"
    status, lines = ask(capsys, "--user", ALICE, "--group", group)
    at = lines.index(f"FAIL  '{ALICE}' is not in the group '{group}'.")
    assert lines[at + 1] == f"      To do: usermod --append --groups {group} {ALICE}    (then start the program anew)"
    assert re.fullmatch(rf"ok    Others in the group '{group}' .* must be trusted: {BOB}.*\.", lines[at + 2])
    assert lines[-1] == f"Not ready: Sessions cannot run as '{ALICE}' with the group '{group}'."
    assert status == 1


def test_program_is_not_in_the_group(capsys: pytest.CaptureFixture[str]) -> None:
    """It is root who needs not be."""
    need_account(ALICE)
    if os.geteuid() == 0:
        pytest.skip("root may share files with every group")
    status, lines = ask(capsys, "--user", ALICE, "--group", ALICE)
    at = lines.index(f"FAIL  This program, of '{ME}', is not in the group '{ALICE}'.")
    todo = f"      To do: usermod --append --groups {ALICE} {ME}    (then start the program anew, from a new login)"
    assert lines[at + 1] == todo
    assert status == 1


def test_sudo_has_no_rule(capsys: pytest.CaptureFixture[str]) -> None:
    """The one line that is needed."""
    need_account("ojd-denied")
    if ME != HOST:
        pytest.skip("needs sudo")
    status, lines = ask(capsys, "--user", "ojd-denied", "--group", "ojd-denied-files")
    said = 'It said: "sudo: a password is required".'
    at = lines.index(f"FAIL  sudo does not let '{HOST}' run programs as 'ojd-denied'. {said}")
    assert lines[at + 1] == f"      To do: The sudoers file needs the line: {HOST} ALL=(ojd-denied) NOPASSWD: ALL"
    assert status == 1


def test_there_is_no_such_account(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(capsys, "--user", "nobody-of-this-name", "--group", "g") == (
        1,
        [
            "FAIL  There is no account 'nobody-of-this-name'.",
            "      To do: useradd --create-home --shell /bin/sh nobody-of-this-name",
            "Not ready: Sessions cannot run as 'nobody-of-this-name' with the group 'g'.",
        ],
    )


def test_commands_can_be_typed(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the names are."""
    lines = ask(capsys, "--user", "it's;id", "--group", "g")[1]
    assert lines[1] == """      To do: useradd --create-home --shell /bin/sh 'it'"'"'s;id'"""
    if os.geteuid() != 0:
        lines = ask(capsys, "--user", ME, "--group", "$(id)")[1]
        assert lines[2] == "      To do: groupadd '$(id)'"


def test_there_is_no_such_group(capsys: pytest.CaptureFixture[str]) -> None:
    """Our own user needs no login."""
    if os.geteuid() == 0:
        pytest.skip("root is refused")
    status, lines = ask(capsys, "--user", ME, "--group", "no-such-group")
    assert lines[1:] == [
        "FAIL  There is no group 'no-such-group'.",
        "      To do: groupadd no-such-group",
        f"Not ready: Sessions cannot run as '{ME}' with the group 'no-such-group'.",
    ]
    assert status == 1


@pytest.mark.parametrize("group", ["root", None])
def test_group_that_nobody_should_join(capsys: pytest.CaptureFixture[str], group: Optional[str]) -> None:
    """The system's, or the program's own: advice is to make another one."""
    need_account(ALICE)
    group = group or accounts.group_name()
    status, lines = ask(capsys, "--user", ALICE, "--group", group)
    at = lines.index(f"FAIL  '{ALICE}' is not in the group '{group}'.")
    assert lines[at + 1] == (
        f"      To do: '{group}' is no group to share. Make one, and name it: groupadd {ALICE}-files; "
        f"usermod --append --groups {ALICE}-files {ALICE}; usermod --append --groups {ALICE}-files {ME}"
        "    (then start the program anew)"
    )
    assert status == 1


def test_root_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(capsys, "--user", "root", "--group", "root") == (
        1,
        [
            "FAIL  'root' may do everything on this host.",
            "      To do: Choose another user.",
            "Not ready: Sessions cannot run as 'root' with the group 'root'.",
        ],
    )


def test_own_user(capsys: pytest.CaptureFixture[str], root: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root is refused")
    status, lines = ask(capsys, "--user", ME)
    assert lines[-2] == f"ok    A Session in {root}/OpenJD ran an action, and left nothing behind."
    assert not any("login as" in line for line in lines)
    assert status == 0
