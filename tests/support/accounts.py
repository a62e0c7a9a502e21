"""The accounts that ``.ci/accounts`` makes. Tests that need them are skipped where they are not."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from openjd.sessions import PosixSessionUser
from openjd.sessions._platform import accounts

HOST = "ojd-host"
ALICE, BOB = "ojd-alice", "ojd-bob"
MARK = "made by .ci/accounts for tests"
"""The comment of these accounts. Others of their names are somebody's."""


def is_usable(name: str) -> bool:
    """Whether a test may run something as this account: as root, or as the account that is there for tests."""
    if not is_for_tests(name) or not (accounts.may_become_others() or accounts.user_name() == HOST):
        return False
    return all(is_open_to_all(Path(path).resolve()) for path in (sys.executable, __file__))


def is_for_tests(name: str) -> bool:
    """Whether an account is there, and was made for tests."""
    import pwd

    try:
        return pwd.getpwnam(name).pw_gecos == MARK
    except KeyError:
        return False


def is_open_to_all(file: Path) -> bool:
    """Whether every account may come to a file: the interpreter and the child programs of tests."""
    return all(folder.stat().st_mode & 0o001 for folder in file.parents)


def need_account(name: str) -> None:
    """Skip a test that needs it, where it is not."""
    if not is_usable(name):
        pytest.skip(f"needs the account {name} (.ci/accounts), to be run as root or {HOST}, and to be readable by it")


def user_of(name: str) -> PosixSessionUser:
    """The account, with the group that it shares with the host account alone."""
    return PosixSessionUser(name, group=f"{name}-files")


def let_others_pass(directory: Path) -> None:
    """Open the way to a directory of a test, which pytest makes for its own user only."""
    for folder in (directory, *directory.parents):
        if folder == Path(tempfile.gettempdir()) or folder.stat().st_uid != os.geteuid():
            break
        folder.chmod(folder.stat().st_mode | 0o711)


def account_uids() -> set[int]:
    """The numbers of the accounts that actions run as in tests."""
    import pwd

    names = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall() if entry.pw_gecos == MARK}
    return {uid for name, uid in names.items() if name != HOST}
