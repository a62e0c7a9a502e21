"""From templates to resolved actions: rules LC-13 to LC-15, LC-20, part 3, part 8, PM-15 to PM-19, TASK-3."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Optional

import pytest
from openjd.model import ParameterValue, ParameterValueType, create_job, decode_job_template
from openjd.model.v2023_09 import Environment, Step

from openjd.sessions._core.actions import CancelMethod, ResolvedAction
from openjd.sessions._core.environments import EnteredEnvironment, EnvironmentStack, VariableLayer
from openjd.sessions._core.parameters import Task
from openjd.sessions._errors import ActionFailed
from openjd.sessions._logging import LogContent, SessionLog
from openjd.sessions._path_mapping import PathFormat, PathMappingRule
from openjd.sessions._runtime.preparation import Preparation
from openjd.sessions._runtime.workspace import Workspace

PARAMETERS = {
    "Text": ParameterValue(type=ParameterValueType.STRING, value="/mnt/a/b"),
    "Path": ParameterValue(type=ParameterValueType.PATH, value="/mnt/a/b"),
    "Limit": ParameterValue(type=ParameterValueType.STRING, value="7"),
}
RULE = PathMappingRule(
    source_path_format=PathFormat.POSIX, source_path=PurePosixPath("/mnt/a"), destination_path=PurePosixPath("/x")
)
LONGER_RULE = PathMappingRule(
    source_path_format=PathFormat.POSIX, source_path=PurePosixPath("/mnt/a/b"), destination_path=PurePosixPath("/y")
)
SHOW_ALL = ["{{Param.Text}}", "{{Param.Path}}", "{{RawParam.Path}}", "{{Session.HasPathMappingRules}}"]


class Lines(logging.Handler):
    """Keeps what was logged, with its content flags."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, Optional[LogContent]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append((record.getMessage(), getattr(record, "openjd_log_content", None)))

    @property
    def texts(self) -> list[str]:
        return [text for text, _ in self.found]


def entered(environment: Environment, **options: Any) -> EnteredEnvironment:
    given = {"identifier": "e", "step_name": None, "resolved_symtab": None, **options}
    return EnteredEnvironment(environment=environment, layer=VariableLayer(), **given)


class Stage:
    """A workspace, a log, and the preparation that is tested."""

    def __init__(self, root: Path, parameters: dict[str, ParameterValue] = PARAMETERS) -> None:
        self.workspace = Workspace.create(root, None)
        self.log = SessionLog("prepared", lambda text: text)
        self.lines = Lines()
        logging.getLogger("openjd.sessions").addHandler(self.lines)
        self.stack = EnvironmentStack()
        self.preparation = Preparation(self.workspace, self.log, parameters, "Job", self.stack, lambda: False)

    def close(self) -> None:
        logging.getLogger("openjd.sessions").removeHandler(self.lines)
        self.log.close()
        assert self.workspace.delete() == []

    @property
    def files(self) -> list[str]:
        return sorted(os.listdir(self.workspace.files_directory))

    def enter(self, environment: Environment, **options: Any) -> tuple[VariableLayer, Optional[ResolvedAction]]:
        rules, layers = options.pop("rules", []), [VariableLayer()]
        resolved = self.preparation.enter(entered(environment, **options), rules, layers.append)
        return layers[-1], resolved

    def exit(self, environment: Environment, **options: Any) -> Optional[ResolvedAction]:
        return self.preparation.exit(entered(environment, **options), [])

    def task(self, step: Step, **options: Any) -> ResolvedAction:
        rules = options.pop("rules", [])
        given = {"parameters": {}, "step_name": None, "resolved_symtab": None, "has_banner": True, **options}
        return self.preparation.task(Task(step.script, **given), rules, is_wrapped=True)

    def failure(self, call: str, *arguments: Any, **options: Any) -> str:
        with pytest.raises(ActionFailed) as caught:
            getattr(self, call)(*arguments, **options)
        return str(caught.value)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


