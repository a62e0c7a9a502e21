"""A program that dies at a moment of a Session's life. It runs in a fork of its own."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, Callable

from openjd.sessions import LOG, Session
from support import child
from support.moments import PACKAGE, AtRecord
from support.scripts import action, environment, file, notified

Act = Callable[[Session], object]

NEVER = 99
"""The exit status if the moment does not come."""
DAEMON = "setsid sleep 60 >/dev/null 2>&1 &"
FULL = environment(
    "E",
    variables={"A": "1"},
    files=[file("F", "text", filename="f.txt")],
    onEnter=action(*child("forks", "session"), cancelation=notified(1)),
)


def enter(session: Session) -> None:
    session.enter_environment(environment=FULL)


def cancel(session: Session) -> None:
    """Cancel an action that does not listen, so that it is notified and then terminated."""
    is_ready = threading.Event()
    handler = logging.StreamHandler(io.StringIO())
    handler.addFilter(AtRecord("ready", is_ready.set))
    LOG.addHandler(handler)
    deaf = environment("E", onEnter=action(*child("deaf"), cancelation=notified(1)))
    session.enter_environment(environment=deaf)
    is_ready.wait(20)
    session.cancel_action()
    session.wait()


def leave_output_open(session: Session) -> None:
    session.run_subprocess(command="sh", args=["-c", "setsid sleep 60 & echo hello"])
    session.wait()


def reach_limit(session: Session) -> None:
    session.run_subprocess(command=child("forks")[0], args=child("forks", "session")[1:], timeout=1)
    session.wait()


def end(session: Session) -> None:
    session.run_subprocess(command="true")
    session.wait()


def clean_up(session: Session) -> None:
    enter(session)
    session.cleanup()


Moment = tuple[str, str, Act]
"""The module and the function that is just being called, and what leads to that."""

MOMENTS: dict[str, Moment] = {
    "1 check": ("lifecycle", "check", enter),
    "2 banner": ("_logging", "section", enter),
    "3 reset": ("session_actions", "_make_current", enter),
    "4 stack": ("starters", "commit", enter),
    "5 path mapping": ("preparation", "_use_rules", enter),
    "6 symbols": ("preparation", "_job_scope", enter),
    "7 variables": ("preparation", "_resolve_variables", enter),
    "8 environment": ("process_environment", "with_layers", enter),
    "9 file paths": ("script_files", "allocate", enter),
    "10 let": ("scopes", "with_bindings", enter),
    "11 file contents": ("script_files", "_write_file", enter),
    "12 command": ("actions", "resolve_action", enter),
    "13 start": ("running_action", "start", enter),
    "started": ("running_action", "started", enter),
    "running": ("session_actions", "_announce_running", enter),
    "notified": ("running_action", "_notify", cancel),
    "grace ended": ("running_action", "_end_grace", cancel),
    "limit reached": ("running_action", "_reach_limit", reach_limit),
    "terminated": ("running_action", "_terminate", reach_limit),
    "tree ended": ("running_action", "tree_ended", reach_limit),
    "exited": ("running_action", "exited", leave_output_open),
    "draining": ("output_stream", "drain", leave_output_open),
    "complete": ("running_action", "_complete", end),
    "ended": ("session_actions", "action_ended", end),
    "clean-up": ("resources", "give_back", clean_up),
    "deleting": ("workspace", "delete", clean_up),
}


def _raise(error: BaseException) -> None:
    raise error


STEPS = [name for name in MOMENTS if name[0].isdigit()]
STATES = [name for name in MOMENTS if name not in STEPS]

WAYS: dict[str, Callable[[], object]] = {
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "os._exit": lambda: os._exit(3),
    "sys.exit": lambda: sys.exit(3),
    "exception": lambda: _raise(KeyError("oh")),
}


def begin(moment: Moment, way: str) -> None:
    """Leave a daemon behind, then act; at the moment the program dies in its way."""
    session = Session(session_id="s", job_parameter_values=None, session_root_directory=os.environ["ROOT"])
    has_come = threading.Event()
    threading.setprofile(_Watch(moment, way, has_come))  # for threads that are still to start
    session.run_subprocess(command="sh", args=["-c", DAEMON])
    session.wait()
    _Watch.armed = True
    sys.setprofile(_Watch(moment, way, has_come))
    moment[2](session)
    if not has_come.wait(20):
        os._exit(NEVER)
    WAYS[way]()


class _Watch:
    """Looks for the moment, on any thread, once it is armed."""

    armed = False

    def __init__(self, moment: Moment, way: str, has_come: threading.Event) -> None:
        self._file, self._name, _ = moment
        self._way = way
        self._has_come = has_come

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or code.co_name != self._name or not _Watch.armed:
            return
        if code.co_filename.startswith(PACKAGE) and code.co_filename.endswith(f"/{self._file}.py"):
            _Watch.armed = False
            if threading.current_thread() is threading.main_thread() or self._way not in ("sys.exit", "exception"):
                WAYS[self._way]()
            self._has_come.set()
