"""All knowledge of operating systems, behind one protocol."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openjd.sessions._platform.protocol import Platform, Watcher


def check_platform() -> None:
    """Raise ``NotImplementedError`` where Sessions can't run yet."""
    if sys.platform == "win32":
        raise NotImplementedError(
            "openjd.sessions can't run Sessions on Windows yet: its Windows backend is not there."
        )


def make_platform(watcher: Watcher) -> Platform:
    """The platform of this system."""
    check_platform()
    from openjd.sessions._platform.posix import PosixPlatform

    return PosixPlatform(watcher)
