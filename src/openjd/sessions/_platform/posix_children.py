"""Starting, signalling and reaping children, as launcher and keepers do it. Stand-alone, as ``posix_wire`` is.

A process is signalled only while it, or a member of its group, is an unreaped child of this process: until then its
number can't have become a stranger's.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import select
import signal
import sys
import time
from collections.abc import Iterable
from typing import NamedTuple

BUSY_LIMIT = 0.1
"""Seconds in which a program file that is still being written may become ready (rule ACT-9)."""

MARK = b"OPENJD_SESSIONS_ACTION"
"""Name of the variable that tells which keeper's action a process belongs to."""

_PR_SET_CHILD_SUBREAPER = 36
_SHOWN_PATH = 4096
_SHOWN_COMMAND = 200


class NotFound(OSError):
    """No executable file of that name lies in the PATH searched."""


class Reaped(NamedTuple):
    """A child that has ended, and what it and the descendants it had waited for used."""

    pid: int
    code: int
    user_seconds: float
    system_seconds: float
    peak_memory_bytes: int


def spawn(argv: list[bytes], environment: dict[bytes, bytes], mark: bytes, output: int) -> int:
    """Start a marked program in a session of its own, with its output going to the pipe ``output``; gives its id."""
    environment[MARK] = mark
    program = _find_program(argv[0], environment.get(b"PATH", os.fsencode(os.defpath)))
    give_up = time.monotonic() + BUSY_LIMIT
    while True:
        try:
            return _spawn_file(program, argv, environment, output)
        except OSError as error:
            if error.errno == errno.ENOEXEC:  # a script without "#!", as execvp would run it
                return _spawn_file(b"/bin/sh", [b"/bin/sh", program, *argv[1:]], environment, output)
            if error.errno != errno.ETXTBSY or time.monotonic() >= give_up:
                raise
            select.select([], [], [], 0.005)


def _spawn_file(program: bytes, argv: list[bytes], environment: dict[bytes, bytes], output: int) -> int:
    streams = [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    return os.posix_spawn(
        program, argv, environment, file_actions=streams, setsid=True, setsigmask=(), setsigdef=_ignored_signals()
    )


@functools.cache
def _ignored_signals() -> list[int]:
    """The signals that a program started here would ignore, unless they are set to their defaults."""
    return [int(number) for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]


def _find_program(name: bytes, path: bytes) -> bytes:
    """The file that a command means: the first executable one of that name in PATH, unless it names a path."""
    if b"/" in name:
        return name
    end = b"/" + name
    for folder in path.split(b":"):
        candidate = (folder or b".") + end
        if os.access(candidate, os.X_OK) and os.path.isfile(candidate):
            return candidate
    raise NotFound(errno.ENOENT, os.fsdecode(path))


def why_not_started(name: bytes, directory: bytes, error: OSError) -> str:
    """Say why ``spawn`` failed, for a person (rule ACT-9)."""
    program = name.decode("utf-8", "backslashreplace")
    if isinstance(error, NotFound):
        path = error.strerror or ""
        shown = path if len(path) <= _SHOWN_PATH else f"{path[:_SHOWN_PATH]}..."
        return f"Program '{program}' was not found in the PATH searched: {shown}"
    if not os.path.isdir(directory):
        return f"Program '{program}' could not be started: the working directory has gone."
    if not os.access(directory, os.X_OK):
        return (
            f"Program '{program}' could not be started: its user may not enter the working directory. A Session's user "
            "must be a member of the group that its files are shared with, and be allowed to pass the root directory."
        )
    reason = os.strerror(error.errno or 0)
    if os.path.isdir(os.path.join(directory, name)):
        reason = os.strerror(errno.EISDIR)
    return f"Program '{program}' could not be started: {reason}"


def reap_all() -> tuple[list[Reaped], bool]:
    """Collect every child that has ended; gives whether there are others, too."""
    reaped: list[Reaped] = []
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return reaped, False
        if pid == 0:
            return reaped, True
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        reaped.append(Reaped(pid, code, usage.ru_utime, usage.ru_stime, peak))


def children() -> list[int]:
    """The processes whose parent this one is, adopted ones included; none where the system does not tell."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as listing:
            return [int(pid) for pid in listing.read().split()]
    except OSError:
        return []


def mark_of(pid: int) -> bytes:
    """The mark that a process was started with, or has inherited; empty if there is none, or it is not told."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as variables:
            _, found, rest = (b"\0" + variables.read()).partition(b"\0%s=" % MARK)
    except OSError:
        return b""
    return rest.partition(b"\0")[0] if found else b""


def command_of(pid: int) -> bytes:
    """The command line of a process, as far as it is worth showing; empty if it has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as line:
            return line.read(_SHOWN_COMMAND).replace(b"\0", b" ").strip()
    except OSError:
        return b""


def groups_of(processes: Iterable[int]) -> set[int]:
    """The process groups of own children, negative as ``kill`` wants it; a child in our own group stands for itself."""
    found = set()
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            group = os.getpgid(pid)
            found.add(pid if group == os.getpgrp() else -group)
    return found


def group_exists(group: int) -> bool:
    """Whether a process group has members; one of zombies only counts as gone on macOS."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def send_signal(target: int, number: int) -> bool:
    """Signal an own child, or a group (negative) that holds one; False if that is refused."""
    try:
        os.kill(target, number)
    except ProcessLookupError:
        return True
    except PermissionError:
        return sys.platform == "darwin"  # which refuses a group of zombies
    return True


def become_subreaper() -> bool:
    """Become the parent of every descendant that loses its own; False where the system can't do that (macOS)."""
    if not sys.platform.startswith("linux") or not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        return False
    import ctypes

    return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
