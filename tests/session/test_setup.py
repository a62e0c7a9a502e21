"""Before a process starts: rules LC-12 to LC-15, LC-20 to LC-22, ACT-1 to ACT-3, ACT-9; failures by their full text."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from openjd.model import ParameterValue, ParameterValueType
from openjd.model.v2023_09 import StepScript

from openjd.sessions import ActionState, ActionStatus, LogContent
from support.scripts import action, environment, file, script, sh
from support.stage import OpenStage, Stage, shell

PARAMETERS = {
    name: ParameterValue(type=ParameterValueType.STRING, value=value)
    for name, value in {
        "Text": "x",
        "Zero": "0",
        "Nul": "a\0b",
        "Empty": "",
        "Mode": "TERMINATE",
        "Bad": "\ud800",
    }.items()
}

WHOLE_SECONDS = "must be a whole number of seconds from 1 to"
UNKNOWN = (
    "cannot be resolved: Failed to parse interpolation expression at [0, 17]. Expression: Param.Unknown. "
    "Reason: Expression failed validation: Param.Unknown has no value. It can use defined symbols of"
)

FAILURES: list[tuple[StepScript, str]] = [
    (script(action("{{Param.Unknown}}")), f"Task, onRun, command {UNKNOWN} Param.*, RawParam.*, Session.*."),
    (script(action("a", "", "{{Param.Unknown}}")), f"Task, onRun, args[1] {UNKNOWN} Param.*, RawParam.*, Session.*."),
    (
        script(action("{{Param.Empty}}")),
        "Task, onRun, command must name a program, but '{{Param.Empty}}' resolved to nothing.",
    ),
    (
        script(action("a", "{{Param.Nul}}")),
        "Task, onRun, args[0] contains a NUL character, which no process can be given. "
        "Remove it from the text, or from the parameter that the text uses.",
    ),
    (
        script(action("a", timeout="{{Param.Zero}}")),
        f"Task, onRun, timeout {WHOLE_SECONDS} 9223372036854775807, but '{{{{Param.Zero}}}}' resolved to '0'.",
    ),
    (
        script(action("a", timeout=2**63)),
        f"Task, onRun, timeout {WHOLE_SECONDS} 9223372036854775807, but the template gives a larger one.",
    ),
    (
        script(action("a", cancelation={"mode": "{{Param.Text}}"})),
        "Task, onRun, cancelation, mode must be TERMINATE or NOTIFY_THEN_TERMINATE, but '{{Param.Text}}' "
        "resolved to 'x'.",
    ),
    (
        script(action("a", cancelation={"mode": "NOTIFY_THEN_TERMINATE", "notifyPeriodInSeconds": "{{Param.Zero}}"})),
        f"Task, onRun, cancelation, notifyPeriodInSeconds {WHOLE_SECONDS} 600, but '{{{{Param.Zero}}}}' "
        "resolved to '0'.",
    ),
    (
        script(action("a", cancelation={"mode": "{{Param.Mode}}", "notifyPeriodInSeconds": 5})),
        "Task, onRun, cancelation: notifyPeriodInSeconds is 5, but mode '{{Param.Mode}}' resolved to TERMINATE, "
        "which has no notify period. Leave the period out, or make the mode NOTIFY_THEN_TERMINATE.",
    ),
    (
        script(action("a"), [file("F", "{{Param.Unknown}}")]),
        f"Task, embedded file 'F', data {UNKNOWN} Param.*, RawParam.*, Session.*, Task.File.*.",
    ),
    (
        script(action("a"), [file("F", "x", filename="..")]),
        "Task, embedded file 'F': filename '..' must be the plain name of a file, without directory, drive or NUL.",
    ),
    (
        script(action("a"), [file("F", "x", filename="n"), file("G", "x", filename="n")]),
        "Task, embedded file 'G': filename 'n' is the same file as filename 'n' of embedded file 'F'. "
        "Give each file a name of its own.",
    ),
    (
        script(action("a"), [file("F", "{{Param.Bad}}")]),
        "Task, embedded file 'F': data contains '\\ud800', which cannot be written as UTF-8. "
        "Remove it from the text, or from the parameter that the text uses.",
    ),
]


@pytest.mark.parametrize(("task", "reason"), FAILURES)
def test_failure_in_setup_is_a_status(open_stage: OpenStage, task: StepScript, reason: str) -> None:
    """LC-20, API §9: nothing raised; one call, on this thread, before the starter returns; the reason whole, logged.

    The rules of the fields: ACT-1, ACT-2, ACT-12, ACT-13, ACT-22 to ACT-25, FILE-5, FILE-6, FILE-14.
    """
    stage = open_stage(job_parameter_values=PARAMETERS)
    stage.start_task(task)
    [call] = stage.journal.calls
    assert call.status == ActionStatus(state=ActionState.FAILED, fail_message=reason)
    assert call.thread == threading.get_ident()
    assert call.state.name == stage.state == "READY_ENDING"
    last = stage.journal.lines[-1]
    assert (last.text, last.content) == (f"openjd_fail: {reason}", LogContent.EXCEPTION_INFO)
    assert stage.session.wait(0) == stage.session.future.result(0) == call.status


def test_failed_enter_counts_as_entered(open_stage: OpenStage) -> None:
    """LC-21, ENV-2, ENV-11: its identifier is given back, it changes no variable, and it is exited like any other."""
    stage = open_stage(job_parameter_values=PARAMETERS)
    bad = environment(
        "Bad",
        variables={"A": "set", "B": "{{Param.Unknown}}"},
        onEnter=action("true"),
        onExit=sh("echo ${A-unset}"),
    )
    identifier = stage.session.enter_environment(environment=bad)
    reason = f"Environment 'Bad', variable 'B' {UNKNOWN} Param.*, RawParam.*, Session.*."
    assert stage.session.wait(0) == ActionStatus(state=ActionState.FAILED, fail_message=reason)
    assert stage.session.environments_entered == (identifier,)
    assert stage.exit(identifier).state is ActionState.SUCCESS
    assert stage.journal.output == ["unset"]


def test_failed_exit_counts_as_exited(stage: Stage) -> None:
    """LC-22."""
    bad = environment("Bad", onExit=action("{{Param.Unknown}}"))
    stage.enter(bad)
    reason = f"Environment 'Bad', onExit, command {UNKNOWN} Session.*."
    assert stage.exit("Bad") == ActionStatus(state=ActionState.FAILED, fail_message=reason)
    assert stage.session.environments_entered == ()
    assert stage.state == "READY_ENDING"


def test_file_that_cannot_be_written(stage: Stage) -> None:
    """FILE-14, LC-20: no file with a path outside of the files directory is written, either (FILE-5)."""
    files = stage.session.files_directory
    (files / "F").symlink_to("/etc/motd")
    status = stage.run_task(script(action("true"), [file("F", "x", filename="F")]))
    assert status.fail_message == (
        f"Task, embedded file 'F': 'F' cannot be written in {str(files)!r}: "
        "A link is in its place, and only a regular file is ever replaced."
    )


# Programs that can't be started


def missing_programs() -> list[tuple[list[str], str]]:
    return [
        (["no-such-program"], "Program 'no-such-program' was not found in the PATH searched: /nowhere:/bin"),
        (["./no-such-program"], "Program './no-such-program' could not be started: No such file or directory"),
        (["/"], "Program '/' could not be started: Is a directory"),
        (["./plain"], "Program './plain' could not be started: Permission denied"),
    ]


@pytest.mark.parametrize(("argv", "reason"), missing_programs())
def test_program_that_cannot_be_started(stage: Stage, argv: list[str], reason: str) -> None:
    """ACT-9, API §9: FAILED, no exit code, no RUNNING; told by another thread once the starter has returned."""
    (stage.session.working_directory / "plain").touch(mode=0o644)
    stage.start(*argv, os_env_vars={"PATH": "/nowhere:/bin"})
    stage.journal.wait_for(lambda: bool(stage.journal.calls))
    [call] = stage.journal.calls
    assert call.status == ActionStatus(state=ActionState.FAILED, fail_message=reason)
    assert call.thread != threading.get_ident()
    assert call.state.name == "READY_ENDING"
    line = stage.journal.lines[-1]
    assert line.text == f"Process failed to start: {reason}"
    assert line.content == LogContent.EXCEPTION_INFO | LogContent.PROCESS_CONTROL


def test_missing_program_is_told_of_by_another_thread_even_if_waited_for(stage: Stage) -> None:
    """API §9: waiting right after the starter makes no difference."""
    stage.run("no-such-program")
    assert [call.thread == threading.get_ident() for call in stage.journal.calls] == [False]


def test_script_without_interpreter_line(stage: Stage) -> None:
    """ACT-9: run by /bin/sh; found in the working directory by a relative path."""
    path = stage.session.working_directory / "bare"
    path.write_text("echo bare $1\n")
    path.chmod(0o700)
    stage.run("./bare", "x")
    assert stage.journal.output == ["bare x"]


def test_program_is_looked_up_in_the_path_of_the_action(open_stage: OpenStage, tmp_path: Path) -> None:
    """ACT-9, API §14: not in that of this program; an empty folder of it is the working directory."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tool").write_text(f"#!/bin/sh\necho {folder}\n")
        (tmp_path / folder / "tool").chmod(0o700)
    stage = open_stage(os_env_vars={"PATH": f"{tmp_path / 'a'}:/bin:/usr/bin"})
    stage.run("tool")
    stage.enter(environment("E", variables={"PATH": f"/nowhere:{tmp_path / 'b'}:/bin:/usr/bin"}))
    stage.run("tool")
    (stage.session.working_directory / "tool").write_text("#!/bin/sh\necho here\n")
    (stage.session.working_directory / "tool").chmod(0o700)
    stage.enter(environment("F", variables={"PATH": ":/bin:/usr/bin"}))
    stage.run("tool")
    assert stage.journal.output == ["a", "b", "here"]


