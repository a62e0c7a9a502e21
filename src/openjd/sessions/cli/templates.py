"""Read job and environment templates, and say which extensions they may use."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Callable, TypeVar, Union

from openjd.model import EnvironmentTemplate, JobTemplate, decode_environment_template, decode_job_template

from openjd.sessions.cli.documents import InputError, read_document

SUPPORTED_EXTENSIONS = ("REDACTED_ENV_VARS", "FEATURE_BUNDLE_1", "TASK_CHUNKING", "EXPR", "WRAP_ACTIONS")
"""The extensions that this version runs."""

MODEL_ERRORS = (
    ValueError,
    NotImplementedError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)
"""What the model raises for broken templates: the first two with a text for people, the others where it stumbles."""

_T = TypeVar("_T", JobTemplate, EnvironmentTemplate)


def accepted_extensions(argument: str) -> list[str]:
    """Read the argument of ``--extensions``: names separated by commas, in any letter case."""
    names = [name.strip().upper() for name in argument.split(",") if name.strip()]
    unknown = [name for name in names if name not in SUPPORTED_EXTENSIONS]
    if unknown:
        raise InputError(f"--extensions: this version does not run {', '.join(unknown)}, only {_supported()}.")
    return names


def read_job_template(path: Path, accepted: Collection[str]) -> JobTemplate:
    """Read and check a job template."""
    return _decode(decode_job_template, _read_template(path, accepted), path, accepted)


def read_environment_template(path: Path, accepted: Collection[str]) -> EnvironmentTemplate:
    """Read and check an environment template."""
    return _decode(decode_environment_template, _read_template(path, accepted), path, accepted)


def read_template(path: Path, accepted: Collection[str]) -> Union[JobTemplate, EnvironmentTemplate]:
    """Read and check a template of either kind."""
    document = _read_template(path, accepted)
    if str(document.get("specificationVersion")).startswith("environment"):
        return _decode(decode_environment_template, document, path, accepted)
    return _decode(decode_job_template, document, path, accepted)


def _read_template(path: Path, accepted: Collection[str]) -> dict[str, Any]:
    document = read_document(path)
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a template, which is an object with a 'specificationVersion'.")
    needed = document.get("extensions")
    missing = [name for name in needed if name not in accepted] if isinstance(needed, list) else []
    if missing:
        listed = ", ".join(map(str, missing))
        raise InputError(f"{path}: extensions: {listed} can't be used; accepted here: {', '.join(accepted) or 'none'}.")
    return document


def _decode(decode: Callable[..., _T], document: dict[str, Any], path: Path, accepted: Collection[str]) -> _T:
    try:
        return decode(template=document, supported_extensions=accepted)
    except MODEL_ERRORS as error:
        raise InputError(f"{path}: {model_problem(error)}") from error


def model_problem(error: Exception) -> str:
    """Say what the model found wrong."""
    if isinstance(error, (ValueError, NotImplementedError)):
        return str(error)
    return f"not a valid template; what the model stumbled over: {type(error).__name__}: {error}"


def _supported() -> str:
    return ", ".join(SUPPORTED_EXTENSIONS)
