"""How an interpreter is run as another user: in that account's login shell, entered by ``sudo`` or by becoming it.

Nothing of this program reaches that side but the two sockets: no environment, no descriptor, no directory. What comes
from there is not trusted: what it prints only ever becomes part of an error's text.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Optional

from openjd.sessions._errors import KeeperError
from openjd.sessions._logging import printable
from openjd.sessions._platform import accounts
from openjd.sessions._platform.posix_inheritance import inheriting_nothing

LOGIN_LIMIT = 12.0
"""Seconds in which a login has to get as far as our launcher, all attempts together."""
NO_SOCKET = 96
"""How the interpreter exits when none of its standard streams is a socket: somebody has put pipes between."""

_TRUSTED_FOLDERS = ("/run/wrappers/bin", "/run/current-system/sw/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")
_FIRST_PATH = "/usr/local/bin:/usr/bin:/bin"
_END_LIMIT = 1.0
"""Seconds to end a login in, and again to see its end; beyond them that goes on in the background."""
_MUCH_NOISE = 256 * 1024
_LOOK_AT_START_FILES = "Look at the start files of its shell."
_NO_NAME_IN_SUDOERS = re.compile("#.*|[A-Z][A-Z0-9_]*")


class LoginError(KeeperError):
    """No interpreter can be run as that user, whichever it is: why not, and what to do about it."""

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem} {remedy}".strip())


def find_program(name: str) -> str:
    """The path of a program of the system, which is never looked for in the PATH (rule USER-11)."""
    for folder in _TRUSTED_FOLDERS:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise LoginError(f"The program {name!r} is needed, and is in none of {', '.join(_TRUSTED_FOLDERS)}.", "Install it.")


def find_account(user: str) -> accounts.Account:
    """What the system knows of a user."""
    account = accounts.find(user)
    if account is None:
        raise LoginError(f"There is no account {user!r} on this host.", "")
    return account


def start_login(
    user: str, command: Sequence[str], connection: socket.socket, talk: socket.socket, deadline: float
) -> subprocess.Popen[bytes]:
    """Start a command as another user, with a socket as its standard input, and one for all that is printed."""
    account = find_account(user)
    start = _become if accounts.may_become_others() else _ask_sudo
    ends = connection.dup(), talk.dup()  # the caller's may be closed before these are inherited
    work = partial(start, account, command, *ends)
    try:
        return inheriting_nothing(work, deadline, partial(end_login, account.name))
    except TimeoutError as error:
        raise LoginError(
            f"A process that should become the user {account.name!r} has not got as far as the login shell in time.",
            "Perhaps this user has stopped it: have a look at its processes.",
        ) from error


def _ask_sudo(
    account: accounts.Account, command: Sequence[str], connection: socket.socket, talk: socket.socket
) -> subprocess.Popen[bytes]:
    with connection, talk:
        return subprocess.Popen(
            [*_sudo(account), "-i", *command],
            stdin=connection.fileno(),
            stdout=talk.fileno(),
            stderr=talk.fileno(),
            env={},
            cwd="/",
            start_new_session=True,
        )


def _sudo(account: accounts.Account) -> list[str]:
    """How ``sudo`` is asked to run something as another user; it would take a name that begins with # for a number."""
    name = f"#{account.uid}" if account.name.startswith("#") else account.name
    return [find_program("sudo"), "-n", "-u", name]


def _become(
    account: accounts.Account, command: Sequence[str], connection: socket.socket, talk: socket.socket
) -> subprocess.Popen[bytes]:
    """Do what ``sudo -i`` does, where this program has the right to do so itself."""
    try:
        with connection, talk:
            return subprocess.Popen(
                [f"-{os.path.basename(account.shell)}", "-c", quoted(command)],
                executable=account.shell,
                stdin=connection.fileno(),
                stdout=talk.fileno(),
                stderr=talk.fileno(),
                env=_first_environment(account),
                cwd=account.home if os.path.isdir(account.home) else "/",
                start_new_session=True,
                user=account.uid,
                group=account.gid,
                extra_groups=os.getgrouplist(account.name, account.gid),
            )
    except Exception as error:
        raise LoginError(f"This program can't become the user {account.name!r}: {error}", "") from error


def _first_environment(account: accounts.Account) -> dict[str, str]:
    """What a login shell starts from."""
    return {
        "HOME": account.home,
        "LOGNAME": account.name,
        "PATH": _FIRST_PATH,
        "SHELL": account.shell,
        "USER": account.name,
    }


def quoted(command: Sequence[str]) -> str:
    """A command line for any shell: what could mean something to it has a backslash, as with ``sudo``."""
    return " ".join(re.sub(r"([^A-Za-z0-9_-])", r"\\\1", word) for word in command)


