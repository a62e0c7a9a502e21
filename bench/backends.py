"""The three that are compared, and one run of a workload by one of them in a fresh interpreter."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench import processes
from bench.metric import Metric, Values

ROOT = Path(__file__).resolve().parents[1]
DIRECTORY = "OPENJD_BENCH_DIRECTORY"
"""The variable that tells a workload where to have its files."""
LIMIT = 600
"""Seconds that one run of a workload may take."""
SHOWN_LINES = 12
PUBLISHED_VERSION = "0.14.0"
_TELL_VERSION = "from importlib.metadata import version; print(version('openjd-sessions'))"


class RunError(Exception):
    """A workload came to no result; tells why."""


@dataclass(frozen=True)
class Backend:
    """What runs a workload: its name, and the interpreter with its library."""

    name: str
    python: str

    def version(self) -> str:
        """The version of the library that this interpreter has, empty if it has none."""
        done = subprocess.run([self.python, "-c", _TELL_VERSION], capture_output=True, text=True, cwd="/", check=False)
        return done.stdout.strip()

    def run(self, metric: Metric, directory: Path, *, quick: bool) -> Values:
        """Run the metric's workload once, in a fresh interpreter and with a directory of its own."""
        command = [self.python, "-m", "bench.worker", metric.name, self.name, *(["--quick"] if quick else [])]
        mark = secrets.token_hex(8)
        own = tempfile.mkdtemp(dir=directory)
        variables = {**os.environ, processes.MARK: mark, DIRECTORY: own}
        try:
            values: Values = json.loads(_last_line(command, variables))
        finally:
            processes.end_all(mark)
            shutil.rmtree(own, ignore_errors=True)
        return values


def _last_line(command: list[str], variables: dict[str, str]) -> str:
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as worker:
        try:
            output, errors = worker.communicate(timeout=LIMIT)
        except BaseException as error:
            os.killpg(worker.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise RunError(f"It took longer than {LIMIT} s.") from error
            raise
    if worker.returncode != 0 or not output:
        last = "\n".join(errors.splitlines()[-SHOWN_LINES:])
        raise RunError(f"It exited with {worker.returncode}.\n{last}")
    return output.splitlines()[-1]


def published(directory: Path) -> str:
    """The interpreter of a virtual environment with the published library, which is made if it is not there."""
    python = str(directory / "bin" / "python")
    if not os.path.exists(python):
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
        wanted = f"openjd-sessions=={PUBLISHED_VERSION}"
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", wanted], check=True)
    return python
