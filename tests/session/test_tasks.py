"""Tasks, processes as they see themselves, embedded files: TASK-1 to TASK-8, ACT-10, ACT-16 to ACT-18, part 8."""

from __future__ import annotations

import json
import logging
import os
import stat
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from openjd.model import ParameterValue, ParameterValueType

from openjd.sessions import ActionState, ActionStatus, LogContent, PathFormat, PathMappingRule
from support import child
from support.scripts import action, environment, file, notified, script, sh
from support.stage import READY_AND_WAIT, OpenStage, Stage, handler_that, is_alive, shell, wait_until

STRING, PATH = ParameterValueType.STRING, ParameterValueType.PATH


def values(kind: ParameterValueType = STRING, **texts: str) -> dict[str, ParameterValue]:
    return {name: ParameterValue(type=kind, value=text) for name, text in texts.items()}


# Tasks


def test_parameters_of_a_task(open_stage: OpenStage) -> None:
    """TASK-1, TASK-3, TASK-5, TASK-7: one line each in the log; path mapping for Task.Param, not for Task.RawParam."""
    rule = PathMappingRule(
        source_path_format=PathFormat.POSIX, source_path=PurePosixPath("/a"), destination_path=PurePosixPath("/x")
    )
    stage = open_stage(path_mapping_rules=[rule], job_parameter_values=values(PATH, P="/a/p"))
    parameters = {
        "Bar": ParameterValue(type=ParameterValueType.INT, value="1"),
        "Fr": ParameterValue(type=ParameterValueType.CHUNK_INT, value="1-3"),
        "Dir": ParameterValue(type=PATH, value="/a/b"),
        "Text": ParameterValue(type=STRING, value="/a/b"),
    }
    fields = ["Task.Param.Bar", "Task.Param.Fr", "Task.Param.Dir", "Task.RawParam.Dir", "Task.Param.Text", "Param.P"]
    stage.run_task(script(action("echo", *(f"{{{{{field}}}}}" for field in fields))), task_parameter_values=parameters)
    assert stage.journal.output == ["1 1-3 /x/b /a/b /a/b /x/p"]
    logged = [line for line in stage.journal.lines if line.content == LogContent.PARAMETER_INFO]
    assert [line.text for line in logged] == [
        *("Parameter values:", "Bar(INT) = 1", "Fr(CHUNK[INT]) = 1-3", "Dir(PATH) = /a/b", "Text(STRING) = /a/b"),
    ]


@pytest.mark.parametrize("has_banner", [True, False])
def test_banner_of_a_task(stage: Stage, has_banner: bool) -> None:
    """TASK-3, API 7.3: only the section banner can be left out."""
    stage.start_task(script(action("true")), log_task_banner=has_banner)
    stage.wait()
    assert ("--------- Running Task" in stage.journal.texts) is has_banner
    assert stage.journal.texts.count("Phase: Setup") == 1


def test_task_without_the_environments(open_stage: OpenStage) -> None:
    """API 7.3, MODEL-31: constructor and call only; everything else as in run_task."""
    stage = open_stage(os_env_vars={"A": "constructor"})
    stage.enter(environment("E", variables={"A": "entered", "B": "entered"}))
    stage.session._run_task_without_session_env(
        step_script=script(sh("echo ${A-unset} ${B-unset} ${C-unset} {{Task.Param.X}} $OPENJD_SESSION_WORKING_DIR")),
        task_parameter_values=values(X="x"),
        os_env_vars={"C": "call"},
        log_task_banner=False,
    )
    stage.wait()
    assert stage.journal.output == [f"constructor unset call x {stage.session.working_directory}"]
    assert "--------- Running Task" not in stage.journal.texts
    assert "X(STRING) = x" in stage.journal.texts


def test_background_process_lives_on(stage: Stage) -> None:
    """TASK-8, GAP-10, LC-30: after a success; cleanup ends it."""
    assert stage.run(*child("forks", "daemon-quiet", "leave")).state is ActionState.SUCCESS
    [pid] = [int(line.split()[1]) for line in stage.journal.output if line.startswith("descendant")]
    stage.run("true")
    assert is_alive(pid)
    stage.session.cleanup()
    wait_until(lambda: not is_alive(pid))


# Processes


def test_surroundings_of_a_process(stage: Stage) -> None:
    """ACT-10, API §14: empty input, three descriptors, no signal blocked or ignored, leader of session and group."""
    stage.run(*child("surroundings"))
    found = json.loads(stage.journal.output[0])
    assert found["standard_input"] == ""
    assert found["descriptors"] == [0, 1, 2]
    assert (found["blocked_signals"], found["leads_session"], found["leads_group"]) == (0, True, True)
    assert found["directory"] == str(stage.session.working_directory)
    assert f"Command started as pid: {found['pid']}" in stage.journal.texts