def step(
    on_run: Optional[dict[str, Any]] = None,
    files: Optional[list[dict[str, Any]]] = None,
    environment: Optional[dict[str, Any]] = None,
) -> Step:
    """The step of a job that was decoded from a template."""
    script: dict[str, Any] = {"actions": {"onRun": on_run or {"command": "run"}}}
    if files:
        script["embeddedFiles"] = files
    parts: dict[str, Any] = {"name": "S", "script": script}
    if environment is not None:
        parts["stepEnvironments"] = [environment]
    parts["parameterSpace"] = {
        "taskParameterDefinitions": [
            {"name": "Frame", "type": "INT", "range": [1]},
            {"name": "Out", "type": "PATH", "range": ["/mnt/a"]},
        ]
    }
    template = {
        "specificationVersion": "jobtemplate-2023-09",
        "extensions": ["FEATURE_BUNDLE_1"],
        "name": "Job",
        "parameterDefinitions": [
            {"name": "Text", "type": "STRING"},
            {"name": "Path", "type": "PATH"},
            {"name": "Limit", "type": "STRING"},
        ],
        "steps": [parts],
    }
    decoded = decode_job_template(template=template, supported_extensions=["FEATURE_BUNDLE_1"])
    return create_job(job_template=decoded, job_parameter_values=PARAMETERS).steps[0]


def environment(
    variables: Optional[dict[str, str]] = None,
    files: Optional[list[dict[str, Any]]] = None,
    **actions: dict[str, Any],
) -> Environment:
    obj: dict[str, Any] = {"name": "E"}
    if variables:
        obj["variables"] = variables
    if actions:
        obj["script"] = {"actions": actions}
        if files:
            obj["script"]["embeddedFiles"] = files
    environments = step(environment=obj).stepEnvironments
    assert environments
    return environments[0]


def file(name: str, data: str = "data", **fields: Any) -> dict[str, Any]:
    return {"name": name, "type": "TEXT", "data": data, **fields}


# Symbols and variables


def test_task_sees_session_job_task_and_its_files(stage: Stage) -> None:
    """SYM-1, SYM-9, ACT-7"""
    args = [*SHOW_ALL, "{{Session.WorkingDirectory}}", "{{Session.PathMappingRulesFile}}"]
    args += ["{{Task.Param.Frame}}", "{{Task.Param.Out}}", "{{Task.RawParam.Out}}", "{{Task.File.F}}"]
    parameters = {
        "Frame": ParameterValue(type=ParameterValueType.INT, value="1"),
        "Out": ParameterValue(type=ParameterValueType.PATH, value="/mnt/a/"),
    }
    one = step({"command": "run", "args": args}, [file("F", filename="f.txt")])
    action = stage.task(one, parameters=parameters, rules=[RULE])
    directory = stage.workspace.directory
    rules_file = next(directory.glob("*.json"))
    assert action == ResolvedAction(
        argv=(
            *("run", "/mnt/a/b", "/x/b", "/mnt/a/b", "true"),
            *(str(directory), str(rules_file), "1", "/x/", "/mnt/a/", f"{stage.workspace.files_directory}/f.txt"),
        ),
        timeout=None,
        cancel_method=CancelMethod(notify_period=None),
    )


def test_variables_see_session_and_job_in_order(stage: Stage) -> None:
    """ENV-4, SYM-4"""
    one = environment({"B": "{{Param.Path}}", "A": "{{Session.HasPathMappingRules}}", "EMPTY": "x"})
    layer, action = stage.enter(one, rules=[RULE])
    assert (dict(layer.values), action) == ({"B": "/x/b", "A": "true", "EMPTY": "x"}, None)
    assert stage.lines.found == [
        ("Setting: B=/x/b", LogContent.PARAMETER_INFO),
        ("Setting: A=true", LogContent.PARAMETER_INFO),
        ("Setting: EMPTY=x", LogContent.PARAMETER_INFO),
    ]


def test_environment_action_sees_its_own_files(stage: Stage) -> None:
    """SYM-1"""
    one = environment(files=[file("F", filename="f")], onEnter={"command": "{{Env.File.F}}", "args": SHOW_ALL})
    _, action = stage.enter(one)
    assert action
    assert action.argv == (f"{stage.workspace.files_directory}/f", "/mnt/a/b", "/mnt/a/b", "/mnt/a/b", "false")


