"""From options to a plan: parameters, paths, rules, steps and tasks, and every complaint about them."""

from __future__ import annotations

import json
import pickle
import time
from pathlib import Path
from typing import Any, Optional

import pytest
from openjd.expr import SerializedSymbolTable

from openjd.sessions.cli.arguments import RunOptions, parse_arguments
from openjd.sessions.cli.documents import InputError
from openjd.sessions.cli.inputs import read_plan
from openjd.sessions.cli.templates import SUPPORTED_EXTENSIONS
from openjd.sessions.jobs.plan import SessionPlan
from support.jobs import chunks, environment, exactly, step, template

FRAMES = step("Render", ranges={"Frame": ("INT", "1-3")}, after=["Prepare"])
PREPARE = step("Prepare", ranges={"Part": ("STRING", ["a", "b"])})


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The template lies in ``templates``; the current folder is ``here``."""
    for name in ("templates", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")


def write(name: str, document: object) -> str:
    path = Path("..", "templates", name)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


def plan(document: object, *arguments: str) -> SessionPlan:
    options = parse_arguments(["run", write("job.yaml", document), *arguments])
    assert isinstance(options, RunOptions)
    return read_plan(options)


def values(made: SessionPlan) -> dict[str, object]:
    return {name: parameter.value for name, parameter in made.job_parameters.items()}


def with_parameter(**fields: Any) -> dict[str, Any]:
    return template(step("a"), parameterDefinitions=[{"name": "P", "type": "STRING", **fields}])


def refused(document: object, *arguments: str, reason: str) -> None:
    with pytest.raises(InputError, match=exactly(reason)):
        plan(document, *arguments)


# Job parameters


def test_parameters_from_everywhere_and_the_last_value_counts() -> None:
    definitions = [{"name": name, "type": "STRING", "default": "default"} for name in "ABCDE"]
    document = template(step("a"), parameterDefinitions=definitions)
    path = write("values.yaml", "B: file\nC: file\nD: 1.5\n")
    made = plan(document, "-p", "A=x=y ", "-p", f"file://{path}", "-p", '{"C": 3}', "-p", "B=last")
    assert values(made) == {"A": "x=y ", "B": "last", "C": "3", "D": "1.5", "E": "default"}


@pytest.mark.parametrize(
    ("document", "arguments", "reason"),
    [
        (
            with_parameter(),
            [],
            "../templates/job.yaml: the job can't be made: Values missing for required job parameters: P",
        ),
        (
            with_parameter(),
            ["-p", "P=1", "-p", "Q=1"],
            "../templates/job.yaml: the job can't be made: "
            "Job parameter values provided for parameters that are not defined in the template: Q",
        ),
        (
            with_parameter(type="INT", maxValue=5),
            ["-p", "P=6"],
            "../templates/job.yaml: the job can't be made: Value (6) for parameter P must be at most 5.",
        ),
        (
            with_parameter(),
            ["-p", '{"P": null}'],
            "--job-param: P: expected a name with a text, a number, true, false or a list, not null.",
        ),
        (
            with_parameter(),
            ["-p", '{"P": ["a"]}'],
            "../templates/job.yaml: the job can't be made: "
            'Parameter P of type STRING: expected a text or a number, not ["a"].',
        ),
        (with_parameter(), ["-p", "file://no.json"], "no.json: No such file or directory."),
        (
            with_parameter(),
            ["-p", '{"P": 1'],
            "--job-param: line 1, column 8: not valid JSON: Expecting ',' delimiter.",
        ),
    ],
)
def test_parameters_that_are_missing_or_wrong(document: object, arguments: list[str], reason: str) -> None:
    refused(document, *arguments, reason=reason)


def test_parameter_file_that_is_no_object() -> None:
    path = write("values.json", [1])
    reason = f"{path}: expected an object of parameter names and values."
    refused(with_parameter(), "-p", f"file://{path}", reason=reason)


# Paths (2023-09 §2.2)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (".", "here"),
        ("./b.exr", "here/b.exr"),
        ("sub/../other/", "here/other"),
        ("../x", "x"),
        ("s3://bucket/key", "here/s3:/bucket/key"),
    ],
)
def test_relative_path_values_are_joined_with_the_current_folder(given: str, expected: str, tmp_path: Path) -> None:
    assert values(plan(with_parameter(type="PATH"), "-p", f"P={given}")) == {"P": str(tmp_path / expected)}


@pytest.mark.parametrize("given", ["", "/a/../b/"])
def test_empty_and_absolute_path_values_stay_as_they_are(given: str) -> None:
    assert values(plan(with_parameter(type="PATH"), "-p", f"P={given}")) == {"P": given}


@pytest.mark.parametrize(
    ("default", "expected"), [("a/b", "templates/a/b"), ("a/../b/.", "templates/b"), (".", "templates")]
)
def test_relative_path_defaults_are_joined_with_the_folder_of_the_template(
    default: str, expected: str, tmp_path: Path
) -> None:
    assert values(plan(with_parameter(type="PATH", default=default))) == {"P": str(tmp_path / expected)}


def test_an_empty_path_default_stays_empty() -> None:
    assert values(plan(with_parameter(type="PATH", default=""))) == {"P": ""}


@pytest.mark.parametrize("default", ["/a", "..", "../templates-too", "a/../../b"])
def test_path_defaults_must_stay_in_the_folder_of_the_template(default: str) -> None:
    reason = f"The default {default!r} of PATH parameter P must be relative and within the template's folder."
    refused(
        with_parameter(type="PATH", default=default), reason=f"../templates/job.yaml: the job can't be made: {reason}"
    )
    assert plan(with_parameter(type="PATH", default=default), "-p", "P=x")


def test_constraints_of_paths_are_compared_after_joining(tmp_path: Path) -> None:
    path = str(tmp_path / "here" / "b")
    document = with_parameter(type="PATH", allowedValues=[path], minLength=len(path), maxLength=len(path))
    assert values(plan(document, "-p", "P=./a/../b")) == {"P": path}
    reason = f"Parameter P value ({path}c) not in allowedValues."
    refused(document, "-p", "P=bc", reason=f"../templates/job.yaml: the job can't be made: {reason}")


def test_parameters_of_environment_templates() -> None:
    environment = write(
        "environment.yaml",
        {
            "specificationVersion": "environment-2023-09",
            "extensions": ["REDACTED_ENV_VARS"],
            "parameterDefinitions": [{"name": "Q", "type": "PATH", "default": "q"}],
            "environment": {"name": "External", "variables": {"Q": "{{Param.Q}}"}},
        },
    )
    inner = {"name": "Inner", "variables": {"A": "1"}}
    document = template(step("a"), environments=[inner], extensions=["FEATURE_BUNDLE_1"])
    made = plan(document, "--env", environment)
    assert [each.name for each in made.environments] == ["External", "Inner"]
    assert values(made) == {"Q": str(Path("../templates").resolve() / "q")}
    assert made.extensions == {"REDACTED_ENV_VARS", "FEATURE_BUNDLE_1"}


def test_parameters_and_symbols_of_a_template_with_expressions() -> None:
    """SYM-12, MODEL-18, MODEL-22: steps carry what their ``let`` gave, and every plan can be pickled."""
    definitions = [{"name": "L", "type": "LIST[PATH]", "default": ["a"]}, {"name": "B", "type": "BOOL"}]
    document = template(
        {**step("first"), "let": ["doubled = 2 * 21"]},
        step("second"),
        parameterDefinitions=definitions,
        extensions=["EXPR"],
    )
    made = plan(document, "-p", "B=yes")
    assert values(made) == {"L": [str(Path("../templates").resolve() / "a")], "B": True}
    names = [symbol_names(symbols) for symbols in (made.symbols, *(each.symbols for each in made.steps))]
    of_job = {"Job.Name", "Param.B", "RawParam.B", "RawParam.L"}
    assert names == [of_job, {*of_job, "Step.Name", "doubled"}, {*of_job, "Step.Name"}]
    copy = pickle.loads(pickle.dumps(made))
    assert [symbol_names(each.symbols) for each in copy.steps] == names[1:]


def symbol_names(symbols: SerializedSymbolTable | None) -> set[str]:
    assert symbols is not None
    return {symbol["name"] for symbol in json.loads(symbols.to_json_str())}


# Templates and extensions


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("- 1", "expected a template, which is an object with a 'specificationVersion'."),
        ("{}", "Template is missing Open Job Description schema version key: specificationVersion"),
        (
            template(step("a"), extensions=["EXPR", "FOO"]),
            f"extensions: FOO can't be used; accepted here: {', '.join(SUPPORTED_EXTENSIONS)}.",
        ),
        (
            template({**step("a"), "foo": 1}),
            "1 validation errors for JobTemplate\nsteps[0] -> foo:\n\tExtra inputs are not permitted",
        ),
    ],
)
def test_templates_that_are_wrong(document: object, reason: str) -> None:
    refused(document, reason=f"../templates/job.yaml: {reason}")


def test_template_that_the_model_stumbles_over() -> None:
    stumbled = r"^\.\./templates/job\.yaml: not a valid template; what the model stumbled over: TypeError: "
    with pytest.raises(InputError, match=stumbled):
        plan(template({**step("a"), "hostRequirements": {"amounts": [1]}}))


def test_accepted_extensions() -> None:
    document = template(step("a"), extensions=["FEATURE_BUNDLE_1"])
    assert plan(document, "--extensions", "feature_bundle_1, ").extensions == {"FEATURE_BUNDLE_1"}
    reason = "../templates/job.yaml: extensions: FEATURE_BUNDLE_1 can't be used; accepted here: "
    refused(document, "--extensions", "REDACTED_ENV_VARS", reason=f"{reason}REDACTED_ENV_VARS.")
    refused(document, "--extensions", "", reason=f"{reason}none.")
    reason = f"--extensions: this version does not run FOO, BAR, only {', '.join(SUPPORTED_EXTENSIONS)}."
    refused(document, "--extensions", "EXPR,FOO,BAR", reason=reason)


def test_environment_templates_that_are_wrong() -> None:
    refused(template(step("a")), "--env", "no.yaml", reason="no.yaml: No such file or directory.")
    path = write("other.yaml", template(step("a")))
    reason = (
        f"{path}: Specification version 'jobtemplate-2023-09' is not an Environment Template version. "
        "Allowed values for 'specificationVersion' are: environment-2023-09"
    )
    refused(template(step("a")), "--env", path, reason=reason)


# Wrap hooks

WRAPPING = ["WRAP_ACTIONS", "EXPR", "FEATURE_BUNDLE_1"]


def wrapping(name: str) -> dict[str, Any]:
    hooks = ("onWrapEnvEnter", "onWrapTaskRun", "onWrapEnvExit")
    return {"name": name, "script": {"actions": {hook: {"command": "true"} for hook in hooks}}}


@pytest.mark.parametrize(("of_job", "of_step", "named"), [("X", None, "'W' and 'X'"), (None, "Y", "'W' and 'Y'")])
def test_two_wrapping_environments_around_a_step(of_job: Optional[str], of_step: Optional[str], named: str) -> None:
    """ENV-3, WRAP-2: refused before anything runs."""
    document = template(
        step("first", environments=[environment("Plain")]),
        step("second", environments=[wrapping(of_step)] if of_step else []),
        environments=[wrapping(of_job)] if of_job else [],
        extensions=WRAPPING,
    )
    outer = write(
        "environment.yaml",
        {
            "specificationVersion": "environment-2023-09",
            "extensions": WRAPPING,
            "environment": wrapping("W"),
        },
    )
    assert len(plan(document).steps) == 2
    where = "first" if of_job else "second"
    reason = (
        f"Step '{where}': the environments {named} define wrap hooks; at most one of those around a step may do so."
    )
    refused(document, "--env", outer, reason=reason)


def test_wrapping_environments_of_different_steps() -> None:
    """ENV-3, WRAP-2: they are never entered at the same time."""
    steps = [step(name, environments=[wrapping(f"W of {name}")]) for name in ("first", "second")]
    assert len(plan(template(*steps, extensions=WRAPPING)).steps) == 2


# Path mapping rules

RULE = {"source_path_format": "posix", "source_path": "/a", "destination_path": "/b"}
RULES = {"version": "pathmapping-1.0", "path_mapping_rules": [RULE]}


@pytest.mark.parametrize("name", [None, "rules.json", "rules.yaml"])
def test_rules_in_place_or_from_files(name: str | None) -> None:
    text = json.dumps(RULES) if name != "rules.yaml" else f"version: pathmapping-1.0\npath_mapping_rules: [{RULE}]"
    argument = text if name is None else f"file://{write(name, text)}"
    (rule,) = plan(template(step("a")), "--path-mapping-rules", argument).path_mapping_rules
    assert rule.to_dict() == {**RULE, "source_path_format": "POSIX"}


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ([RULE], "expected an object with 'version: pathmapping-1.0' and 'path_mapping_rules'."),
        (
            {**RULES, "version": "2"},
            "expected an object with 'version: pathmapping-1.0' and 'path_mapping_rules'.",
        ),
        ({"version": "pathmapping-1.0"}, "path_mapping_rules: expected a list of rules."),
        (
            {**RULES, "path_mapping_rules": [RULE, 1]},
            "path_mapping_rules[1]: expected an object with source_path_format, source_path and destination_path.",
        ),
        (
            {**RULES, "path_mapping_rules": [{**RULE, "source_path_format": "vms"}]},
            "path_mapping_rules[0]: 'VMS' is not one of the path formats POSIX, WINDOWS, URI.",
        ),
    ],
)
def test_rules_that_are_wrong(rules: object, reason: str) -> None:
    refused(
        template(step("a")),
        *("--path-mapping-rules", json.dumps(rules)),
        reason=f"--path-mapping-rules: {reason}",
    )


# Steps and tasks


def tasks(made: SessionPlan) -> list[str]:
    return [
        f"{each.step.name} {' '.join(str(parameter.value) for parameter in task.values())}"
        for each in made.steps
        for task in each.tasks(time.monotonic)
    ]


ALL = ["Prepare a", "Prepare b", "Render 1", "Render 2", "Render 3"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", ALL),
        ("--run-dependencies", ALL),
        ("--step Render", ALL[2:]),
        ("--step Render --no-run-dependencies", ALL[2:]),
        ("--step Render --run-dependencies", ALL),
        ("--step Render --maximum-tasks 2", ALL[2:4]),
        ("--step Render --run-dependencies --maximum-tasks 1", ALL[:3]),
        ("--maximum-tasks 1", ["Prepare a", "Render 1"]),
        ("--maximum-tasks 9", ALL),
        ("--step Render -tp Frame=2", ["Render 2"]),
        ("--step Render --run-dependencies -tp Frame=2", ["Prepare a", "Prepare b", "Render 2"]),
        ('--step Render --tasks [{"Frame":3},{"Frame":"1"}]', ["Render 3", "Render 1"]),
    ],
)
def test_steps_and_tasks_that_are_asked_for(arguments: str, expected: list[str]) -> None:
    assert tasks(plan(template(FRAMES, PREPARE), *arguments.split())) == expected


@pytest.mark.parametrize(
    ("target", "arguments", "expected"),
    [
        (0, "", ["Render 1-3", "Render 4-6", "Render 7-8"]),
        (60, "--maximum-tasks 2", ["Render 1-3", "Render 4-6"]),
        (60, "-tp Frame=2-7", ["Render 2-7"]),
        (60, '--tasks [{"Frame":"8-8"},{"Frame":"1-2"}]', ["Render 8-8", "Render 1-2"]),
    ],
)
def test_chunks_that_are_asked_for(target: int, arguments: str, expected: list[str]) -> None:
    """CHK-1; chosen chunks are run as they are, the first ones of a step in the default size."""
    made = step("Render", ranges={"Frame": ("CHUNK[INT]", "1-8", chunks(3, target=target))})
    assert tasks(plan(template(made, extensions=["TASK_CHUNKING"]), *arguments.split())) == expected


def test_tasks_from_a_file_of_the_only_step() -> None:
    path = write("tasks.yaml", "- {Part: b}")
    assert tasks(plan(template(PREPARE), "--tasks", f"file://{path}")) == ["Prepare b"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("--step Paint", "../templates/job.yaml: The job has no step 'Paint'. Its steps are: 'Render', 'Prepare'."),
        (
            "-tp Frame=1",
            "../templates/job.yaml: There are 2 steps; --step must say which one the tasks are of.",
        ),
        (
            "--step Render -tp Frame=4",
            "../templates/job.yaml: Task 1 of step 'Render': "
            "Parameter Frame of type INT value 4 is not in the parameter space range.",
        ),
        (
            "--step Render -tp Frame=1 -tp Frame=2",
            "--task-param: each task parameter can have one value only.",
        ),
        (
            '--step Render --tasks {"Frame":1}',
            "--tasks: expected a list of tasks, which are objects of parameter names and values.",
        ),
        ("--step Render --tasks [1]", "--tasks: task 1: expected an object of parameter names and values."),
        (
            '--step Render --tasks [{"Frame":[1]}]',
            "--tasks: task 1: Frame: expected a name with a text or a number, not [1].",
        ),
        ("--step Render --tasks file://no", "no: No such file or directory."),
    ],
)
def test_steps_and_tasks_that_are_wrong(arguments: str, reason: str) -> None:
    refused(template(FRAMES, PREPARE), *arguments.split(), reason=reason)