def test_streams_are_merged_in_write_order(stage: Stage) -> None:
    """ACT-10, GAP-40."""
    stage.run(*child("both-streams", "50"))
    assert stage.journal.output == [f"{stream} {number}" for number in range(1, 51) for stream in ("out", "err")]


@pytest.mark.parametrize(
    ("code", "shown"),
    [(0, "0 (unsigned) / 0x0 (hex)"), (3, "3 (unsigned) / 0x3 (hex)"), (255, "255 (unsigned) / 0xff (hex)")],
)
def test_exit_codes(stage: Stage, code: int, shown: str) -> None:
    """ACT-16, ACT-18, API §15: 0 is success; the code is None as long as the process runs."""
    codes: list[Any] = []
    stage.react = lambda status: codes.append(status.exit_code)
    stage.run(*shell(f"exit {code}"))
    assert codes == [None, code]
    assert stage.journal.texts[-1].endswith(f" exited with code: {shown}")
    assert stage.session.action_status is not None
    assert (stage.session.action_status.state is ActionState.SUCCESS) is (code == 0)


def test_action_is_over_when_its_output_is(stage: Stage) -> None:
    """ACT-17: what a process left behind still prints belongs to the action, as long as it holds the output open."""
    stage.run(*child("raw", "no line end"))
    stage.run(*shell("(echo late; exit 7) & exit 0"))
    assert stage.journal.output == ["no line end", "late"]


def test_runs_of_short_actions(stage: Stage) -> None:
    """LC-17, ACT-17: none of their lines is lost or out of place."""
    for number in range(60):
        stage.run("echo", str(number))
    assert stage.journal.story == [
        text for number in range(60) for text in ("<RUNNING>", str(number), "<SUCCESS exit_code=0>")
    ]


# Embedded files


def test_file_of_a_task(open_stage: OpenStage) -> None:
    """FILE-1 to FILE-3, FILE-10 to FILE-12, FILE-15: resolved, encoded, with line ends, modes and log lines."""
    stage = open_stage(job_parameter_values=values(P="pä"))
    files = [
        file("Named", "{{Param.P}}\r\n{{Task.File.Named}}\n", filename="n ä.txt"),
        file("Run", "#!/bin/sh\ncat '{{Task.File.Named}}'\n", runnable=True),
        file("Crlf", "a\nb\r\n", filename="crlf", endOfLine="CRLF"),
    ]
    stage.run_task(script(action("{{Task.File.Run}}"), files))
    directory = stage.session.files_directory
    named = directory / "n ä.txt"
    assert stage.journal.output == ["pä", str(named)]
    assert named.read_bytes() == f"pä\n{named}\n".encode()
    assert (directory / "crlf").read_bytes() == b"a\r\nb\r\n"
    modes = {name: stat.S_IMODE((directory / name).stat().st_mode) for name in os.listdir(directory)}
    [run] = modes.keys() - {"n ä.txt", "crlf"}
    assert modes == {"n ä.txt": 0o600, "crlf": 0o600, run: 0o700}
    texts = stage.journal.texts
    for name, path in (("Named", named), ("Run", directory / run)):
        assert texts.index(f"Mapping: Task.File.{name} -> {path}") < texts.index(f"Wrote: {name} -> {path}")
    contents = {line.text: line.content for line in stage.journal.lines if " -> " in line.text}
    assert contents[f"Wrote: Named -> {named}"] == LogContent.FILE_PATH
    assert contents[f"Mapping: Task.File.Named -> {named}"] == LogContent.FILE_PATH | LogContent.PARAMETER_INFO


def test_contents_are_logged_for_debugging_only(stage: Stage) -> None:
    """FILE-15, DIR-16: at DEBUG, with FILE_CONTENTS."""
    task = script(action("true"), [file("F", "line 1\nline 2", filename="f")])
    stage.run_task(task)
    assert stage.journal.at(10) == []
    stage.run(*shell("echo openjd_session_runtime_loglevel: DEBUG"))
    stage.run_task(task)
    lines = [line for line in stage.journal.lines if line.level == 10]
    assert [(line.text, line.content) for line in lines] == [("Contents:\nline 1\nline 2", LogContent.FILE_CONTENTS)]


