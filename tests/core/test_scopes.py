"""What a format string sees and how it is resolved: rules SYM-1 to SYM-10, SYM-15."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from openjd.model import ParameterValue, ParameterValueType
from openjd.model.v2023_09 import FormatString, ModelParsingContext

from openjd.sessions._core.scopes import Scope, Typed, parameter_symbols, session_symbols
from openjd.sessions._errors import ActionFailed
from openjd.sessions._path_mapping import PathFormat, PathMapper, PathMappingRule

NO_RULES = PathMapper([])
RULES = PathMapper(
    [
        PathMappingRule(
            source_path_format=PathFormat.POSIX,
            source_path=PurePosixPath("/mnt/a"),
            destination_path=PurePosixPath("/x"),
        )
    ]
)


def text(value: str) -> FormatString:
    return FormatString(value, context=ModelParsingContext())


def value(kind: str, content: object) -> ParameterValue:
    return ParameterValue(type=ParameterValueType[kind], value=content)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{{Param.Name}}", "Bob"),
        ("a{{ Param.Name }}b{{Param.Empty}}c{{Param.Name}}", "aBobbcBob"),
        (" {{Param.Name}} ", " Bob "),
        ("{single} {{Param.Braces}}", "{single} {{Param.Name}}"),
        ("{{Param.Number}}", "3.500"),
    ],
)
def test_names_are_replaced_by_their_values(template: str, expected: str) -> None:
    """SYM-15"""
    scope = Scope.of(
        {"Param.Name": "Bob", "Param.Empty": "", "Param.Braces": "{{Param.Name}}", "Param.Number": "3.500"}
    )
    assert scope.resolve(text(template), "here") == expected


def test_undefined_symbol_fails_and_says_what_there_is() -> None:
    """SYM-2, SYM-21"""
    scope = Scope.of({"Param.Name": "Bob", "Session.WorkingDirectory": "/w", "Env.File.Run": "/w/f"})
    with pytest.raises(ActionFailed) as caught:
        scope.resolve(text("say {{Param.Nome}}"), "Task, onRun, args[1]")
    assert str(caught.value) == (
        "Task, onRun, args[1] cannot be resolved: Failed to parse interpolation expression at [4, 18]. "
        "Expression: Param.Nome. Reason: Expression failed validation: Param.Nome has no value. "
        "It can use defined symbols of Env.File.*, Param.*, Session.*."
    )


def test_scopes_are_built_upwards_and_never_change() -> None:
    """SYM-5, SYM-10"""
    lower = Scope.of({"A.x": "low", "B.x": "low"})
    upper = lower.extended({"B.x": "up", "C.x": "up"})
    assert upper.resolve(text("{{A.x}} {{B.x}} {{C.x}}"), "here") == "low up up"
    assert lower.resolve(text("{{A.x}} {{B.x}}"), "here") == "low low"
    with pytest.raises(ActionFailed):
        lower.resolve(text("{{C.x}}"), "here")


def test_nul_cannot_be_given_to_a_process() -> None:
    """ACT-1"""
    scope = Scope.of({"Param.N": "a\0b"})
    assert scope.resolve(text("{{Param.N}}"), "here") == "a\0b"
    with pytest.raises(ActionFailed) as caught:
        scope.resolve_argument(text("{{Param.N}}"), "Task, onRun, args[0]")
    assert str(caught.value) == (
        "Task, onRun, args[0] contains a NUL character, which no process can be given. "
        "Remove it from the text, or from the parameter that the text uses."
    )


@pytest.mark.parametrize(("mapper", "has_rules"), [(NO_RULES, "false"), (RULES, "true")])
def test_session_symbols(mapper: PathMapper, has_rules: str) -> None:
    """SYM-1, PM-18"""
    assert session_symbols("/jobs/1", "/jobs/1/rules.json", mapper) == {
        "Session.WorkingDirectory": Typed("/jobs/1", "path"),
        "Session.HasPathMappingRules": Typed(has_rules, "bool"),
        "Session.PathMappingRulesFile": Typed("/jobs/1/rules.json", "path"),
    }


@pytest.mark.parametrize(
    ("parameter", "mapped", "raw"),
    [
        (value("STRING", "/mnt/a/b"), Typed("/mnt/a/b", "string"), Typed("/mnt/a/b", "string")),
        (value("INT", "+1"), Typed("+1", "int"), Typed("+1", "int")),
        (value("FLOAT", "3.500"), Typed("3.500", "float"), Typed("3.500", "float")),
        (value("PATH", "/mnt/a/b"), Typed("/x/b", "path"), Typed("/mnt/a/b", "string")),
        (value("PATH", "/other//b/"), Typed("/other//b/", "path"), Typed("/other//b/", "string")),
        (value("PATH", ""), Typed("", "path"), Typed("", "string")),
        (
            value("LIST_PATH", ["/mnt/a/b", "/c"]),
            Typed(["/x/b", "/c"], "list[path]"),
            Typed(["/mnt/a/b", "/c"], "list[string]"),
        ),
        (value("LIST_STRING", ["/mnt/a"]), Typed(["/mnt/a"], "list[string]"), Typed(["/mnt/a"], "list[string]")),
        (value("LIST_LIST_INT", [[1]]), Typed([[1]], "list[list[int]]"), Typed([[1]], "list[list[int]]")),
        (value("BOOL", True), Typed(True, "bool"), Typed(True, "bool")),
        (value("RANGE_EXPR", "1-3"), Typed("1-3", "range_expr"), Typed("1-3", "range_expr")),
        (value("CHUNK_INT", "5-5"), Typed("5-5", "range_expr", keeps_spelling=True), Typed("5-5", "string")),
    ],
)
def test_paths_are_mapped_and_raw_values_are_not(parameter: ParameterValue, mapped: object, raw: object) -> None:
    """SYM-1, SYM-6, SYM-8, SYM-9, CHK-3 to CHK-5, TASK-5"""
    assert parameter_symbols("Task.", {"P": parameter}, RULES) == {"Task.Param.P": mapped, "Task.RawParam.P": raw}


def test_job_parameters_have_no_prefix() -> None:
    """SYM-1"""
    symbols = parameter_symbols("", {"A": value("STRING", "1")}, RULES)
    assert list(symbols) == ["Param.A", "RawParam.A"]
