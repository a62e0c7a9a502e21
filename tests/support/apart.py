"""A system of its own for a script of root: copies of the files that tell of accounts, and no processes but its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

APART = ("unshare", "--mount", "--pid", "--fork", "--mount-proc")
EMPTY = ("/home", "/var/lib", "/var/mail", "/run/sudo")
NEEDED = (Path(__file__).resolve(), Path(sys.executable).resolve(), Path(sys.prefix).resolve())
WITHOUT_ANY = "sed -i /^ojd-/d /etc/passwd /etc/group /etc/shadow /etc/gshadow; rm -f /etc/sudoers.d/*"


def run_apart(place: Path, script: str) -> list[str]:
    """What a shell script prints that sees none of the accounts for tests, and changes nothing of this system.

    Args:
        place: Where the copies are made, for the time of the test; other users may have to pass it.
        script: It ends at the first command that fails, and must not.
    """
    if shutil.which("unshare") is None or subprocess.run([*APART, "true"], capture_output=True).returncode:
        pytest.skip("may not have a system for itself")
    if any(Path(folder) in path.parents for folder in EMPTY for path in NEEDED):
        pytest.skip("needs a checkout and an interpreter elsewhere: what is there is hidden")
    shutil.copytree("/etc", place / "etc", symlinks=True)
    (place / "etc").chmod(0o755)
    mounts = [f"mount --bind '{place}/etc' /etc"]
    for name in filter(lambda name: Path(name).is_dir(), EMPTY):
        copy = place / name.replace("/", "-")
        copy.mkdir()
        copy.chmod(0o755)
        mounts.append(f"mount --bind '{copy}' {name}")
    code = "\n".join(["set -e", *mounts, WITHOUT_ANY, script])
    done = subprocess.run([*APART, "bash", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()
