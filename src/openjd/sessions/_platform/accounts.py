"""Which account this program runs as."""

from __future__ import annotations

import os
import sys

IS_POSIX = os.name == "posix"
IS_WINDOWS = sys.platform == "win32"


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
