"""What a format string sees: symbols and their values (part 3 of the rules).

A scope is built upwards and never changed: Session, then task or environment, then files. Each level is a new scope,
so nothing that one action defines is visible to another (SYM-10). This module loads ``openjd.model``; it is imported
only when an action is prepared.
"""

from __future__ import annotations

from collections.abc import Mapping

from openjd.model import ParameterValue, ParameterValueType, SymbolTable
from openjd.model.v2023_09 import FormatString

from openjd.sessions._errors import ActionFailed
from openjd.sessions._path_mapping import PathMapper


class Scope:
    """Symbols, and format strings resolved with them."""

    def __init__(self, table: SymbolTable) -> None:
        self._table = table

    @classmethod
    def of(cls, symbols: Mapping[str, object]) -> Scope:
        return cls(SymbolTable(source=dict(symbols)))

    def extended(self, symbols: Mapping[str, object]) -> Scope:
        """A new scope with these symbols too; they win over equal names of this one (SYM-5)."""
        return Scope(self._table.union(dict(symbols)))

    def resolve(self, text: FormatString, where: str) -> str:
        """The text with its expressions replaced by their values.

        Args:
            text: A format string of a template.
            where: Which field it is, for the reason of a failure.

        Raises:
            ActionFailed: An expression has no value; the reason holds the complete text of the model (SYM-21).
        """
        try:
            return text.resolve(symtab=self._table)
        except ValueError as error:
            groups = sorted({name.rpartition(".")[0] + ".*" for name in self._table.symbols})
            raise ActionFailed(
                f"{where} cannot be resolved: {error} It can use defined symbols of {', '.join(groups)}."
            ) from error

    def resolve_argument(self, text: FormatString, where: str) -> str:
        """Like ``resolve``, for a text that a process is given: as argument, or as value of a variable (ACT-1)."""
        value = self.resolve(text, where)
        if "\0" in value:
            raise ActionFailed(
                f"{where} contains a NUL character, which no process can be given. "
                "Remove it from the text, or from the parameter that the text uses."
            )
        return value


def session_symbols(working_directory: str, rules_file: str, mapper: PathMapper) -> dict[str, object]:
    """The symbols ``Session.*``."""
    return {
        "Session.WorkingDirectory": working_directory,
        "Session.HasPathMappingRules": "true" if mapper.rules else "false",
        "Session.PathMappingRulesFile": rules_file,
    }


def parameter_symbols(prefix: str, parameters: Mapping[str, ParameterValue], mapper: PathMapper) -> dict[str, object]:
    """The symbols ``Param.*`` and ``RawParam.*`` of a set of parameters (SYM-1, SYM-9).

    Args:
        prefix: What precedes ``Param``: nothing for a job's parameters, ``Task.`` for a task's.
        parameters: The parameters by name.
        mapper: Maps the values of PATH parameters.
    """
    symbols: dict[str, object] = {}
    for name, parameter in parameters.items():
        symbols[f"{prefix}Param.{name}"] = _mapped(parameter, mapper)
        symbols[f"{prefix}RawParam.{name}"] = parameter.value
    return symbols


def _mapped(parameter: ParameterValue, mapper: PathMapper) -> object:
    if parameter.type == ParameterValueType.PATH:
        return mapper.map(parameter.value)
    if parameter.type == ParameterValueType.LIST_PATH:
        return [mapper.map(path) for path in parameter.value]
    return parameter.value
