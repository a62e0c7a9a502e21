"""``.ci/accounts``: what it makes bears its mark, and it leaves alone what does not. In a system of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from openjd.sessions._platform import accounts
from support.apart import run_apart
from support.programs import TESTS

ACCOUNTS = TESTS.parent / ".ci" / "accounts"
BEGIN = f"""
accounts='{ACCOUNTS}'
listing() {{ cat /etc/passwd /etc/group; find /etc/sudoers.d /home -mindepth 1 -maxdepth 1; }}
"""

pytestmark = pytest.mark.skipif(
    not accounts.is_root() or not ACCOUNTS.exists() or shutil.which("useradd", path="/usr/sbin") is None,
    reason="needs root and useradd, and .ci",
)


def test_what_was_there_is_refused_and_stays(tmp_path: Path) -> None:
    """An account, groups, a home directory, a file of rules; nothing changes, not even after a removal."""
    output = run_apart(
        tmp_path,
        BEGIN
        + """
useradd --create-home ojd-bob; groupadd ojd-csh-files; mkdir /home/ojd-denied; echo "# x" >/etc/sudoers.d/ojd-tests
listing >/var/lib/before
"$accounts" make || echo refused
"$accounts" remove
listing | cmp - /var/lib/before
""",
    )
    assert output == [
        "There is already on this host, and was not made by .ci/accounts:",
        "the account ojd-bob",
        "the group ojd-bob",
        "the group ojd-csh-files",
        "the directory /home/ojd-denied",
        "the file /etc/sudoers.d/ojd-tests",
        "Nothing has been changed. Tests need these names for accounts of their own: use another host.",
        "refused",
    ]


def test_what_an_interrupted_run_has_left_is_taken_over(tmp_path: Path) -> None:
    """By its mark; and all is removed at the end."""
    output = run_apart(
        tmp_path,
        BEGIN
        + """
listing >/var/lib/before
"$accounts" make
userdel ojd-csh; rm -r /home/ojd-csh; groupdel ojd-bob-files; rm /etc/sudoers.d/ojd-tests
"$accounts" make
id -Gn ojd-bob; id -gn ojd-csh; grep -q ojd-fish /etc/sudoers.d/ojd-tests
"$accounts" remove
listing | cmp - /var/lib/before
""",
    )
    assert output == ["ojd-bob ojd-bob-files", "ojd-csh"]
