"""Environments and their variables: rules ENV-2 to ENV-22, LC-15, TASK-6, ACC-6, ACC-7; API §12."""

from __future__ import annotations

import os
import sys
from collections import ChainMap
from typing import Any, Callable, ClassVar

import pytest
from openjd.model import ParameterValue, ParameterValueType

from openjd.sessions import ActionState, ActionStatus, LogContent
from openjd.sessions._runtime.process_environment import own_variables
from support import child
from support.scripts import action, environment, file, script, sh
from support.stage import OpenStage, Stage, shell

SHOW = shell("echo A=${A-unset} B=${B-unset} C=${C-unset}")


def show(stage: Stage, **options: Any) -> str:
    """What a process sees of the variables A, B and C."""
    stage.run(*SHOW, **options)
    return stage.journal.output[-1]


def say(*lines: str) -> dict[str, Any]:
    """An action that prints lines."""
    return sh("\n".join(f"echo '{line}'" for line in lines))


# variables


def test_acceptance_of_an_environment_with_variables_only(stage: Stage) -> None:
    """ACC-6, LC-15, ENV-16: SUCCESS without a process; active until its exit."""
    assert stage.enter(environment("E", variables={"A": "1"})) == ActionStatus(state=ActionState.SUCCESS)
    assert show(stage) == "A=1 B=unset C=unset"
    stage.exit("E")
    assert show(stage) == "A=unset B=unset C=unset"


def test_variables_are_resolved_and_logged_when_entered(open_stage: OpenStage) -> None:
    """ENV-4: in the order of their declaration; active for the environment's own onEnter."""
    value = ParameterValue(type=ParameterValueType.STRING, value="x y")
    stage = open_stage(job_parameter_values={"P": value})
    variables = {"B": "{{Param.P}}", "A": "{{Session.WorkingDirectory}}/a", "C": ""}
    stage.enter(environment("E", variables=variables, onEnter=action(*SHOW)))
    directory = stage.session.working_directory
    assert stage.journal.output == [f"A={directory}/a B=x y C="]
    settings = [line for line in stage.journal.lines if line.text.startswith("Setting: ")]
    assert [line.text for line in settings] == ["Setting: B=x y", f"Setting: A={directory}/a", "Setting: C="]
    assert {line.content for line in settings} == {LogContent.PARAMETER_INFO}


