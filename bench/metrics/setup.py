"""What it costs to make a Session and to clean it up again, without any action or with one."""

from __future__ import annotations

import os
import tempfile
import time
from typing import Callable

from bench import bare
from bench.metric import PUBLISHED, Goal, Metric, Row, Values
from bench.sessions import Driven, listen, own_directory, pause, script
from bench.timing import repeated

APART = 0.1
"""Seconds from one Session to the next, so that each finds everybody at rest."""


def sessions(quick: bool) -> Values:
    listen()

    def make_and_clean_up() -> float:
        begin = time.perf_counter()
        Driven().close()
        return time.perf_counter() - begin

    return repeated(make_and_clean_up, 20 if quick else 500)


def with_one_action(quick: bool) -> Values:
    listen()
    true = script("true")

    def make_run_and_clean_up() -> float:
        pause(APART)
        begin = time.perf_counter()
        driven = Driven()
        driven.run(true)
        driven.close()
        return time.perf_counter() - begin

    return repeated(make_run_and_clean_up, 5 if quick else 50)


def bare_directories(quick: bool) -> Values:
    def make_and_remove() -> float:
        begin = time.perf_counter()
        in_directories(lambda: None)
        return time.perf_counter() - begin

    return repeated(make_and_remove, 20 if quick else 500)


def bare_with_one(quick: bool) -> Values:
    command, variables = bare.resolve(["true"]), bare.variables()

    def make_run_and_remove() -> float:
        pause(APART)
        begin = time.perf_counter()
        in_directories(lambda: bare.run(command, variables))
        return time.perf_counter() - begin

    return repeated(make_run_and_remove, 5 if quick else 50)


def in_directories(call: Callable[[], object]) -> None:
    """Do something while there are the directories of a Session."""
    directory = tempfile.mkdtemp(dir=own_directory())
    files = os.path.join(directory, "embedded_files")
    os.mkdir(files, 0o700)
    call()
    os.rmdir(files)
    os.rmdir(directory)


METRICS = (
    Metric(
        "setup",
        rows=(
            Row("time", "a Session made and cleaned up, without an action", "ms", Goal(0.4, PUBLISHED)),
            Row("processor", "… own processor time", "ms"),
        ),
        library=sessions,
        bare=bare_directories,
    ),
    Metric(
        "one-action",
        rows=(
            Row("time", "a Session made, one `true` in it, and cleaned up", "ms"),
            Row("processor", "… own processor time", "ms"),
        ),
        library=with_one_action,
        bare=bare_with_one,
    ),
)
