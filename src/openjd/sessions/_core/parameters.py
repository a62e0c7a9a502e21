"""Parameters as callers give them, old and new (API §5), become one dictionary; a task has its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from openjd.sessions._types import Parameter, Parameters

if TYPE_CHECKING:
    from openjd.model import ParameterValue
    from openjd.model.v2023_09 import StepScript


@dataclass(frozen=True)
class Task:
    """One task of a step."""

    script: StepScript
    parameters: Mapping[str, ParameterValue]
    step_name: Optional[str]
    resolved_symtab: Optional[object]
    has_banner: bool


def as_parameter_values(given: Parameters) -> dict[str, ParameterValue]:
    """A copy of the parameters by name.

    Raises:
        TypeError: An element of a list is no ``Parameter``, or a value of a dictionary no ``ParameterValue``.
        ValueError: A list names a parameter twice.
    """
    if isinstance(given, (dict, Mapping)):  # in most cases the first, which is found out far sooner
        for name, value in given.items():
            if not hasattr(value, "type") or not hasattr(value, "value"):
                raise TypeError(f"Parameter {name!r} must be an openjd.model.ParameterValue; got {value!r}.")
        return dict(given)
    values: dict[str, ParameterValue] = {}
    for parameter in given or ():
        if not isinstance(parameter, Parameter):
            raise TypeError(
                "Parameters are a list of openjd.sessions.Parameter, or a dictionary of openjd.model.ParameterValue; "
                f"got the element {parameter!r}."
            )
        if parameter.name in values:
            raise ValueError(f"Parameter {parameter.name!r} is given more than once.")
        values[parameter.name] = _as_value(parameter)
    return values


def _as_value(parameter: Parameter) -> ParameterValue:
    from openjd.model import ParameterValue

    return ParameterValue(type=parameter.type, value=parameter.value)