@pytest.mark.parametrize("script", [None, {"onExit": {"command": "bye"}}])
def test_nothing_to_enter(stage: Stage, script: Optional[dict[str, Any]]) -> None:
    """LC-14, LC-15"""
    layer, action = stage.enter(environment({"A": "1"}, [file("F")] if script else None, **script or {}))
    assert (dict(layer.values), action) == ({"A": "1"}, None)
    assert (stage.files, stage.lines.texts) == ([], ["Setting: A=1"])


def test_exit_has_a_time_limit_of_its_own(stage: Stage) -> None:
    """ENV-10, LC-14"""
    leaving = environment(onExit={"command": "bye"})
    stage.enter(leaving)
    assert stage.exit(leaving) == ResolvedAction(("bye",), 300, CancelMethod(None))
    entering = environment(onEnter={"command": "hello"})
    assert stage.enter(entering)[1] == ResolvedAction(("hello",), None, CancelMethod(None))
    assert stage.exit(entering) is None


def test_what_nobody_can_measure_is_no_limit(stage: Stage) -> None:
    """ACT-13"""
    assert stage.task(step({"command": "run", "timeout": 4_611_686_018})).timeout == 4_611_686_018
    assert "warning" not in " ".join(stage.lines.texts)
    assert stage.task(step({"command": "run", "timeout": 4_611_686_019}), step_name="S").timeout is None
    assert stage.lines.found[-1] == (
        "Step 'S', onRun, timeout of 4611686019 seconds is longer than can be measured; "
        "the action runs without a time limit.",
        LogContent.PROCESS_CONTROL,
    )


# Path mapping


def test_rules_file(stage: Stage) -> None:
    """PM-15 to PM-18: one file, rewritten when the rules have changed."""
    one = step({"command": "{{Session.PathMappingRulesFile}}", "args": SHOW_ALL})

    def run(rules: list[PathMappingRule]) -> tuple[tuple[str, ...], Any]:
        path, *args = stage.task(one, rules=rules).argv
        assert [path] == [str(found) for found in stage.workspace.directory.glob("*.json")]
        return tuple(args), json.loads(Path(path).read_text())

    assert run([]) == (("/mnt/a/b", "/mnt/a/b", "/mnt/a/b", "false"), {})
    described = [
        {"source_path_format": "POSIX", "source_path": "/mnt/a/b", "destination_path": "/y"},
        {"source_path_format": "POSIX", "source_path": "/mnt/a", "destination_path": "/x"},
    ]
    assert run([RULE, LONGER_RULE]) == (
        ("/mnt/a/b", "/y", "/mnt/a/b", "true"),
        {"version": "pathmapping-1.0", "path_mapping_rules": described},
    )
    assert run([RULE])[0] == ("/mnt/a/b", "/x/b", "/mnt/a/b", "true")
    assert run([]) == (("/mnt/a/b", "/mnt/a/b", "/mnt/a/b", "false"), {})


def test_job_parameters_are_mapped_once_for_the_same_rules(tmp_path: Path) -> None:
    """PERFORMANCE 2.7: a path that counts how often it is looked at stays at its count in a second action."""

    class Counted(str):
        looks = 0

        def casefold(self) -> str:
            Counted.looks += 1
            return super().casefold()

        def startswith(self, *args: Any) -> bool:
            Counted.looks += 1
            return super().startswith(*args)

        def split(self, *args: Any, **kwargs: Any) -> list[str]:
            Counted.looks += 1
            return super().split(*args, **kwargs)

        def endswith(self, *args: Any) -> bool:
            Counted.looks += 1
            return super().endswith(*args)

    parameters = {**PARAMETERS, "Path": ParameterValue(type=ParameterValueType.PATH, value=Counted("/mnt/a/b"))}
    stage = Stage(tmp_path, parameters)
    one = step({"command": "{{Param.Path}}"})
    assert stage.task(one, rules=[RULE]).argv == ("/x/b",)
    first = Counted.looks
    assert first > 0
    assert stage.task(one, rules=[RULE]).argv == ("/x/b",)
    assert Counted.looks == first
    assert stage.task(one, rules=[RULE, LONGER_RULE]).argv == ("/y",)
    assert Counted.looks > first
    stage.close()