# Arguments


def test_arguments_arrive_as_they_are(open_stage: OpenStage) -> None:
    """ACT-1, ACT-3: no shell; blanks and empty arguments stay; each element is one argument."""
    value = ParameterValue(type=ParameterValueType.STRING, value="a  b'\"$HOME*")
    stage = open_stage(job_parameter_values={"Text": value})
    stage.run_task(script(action("printf", "[%s]\n", "{{Param.Text}}", "", " x{{Param.Text}} ", "ü", "a\nb")))
    assert stage.journal.output == ["[a  b'\"$HOME*]", "[]", "[ xa  b'\"$HOME* ]", "[ü]", "[a", "b]"]


def test_arguments_can_be_long(stage: Stage) -> None:
    """ACT-1: and what the system refuses fails the action."""
    stage.run("sh", "-c", "echo ${#0}", "x" * 100_000)
    assert stage.journal.output == ["100000"]
    status = stage.run("sh", "-c", "true", "x" * 200_000)
    assert status == ActionStatus(
        state=ActionState.FAILED, fail_message="Program 'sh' could not be started: Argument list too long"
    )


# Order of work, and what is forgotten


def test_order_of_work(open_stage: OpenStage) -> None:
    """LC-13, API §15: banner, variables, set-up, file paths, file contents, start."""
    stage = open_stage(job_parameter_values=PARAMETERS)
    full = environment(
        "Full",
        variables={"A": "{{Param.Text}}", "R": "{{Session.HasPathMappingRules}}"},
        files=[file("F", "{{Env.File.F}}", filename="n")],
        onEnter=action("cat", "{{Env.File.F}}"),
    )
    stage.journal.clear()
    stage.enter(full)
    path = stage.session.files_directory / "n"
    ruled = ["=" * 46, "-" * 46]
    pid = next(line.text for line in stage.journal.lines if line.text.startswith("Command started"))
    expected = [
        *("", "--------- Entering Environment: Full", "Setting: A=x", "Setting: R=false", "Phase: Setup"),
        *("Allocating embedded file paths for Environment.", f"Mapping: Env.File.F -> {path}"),
        *("Writing embedded files to disk for Environment.", f"Wrote: F -> {path}", "Phase: Running action"),
        *(f"Running command cat {path}", pid, "Output:", str(path)),
        pid.replace("Command started as pid: ", "Process pid ") + " exited with code: 0 (unsigned) / 0x0 (hex)",
    ]
    assert [text for text in stage.journal.texts if text not in ruled] == expected


