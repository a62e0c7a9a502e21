"""The expression engine, used directly: typed values, and expressions evaluated with them (part 10.4 of the rules).

Importing this module loads the engine's native code; ``scopes`` does so when it meets the first expression of the
extension EXPR.

An evaluation costs mostly what the engine makes ready for it: a copy of the symbols, and the host functions. So the
engine is shown only the symbols that an expression names, has host functions only for those that call one, and is not
asked again while these symbols have the same values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Optional

from openjd.expr import (
    ExprProfile,
    ExprValue,
    HostContext,
    ParsedExpression,
    PathFormat,
    PathMappingRule,
    SerializedSymbolTable,
    SymbolTable,
    TypeCode,
    parse_expression,
)

from openjd.sessions import _path_mapping

Values = Mapping[str, ExprValue]
"""Values of symbols by their full names."""

_HOST_FUNCTIONS = {"apply_path_mapping"}
_MOST_REMEMBERED = 512
_LARGEST_REMEMBERED = 16_384
"""Bytes of a result and of what it was made of."""


@dataclass
class _Expression:
    parsed: ParsedExpression
    names: tuple[str, ...]
    """What it refers to, properties included: ``Param.File.name``."""
    needs_host: bool
    inputs: tuple[ExprValue, ...] = ()
    result: Optional[ExprValue] = None
    """What the inputs gave, unless they or it are too large to be kept."""


class Expressions:
    """Evaluates expressions for one Session and its path mapping rules.

    Args:
        rules: What ``apply_path_mapping()`` applies, the most specific first (PM-12).
    """

    def __init__(self, rules: Iterable[_path_mapping.PathMappingRule]) -> None:
        host = HostContext.with_rules([_engine_rule(rule) for rule in rules])
        self._host_profile = ExprProfile.current().with_host_context(host)
        self._known: dict[str, _Expression] = {}

    def evaluate(self, text: str, values: Values) -> ExprValue:
        """The value of an expression; its default limits of memory and operations hold (SYM-18).

        Raises:
            ValueError, TypeError, ArithmeticError: It has none; the message is the engine's, of several lines.
        """
        text = text.strip()
        if text in values:
            return values[text]
        expression = self._known.get(text) or self._parse(text)
        visible = _visible(expression.names, values)
        inputs = tuple(visible.values())
        if expression.result is not None and _are_same(inputs, expression.inputs):
            return expression.result
        result = expression.parsed.evaluate(
            values=_as_table(visible), profile=self._host_profile if expression.needs_host else None
        )
        if sum(value.memory_size() for value in (*inputs, result)) <= _LARGEST_REMEMBERED:
            expression.inputs, expression.result = inputs, result
        return result

    @staticmethod
    def convert(value: object, type_name: Optional[str] = None) -> ExprValue:
        """A value of a type, or of the type that the Python value has (SYM-6).

        Raises:
            ValueError, TypeError, ArithmeticError: It does not fit.
        """
        if isinstance(value, ExprValue):
            return value
        return ExprValue(None) if value is None else ExprValue(value, type_name)

    @staticmethod
    def is_list(value: ExprValue) -> bool:
        return bool(value.type.type_code == TypeCode.LIST)

    def _parse(self, text: str) -> _Expression:
        parsed = parse_expression(text)
        expression = _Expression(
            parsed, tuple(sorted(parsed.accessed_symbols)), not _HOST_FUNCTIONS.isdisjoint(parsed.called_functions)
        )
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
        self._known[text] = expression
        return expression


def table_values(table: object) -> dict[str, ExprValue]:
    """The entries of a ``SerializedSymbolTable``, with paths in the host's format (SYM-5).

    Raises:
        ValueError, TypeError: It cannot be read.
    """
    if not isinstance(table, SerializedSymbolTable):
        raise TypeError(f"it must be an openjd.expr.SerializedSymbolTable, not {type(table).__name__}")
    symbols = table.to_symtab(path_format=getattr(PathFormat, _path_mapping.HOST_FORMAT.name))
    return {name: symbols[name] for name in symbols.symbols}


def _visible(names: Iterable[str], values: Values) -> Values:
    """The symbols that an expression names; all of them if one is missing, so that the engine can suggest others."""
    visible = {}
    for name in names:
        symbol = _symbol_of(name, values)
        if symbol is None:
            return values
        visible[symbol] = values[symbol]
    return visible


def _symbol_of(name: str, values: Values) -> Optional[str]:
    """The longest beginning of a dotted name that is a symbol; what follows are properties of its value."""
    while name not in values:
        name, dot, _ = name.rpartition(".")
        if not dot:
            return None
    return name


def _as_table(values: Values) -> SymbolTable:
    table = SymbolTable()
    for name, value in values.items():
        table[name] = value
    return table


def _are_same(some: tuple[ExprValue, ...], others: tuple[ExprValue, ...]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others))


def _engine_rule(rule: _path_mapping.PathMappingRule) -> PathMappingRule:
    parts = rule.to_dict()
    if rule.source_path_format is _path_mapping.PathFormat.URI:
        scheme, _, rest = parts["source_path"].partition("://")
        parts["source_path"] = f"{scheme}://{rest.rstrip('/')}"  # PM-8
    return PathMappingRule.from_dict(parts)
