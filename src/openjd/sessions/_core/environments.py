"""Entered environments and the variables they define.

Rules: ENV-1 to ENV-3, ENV-8, ENV-9 (the stack), ENV-14 to ENV-16 (changes), ENV-18 and ENV-19 (composition), WRAP-1 to
WRAP-3 (who wraps), WRAP-16 and WRAP-17 (what has been defined). Nothing here is safe for threads: the stack belongs to
the Session's lock, the changes to the action that collects them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import is_not
from typing import TYPE_CHECKING, Optional

from openjd.sessions._errors import EnvironmentOrderError, WrapConflictError

if TYPE_CHECKING:
    from openjd.model.v2023_09 import Action, Environment

HOOKS = {"onEnter": "onWrapEnvEnter", "onRun": "onWrapTaskRun", "onExit": "onWrapEnvExit"}
"""The wrap hook that replaces each kind of action (WRAP-1)."""

Variables = Mapping[str, Optional[str]]
"""Values of environment variables by name; ``None`` unsets."""


@dataclass(frozen=True)
class VariableLayer:
    """What one entered environment does to the variables of later actions."""

    values: Variables = field(default_factory=dict)


class VariableChanges:
    """The changes that an action prints.

    For the environment that it enters an unset wins over every set of the same name, in whichever order they were
    printed (ENV-15).
    """

    def __init__(self) -> None:
        self._set: dict[str, str] = {}
        self._unset: set[str] = set()
        self._last: dict[str, Optional[str]] = {}

    def note(self, name: str, value: Optional[str]) -> None:
        """A variable gets a value, or loses it (None)."""
        self._last[name] = value
        if value is None:
            self._unset.add(name)
        else:
            self._set[name] = value

    @property
    def last(self) -> Variables:
        """The last change of each name."""
        return self._last

    def applied_to(self, layer: VariableLayer) -> VariableLayer:
        """The layer as it is after these changes."""
        return VariableLayer({**layer.values, **self._set, **dict.fromkeys(self._unset)})


@dataclass(frozen=True)
class EnteredEnvironment:
    """An environment from the start of its entering to the start of its exiting."""

    identifier: str
    environment: Environment
    layer: VariableLayer
    step_name: Optional[str]
    resolved_symtab: Optional[object]
    scope: str = ""
    """Unlike the identifier never used again: what its processes leave behind ends with it."""


class EnvironmentStack:
    """The entered environments, outermost first."""

    def __init__(self) -> None:
        self._entered: list[EnteredEnvironment] = []
        self._push_count = 0
        self._defined: dict[str, Optional[str]] = {}

    @property
    def identifiers(self) -> tuple[str, ...]:
        return tuple(entered.identifier for entered in self._entered)

    def check_enter(self, identifier: str, environment: Environment) -> None:
        """Refuse an identifier that is in use, and a second environment with wrap hooks (ENV-1, ENV-3)."""
        if identifier in self.identifiers:
            raise EnvironmentOrderError(
                identifier, "is already entered. Exit it first, or give this one another identifier."
            )
        wrapping = self._wrapping
        if wrapping is not None and has_wrap_hooks(environment):
            raise WrapConflictError(environment.name, wrapping.environment.name)

    def check_task(self, step_name: Optional[str]) -> None:
        """Refuse a task whose step has no name while it would be wrapped (TASK-2)."""
        wrapping = self._wrapping
        if wrapping is not None and step_name is None:
            raise ValueError(
                f"run_task: environment {wrapping.environment.name!r} wraps tasks, so the name of the step is needed: "
                "give step_name."
            )

    def push(self, entered: EnteredEnvironment) -> None:
        self._push_count += 1
        self._entered.append(replace(entered, scope=str(self._push_count)))

    @property
    def innermost_scope(self) -> str:
        """The scope of what is started now; empty outside of all environments."""
        return self._entered[-1].scope if self._entered else ""

    def check_exit(self, identifier: str) -> EnteredEnvironment:
        """The environment to exit, which must be the innermost one (ENV-8)."""
        if identifier not in self.identifiers:
            known = ", ".join(map(repr, self.identifiers)) or "none"
            raise EnvironmentOrderError(identifier, f"is not entered. Entered are (outermost first): {known}.")
        innermost = self._entered[-1]
        if innermost.identifier != identifier:
            raise EnvironmentOrderError(
                identifier, f"is not the innermost one. Exit {innermost.identifier!r}, which was entered later, first."
            )
        return innermost

    def pop(self) -> EnteredEnvironment:
        """Remove the innermost environment."""
        return self._entered.pop()

    def wrapper_of(self, action: str, identifier: Optional[str] = None) -> Optional[tuple[EnteredEnvironment, Action]]:
        """The environment that wraps an action, and its hook, if there is one (WRAP-1 to WRAP-3).

        Args:
            action: ``onEnter``, ``onRun`` or ``onExit``.
            identifier: Whose action it is; an environment does not wrap its own.
        """
        wrapping = self._wrapping
        if wrapping is None or wrapping.identifier == identifier:
            return None
        hook = hook_of(wrapping.environment, action)
        return (wrapping, hook) if hook is not None else None

    @property
    def _wrapping(self) -> Optional[EnteredEnvironment]:
        """The one entered environment with wrap hooks."""
        return next((entered for entered in self._entered if has_wrap_hooks(entered.environment)), None)

    def apply_changes(self, identifier: Optional[str], changes: VariableChanges) -> None:
        """What an action has printed: it counts for later actions if it has entered an environment (ENV-12).

        Args:
            identifier: The environment that the action has entered, which may have been exited since.
            changes: What it has printed.
        """
        if identifier is None:
            self._define(changes.last)
        for entered in self._entered:
            if entered.identifier == identifier:
                self.replace_layer(identifier, changes.applied_to(entered.layer))

    def replace_layer(self, identifier: str, layer: VariableLayer) -> None:
        """Give an environment other variables; nothing happens if it is no longer entered."""
        self._define(layer.values)
        self._entered = [
            replace(entered, layer=layer) if entered.identifier == identifier else entered for entered in self._entered
        ]

    def forget_symtab(self, identifier: str) -> None:
        """Exit an environment without the resolved symbol table that it was given when it was entered."""
        self._entered = [
            replace(entered, resolved_symtab=None) if entered.identifier == identifier else entered
            for entered in self._entered
        ]

    def variables(self) -> list[Variables]:
        """The variables of every entered environment, outermost first."""
        return [entered.layer.values for entered in self._entered]

    def defined_variables(self, innermost: Variables) -> list[str]:
        """``NAME=value`` of everything that the Session's actions have defined (WRAP-16, WRAP-17).

        What entered environments define or unset holds; for other names, the last change.

        Args:
            innermost: The variables of the environment that is just being entered or exited, if there is one.
        """
        merged = {**self._defined}
        for layer in (*self.variables(), innermost):
            merged.update(layer)
        return [f"{name}={value}" for name, value in merged.items() if value is not None]

    def _define(self, values: Variables) -> None:
        self._defined.update(values)


class ProcessEnvironment(dict[str, str]):
    """The variables of a process. Never changed: to be given the same one again means that nothing has changed."""

    @cached_property
    def lengths(self) -> list[int]:
        """Bytes of each variable, as ``NAME=value``."""
        return [bytes_of(f"{name}={value}") for name, value in self.items()]

    @cached_property
    def length(self) -> int:
        """Bytes of all of them."""
        return sum(self.lengths)

    @cached_property
    def longest(self) -> int:
        """Bytes of the longest one."""
        return max(self.lengths, default=0)


def bytes_of(text: str) -> int:
    """How long a text is for the system."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


