"""An action of a template and a scope become a resolved action (parts 6.1, 6.2, 6.4 and 10.5 of the rules).

Everything that can be wrong with the fields of an action is found here, before anything is started. A resolved action
becomes the symbols of the wrap hook that is run in its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Callable, Optional, Union

from openjd.sessions._core.environments import ProcessEnvironment, bytes_of
from openjd.sessions._errors import ActionFailed

if TYPE_CHECKING:
    from openjd.model.v2023_09 import Action, CancelationMethodDeferred, FormatString
    from openjd.model.v2023_09 import CancelationMethodNotifyThenTerminate as NotifyThenTerminate

    from openjd.sessions._core.scopes import Scope, Symbols

LONGEST_TIMEOUT = 2**63 - 1
LONGEST_NOTIFY_PERIOD = 600

_DEFAULT_TIMEOUTS = {"onExit": 300, "onWrapEnvExit": 300}
_DEFAULT_NOTIFY_PERIODS = {"onRun": 120}
_DEFAULT_NOTIFY_PERIOD = 30

_ADDRESS_AND_END = 9
"""Bytes that a system adds to each argument and variable."""
_ADDED = 4096
"""Bytes for what is added to a command line when it is started: the path of its program, and a variable of ours."""

_WHOLE_NUMBER = re.compile(r"([+-]?)0*([0-9]{1,19})")


@dataclass(frozen=True)
class CancelMethod:
    """How an action is canceled."""

    notify_period: Optional[int]
    """Seconds between the notify signal and the end (NOTIFY_THEN_TERMINATE), or ``None`` (TERMINATE)."""
    is_declared: bool = field(default=True, compare=False)
    """Whether the action says so, rather than nothing (ACT-19)."""


@dataclass(frozen=True)
class ResolvedAction:
    """An action with nothing left to resolve."""

    argv: tuple[str, ...]
    timeout: Optional[int]
    """Seconds, or ``None`` for no limit."""
    cancel_method: CancelMethod
    declared_timeout: Optional[int] = field(default=None, compare=False)
    """Seconds, or ``None`` if the action itself gives no limit."""
    title: str = field(default="", compare=False)
    """For the reason of a failure: ``Environment 'Maya', onEnter``."""
    shown: Optional[tuple[str, ...]] = field(default=None, compare=False)
    """What is logged instead of ``argv``, if that may hold secrets which nobody would recognise in it."""


def resolve_action(action: Action, name: str, scope: Scope, owner: str) -> ResolvedAction:
    """Resolve every field of an action.

    Args:
        action: The action of a template.
        name: What it is to its script: ``onRun``, ``onEnter`` or ``onExit``; some defaults depend on it.
        scope: The final scope, embedded files included (ACT-7).
        owner: Whose action it is, for the reason of a failure: ``Environment 'Maya'``.

    Raises:
        ActionFailed: A field has no value, or an impossible one.
    """
    title = f"{owner}, {name}"
    argv = resolve_command_line(action, scope, title)
    declared_timeout = _resolve_timeout(action, scope, title)
    return ResolvedAction(
        argv=argv,
        timeout=declared_timeout if declared_timeout is not None else _DEFAULT_TIMEOUTS.get(name),
        cancel_method=_resolve_cancel_method(action, name, scope, title),
        declared_timeout=declared_timeout,
        title=title,
    )


def resolve_command_line(action: Action, scope: Scope, where: str) -> tuple[str, ...]:
    """The command and the arguments of an action.

    Raises:
        ActionFailed: One of them has no value, or an impossible one.
    """
    return (_resolve_command(action, scope, where), *_resolve_arguments(action, scope, where))


def check_command_line(
    action: ResolvedAction, variables: ProcessEnvironment, longest_argument: int, longest_command_line: int
) -> None:
    """Refuse what the system would refuse (WRAP-22).

    Args:
        action: The action; for one without a title, which is the host program's own, the system speaks for itself.
        variables: The environment of its process.
        longest_argument: Bytes that the system allows for each argument.
        longest_command_line: Bytes that it allows for all arguments and variables.

    Raises:
        ActionFailed: An argument, a variable, or the whole is too long.
    """
    if not action.title:
        return
    lengths = list(map(bytes_of, action.argv))
    if max(*lengths, variables.longest) > longest_argument:
        lengths += variables.lengths
        index = next(index for index, length in enumerate(lengths) if length > longest_argument)
        raise ActionFailed(
            f"{action.title}: {_name_of(index, action, variables)} is {lengths[index]} bytes long; "
            f"this system allows {longest_argument}. Pass it in a file instead."
        )
    length = sum(lengths) + variables.length + _ADDRESS_AND_END * (len(lengths) + len(variables)) + _ADDED
    if length > longest_command_line:
        raise ActionFailed(
            f"{action.title}: the command line takes {length} bytes with its variables; this system allows "
            f"{longest_command_line}. Pass fewer or shorter arguments or variables, or a file instead."
        )


def _name_of(index: int, action: ResolvedAction, variables: Mapping[str, str]) -> str:
    """What the text of that index is: one of the arguments, or of the variables, which follow them."""
    count = len(action.argv)
    return f"argument {index} of the command line" if index < count else f"variable {list(variables)[index - count]!r}"


def wrapped_symbols(action: ResolvedAction, variables: Sequence[str]) -> dict[str, object]:
    """What a wrap hook sees of the action that it replaces (WRAP-12).

    Args:
        action: The action as it would run.
        variables: The variables that the Session has defined, as ``NAME=value``.
    """
    from openjd.sessions._core.scopes import Typed

    command, *arguments = action.argv
    method = action.cancel_method
    mode = "TERMINATE" if method.notify_period is None else "NOTIFY_THEN_TERMINATE"
    return {
        "WrappedAction.Command": Typed(command, "string"),
        "WrappedAction.Args": Typed(arguments, "list[string]"),
        "WrappedAction.Environment": Typed(list(variables), "list[string]"),
        "WrappedAction.Timeout": Typed(action.declared_timeout, "int"),
        "WrappedAction.Cancelation.Mode": Typed(mode if method.is_declared else None, "string"),
        "WrappedAction.Cancelation.NotifyPeriodInSeconds": Typed(method.notify_period, "int"),
    }


def without_secrets(symbols: Symbols, redact: Callable[[str], str]) -> Symbols:
    """The same symbols, with what has to be hidden in their texts hidden."""
    from openjd.sessions._core.scopes import Typed

    def hidden(value: object) -> object:
        if isinstance(value, Typed):
            return replace(value, value=hidden(value.value))
        if isinstance(value, list):
            return [hidden(each) for each in value]
        return redact(value) if isinstance(value, str) else value

    return {name: hidden(value) for name, value in symbols.items()}


def _resolve_command(action: Action, scope: Scope, where: str) -> str:
    where = f"{where}, command"
    command = scope.resolve_field(action.command, where)
    if isinstance(command, str) and command:
        return scope.without_nul(command, where)
    what = "a list" if isinstance(command, list) else "nothing"
    raise ActionFailed(f"{where} must name a program, but {str(action.command)!r} resolved to {what}.")


def _resolve_arguments(action: Action, scope: Scope, where: str) -> list[str]:
    """The arguments: null gives none, a list one for each element (ACT-4 to ACT-6)."""
    arguments: list[str] = []
    for index, text in enumerate(action.args or ()):
        field = f"{where}, args[{index}]"
        value = scope.resolve_field(text, field)
        values = value if isinstance(value, list) else [] if value is None else [value]
        arguments += [scope.without_nul(argument, field) for argument in values]
    return arguments


def _resolve_timeout(action: Action, scope: Scope, where: str) -> Optional[int]:
    if action.timeout is None:
        return None
    return _resolve_seconds(action.timeout, LONGEST_TIMEOUT, scope, f"{where}, timeout")


def _resolve_cancel_method(action: Action, name: str, scope: Scope, where: str) -> CancelMethod:
    cancelation = action.cancelation
    if cancelation is None:
        return CancelMethod(notify_period=None, is_declared=False)
    from openjd.model.v2023_09 import CancelationMethodTerminate

    if isinstance(cancelation, CancelationMethodTerminate):
        return CancelMethod(notify_period=None)
    where = f"{where}, cancelation"
    mode = _resolve_mode(cancelation, scope, where)
    if mode is None:
        return CancelMethod(notify_period=None, is_declared=False)
    seconds = None
    if cancelation.notifyPeriodInSeconds is not None:
        field = f"{where}, notifyPeriodInSeconds"
        seconds = _resolve_seconds(cancelation.notifyPeriodInSeconds, LONGEST_NOTIFY_PERIOD, scope, field)
    if mode == "TERMINATE" and seconds is not None:
        raise ActionFailed(
            f"{where}: notifyPeriodInSeconds is {seconds}, but mode {str(cancelation.mode)!r} resolved to TERMINATE, "
            "which has no notify period. Leave the period out, or make the mode NOTIFY_THEN_TERMINATE."
        )
    if mode == "NOTIFY_THEN_TERMINATE" and seconds is None:
        seconds = _DEFAULT_NOTIFY_PERIODS.get(name, _DEFAULT_NOTIFY_PERIOD)
    return CancelMethod(seconds)


def _resolve_mode(
    cancelation: Union[NotifyThenTerminate, CancelationMethodDeferred], scope: Scope, where: str
) -> Optional[str]:
    from openjd.model.v2023_09 import CancelationMethodDeferred

    if not isinstance(cancelation, CancelationMethodDeferred):
        return "NOTIFY_THEN_TERMINATE"
    mode = scope.resolve_optional(cancelation.mode, f"{where}, mode")
    if mode not in ("TERMINATE", "NOTIFY_THEN_TERMINATE", None):
        raise ActionFailed(
            f"{where}, mode must be TERMINATE or NOTIFY_THEN_TERMINATE, "
            f"but {str(cancelation.mode)!r} resolved to {mode!r}."
        )
    return mode


def _resolve_seconds(value: Union[int, FormatString], highest: int, scope: Scope, where: str) -> Optional[int]:
    expected = f"{where} must be a whole number of seconds from 1 to {highest}"
    if isinstance(value, int):
        if value > highest:
            raise ActionFailed(f"{expected}, but the template gives a larger one.")
        return value
    text = scope.resolve_optional(value, where)
    if text is None:
        return None
    number = _WHOLE_NUMBER.fullmatch(text)
    seconds = int(number[1] + number[2]) if number else 0
    if not 1 <= seconds <= highest:
        raise ActionFailed(f"{expected}, but {str(value)!r} resolved to {text!r}.")
    return seconds
