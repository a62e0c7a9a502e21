"""A line becomes a directive, or what is wrong with it.

Rules: DIR-9 to DIR-19 (grammar), RED-8 (what a malformed declaration may hold). What a directive does is decided
elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Callable, Optional, Union

LOG_LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40}


@dataclass(frozen=True)
class SetVariable:
    name: str
    value: str = field(repr=False)


@dataclass(frozen=True)
class SetSecretVariable:
    name: str
    value: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    """The value, and how it is spelled in the line."""


@dataclass(frozen=True)
class UnsetVariable:
    name: str


@dataclass(frozen=True)
class Progress:
    percent: float


@dataclass(frozen=True)
class StatusMessage:
    text: str


@dataclass(frozen=True)
class FailMessage:
    text: str


@dataclass(frozen=True)
class SetLogLevel:
    level: int


@dataclass(frozen=True)
class Malformed:
    """A directive whose payload is not what its kind demands."""

    kind: str
    reason: str
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class NearMiss:
    """A line that was probably meant to change a variable (DIR-19)."""

    kind: str
    secrets: tuple[str, ...] = field(default=(), repr=False)


Directive = Union[
    SetVariable,
    SetSecretVariable,
    UnsetVariable,
    Progress,
    StatusMessage,
    FailMessage,
    SetLogLevel,
    Malformed,
    NearMiss,
]

_DIRECTIVE = re.compile(
    r"openjd_(progress|status|fail|env|redacted_env|unset_env|session_runtime_loglevel): (.+)", re.DOTALL
)
_NEAR_MISS = re.compile(r"\s*openjd_(env|redacted_env|unset_env)(?:[:\s]+(.*))?", re.DOTALL | re.IGNORECASE)
_TOKEN = re.compile(r"_(?<=openjd_)", re.IGNORECASE)
"""Finds ``openjd_``, beginning with its only caseless letter because that is what can be searched for quickly."""
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(rf"({_NAME.pattern})=(.*)", re.DOTALL)
_JSON_ASSIGNMENT = re.compile(rf'"{_NAME.pattern}=')
_IMPOSSIBLE = re.compile("[\0\ud800-\udfff]")
"""No variable can have these (DIR-14)."""

_BAD_ASSIGNMENT = "Failed to parse environment variable assignment."
_BAD_NAME = "Failed to parse environment variable name."
_BAD_PROGRESS = "Progress must be a floating point value between 0.0 and 100.0, inclusive."


def find_directives(text: str) -> Iterator[tuple[int, int, Directive]]:
    """Find the directives among complete lines, which are joined by line feeds.

    Yields:
        Start and end of the line, and what it says.
    """
    end = -1
    for token in _TOKEN.finditer(text):
        if token.start() < end:
            continue
        start = text.rfind("\n", 0, token.start()) + 1
        end = text.find("\n", token.end())
        if end < 0:
            end = len(text)
        directive = parse_directive(text[start:end])
        if directive is not None:
            yield start, end, directive


def parse_directive(line: str) -> Optional[Directive]:
    """Say what a line asks for; None if it is ordinary output (DIR-9, DIR-18, DIR-19)."""
    directive = _DIRECTIVE.fullmatch(line)
    if directive is not None:
        return _PARSERS[directive[1]](directive[2])
    near_miss = _NEAR_MISS.fullmatch(line)
    if near_miss is None:
        return None
    kind = near_miss[1].lower()
    return NearMiss(kind, _spellings(near_miss[2] or "") if kind == "redacted_env" else ())


def _parse_progress(payload: str) -> Directive:
    number = _NUMBER.fullmatch(payload.strip())
    if number is None or not 0 <= float(number[0]) <= 100:
        return Malformed("progress", _BAD_PROGRESS)
    return Progress(float(number[0]))


def _parse_log_level(payload: str) -> Directive:
    name = payload.strip().upper()
    if name not in LOG_LEVELS:
        known = ",".join(LOG_LEVELS)
        return Malformed("session_runtime_loglevel", f"Unknown log level: {name}. Known values: {known}")
    return SetLogLevel(LOG_LEVELS[name])


def _parse_unset(payload: str) -> Directive:
    name = _NAME.fullmatch(payload.lstrip())
    return UnsetVariable(name[0]) if name else Malformed("unset_env", _BAD_NAME)


def _parse_set(payload: str) -> Directive:
    try:
        return SetVariable(*_assignment(payload))
    except ValueError as error:
        return Malformed("env", str(error))


def _parse_set_secret(payload: str) -> Directive:
    try:
        name, value = _assignment(payload)
    except ValueError as error:
        return Malformed("redacted_env", str(error), _spellings(payload))
    spellings = _spellings(payload) if _is_json(payload) else ()
    return SetSecretVariable(name, value, (value, *spellings))


_PARSERS: dict[str, Callable[[str], Directive]] = {
    "progress": _parse_progress,
    "status": StatusMessage,
    "fail": FailMessage,
    "env": _parse_set,
    "redacted_env": _parse_set_secret,
    "unset_env": _parse_unset,
    "session_runtime_loglevel": _parse_log_level,
}


def _assignment(payload: str) -> tuple[str, str]:
    """Split ``NAME=VALUE``, plain or in one JSON string (DIR-12 to DIR-14); ValueError says what is wrong."""
    text = payload.lstrip()
    if _is_json(text):
        text = _decoded(text)
    assignment = _ASSIGNMENT.fullmatch(text)
    if assignment is None or _IMPOSSIBLE.search(assignment[2]):
        raise ValueError(_BAD_ASSIGNMENT)
    return assignment[1], assignment[2]


def _is_json(payload: str) -> bool:
    return payload.lstrip().startswith('"')


def _decoded(text: str) -> str:
    try:
        decoded = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno} (char {error.pos})"
        raise ValueError(f"Unterminated string starting at: {place}") from error
    if not _JSON_ASSIGNMENT.match(text):  # the name has to be spelled literally
        raise ValueError(_BAD_ASSIGNMENT)
    return str(decoded)


def _spellings(payload: str) -> tuple[str, ...]:
    """What may be the secret, as the line spells it: all after the first ``=``, with and without JSON's quotes."""
    _, equals, value = payload.partition("=")
    text = (value if equals else payload).strip()
    bare = text.strip('"')
    return (text, bare) if bare else ()
