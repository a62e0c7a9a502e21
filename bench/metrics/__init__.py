"""The metrics, in the order of the table."""

from __future__ import annotations

from bench.metric import Metric
from bench.metrics import (
    actions,
    cancel,
    embedded_files,
    exit_loop,
    expressions,
    imports,
    lines,
    many_actions,
    many_streams,
    other_user,
    path_mapping,
    setup,
    silent,
    trees,
    variables,
)

ALL: tuple[Metric, ...] = (
    *actions.METRICS,
    *lines.METRICS,
    *many_streams.METRICS,
    *silent.METRICS,
    *imports.METRICS,
    *setup.METRICS,
    *variables.METRICS,
    *embedded_files.METRICS,
    *path_mapping.METRICS,
    *expressions.METRICS,
    *cancel.METRICS,
    *trees.METRICS,
    *many_actions.METRICS,
    *exit_loop.METRICS,
    *other_user.METRICS,
)
