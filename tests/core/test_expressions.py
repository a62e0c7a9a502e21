"""The expression engine used directly gives what the model gives: rules SYM-6, SYM-16 to SYM-19, EXPR-6, PM-12."""

from __future__ import annotations

import sys
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openjd.expr import ExprValue
from openjd.expr import PathMappingRule as EngineRule
from openjd.model import SymbolTable, evaluate_let_bindings
from openjd.model.v2023_09 import FormatString, ModelParsingContext

from openjd.sessions._core.expressions import Expressions
from openjd.sessions._core.scopes import Scope, Typed
from openjd.sessions._errors import ActionFailed
from openjd.sessions._path_mapping import PathFormat, PathMapper, PathMappingRule

RULE = PathMappingRule(
    source_path_format=PathFormat.POSIX, source_path=PurePosixPath("/mnt/a"), destination_path=PurePosixPath("/x")
)
SYMBOLS = {
    "Param.S": ("a b", "STRING"),
    "Param.I": ("12", "INT"),
    "Param.F": ("3.500", "FLOAT"),
    "Param.P": ("/x/y.exr", "PATH"),
    "Param.B": (True, "BOOL"),
    "Param.R": ("1-3,7", "RANGE_EXPR"),
    "Param.L": (["a", "b c"], "LIST[STRING]"),
    "Param.N": ([[1, 2], []], "LIST[LIST[INT]]"),
    "Param.LP": (["/x/1", "s3://b/2"], "LIST[PATH]"),
    "Param.LF": ([1, 2.5], "LIST[FLOAT]"),
}
ATOMS = [
    *SYMBOLS,
    *("null", "true", "1.50", "'it''s'", "Param.P.name", "Param.I + 1", "Param.F * 2", "not Param.B", "Param.R[0]"),
    *("[x * 2 for x in Param.R]", "Param.N[0]", "len(Param.L)", "Param.P.parent / Param.S", "Param.S.upper()"),
    *("apply_path_mapping('/mnt/a/b')", "Param.LP[1].name", "Param.I if Param.B else null", "let1", "let2"),
]
BINDINGS = ["let1 = Param.I * 3", "malformed", "let2=Param.P.stem + string(let1)", " = 1", "x ="]


def with_expr(text: str) -> FormatString:
    return FormatString(text, context=ModelParsingContext(supported_extensions=["EXPR"]))


def by_the_model() -> SymbolTable:
    table = SymbolTable(source={name: value for name, (value, _) in SYMBOLS.items()})
    table.expr_types.update({name: kind for name, (_, kind) in SYMBOLS.items()})
    table.expr_host_rules = [EngineRule.from_dict(RULE.to_dict())]
    evaluate_let_bindings(symtab=table, let_bindings=BINDINGS)
    return table


def ours() -> Scope:
    symbols = {name: Typed(value, kind.lower()) for name, (value, kind) in SYMBOLS.items()}
    return Scope.of(symbols, [RULE]).with_bindings(BINDINGS, "here")


TABLE, SCOPE = by_the_model(), ours()


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from([*(f"{{{{ {atom}}}}}" for atom in ATOMS), "{ ", " } x ", "ü", "\n", ""]), max_size=6))
def test_texts_are_those_of_the_model(parts: list[str]) -> None:
    """SYM-16, SYM-17, SYM-19, ACT-4 to ACT-6: whatever is kept from earlier evaluations."""
    text = with_expr("".join(parts))
    assert SCOPE.resolve(text, "here") == text.resolve(symtab=TABLE)
    value = text.resolve_value(symtab=TABLE)
    field = SCOPE.resolve_field(text, "here")
    if not isinstance(value, ExprValue):
        assert field == value
    elif value.is_null:
        assert field is None
    elif isinstance(field, list):
        assert field == [str(element) for element in value]
    else:
        assert field == str(value)


@pytest.mark.parametrize(
    "expression", ["Param.I / 0", "Param.S + 1", "nothing", "Param.Sx", "Param.P.nothing", "let1.x"]
)
def test_reasons_are_those_of_the_engine(expression: str) -> None:
    """EXPR-6"""
    text = with_expr(f"{{{{{expression}}}}}")
    with pytest.raises(ValueError, match="\n") as theirs:
        text.resolve(symtab=TABLE)
    with pytest.raises(ActionFailed) as caught:
        SCOPE.resolve(text, "here")
    reason = str(caught.value).partition("here cannot be resolved: ")[2]
    assert reason
    assert reason in str(theirs.value)


def test_result_is_kept_as_long_as_the_symbols_are_the_same() -> None:
    expressions, one = Expressions([]), ExprValue(1)
    first = expressions.evaluate("A + 1", {"A": one})
    assert expressions.evaluate("A + 1", {"A": one, "B": one}) is first
    assert str(expressions.evaluate("A + 1", {"A": ExprValue(2)})) == "3"


@pytest.mark.parametrize("expression", ["A + A", "len(A)"])
def test_nothing_large_is_kept(expression: str) -> None:
    """Neither a result, nor what a small one was made of."""
    expressions, text = Expressions([]), ExprValue("x" * 20_000)
    references = sys.getrefcount(text)
    first = expressions.evaluate(expression, {"A": text})
    assert sys.getrefcount(text) == references
    assert expressions.evaluate(expression, {"A": text}) is not first


def test_few_expressions_are_kept() -> None:
    expressions, one = Expressions([]), ExprValue(1)
    first = expressions.evaluate("A + 0", {"A": one})
    for number in range(1, 600):
        expressions.evaluate(f"A + {number}", {"A": one})
    assert expressions.evaluate("A + 0", {"A": one}) is not first


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["/mnt/a", "/mnt/a/b", "/n", "s3://b", "s3://b/c/"]), st.sampled_from(["/x", "/y/z", "rel"])
        ),
        max_size=3,
    ),
    st.sampled_from(["/mnt/a", "/mnt/a/", "/mnt//a/b/c", "/mnt/ab", "n", "S3://B/c/d", "s3://bc", "s3://b/", "/n/.."]),
)
def test_host_function_maps_as_parameters_are_mapped(rules: list[tuple[str, str]], path: str) -> None:
    """PM-8, PM-11, PM-12"""
    mapper = PathMapper(
        PathMappingRule(
            source_path_format=PathFormat.URI if "://" in source else PathFormat.POSIX,
            source_path=source if "://" in source else PurePosixPath(source),
            destination_path=PurePosixPath(destination),
        )
        for source, destination in rules
    )
    value = Expressions(mapper.rules).evaluate("apply_path_mapping(X)", {"X": ExprValue(path)})
    assert str(value) == mapper.map(path)


@pytest.mark.parametrize(
    ("source", "path"), [("s3://b/c/", "s3://b/c/d"), ("s3://b//", "s3://b/d"), ("s3://b/", "s3://b")]
)
def test_host_function_maps_what_is_below_a_uri_with_a_slash_at_its_end(source: str, path: str) -> None:
    """PM-8"""
    rule = PathMappingRule(source_path_format=PathFormat.URI, source_path=source, destination_path=PurePosixPath("/x"))
    value = Expressions([rule]).evaluate("apply_path_mapping(X)", {"X": ExprValue(path)})
    assert str(value) == PathMapper([rule]).map(path) == ("/x/d" if path.endswith("d") else "/x")
