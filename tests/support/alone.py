"""Programs that must succeed: in a process-id namespace, or with a control group, of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from support.programs import ABOUT_FORKS
from support.stage import PATIENCE, wait_until

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
    group = Path(tempfile.mkdtemp(prefix="openjd-", dir=f"/sys/fs/cgroup/{kind}"))
    try:
        yield group
    finally:
        wait_until(lambda: _has_removed(group))


def _has_removed(group: Path) -> bool:
    """Try to; there may be new members, or dead ones that nobody has reaped yet."""
    for line in (group / "cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):
            (group.parent / "cgroup.procs").write_text(line)
    try:
        group.rmdir()
    except OSError:
        return False
    return True
