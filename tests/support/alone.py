"""Programs that must succeed: in a process-id namespace, or with a control group, of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.programs import ABOUT_FORKS
from support.stage import PATIENCE

NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", *(["--map-root-user"] if os.geteuid() else [])]
"""Begins a command that runs in such a namespace."""
has_namespaces = not subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode


def run_alone(code: str, root: str, *command: str, may_complain: bool = False) -> list[str]:
    """What a program prints that must succeed and complain of nothing, unless it may: of what it had no memory for."""
    paths = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [*command, sys.executable, "-W", "error", *ABOUT_FORKS, "-c", code],
        env={**os.environ, "ROOT": root, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert (done.returncode, "" if may_complain else done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()


def has_control_groups(kind: str) -> bool:
    """Whether ``control_group`` can be had."""
    return os.access(f"/sys/fs/cgroup/{kind}/cgroup.procs", os.W_OK)


@contextmanager
def control_group(kind: str) -> Iterator[Path]:
    """The directory of a control group of this program; at the end its processes go back to the one above."""
    group = Path("/sys/fs/cgroup", kind, f"openjd-{os.getpid()}")
    group.mkdir()
    try:
        yield group
    finally:
        for line in (group / "cgroup.procs").read_text().split():
            (group.parent / "cgroup.procs").write_text(line)
        group.rmdir()
