"""Job parameters of the types of EXPR: from wherever they come (2023-09 §2.9 to §2.16, MODEL-18)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openjd.model import JobParameterValues, create_job, decode_environment_template, decode_job_template

from openjd.sessions.cli.documents import InputError
from openjd.sessions.cli.parameters import job_parameter_values, read_job_parameters
from support.jobs import environment, exactly, step, template

EXPR = ["EXPR"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder; the template's folder is beside it."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def values(definition: dict[str, Any], *arguments: str) -> JobParameterValues:
    """The values of a job's parameters; the parameter P is defined, and a job can be made of them."""
    definitions = [{"name": "P", **definition}]
    made = template(step("a"), parameterDefinitions=definitions, extensions=EXPR)
    decoded = decode_job_template(template=made, supported_extensions=EXPR)
    folder = Path.cwd().parent / "templates"
    found = job_parameter_values(decoded, [], read_job_parameters(arguments), folder)
    create_job(job_template=decoded, job_parameter_values=found)
    return found


def value(definition: dict[str, Any], *arguments: str) -> object:
    parameter = values(definition, *arguments)["P"]
    assert parameter.type.value == definition["type"]
    return parameter.value


def refused(definition: dict[str, Any], *arguments: str, reason: str) -> None:
    with pytest.raises(ValueError, match=exactly(reason)):
        values(definition, *arguments)


# BOOL


@pytest.mark.parametrize("text", ["true", "True", "YES", "on", "1"])
def test_texts_for_true(text: str) -> None:
    assert value({"type": "BOOL"}, f"P={text}") is True


@pytest.mark.parametrize("text", ["false", "FALSE", "no", "Off", "0"])
def test_texts_for_false(text: str) -> None:
    assert value({"type": "BOOL"}, f"P={text}") is False


@pytest.mark.parametrize(
    ("given", "expected"), [("true", True), ("false", False), ("1", True), ("0", False), ("1.0", True), ('"no"', False)]
)
def test_bools_in_documents(given: str, expected: bool) -> None:
    assert value({"type": "BOOL"}, f'{{"P": {given}}}') is expected


@pytest.mark.parametrize(
    ("argument", "shown"),
    [("P=maybe", '"maybe"'), ("P=", '""'), ("P=1.0", '"1.0"'), ('{"P": 2}', "2"), ('{"P": [true]}', "[true]")],
)
def test_what_is_no_bool_is_refused(argument: str, shown: str) -> None:
    reason = f"Parameter P of type BOOL: expected true, false, yes, no, on, off, 1 or 0, not {shown}."
    refused({"type": "BOOL"}, argument, reason=reason)


# RANGE_EXPR


def test_range_expressions_stay_as_they_are_given() -> None:
    assert value({"type": "RANGE_EXPR"}, "P=1-5:2,10,20-18:-1") == "1-5:2,10,20-18:-1"
    assert value({"type": "RANGE_EXPR"}, '{"P": 5}') == "5"


def test_what_is_no_range_expression_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Value \(x\) for parameter P: "):
        values({"type": "RANGE_EXPR"}, "P=x")
    reason = "Parameter P of type RANGE_EXPR: expected a text or a number, not [1, 2]."
    refused({"type": "RANGE_EXPR"}, '{"P": [1, 2]}', reason=reason)


@pytest.mark.parametrize(("limits", "length", "expected"), [
    ({"minLength": 5}, 3, "5 to 1024"), ({"maxLength": 2}, 3, "0 to 2"), ({}, 1025, "0 to 1024"),
])  # fmt: skip
def test_lengths_of_range_expressions(limits: dict[str, int], length: int, expected: str) -> None:
    """2023-09 §2.10."""
    reason = f"Parameter P of type RANGE_EXPR: expected {expected} characters, not {length}."
    refused({"type": "RANGE_EXPR", **limits}, f"P=1-{'2' * (length - 2)}", reason=reason)
    assert value({"type": "RANGE_EXPR", "minLength": 3, "maxLength": 3}, "P=1-2") == "1-2"


# Lists

LISTS: list[tuple[str, list[Any]]] = [
    ("LIST[STRING]", ["a b", "c,d", "é", ""]),
    ("LIST[INT]", [1, -2, 3]),
    ("LIST[FLOAT]", [0.5, 1, -2.25]),
    ("LIST[BOOL]", [True, False]),
    ("LIST[LIST[INT]]", [[1, 2], [], [3]]),
    ("LIST[INT]", []),
]


