"""Entered environments and the variables they define.

Rules: ENV-1 to ENV-3, ENV-8, ENV-9 (the stack), ENV-14 to ENV-16 (changes), ENV-18 and ENV-19 (composition). Nothing
here is safe for threads: the stack belongs to the Session's lock, the changes to the action that collects them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Optional

from openjd.sessions._errors import EnvironmentOrderError, WrapConflictError

if TYPE_CHECKING:
    from openjd.model.v2023_09 import Environment

Variables = Mapping[str, Optional[str]]
"""Values of environment variables by name; ``None`` unsets."""


@dataclass(frozen=True)
class VariableLayer:
    """What one entered environment does to the variables of later actions."""

    values: Variables = field(default_factory=dict)


class VariableChanges:
    """The changes that an action prints while it enters an environment.

    An unset wins over every set of the same name, in whichever order they were printed (ENV-15).
    """

    def __init__(self) -> None:
        self._set: dict[str, str] = {}
        self._unset: set[str] = set()

    def set(self, name: str, value: str) -> None:
        self._set[name] = value

    def unset(self, name: str) -> None:
        self._unset.add(name)

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

    @property
    def identifiers(self) -> tuple[str, ...]:
        return tuple(entered.identifier for entered in self._entered)

    def check_enter(self, identifier: str, environment: Environment) -> None:
        """Refuse an identifier that is in use, and a second environment with wrap hooks (ENV-1, ENV-3)."""
        if identifier in self.identifiers:
            raise EnvironmentOrderError(
                identifier, "is already entered. Exit it first, or give this one another identifier."
            )
        if has_wrap_hooks(environment):
            for entered in self._entered:
                if has_wrap_hooks(entered.environment):
                    raise WrapConflictError(environment.name, entered.environment.name)

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

    def apply_changes(self, identifier: str, changes: VariableChanges) -> None:
        """What the entering action has printed counts for later actions; no effect if it is no longer entered."""
        for entered in self._entered:
            if entered.identifier == identifier:
                self.replace_layer(identifier, changes.applied_to(entered.layer))

    def replace_layer(self, identifier: str, layer: VariableLayer) -> None:
        """Give an environment other variables; nothing happens if it is no longer entered."""
        self._entered = [
            replace(entered, layer=layer) if entered.identifier == identifier else entered for entered in self._entered
        ]

    def variables(self) -> list[Variables]:
        """The variables of every entered environment, outermost first."""
        return [entered.layer.values for entered in self._entered]


def compose_environment(*layers: Variables) -> dict[str, str]:
    """The variables of a process: later layers win, and what the last one unset is absent (ENV-18, ENV-19)."""
    merged: dict[str, Optional[str]] = {}
    for layer in layers:
        merged.update(layer)
    return {name: value for name, value in merged.items() if value is not None}


def has_wrap_hooks(environment: Environment) -> bool:
    """Whether an environment wraps the actions of those within it, and tasks."""
    actions = environment.script.actions if environment.script else None
    return actions is not None and any((actions.onWrapEnvEnter, actions.onWrapTaskRun, actions.onWrapEnvExit))
