"""Small programs that workloads run as actions: ``python -I -S children.py NAME ARGUMENT...``."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from typing import Callable, NoReturn

LIFETIME = 120
"""Seconds after which a program that waits to be ended gives up."""
LINE = "This is a line of output like those that renderers print...\n"
DIRECTIVE = "openjd_progress: 42.0\n"
SECRETS = tuple(f"secret-value-{number}-0123456789abcdef" for number in range(5))
MANY_SECRETS = tuple(f"s3cr3t/{number * 7919:06} & more of it" for number in range(200))


def command(name: str, *arguments: object) -> list[str]:
    """The command line of one of these programs."""
    return [sys.executable, "-I", "-S", __file__, name, *map(str, arguments)]


def wait_to_be_ended() -> NoReturn:
    signal.alarm(LIFETIME)
    while True:
        signal.pause()


def lines(kind: str, count: str) -> None:
    """Print a multiple of 1,000 lines; of a kind other than ``plain`` is every hundredth."""
    others = {
        "plain": [LINE],
        "directives": [DIRECTIVE],
        "secrets": [f"The password is {secret}.\n" for secret in SECRETS],
        "many-secrets": [f"The password is {secret}.\n" for secret in MANY_SECRETS],
    }[kind]
    hundreds = (LINE * 99 + others[number % len(others)] for number in range(10))
    block = "".join(hundreds).encode()
    for _ in range(int(count) // 1000):
        write_all(block)


def write_all(block: bytes) -> None:
    while block:
        block = block[os.write(1, block) :]


def declare_secrets(kind: str) -> None:
    """Tell the session what to hide, as an environment's action does."""
    for number, secret in enumerate({"secrets": SECRETS, "many-secrets": MANY_SECRETS}[kind]):
        print(f"openjd_redacted_env: SECRET_{number}={secret}")


def victim() -> None:
    """Print ``victim PID`` and wait to be ended."""
    print("victim", os.getpid(), flush=True)
    wait_to_be_ended()


def watch(*pids: str) -> None:
    """Print ``ready``, then ``PID MOMENT`` for each of these processes when it ends, by the monotonic clock."""
    poll = select.poll()
    watched = {os.pidfd_open(int(pid)): pid for pid in pids}
    for descriptor in watched:
        poll.register(descriptor, select.POLLIN)
    print("ready", flush=True)
    while watched:
        for descriptor, _ in poll.poll():
            moment = time.monotonic()
            poll.unregister(descriptor)
            print(watched.pop(descriptor), moment, flush=True)


def tree(kind: str, size: str) -> None:
    """Fork members that wait to be ended, print ``members PID...`` once all are there, and wait too.

    The kind: ``group`` (all in the group of the command), ``setsid`` (the first in a session of its own), ``double``
    (the first in a session of its own, without a living parent or the output), ``sessions`` (each in its own session).
    """
    reading, writing = os.pipe()
    for number in range(int(size)):
        if os.fork() == 0:
            member(kind, number, writing)
    pids = b""
    while len(pids) < 8 * int(size):
        pids += os.read(reading, 4096)
    print("members", *(int(pids[at : at + 8]) for at in range(0, len(pids), 8)), flush=True)
    wait_to_be_ended()


def member(kind: str, number: int, writing: int) -> NoReturn:
    leaves = kind == "sessions" or (kind != "group" and number == 0)
    if leaves:
        os.setsid()
    if leaves and kind == "double":
        if os.fork() != 0:
            os._exit(0)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
    os.write(writing, b"%8d" % os.getpid())
    wait_to_be_ended()


def burn() -> None:
    """Keep a processor busy."""
    signal.alarm(LIFETIME * 5)
    while True:
        pass


PROGRAMS: dict[str, Callable[..., None]] = {
    "burn": burn,
    "declare-secrets": declare_secrets,
    "lines": lines,
    "tree": tree,
    "victim": victim,
    "watch": watch,
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
