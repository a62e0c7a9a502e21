"""Show a run on a terminal: its log in colour, and below it how far the step and its running task are.

The only module that needs the extra ``cli``.
"""

from __future__ import annotations

import logging
from typing import Optional

from rich.cells import set_cell_size
from rich.console import Console

from openjd.sessions._logging import LogContent
from openjd.sessions.cli.display import LineDisplay, Results
from openjd.sessions.cli.output import Output
from openjd.sessions.jobs.events import ActionStarted, ActionUpdated, Event, SessionEnded, StepStarted, TaskEnded

_CLEAR_LINE = "\r\x1b[2K"
_BAR_CELLS = 20


class TerminalDisplay(LineDisplay):
    """Lines in colour above one line of progress."""

    def __init__(self, output: Output, console: Console, *, timestamp_format: str, verbose: bool) -> None:
        super().__init__(output, timestamp_format=timestamp_format, verbose=verbose)
        self._console = console
        self._paints: dict[str, tuple[str, str]] = {}
        self._step = ""
        self._task_count = 0
        self._tasks_ended = 0
        self._progress: Optional[float] = None
        self._status = ""
        self._progress_line = ""

    def report(self, event: Event) -> None:
        super().report(event)
        if isinstance(event, StepStarted):
            self._step, self._task_count, self._tasks_ended = event.step_name, event.task_count, 0
        elif isinstance(event, ActionUpdated):
            self._progress, self._status = event.status.progress, event.status.status_message or ""
        elif isinstance(event, ActionStarted):
            self._progress, self._status = None, ""
        elif isinstance(event, TaskEnded):
            self._tasks_ended += event.task_count
            self._progress, self._status = None, ""
        elif isinstance(event, SessionEnded):
            self._step = ""
        self._progress_line = self._render_progress() if self._step else ""
        self._print("")

    def show(self, timestamp: str, record: logging.LogRecord) -> None:
        self._print(f"{self._paint('dim', timestamp)}\t{self._paint(_style(record), record.getMessage())}\n")

    def conclude(self, results: Results) -> None:
        self._print("")
        super().conclude(results)

    def _print(self, lines: str) -> None:
        self.acquire()
        try:
            self._output.write(f"{_CLEAR_LINE}{lines}{self._progress_line}")
        finally:
            self.release()

    def _render_progress(self) -> str:
        done = (self._tasks_ended + (self._progress or 0) / 100) / max(self._task_count, 1)
        cells = min(int(done * _BAR_CELLS), _BAR_CELLS)
        percent = "" if self._progress is None else f"  {self._progress:.0f}%"
        text = f" {self._tasks_ended}/{self._task_count} tasks of {self._step}{percent}  {self._status}"
        room = max(self._console.width - _BAR_CELLS - 1, 0)
        bar = self._paint("green", "━" * cells) + self._paint("dim", "━" * (_BAR_CELLS - cells))
        return bar + set_cell_size(text, room).rstrip()

    def _paint(self, style: str, text: str) -> str:
        """Give the text in a style; the escape sequences of each style are asked from rich once."""
        if style not in self._paints:
            with self._console.capture() as captured:
                self._console.print("x", style=style, end="")
            before, _, after = captured.get().partition("x")
            self._paints[style] = before, after
        before, after = self._paints[style]
        return f"{before}{text}{after}"


def _style(record: logging.LogRecord) -> str:
    content = getattr(record, "openjd_log_content", None)
    if record.levelno >= logging.ERROR:
        return "bold red"
    if record.levelno >= logging.WARNING:
        return "yellow"
    if content is None or content == LogContent.COMMAND_OUTPUT:
        return "none"
    return "bold blue" if LogContent.BANNER in content else "dim"
