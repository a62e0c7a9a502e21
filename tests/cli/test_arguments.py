"""The grammar of the command line: the spelling of ``openjd run``; what breaks it is status 2."""

from __future__ import annotations

import pytest

from openjd.sessions import version
from openjd.sessions.cli import main
from openjd.sessions.cli.arguments import CheckOptions, DoctorOptions, RunOptions, parse_arguments

PLAIN = RunOptions(
    path="t.yaml",
    output="human-readable",
    extensions="REDACTED_ENV_VARS,FEATURE_BUNDLE_1,TASK_CHUNKING,EXPR,WRAP_ACTIONS",
    job_param=[],
    step=None,
    task_param=[],
    tasks=None,
    maximum_tasks=None,
    run_dependencies=False,
    environment=[],
    path_mapping_rules=None,
    preserve=False,
    verbose=False,
    timestamp_format="relative",
)


def test_defaults() -> None:
    assert parse_arguments(["run", "t.yaml"]) == PLAIN


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["-p", "A=1", "--job-param", "file://p"], "job_param", ["A=1", "file://p"]),
        (["-p", '{"B": 2}'], "job_param", ['{"B": 2}']),
        (["-p", "A=", "-p", "B=x=y"], "job_param", ["A=", "B=x=y"]),
        (["--step", "Render"], "step", "Render"),
        (["-tp", "F=1", "--task-param", "G=a=b"], "task_param", [("F", "1"), ("G", "a=b")]),
        (["--tasks", "[]"], "tasks", "[]"),
        (["--maximum-tasks", "7"], "maximum_tasks", 7),
        (["--run-dependencies"], "run_dependencies", True),
        (["--no-run-dependencies"], "run_dependencies", False),
        (["--env", "a", "b", "--environment", "c"], "environment", ["a", "b", "c"]),
        (["--path-mapping-rules", "file://r"], "path_mapping_rules", "file://r"),
        (["--preserve"], "preserve", True),
        (["--verbose"], "verbose", True),
        (["--timestamp-format", "utc"], "timestamp_format", "utc"),
        (["--output", "yaml"], "output", "yaml"),
        (["--extensions", ""], "extensions", ""),
    ],
)  # fmt: skip
def test_options_of_run(arguments: list[str], name: str, value: object) -> None:
    options = parse_arguments(["run", "t.yaml", *arguments])
    assert {**vars(PLAIN), name: value} == vars(options)


def test_options_of_check() -> None:
    options = parse_arguments(["check", "t.yaml", "--output", "json", "--extensions", "FEATURE_BUNDLE_1"])
    assert options == CheckOptions(path="t.yaml", output="json", extensions="FEATURE_BUNDLE_1")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["run"], "the following arguments are required: TEMPLATE"),
        (["run", "t.yaml", "--nonsense"], "unrecognized arguments: --nonsense"),
        (
            ["run", "t.yaml", "-p", "A"],
            "argument -p/--job-param: expected KEY=VALUE, file://PATH or a JSON object, not 'A'",
        ),
        (
            ["run", "t.yaml", "-p", "=1"],
            "argument -p/--job-param: expected KEY=VALUE, file://PATH or a JSON object, not '=1'",
        ),
        (["run", "t.yaml", "-tp", "A"], "argument -tp/--task-param: expected KEY=VALUE, not 'A'"),
        (["run", "t.yaml", "-tp", "=1"], "argument -tp/--task-param: expected KEY=VALUE, not '=1'"),
        (
            ["run", "t.yaml", "--maximum-tasks", "0"],
            "argument --maximum-tasks: expected a number from 1 up, not '0'",
        ),
        (
            ["run", "t.yaml", "--maximum-tasks", "1.5"],
            "argument --maximum-tasks: expected a number from 1 up, not '1.5'",
        ),
        (
            ["run", "t.yaml", "-tp", "A=1", "--tasks", "[]"],
            "argument --tasks: not allowed with argument -tp/--task-param",
        ),
        (
            ["run", "t.yaml", "--tasks", "[]", "--maximum-tasks", "1"],
            "argument --maximum-tasks: not allowed with argument --tasks",
        ),
        (["check", "t.yaml", "-p", "A=1"], "unrecognized arguments: -p A=1"),
    ],
)
def test_what_breaks_the_grammar(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("usage: openjd-sessions")
    assert printed.err.splitlines()[-1].endswith(f": error: {complaint}")


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"openjd-sessions {version}\n"
    assert main(["run", "--help"]) == 0
    assert "--path-mapping-rules" in capsys.readouterr().out


def test_doctor() -> None:
    assert parse_arguments(["doctor", "--user", "u"]) == DoctorOptions(user="u", group=None)
    assert parse_arguments(["doctor", "--user", "u", "--group", "g"]) == DoctorOptions(user="u", group="g")
    assert main(["doctor"]) == 2
