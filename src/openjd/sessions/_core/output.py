"""What a process printed: what is shown of it, and what it asks for.

Rules: DIR-5 to DIR-22 as far as one line decides them, RED-2 to RED-10, ENV-12, ENV-13. A secret is known before the
line that declares it is shown, and nothing leaves this room with a secret in it but the value of a variable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Optional, Protocol, Union

from openjd.sessions._core.directives import (
    LOG_LEVELS,
    Directive,
    FailMessage,
    Malformed,
    NearMiss,
    Progress,
    SetLogLevel,
    SetSecretVariable,
    SetVariable,
    StatusMessage,
    UnsetVariable,
    find_directives,
    parse_directive,
)
from openjd.sessions._core.lines import MAX_LINE, LineAssembler, Lines, Piece, has_long_line
from openjd.sessions._core.redaction import MASK, Redactor

_SHORTEST_GOOD_SECRET = 3

_NOT_ENABLED = "Received openjd_redacted_env message but REDACTED_ENV_VARS extension is not enabled"
_NEAR_MISS = "Open Job Description: Incorrectly formatted openjd env command ({line})"
_MALFORMED_SECRET = "Malformed openjd_redacted_env command: {reason} No environment variable will be set."
_SHORT_SECRET = (
    "The value of the redacted environment variable {name!r} has fewer than 3 characters; hiding it wherever it occurs "
    "makes this log hard to read."
)
_IGNORED = (
    "Ignoring {kind} for {name!r}: environment variables can only be defined by the Action that enters an Environment."
)


@dataclass(frozen=True)
class Text:
    """Lines to log, joined by line feeds, each of at most MAX_LINE characters."""

    text: str


@dataclass(frozen=True)
class Update:
    """One of the fields has a new value; it is told first, then the line is logged."""

    line: str
    progress: Optional[float] = None
    status_message: Optional[str] = None
    fail_message: Optional[str] = None


@dataclass(frozen=True)
class VariableChange:
    """A variable gets a value, or loses it (None). The value is the real one."""

    name: str
    value: Optional[str] = field(repr=False)


@dataclass(frozen=True)
class LogLevel:
    """The Session logs from this level on."""

    level: int


@dataclass(frozen=True)
class Broken:
    """The action has to be canceled and marked as failed for this reason."""

    reason: str


@dataclass(frozen=True)
class Notice:
    """A record of our own."""

    level: int
    message: str


OutputItem = Union[Text, Update, VariableChange, LogLevel, Broken, Notice]


class Interpreter(Protocol):
    """Who understands what the process prints."""

    def feed(self, block: bytes) -> list[OutputItem]:
        """Give what a block of output says, in its order."""

    def close(self) -> list[OutputItem]:
        """Give what is left at the end of the output."""


class OutputInterpreter:
    """Interprets the output of one action.

    Args:
        redactor: The secrets of the Session.
        entering: Whether the action enters an environment, so that its variables count (ENV-12).
        redacted_env_enabled: Whether the extension REDACTED_ENV_VARS is enabled (RED-2).
    """

    def __init__(self, redactor: Redactor, *, entering: bool, redacted_env_enabled: bool) -> None:
        self._redactor = redactor
        self._entering = entering
        self._redacted_env_enabled = redacted_env_enabled
        self._strict_kinds = ("env", "unset_env") if redacted_env_enabled else ("env", "unset_env", "redacted_env")
        self._assembler = LineAssembler(lambda: redactor.reach)
        self._hides_long_line = False

    def feed(self, block: bytes) -> list[OutputItem]:
        """Give what a block of output says, in its order."""
        return [item for part in self._assembler.feed(block) for item in self._interpret(part)]

    def close(self) -> list[OutputItem]:
        """Give what is left at the end of the output."""
        return [item for part in self._assembler.close() for item in self._interpret(part)]

    def _interpret(self, part: Union[Lines, Piece]) -> Iterator[OutputItem]:
        return self._lines(part.text) if isinstance(part, Lines) else self._piece(part)

    def _lines(self, text: str) -> Iterator[OutputItem]:
        shown = 0
        for start, end, directive in find_directives(text):
            if shown < start:
                yield _text(self._redactor.redact_lines(text[shown : start - 1]))
            self._learn(directive)
            line = text[start:end]
            yield from self._obey(directive, line, self._redactor.redact_lines(line))
            shown = end + 1
        if shown <= len(text):
            yield _text(self._redactor.redact_lines(text[shown:]))

    def _piece(self, piece: Piece) -> Iterator[OutputItem]:
        """Show a piece of a long line; only the first is examined (DIR-4)."""
        directive = parse_directive(piece.text[: piece.end]) if piece.is_first else None
        if piece.is_first:
            self._hides_long_line = _declares_secret(directive)
        elif self._hides_long_line:
            yield Text(MASK)
            return
        if directive is not None:
            self._learn(directive)
        line = self._redactor.redact_part(piece.text, piece.start, piece.end)
        if directive is None:
            yield _text(line)
        else:
            yield from self._obey(directive, piece.text, line)

    def _learn(self, directive: Directive) -> None:
        """Make secret what the line declares, before anything of it is shown (RED-4, RED-5, RED-8)."""
        if isinstance(directive, (SetSecretVariable, Malformed, NearMiss)):
            for secret in directive.secrets:
                self._redactor.add(secret)

    def _obey(self, directive: Directive, line: str, shown: str) -> Iterator[OutputItem]:
        """Say what a directive does.

        Args:
            directive: What the line, or its first piece, says.
            line: The line as far as it is known.
            shown: What is shown of the line, or of its first piece.
        """
        if isinstance(directive, Progress):
            yield Update(shown, progress=directive.percent)
        elif isinstance(directive, StatusMessage):
            yield Update(shown, status_message=self._message(directive.text, line))
        elif isinstance(directive, FailMessage):
            yield Update(shown, fail_message=self._message(directive.text, line))
        elif isinstance(directive, Malformed):
            yield from self._malformed(directive, shown)
        elif isinstance(directive, NearMiss):
            yield from _broken(shown, self._redactor.redact(_NEAR_MISS.format(line=shown)))
        else:
            yield from self._change(directive)
            yield _text(shown)

    def _message(self, text: str, line: str) -> str:
        """Hide secrets in the payload of a line, also those that begin before it or end after it (RED-10)."""
        start = line.index(": ") + 2
        return self._redactor.redact_part(line, start, start + len(text))

    def _malformed(self, directive: Malformed, shown: str) -> Iterator[OutputItem]:
        """Mark the line; while an environment is entered, a variable's directive breaks the action (DIR-20, RED-9)."""
        reason = self._redactor.redact(directive.reason)
        if directive.kind == "redacted_env":
            warning = _MALFORMED_SECRET.format(reason=reason) if self._redacted_env_enabled else _NOT_ENABLED
            yield self._notice("WARNING", warning)
        if self._entering and directive.kind in self._strict_kinds:
            yield from _broken(shown, reason)
        else:
            yield _marked(shown, reason)

    def _change(
        self, directive: Union[SetLogLevel, SetVariable, UnsetVariable, SetSecretVariable]
    ) -> Iterator[OutputItem]:
        if isinstance(directive, SetLogLevel):
            yield LogLevel(directive.level)
        elif isinstance(directive, UnsetVariable):
            yield from self._change_variable("unset_env", directive.name, None)
        elif isinstance(directive, SetVariable):
            yield from self._change_variable("env", directive.name, directive.value)
        else:
            yield from self._change_secret(directive)

    def _change_secret(self, directive: SetSecretVariable) -> Iterator[OutputItem]:
        if 0 < len(directive.value) < _SHORTEST_GOOD_SECRET:
            yield self._notice("WARNING", _SHORT_SECRET.format(name=directive.name))
        if self._redacted_env_enabled:
            yield from self._change_variable("redacted_env", directive.name, directive.value)
        else:
            yield self._notice("WARNING", _NOT_ENABLED)

    def _change_variable(self, kind: str, name: str, value: Optional[str]) -> Iterator[OutputItem]:
        """Tell of a change; outside of an entering it changes no process (ENV-13), and is only known (WRAP-16)."""
        yield VariableChange(name, value)
        if not self._entering:
            yield self._notice("DEBUG", _IGNORED.format(kind=kind, name=name))

    def _notice(self, level: str, message: str) -> Notice:
        return Notice(LOG_LEVELS[level], self._redactor.redact(message))


def _declares_secret(directive: Optional[Directive]) -> bool:
    if isinstance(directive, (Malformed, NearMiss)):
        return directive.kind == "redacted_env"
    return isinstance(directive, SetSecretVariable)


def _broken(shown: str, reason: str) -> Iterator[OutputItem]:
    yield Broken(reason)
    yield _marked(shown, reason)


def _marked(shown: str, reason: str) -> Text:
    return _text(f"{shown} -- ERROR: {reason}")


def _text(shown: str) -> Text:
    """Masks and marks make lines longer, so they are cut once more."""
    if has_long_line(shown):
        pieces = [
            line[at : at + MAX_LINE] for line in shown.split("\n") for at in range(0, max(len(line), 1), MAX_LINE)
        ]
        shown = "\n".join(pieces)
    return Text(shown)
