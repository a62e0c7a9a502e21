"""Runs the programs of ``host.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.manual_loop import PATIENCE


def _command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "support.host", name, *arguments]


def _environment() -> dict[str, str]:
    """Ours, with what we import from."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def run_host(name: str, *arguments: str) -> Any:
    """What a program reports that ends by itself."""
    done = subprocess.run(
        _command(name, *arguments),
        env=_environment(),
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=3 * PATIENCE,
    )
    assert done.stderr == b"", done.stderr.decode()
    return json.loads(done.stdout)


@contextmanager
def running_host(name: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A program that has reported, and goes on; what it has reported."""
    host = subprocess.Popen(
        _command(name, *arguments), env=_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with host:
        assert host.stdout is not None
        yield host, json.loads(host.stdout.readline())
