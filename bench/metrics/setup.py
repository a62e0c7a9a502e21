"""What it costs to make a Session and to clean it up again, without any action."""

from __future__ import annotations

import os
import tempfile
import time

from bench.metric import PUBLISHED, Goal, Metric, Row, Values
from bench.sessions import Driven, listen, own_directory
from bench.timing import repeated


def sessions(quick: bool) -> Values:
    listen()

    def make_and_clean_up() -> float:
        begin = time.perf_counter()
        Driven().close()
        return time.perf_counter() - begin

    return repeated(make_and_clean_up, 20 if quick else 500)


def bare_directories(quick: bool) -> Values:
    root = own_directory()

    def make_and_remove() -> float:
        begin = time.perf_counter()
        directory = tempfile.mkdtemp(dir=root)
        files = os.path.join(directory, "embedded_files")
        os.mkdir(files, 0o700)
        os.rmdir(files)
        os.rmdir(directory)
        return time.perf_counter() - begin

    return repeated(make_and_remove, 20 if quick else 500)


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
)
