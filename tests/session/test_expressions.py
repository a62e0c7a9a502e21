"""Expressions in templates: rules SYM-4 to SYM-21, ACT-2, ACT-4 to ACT-8, ACT-12, CHK-3 to CHK-5, EXPR-1 to EXPR-6."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Optional

import pytest
from openjd.expr import ExprValue, SerializedSymbolTable, SymbolTable
from openjd.model import ParameterValue, ParameterValueType

from openjd.sessions import ActionState, ActionStatus, PathFormat, PathMappingRule
from support import scripts
from support.programs import Run
from support.scripts import WITH_EXPRESSIONS, action, file
from support.stage import OpenStage, Stage

script = partial(scripts.script, extensions=WITH_EXPRESSIONS)
environment = partial(scripts.environment, extensions=WITH_EXPRESSIONS)
RULE = PathMappingRule(
    source_path_format=PathFormat.POSIX, source_path=PurePosixPath("/mnt/a"), destination_path=PurePosixPath("/x")
)
SHOW = ("sh", "-c", 'for each; do printf "<%s>\\n" "$each"; done', "-")


def value(kind: str, content: object) -> ParameterValue:
    return ParameterValue(type=ParameterValueType[kind], value=content)


PARAMETERS = {
    "Name": value("STRING", "Bob"),
    "Nine": value("INT", "9"),
    "Plus": value("FLOAT", "3.500"),
    "Scene": value("PATH", "/mnt/a/scene.exr"),
    "Uri": value("PATH", "s3://bucket/key.exr"),
    "Flag": value("BOOL", True),
    "Range": value("RANGE_EXPR", "5,1-3"),
    "Words": value("LIST_STRING", ["a", "b c"]),
    "Paths": value("LIST_PATH", ["/mnt/a/1", "/b"]),
    "Grid": value("LIST_LIST_INT", [[1, 2], [3]]),
    "None": value("LIST_STRING", []),
    "Text": value("STRING", "/mnt/a/text"),
}


@pytest.fixture
def stage(open_stage: OpenStage) -> Stage:
    return open_stage(job_parameter_values=PARAMETERS, job_name="Job", path_mapping_rules=[RULE])


def shown(stage: Stage, *args: str, let: Sequence[str] = (), **options: Any) -> list[str]:
    """The arguments that a task gets."""
    before = len(stage.journal.output)
    status = stage.run_task(script(action(*SHOW, *args), let=let), **options)
    assert status.state is ActionState.SUCCESS, status.fail_message
    return [line[1:-1] for line in stage.journal.output[before:]]


def failure(stage: Stage, status: Optional[ActionStatus] = None, **fields: Any) -> str:
    """Why a task with such an action does not start."""
    status = status or stage.run_task(script({"command": "true", **fields}))
    assert (status.state, status.exit_code, stage.state) == (ActionState.FAILED, None, "READY_ENDING")
    assert status.fail_message is not None
    return status.fail_message


# Values


def test_null_and_lists_in_arguments(stage: Stage) -> None:
    """ACT-4, ACT-5, ACT-6, SYM-16"""
    args = [
        "-n",
        "{{Param.Words}}",
        "{{null}}",
        "x{{null}}y",
        "",
        "{{Param.None}}",
        "{{ Param.Grid }}",
        "{{Param.Nine}}",
    ]
    assert shown(stage, *args) == ["-n", "a", "b c", "xy", "", "[1, 2]", "[3]", "9"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{Param.Nine + 1}}", "10"),
        ("{{Param.Plus}} {{Param.Plus + 1}}", "3.500 4.5"),
        ("is {{Param.Flag}}, {{not Param.Flag}}", "is true, false"),
        ("{{Param.Words}} of {{Param.Range}}", '["a", "b c"] of 1-3,5'),
        ("{{Param.Scene}} {{RawParam.Scene}} {{Param.Text}}", "/x/scene.exr /mnt/a/scene.exr /mnt/a/text"),
        ("{{Param.Scene.stem}}-{{Param.Scene.parent / 'b'}}", "scene-/x/b"),
        ("{{Param.Uri}} {{Param.Uri.name}}", "s3://bucket/key.exr key.exr"),
        ("{{Param.Paths[0].name}} {{RawParam.Paths[0]}} {{Param.Paths}}", '1 /mnt/a/1 ["/x/1", "/b"]'),
        ("{{apply_path_mapping('/mnt/a/z')}} {{apply_path_mapping('/z')}}", "/x/z /z"),
        ("{{len(Param.Range)}} {{sum(Param.Range)}}", "4 11"),
        ("{{Session.HasPathMappingRules and Param.Nine > 8}}", "true"),
        ("{{Job.Name}}/{{Step.Name}}", "Job/Step"),
        ("{single} {{ Param.Name }} {{Param.Name.upper()}}", "{single} Bob BOB"),
        ("{{1.5}} {{true}} {{null}}.", "1.5 true ."),
    ],
)
def test_values_have_types(stage: Stage, text: str, expected: str) -> None:
    """SYM-1, SYM-6, SYM-8, SYM-9, SYM-11, SYM-16, EXPR-5"""
    assert shown(stage, text, step_name="Step") == [expected]


def test_host_functions_without_rules(open_stage: OpenStage) -> None:
    """SYM-11"""
    assert shown(open_stage(), "{{apply_path_mapping('/mnt/a/z')}}") == ["/mnt/a/z"]


def test_rules_that_are_added_count_from_the_next_action(stage: Stage) -> None:
    """PM-12, PM-20, SYM-9: parameters and host functions alike, also for bindings that were evaluated before."""
    let = ["mapped = apply_path_mapping('/mnt/b/z')"]
    assert shown(stage, "{{mapped}}", "{{Param.Scene}}", let=let) == ["/mnt/b/z", "/x/scene.exr"]
    longer = {"source_path": PurePosixPath("/mnt/a/scene.exr"), "destination_path": PurePosixPath("/y")}
    other = {"source_path": PurePosixPath("/mnt/b"), "destination_path": PurePosixPath("/z")}
    stage.session.extend_path_mapping_rules(
        PathMappingRule(source_path_format=PathFormat.POSIX, **paths) for paths in (longer, other)
    )
    assert shown(stage, "{{mapped}}", "{{Param.Scene}}", let=let) == ["/z/z", "/y"]


def test_session_paths_are_paths(stage: Stage) -> None:
    """SYM-1"""
    directory = stage.session.working_directory
    args = ["{{Session.WorkingDirectory.name}}", "{{Session.PathMappingRulesFile.parent}}"]
    assert shown(stage, *args) == [directory.name, str(directory)]


# Chunks


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        ("1-3", ["1-3", "frames 1-3", "3", "2", "4", "6", "1-3", "1-3", "1"]),
        ("5-5", ["5-5", "frames 5-5", "1", "10", "5-5", "5", "5"]),
        ("1,2,3", ["1,2,3", "frames 1,2,3", "3", "2", "4", "6", "1,2,3", "1-3", "1"]),
    ],
)
def test_acc_8_chunks(stage: Stage, chunk: str, expected: list[str]) -> None:
    """ACC-8, CHK-2, CHK-4, CHK-5: a reference alone gives the text as it is, all else a range."""
    args = ["{{ Task.Param.F }}", "frames {{Task.Param.F}}", "{{len(Task.Param.F)}}", "{{[x*2 for x in Task.Param.F]}}"]
    args += ["{{Task.RawParam.F}}", "{{bound}}", "{{Task.Param.F[0]}}"]
    given = {"F": value("CHUNK_INT", chunk)}
    assert shown(stage, *args, let=["bound = Task.Param.F"], task_parameter_values=given) == expected


def test_chunk_text_in_files_and_without_expr(stage: Stage) -> None:
    """CHK-3, CHK-5, EXT-3"""
    given = {"F": value("CHUNK_INT", "5-5")}
    legacy = scripts.script(action("echo", "{{Task.Param.F}}", "{{Task.RawParam.F}}"))
    stage.run_task(legacy, task_parameter_values=given)
    typed = script(action("cat", "{{Task.File.T}}"), [file("T", "{{Task.Param.F}} {{len(Task.Param.F)}}")])
    stage.run_task(typed, task_parameter_values=given)
    assert stage.journal.output == ["5-5 5-5", "5-5 1"]


# let


def test_bindings_see_files_parameters_and_earlier_bindings(stage: Stage) -> None:
    """SYM-19, EXPR-2, FILE-2: in order, typed, and files see them."""
    let = ["base = Param.Nine * 2", "named = string(base) + Task.File.T.name", "same=base==18", "frame = Task.Param.F"]
    files = [file("T", "{{named}} {{same}} {{frame + 1}} {{Task.File.T.name}}", filename="t.txt")]
    run = script(action("cat", "{{Task.File.T}}"), files, let=let)
    assert stage.run_task(run, task_parameter_values={"F": value("INT", "4")}).exit_code == 0
    assert stage.journal.output == ["18t.txt true 5 t.txt"]


def test_bindings_of_an_environment(stage: Stage) -> None:
    """EXPR-2, EXPR-3, SYM-3, SYM-4, FILE-8: seen by its enter and exit, and by nobody else."""
    one = environment(
        "E",
        variables={"GREETING": "{{Param.Name.lower()}} {{Param.Words}}"},
        files=[file("T", "{{mine}}")],
        let=["mine = Param.Nine + 1", "here = Env.File.T"],
        onEnter=action("sh", "-c", 'echo "$GREETING $(cat "$0") $1"', "{{Env.File.T}}", "{{here}}"),
        onExit=action("echo", "{{here}}"),
    )
    assert stage.enter(one).exit_code == 0
    assert stage.exit("E").exit_code == 0
    entered, exited = stage.journal.output
    assert entered == f'bob ["a", "b c"] 10 {exited}'
    stage.enter(one)
    assert failure(stage, args=["{{mine}}"]).startswith(
        "Task, onRun, args[0] cannot be resolved: Undefined variable: 'mine'."
    )


def test_environment_with_variables_only_evaluates_no_bindings(stage: Stage) -> None:
    """EXPR-3, LC-14"""
    one = environment("E", let=["bad = 1 // (Param.Nine - 9)"], onExit=action("true"))
    assert stage.enter(one) == ActionStatus(state=ActionState.SUCCESS)
    assert failure(stage, stage.exit("E")).startswith(
        "Environment 'E', let 'bad' cannot be evaluated: Division by zero"
    )


def test_bindings_follow_the_values_they_are_made_of(stage: Stage) -> None:
    """SYM-10, TASK-5: what is kept from one task to the next is never stale."""
    let = ["double = Task.Param.F * 2", "fixed = Param.Nine * 3", "both = double + fixed"]
    for frame in (1, 2, 2, 3):
        given = {"F": value("INT", str(frame))}
        assert shown(stage, "{{both}}", let=let, task_parameter_values=given) == [str(2 * frame + 27)]


def test_binding_that_is_too_long(stage: Stage) -> None:
    """SYM-20"""
    binding = f"long = '{'x' * 4090}'"
    status = stage.run_task(script(action("true"), let=[binding]))
    assert failure(stage, status) == (
        f"Task, let 'long' is {len(binding)} characters long; at most 4096 are allowed. "
        "Divide it into several bindings."
    )


# resolved_symtab


def table(**values: ExprValue) -> SerializedSymbolTable:
    symbols = SymbolTable()
    for name, content in values.items():
        symbols[name.replace("__", ".")] = content
    return SerializedSymbolTable.from_symtab(symbols)


STEP_TABLE = table(
    Job__Name=ExprValue("Theirs"),
    Step__Name=ExprValue("Theirs"),
    Param__Name=ExprValue("Theirs"),
    base=ExprValue(5),
    where=ExprValue("/mnt/a/q", "path"),
)


def test_layers_of_symbols(stage: Stage) -> None:
    """SYM-5, SYM-12"""
    args = ["{{base + 1}}", "{{where.name}}", "{{Job.Name}}", "{{Step.Name}}", "{{Param.Name}}"]
    assert shown(stage, *args, step_name="Ours", resolved_symtab=STEP_TABLE) == ["6", "q", "Theirs", "Ours", "Bob"]
    assert shown(stage, "{{Step.Name}}", resolved_symtab=STEP_TABLE) == ["Theirs"]


def test_step_bindings_in_environments(stage: Stage) -> None:
    """SYM-4, SYM-14: given on entering, used on exiting unless another one is given."""
    one = environment(
        "E", variables={"BASE": "{{base}}"}, onEnter=action("echo", "{{base}}"), onExit=action("echo", "out {{base}}")
    )
    stage.enter(one, resolved_symtab=STEP_TABLE)
    stage.exit("E")
    stage.enter(one, resolved_symtab=STEP_TABLE)
    stage.exit("E", resolved_symtab=table(base=ExprValue(6)))
    assert stage.journal.output == ["5", "out 5", "5", "out 6"]


def test_without_the_table_step_bindings_are_undefined(stage: Stage) -> None:
    """SYM-12"""
    assert failure(stage, args=["{{base}}"]) == (
        "Task, onRun, args[0] cannot be resolved: Undefined variable: 'base'. Did you mean: Job.Name\n  base\n  ^~~~"
    )


def test_broken_table(open_stage: OpenStage) -> None:
    """SYM-13, SYM-14, LC-21: it fails the action; it is not used again to exit."""
    broken = SerializedSymbolTable.from_json_str(json.dumps([{"name": "base", "type": "nonsense", "value": "1"}]))
    stage = open_stage()
    status = stage.run_task(script(action("true")), resolved_symtab=broken)
    assert failure(stage, status).startswith("The resolved symbol table (resolved_symtab) cannot be read: ")
    stage = open_stage()
    failure(stage, stage.enter(environment("E", onEnter=action("true"), onExit=action("true")), resolved_symtab=broken))
    assert stage.exit("E") == ActionStatus(state=ActionState.SUCCESS, exit_code=0)


# Limits and cancelation


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        ("{{null}}", None),
        ("{{Param.Nine if Param.Flag else null}}", 9),
        ("{{ Param.Nine * 2 }}", 18),
        ("1{{Param.Nine}}", 19),
    ],
)
def test_timeouts(stage: Stage, timeout: str, expected: Optional[int]) -> None:
    """ACT-12, EXPR-4: null is as if there were none."""
    stage.run_task(script(action("true", timeout=timeout)))
    limits = [text for text in stage.journal.texts if "time limit" in text.lower()]
    assert stage.session.action_status is not None
    assert stage.session.action_status.state is ActionState.SUCCESS
    assert all(str(expected) in text for text in limits)


@pytest.mark.parametrize("timeout", ["{{5.0}}", "{{Param.Flag}}", "{{' 5'}}", "{{''}}", "{{Param.Words}}", "{{0}}"])
def test_timeouts_that_are_none(stage: Stage, timeout: str) -> None:
    """ACT-12"""
    assert failure(stage, timeout=timeout).startswith(
        "Task, onRun, timeout must be a whole number of seconds from 1 to"
    )


@pytest.mark.parametrize(
    ("command", "what"),
    [("{{null}}", "nothing"), ("{{''}}", "nothing"), ("{{['a', 'b']}}", "a list"), ("{{[]}}", "a list")],
)
def test_command_that_is_none(stage: Stage, command: str, what: str) -> None:
    """ACT-2"""
    assert failure(stage, command=command) == (
        f"Task, onRun, command must name a program, but {command!r} resolved to {what}."
    )


@pytest.mark.parametrize("argument", ["a{{Param.Nul}}", "{{[Param.Nul]}}", "{{Param.Nul}}"])
def test_nul_in_arguments(open_stage: OpenStage, argument: str) -> None:
    """ACT-1"""
    stage = open_stage(job_parameter_values={"Nul": value("STRING", "a\0b")})
    assert failure(stage, args=[argument]).startswith("Task, onRun, args[0] contains a NUL character")


# Failures


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{Param.Nin}}", "Undefined variable: 'Param.Nin'. Did you mean: Param.Nine\n  Param.Nin\n  ~~~~~~^"),
        ("{{Param.Nine + Param.Name}}", "Cannot use '+' operator with int and string\n"),
        ("{{1 // (Param.Nine - 9)}}", "Division by zero\n"),
        ("{{Param.Words[7]}}", "Index 7 out of bounds"),
        ("{{fail('no ' + Param.Name)}}", "no Bob"),
        ("{{len([x for x in range(Param.Nine * 2000000)])}}", "Expression operation count (10000001) exceeded limit"),
        ("{{Param.Name * 200000000}}", "Expression memory usage (600000131 bytes) exceeded limit (100000000 bytes)\n"),
    ],
)
def test_complete_text_of_the_engine(stage: Stage, text: str, reason: str) -> None:
    """EXPR-6, SYM-2, SYM-18, SYM-21, LC-20: one call, all lines."""
    message = failure(stage, args=["x", text])
    assert message.startswith(f"Task, onRun, args[1] cannot be resolved: {reason}")
    assert [status.state for status in stage.journal.told] == [ActionState.FAILED]


def test_reason_that_is_far_too_long(stage: Stage) -> None:
    """SYM-21, LC-20: it says how much of it is missing, in the status and in the log."""
    status = stage.run_task(script(action("true", "{{fail(Param.Text * 10000)}}")))
    reason = str(status.fail_message)
    assert reason.startswith("Task, onRun, args[0] cannot be resolved: ")
    start, _, note = reason.partition("... (")
    assert len(start) == 65_536
    whole = re.fullmatch(r"the first 65536 of (\d+) characters\)", note)
    assert whole is not None
    assert int(whole[1]) > 100_000
    assert f"openjd_fail: {reason}" in stage.journal.texts


def test_value_that_does_not_fit_its_type(open_stage: OpenStage) -> None:
    """SYM-7: whatever the expression; without EXPR it is a text like any other."""
    stage = open_stage(job_parameter_values={"Odd": value("INT", "many")})
    assert stage.run_task(scripts.script(action("echo", "{{Param.Odd}}"))).exit_code == 0
    assert failure(stage, args=["{{1 + 1}}", "{{Session.WorkingDirectory}}"]).startswith(
        "Param.Odd has a value that does not fit its type: "
    )


def test_names_without_expr_are_names(stage: Stage) -> None:
    """SYM-15, MODEL-12: what a constant is with EXPR is an undefined symbol without."""
    status = stage.run_task(scripts.script(action("echo", "{{null}}")))
    assert "null has no value" in failure(stage, status)


# The engine


def test_engine_is_loaded_for_expressions_only(run: Run) -> None:
    """API-7: native code is loaded by the first expression, and not by importing, sessions, parameters of any type."""
    assert run(
        """
        from openjd.model import ParameterValue, ParameterValueType
        from support.scripts import action, environment, file, script

        def native():
            return sorted(name for name in sys.modules if name.startswith(("openjd._openjd_rs", "openjd.expr")))

        values = {
            "P": ParameterValue(type=ParameterValueType.PATH, value="/a"),
            "L": ParameterValue(type=ParameterValueType.LIST_INT, value=[1]),
        }
        with Session(session_id="s", job_parameter_values=values, session_root_directory=os.environ["ROOT"]) as session:
            with session.environment(environment("E", variables={"V": "{{Param.P}}"}, onEnter=action("true"))):
                run = action("echo", "{{Param.P}}", timeout="1{{Task.Param.F}}")
                session.run_task(
                    step_script=script(run, [file("F", "{{Param.P}}")]),
                    task_parameter_values={"F": ParameterValue(type=ParameterValueType.CHUNK_INT, value="5")},
                )
                say(session.wait().state.name, native())
        """
    ) == ["SUCCESS []"]


def test_each_scope_is_closed(stage: Stage, tmp_path: Path) -> None:
    """SYM-3, SYM-10: nothing of one action is visible to the next."""
    first = script(action("true"), [file("T", "x")], let=["mine = 1"])
    stage.run_task(first, task_parameter_values={"F": value("INT", "1")})
    for name in ("mine", "Task.File.T", "Task.Param.F"):
        other = Stage(tmp_path, job_parameter_values=PARAMETERS)
        try:
            other.run_task(first, task_parameter_values={"F": value("INT", "1")})
            assert f"Undefined variable: '{name}'" in failure(other, args=[f"{{{{{name}}}}}"])
        finally:
            other.close()
