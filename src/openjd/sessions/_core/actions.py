"""An action of a template and a scope become a resolved action (parts 6.1, 6.2 and 6.4 of the rules).

Everything that can be wrong with the fields of an action is found here, before anything is started.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional, Union

from openjd.sessions._errors import ActionFailed

if TYPE_CHECKING:
    from openjd.model.v2023_09 import Action, CancelationMethodDeferred, FormatString
    from openjd.model.v2023_09 import CancelationMethodNotifyThenTerminate as NotifyThenTerminate

    from openjd.sessions._core.scopes import Scope

LONGEST_TIMEOUT = 2**63 - 1
LONGEST_NOTIFY_PERIOD = 600

_DEFAULT_TIMEOUTS = {"onExit": 300}
_DEFAULT_NOTIFY_PERIODS = {"onRun": 120}
_DEFAULT_NOTIFY_PERIOD = 30

_WHOLE_NUMBER = re.compile(r"([+-]?)0*([0-9]{1,19})")


@dataclass(frozen=True)
class CancelMethod:
    """How an action is canceled."""

    notify_period: Optional[int]
    """Seconds between the notify signal and the end (NOTIFY_THEN_TERMINATE), or ``None`` (TERMINATE)."""


@dataclass(frozen=True)
class ResolvedAction:
    """An action with nothing left to resolve."""

    argv: tuple[str, ...]
    timeout: Optional[int]
    """Seconds, or ``None`` for no limit."""
    cancel_method: CancelMethod


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
    where = f"{owner}, {name}"
    return ResolvedAction(
        argv=(_resolve_command(action, scope, where), *_resolve_arguments(action, scope, where)),
        timeout=_resolve_timeout(action, name, scope, where),
        cancel_method=_resolve_cancel_method(action, name, scope, where),
    )


def _resolve_command(action: Action, scope: Scope, where: str) -> str:
    command = scope.resolve_argument(action.command, f"{where}, command")
    if not command:
        raise ActionFailed(f"{where}, command must name a program, but {str(action.command)!r} resolved to nothing.")
    return command


def _resolve_arguments(action: Action, scope: Scope, where: str) -> list[str]:
    arguments = enumerate(action.args or ())
    return [scope.resolve_argument(argument, f"{where}, args[{index}]") for index, argument in arguments]


def _resolve_timeout(action: Action, name: str, scope: Scope, where: str) -> Optional[int]:
    if action.timeout is None:
        return _DEFAULT_TIMEOUTS.get(name)
    return _resolve_seconds(action.timeout, LONGEST_TIMEOUT, scope, f"{where}, timeout")


def _resolve_cancel_method(action: Action, name: str, scope: Scope, where: str) -> CancelMethod:
    from openjd.model.v2023_09 import CancelationMethodTerminate

    cancelation = action.cancelation
    if cancelation is None or isinstance(cancelation, CancelationMethodTerminate):
        return CancelMethod(notify_period=None)
    where = f"{where}, cancelation"
    mode = _resolve_mode(cancelation, scope, where)
    period = cancelation.notifyPeriodInSeconds
    if period is None:
        seconds = _DEFAULT_NOTIFY_PERIODS.get(name, _DEFAULT_NOTIFY_PERIOD)
        return CancelMethod(seconds if mode == "NOTIFY_THEN_TERMINATE" else None)
    seconds = _resolve_seconds(period, LONGEST_NOTIFY_PERIOD, scope, f"{where}, notifyPeriodInSeconds")
    if mode == "TERMINATE":
        raise ActionFailed(
            f"{where}: notifyPeriodInSeconds is {seconds}, but mode {str(cancelation.mode)!r} resolved to TERMINATE, "
            "which has no notify period. Leave the period out, or make the mode NOTIFY_THEN_TERMINATE."
        )
    return CancelMethod(seconds)


def _resolve_mode(cancelation: Union[NotifyThenTerminate, CancelationMethodDeferred], scope: Scope, where: str) -> str:
    from openjd.model.v2023_09 import CancelationMethodDeferred

    if not isinstance(cancelation, CancelationMethodDeferred):
        return "NOTIFY_THEN_TERMINATE"
    mode = scope.resolve(cancelation.mode, f"{where}, mode")
    if mode not in ("TERMINATE", "NOTIFY_THEN_TERMINATE"):
        raise ActionFailed(
            f"{where}, mode must be TERMINATE or NOTIFY_THEN_TERMINATE, "
            f"but {str(cancelation.mode)!r} resolved to {mode!r}."
        )
    return mode


def _resolve_seconds(value: Union[int, FormatString], highest: int, scope: Scope, where: str) -> int:
    expected = f"{where} must be a whole number of seconds from 1 to {highest}"
    if isinstance(value, int):
        if value > highest:
            raise ActionFailed(f"{expected}, but the template gives a larger one.")
        return value
    text = scope.resolve(value, where)
    number = _WHOLE_NUMBER.fullmatch(text)
    seconds = int(number[1] + number[2]) if number else 0
    if not 1 <= seconds <= highest:
        raise ActionFailed(f"{expected}, but {str(value)!r} resolved to {text!r}.")
    return seconds
