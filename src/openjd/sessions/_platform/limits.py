"""How long a command line may be."""

from __future__ import annotations

import os
import sys

_LINUX_MOST = 6 * 1024 * 1024
"""What Linux allows at most, however large the stack may get."""


def longest_argument() -> int:
    """Bytes that a single argument may have."""
    return 32 * os.sysconf("SC_PAGESIZE") - 1 if sys.platform == "linux" else longest_command_line()


def longest_command_line() -> int:
    """Bytes that all arguments and variables may have together, each with its end and its address."""
    longest = os.sysconf("SC_ARG_MAX")
    return min(longest, _LINUX_MOST) if sys.platform == "linux" else longest
