"""The stack of environments, variable layers and their composition: rules ENV-1 to ENV-3, ENV-8 to ENV-19."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

import pytest
from openjd.model import parse_model
from openjd.model.v2023_09 import Environment

from openjd.sessions._core.environments import (
    EnteredEnvironment,
    EnvironmentStack,
    VariableChanges,
    VariableLayer,
    compose_environment,
)
from openjd.sessions._errors import EnvironmentOrderError, WrapConflictError

EXTENSIONS = ["EXPR", "WRAP_ACTIONS"]


def environment(name: str, *, wraps: bool = False) -> Environment:
    hooks = ("onWrapEnvEnter", "onWrapTaskRun", "onWrapEnvExit") if wraps else ("onEnter",)
    actions = {hook: {"command": "true"} for hook in hooks}
    return parse_model(
        model=Environment, obj={"name": name, "script": {"actions": actions}}, supported_extensions=EXTENSIONS
    )


def entered(identifier: str, values: Optional[Mapping[str, Optional[str]]] = None) -> EnteredEnvironment:
    return EnteredEnvironment(identifier, environment(identifier.upper()), VariableLayer(values or {}), None, None)


def stack_of(*identifiers: str) -> EnvironmentStack:
    stack = EnvironmentStack()
    for identifier in identifiers:
        stack.push(entered(identifier, {"WHO": identifier}))
    return stack


def test_environments_leave_in_reverse_order() -> None:
    """ENV-8, ENV-9"""
    stack = stack_of("a", "b")
    assert stack.identifiers == ("a", "b")
    assert stack.check_exit("b").identifier == "b"
    assert stack.identifiers == ("a", "b")
    assert stack.pop().identifier == "b"
    assert stack.check_exit("a").identifier == "a"
    assert stack.pop().identifier == "a"
    assert len(stack.identifiers) == 0


@pytest.mark.parametrize(
    ("entered_ones", "identifier", "message"),
    [
        ((), "a", "Environment 'a' is not entered. Entered are (outermost first): none."),
        (("a", "b"), "c", "Environment 'c' is not entered. Entered are (outermost first): 'a', 'b'."),
        (
            ("a", "b", "c"),
            "a",
            "Environment 'a' is not the innermost one. Exit 'c', which was entered later, first.",
        ),
    ],
)
def test_exit_out_of_order_is_refused(entered_ones: tuple[str, ...], identifier: str, message: str) -> None:
    """ENV-8"""
    stack = stack_of(*entered_ones)
    with pytest.raises(EnvironmentOrderError) as caught:
        stack.check_exit(identifier)
    assert str(caught.value) == message
    assert caught.value.identifier == identifier
    assert stack.identifiers == entered_ones


def test_identifier_is_free_again_after_the_exit() -> None:
    """ENV-1"""
    stack = stack_of("a")
    with pytest.raises(EnvironmentOrderError) as caught:
        stack.check_enter("a", environment("New"))
    assert str(caught.value) == (
        "Environment 'a' is already entered. Exit it first, or give this one another identifier."
    )
    stack.check_enter("b", environment("New"))
    stack.pop()
    stack.check_enter("a", environment("New"))
    assert stack.identifiers == ()


def test_one_wrap_environment_at_a_time() -> None:
    """ENV-3, WRAP-2"""
    stack = stack_of("a")
    outer = environment("Container", wraps=True)
    stack.check_enter("w", outer)
    stack.push(EnteredEnvironment("w", outer, VariableLayer(), None, None))
    stack.check_enter("inner", environment("Inner"))
    with pytest.raises(WrapConflictError) as caught:
        stack.check_enter("w2", environment("Remote", wraps=True))
    assert (caught.value.name, caught.value.entered) == ("Remote", "Container")
    stack.pop()
    stack.check_enter("w2", environment("Remote", wraps=True))


def test_environment_without_script_wraps_nothing() -> None:
    stack = stack_of()
    bare = parse_model(model=Environment, obj={"name": "Bare", "variables": {"A": "1"}})
    stack.push(EnteredEnvironment("bare", bare, VariableLayer(), None, None))
    stack.check_enter("w", environment("Container", wraps=True))
    assert stack.identifiers == ("bare",)


def test_layers_are_replaced_as_long_as_they_are_there() -> None:
    stack = stack_of("a", "b")
    stack.replace_layer("a", VariableLayer({"NEW": "1"}))
    assert stack.variables() == [{"NEW": "1"}, {"WHO": "b"}]
    assert stack.pop().layer == VariableLayer({"WHO": "b"})
    stack.replace_layer("b", VariableLayer({"NEW": "2"}))
    assert stack.variables() == [{"NEW": "1"}]


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ([], {"OWN": "declared", "OTHER": "o"}),
        ([("A", "1"), ("A", "2")], {"OWN": "declared", "OTHER": "o", "A": "2"}),
        ([("OWN", "printed")], {"OWN": "printed", "OTHER": "o"}),
        ([("OWN", None)], {"OWN": None, "OTHER": "o"}),
        ([("A", "1"), ("A", None)], {"OWN": "declared", "OTHER": "o", "A": None}),
        ([("A", None), ("A", "1")], {"OWN": "declared", "OTHER": "o", "A": None}),
        ([("A", "")], {"OWN": "declared", "OTHER": "o", "A": ""}),
    ],
)
def test_changes_of_one_environment(
    printed: list[tuple[str, Optional[str]]], expected: Mapping[str, Optional[str]]
) -> None:
    """ENV-14, ENV-15: the last set wins, an unset wins over all."""
    changes = VariableChanges()
    for name, value in printed:
        if value is None:
            changes.unset(name)
        else:
            changes.set(name, value)
    before = VariableLayer({"OWN": "declared", "OTHER": "o"})
    assert changes.applied_to(before).values == expected
    assert before.values == {"OWN": "declared", "OTHER": "o"}


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([], {}),
        ([{"B": "ctor"}, {"B": "call"}, {"B": "e1"}], {"B": "e1"}),
        ([{"A": "1", "B": "2"}, {"A": None}], {"B": "2"}),
        ([{"A": None}, {"A": "1"}], {"A": "1"}),
        ([{"A": "1"}, {"A": ""}], {"A": ""}),
        ([{"A": "1"}, {"NEVER": None}], {"A": "1"}),
    ],
)
def test_composition(layers: list[Mapping[str, Optional[str]]], expected: dict[str, str]) -> None:
    """ENV-16, ENV-18, ENV-19"""
    assert compose_environment(*layers) == expected


def test_unset_ends_with_its_environment() -> None:
    """ENV-16, ACC-7"""
    stack = EnvironmentStack()
    stack.push(entered("outer", {"A": "1"}))
    stack.push(entered("inner", {"A": None}))
    assert compose_environment(*stack.variables()) == {}
    stack.pop()
    assert compose_environment(*stack.variables()) == {"A": "1"}