# Embedded files


def test_files_are_written_with_their_modes_and_contents(stage: Stage) -> None:
    """FILE-2, FILE-3, FILE-10, FILE-12, WD-11"""
    files = [
        file("Script", "echo {{Task.File.Script}} {{Task.File.Data}} ü", runnable=True),
        file("Data", "{{Param.Text}}", filename="a ü.txt"),
    ]
    script, data = stage.task(step({"command": "{{Task.File.Script}}", "args": ["{{Task.File.Data}}"]}, files)).argv
    assert Path(script).read_text("utf-8") == f"echo {script} {data} ü"
    assert Path(data).read_text("utf-8") == "/mnt/a/b"
    assert data == str(stage.workspace.files_directory / "a ü.txt")
    assert Path(script).parent == stage.workspace.files_directory
    assert [stat.S_IMODE(os.stat(path).st_mode) for path in (script, data)] == [0o700, 0o600]


@pytest.mark.parametrize(
    ("end_of_line", "expected"),
    [
        (None, b"x\ny\nz\r\r\n"),
        ("AUTO", b"x\ny\nz\r\r\n"),
        ("LF", b"x\ny\nz\r\r\n"),
        ("CRLF", b"x\r\ny\r\nz\r\r\r\n"),
    ],
)
@pytest.mark.skipif(os.linesep != "\n", reason="AUTO is the host's own")
def test_line_ends(stage: Stage, end_of_line: Optional[str], expected: bytes) -> None:
    """FILE-11"""
    options = {} if end_of_line is None else {"endOfLine": end_of_line}
    one = step({"command": "{{Task.File.F}}"}, [file("F", "x\r\ny\nz\r\r\r\n", **options)])
    assert Path(stage.task(one).argv[0]).read_bytes() == expected


def test_lines_about_files(stage: Stage) -> None:
    """FILE-15, API 15, TASK-3: in this order, with these contents."""
    stage.log.level = logging.DEBUG
    files = [file("A", "one\n", filename="a"), file("B", "two", filename="b")]
    parameters = {"Frame": ParameterValue(type=ParameterValueType.INT, value="1")}
    stage.task(step(files=files), parameters=parameters)
    directory = stage.workspace.files_directory
    banner = LogContent.BANNER
    mapping = LogContent.FILE_PATH | LogContent.PARAMETER_INFO
    assert stage.lines.found == [
        ("Parameter values:", LogContent.PARAMETER_INFO),
        ("Frame(INT) = 1", LogContent.PARAMETER_INFO),
        ("-" * 46, banner),
        ("Phase: Setup", banner),
        ("-" * 46, banner),
        ("Allocating embedded file paths for Task.", None),
        (f"Mapping: Task.File.A -> {directory}/a", mapping),
        (f"Mapping: Task.File.B -> {directory}/b", mapping),
        ("Writing embedded files to disk for Task.", None),
        (f"Wrote: A -> {directory}/a", LogContent.FILE_PATH),
        (f"Wrote: B -> {directory}/b", LogContent.FILE_PATH),
        ("Contents:\none\n", LogContent.FILE_CONTENTS),
        ("Contents:\ntwo", LogContent.FILE_CONTENTS),
    ]


def test_contents_are_for_debugging_only(stage: Stage) -> None:
    """FILE-15"""
    stage.task(step(files=[file("A", "secret")]))
    assert [text for text in stage.lines.texts if "secret" in text] == []


def test_files_are_written_anew_for_each_action(stage: Stage) -> None:
    """FILE-1, FILE-9"""
    one = step({"command": "{{Task.File.F}}"}, [file("F", "{{Task.Param.Frame}}", filename="f")])
    for frame in ("1", "22", ""):
        frames = {"Frame": ParameterValue(type=ParameterValueType.INT, value=frame)}
        path = Path(stage.task(one, parameters=frames).argv[0])
        assert path.read_text() == frame
    path.unlink()
    stage.task(one, parameters=frames)
    assert path.read_text() == ""
    assert stage.files == ["f"]


