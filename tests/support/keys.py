"""Keys that the kernel keeps (Linux). As a program it says whether it can get at a key: ``python keys.py NUMBER``."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_ADD_KEY, _KEYCTL = {"x86_64": (248, 250), "aarch64": (217, 219)}.get(os.uname().machine, (-1, -1))
_JOIN_SESSION_KEYRING, _SEARCH, _READ = 1, 10, 11
_SESSION_KEYRING = -3
_DESCRIPTION = b"ojd-test"


def _call(*arguments: object) -> int:
    result: int = ctypes.CDLL(None, use_errno=True).syscall(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def add_to_new_session_keyring(secret: bytes) -> int:
    """Begin a session keyring, and put a key into it; gives its number."""
    _call(_KEYCTL, _JOIN_SESSION_KEYRING, None)
    return _call(_ADD_KEY, b"user", _DESCRIPTION, secret, len(secret), _SESSION_KEYRING)


def read(key: int) -> bytes:
    text = ctypes.create_string_buffer(100)
    length = _call(_KEYCTL, _READ, key, text, len(text))
    return text.raw[:length]


def is_found() -> bool:
    """Whether it is in the session keyring of this process."""
    try:
        _call(_KEYCTL, _SEARCH, _SESSION_KEYRING, b"user", _DESCRIPTION, 0)
    except OSError:
        return False
    return True


def is_readable(key: int) -> bool:
    try:
        read(key)
    except OSError:
        return False
    return True


def is_listed() -> bool:
    """Whether it is among those that this process may see."""
    return _DESCRIPTION in Path("/proc/keys").read_bytes()


if __name__ == "__main__":
    found = {"found": is_found(), "readable": is_readable(int(sys.argv[1])), "listed": is_listed()}
    print(", ".join(word if so else f"not {word}" for word, so in found.items()))
