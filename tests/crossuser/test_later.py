"""What changes while a Session runs as another user: rule USER-13. Root changes it, for a program of the host."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Callable, Optional

import pytest

from openjd.sessions._platform import accounts
from support.accounts import ALICE, HOST, MARK, is_for_tests, let_others_pass, need_account
from support.bench import parent_of
from support.programs import Program
from support.stage import is_alive, wait_until

RULES = Path("/etc/sudoers.d/ojd-tests")
LATE = "ojd-late"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who changes rules and accounts")


def with_capabilities(*names: str) -> tuple[str, ...]:
    """Runs a program as the host, which may do what these allow."""
    chosen = ",".join(f"+{name}" for name in names)
    identity = ("setpriv", "--reuid", HOST, "--regid", HOST, "--init-groups")
    return (*identity, "--inh-caps", chosen, "--ambient-caps", chosen)


LIMIT = 15.0
LOST = "The keeper of this Session's processes has gone; what it kept is terminated."

PRELUDE = """
from openjd.sessions import KeeperError
from support.accounts import user_of
from support.stage import Stage
count = 0
def open_stage(name):
    global count
    count += 1
    return Stage(Path(os.environ["ROOT"]), session_id=str(count), user=user_of(name))
def show(what):
    say(getattr(what, "state", what), getattr(what, "fail_message", None))
def go_on():
    say("ready")
    sys.stdin.readline()
"""


@pytest.fixture
def begin_as_host(tmp_path: Path) -> Iterator[Callable[[str], Program]]:
    """Begins programs of the host account."""
    need_account(ALICE)
    host = accounts.find(HOST)
    if host is None or shutil.which("sudo") is None or not RULES.exists():
        pytest.skip("needs sudo, and the rules of .ci/accounts")
    let_others_pass(tmp_path)
    os.chown(tmp_path, host.uid, host.gid)
    programs: list[Program] = []

    def begin_one(code: str, through: Sequence[str] = ()) -> Program:
        programs.append(Program(tmp_path, PRELUDE + code, None if through else host, through))
        return programs[-1]

    yield begin_one
    for program in programs:
        program.close()


@pytest.fixture
def no_rules() -> Iterator[Callable[[], None]]:
    """Takes all rules away, until the end of the test."""
    away = RULES.with_name("ojd-tests.away")  # sudo does not read names with a dot
    yield lambda: os.rename(RULES, away)
    if away.exists():
        os.rename(away, RULES)


@pytest.fixture
def another_rule() -> Iterator[Callable[[str], None]]:
    """Adds a line to the rules, until the end of the test."""
    rules = RULES.read_text()
    yield lambda line: put_rules(rules + line + "\n")
    put_rules(rules)


def put_rules(text: str) -> None:
    fresh = RULES.with_name("ojd-tests.new")
    fresh.write_text(text)
    fresh.chmod(0o440)
    fresh.rename(RULES)


@pytest.fixture
def late_account() -> Iterator[str]:
    """An account that may be changed."""
    groups = f"{LATE}-files"
    if accounts.find(LATE) is not None and not is_for_tests(LATE):
        pytest.skip(f"somebody has an account {LATE}")
    remove_late()
    for group in (LATE, groups):
        root("groupadd", "--force", "--password", f"!{MARK}", group)
    identity = ("--comment", MARK, "--create-home", "--gid", LATE, "--groups", groups)
    root("useradd", *identity, "--shell", "/bin/sh", LATE)
    root("usermod", "--append", "--groups", groups, HOST)
    rule = RULES.with_name(LATE)
    rule.write_text(f"# {MARK}\n{HOST} ALL=({LATE}) NOPASSWD: ALL\n")
    rule.chmod(0o440)
    yield LATE
    rule.unlink()
    remove_late()


def remove_late() -> None:
    if is_for_tests(LATE):
        end_processes_of(LATE)
        root("userdel", "--force", "--remove", LATE)
    subprocess.run(["/usr/sbin/groupdel", f"{LATE}-files"], capture_output=True)


def end_processes_of(name: str) -> None:
    """What the user has stopped among them would outlive everything."""
    account = accounts.find(name)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if account is not None and process.stat().st_uid == account.uid:
                os.kill(int(process.name), signal.SIGKILL)


def root(program: str, *arguments: str) -> None:
    subprocess.run([f"/usr/sbin/{program}", *arguments], capture_output=True, check=program != "userdel")


capabilities_that_suffice = pytest.mark.parametrize(
    "names", [("setuid", "setgid"), ("setuid", "setgid", "kill")], ids="+".join
)


@capabilities_that_suffice
def test_capabilities_suffice(
    begin_as_host: Callable[..., Program], no_rules: Callable[[], None], names: tuple[str, ...]
) -> None:
    """DESIGN §6: to become the user without sudo, and the user gets none of them."""
    no_rules()
    program = begin_as_host(
        f"""
