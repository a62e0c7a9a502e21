"""What 200 path mapping rules cost: one path, rule by rule, and an action of a session with 1,000 PATH parameters."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from statistics import median
from typing import TYPE_CHECKING

from bench.metric import PUBLISHED, Goal, Metric, Row, Values
from bench.sessions import Driven, listen, script

if TYPE_CHECKING:
    from openjd.model import ParameterValue

    from openjd.sessions import PathMappingRule

RULES = {f"/mnt/share{number:03}/projects": f"/local/cache{number:03}/projects" for number in range(200)}
PATHS = tuple(f"/mnt/share{number % 200:03}/projects/film/shot{number}/plate.exr" for number in range(1000))
USED = f"Path{len(PATHS) - 1}"
"""The parameter that the task asks for."""
LATER = 3
"""Actions of a session after its first one."""


def map_bare(path: str) -> str:
    """A dictionary, and a walk up the parents."""
    parent = path
    while parent:
        if parent in RULES:
            return RULES[parent] + path[len(parent) :]
        parent = parent.rpartition("/")[0]
    return path


def bare_mapping(_: bool) -> Values:
    begin = time.perf_counter()
    for path in PATHS:
        map_bare(path)
    seconds = time.perf_counter() - begin
    return {"apply": seconds / len(PATHS) * 1e6, "first": seconds * 1000, "later": seconds * 1000}


def mapping(quick: bool) -> Values:
    listen()
    rules, parameters = path_mapping_rules(), path_parameters()
    run_session({}, ())  # what is loaded or started once
    with_it, without = [], []
    for _ in range(1 if quick else 3):
        with_it.append(run_session(parameters, rules))
        without.append(run_session({}, ()))
    first, later = (median(ours) - median(others) for ours, others in zip(zip(*with_it), zip(*without)))
    return {"apply": apply_each(rules, quick) * 1e6, "first": first * 1000, "later": later * 1000}


def path_mapping_rules() -> list[PathMappingRule]:
    from openjd.sessions import PathFormat, PathMappingRule

    return [
        PathMappingRule(
            source_path_format=PathFormat.POSIX,
            source_path=PurePosixPath(source),
            destination_path=PurePosixPath(destination),
        )
        for source, destination in RULES.items()
    ]


def path_parameters() -> dict[str, ParameterValue]:
    from openjd.model import ParameterValue, ParameterValueType

    return {f"Path{number}": ParameterValue(type=ParameterValueType.PATH, value=at) for number, at in enumerate(PATHS)}


def run_session(parameters: Mapping[str, ParameterValue], rules: Sequence[PathMappingRule]) -> tuple[float, float]:
    """The seconds until a session is made and has run its first action, and those of a later one."""
    task = script("test", f"{{{{Param.{USED}}}}}", "=", map_bare(PATHS[-1]), paths=[USED]) if rules else script("true")
    begin = time.perf_counter()
    driven = Driven(parameters=parameters, rules=rules)
    driven.run(task)
    first = time.perf_counter() - begin
    later = median(driven.run(task) for _ in range(LATER))
    driven.close()
    return first, later


def apply_each(rules: Sequence[PathMappingRule], quick: bool) -> float:
    """Seconds to map one path by trying one rule after the other."""
    paths = PATHS[:50] if quick else PATHS
    begin = time.perf_counter()
    for path in paths:
        if not any(rule.apply(path=path)[0] for rule in rules):
            raise RuntimeError(f"No rule maps {path}.")
    return (time.perf_counter() - begin) / len(paths)


METRICS = (
    Metric(
        "paths",
        rows=(
            Row(
                "first",
                "200 rules, 1,000 PATH parameters: how much later a first action ends",
                "ms",
                Goal(0.02, PUBLISHED),
            ),
            Row("later", "… how much longer a later action takes", "ms"),
            Row("apply", "… `PathMappingRule.apply`, rule by rule, of a path", "µs"),
        ),
        library=mapping,
        bare=bare_mapping,
    ),
)