def test_paths_of_an_entered_environment_are_stable(stage: Stage) -> None:
    """FILE-8, GAP-19: the same from onEnter to onExit, also for a file without a name; others after it."""
    command = {"command": "{{Env.File.F}}"}
    one = environment(files=[file("F", "data {{Env.File.F}}")], onEnter=command, onExit=command)
    _, entered = stage.enter(one)
    _, other = stage.enter(one, identifier="other")
    stage.task(step(files=[file("T")]))
    assert entered
    assert other
    assert other.argv != entered.argv
    left = stage.exit(one)
    assert left
    assert left.argv == entered.argv
    assert "Reusing embedded file paths for Environment." in stage.lines.texts
    assert Path(left.argv[0]).read_text() == f"data {left.argv[0]}"
    _, again = stage.enter(one)
    assert again
    assert again.argv != entered.argv
    assert sorted(stage.files) == sorted(Path(path).name for path in (*other.argv, *again.argv))


def test_files_without_names_do_not_pile_up(stage: Stage) -> None:
    """GAP-19: neither those of tasks nor those of environments that were exited, nor those of failures."""
    task = step({"command": "{{Task.File.A}}", "args": ["{{Task.Param.Frame}}"]}, [file("A"), file("B")])
    command = {"command": "{{Env.File.F}}"}
    around = environment(files=[file("F")], onEnter=command, onExit=command)
    seen = set()
    frames = {"Frame": ParameterValue(type=ParameterValueType.INT, value="1")}
    for parameters in (frames, frames, {}):
        stage.enter(around)
        if parameters:
            seen.add(stage.task(task, parameters=parameters).argv)
        else:
            stage.failure("task", task, parameters=parameters)
        assert len(stage.files) == 3
        stage.exit(around)
        assert len(stage.files) == 1
    assert len(seen) == 2
    stage.task(step())
    assert stage.files == []


def test_failed_entering_can_be_exited(stage: Stage) -> None:
    """LC-21, ENV-11"""
    one = environment(
        files=[file("F", "{{Param.Limit}}")],
        onEnter={"command": "run", "timeout": "{{Param.Text}}"},
        onExit={"command": "{{Env.File.F}}"},
    )
    assert stage.failure("enter", one) == (
        "Environment 'E', onEnter, timeout must be a whole number of seconds from 1 to 9223372036854775807, "
        "but '{{Param.Text}}' resolved to '/mnt/a/b'."
    )
    left = stage.exit(one)
    assert left
    assert Path(left.argv[0]).read_text() == "7"


# Reasons of failures


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a/b", "a\\b", "a\0b", "C:x", "c:\\x", "/etc/passwd", "a\n/b"])
def test_names_that_are_no_plain_names(stage: Stage, name: str) -> None:
    """FILE-5: also where the model would let them pass."""
    one = step(files=[file("F", filename="f")])
    assert one.script.embeddedFiles
    bad = one.script.embeddedFiles[0].model_copy(update={"filename": name})
    broken = one.model_copy(update={"script": one.script.model_copy(update={"embeddedFiles": [bad]})})
    assert stage.failure("task", broken, step_name="Render") == (
        f"Step 'Render', embedded file 'F': filename {name!r} must be the plain name of a file, "
        "without directory, drive or NUL."
    )
    assert stage.files == []


@pytest.mark.parametrize("name", [" ", "a b", "..a", "a..", "ü", "CON", "ab:c", "C"])
def test_unusual_plain_names_are_fine(stage: Stage, name: str) -> None:
    """FILE-5"""
    stage.task(step(files=[file("F", filename=name)]))
    assert stage.files == [name]


def test_two_files_of_one_name(stage: Stage) -> None:
    """FILE-6, GAP-18"""
    files = [file("A", filename="run.sh"), file("B", filename="other.sh"), file("C", filename="run.sh")]
    assert stage.failure("task", step(files=files)) == (
        "Task, embedded file 'C': filename 'run.sh' is the same file as filename 'run.sh' of embedded file 'A'. "
        "Give each file a name of its own."
    )
    assert stage.files == []