stage = open_stage({ALICE!r})
stage.run("sh", "-c", "id -un; grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status")
say(*stage.journal.output)
stage.run("sh", "-c", "mkdir -m 0 own")
stage.close()
say(sorted(os.listdir(os.environ["ROOT"])))
""",
        with_capabilities(*names),
    )
    none = "\t0000000000000000"
    capabilities = f"CapInh:{none} CapPrm:{none} CapEff:{none} CapAmb:{none}"
    assert program.finish() == (0, [f"{ALICE} {capabilities}", "[]"], "")


@capabilities_that_suffice
def test_capabilities_suffice_to_end_all(
    begin_as_host: Callable[..., Program], no_rules: Callable[[], None], names: tuple[str, ...]
) -> None:
    """A login that leads nowhere, a tree, a keeper that is stopped: all is ended as the user, without sudo."""
    no_rules()
    program = begin_as_host(
        f"""
try:
    open_stage("ojd-reader")
except KeeperError as error:
    show(error)
stage = open_stage({ALICE!r})
def start():
    stage.start(*child("forks", "daemon"))
    stage.wait_for_line("ready")
    say(stage.journal.after("Command started as pid: "), stage.journal.output[0].split()[1])
    stage.journal.clear()
def cancel():
    stage.session.cancel_action()
    show(stage.wait())
start()
cancel()
stage.close()
stage = open_stage({ALICE!r})
start()
go_on()
cancel()
stage.close()
say("end")
sys.stdin.readline()
""",
        with_capabilities(*names),
    )
    assert program.read_line().startswith("A login as 'ojd-reader' has not come to its end")
    reader = accounts.find("ojd-reader")
    assert reader is not None
    wait_until(lambda: not processes_of(reader.uid))
    first = list(map(int, program.read_line().split()))
    assert program.read_line() == "ActionState.CANCELED None"
    wait_until(lambda: not any(map(is_alive, first)))
    second = list(map(int, program.read_line().split()))
    program.wait_for("ready")
    os.kill(parent_of(second[0]), signal.SIGSTOP)
    program.say("")
    assert program.read_line().startswith("ActionState.FAILED The keeper of this Session's processes has not answered")
    wait_until(lambda: not any(map(is_alive, second)))
    program.wait_for("end")


def processes_of(user: int) -> list[int]:
    """The processes of a user that have not ended."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if is_alive(pid) and owner_of(pid) == user]


def owner_of(pid: int) -> Optional[int]:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except FileNotFoundError:
        return None


def test_sudo_is_denied_later(begin_as_host: Callable[[str], Program], no_rules: Callable[[], None]) -> None:
    """No step needs a new sudo while the launcher lives; without it the action fails, and says why."""
    program = begin_as_host(f"""
stage = open_stage({ALICE!r})
show(stage.run("true"))
go_on()
show(stage.run("id"))
second = open_stage({ALICE!r})
show(second.run("true"))
second.close()
try:
    open_stage("ojd-bob")
except KeeperError as error:
    show(error)
third = open_stage({ALICE!r})
show(stage.run("sh", "-c", "kill -KILL $(ps -o ppid= $PPID)"))
show(third.run("true"))
third.close()
stage.close()
say(sorted(os.listdir(os.environ["ROOT"])))
""")
    program.wait_for("ready")
    no_rules()
    program.say("")
    status, output, complaints = program.finish()
    assert (status, complaints) == (0, "")
    denied = "sudo does not let 'ojd-host' run programs as '{}'. It said: \"sudo: a password is required\"."
    success = "ActionState.SUCCESS None"
    assert [line.partition(" The sudoers ")[0] for line in output] == [
        *[success] * 2,
        denied.format("ojd-bob"),
        success,
        f"ActionState.FAILED {denied.format(ALICE)}",
        "[]",
    ]


