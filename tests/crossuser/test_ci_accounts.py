"""``.ci/accounts``: what it makes bears its mark, and it leaves alone what does not. With copies of all that it changes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from openjd.sessions._platform import accounts
from support.programs import TESTS

CHANGED = ("/etc", "/home", "/var/lib", "/var/mail")
ACCOUNTS = TESTS.parent / ".ci" / "accounts"
WITHOUT_ANY = """
sed -i /^ojd-/d /etc/passwd /etc/group /etc/shadow /etc/gshadow; rm -f /etc/sudoers.d/*
listing() { cat /etc/passwd /etc/group; find /etc/sudoers.d /home -mindepth 1 -maxdepth 1; }
"""

pytestmark = pytest.mark.skipif(
    not accounts.is_root() or not ACCOUNTS.exists() or shutil.which("useradd", path="/usr/sbin") is None,
    reason="needs root and useradd, and .ci",
)


def run_apart(tmp_path: Path, script: str) -> list[str]:
    """What a shell script prints that has the system's files, and all processes, for itself."""
    mounts = []
    for name in CHANGED:
        copy = tmp_path / name.strip("/").replace("/", "-")
        if name == "/etc":
            shutil.copytree(name, copy, symlinks=True)
        else:
            copy.mkdir(mode=0o755)
        if os.path.isdir(name):
            mounts.append(f"mount --bind '{copy}' {name}")
    apart = ["unshare", "--mount", "--pid", "--fork", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("may not have files and processes for itself")
    code = "\n".join(["set -e", *mounts, f"accounts='{ACCOUNTS}'", WITHOUT_ANY, script])
    done = subprocess.run([*apart, "bash", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


def test_what_was_there_is_refused_and_stays(tmp_path: Path) -> None:
    """An account, groups, a home directory, a file of rules; nothing changes, not even after a removal."""
    output = run_apart(
        tmp_path,
        """
useradd --create-home ojd-bob; groupadd ojd-csh-files; mkdir /home/ojd-denied; echo "# x" >/etc/sudoers.d/ojd-tests
listing >/before
! "$accounts" make
"$accounts" remove
listing | cmp - /before
rm /before
""".replace("/before", str(tmp_path / "before")),
    )
    assert output == [
        "There is already on this host, and was not made by .ci/accounts:",
        "the account ojd-bob",
        "the group ojd-bob",
        "the group ojd-csh-files",
        "the directory /home/ojd-denied",
        "the file /etc/sudoers.d/ojd-tests",
        "Nothing has been changed. Tests need these names for accounts of their own: use another host.",
    ]


def test_what_an_interrupted_run_has_left_is_taken_over(tmp_path: Path) -> None:
    """By its mark; and all is removed at the end."""
    output = run_apart(
        tmp_path,
        """
listing >/before
"$accounts" make
userdel ojd-csh; rm -r /home/ojd-csh; groupdel ojd-bob-files; rm /etc/sudoers.d/ojd-tests
"$accounts" make
id -Gn ojd-bob; id -gn ojd-csh; grep -q ojd-fish /etc/sudoers.d/ojd-tests
"$accounts" remove
listing | cmp - /before
""".replace("/before", str(tmp_path / "before")),
    )
    assert output == ["ojd-bob ojd-bob-files", "ojd-csh"]