def test_rules_file_is_known_to_variables(stage: Stage) -> None:
    """SYM-4, GAP-7: path mapping comes first."""
    stage.enter(environment("E", variables={"RULES": "{{Session.PathMappingRulesFile}}"}))
    stage.run(*shell('cat "$RULES"'))
    assert stage.journal.output == ["{}"]


def test_new_action_forgets_the_one_before(stage: Stage) -> None:
    """LC-12: all fields of the status."""
    stage.run(*shell("echo openjd_progress: 5; echo openjd_status: a; echo openjd_fail: b"))
    before = stage.session.action_status
    assert before is not None
    assert (before.progress, before.status_message, before.fail_message, before.exit_code) == (5.0, "a", "b", 0)
    seen: list[Any] = []
    stage.react = lambda _: seen.append(stage.session.action_status)
    stage.run("true")
    assert seen == [ActionStatus(state=ActionState.RUNNING), ActionStatus(state=ActionState.SUCCESS, exit_code=0)]


@pytest.mark.parametrize(
    "nothing",
    [
        environment("E", variables={"A": "1"}),
        environment("E", variables={"A": "1"}, onExit=sh("echo $A")),
    ],
)
def test_nothing_to_run(stage: Stage, nothing: Any) -> None:
    """LC-14, LC-15, API §9: SUCCESS at once, on this thread, without RUNNING; the variables count all the same."""
    stage.session.enter_environment(environment=nothing)
    [call] = stage.journal.calls
    assert call.status == ActionStatus(state=ActionState.SUCCESS)
    assert call.thread == threading.get_ident()
    assert call.state.name == stage.state == "READY"
    assert not any(text.startswith("Command started") for text in stage.journal.texts)
    stage.run(*shell("echo $A"))
    assert stage.journal.output == ["1"]


def test_exit_with_nothing_to_run(stage: Stage) -> None:
    """LC-14: an environment without onExit."""
    stage.enter(environment("E", onEnter=action("true")))
    stage.journal.clear()
    stage.session.exit_environment(identifier="E")
    [call] = stage.journal.calls
    assert call.status == ActionStatus(state=ActionState.SUCCESS)
    assert stage.state == "READY_ENDING"


def test_working_directory_that_has_gone(stage: Stage) -> None:
    """LC-20: a job that deletes its own directory."""
    stage.run(*shell("cd /; rm -r $OPENJD_SESSION_WORKING_DIR"))
    status = stage.run("true")
    assert status == ActionStatus(
        state=ActionState.FAILED,
        fail_message="Program 'true' could not be started: the working directory has gone.",
    )
    assert not os.path.exists(stage.session.working_directory)
