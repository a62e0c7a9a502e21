"""What the system tells of this program's threads."""

from __future__ import annotations

from typing import Optional


def deep_sleep(thread: int) -> Optional[bytes]:
    """Tell one uninterruptible sleep of a thread from all others; None if it is in none, or the system does not tell.

    It is the same one as long as the thread has not had a processor in between. Who waits for a processor, for the
    interpreter or for input, or is stopped, is in none. (Linux)

    Args:
        thread: Its native id.
    """
    try:
        with open(f"/proc/self/task/{thread}/status", "rb", buffering=0) as status:
            lines = status.read().splitlines()
    except (OSError, MemoryError):
        return None
    if not any(line.startswith(b"State:\tD") for line in lines):
        return None
    return b" ".join(line for line in lines if b"ctxt_switches:" in line)
