"""Delete the working directories of programs that are gone, and say which."""

from __future__ import annotations

from pathlib import Path

from openjd.sessions._logging import printable
from openjd.sessions._runtime.sweeping import swept
from openjd.sessions.cli.arguments import SweepOptions
from openjd.sessions.cli.output import Output


def sweep(options: SweepOptions, output: Output, complaints: Output) -> bool:
    """Do what a command asks for; whether all could be deleted.

    Raises:
        SessionError: If the root does not exist, or can't be trusted.
    """
    root = Path(options.root) if options.root is not None else None
    is_clean = True
    for path, rest in swept(root, is_trial=options.dry_run):
        for name, reason in rest:
            complaints.write(f"ERROR: could not delete {printable(name)}: {reason}\n")
        if rest:
            is_clean = False
        else:
            output.write(f"{'would delete' if options.dry_run else 'deleted'} {path}\n")
    return is_clean
