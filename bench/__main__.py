"""Run the benchmarks and show the table: ``python -m bench`` in the project's directory."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from bench import backends
from bench.backends import Backend
from bench.metric import BARE, OURS, PUBLISHED, Metric
from bench.metrics import ALL
from bench.rounds import Plan
from bench.table import page

MEMORY_FILE_SYSTEM = Path("/dev/shm")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    made.add_argument(
        *("--only", "-o"), action="append", metavar="NAME", help="only metrics whose names begin so; may be repeated"
    )
    made.add_argument("--list", action="store_true", help="show the names of the metrics")
    made.add_argument("--rounds", type=int, metavar="N", help="how often each runs (5; quick: 1)")
    made.add_argument("--quick", action="store_true", help="look whether all works, with numbers that mean little")
    choice = made.add_mutually_exclusive_group()
    choice.add_argument(
        "--published", type=Path, metavar="DIR", help="virtual environment with the published library; made if missing"
    )
    choice.add_argument("--without-published", action="store_true", help="leave the published library out")
    made.add_argument("--directory", type=Path, metavar="DIR", help="where sessions have their directories (memory)")
    made.add_argument("--output", type=Path, metavar="FILE", help="write the page into this file (docs/performance.md)")
    return made


def main(arguments: Optional[Sequence[str]] = None) -> int:
    options = parser().parse_args(arguments)
    metrics = [metric for metric in ALL if metric.name.startswith(tuple(options.only or ("",)))]
    if options.list:
        print(*(metric.name for metric in metrics), sep="\n")
        return 0
    if sys.platform != "linux":
        return say("The benchmarks read /proc: they run on Linux only.")
    if not metrics:
        return say("No metric has such a name; --list shows them.")
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryDirectory(dir=place(options.directory)) as root:
        plan = Plan(
            backends=compared(options, Path(scratch, "published")),
            directory=Path(root),
            rounds=options.rounds or (1 if options.quick else 5),
            quick=options.quick,
        )
        return measure(plan, metrics, options.output)


def place(directory: Optional[Path]) -> Optional[Path]:
    """Where sessions shall have their directories: in memory if nothing else is asked for, so that no disk counts."""
    return directory or (MEMORY_FILE_SYSTEM if MEMORY_FILE_SYSTEM.is_dir() else None)


def compared(options: argparse.Namespace, scratch: Path) -> list[Backend]:
    made = [Backend(BARE, sys.executable), Backend(OURS, sys.executable)]
    if not options.without_published:
        theirs = Backend(PUBLISHED, backends.published((options.published or scratch).absolute()))
        if theirs.version() != backends.PUBLISHED_VERSION:
            raise SystemExit(f"{options.published} has openjd-sessions {theirs.version() or 'not at all'}.")
        made.append(theirs)
    return made


def measure(plan: Plan, metrics: Sequence[Metric], output: Optional[Path]) -> int:
    problems: list[str] = []
    results = []
    for metric in metrics:
        print(f"{metric.name} ...", file=sys.stderr, flush=True)
        results.append(plan.measure(metric, problems.append))
    text = page(plan, results)
    if output is None:
        print(text, end="")
    else:
        output.write_text(text, encoding="utf-8")
    return say(*problems) if problems else 0


def say(*messages: str) -> int:
    print(*messages, sep="\n", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
