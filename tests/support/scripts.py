"""Environments and step scripts of templates, in few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from openjd.model import parse_model
from openjd.model.v2023_09 import Environment, StepScript

from support.stage import shell

EXTENSIONS = ["FEATURE_BUNDLE_1"]


def action(*argv: str, **fields: Any) -> dict[str, Any]:
    """An action; ``fields`` are its ``timeout`` and ``cancelation``."""
    return {"command": argv[0], **({"args": list(argv[1:])} if argv[1:] else {}), **fields}


def sh(text: str, **fields: Any) -> dict[str, Any]:
    """An action that runs a shell script."""
    return action(*shell(text), **fields)


def notified(seconds: int) -> dict[str, Any]:
    """The cancelation method NOTIFY_THEN_TERMINATE."""
    return {"mode": "NOTIFY_THEN_TERMINATE", "notifyPeriodInSeconds": seconds}


def script(on_run: Mapping[str, Any], files: Optional[Sequence[Mapping[str, Any]]] = None) -> StepScript:
    """A step's script."""
    return parse_model(
        model=StepScript, obj={"actions": {"onRun": dict(on_run)}, **_files(files)}, supported_extensions=EXTENSIONS
    )


def environment(
    name: str = "Env",
    *,
    variables: Optional[Mapping[str, str]] = None,
    files: Optional[Sequence[Mapping[str, Any]]] = None,
    **actions: Mapping[str, Any],
) -> Environment:
    """An environment; ``actions`` are its ``onEnter`` and ``onExit``."""
    obj: dict[str, Any] = {"name": name}
    if variables is not None:
        obj["variables"] = dict(variables)
    if actions:
        obj["script"] = {"actions": {key: dict(value) for key, value in actions.items()}, **_files(files)}
    return parse_model(model=Environment, obj=obj, supported_extensions=EXTENSIONS)


def file(name: str, data: str, **fields: Any) -> dict[str, Any]:
    """An embedded file."""
    return {"name": name, "type": "TEXT", "data": data, **fields}


def _files(files: Optional[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    return {"embeddedFiles": [dict(given) for given in files]} if files else {}
