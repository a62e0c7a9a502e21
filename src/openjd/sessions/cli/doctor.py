"""Can this host run Sessions as another user? Every precondition is looked at, and what to do is said exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from openjd.sessions._errors import SessionError
from openjd.sessions._platform import accounts, check_platform
from openjd.sessions._session import Session
from openjd.sessions._session_user import PosixSessionUser
from openjd.sessions._types import ActionState
from openjd.sessions.cli.arguments import DoctorOptions
from openjd.sessions.cli.output import Output

_TRIAL_LIMIT = 60.0


@dataclass(frozen=True)
class Finding:
    """What was found about one precondition."""

    text: str
    is_met: bool = True
    remedy: str = ""


def examine(options: DoctorOptions, output: Output) -> bool:
    """Print what is found of each precondition; give whether all are met.

    Raises:
        NotImplementedError: Sessions can't run on this system yet.
    """
    check_platform()
    user = PosixSessionUser(options.user, group=options.group)
    is_ready = True
    for finding in _findings(user):
        is_ready = is_ready and finding.is_met
        output.write(f"{'ok  ' if finding.is_met else 'FAIL'}  {finding.text}\n")
        if finding.remedy:
            output.write(f"      To do: {finding.remedy}\n")
    verdict = "Ready: Sessions can run" if is_ready else "Not ready: Sessions cannot run"
    output.write(f"{verdict} as {user.user!r} with the group {user.group!r}.\n")
    return is_ready


def _findings(user: PosixSessionUser) -> Iterator[Finding]:
    account = accounts.find(user.user)
    if account is None:
        remedy = f"useradd --create-home --shell /bin/sh {quote(user.user)}"
        yield Finding(f"There is no account {user.user!r}.", is_met=False, remedy=remedy)
        return
    if account.uid == 0:
        yield Finding(f"{user.user!r} may do everything on this host.", is_met=False, remedy="Choose another user.")
        return
    yield Finding(f"The account {account.name!r} exists; its shell is {account.shell}.")
    findings = list(_group_findings(user, account))
    if not user.is_process_user():
        findings.append(_login_finding(user))
    yield from findings
    if all(finding.is_met for finding in findings):
        yield _trial_finding(user, account)


def _group_findings(user: PosixSessionUser, account: accounts.Account) -> Iterator[Finding]:
    """The program hands its files to the group, and the user gets at them through it (USER-6)."""
    group, me = user.group, accounts.user_name()
    is_member = accounts.has_joined(group)
    if is_member is None:
        yield Finding(f"There is no group {group!r}.", is_met=False, remedy=f"groupadd {quote(group)}")
        return
    if is_member or accounts.is_root():
        yield Finding(f"This program may share its files with the group {group!r}.")
    else:
        remedy = f"{_joining(group, user.user, me)}    (then start the program anew, from a new login)"
        yield Finding(f"This program, of {me!r}, is not in the group {group!r}.", is_met=False, remedy=remedy)
    if group in accounts.groups_of(account):
        yield Finding(f"{user.user!r} is in the group {group!r}.")
    else:
        remedy = f"{_joining(group, user.user, user.user)}    (then start the program anew)"
        yield Finding(f"{user.user!r} is not in the group {group!r}.", is_met=False, remedy=remedy)
    others = ", ".join(sorted(accounts.members_of(group) - {me, user.user}))
    if others:
        yield Finding(f"Others in the group {group!r} can read and change the files, and must be trusted: {others}.")


def _joining(group: str, user: str, member: str) -> str:
    """How an account gets into the group; into a new one, with the other account, if it should not join this one."""
    if not accounts.is_reserved(group):
        return f"usermod --append --groups {quote(group)} {quote(member)}"
    shared = quote(f"{user}-files")
    joining = (f"usermod --append --groups {shared} {quote(name)}" for name in (user, accounts.user_name()))
    return f"{group!r} is no group to share. Make one, and name it: groupadd {shared}; {'; '.join(joining)}"


def _login_finding(user: PosixSessionUser) -> Finding:
    from openjd.sessions._platform.posix_login import LoginError
    from openjd.sessions._runtime.loop import default_loop

    try:
        default_loop().platform.login_variables(user.user)
    except LoginError as error:
        return Finding(error.problem, is_met=False, remedy=error.remedy)
    except SessionError as error:
        return Finding(str(error), is_met=False)
    way = "directly" if accounts.may_become_others() else "through sudo"
    return Finding(f"A login as {user.user!r}, {way}, leads to a Python interpreter.")


def _trial_finding(user: PosixSessionUser, account: accounts.Account) -> Finding:
    """A Session in the default root: an action runs, what it makes belongs to the user, and is deleted."""
    try:
        with Session(session_id="doctor", job_parameter_values={}, user=user) as session:
            folder = session.working_directory
            session.run_subprocess(command="mkdir", args=["-m", "700", "made"])
            status = session.wait(_TRIAL_LIMIT)
            if status is None or status.state is not ActionState.SUCCESS:
                reason = (status and status.fail_message) or "the action did not succeed"
                return Finding(f"A Session in {folder.parent} fails: {reason}", is_met=False)
            if accounts.owner_of(str(folder / "made")) != account.uid:
                return Finding(f"What an action makes in {folder} is not the user's.", is_met=False)
    except (SessionError, OSError) as error:
        return Finding(f"A Session fails: {error}", is_met=False)
    return _deletion_finding(folder)


def _deletion_finding(folder: Path) -> Finding:
    if folder.exists():
        return Finding(f"The directory of a Session, {folder}, could not be deleted.", is_met=False)
    return Finding(f"A Session in {folder.parent} ran an action, and left nothing behind.")
