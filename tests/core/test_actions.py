"""The fields of an action, resolved: rules ACT-1 to ACT-3, ACT-11 to ACT-13, ACT-19, ACT-22 to ACT-25."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Optional

import pytest
from openjd.model import parse_model
from openjd.model.v2023_09 import Action

from openjd.sessions._core.actions import CancelMethod, ResolvedAction, check_command_line, resolve_action
from openjd.sessions._core.environments import compose_environment
from openjd.sessions._core.scopes import Scope
from openjd.sessions._errors import ActionFailed

HIGHEST = 2**63 - 1


def resolve(name: str = "onRun", value: str = "", **fields: Any) -> ResolvedAction:
    """An action with these fields; ``{{Param.V}}`` is the given value."""
    obj = {"command": "run", **fields}
    action = parse_model(model=Action, obj=obj, supported_extensions=["FEATURE_BUNDLE_1"])
    return resolve_action(action, name, Scope.of({"Param.V": value, "Param.Name": "Bob"}), "Step 'S'")


def reason(**fields: Any) -> str:
    with pytest.raises(ActionFailed) as caught:
        resolve(**fields)
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "argv"),
    [
        ({}, ("run",)),
        ({"args": ["-n", "", " {{Param.V}} ", "{{Param.Name}}{{Param.Name}}"]}, ("run", "-n", "", "  ", "BobBob")),
        ({"command": "{{Param.Name}} x"}, ("Bob x",)),
        ({"command": " "}, (" ",)),
    ],
)
def test_every_element_is_one_argument(fields: dict[str, Any], argv: tuple[str, ...]) -> None:
    """ACT-1, ACT-3"""
    assert resolve(**fields).argv == argv


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"command": "{{Param.V}}"},
            "Step 'S', onRun, command must name a program, but '{{Param.V}}' resolved to nothing.",
        ),
        (
            {"command": "x{{Param.V}}", "value": "\0"},
            "Step 'S', onRun, command contains a NUL character, which no process can be given. "
            "Remove it from the text, or from the parameter that the text uses.",
        ),
        (
            {"args": ["a", "{{Param.V}}"], "value": "b\0"},
            "Step 'S', onRun, args[1] contains a NUL character, which no process can be given. "
            "Remove it from the text, or from the parameter that the text uses.",
        ),
        (
            {"args": ["a", "b", "{{Task.File.None}}"]},
            "Step 'S', onRun, args[2] cannot be resolved: Failed to parse interpolation expression at [0, 18]. "
            "Expression: Task.File.None. Reason: Expression failed validation: Task.File.None has no value. "
            "It can use defined symbols of Param.*.",
        ),
        (
            {"timeout": "{{Param.None}}", "name": "onExit"},
            "Step 'S', onExit, timeout cannot be resolved: Failed to parse interpolation expression at [0, 14]. "
            "Expression: Param.None. Reason: Expression failed validation: Param.None has no value. "
            "It can use defined symbols of Param.*.",
        ),
    ],
)
def test_what_is_wrong_with_command_and_arguments(fields: dict[str, Any], message: str) -> None:
    """ACT-1, ACT-2, SYM-2"""
    assert reason(**fields) == message


@pytest.mark.parametrize(
    ("name", "timeout", "value", "expected"),
    [
        ("onRun", None, "", None),
        ("onEnter", None, "", None),
        ("onExit", None, "", 300),
        ("onExit", 7, "", 7),
        ("onRun", HIGHEST, "", HIGHEST),
        ("onRun", "{{Param.V}}", "1", 1),
        ("onRun", "{{Param.V}}", "+5", 5),
        ("onRun", "{{Param.V}}", "0" * 5000 + "12", 12),
        ("onRun", "{{Param.V}}", str(HIGHEST), HIGHEST),
        ("onRun", "1{{Param.V}}0", "2", 120),
    ],
)
def test_timeout(name: str, timeout: object, value: str, expected: Optional[int]) -> None:
    """ACT-11, ACT-12, ACT-13"""
    assert resolve(name, value, **({} if timeout is None else {"timeout": timeout})).timeout == expected


@pytest.mark.parametrize(
    "value",
    ["", "0", "-0", "-5", "5.0", "true", " 5", "5 ", "5\n", "5_0", "1e3", "٣", "x", str(HIGHEST + 1), "9" * 5000],
)
def test_timeout_that_is_no_number_of_seconds(value: str) -> None:
    """ACT-12, ACT-13"""
    assert reason(timeout="{{Param.V}}", value=value) == (
        "Step 'S', onRun, timeout must be a whole number of seconds from 1 to 9223372036854775807, "
        f"but '{{{{Param.V}}}}' resolved to {value!r}."
    )


def test_literal_timeout_that_is_too_long() -> None:
    """ACT-13"""
    assert reason(timeout=HIGHEST + 1) == (
        "Step 'S', onRun, timeout must be a whole number of seconds from 1 to 9223372036854775807, "
        "but the template gives a larger one."
    )


@pytest.mark.parametrize(
    ("name", "cancelation", "value", "expected"),
    [
        ("onRun", None, "", None),
        ("onRun", {"mode": "TERMINATE"}, "", None),
        ("onRun", {"mode": "NOTIFY_THEN_TERMINATE"}, "", 120),
        ("onEnter", {"mode": "NOTIFY_THEN_TERMINATE"}, "", 30),
        ("onExit", {"mode": "NOTIFY_THEN_TERMINATE"}, "", 30),
        ("onRun", {"mode": "NOTIFY_THEN_TERMINATE", "notifyPeriodInSeconds": 600}, "", 600),
        ("onRun", {"mode": "NOTIFY_THEN_TERMINATE", "notifyPeriodInSeconds": "{{Param.V}}"}, "600", 600),
        ("onExit", {"mode": "NOTIFY_THEN_TERMINATE", "notifyPeriodInSeconds": "{{Param.V}}"}, "1", 1),
        ("onRun", {"mode": "{{Param.V}}"}, "TERMINATE", None),
        ("onRun", {"mode": "{{Param.V}}"}, "NOTIFY_THEN_TERMINATE", 120),
        ("onEnter", {"mode": "{{Param.V}}_THEN_TERMINATE"}, "NOTIFY", 30),
        ("onRun", {"mode": "{{Param.V}}", "notifyPeriodInSeconds": 5}, "NOTIFY_THEN_TERMINATE", 5),
    ],
)
def test_cancelation(name: str, cancelation: object, value: str, expected: Optional[int]) -> None:
    """ACT-19, ACT-22, ACT-23"""
    fields = {} if cancelation is None else {"cancelation": cancelation}
    assert resolve(name, value, **fields).cancel_method == CancelMethod(expected)


@pytest.mark.parametrize("value", ["", "0", "601", "-1", "5.0", "true"])
def test_notify_period_out_of_bounds(value: str) -> None:
    """ACT-22, ACT-25"""
    cancelation = {"mode": "NOTIFY_THEN_TERMINATE", "notifyPeriodInSeconds": "{{Param.V}}"}
    assert reason(cancelation=cancelation, value=value) == (
        "Step 'S', onRun, cancelation, notifyPeriodInSeconds must be a whole number of seconds from 1 to 600, "
        f"but '{{{{Param.V}}}}' resolved to {value!r}."
    )


@pytest.mark.parametrize("value", ["", "terminate", "Terminate", " TERMINATE", "KILL"])
def test_mode_that_does_not_exist(value: str) -> None:
    """ACT-23, ACT-25"""
    assert reason(cancelation={"mode": "{{Param.V}}"}, value=value) == (
        "Step 'S', onRun, cancelation, mode must be TERMINATE or NOTIFY_THEN_TERMINATE, "
        f"but '{{{{Param.V}}}}' resolved to {value!r}."
    )


def test_notify_period_without_notification() -> None:
    """ACT-24"""
    cancelation = {"mode": "{{Param.V}}", "notifyPeriodInSeconds": 5}
    assert reason(cancelation=cancelation, value="TERMINATE", name="onExit") == (
        "Step 'S', onExit, cancelation: notifyPeriodInSeconds is 5, but mode '{{Param.V}}' resolved to TERMINATE, "
        "which has no notify period. Leave the period out, or make the mode NOTIFY_THEN_TERMINATE."
    )


@pytest.mark.parametrize("text", ["", "x", "é"])
def test_every_argument_and_variable_counts_with_its_end_and_address(text: str) -> None:
    """WRAP-22: those of no length, too; and what is added when the command is started."""
    title = "Step 'S', onRun"
    resolved = ResolvedAction(("run", *[text] * 9_000), None, CancelMethod(None), title=title)
    variables = compose_environment({f"V{number:03}": text for number in range(1_000)})
    size = len(text.encode())
    length = 3 + 9_000 * size + 1_000 * (5 + size) + 10_001 * 9 + 4_096
    check_command_line(resolved, variables, 131_071, length)
    with pytest.raises(ActionFailed, match=f"^{title}: the command line takes {length} bytes with its variables; "):
        check_command_line(resolved, variables, 131_071, length - 1)


@pytest.mark.parametrize("length", [131_071, 131_072])
@pytest.mark.parametrize("number", ["first", "last"])
def test_longest_variable(length: int, number: str) -> None:
    """WRAP-22: its name and the equals sign count."""
    resolved = ResolvedAction(("run", "it"), None, CancelMethod(None), title="T")
    variables = compose_environment({"first": "1", "last": "2", number: "x" * (length - len(number) - 1)})
    if length <= 131_071:
        check_command_line(resolved, variables, 131_071, 2**20)
    else:
        with pytest.raises(ActionFailed, match=f"^T: variable '{number}' is 131072 bytes long; this system allows "):
            check_command_line(resolved, variables, 131_071, 2**20)


@pytest.mark.parametrize("name", ["onExit", "onWrapEnvExit"])
def test_time_limit_of_exits(name: str) -> None:
    """ACT-11"""
    resolved = resolve(name)
    assert (resolved.timeout, resolved.declared_timeout) == (300, None)


def test_values_need_no_model() -> None:
    """API-7: what runs actions does not load what prepares them."""
    code = "import sys, openjd.sessions._core.actions; print('openjd.model' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
