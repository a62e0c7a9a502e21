"""The page with the results: one table, and what was compared on which kind of machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Optional

from bench.metric import BARE, OURS, PUBLISHED, Goal, Row
from bench.rounds import Plan, Results

_NONE = "–"
_HEAD = """\
# Performance

What this library costs, beside the published one and beside the bare limit: what the same takes without any library
(spawn, pipe and wait; bare files; a dictionary). `python -m bench` measures it and writes this page.

Each of the three runs the same workload once a round, in a fresh interpreter and in turns. Values are medians over the
rounds; ratios are formed within a round, and the median is shown with the least and the greatest one. Only ratios and
counts are judged: times depend on the machine. "Own processor time" is that of the program with the launcher and the
keepers, without the actions. Why some goals are not reached is shown by
[where an action's time goes](design.md#where-an-actions-time-goes).
"""
_COLUMNS = ("what", "unit", BARE, OURS, PUBLISHED, "× bare", "× published", "goal", "reached")


def page(plan: Plan, results: Iterable[Results]) -> str:
    lines = [_HEAD, machine(plan), "", row_of(_COLUMNS), row_of(["---"] * len(_COLUMNS))]
    lines += [row_of(cells) for found in results for cells in rows(found)]
    return "\n".join(lines) + "\n"


def machine(plan: Plan) -> str:
    versions = ", ".join(f"{each.name} {each.version()}" for each in plan.backends if each.name != BARE)
    rounds = f"{plan.rounds} round{'s' if plan.rounds != 1 else ''}"
    system = f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"
    parts = [versions, rounds, f"CPython {platform.python_version()}", system, f"{os.cpu_count()} × {processor()}"]
    quick = " A quick look: the numbers mean little." if plan.quick else ""
    return f"Measured: {'; '.join(parts)}; sessions have their directories on {file_system(plan.directory)}.{quick}"


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def file_system(directory: Path) -> str:
    """The kind of file system that a directory is on."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    above = [(len(fields[1]), fields[2]) for fields in mounts if directory.resolve().is_relative_to(fields[1])]
    return max(above)[1] if above else "an unknown file system"


def rows(results: Results) -> Iterator[list[str]]:
    """The cells of each row of a metric."""
    for row in results.metric.rows:
        values = [number(results.value(backend, row.key)) for backend in (BARE, OURS, PUBLISHED)]
        ratios = [spread(results.ratios(OURS, other, row.key)) for other in (BARE, PUBLISHED)]
        yield [row.label, row.unit, *values, *ratios, goal(row), reached(results, row)]


def row_of(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def number(value: Optional[float]) -> str:
    """Three digits that count."""
    if value is None:
        return _NONE
    if 0 < abs(value) < 0.001:
        return "< 0.001"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def spread(ratios: list[float]) -> str:
    if not ratios:
        return _NONE
    middle = number(median(ratios))
    return middle if len(ratios) == 1 else f"{middle} ({number(min(ratios))} to {number(max(ratios))})"


def goal(row: Row) -> str:
    if row.goal is None:
        return ""
    sign = "≥" if row.goal.at_least else "≤"
    unit = f"× {row.goal.of}" if row.goal.of else row.unit
    return f"{sign} {row.goal.limit:g} {unit}".rstrip()


def reached(results: Results, row: Row) -> str:
    """Whether a goal is reached, said of ratios and counts only."""
    if row.goal is None or (row.goal.of is None and row.unit == "ms"):
        return ""
    value = what_counts(results, row.key, row.goal)
    if value is None:
        return _NONE
    return "yes" if (value >= row.goal.limit if row.goal.at_least else value <= row.goal.limit) else "no"


def what_counts(results: Results, key: str, aim: Goal) -> Optional[float]:
    """The median of what a goal is about: a ratio, or the value itself."""
    if aim.of is None:
        return results.value(OURS, key)
    ratios = results.ratios(OURS, aim.of, key)
    return median(ratios) if ratios else None
