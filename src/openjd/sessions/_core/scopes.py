"""What a format string sees: symbols and their values (part 3 of the rules).

A scope is built upwards and never changed: Session, then task or environment, then files, then ``let``. Each level is a
new scope, so nothing that one action defines is visible to another (SYM-10). Values are converted once for each level,
and only when something asks for them: to texts for format strings of the base specification, to typed values for those
with the extension EXPR. This module loads ``openjd.model``; it is imported only when an action is prepared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Callable, Optional, Union

from openjd.model import ParameterValue, ParameterValueType, SymbolTable
from openjd.model.v2023_09 import FormatString

from openjd.sessions._errors import ActionFailed
from openjd.sessions._path_mapping import PathMapper, PathMappingRule

if TYPE_CHECKING:
    from openjd.expr import ExprValue

    from openjd.sessions._core.expressions import Expressions

ENGINE_ERRORS = (ValueError, TypeError, ArithmeticError)
"""What the expression engine raises for values and expressions that are wrong."""

LONGEST_BINDING = 4096
"""Characters of a ``let`` binding; far longer ones can exhaust the stack of the engine's parser (SYM-20)."""

_DOTTED_NAME = re.compile(r"\s*[A-Za-z_]\w*(\s*\.\s*[A-Za-z_]\w*)+\s*", re.ASCII)
_RAW_TYPES = {"path": "string", "list[path]": "list[string]", "chunk[int]": "string"}
_TYPES = {"chunk[int]": "range_expr"}
_NO_SYMBOLS = SymbolTable()


@dataclass(frozen=True)
class Typed:
    """A value whose type in an expression is not that of the Python value."""

    value: object
    type: str
    """The type's name in the expression language."""
    keeps_spelling: bool = False
    """Whether a reference to nothing but this symbol gives the text as it was given (CHK-5)."""


Symbols = Mapping[str, object]
"""Values by full names: ``Typed``, values of the expression engine, or those of Python."""


class Scope:
    """Symbols, and format strings resolved with them."""

    def __init__(self, symbols: Symbols, engine: Callable[[], Expressions], below: Optional[Scope] = None) -> None:
        self._own = symbols
        self._engine = engine
        self._below = below

    @classmethod
    def of(cls, symbols: Symbols, rules: Iterable[PathMappingRule] = ()) -> Scope:
        """The lowest scope.

        Args:
            symbols: What it defines.
            rules: What expressions of it and of scopes built upon it map paths with.
        """

        @lru_cache(maxsize=1)
        def load_engine() -> Expressions:
            from openjd.sessions._core.expressions import Expressions

            return Expressions(rules)

        return cls(symbols, load_engine)

    def extended(self, symbols: Symbols) -> Scope:
        """A new scope with these symbols too; they win over equal names of this one (SYM-5)."""
        return Scope(symbols, self._engine, self) if symbols else self

    def with_bindings(self, bindings: Iterable[str], where: str) -> Scope:
        """A new scope with ``let`` bindings, each evaluated with those before it (SYM-19).

        Raises:
            ActionFailed: One has no value; the reason names it.
        """
        found: dict[str, ExprValue] = {}
        values: dict[str, ExprValue] = {}
        for binding in bindings:
            name, _, expression = map(str.strip, binding.partition("="))
            if name and expression:
                values = values or dict(self._values)
                values[name] = found[name] = self._bound(binding, expression, values, f"{where}, let {name!r}")
        return self.extended(found)

    def resolve(self, text: FormatString, where: str) -> str:
        """The text with its expressions replaced by the string forms of their values (SYM-15, SYM-16).

        Args:
            text: A format string of a template.
            where: Which field it is, for the reason of a failure.

        Raises:
            ActionFailed: An expression has no value; the reason holds the complete text of the engine (SYM-21).
        """
        return self._resolve_expressions(text, where) if _has_extension(text) else self._resolve_names(text, where)

    def resolve_optional(self, text: FormatString, where: str) -> Optional[str]:
        """Like ``resolve``, but None for a field that is one expression with the value null (ACT-12, ACT-23)."""
        value = self.resolve_field(text, where)
        return self.resolve(text, where) if isinstance(value, list) else value

    def resolve_field(self, text: FormatString, where: str) -> Union[str, list[str], None]:
        """Like ``resolve``, but a field that is one expression keeps null, and a list as its elements (SYM-17)."""
        if not _has_extension(text):
            return self._resolve_names(text, where)
        whole = text.whole_field_expression()
        if whole is None or whole.expression is None:
            return self._resolve_expressions(text, where)
        source = whole.expression.expr
        value = self._evaluate(source, where)
        if value.is_null:
            return None
        if self._engine().is_list(value):
            return [str(element) for element in value]
        return self._spelt(source, value)

    def resolve_argument(self, text: FormatString, where: str) -> str:
        """Like ``resolve``, for a text that a process is given: as argument, or as value of a variable (ACT-1)."""
        return self.without_nul(self.resolve(text, where), where)

    @staticmethod
    def without_nul(value: str, where: str) -> str:
        """The value, which a process can be given (ACT-1)."""
        if "\0" in value:
            raise ActionFailed(
                f"{where} contains a NUL character, which no process can be given. "
                "Remove it from the text, or from the parameter that the text uses."
            )
        return value

    def _resolve_names(self, text: FormatString, where: str) -> str:
        try:
            return text.resolve(symtab=self._table if text.expressions else _NO_SYMBOLS)
        except ValueError as error:
            groups = sorted({name.rpartition(".")[0] + ".*" for name in self._table.symbols if "." in name})
            raise ActionFailed(
                f"{where} cannot be resolved: {error} It can use defined symbols of {', '.join(groups)}."
            ) from error

    def _resolve_expressions(self, text: FormatString, where: str) -> str:
        pieces, end = [], 0
        for part in text.expressions:
            if part.expression is not None:
                source = part.expression.expr
                pieces += [text[end : part.start_pos], self._spelt(source, self._evaluate(source, where))]
                end = part.end_pos
        return "".join([*pieces, text[end:]])

    def _evaluate(self, source: str, where: str) -> ExprValue:
        values = self._values
        try:
            return self._engine().evaluate(source, values)
        except ENGINE_ERRORS as error:
            raise ActionFailed(f"{where} cannot be resolved: {error}") from error

    def _bound(self, binding: str, source: str, values: Mapping[str, ExprValue], where: str) -> ExprValue:
        if len(binding) > LONGEST_BINDING:
            raise ActionFailed(
                f"{where} is {len(binding)} characters long; at most {LONGEST_BINDING} are allowed. "
                "Divide it into several bindings."
            )
        try:
            return self._engine().evaluate(source, values)
        except ENGINE_ERRORS as error:
            raise ActionFailed(f"{where} cannot be evaluated: {error}") from error

    def _spelt(self, source: str, value: ExprValue) -> str:
        spelling = self._spellings.get(source.strip())
        if spelling is not None:
            return spelling
        return "" if value.is_null else str(value)

    @cached_property
    def _table(self) -> SymbolTable:
        """The symbols as format strings without EXPR see them."""
        own = {name: value.value if isinstance(value, Typed) else value for name, value in self._own.items()}
        return self._below._table.union(own) if self._below else SymbolTable(source=own)

    @cached_property
    def _values(self) -> dict[str, ExprValue]:
        """The symbols as expressions see them (SYM-6, SYM-7)."""
        values = dict(self._below._values) if self._below else {}
        convert = self._engine().convert
        for name, value in self._own.items():
            try:
                values[name] = convert(value.value, value.type) if isinstance(value, Typed) else convert(value)
            except ENGINE_ERRORS as error:
                raise ActionFailed(f"{name} has a value that does not fit its type: {error}") from error
        return values

    @cached_property
    def _spellings(self) -> dict[str, str]:
        below = self._below._spellings if self._below else {}
        own = {
            name: str(value.value)
            for name, value in self._own.items()
            if isinstance(value, Typed) and value.keeps_spelling
        }
        return {**below, **own} if own else below


