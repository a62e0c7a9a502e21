"""Which account this program runs as, what others there are, and whether it may become them."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple, Optional

IS_POSIX = os.name == "posix"
IS_WINDOWS = sys.platform == "win32"
_SET_GROUPS_AND_USER = 1 << 6 | 1 << 7
"""CAP_SETGID and CAP_SETUID."""
_FIRST_COMMON_GROUP = 1000
"""The least number of a group that is not the system's."""


class Account(NamedTuple):
    """What a POSIX system knows of an account."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


def user_name() -> str:
    """The name of the effective user; its number if it has no name."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def group_name() -> str:
    """The name of the effective group; its number if it has no name."""
    import grp

    try:
        return grp.getgrgid(os.getegid()).gr_name
    except KeyError:
        return str(os.getegid())


def find(user: str) -> Optional[Account]:
    """An account by its name."""
    import pwd

    try:
        entry = pwd.getpwnam(user)
    except (KeyError, ValueError):
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell or "/bin/sh")


def groups_of(account: Account) -> list[str]:
    """The names of the groups that an account gets when it logs in."""
    import grp

    names = []
    for number in os.getgrouplist(account.name, account.gid):
        try:
            names.append(grp.getgrgid(number).gr_name)
        except KeyError:
            names.append(str(number))
    return names


def has_joined(group: str) -> Optional[bool]:
    """Whether this program is in a group; None if there is no such group."""
    import grp

    try:
        number = grp.getgrnam(group).gr_gid
    except KeyError:
        return None
    return number == os.getegid() or number in os.getgroups()


def is_reserved(group: str) -> bool:
    """Whether a group is the system's, or the primary one of this program: who joins it gets at more than shared files.

    Raises:
        KeyError: There is no such group.
    """
    import grp

    number = grp.getgrnam(group).gr_gid
    return number < _FIRST_COMMON_GROUP or number == os.getegid()


def members_of(group: str) -> set[str]:
    """The names of all accounts in a group, as far as the system lists them."""
    import grp
    import pwd

    entry = grp.getgrnam(group)
    return {*entry.gr_mem, *(account.pw_name for account in pwd.getpwall() if account.pw_gid == entry.gr_gid)}


def owner_of(path: str) -> int:
    """The number of the user whom a file belongs to."""
    return os.lstat(path).st_uid


def is_root() -> bool:
    """Whether this program may give its files to any group."""
    return os.geteuid() == 0


def may_become_others() -> bool:
    """Whether this program may take on another user's identity: as root, or by its capabilities (Linux)."""
    try:
        with open("/proc/thread-self/status", encoding="ascii") as status:
            effective = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    except (OSError, StopIteration):
        return os.geteuid() == 0
    return effective & _SET_GROUPS_AND_USER == _SET_GROUPS_AND_USER
