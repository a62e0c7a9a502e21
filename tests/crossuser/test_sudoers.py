"""The line for sudo that doctor and errors advise: rules USER-6, USER-11. Tried with sudo itself."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from openjd.sessions._platform import accounts, posix_login
from support.accounts import is_open_to_all, let_others_pass
from support.apart import run_apart
from support.programs import TESTS

ODD = [
    "DOMAIN\\user",
    "a b",
    "4711",
    "%wheel",
    "+net",
    "#0",
    "a:b",
    "ALL",
    "ALICE",
    "us@er.de",
    "x,(y)=!",
    "caf\u00e9",
    "$a'\"",
]

needs_sudo = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("sudo") is None, reason="needs sudo, and root to make accounts"
)

FIND_OUT = """
import os, sys
sys.path[:0] = %r
from openjd.sessions._platform import accounts, posix_login
from openjd.sessions._platform.posix_account import PosixAccount
user = sys.argv[1]
if sys.argv[2:]:
    print(posix_login.sudoers_line(user))
else:
    account = PosixAccount(user)
    print("logged in as", account.login_variables()["LOGNAME"])
    account.forget()
"""


def lines_of(name: str, number: int) -> str:
    """What the files of a system have of an account."""
    account, shadow = f"{name}:x:{number}:{number}::/:/bin/sh", f"{name}:*:20000:0:99999:7:::"
    return f"echo {shlex.quote(account)} >>/etc/passwd; echo {shlex.quote(shadow)} >>/etc/shadow"


@needs_sudo
@pytest.mark.parametrize("name", [name for name in ODD if name[0] not in "#+" and ":" not in name])
def test_account_with_an_odd_name(tmp_path: Path, name: str) -> None:
    """The program's account and the user have such names: the advised line parses, and leads to the user's login."""
    me = f"{name}2" if name != "caf\u00e9" else "\u00e9"
    as_me = program_of(tmp_path, 60001)
    output = run_apart(
        tmp_path,
        f"""
{lines_of(me, 60001)}
{lines_of(name, 60002)}
rule=/etc/sudoers.d/odd
! {as_me} {shlex.quote(name)} 2>/dev/null
{as_me} {shlex.quote(name)} line >$rule
chmod 440 $rule
visudo -c -q -s
sudo -l -U {shlex.quote(me)} | tail -n 1
{as_me} {shlex.quote(name)}
""",
    )
    assert output[0].endswith(") NOPASSWD: ALL")
    assert output[1] == f"logged in as {name}"


@needs_sudo
def test_sudo_that_hangs(tmp_path: Path) -> None:
    """USER-13: whatever it waits for, it can't be ended by this program; the error comes within 15 s all the same."""
    as_me = program_of(tmp_path, 60001)
    output = run_apart(
        tmp_path,
        f"""
{lines_of("me", 60001)}
{lines_of("you", 60002)}
echo "me ALL=(you) NOPASSWD: ALL" >/etc/sudoers.d/rule
{as_me} you
echo "account required pam_exec.so quiet /bin/sleep 1000" >/etc/pam.d/sudo
cp /etc/pam.d/sudo /etc/pam.d/sudo-i
SECONDS=0
! {as_me} you 2>&1 | tail -n 1
test $SECONDS -lt 15
""",
    )
    assert output[0] == "logged in as you"
    assert "LoginError: A login as 'you' has not come to its end within" in output[1]


def program_of(place: Path, number: int) -> str:
    """A command that finds out, run by a user of that number."""
    if not is_open_to_all(Path(sys.executable).resolve()):
        pytest.skip("needs an interpreter that every account may run")
    let_others_pass(place)
    (place / "program").write_text(FIND_OUT % [path for path in (*sys.path, str(TESTS)) if path])
    python = shlex.quote(sys.executable)
    return f"setpriv --reuid {number} --regid {number} --clear-groups {python} '{place}/program'"


@pytest.mark.skipif(shutil.which("cvtsudoers") is None, reason="needs the programs of sudo")
@pytest.mark.parametrize("name", ODD)
def test_line_means_the_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """As sudo reads it: no group, alias, list or number of somebody else, wherever the system has such names from."""
    account = accounts.Account(name, 60002, 60002, "/", "/bin/sh")
    monkeypatch.setattr(accounts, "find", lambda _: account)
    monkeypatch.setattr(accounts, "user_name", lambda: name)
    monkeypatch.setattr(os, "geteuid", lambda: 60002)
    line = posix_login.sudoers_line(name)
    monkeypatch.undo()
    (tmp_path / "rule").write_text(f"{line}\n")
    subprocess.run([posix_login.find_program("visudo"), "-c", "-q", "-s", "-f", tmp_path / "rule"], check=True)
    read = subprocess.run(["cvtsudoers", "-f", "json", tmp_path / "rule"], stdout=subprocess.PIPE, check=True)
    (rule,) = json.loads(read.stdout)["User_Specs"]
    who = [{"userid": 60002}] if name in ("#0", "ALL", "ALICE") else [{"username": name}]
    assert (rule["User_List"], rule["Cmnd_Specs"][0]["runasusers"]) == (who, who)


def test_program_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number stands for it."""
    monkeypatch.setattr(accounts, "user_name", lambda: "60003")
    monkeypatch.setattr(os, "geteuid", lambda: 60003)
    assert posix_login.sudoers_line("root") == "#60003 ALL=(root) NOPASSWD: ALL"


def test_sudo_takes_no_name_for_a_number() -> None:
    """Another user's, then: not that of the number."""
    account = accounts.Account("#0", 60002, 60002, "/", "/bin/sh")
    assert posix_login._sudo(account)[1:] == ["-n", "-u", "#60002"]
