"""The stack of environments, variable layers and their composition: rules ENV-1 to ENV-3, ENV-8 to ENV-19."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

import pytest
from openjd.model import parse_model
from openjd.model.v2023_09 import Environment

from openjd.sessions._core.environments import (
    HOOKS,
    Composition,
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
        changes.note(name, value)
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


def test_composition_is_done_again_only_if_a_layer_is_another() -> None:
    """ENV-20"""
    composition, outer = Composition(), {"A": "1", "B": "1"}
    first = composition.of(outer, {})
    inner = {"B": "2"}
    second = composition.of(outer, inner)
    assert composition.of(outer, inner) is second
    assert composition.of(outer) == composition.of(dict(outer)) == first == outer
    assert composition.of(outer, inner) == second == {"A": "1", "B": "2"}


def test_unset_ends_with_its_environment() -> None:
    """ENV-16, ACC-7"""
    stack = EnvironmentStack()
    stack.push(entered("outer", {"A": "1"}))
    stack.push(entered("inner", {"A": None}))
    assert compose_environment(*stack.variables()) == {}
    stack.pop()
    assert compose_environment(*stack.variables()) == {"A": "1"}


# Who wraps


@pytest.mark.parametrize("action", ["onEnter", "onRun", "onExit"])
def test_wrapper_of_inner_actions(action: str) -> None:
    """WRAP-1, WRAP-3, WRAP-5: not of its own, and of nothing when it is gone."""
    stack = stack_of("outer")
    assert stack.wrapper_of(action, "outer") is None
    wrapping = EnteredEnvironment("w", environment("Container", wraps=True), VariableLayer(), None, None)
    stack.push(wrapping)
    assert stack.wrapper_of(action, "w") is None
    stack.push(entered("inner"))
    found = stack.wrapper_of(action, "inner")
    assert found is not None
    assert found[0].identifier == "w"
    script = wrapping.environment.script
    assert script is not None
    assert found[1] is getattr(script.actions, HOOKS[action])
    stack.pop()
    stack.pop()
    assert stack.wrapper_of(action) is None


def test_wrapped_tasks_need_a_step_name() -> None:
    """TASK-2"""
    stack = stack_of("outer")
    stack.check_task(None)
    stack.push(EnteredEnvironment("w", environment("Container", wraps=True), VariableLayer(), None, None))
    stack.check_task("S")
    with pytest.raises(ValueError, match="environment 'Container' wraps tasks"):
        stack.check_task(None)


# What has been defined


def printed(*changes: tuple[str, Optional[str]]) -> VariableChanges:
    made = VariableChanges()
    for name, value in changes:
        made.note(name, value)
    return made


def test_defined_variables_in_order_of_first_definition() -> None:
    """WRAP-16"""
    stack = EnvironmentStack()
    stack.push(entered("a"))
    stack.replace_layer("a", VariableLayer({"B": "1", "A": "1"}))
    stack.apply_changes("a", printed(("C", "1"), ("A", "2")))
    stack.apply_changes(None, printed(("D", "task"), ("B", "task")))
    assert stack.defined_variables({"E": "entering"}) == ["B=1", "A=2", "C=1", "D=task", "E=entering"]


@pytest.mark.parametrize(
    ("layers", "task", "while_entered", "afterwards"),
    [
        ([{"K": "a"}], [], ["K=a"], ["K=a"]),
        ([{"K": "a"}, {"K": "b"}], [], ["K=b"], ["K=b"]),
        ([{"K": "a"}], [("K", "task")], ["K=a"], ["K=task"]),
        ([{"K": "a"}], [("K", None)], ["K=a"], []),
        ([{"K": "a"}, {"K": None}], [], [], []),
        ([{"K": None}], [("K", "task")], [], ["K=task"]),
        ([{"K": None}], [("K", "task"), ("K", None)], [], []),
        ([], [("K", None), ("K", "task")], ["K=task"], ["K=task"]),
        ([], [("K", "")], ["K="], ["K="]),
    ],
)
def test_values_of_defined_variables(
    layers: list[dict[str, Optional[str]]],
    task: list[tuple[str, Optional[str]]],
    while_entered: list[str],
    afterwards: list[str],
) -> None:
    """WRAP-17"""
    stack = EnvironmentStack()
    for index, layer in enumerate(layers):
        stack.push(entered(str(index)))
        stack.replace_layer(str(index), VariableLayer(layer))
    stack.apply_changes(None, printed(*task))
    assert stack.defined_variables({}) == while_entered
    for _ in layers:
        stack.pop()
    assert stack.defined_variables({}) == afterwards


def test_changes_of_an_environment_that_is_gone_are_nobodys() -> None:
    """A program can clean up while an action enters; then nothing is left to be changed."""
    stack = EnvironmentStack()
    stack.apply_changes("gone", printed(("K", "1")))
    assert stack.defined_variables({}) == []
