"""Small programs that tests run as actions: ``python -I -S children.py NAME ARGUMENT...``.

A program that goes on running prints ``ready`` once it can be acted upon, and says what happens to it. None outlives
its test by more than a minute: whoever waits, waits for ``LIFETIME`` seconds at most and then exits with 99.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Callable, NoReturn

LIFETIME = 60
TOO_LONG = 99


def say(*words: object) -> None:
    """Print a line by one system call, which a signal's handler may do in the midst of anything."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode("utf-8", "surrogateescape"))


def wait_to_be_ended() -> NoReturn:
    """Wait for a signal that ends this process."""
    signal.signal(signal.SIGALRM, lambda *_: os._exit(TOO_LONG))
    signal.alarm(LIFETIME)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    while True:
        os.read(reading, 1)  # unlike signal.pause(), it sees a signal that has come just before


def on_sigterm(act: Callable[[], None]) -> None:
    signal.signal(signal.SIGTERM, lambda *_: act())


# What they print and how they end


def exit_with(code: str) -> None:
    """Exit with a code."""
    sys.exit(int(code))


def die(signal_name: str) -> None:
    """End by a signal, ``SIGKILL`` for example."""
    os.kill(os.getpid(), getattr(signal, signal_name))
    wait_to_be_ended()


def lines(count: str, text: str = "line") -> None:
    """Print ``line 1`` to ``line COUNT``."""
    sys.stdout.writelines(f"{text} {number}\n" for number in range(1, int(count) + 1))


def declare_secrets(count: str) -> None:
    """Declare many secrets, each with characters that are quoted everywhere."""
    sys.stdout.writelines(f"openjd_redacted_env: A=s3/ {number * 7919}\n" for number in range(int(count)))


def raw(*pieces: str) -> None:
    r"""Print bytes given with escapes (``a\r\n\xff``), each piece by a write of its own."""
    for piece in pieces:
        os.write(1, piece.encode("latin-1").decode("unicode_escape").encode("latin-1"))


def text(*texts: str) -> None:
    """Print each argument as a line in UTF-8, and nothing else."""
    for line in texts:
        os.write(1, line.encode("utf-8", "surrogateescape") + b"\n")


def both_streams(count: str) -> None:
    """Write to standard output and standard error in turn, unbuffered."""
    for number in range(1, int(count) + 1):
        os.write(1, b"out %d\n" % number)
        os.write(2, b"err %d\n" % number)


def text_then_exit(code: str, *texts: str) -> None:
    """Print each argument as a line, then exit with a code."""
    text(*texts)
    sys.exit(int(code))


def text_then_wait(*texts: str) -> None:
    """Print each argument as a line, then ``ready``, and wait to be ended."""
    text(*texts)
    wait()


# What they find around them


def arguments(*words: str) -> None:
    """Print the arguments as a JSON list."""
    say(json.dumps(words))


def variables(*names: str) -> None:
    """Print ``NAME=VALUE`` or ``NAME is not set`` for each name; all variables if none is named."""
    for name in names or sorted(os.environ):
        say(f"{name}={os.environ[name]}" if name in os.environ else f"{name} is not set")


def surroundings() -> None:
    """Print one JSON object about this process: identity, descriptors, signals, directory, standard input."""
    status = Path("/proc/self/status")
    signals = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if line.startswith("Sig"))
    found = {
        "pid": os.getpid(),
        "leads_session": os.getsid(0) == os.getpid(),
        "leads_group": os.getpgid(0) == os.getpid(),
        "descriptors": sorted(number for number in map(int, os.listdir("/proc/self/fd")) if is_open(number)),
        "blocked_signals": int(signals["SigBlk"], 16),
        "ignored_signals": int(signals["SigIgn"], 16),
        "directory": str(Path.cwd()),
        "standard_input": sys.stdin.read(),
        "umask": os.umask(0o077),
    }
    say(json.dumps(found))


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


# What they do when they are notified


def wait() -> None:
    """Say ``ready`` and wait; SIGTERM ends it by its default action."""
    say("ready")
    wait_to_be_ended()


def polite(code: str = "0") -> None:
    """Exit with a code on SIGTERM, after printing what ``cancel_info.json`` says."""

    def leave() -> None:
        say("notified", Path("cancel_info.json").read_text())
        os._exit(int(code))

    on_sigterm(leave)
    wait()


def stubborn() -> None:
    """Say ``notified`` on each SIGTERM, and go on."""
    on_sigterm(lambda: say("notified"))
    wait()


def deaf() -> None:
    """Ignore SIGTERM, SIGINT and SIGHUP."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    wait()


def wait_for_file(path: str, *then: str) -> None:
    """Say ``ready``; once the file exists, print the other arguments as lines and exit."""
    say("ready")
    pause = threading.Event()
    for _ in range(LIFETIME * 100):
        if Path(path).exists():
            text(*then)
            return
        pause.wait(0.01)
    sys.exit(TOO_LONG)


# What they do to others


def stop_newcomers(host: str) -> None:
    """Say ``ready``; stop a new process as soon as it is this user's, while it is a copy of the host yet.

    Then say ``stopped PID`` and leave it so. One that runs another program already goes on.
    """
    program = Path(f"/proc/{host}/cmdline").read_bytes()
    load = os.open("/proc/loadavg", os.O_RDONLY)  # it ends with the newest process
    say("ready")
    end = time.monotonic() + LIFETIME
    while time.monotonic() < end:
        newcomer = int(os.pread(load, 100, 0).split()[-1]) + 1
        try:
            if has_been_stopped(newcomer):
                while Path(f"/proc/{newcomer}/stat").read_text().rpartition(")")[2].split()[0] != "T":
                    pass
                if Path(f"/proc/{newcomer}/cmdline").read_bytes() == program:
                    say("stopped", newcomer)
                    return
                os.kill(newcomer, signal.SIGCONT)
        except OSError:  # it has ended meanwhile
            continue
    sys.exit(TOO_LONG)


def has_been_stopped(newcomer: int) -> bool:
    """Wait a moment for a process, then for it to be this user's."""
    for _ in range(2000):
        try:
            os.kill(newcomer, signal.SIGSTOP)
        except ProcessLookupError:
            continue
        except PermissionError:  # another user's, for now
            continue
        return True
    return False


