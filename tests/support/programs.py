"""Programs that embed the library: each runs in an interpreter, a session and a process group of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, Optional

from openjd.sessions._platform.accounts import Account
from support.stage import PATIENCE

PRELUDE = """
import logging, os, signal, subprocess, sys, threading
from pathlib import Path
from openjd.sessions import LOG, ActionState, Session
from support import child

def say(*words):
    print(*words, flush=True)

def new_session(**options):
    return Session(session_id="s", job_parameter_values=None, session_root_directory=os.environ["ROOT"], **options)

def start(session, *argv):
    session.run_subprocess(command=argv[0], args=list(argv[1:]))

def run(session, *argv):
    start(session, *argv)
    return session.wait(20)

class Output(logging.Handler):
    def emit(self, record):
        say(record.getMessage())
"""

ABOUT_FORKS = ["-W", "ignore:This process:DeprecationWarning"]
"""From Python 3.12 on a program with threads is warned when it forks; ours do so on purpose."""

TESTS = Path(__file__).resolve().parents[1]


class Program:
    """A running program, given as what follows the prelude; as another user or through a command, if root likes."""

    def __init__(self, root: Path, code: str, account: Optional[Account] = None, through: Sequence[str] = ()) -> None:
        self.root = root
        paths = [str(TESTS), os.environ.get("PYTHONPATH", "")]
        self._process: subprocess.Popen[str] = subprocess.Popen(
            [*through, sys.executable, "-W", "error", *ABOUT_FORKS, "-c", PRELUDE + textwrap.dedent(code)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **_identity(account),
            env={**os.environ, "ROOT": str(root), "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )
        self.pid = self._process.pid

    def wait_for(self, line: str) -> None:
        """Read output up to a line."""
        assert self._process.stdout is not None
        for found in self._process.stdout:
            if found == line + "\n":
                return
        raise AssertionError(f"The program ended without saying {line!r}: {self.finish()}")

    def read_line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def send(self, number: int) -> None:
        """Send a signal to the program alone."""
        os.kill(self.pid, number)

    def press_ctrl_c(self) -> None:
        """Send SIGINT to its whole process group, as a terminal does."""
        os.killpg(self.pid, signal.SIGINT)

    def say(self, line: str) -> None:
        """Write to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def finish(self, patience: float = PATIENCE) -> tuple[int, list[str], str]:
        """Wait for the end; gives exit code, output lines and complaints."""
        try:
            output, complaints = self._process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            output, complaints = self._process.communicate()
            raise AssertionError(f"The program does not end. Output:\n{output}\n{complaints}") from None
        return self._process.returncode, output.splitlines(), complaints

    def close(self) -> None:
        """End it if it still runs."""
        self._process.kill()
        self._process.communicate()

    def helpers(self) -> list[int]:
        """Its launcher and keepers."""
        return helpers_of(self.pid)


def _identity(account: Optional[Account]) -> dict[str, Any]:
    """What has a program run as an account, with its groups."""
    if account is None:
        return {}
    groups = os.getgrouplist(account.name, account.gid)
    return {"user": account.uid, "group": account.gid, "extra_groups": groups}


Begin = Callable[[str], Program]
"""Begins a program."""
Run = Callable[[str], list[str]]
"""Runs a program, which must succeed and complain of nothing; gives what it prints."""


def helpers_of(program: int) -> list[int]:
    """The launcher and the keepers of a process."""
    title = f"openjd.sessions launcher of process {program}".encode()
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if title in command_of(pid)]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""