@pytest.mark.parametrize(("kind", "expected"), LISTS)
def test_lists_are_the_same_from_everywhere(kind: str, expected: list[Any], tmp_path: Path) -> None:
    text = json.dumps(expected)
    (tmp_path / "values.yaml").write_text(f"P: {text}\n")
    assert value({"type": kind}, f"P={text}") == expected
    assert value({"type": kind}, f'{{"P": {text}}}') == expected
    assert value({"type": kind}, f"file://{tmp_path / 'values.yaml'}") == expected
    assert value({"type": kind}, json.dumps({"P": text})) == expected
    assert value({"type": kind, "default": expected}) == expected


def test_lists_of_bools_take_every_spelling() -> None:
    given = '[true, "false", "YES", "off", "1", 0, 1.0]'
    expected = [True, False, True, False, True, False, True]
    assert value({"type": "LIST[BOOL]"}, f"P={given}") == expected
    assert value({"type": "LIST[BOOL]", "default": json.loads(given)}) == expected


@pytest.mark.parametrize(
    ("argument", "shown"),
    [("P=a,b", '"a,b"'), ("P=[a, b]", '"[a, b]"'), ('P="a"', r'"\"a\""'), ('{"P": 1}', "1"), ('{"P": true}', "true")],
)
def test_what_is_no_list_is_refused(argument: str, shown: str) -> None:
    expected = 'a list, as a text in JSON such as ["a", "b"] or [1, 2]'
    reason = f"Parameter P of type LIST[STRING]: expected {expected}, not {shown}."
    refused({"type": "LIST[STRING]"}, argument, reason=reason)


@pytest.mark.parametrize(
    ("definition", "given", "reason"),
    [
        ({"type": "LIST[STRING]"}, "[1]", "Parameter P: list items must be strings, got int."),
        ({"type": "LIST[PATH]"}, "[1]", "Parameter P: list items must be strings, got int."),
        ({"type": "LIST[INT]"}, "[1.5]", "Parameter P: list items must be integers, got float."),
        ({"type": "LIST[INT]", "maxLength": 1}, "[1, 2]", "Parameter P: list length 2 exceeds maxLength 1."),
        ({"type": "LIST[INT]", "item": {"maxValue": 9}}, "[10]", "Parameter P: item 10 is above item.maxValue 9."),
    ],
)
def test_constraints_of_lists_and_their_elements(definition: dict[str, Any], given: str, reason: str) -> None:
    refused(definition, f"P={given}", reason=reason)


@pytest.mark.parametrize("given", ['["a"]', "true"])
def test_other_types_take_neither_lists_nor_bools(given: str) -> None:
    reason = f"Parameter P of type STRING: expected a text or a number, not {given}."
    refused({"type": "STRING"}, f'{{"P": {given}}}', reason=reason)


@pytest.mark.parametrize("given", ["null", '{"a": 1}'])
def test_neither_nothing_nor_objects_are_values(given: str) -> None:
    reason = f"--job-param: P: expected a name with a text, a number, true, false or a list, not {given}."
    with pytest.raises(InputError, match=exactly(reason)):
        values({"type": "LIST[INT]"}, f'{{"P": {given}}}')


def test_a_default_of_an_environment_template_is_checked_with_the_jobs_constraints() -> None:
    definition = {"name": "P", "type": "LIST[PATH]", "item": {"maxLength": 5}}
    made = template(step("a"), parameterDefinitions=[definition], extensions=EXPR)
    outer = {
        "specificationVersion": "environment-2023-09",
        "extensions": EXPR,
        "parameterDefinitions": [{"name": "P", "type": "LIST[PATH]", "default": ["a"]}],
        "environment": environment("E"),
    }
    job = decode_job_template(template=made, supported_extensions=EXPR)
    environments = [decode_environment_template(template=outer, supported_extensions=EXPR)]
    assert job_parameter_values(job, environments, {}, Path("/t"))["P"].value == ["/t/a"]
    with pytest.raises(ValueError, match=exactly("Parameter P: item '/long/a' is longer than item.maxLength 5.")):
        job_parameter_values(job, environments, {}, Path("/long"))


# Paths in lists (2023-09 §2.12), each treated as a PATH (§2.2)


