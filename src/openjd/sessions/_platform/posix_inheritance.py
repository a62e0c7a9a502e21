"""What a process inherits from the thread that starts it, and another user shall not: capabilities and keys (Linux)."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from typing import Callable, Optional, TypeVar

_CAPABILITY_VERSION = 0x20080522
_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "loongarch64": 219, "ppc64le": 271, "s390x": 280}
"""The number of that system call, for programs of 64 bits."""
_JOIN_SESSION_KEYRING = 1
_WITHOUT_KEYRINGS = (errno.ENOSYS, errno.EPERM)
"""The kernel has none; or a sandbox forbids them, to the processes that are started here as well."""

_Result = TypeVar("_Result")


def inheriting_nothing(
    work: Callable[[], _Result], deadline: float, undo: Optional[Callable[[_Result], None]] = None
) -> _Result:
    """Do something in a thread that hands nothing on: capabilities and session keyring are those of a thread.

    A child that is another user's already, but runs no program yet, can be stopped by that user, and so the thread.
    It is killed in the end, where this program has the right to.

    Raises:
        OSError: No thread can be had.
        TimeoutError: It is not done by the deadline; when it ever is, it is undone.
    """
    outcome: Future[_Result] = Future()

    def run() -> None:
        try:
            _let_no_capability_be_inherited()
            _leave_session_keyring()
            result = work()
        except BaseException as error:
            with suppress(InvalidStateError):
                outcome.set_exception(error)
            return
        try:
            outcome.set_result(result)
        except InvalidStateError:
            if undo is not None:
                undo(result)

    thread = threading.Thread(target=run, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error)) from error
    try:
        return outcome.result(max(0.0, deadline - time.monotonic()))
    except FutureTimeout:
        if outcome.cancel():
            _kill_children_of(thread)
            raise TimeoutError("not done in time") from None
        return outcome.result()  # at the last moment, or work has raised this itself
    except BaseException:  # Ctrl-C
        if not outcome.cancel() and undo is not None and outcome.exception() is None:
            undo(outcome.result())
        raise


def _kill_children_of(thread: threading.Thread) -> None:
    """Kill what a thread has started and not reaped, where the system tells (Linux)."""
    listing = f"/proc/self/task/{thread.native_id}/children"
    with suppress(OSError, AttributeError):
        for pid in _numbers_in(listing):
            descriptor = os.pidfd_open(pid)
            try:
                if pid in _numbers_in(listing):  # the number has not become a stranger's before it was opened
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            finally:
                os.close(descriptor)


def _numbers_in(path: str) -> list[int]:
    with open(path, encoding="ascii") as file:
        return list(map(int, file.read().split()))


def _let_no_capability_be_inherited() -> None:
    """Give up this thread's inheritable capabilities, and so the ambient ones, which would outlive a change of user."""
    with suppress(AttributeError, OSError):
        import ctypes

        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
        sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 of them
        system = ctypes.CDLL(None)
        if system.capget(header, sets) == 0:
            sets[2] = sets[5] = 0
            system.capset(header, sets)


def _leave_session_keyring() -> None:
    """Begin an empty session keyring: who has one can read what is in it, whoever that is.

    Raises:
        OSError: There are keyrings, and a new one can't be had.
    """
    keyctl = _KEYCTL.get(os.uname().machine)
    if keyctl is None or not sys.platform.startswith("linux") or sys.maxsize < 1 << 32:
        return
    import ctypes

    system = ctypes.CDLL(None, use_errno=True).syscall
    if system(ctypes.c_long(keyctl), ctypes.c_long(_JOIN_SESSION_KEYRING), None) < 0:
        number = ctypes.get_errno()
        if number not in _WITHOUT_KEYRINGS:
            raise OSError(number, f"A new session keyring can't be had: {os.strerror(number)}")