# Whom they leave behind


def fork_and(*, new_session: bool = False, twice: bool = False, keep_output: bool = True) -> int:
    """Fork a descendant that waits to be ended; its process id."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(reading)
        if new_session:
            os.setsid()
        if twice and os.fork() != 0:
            os._exit(0)
        if not keep_output:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 1)
            os.dup2(null, 2)
        os.write(writing, b"%d" % os.getpid())
        os.close(writing)
        wait_to_be_ended()
    os.close(writing)
    pid = int(os.read(reading, 32))
    os.close(reading)
    if twice:
        os.wait()
    return pid


def forks(kind: str, then: str = "wait") -> None:
    """Fork a descendant, print ``descendant PID``, then ``wait`` (saying ``ready``) or ``leave``.

    The kind: ``plain``, ``session`` (a session of its own), ``double`` (forked twice, so an orphan), ``daemon`` (both);
    with ``-quiet`` appended it does not hold the output open.
    """
    kind, _, quiet = kind.partition("-")
    pid = fork_and(
        new_session=kind in ("session", "daemon"), twice=kind in ("double", "daemon"), keep_output=quiet != "quiet"
    )
    say("descendant", pid)
    if then == "wait":
        wait()


def family(size: str) -> None:
    """Fork many descendants of every kind, print ``descendant PID`` for each, and wait."""
    for number in range(int(size)):
        say("descendant", fork_and(new_session=number % 2 == 1, twice=number % 4 >= 2))
    wait()


def tell_when_notified(kind: str = "plain") -> None:
    """Leave at once on SIGTERM, while a child says ``child notified`` on its own SIGTERM and exits."""
    told, tell = os.pipe()
    if os.fork() == 0:
        if kind == "session":
            os.setsid()

        def leave() -> None:
            say("child notified")
            os._exit(0)

        on_sigterm(leave)
        os.write(tell, b".")
        wait_to_be_ended()
    os.read(told, 1)
    wait()


def jungle(seed: str, size: str, then: str = "wait") -> None:
    """Grow a tree of many members of all habits, say ``ready`` once all are there, and ``wait`` or ``leave``."""
    dice = random.Random(int(seed))
    reading, writing = os.pipe()
    left = int(size)
    while left > 0:
        branch = min(left, dice.randint(1, 40))
        left -= branch
        if os.fork() == 0:
            grow(random.Random(f"{seed} {left}"), branch, writing, keeps_output=then == "wait")
    arrived = 0
    while arrived < int(size):
        arrived += len(os.read(reading, 4096))
    say("ready")
    if then == "wait":
        on_sigterm(lambda: None)
        wait_to_be_ended()


def grow(dice: random.Random, size: int, writing: int, keeps_output: bool) -> NoReturn:
    """Be one member of a branch, and have the others as descendants."""
    if dice.random() < 0.3:
        os.setsid()
    if dice.random() < 0.2 and os.fork() != 0:
        os._exit(0)  # forked twice: an orphan
    if dice.random() < 0.5 or not keeps_output:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
    if dice.random() < 0.3:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    if dice.random() < 0.2 and os.path.exists("/proc/self/comm"):
        Path("/proc/self/comm").write_text("sshd")
    others = size - 1
    while others > 0:
        branch = dice.randint(1, others)
        others -= branch
        if os.fork() == 0:
            grow(random.Random(f"{dice.random()} {branch}"), branch, writing, keeps_output)
    os.write(writing, b".")
    habit = dice.random()
    if habit < 0.01:
        hop()
    if habit < 0.1:
        os.kill(os.getpid(), signal.SIGSTOP)
    if habit < 0.2:
        os.execve("/bin/sleep", ["sleep", str(LIFETIME)], {})
    wait_to_be_ended()


def hop() -> NoReturn:
    """Go on in one new process after the other, faster than a list of processes is read."""
    end = time.monotonic() + LIFETIME
    while time.monotonic() < end:
        if os.fork() != 0:
            os._exit(0)
    os._exit(TOO_LONG)


PROGRAMS: dict[str, Callable[..., None]] = {
    "arguments": arguments,
    "both-streams": both_streams,
    "deaf": deaf,
    "declare-secrets": declare_secrets,
    "die": die,
    "exit": exit_with,
    "family": family,
    "forks": forks,
    "jungle": jungle,
    "lines": lines,
    "polite": polite,
    "raw": raw,
    "stop-newcomers": stop_newcomers,
    "stubborn": stubborn,
    "surroundings": surroundings,
    "tell-when-notified": tell_when_notified,
    "text": text,
    "text-then-exit": text_then_exit,
    "text-then-wait": text_then_wait,
    "variables": variables,
    "wait": wait,
    "wait-for-file": wait_for_file,
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