def test_recording_is_switched_off_as_advised(
    begin_as_host: Callable[[str], Program], another_rule: Callable[[str], None]
) -> None:
    """DESIGN §6: where sudo records input and output, the advised line ends that for this rule, and it only."""
    program = begin_as_host("""
try:
    open_stage("ojd-recorded")
except KeeperError as error:
    show(error)
say("ready")
sys.stdin.readline()
stage = open_stage("ojd-recorded")
stage.run("id", "-un")
say(*stage.journal.output)
stage.close()
""")
    complaint = program.read_line()
    program.wait_for("ready")
    _, found, line = complaint.removesuffix(" None").partition(" line in the sudoers file is then: ")
    assert found
    recorded = subprocess.run(["sudo", "-l", "-U", HOST], stdout=subprocess.PIPE, text=True, check=True).stdout
    another_rule(line)
    program.say("")
    assert program.finish() == (0, ["ojd-recorded"], "")
    listed = subprocess.run(["sudo", "-l", "-U", HOST], stdout=subprocess.PIPE, text=True, check=True).stdout
    added = [text for text in listed.splitlines() if text not in recorded.splitlines()]
    assert [text.strip() for text in added] == ["(ojd-recorded) NOPASSWD: NOLOG_INPUT: NOLOG_OUTPUT: ALL"]


@pytest.mark.parametrize("change", ["locked", "expired", "removed"])
def test_account_is_no_more_what_it_was(
    begin_as_host: Callable[[str], Program], late_account: str, change: str
) -> None:
    """What runs goes on, and can be ended with its tree; more can be started, and what was made is deleted.

    So it is until the launcher ends. Then a login decides: there is none as an account that has been removed.
    """
    program = begin_as_host(f"""
stage = open_stage({late_account!r})
stage.start(*child("forks", "daemon"))
stage.wait_for_line("ready")
say(stage.journal.after("Command started as pid: "), stage.journal.output[0].split()[1])
go_on()
stage.session.cancel_action()
show(stage.wait())
stage.close()
second = open_stage({late_account!r})
show(second.run("sh", "-c", "mkdir -m 0 own"))
second.close()
say(sorted(os.listdir(os.environ["ROOT"])))
third = open_stage({late_account!r})
show(third.run("sh", "-c", "touch file; kill -KILL $(ps -o ppid= $PPID); kill -KILL $PPID"))
third.close()
fourth = None
try:
    fourth = open_stage({late_account!r})
    show(fourth.run("true"))
    fourth.close()
except KeeperError as error:
    show(error)
say(sorted(os.listdir(os.environ["ROOT"])))
""")
    tree = list(map(int, program.read_line().split()))
    program.wait_for("ready")
    if change == "removed":
        root("userdel", "--force", "--remove", late_account)
    else:
        root("usermod", *(["--lock"] if change == "locked" else ["--expiredate", "1"]), late_account)
    assert all(map(is_alive, tree))
    program.say("")
    status, output, complaints = program.finish()
    assert (status, complaints) == (0, "")
    no_login = "There is no account 'ojd-late' on this host. None"
    success = "ActionState.SUCCESS None"
    assert output == [
        "ActionState.CANCELED None",
        success,
        "[]",
        f"ActionState.FAILED {LOST}",
        no_login if change == "removed" else success,
        "[]",
    ]
    assert not any(map(is_alive, tree))


def test_login_after_a_silent_launcher_is_bounded(begin_as_host: Callable[[str], Program], late_account: str) -> None:
    """USER-13, DESIGN §6: the user stops its launcher, and has its next login wait; the error comes within 15 s."""
    program = begin_as_host(f"""
import time
stage = open_stage({late_account!r})
show(stage.run("sh", "-c", "echo 'sleep 1000' >~/.profile; kill -STOP $(ps -o ppid= $PPID)"))
second = open_stage({late_account!r})
began = time.monotonic()
show(second.run("true"))
say(time.monotonic() - began)
second.close()
stage.close()
""")
    assert program.read_line() == "ActionState.SUCCESS None"
    assert program.read_line().startswith(f"ActionState.FAILED A login as '{late_account}' has not come to its end")
    assert float(program.read_line()) < LIMIT
    program.close()
