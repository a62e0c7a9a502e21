"""The command line, ``openjd-sessions`` or ``python -m openjd.sessions``: run, check, sweep, and examine this host."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from openjd.sessions._errors import SessionError
from openjd.sessions.cli.arguments import (
    CheckOptions,
    DoctorOptions,
    Options,
    RunOptions,
    SweepOptions,
    parse_arguments,
)
from openjd.sessions.cli.display import as_document
from openjd.sessions.cli.doctor import examine
from openjd.sessions.cli.documents import InputError
from openjd.sessions.cli.output import Output
from openjd.sessions.cli.running import FAILED, INTERRUPTED, INVALID, SUCCEEDED, run
from openjd.sessions.cli.sweeping import sweep
from openjd.sessions.cli.templates import accepted_extensions, read_template

__all__ = ("main",)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Do what a command line says, and give the exit status."""
    try:
        options = parse_arguments(argv)
    except SystemExit as end:
        return int(end.code or 0)
    output, complaints = Output(sys.stdout), Output(sys.stderr)
    status = _run_command(options, output, complaints)
    if output.error is not None and not isinstance(output.error, BrokenPipeError):
        complaints.write(f"ERROR: standard output: {output.error.strerror}.\n")
        return status or INVALID
    return status


def _run_command(options: Options, output: Output, complaints: Output) -> int:
    try:
        if isinstance(options, SweepOptions):
            return SUCCEEDED if sweep(options, output, complaints) else FAILED
        if isinstance(options, DoctorOptions):
            return SUCCEEDED if examine(options, output) else FAILED
        return _check(options, output) if isinstance(options, CheckOptions) else run(options, output, complaints)
    except (InputError, OSError) as error:
        _complain(str(error), options, output, complaints)
        return INVALID
    except (SessionError, NotImplementedError) as error:
        _complain(str(error), options, output, complaints)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _check(options: CheckOptions, output: Output) -> int:
    read_template(Path(options.path), accepted_extensions(options.extensions))
    message = f"Template at {options.path!r} passes validation checks."
    if options.output == "human-readable":
        output.write(f"{message}\n")
    else:
        output.write(as_document({"status": "success", "message": message}, options.output))
    return SUCCEEDED


def _complain(message: str, options: Options, output: Output, complaints: Output) -> None:
    """Say what is wrong; who wanted a document gets one as well."""
    complaints.write(f"ERROR: {message}\n")
    if isinstance(options, (CheckOptions, RunOptions)) and options.output != "human-readable":
        output.write(as_document({"status": "error", "message": message}, options.output))
