"""Read YAML and JSON documents, from files or given in place; every mistake is one clear message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Optional

import yaml

_FILE = "file://"


class InputError(Exception):
    """A template, parameter, rule, step, extension or file is missing or invalid; the text is for people."""


def read_document(path: Path) -> object:
    """Read a file of YAML or JSON."""
    return parse_document(_read(path), str(path))


def given_document(argument: str, option: str) -> tuple[object, str]:
    """Give what an option's argument holds, or the file that it names with ``file://``, and where it is from."""
    if is_file_reference(argument):
        path = Path(argument[len(_FILE) :]).expanduser()
        return read_document(path), str(path)
    return parse_document(argument, option), option


def is_file_reference(argument: str) -> bool:
    return argument.startswith(_FILE)


def parse_document(text: str, source: str) -> object:
    """Parse YAML or JSON.

    JSON is tried first: it is not quite a part of YAML, which knows neither tabs between values nor surrogate escapes.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        json_problem = _json_problem(error)
    try:
        return yaml.safe_load(text)  # not libyaml's loader: deep nesting crashes it
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        is_meant_as_json = text.lstrip().startswith(("{", "["))
        problem = json_problem if is_meant_as_json else _yaml_problem(error)
        raise InputError(f"{source}: {problem}") from error


def _json_problem(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}."
    return f"not valid JSON: {error}."


def _yaml_problem(error: Exception) -> str:
    mark: Optional[yaml.Mark] = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{place}not valid YAML: {getattr(error, 'problem', None) or error}."


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start}: not UTF-8 text.") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}.") from error