def test_letter_case_tells_files_apart_where_the_file_system_does(stage: Stage) -> None:
    """FILE-6"""
    one = step(files=[file("A", filename="run.sh"), file("B", filename="RUN.SH")])
    if stage.workspace.files.ignores_case():
        assert stage.failure("task", one) == (
            "Task, embedded file 'B': filename 'RUN.SH' is the same file as filename 'run.sh' of embedded file 'A'. "
            "Give each file a name of its own."
        )
    else:
        stage.task(one)
        assert stage.files == ["RUN.SH", "run.sh"]


def test_link_in_the_place_of_a_file(stage: Stage, tmp_path: Path) -> None:
    """FILE-9, FILE-14"""
    (tmp_path / "outside").write_text("kept")
    (stage.workspace.files_directory / "f").symlink_to(tmp_path / "outside")
    one = environment(files=[file("F", filename="f")], onEnter={"command": "run"})
    assert stage.failure("enter", one) == (
        f"Environment 'E', embedded file 'F': 'f' cannot be written in '{stage.workspace.files_directory}': "
        "A link is in its place, and only a regular file is ever replaced."
    )
    assert (tmp_path / "outside").read_text() == "kept"


def test_name_that_is_too_long(stage: Stage) -> None:
    """FB1-4, FILE-14: the file system has the last word."""
    assert stage.failure("task", step(files=[file("F", filename="x" * 256)])) == (
        f"Task, embedded file 'F': '{'x' * 256}' cannot be written in '{stage.workspace.files_directory}': "
        "File name too long."
    )


def test_directory_that_has_gone(stage: Stage) -> None:
    """FILE-14"""
    stage.workspace.files_directory.rmdir()
    assert re.fullmatch(
        "Task, embedded file 'F': '[0-9a-f]{16}' cannot be written in "
        f"'{stage.workspace.files_directory}': No such file or directory.",
        stage.failure("task", step(files=[file("F")])),
    )


def test_text_that_is_no_utf_8(tmp_path: Path) -> None:
    """FILE-10: a value that came from a name of other bytes."""
    parameters = {**PARAMETERS, "Text": ParameterValue(type=ParameterValueType.STRING, value="a\udcffb")}
    stage = Stage(tmp_path, parameters)
    assert stage.failure("task", step(files=[file("F", "{{Param.Text}}")])) == (
        "Task, embedded file 'F': data contains '\\udcff', which cannot be written as UTF-8. "
        "Remove it from the text, or from the parameter that the text uses."
    )
    stage.close()


UNDEFINED = (
    "{where} cannot be resolved: Failed to parse interpolation expression at [0, {end}]. Expression: {symbol}. "
    "Reason: Expression failed validation: {symbol} has no value. It can use defined symbols of {groups}."
)


@pytest.mark.parametrize(
    ("one", "where", "symbol", "groups"),
    [
        (
            environment({"GOOD": "x", "BAD": "{{Param.Text}}"}),
            "Environment 'E', variable 'BAD'",
            "Param.Text",
            "Job.*, Session.*",
        ),
        (
            environment(onEnter={"command": "run", "args": ["-p", "{{Param.Path}}"]}),
            "Environment 'E', onEnter, args[1]",
            "Param.Path",
            "Job.*, Session.*",
        ),
        (
            environment(files=[file("F", "{{Param.Text}}")], onEnter={"command": "run"}),
            "Environment 'E', embedded file 'F', data",
            "Param.Text",
            "Env.File.*, Job.*, Session.*",
        ),
    ],
)
def test_undefined_symbols(tmp_path: Path, one: Environment, where: str, symbol: str, groups: str) -> None:
    """SYM-2, LC-20: a session that was given no parameters."""
    stage = Stage(tmp_path, {})
    expected = UNDEFINED.format(where=where, symbol=symbol, end=len(symbol) + 4, groups=groups)
    assert stage.failure("enter", one) == expected
    stage.close()


