"""What tests share: child programs for real processes, and ways to wait that are bounded and never sleep."""

from __future__ import annotations

import sys
from pathlib import Path

CHILDREN = Path(__file__).with_name("children.py")


def child(name: str, *arguments: str) -> list[str]:
    """The command line of a child program of ``children.py``."""
    return [sys.executable, "-I", "-S", str(CHILDREN), name, *arguments]
