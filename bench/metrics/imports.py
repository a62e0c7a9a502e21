"""What importing the library costs, over the start of an interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from statistics import median

from bench.metric import PUBLISHED, Goal, Metric, Row, Values
from bench.processes import kilobytes

LIBRARY = "import openjd.sessions"
BARE_MODULES = "import dataclasses, enum, json, logging, pathlib, selectors, shutil, subprocess, tempfile, threading"
"""What of the standard library any runtime needs."""
NOTHING = "pass"
WEIGH = "; import sys; print(len(sys.modules), open('/proc/self/status').read())"


def started(code: str) -> float:
    """Run code in a fresh interpreter; the milliseconds that it takes."""
    begin = time.perf_counter()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", code], os.environ)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise RuntimeError(f"{code} ended with {status}.")
    return (time.perf_counter() - begin) * 1000


def weighed(code: str) -> tuple[int, float]:
    """The modules that are loaded after code has run in a fresh interpreter, and its memory in MB."""
    modules, status = subprocess.check_output([sys.executable, "-c", code + WEIGH], text=True).split(" ", 1)
    return int(modules), kilobytes(status, "VmHWM") / 1024


def over_nothing(code: str, quick: bool) -> Values:
    started(code)  # compiled and cached from now on
    with_it, without = [], []
    for _ in range(3 if quick else 15):
        with_it.append(started(code))
        without.append(started(NOTHING))
    (modules, memory), (least_modules, least_memory) = weighed(code), weighed(NOTHING)
    return {
        "time": median(with_it) - median(without),
        "memory": memory - least_memory,
        "modules": modules - least_modules,
    }


METRICS = (
    Metric(
        "import",
        rows=(
            Row("time", "`import openjd.sessions`, over `pass`", "ms", Goal(0.3, PUBLISHED)),
            Row("memory", "… memory", "MB"),
            Row("modules", "… modules", ""),
        ),
        library=partial(over_nothing, LIBRARY),
        bare=partial(over_nothing, BARE_MODULES),
    ),
)
