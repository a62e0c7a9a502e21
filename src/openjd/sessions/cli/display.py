"""Show the log, the events and the results of a run: as lines, or as one document at the end."""

from __future__ import annotations

import json
import logging
from abc import abstractmethod
from datetime import datetime, timezone
from typing import Callable

import yaml

from openjd.sessions._logging import LOG
from openjd.sessions.cli.output import Output
from openjd.sessions.jobs.events import Event, SessionEnded, SessionResult, SessionStarted, StepStarted

_YamlDumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_STAMPS: dict[str, Callable[[datetime, datetime], str]] = {
    "relative": lambda now, start: str(now - start),
    "local": lambda now, _: now.astimezone().isoformat(timespec="microseconds"),
    "utc": lambda now, _: now.isoformat(timespec="microseconds"),
}
_RESULT_LINES = {
    "job_name": "Job: {}",
    "step_name": "Step: {}",
    "duration": "Duration: {} seconds",
    "tasks_run": "Tasks run: {}",
    "working_directory": "Working directory preserved at: {}",
}

Results = dict[str, object]


class Display(logging.Handler):
    """Handles the records of the log and hears of the events of one run.

    Unless it is verbose, what the library says before the first environment and after the last one is left out, if it
    is not a warning.
    """

    def __init__(self, output: Output, *, timestamp_format: str, verbose: bool) -> None:
        super().__init__()
        self._output = output
        self._stamp = _STAMPS[timestamp_format]
        self._verbose = verbose
        self._start = datetime.now(timezone.utc)
        self._is_in_session = False

    def emit(self, record: logging.LogRecord) -> None:
        if self._verbose or self._is_in_session or record.levelno >= logging.WARNING:
            now = datetime.fromtimestamp(record.created, timezone.utc)
            self.show(self._stamp(now, self._start), record)

    def report(self, event: Event) -> None:
        """Say in the log what is next, or how it ended."""
        if isinstance(event, SessionStarted):
            self._is_in_session = True
            _say(f"Session start {datetime.now(timezone.utc).isoformat()}")
            _say(f"Running job {event.job_name!r}")
        elif isinstance(event, StepStarted):
            _say(f"Running step {event.step_name!r}")
        elif isinstance(event, SessionEnded):
            LOG.info("")
            _say(_outcome(event.result))
            _say("Local Session ended! Now cleaning up Session resources.")
            self._is_in_session = False

    @abstractmethod
    def show(self, timestamp: str, record: logging.LogRecord) -> None:
        """Show one record of the log."""

    @abstractmethod
    def conclude(self, results: Results) -> None:
        """Show the results."""


class LineDisplay(Display):
    """Prints each record as a line, and the results below."""

    def show(self, timestamp: str, record: logging.LogRecord) -> None:
        self._output.write(f"{timestamp}\t{record.getMessage()}\n")

    def conclude(self, results: Results) -> None:
        details = [line.format(results[name]) for name, line in _RESULT_LINES.items() if name in results]
        lines = ["", "--- Results of local session ---", "", str(results["message"]), "", *details, ""]
        self._output.write("\n".join(lines) + "\n")


class DocumentDisplay(Display):
    """Collects the log and prints it with the results as one document."""

    def __init__(self, output: Output, *, output_format: str, timestamp_format: str, verbose: bool) -> None:
        super().__init__(output, timestamp_format=timestamp_format, verbose=verbose)
        self._format = output_format
        self._records: list[dict[str, str]] = []

    def show(self, timestamp: str, record: logging.LogRecord) -> None:
        self._records.append({"timestamp": timestamp, "message": record.getMessage()})

    def conclude(self, results: Results) -> None:
        self._output.write(as_document({**results, "logs": self._records}, self._format))


def results_of(result: SessionResult) -> Results:
    """Give the results under the names that they have in documents."""
    if result.was_interrupted:
        message = "Session was interrupted"
    elif result.succeeded:
        message = "Session ended successfully"
    else:
        message = "Session ended with errors; see Task logs for details"
    return {
        "status": "success" if result.succeeded else "error",
        "message": message,
        "job_name": result.job_name,
        "duration": result.duration,
        "tasks_run": result.tasks_succeeded,
        "chunks_run": result.chunks_succeeded,
    }


def as_document(document: Results, output_format: str) -> str:
    """Give the text of a JSON or YAML document."""
    if output_format == "json":
        return json.dumps(document, indent=4) + "\n"
    return str(yaml.dump(document, Dumper=_YamlDumper, sort_keys=False, allow_unicode=True))


def _say(text: str) -> None:
    LOG.info("Open Job Description CLI: %s", text)


def _outcome(result: SessionResult) -> str:
    if result.was_interrupted:
        return "Interrupted."
    if result.failure is None:
        return "All actions completed successfully!"
    return f"ERROR executing action: {result.failure.action} (see Task logs for details)"