def test_given_elements_are_joined_with_the_current_folder() -> None:
    here = Path.cwd()
    given = ["a/../b", "./c.exr", "../d", "", "/e/../f", "s3://bucket/../key", "C:\\x"]
    expected = [f"{here}/b", f"{here}/c.exr", f"{here.parent}/d", "", "/e/../f", "s3://bucket/../key", f"{here}/C:\\x"]
    assert value({"type": "LIST[PATH]"}, f"P={json.dumps(given)}") == expected


def test_elements_of_defaults_are_joined_with_the_folder_of_the_template() -> None:
    templates = Path.cwd().parent / "templates"
    default = ["./a", "b/../c/", "a/..", "..name/name../...", "", "s3://bucket/key"]
    expected = [str(templates / name) for name in ("a", "c", ".", "..name/name../...")]
    assert value({"type": "LIST[PATH]", "default": default}) == [*expected, "", "s3://bucket/key"]
    assert value({"type": "LIST[PATH]", "default": []}) == []


@pytest.mark.parametrize("element", ["/a", "..", "../templates-too", "a/../../b", "b/../.."])
def test_elements_of_defaults_must_stay_in_the_folder_of_the_template(element: str) -> None:
    definition = {"type": "LIST[PATH]", "default": ["fine", element]}
    what = f"element {element!r} of the default of LIST[PATH] parameter P"
    refused(definition, reason=f"The {what} must be relative and within the template's folder.")
    assert value(definition, 'P=["x"]') == [str(Path.cwd() / "x")]


def test_constraints_of_elements_are_compared_after_joining() -> None:
    path = str(Path.cwd() / "b")
    definition = {"type": "LIST[PATH]", "item": {"allowedValues": [path], "minLength": len(path)}}
    assert value(definition, 'P=["./a/../b"]') == [path]
    reason = f"Parameter P: item {path + 'c'!r} is longer than item.maxLength {len(path)}."
    refused({"type": "LIST[PATH]", "item": {"maxLength": len(path)}}, 'P=["bc"]', reason=reason)


@pytest.mark.parametrize("kind", ["PATH", "LIST[PATH]"])
def test_uris_are_no_relative_paths(kind: str) -> None:
    """EXPR-5; without EXPR they are."""
    given = "s3://bucket/key"
    expected: object = [given] if kind == "LIST[PATH]" else given
    argument = json.dumps({"P": expected})
    assert value({"type": kind}, argument) == expected
    assert value({"type": kind, "default": expected}) == expected


@pytest.mark.parametrize("given", ["default", "value"])
@pytest.mark.parametrize(
    ("extensions", "is_uri"), [({"job"}, True), ({"environment"}, True), ({"other"}, False), (set(), False)]
)
def test_uris_where_a_template_that_defines_the_parameter_has_expr(
    extensions: set[str], is_uri: bool, given: str
) -> None:
    """EXPR-5: the job's template or one of an environment, whichever of them it is."""
    uri = "s3://bucket/key"
    definition = {"name": "P", "type": "PATH", **({"default": uri} if given == "default" else {})}
    documents = {
        "job": template(step("a"), parameterDefinitions=[definition]),
        "environment": {
            "specificationVersion": "environment-2023-09",
            "parameterDefinitions": [definition],
            "environment": environment("E"),
        },
        "other": {"specificationVersion": "environment-2023-09", "environment": environment("Other")},
    }
    for name in extensions:
        documents[name]["extensions"] = EXPR
    job = decode_job_template(template=documents["job"], supported_extensions=EXPR)
    environments = [
        decode_environment_template(template=documents[name], supported_extensions=EXPR)
        for name in ("environment", "other")
    ]
    values: dict[str, Any] = {} if given == "default" else {"P": uri}
    found = job_parameter_values(job, environments, values, Path("/t"))["P"].value
    folder = Path("/t") if given == "default" else Path.cwd()
    assert found == (uri if is_uri else f"{folder}/s3:/bucket/key")


def test_uris_in_the_lists_of_an_environment_template() -> None:
    """EXPR-5: a template without EXPR beside one with it, which alone can have lists."""
    outer = {
        "specificationVersion": "environment-2023-09",
        "extensions": EXPR,
        "parameterDefinitions": [{"name": "P", "type": "LIST[PATH]", "default": ["s3://bucket/key", "a"]}],
        "environment": environment("E"),
    }
    job = decode_job_template(template=template(step("a")), supported_extensions=EXPR)
    environments = [decode_environment_template(template=outer, supported_extensions=EXPR)]
    assert job_parameter_values(job, environments, {}, Path("/t"))["P"].value == ["s3://bucket/key", "/t/a"]