def end_login(user: str, child: subprocess.Popen[bytes]) -> None:
    """End a login that has led nowhere, and reap it, now or when it ends."""
    if child.poll() is None:
        if accounts.may_become_others():
            _kill_as(user, [f"-{child.pid}"])
        else:
            _kill_as(user, list(map(str, _descendants(child.pid))))  # first: sudo can't pass on what ends it
            with contextlib.suppress(OSError):
                child.kill()
    reap(child)


def _kill_as(user: str, targets: Sequence[str]) -> None:
    """Kill processes, or a group (negative), as their user, so that nobody else's can be meant."""
    with contextlib.suppress(OSError, KeeperError, subprocess.SubprocessError):
        command = [find_program("kill"), "-KILL", "--", *targets]
        account = find_account(user)
        is_direct = accounts.may_become_others()
        if not is_direct:
            command = [*_sudo(account), *command]
        run = partial(
            subprocess.run,
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,
            timeout=_END_LIMIT,
            user=account.uid if is_direct else None,
            group=account.gid if is_direct else None,
            extra_groups=[] if is_direct else None,
        )
        inheriting_nothing(run, time.monotonic() + _END_LIMIT)


def reap(child: subprocess.Popen[bytes]) -> None:
    """Collect a child that is about to end; who takes its time is waited for in the background."""
    try:
        child.wait(_END_LIMIT)
    except subprocess.TimeoutExpired:
        threading.Thread(target=child.wait, daemon=True).start()


def _descendants(pid: int) -> list[int]:
    found: dict[int, None] = {}
    unasked = [pid]
    while unasked:
        parent = unasked.pop()
        with contextlib.suppress(OSError), open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as listing:
            children = [child for child in map(int, listing.read().split()) if child not in found]
            found.update(dict.fromkeys(children))
            unasked += children
    return list(found)


def why_no_greeting(user: str, status: Optional[int], printed: bytes, amount: int, seconds: float) -> Exception:
    """Why a login has not led to our interpreter.

    Args:
        user: Whose login.
        status: How it ended; None if it goes on.
        printed: The last of what it has printed.
        amount: How many bytes it has printed.
        seconds: How long it has had.

    Returns:
        A ``LoginError`` if no other interpreter need be tried, else an ``OSError``.
    """
    text = printed.decode("utf-8", "replace").strip()
    said = f' It said: "{_shortened(text)}".' if text else " It said nothing."
    account = find_account(user)
    if status == NO_SOCKET:
        return LoginError(
            f"sudo passes nothing on untouched to processes of {user!r}: it records their input and output.",
            "Switch that off for the one rule, whose line in the sudoers file is then: "
            + sudoers_line(user, "NOPASSWD: NOLOG_INPUT: NOLOG_OUTPUT:"),
        )
    if status is None and amount >= _MUCH_NOISE:
        return LoginError(f"A login as {user!r} prints without end.{said}", _LOOK_AT_START_FILES)
    if status is None:
        return LoginError(
            f"A login as {user!r} has not come to its end within {seconds:.0f} s. Probably it waits for something, "
            f"or reads from standard input, and nobody answers.{said}",
            _LOOK_AT_START_FILES,
        )
    if text.startswith("sudo:") or "\nsudo:" in text:
        problem = f"sudo does not let {accounts.user_name()!r} run programs as {user!r}.{said}"
        return LoginError(problem, f"The sudoers file needs the line: {sudoers_line(user)}")
    if os.path.basename(account.shell) in ("nologin", "false"):
        return LoginError(
            f"The account {user!r} can't log in: its shell is {account.shell}.{said}",
            f"Give it a shell, for example: usermod --shell /bin/sh {shlex.quote(user)}",
        )
    how = f"ended by signal {signal.Signals(-status).name}" if status < 0 else f"exited with {status}"
    return OSError(f"the login {how}.{said.rstrip('.')}")


def sudoers_line(user: str, tags: str = "NOPASSWD:") -> str:
    """The one rule of sudo that is needed."""
    me = _in_sudoers(accounts.user_name(), os.geteuid())
    return f"{me} ALL=({_in_sudoers(user, find_account(user).uid)}) {tags} ALL"


def _in_sudoers(name: str, uid: int) -> str:
    """How a sudoers file names an account: by its number where the name would be an alias, a number, or no name."""
    account = accounts.find(name)
    if account is None or account.uid != uid or not name.isprintable() or _NO_NAME_IN_SUDOERS.fullmatch(name):
        return f"#{uid}"
    return re.sub(r"([^\w.-])", r"\\\1", name)


def _shortened(text: str) -> str:
    """The last lines of it, as one."""
    return printable(" / ".join(text.splitlines()[-5:])[-500:])
