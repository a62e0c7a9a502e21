"""What an action costs that runs as another user, beside the same as our own user, and beside ``sudo``.

It is measured when the variable ``OPENJD_BENCH_USER`` names an account, and its group after a colon.
"""

from __future__ import annotations

import os
import subprocess
import time
from statistics import median

from bench.metric import Goal, Metric, Row, Values
from bench.sessions import Driven, listen, own_directory, script

USER, _, GROUP = os.environ.get("OPENJD_BENCH_USER", "").partition(":")
WARM_UP = 5


def in_one_session(quick: bool) -> Values:
    """Actions of both users in turns."""
    from openjd.sessions import PosixSessionUser

    listen()
    let_pass()
    true = script("true")
    begin = time.perf_counter()
    other = Driven(user=PosixSessionUser(USER, group=GROUP))
    other.run(true)
    first = time.perf_counter() - begin
    own = Driven()
    for _ in range(WARM_UP):
        own.run(true)
        other.run(true)
    pairs = [(own.run(true), other.run(true)) for _ in range(10 if quick else 60)]
    return {
        "first": first * 1000,
        "own": median(mine for mine, _ in pairs) * 1000,
        "latency": median(theirs for _, theirs in pairs) * 1000,
        "factor": median(theirs for _, theirs in pairs) / median(mine for mine, _ in pairs),
    }


def let_pass() -> None:
    """Let the other user come to the directories of Sessions."""
    for directory in (own_directory(), own_directory().parent):
        directory.chmod(0o711)


def sudo(quick: bool) -> Values:
    """``sudo`` for each action."""
    seconds = []
    for _ in range(WARM_UP + (10 if quick else 100)):
        begin = time.perf_counter()
        subprocess.run(["sudo", "-n", "-u", USER, "true"], stdin=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - begin)
    return {"latency": median(seconds[WARM_UP:]) * 1000}


OTHER_USER = Metric(
    "other-user",
    rows=(
        Row("latency", "`true` as another user (bare: `sudo -u USER true`)", "ms"),
        Row("own", "… the same as our own user, in turns", "ms"),
        Row("factor", "… as a factor of that", "", Goal(1.5)),
        Row("first", "… the first, with the Session", "ms"),
    ),
    library=in_one_session,
    bare=sudo,
)
METRICS = (OTHER_USER,) if USER else ()