def test_files_of_the_last_task_are_gone_before_the_next_one_has_any(stage: Stage) -> None:
    """GAP-19, FILE-3: files without names do not pile up, and none vanishes while a process goes through them."""
    stage.run_task(script(action("true"), [file("F", "first")]))
    files, found = stage.session.files_directory, {}
    [first] = os.listdir(files)

    def look(record: logging.LogRecord) -> None:
        found[record.getMessage()] = os.listdir(files)

    with handler_that(look):
        stage.run_task(script(action("true"), [file("F", "second")]))
    assert found["--------- Running Task"] == [first]
    assert found["Writing embedded files to disk for Task."] == []
    [second] = os.listdir(files)
    assert (files / second).read_text() == "second"


def test_files_are_written_anew_for_each_action(stage: Stage) -> None:
    """FILE-1, FILE-9, WD-11: a file of an earlier action is replaced, whatever became of it."""
    spoil = "echo changed > {{Env.File.F}}; chmod 777 {{Env.File.F}}"
    env = environment(
        "E",
        files=[file("F", "{{Session.WorkingDirectory}}\n", filename="f")],
        onEnter=sh("cat {{Env.File.F}}; " + spoil),
        onExit=sh("cat {{Env.File.F}}; stat -c %a {{Env.File.F}}"),
    )
    stage.enter(env)
    stage.run_task(script(action("cat", "{{Task.File.F}}"), [file("F", "of a task\n", filename="f")]))
    stage.exit("E")
    directory = str(stage.session.working_directory)
    assert stage.journal.output == [directory, "of a task", directory, "600"]


def test_random_paths_stay_while_an_environment_is_entered(stage: Stage) -> None:
    """FILE-8, GAP-19: the same for enter and exit; others when it is entered again."""
    show = sh("echo {{Env.File.F}}")
    env = environment("E", files=[file("F", "x")], onEnter=show, onExit=show)
    for _ in range(2):
        stage.enter(env)
        stage.exit("E")
    first, second, third, fourth = stage.journal.output
    assert (first, third) == (second, fourth)
    assert first != third
    assert "Reusing embedded file paths for Environment." in stage.journal.texts


def test_files_of_tasks_do_not_pile_up(stage: Stage) -> None:
    """GAP-19: those with random names go when nothing can refer to them any more."""
    for _ in range(5):
        stage.run_task(script(action("true"), [file("F", "x"), file("G", "x", filename="g")]))
    assert len(os.listdir(stage.session.files_directory)) == 2


def test_name_of_a_file_is_literal(open_stage: OpenStage) -> None:
    """FILE-4: no format string."""
    stage = open_stage(job_parameter_values=values(P="p"))
    stage.run_task(script(action("cat", "{{Task.File.F}}"), [file("F", "x", filename="{{Param.P}}")]))
    assert stage.journal.output == ["x"]
    assert os.listdir(stage.session.files_directory) == ["{{Param.P}}"]


def test_what_lies_in_the_working_directory(stage: Stage) -> None:
    """WD-10: the rules' file, cancel_info.json and the files directory; nothing else is ever left there."""
    stage.enter(environment("E", files=[file("F", "x")], onEnter=action("true"), onExit=action("true")))
    stage.run_task(script(action("cat", "{{Task.File.F}}"), [file("F", "x")]))
    stage.start_task(script(action(*READY_AND_WAIT, cancelation=notified(600))))
    stage.wait_for_line("ready")
    stage.session.cancel_action()
    stage.wait()
    stage.exit("E")
    rules, info = sorted(stage.files, key=lambda name: name == "cancel_info.json")
    assert (Path(rules).suffix, info) == (".json", "cancel_info.json")


def test_files_directory_that_was_replaced(stage: Stage, tmp_path: Path) -> None:
    """FILE-5: it is never reached through a link that a job has put in its place."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    files = stage.session.files_directory
    files.rename(tmp_path / "moved")
    files.symlink_to(elsewhere)
    stage.run_task(script(action("true"), [file("F", "x", filename="f")]))
    assert list(elsewhere.iterdir()) == []
    assert (tmp_path / "moved" / "f").read_text() == "x"


def test_failed_status_of_a_task(stage: Stage) -> None:
    """LC-10, GAP-3: openjd_fail says why, the exit code decides."""
    assert stage.run(*shell("echo openjd_fail: why; exit 0")) == ActionStatus(
        state=ActionState.SUCCESS, fail_message="why", exit_code=0
    )
    assert stage.run(*shell("echo openjd_fail: why; echo openjd_fail: more; exit 2")) == ActionStatus(
        state=ActionState.FAILED, fail_message="more", exit_code=2
    )