def test_undefined_task_parameter(stage: Stage) -> None:
    """SYM-2, SYM-10: nothing is left of the task before."""
    one = step({"command": "{{Task.Param.Frame}}"})
    frames = {"Frame": ParameterValue(type=ParameterValueType.INT, value="1")}
    assert stage.task(one, parameters=frames, step_name="S").argv == ("1",)
    assert stage.failure("task", one, step_name="S") == UNDEFINED.format(
        where="Step 'S', onRun, command",
        symbol="Task.Param.Frame",
        end=20,
        groups="Job.*, Param.*, RawParam.*, Session.*, Step.*",
    )


def test_variable_with_nul(tmp_path: Path) -> None:
    """ENV-4"""
    parameters = {**PARAMETERS, "Text": ParameterValue(type=ParameterValueType.STRING, value="\0")}
    stage = Stage(tmp_path, parameters)
    assert stage.failure("enter", environment({"V": "{{Param.Text}}"})) == (
        "Environment 'E', variable 'V' contains a NUL character, which no process can be given. "
        "Remove it from the text, or from the parameter that the text uses."
    )
    stage.close()


def test_rules_file_that_cannot_be_written(stage: Stage, tmp_path: Path) -> None:
    """PM-19"""
    stage.workspace.directory.rename(tmp_path / "moved")
    message = stage.failure("task", step())
    (tmp_path / "moved").rename(stage.workspace.directory)
    assert message == (
        f"The path mapping file cannot be written in '{stage.workspace.directory}': No such file or directory."
    )
    assert stage.task(step()).argv == ("run",)


@pytest.mark.parametrize("call", ["enter", "exit", "task"])
def test_resolved_symbol_table_of_another_type(stage: Stage, call: str) -> None:
    """SYM-13"""
    one = step() if call == "task" else environment(onEnter={"command": "run"}, onExit={"command": "run"})
    assert stage.failure(call, one, resolved_symtab=object()) == (
        "The resolved symbol table (resolved_symtab) cannot be read: "
        "it must be an openjd.expr.SerializedSymbolTable, not object."
    )


# What is loaded


def test_native_module_is_not_loaded_without_expr(tmp_path: Path) -> None:
    """API-7, in a fresh interpreter: decoded, created, mapped, prepared."""
    code = """
import sys
from pathlib import Path, PurePosixPath
from openjd.sessions._logging import SessionLog
from openjd.sessions._runtime.workspace import Workspace
workspace = Workspace.create(Path(sys.argv[1]), None)
assert not any(name.startswith("openjd.model") for name in sys.modules)

from openjd.model import ParameterValue, ParameterValueType, create_job, decode_job_template
from openjd.sessions._core.environments import EnvironmentStack
from openjd.sessions._core.parameters import Task
from openjd.sessions._path_mapping import PathFormat, PathMappingRule
from openjd.sessions._runtime.preparation import Preparation
native = lambda: sorted(name for name in sys.modules if name.startswith(("openjd._openjd_rs", "openjd.expr")))
template = {
    "specificationVersion": "jobtemplate-2023-09", "name": "Job", "extensions": ["FEATURE_BUNDLE_1"],
    "parameterDefinitions": [{"name": "P", "type": "PATH"}],
    "steps": [{"name": "S", "script": {
        "embeddedFiles": [{"name": "F", "type": "TEXT", "data": "{{Param.P}}"}],
        "actions": {"onRun": {"command": "{{Task.File.F}}", "timeout": "{{RawParam.P}}0", "args": ["{{Param.P}}"]}},
    }}],
}
value = ParameterValue(type=ParameterValueType.PATH, value="1")
decoded = decode_job_template(template=template, supported_extensions=["FEATURE_BUNDLE_1"])
job = create_job(job_template=decoded, job_parameter_values={"P": value})
print(native())
rule = PathMappingRule(
    source_path_format=PathFormat.POSIX, source_path=PurePosixPath("/a"), destination_path=Path("/b")
)
preparation = Preparation(workspace, SessionLog("s", str), {"P": value}, "Job", EnvironmentStack(), bool)
task = Task(job.steps[0].script, {}, "S", None, has_banner=True)
action = preparation.task(task, [rule], is_wrapped=True)
print(native(), action.timeout, workspace.delete())
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("[]\n[] 10 []\n", "")
