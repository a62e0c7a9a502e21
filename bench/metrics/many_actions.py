"""What 5,000 actions of one session leave behind: memory, files, descriptors, threads."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Callable, Optional

from bench import bare, processes
from bench.metric import Goal, Metric, Row, Values
from bench.sessions import Driven, listen, script

ACTIONS = 5000
TENTH = ACTIONS // 10


def in_one_session(quick: bool) -> Values:
    listen()
    true = script("true")
    driven = Driven()
    found = observed(partial(driven.run, true), quick, driven.session.working_directory)
    begin = time.perf_counter()
    driven.close()
    return {**found, "cleanup": (time.perf_counter() - begin) * 1000}


def bare_actions(quick: bool) -> Values:
    command, variables = bare.resolve(["true"]), bare.variables()
    return observed(partial(bare.run, command, variables), quick)


def observed(run: Callable[[], float], quick: bool, directory: Optional[Path] = None) -> Values:
    """Run many, and see what has changed between the first tenth of them and the last."""
    tenth = 10 if quick else TENTH
    run()
    files = file_count(directory)
    first = [run() for _ in range(tenth)]
    memory, descriptors = processes.memory_with_helpers(), processes.descriptors()
    for _ in range(8 * tenth):
        run()
    last = [run() for _ in range(tenth)]
    return {
        "growth": processes.memory_with_helpers() - memory,
        "descriptors": processes.descriptors() - descriptors,
        "files": file_count(directory) - files,
        "slower": median(last) / median(first),
    }


def file_count(directory: Optional[Path]) -> int:
    return sum(len(names) for _, _, names in os.walk(directory)) if directory else 0


METRICS = (
    Metric(
        "many",
        rows=(
            Row(
                "files",
                f"{ACTIONS:,} actions of a session: more files in its directory than after the first",
                "",
                Goal(0),
            ),
            Row("growth", "… growth of memory after the first tenth, with helpers", "MB", Goal(1)),
            Row("descriptors", "… more descriptors open than after the first tenth", "", Goal(0)),
            Row("slower", "… latency of the last tenth as part of that of the first", ""),
            Row("cleanup", "… cleaning up", "ms"),
        ),
        library=in_one_session,
        bare=bare_actions,
    ),
)
