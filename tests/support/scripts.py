"""Environments and step scripts of templates, in few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from openjd.model import parse_model
from openjd.model.v2023_09 import Environment, StepScript

from support.stage import shell

EXTENSIONS = ["FEATURE_BUNDLE_1"]
WITH_EXPRESSIONS = [*EXTENSIONS, "EXPR"]
WITH_WRAPPING = [*WITH_EXPRESSIONS, "WRAP_ACTIONS"]


def action(*argv: str, **fields: Any) -> dict[str, Any]:
    """An action; ``fields`` are its ``timeout`` and ``cancelation``."""
    return {"command": argv[0], **({"args": list(argv[1:])} if argv[1:] else {}), **fields}


def sh(text: str, **fields: Any) -> dict[str, Any]:
    """An action that runs a shell script."""
    return action(*shell(text), **fields)


def notified(seconds: int) -> dict[str, Any]:
    """The cancelation method NOTIFY_THEN_TERMINATE."""
    return {"mode": "NOTIFY_THEN_TERMINATE", "notifyPeriodInSeconds": seconds}


def script(
    on_run: Mapping[str, Any],
    files: Optional[Sequence[Mapping[str, Any]]] = None,
    *,
    let: Sequence[str] = (),
    extensions: Sequence[str] = EXTENSIONS,
) -> StepScript:
    """A step's script."""
    obj = {"actions": {"onRun": dict(on_run)}, **_files(files), **_bindings(let)}
    return parse_model(model=StepScript, obj=obj, supported_extensions=list(extensions))


def environment(
    name: str = "Env",
    *,
    variables: Optional[Mapping[str, str]] = None,
    files: Optional[Sequence[Mapping[str, Any]]] = None,
    let: Sequence[str] = (),
    extensions: Sequence[str] = EXTENSIONS,
    **actions: Mapping[str, Any],
) -> Environment:
    """An environment; ``actions`` are its ``onEnter``, ``onExit`` and wrap hooks."""
    obj: dict[str, Any] = {"name": name}
    if variables is not None:
        obj["variables"] = dict(variables)
    if actions:
        script = {"actions": {key: dict(value) for key, value in actions.items()}, **_files(files), **_bindings(let)}
        obj["script"] = script
    return parse_model(model=Environment, obj=obj, supported_extensions=list(extensions))


def file(name: str, data: str, **fields: Any) -> dict[str, Any]:
    """An embedded file."""
    return {"name": name, "type": "TEXT", "data": data, **fields}


def _bindings(let: Sequence[str]) -> dict[str, Any]:
    return {"let": list(let)} if let else {}


def _files(files: Optional[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    return {"embeddedFiles": [dict(given) for given in files]} if files else {}
