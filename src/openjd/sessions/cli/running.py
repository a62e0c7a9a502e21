"""Run a plan: the session is driven by a second thread, while the main thread only waits for signals."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from openjd.sessions._errors import ActionError
from openjd.sessions._logging import LOG
from openjd.sessions._types import ActionState
from openjd.sessions.cli.arguments import RunOptions
from openjd.sessions.cli.display import Display, DocumentDisplay, LineDisplay, results_of
from openjd.sessions.cli.inputs import read_plan
from openjd.sessions.cli.output import Output
from openjd.sessions.jobs.drive import Interruption, run_session
from openjd.sessions.jobs.events import SessionResult

SUCCEEDED, FAILED, MISUSED, INVALID, TIMED_OUT, INTERRUPTED = 0, 1, 2, 3, 4, 130
"""The exit statuses; the grammar of the command line gives 2."""

_STANDARD_ERROR = 2


def run(options: RunOptions, output: Output, complaints: Output) -> int:
    """Run what a command asks for, and give the exit status.

    Raises:
        InputError: If something that it names is missing or invalid.
        SessionError: If there can't be a session.
    """
    plan = read_plan(options)
    interruption = Interruption()
    output.when_lost = interruption.cancel
    display = _display(options, output)
    with _log_shown_by(display, options), _signals_reach(interruption), ThreadPoolExecutor(1) as driver:
        result = driver.submit(run_session, plan, display.report, interruption).result()
    results = results_of(result)
    if options.step is not None:
        results["step_name"] = options.step
    if options.preserve:
        results["working_directory"] = str(result.working_directory)
    display.conclude(results)
    if result.failure is not None and not result.was_interrupted:
        complaints.write(f"ERROR: {ActionError(result.failure.status, result.failure.action)}\n")
    return _exit_status(result)


def _exit_status(result: SessionResult) -> int:
    if result.was_interrupted:
        return INTERRUPTED
    if result.failure is None:
        return SUCCEEDED
    return TIMED_OUT if result.failure.status.state is ActionState.TIMEOUT else FAILED


def _display(options: RunOptions, output: Output) -> Display:
    if options.output != "human-readable":
        return DocumentDisplay(
            output,
            output_format=options.output,
            timestamp_format=options.timestamp_format,
            verbose=options.verbose,
        )
    if output.is_terminal():
        with suppress(ImportError):  # the extra "cli" is not installed
            from rich.console import Console

            from openjd.sessions.cli.terminal import TerminalDisplay

            console = Console()
            if console.encoding.startswith("utf") and not console.is_dumb_terminal:
                return TerminalDisplay(
                    output, console, timestamp_format=options.timestamp_format, verbose=options.verbose
                )
    return LineDisplay(output, timestamp_format=options.timestamp_format, verbose=options.verbose)


@contextmanager
def _log_shown_by(display: Display, options: RunOptions) -> Iterator[None]:
    level = LOG.level
    LOG.addHandler(display)
    LOG.setLevel(logging.DEBUG if options.verbose else logging.INFO)
    try:
        yield
    finally:
        LOG.removeHandler(display)
        LOG.setLevel(level)


@contextmanager
def _signals_reach(interruption: Interruption) -> Iterator[None]:
    """Let the first signal cancel and the second one terminate."""
    seen: list[int] = []

    def handle(number: int, _: object) -> None:
        seen.append(number)
        if len(seen) == 1:
            _note("Canceling the running action, then exiting the environments. Once more to terminate at once.")
            interruption.cancel()
        else:
            _note("Terminating.")
            interruption.terminate()

    if threading.current_thread() is not threading.main_thread():  # only the main one may set handlers
        yield
        return
    before = {number: signal.signal(number, handle) for number in _signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signals() -> list[signal.Signals]:
    """Those that end a run; not one that is ignored, as nohup does, or a script's shell for what it runs with ``&``."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]


def _note(text: str) -> None:
    """Tell the person, in a signal handler: past the stream, which may be in use."""
    with suppress(OSError):
        os.write(_STANDARD_ERROR, f"\n{text}\n".encode())