def test_order_of_precedence(open_stage: OpenStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-18, ENV-20: host, constructor, working directory, call, outer variables and directives, inner ones."""
    for name in "ABCDEF":
        monkeypatch.setenv(name, "host")
    names = ["A", "B", "C", "D", "E", "F", "OPENJD_SESSION_WORKING_DIR"]
    constructor = dict.fromkeys(names[1:], "constructor")
    stage = open_stage(os_env_vars=constructor)
    call = dict.fromkeys(names[2:6], "call")
    outer = environment(
        "Outer",
        variables=dict.fromkeys(names[3:6], "outer"),
        onEnter=sh("echo openjd_env: E=outer directive; echo openjd_env: F=outer directive"),
    )
    stage.enter(outer)
    stage.enter(environment("Inner", variables={"F": "inner"}))
    stage.run("sh", "-c", "for n in A B C D E F; do eval echo \\$$n; done", os_env_vars=call)
    assert stage.journal.output[-6:] == ["host", "constructor", "call", "outer", "outer directive", "inner"]
    stage.run(*shell("echo $OPENJD_SESSION_WORKING_DIR"))
    assert stage.journal.output[-1] == str(stage.session.working_directory)
    stage.run(*shell("echo $OPENJD_SESSION_WORKING_DIR"), os_env_vars={"OPENJD_SESSION_WORKING_DIR": "call"})
    assert stage.journal.output[-1] == "call"
    stage.run("sh", "-c", "echo $C $D")
    assert stage.journal.output[-1] == "constructor outer"


def test_none_unsets_and_empty_is_a_value(open_stage: OpenStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-19: by the constructor and by a call."""
    monkeypatch.setenv("A", "host")
    monkeypatch.setenv("B", "host")
    stage = open_stage(os_env_vars={"A": None, "C": "constructor"})
    assert show(stage) == "A=unset B=host C=constructor"
    assert show(stage, os_env_vars={"B": "", "C": None}) == "A=unset B= C=unset"


def test_variables_of_the_caller_are_literal_and_copied(open_stage: OpenStage) -> None:
    """ENV-21: no format strings; later changes of the caller's dictionary have no effect."""
    given = {"A": "{{Session.WorkingDirectory}}", "B": "$HOME"}
    stage = open_stage(os_env_vars=given)
    given["A"] = "changed"
    assert show(stage) == "A={{Session.WorkingDirectory}} B=$HOME C=unset"


def test_names_differ_in_letter_case(open_stage: OpenStage) -> None:
    """ENV-17: two variables, on POSIX."""
    stage = open_stage(os_env_vars={"a": "1", "A": "2"})
    stage.run(*shell("echo $a $A"))
    assert stage.journal.output == ["1 2"]


@pytest.mark.parametrize(
    ("inherit", "expected"),
    [(True, "A=1 B=2 C=3"), (False, "A=unset B=unset C=unset"), (["A", "[BX]*"], "A=1 B=2 C=unset")],
)
def test_what_is_inherited(open_stage: OpenStage, monkeypatch: pytest.MonkeyPatch, inherit: Any, expected: str) -> None:
    """API §7.1: all of this program's variables, none, or those that match a pattern."""
    for name, value in {"A": "1", "B": "2", "C": "3"}.items():
        monkeypatch.setenv(name, value)
    stage = open_stage(inherit_env=inherit)
    stage.run("/bin/sh", "-c", SHOW[2])
    assert stage.journal.output == [expected]


def test_changes_of_this_programs_environment_are_seen(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-18, ENV-20: it is read for each action anew."""
    monkeypatch.setenv("A", "1")
    assert show(stage) == "A=1 B=unset C=unset"
    monkeypatch.setenv("A", "2")
    assert show(stage) == "A=2 B=unset C=unset"


class Proxy(ChainMap[str, str]):
    """Another mapping, with an attribute that happens to be called as one of ``os.environ``."""

    _data: ClassVar[dict[str, str]] = {}


@pytest.mark.parametrize("replace", [dict, Proxy])
def test_another_mapping_in_the_place_of_this_programs_environment(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, replace: Callable[[Any], Any]
) -> None:
    """ENV-18, ENV-20: it is read for each action anew, too; and so is what it has replaced, when that is back."""
    monkeypatch.setenv("A", "1")
    show(stage)
    with monkeypatch.context() as replaced:
        replaced.setattr(os, "environ", replace(os.environ))
        assert show(stage) == "A=1 B=unset C=unset"
        replaced.setitem(os.environ, "A", "2")
        assert show(stage) == "A=2 B=unset C=unset"
    assert show(stage) == "A=1 B=unset C=unset"


def test_a_change_while_this_programs_environment_is_read(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-18: made by another thread, and taken back before the next action."""
    monkeypatch.setenv("A", "1")
    decode = os.environ.decodevalue

    def change_and_decode(value: Any) -> Any:
        os.environ["A"] = "changed"
        return decode(value)

    with monkeypatch.context() as reading:
        reading.setattr(os.environ, "decodevalue", change_and_decode)
        own_variables()
    assert os.environ["A"] == "changed"
    os.environ["A"] = "1"
    assert show(stage) == "A=1 B=unset C=unset"


def test_variables_in_odd_bytes_are_inherited(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-18: names and values that are no UTF-8 arrive as they are."""
    name, value = os.fsdecode(b"N\xff"), os.fsdecode(b"\xfe=\x80")
    monkeypatch.setenv(name, value)
    stage.run(sys.executable, "-I", "-S", "-c", r"import os; print(os.environb[b'N\xff'])")  # a shell drops the name
    assert stage.journal.output == [r"b'\xfe=\x80'"]


# Directives


def test_directives_change_later_actions(stage: Stage) -> None:
    """ENV-5, ENV-12: not the running one; ENV-14: the last set wins, also over the environment's own variable."""
    lines = ("openjd_env: A=1", "openjd_env: B=1", "openjd_env: B=2")
    on_enter = sh("\n".join([*(f"echo '{line}'" for line in lines), SHOW[2]]))
    stage.enter(environment("E", variables={"A": "own", "C": "own"}, onEnter=on_enter, onExit=action(*SHOW)))
    assert stage.journal.output[-1] == "A=own B=unset C=own"
    assert show(stage) == "A=1 B=2 C=own"
    stage.exit("E")
    assert stage.journal.output[-1] == "A=1 B=2 C=own"
    assert show(stage) == "A=unset B=unset C=unset"


@pytest.mark.parametrize(
    "lines", [("openjd_env: A=1", "openjd_unset_env: A"), ("openjd_unset_env: A", "openjd_env: A=1")]
)
def test_unset_wins(stage: Stage, lines: tuple[str, ...]) -> None:
    """ENV-15, GAP-9: within one environment, in whichever order they were printed."""
    stage.enter(environment("E", variables={"A": "own"}, onEnter=say(*lines)))
    assert show(stage) == "A=unset B=unset C=unset"


def test_unset_hides_every_source(open_stage: OpenStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-16: host, constructor and outer environments; an inner environment may set it again."""
    monkeypatch.setenv("A", "host")
    stage = open_stage(os_env_vars={"B": "constructor"})
    stage.enter(environment("Outer", variables={"C": "outer"}))
    unset = say(*(f"openjd_unset_env: {name}" for name in "ABC"))
    stage.enter(environment("Unset", onEnter=unset))
    assert show(stage) == "A=unset B=unset C=unset"
    assert show(stage, os_env_vars={"A": "call"}) == "A=unset B=unset C=unset"
    stage.enter(environment("Inner", variables={"A": "inner"}))
    assert show(stage) == "A=inner B=unset C=unset"
    stage.exit("Inner")
    stage.exit("Unset")
    assert show(stage) == "A=host B=constructor C=outer"


def test_acceptance_of_an_unset(stage: Stage) -> None:
    """ACC-7: the outer environment's value is back after the inner exit."""
    stage.enter(environment("Outer", onEnter=say("openjd_env: C=1")))
    stage.enter(environment("Inner", onEnter=say("openjd_unset_env: C")))
    stage.run_task(script(action(*SHOW)))
    stage.exit("Inner", keep_session_running=True)
    stage.run_task(script(action(*SHOW)))
    assert stage.journal.output[-2:] == ["A=unset B=unset C=unset", "A=unset B=unset C=1"]


def test_directives_count_only_while_entering(stage: Stage) -> None:
    """ENV-13, GAP-8, SUB-7: ignored elsewhere, without a mark, with a DEBUG message that names the variable."""
    lines = ("openjd_env: A=1", "openjd_unset_env: B", "openjd_redacted_env: C=secret")
    stage.enter(environment("Outer", variables={"B": "kept"}))
    stage.enter(environment("Inner", onExit=say(*lines)))
    stage.run_task(script(say(*lines)))
    stage.run(*shell("\n".join(f"echo '{line}'" for line in lines)))
    stage.exit("Inner")
    assert show(stage) == "A=unset B=kept C=unset"
    shown = [line.replace("secret", "********") for line in lines]
    assert stage.journal.output[:-1] == shown * 3


def test_debug_message_of_an_ignored_directive(stage: Stage) -> None:
    """ENV-13: once the Session logs at that level."""
    stage.run(*shell("echo openjd_session_runtime_loglevel: DEBUG; echo openjd_env: A=1"))
    assert stage.journal.at(10) == [
        "Ignoring env for 'A': environment variables can only be defined by the Action that enters an Environment."
    ]


@pytest.mark.parametrize("end", ["exit 3", "exec sleep 60"])
def test_changes_of_a_failed_enter_are_kept(stage: Stage, end: str) -> None:
    """ENV-6, ENV-2, ENV-11: what was printed until then applies to the exits."""
    on_enter = sh(f"echo openjd_env: A=1; echo ready; {end}")
    stage.session.enter_environment(
        environment=environment("E", variables={"B": "2"}, onEnter=on_enter, onExit=action(*SHOW)), identifier="E"
    )
    stage.wait_for_line("ready")
    if end.startswith("exec"):
        stage.session.cancel_action()
    assert stage.wait().state in (ActionState.FAILED, ActionState.CANCELED)
    assert stage.session.environments_entered == ("E",)
    assert stage.exit("E").state is ActionState.SUCCESS
    assert stage.journal.output[-1] == "A=1 B=2 C=unset"


def test_variables_of_an_enter_that_never_started(stage: Stage) -> None:
    """LC-13, LC-15, ENV-11: they count from the moment they are known, for the exit too."""
    broken = action("true", timeout="{{Session.WorkingDirectory}}")
    status = stage.enter(environment("E", variables={"A": "1"}, onEnter=broken, onExit=action(*SHOW)))
    assert (status.state, status.exit_code) == (ActionState.FAILED, None)
    assert stage.exit("E").state is ActionState.SUCCESS
    assert stage.journal.output == ["A=1 B=unset C=unset"]


@pytest.mark.parametrize("value", ["line1\\nline2", '\\"quoted\\"', "\\u00fc", "a=b", ""])
def test_json_form(stage: Stage, value: str) -> None:
    """DIR-13: values that a plain line can't carry."""
    stage.enter(environment("E", onEnter=action(*child("text", f'openjd_env: "A={value}"'))))
    stage.run(*child("variables", "A"))
    decoded = {"line1\\nline2": ["A=line1", "line2"], '\\"quoted\\"': ['A="quoted"'], "\\u00fc": ["A=ü"]}
    assert stage.journal.output[1:] == decoded.get(value, [f"A={value}"])


# Entering and exiting


def test_exit_sees_its_own_variables(stage: Stage) -> None:
    """ENV-9: though it is removed from the stack when the call is accepted, whatever its outcome."""
    stage.enter(environment("E", variables={"A": "1"}, onExit=sh(f"{SHOW[2]}; exit 3")))
    stage.session.exit_environment(identifier="E", os_env_vars={"B": "call"}, keep_session_running=True)
    assert stage.session.environments_entered == ()
    assert stage.wait() == ActionStatus(state=ActionState.FAILED, exit_code=3)
    assert stage.journal.output == ["A=1 B=call C=unset"]


def test_environment_is_entered_when_the_call_is_accepted(stage: Stage) -> None:
    """ENV-2: before its action has ended."""
    seen: list[tuple[str, ...]] = []
    stage.react = lambda _: seen.append(stage.session.environments_entered)
    stage.enter(environment("E", onEnter=action("true")))
    assert seen == [("E",), ("E",)]


def test_same_environment_twice(stage: Stage) -> None:
    """ENV-1: under two identifiers; and again under one that was exited."""
    env = environment("E", variables={"A": "1"}, onEnter=sh("echo enter"), onExit=sh("echo exit"))
    for identifier in ("x", "y"):
        stage.enter(env, identifier=identifier)
    stage.exit("y")
    stage.enter(env, identifier="y")
    stage.exit("y")
    stage.exit("x")
    assert stage.journal.output == ["enter", "enter", "exit", "enter", "exit", "exit"]


def test_steps_take_turns(stage: Stage) -> None:
    """TASK-6: tasks of different steps in one Session, each within the environments of its step."""
    stage.enter(environment("Job", variables={"A": "job"}))
    for step in ("one", "two"):
        stage.enter(environment("Step", variables={"B": step}), step_name=step)
        stage.run_task(script(action(*SHOW)), step_name=step)
        stage.exit("Step", keep_session_running=True)
    assert stage.journal.output == ["A=job B=one C=unset", "A=job B=two C=unset"]


def test_scripts_do_not_see_each_other(stage: Stage) -> None:
    """SYM-3: a task knows no Env.File of an entered environment."""
    stage.enter(environment("E", files=[file("F", "x")], onEnter=action("true")))
    status = stage.run_task(script(action("cat", "{{Env.File.F}}")))
    assert status.fail_message == (
        "Task, onRun, args[0] cannot be resolved: Failed to parse interpolation expression at [0, 14]. "
        "Expression: Env.File.F. Reason: Expression failed validation: Env.File.F has no value. "
        "It can use defined symbols of Session.*."
    )


def test_many_variables(open_stage: OpenStage) -> None:
    """ENV-18: a large environment arrives whole."""
    variables = {f"V{number}": "x" * 1000 for number in range(1000)}
    stage = open_stage(os_env_vars=variables, inherit_env=False)
    stage.run("/bin/sh", "-c", "echo ${#V0} ${#V999}; exec /usr/bin/env -i /bin/echo end")
    assert stage.journal.output == ["1000 1000", "end"]
