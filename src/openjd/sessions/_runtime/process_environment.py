"""The variables that a process starts from: what it inherits, and what callers add."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Callable, Optional, Union

from openjd.sessions._core.environments import Composition, ProcessEnvironment, Variables

Inherit = Union[bool, Iterable[str]]
"""All of the variables (True), none (False), or those whose names match one of the patterns."""


_decoded: tuple[object, dict[str, str]] = (None, {})
"""The last encoded environment of this program, and what it says."""


def own_variables() -> Mapping[str, str]:
    """This program's environment. Most of the time for a copy goes into decoding: done anew only after a change."""
    global _decoded
    current = os.environ
    if type(current) is not os._Environ:  # somebody has put another mapping in its place
        return dict(current)
    encoded: dict[Any, Any] = current._data.copy()  # type: ignore[attr-defined]
    if encoded != _decoded[0]:
        decoded = {current.decodekey(name): current.decodevalue(value) for name, value in encoded.items()}
        _decoded = (encoded, decoded)
    return _decoded[1]


def inherited_variables(inherit: Union[bool, tuple[str, ...]], variables: Mapping[str, str]) -> Mapping[str, str]:
    """What a process inherits of an environment."""
    if isinstance(inherit, bool):
        return variables if inherit else {}
    return {
        name: value
        for name, value in variables.items()
        if any(fnmatchcase(name, os.path.normcase(pattern)) for pattern in inherit)
    }


def checked_inherit(inherit: Inherit) -> Union[bool, tuple[str, ...]]:
    """A copy that stays as it is. Raises ValueError for a bare string, which would be taken letter by letter."""
    if isinstance(inherit, str):
        raise ValueError(f"inherit_env must be True, False, or a list of name patterns; got the string {inherit!r}.")
    return inherit if isinstance(inherit, bool) else tuple(inherit)


def checked_variables(variables: Optional[Mapping[str, Optional[str]]]) -> dict[str, Optional[str]]:
    """A copy of os_env_vars (ENV-21).

    Raises:
        ValueError: A name is empty or contains ``=`` or NUL, or a value contains NUL.
        TypeError: A name or a value is no text.
    """
    for name, value in (variables or {}).items():
        if not isinstance(name, str) or not isinstance(value, (str, type(None))):
            raise TypeError(f"os_env_vars: names and values must be str; got {name!r}: {value!r}.")
        if not name or "=" in name or "\0" in name:
            raise ValueError(f"os_env_vars: {name!r} can't be the name of an environment variable.")
        if value is not None and "\0" in value:
            raise ValueError(f"os_env_vars: the value of {name!r} contains a NUL character.")
    return dict(variables or {})


@dataclass(frozen=True)
class ProcessVariables:
    """The variables of a Session's processes below those of its environments, lowest first (ENV-18, 1 to 4)."""

    inherit: Union[bool, tuple[str, ...]]
    of_session: Variables
    own: Variables
    base: Callable[[], Mapping[str, str]] = own_variables
    """Gives what there is to inherit; may raise KeeperError."""
    of_call: Variables = field(default_factory=dict)
    composition: Composition = field(default_factory=Composition)

    def with_call(self, os_env_vars: Optional[Mapping[str, Optional[str]]]) -> ProcessVariables:
        """Those of one call. Raises ValueError as ``checked_variables`` does."""
        return replace(self, of_call=checked_variables(os_env_vars)) if os_env_vars else self

    def with_layers(self, layers: Iterable[Variables]) -> ProcessEnvironment:
        """The environment of a process, given the layers of the entered environments."""
        inherited = inherited_variables(self.inherit, self.base())
        return self.composition.of(inherited, self.of_session, self.own, self.of_call, *layers)
