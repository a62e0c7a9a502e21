"""Processes of the caller's own: SUB-1 to SUB-9. What is refused: see the tests of states."""

from __future__ import annotations

import sys

import pytest

from openjd.sessions import ActionState, ActionStatus
from support import child
from support.scripts import environment
from support.stage import OpenStage, Stage, shell


def test_everything_is_literal(stage: Stage) -> None:
    """SUB-2, GAP-30, API 17.4: no templates; every character but NUL."""
    texts = ["{{Session.WorkingDirectory}}", "{{", "{{ x", "}}", "a\tb", "a\nb\r", "$HOME", "'\"\\", "", "ü\x01"]
    stage.run("sh", "-c", 'printf "[%s]" "$@"', "sh", *texts)
    shown = "".join(f"[{text}]" for text in texts)
    assert stage.journal.output == shown.replace("\r", "\n").split("\n")


@pytest.mark.parametrize("command", ["{{Param.X}}", "a b", "\t{{"])
def test_literal_commands(stage: Stage, command: str) -> None:
    """SUB-2: a program that is called so."""
    path = stage.session.working_directory / command
    path.write_text("#!/bin/sh\necho called\n")
    path.chmod(0o700)
    stage.run(f"./{command}")
    assert stage.journal.output == ["called"]


def test_bytes_that_are_no_text(stage: Stage) -> None:
    """SUB-2: arguments that came from the system as undecodable bytes go back as they were."""
    stage.run("sh", "-c", 'printf "%s" "$1" | od -An -tx1', "sh", "a\udcff")
    assert stage.journal.output == [" 61 ff"]


def test_argument_that_cannot_be_encoded(stage: Stage) -> None:
    """LC-20: a misfortune, no exception."""
    status = stage.run("echo", "\ud800")
    assert (status.state, status.exit_code) == (ActionState.FAILED, None)
    assert status.fail_message is not None
    assert "'\\ud800'" in status.fail_message


def test_nothing_is_prepared(stage: Stage) -> None:
    """SUB-3: no path mapping file, no file at all."""
    stage.run("find", ".")
    assert sorted(stage.journal.output) == [".", f"./{stage.session.files_directory.name}"]


@pytest.mark.parametrize(("sees", "expected"), [(True, "entered call"), (False, "constructor call")])
def test_variables_of_environments(open_stage: OpenStage, sees: bool, expected: str) -> None:
    """SUB-5: or those of the constructor and the call only."""
    stage = open_stage(os_env_vars={"A": "constructor", "B": "constructor"})
    stage.enter(environment("E", variables={"A": "entered"}))
    stage.run(*shell("echo $A $B"), os_env_vars={"B": "call"}, use_session_env_vars=sees)
    assert stage.journal.output == [expected]


def test_cancelation_is_termination(stage: Stage) -> None:
    """SUB-6."""
    stage.start(*child("polite"))
    stage.wait_for_line("ready")
    stage.session.cancel_action()
    assert stage.wait() == ActionStatus(state=ActionState.CANCELED, exit_code=-9)
    assert stage.journal.output == ["ready"]


def test_directives(stage: Stage) -> None:
    """SUB-7: those of the status work, those of variables are ignored."""
    lines = ("openjd_progress: 5", "openjd_status: s", "openjd_fail: f", "openjd_env: A=1", "openjd_unset_env: PATH")
    assert stage.run(*child("text", *lines)) == ActionStatus(ActionState.SUCCESS, 5.0, "s", "f", 0)
    stage.run(*shell("echo ${A-unset}"))
    assert stage.journal.output[-1] == "unset"


def test_result_counts_like_any_other(stage: Stage) -> None:
    """SUB-8, LC-6: calls, state and status."""
    assert stage.run(*shell("exit 3")) == ActionStatus(state=ActionState.FAILED, exit_code=3)
    assert [status.state for status in stage.journal.told] == [ActionState.RUNNING, ActionState.FAILED]
    assert stage.state == "READY_ENDING"


@pytest.mark.parametrize("args", [None, []])
def test_without_arguments(stage: Stage, args: object) -> None:
    """SUB-2."""
    stage.session.run_subprocess(command="pwd", args=args)  # type: ignore[arg-type]
    stage.wait()
    assert stage.journal.output == [str(stage.session.working_directory)]


def test_many_in_one_session(stage: Stage) -> None:
    """SUB-8: one after another."""
    assert {stage.run("true").state for _ in range(30)} == {ActionState.SUCCESS}


def test_template_model_is_not_loaded(stage: Stage) -> None:
    """API-7, SUB-3: a program that only runs subprocesses needs no openjd.model."""
    code = (
        "import sys; from openjd.sessions import Session\n"
        "with Session(session_id='s', job_parameter_values=None) as session:\n"
        "    session.run_subprocess(command='true'); session.wait()\n"
        "print([name for name in sys.modules if name.startswith(('openjd.model', 'openjd._openjd_rs', 'asyncio'))])"
    )
    stage.run(sys.executable, "-c", code)
    assert stage.journal.output == ["[]"]