class Composition:
    """Composes the variables of processes, anew only if there is another layer in the place of one of the last time."""

    def __init__(self) -> None:
        self._last: tuple[Sequence[Variables], ProcessEnvironment] = ((), ProcessEnvironment())

    def of(self, *layers: Variables) -> ProcessEnvironment:
        """What ``compose_environment`` gives; layers that are given are not changed afterwards."""
        known, environment = self._last
        if len(known) != len(layers) or any(map(is_not, known, layers)):
            environment = compose_environment(*layers)
            self._last = layers, environment
        return environment


def compose_environment(*layers: Variables) -> ProcessEnvironment:
    """The variables of a process: later layers win, and what the last one unset is absent (ENV-18, ENV-19)."""
    merged: dict[str, Optional[str]] = {}
    for layer in layers:
        merged.update(layer)
    return ProcessEnvironment({name: value for name, value in merged.items() if value is not None})


def has_wrap_hooks(environment: Environment) -> bool:
    """Whether an environment wraps the actions of those within it, and tasks."""
    return any(hook_of(environment, action) for action in HOOKS)


def hook_of(environment: Environment, action: str) -> Optional[Action]:
    """What an environment runs in place of such an action."""
    script = environment.script
    return getattr(script.actions, HOOKS[action]) if script else None