def table_symbols(table: object) -> dict[str, object]:
    """The symbols of a ``resolved_symtab``.

    Raises:
        ActionFailed: It cannot be read (SYM-13).
    """
    from openjd.sessions._core.expressions import table_values

    try:
        return dict(table_values(table))
    except ENGINE_ERRORS as error:
        raise ActionFailed(f"The resolved symbol table (resolved_symtab) cannot be read: {error}.") from error


def session_symbols(working_directory: str, rules_file: str, mapper: PathMapper) -> dict[str, object]:
    """The symbols ``Session.*``."""
    return {
        "Session.WorkingDirectory": Typed(working_directory, "path"),
        "Session.HasPathMappingRules": Typed("true" if mapper.rules else "false", "bool"),
        "Session.PathMappingRulesFile": Typed(rules_file, "path"),
    }


def parameter_symbols(prefix: str, parameters: Mapping[str, ParameterValue], mapper: PathMapper) -> dict[str, object]:
    """The symbols ``Param.*`` and ``RawParam.*`` of a set of parameters (SYM-1, SYM-6, SYM-9).

    Args:
        prefix: What precedes ``Param``: nothing for a job's parameters, ``Task.`` for a task's.
        parameters: The parameters by name.
        mapper: Maps the values of PATH parameters.
    """
    symbols: dict[str, object] = {}
    for name, parameter in parameters.items():
        kind = parameter.type.value.lower()
        symbols[f"{prefix}Param.{name}"] = Typed(
            _mapped(parameter, mapper), _TYPES.get(kind, kind), parameter.type == ParameterValueType.CHUNK_INT
        )
        symbols[f"{prefix}RawParam.{name}"] = Typed(parameter.value, _RAW_TYPES.get(kind, kind))
    return symbols


def _mapped(parameter: ParameterValue, mapper: PathMapper) -> object:
    if parameter.type == ParameterValueType.PATH:
        return mapper.map(parameter.value)
    if parameter.type == ParameterValueType.LIST_PATH:
        return [mapper.map(path) for path in parameter.value]
    return parameter.value


def _has_extension(text: FormatString) -> bool:
    """Whether it was parsed with EXPR.

    Otherwise the model tells of no symbols that it refers to (MODEL-9), and a name without a dot, such as ``null``, has
    no value.
    """
    for part in text.expressions:
        expression = part.expression
        if expression is None:
            continue
        if expression.accessed_symbols or expression.called_functions:
            return True
        if not _DOTTED_NAME.fullmatch(expression.expr):
            with suppress(ValueError):
                expression.evaluate_value(symtab=SymbolTable())
                return True
    return False
