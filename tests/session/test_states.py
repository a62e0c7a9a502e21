"""What a Session can do when: API-3, LC-1 to LC-7, ENV-1, ENV-2, ENV-8; every refused call by its full text."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest

from openjd.sessions import (
    ActionState,
    ActionStatus,
    PathFormat,
    PathMappingRule,
    Session,
    SessionError,
    SessionState,
)
from support.scripts import action, environment, script
from support.stage import READY_AND_WAIT, OpenStage, Stage, shell

TRUE = script(action("true"))
EMPTY = environment("Empty", variables={"NOTHING_TO_RUN": ""})

CALLS: dict[str, Callable[[Session], object]] = {
    "enter_environment()": lambda session: session.enter_environment(environment=EMPTY),
    "exit_environment()": lambda session: session.exit_environment(identifier="e"),
    "run_task()": lambda session: session.run_task(step_script=TRUE, task_parameter_values=None),
    "_run_task_without_session_env()": lambda session: session._run_task_without_session_env(
        step_script=TRUE, task_parameter_values=None
    ),
    "run_subprocess()": lambda session: session.run_subprocess(command="true"),
    "cancel_action()": lambda session: session.cancel_action(),
    "extend_path_mapping_rules()": lambda session: session.extend_path_mapping_rules([]),
}
NEEDS = {
    **dict.fromkeys(CALLS, "READY"),
    "exit_environment()": "READY or READY_ENDING",
    "cancel_action()": "RUNNING",
    "extend_path_mapping_rules()": "READY or READY_ENDING",
}


def bring_to(stage: Stage, state: SessionState) -> None:
    """Enter an environment ``e``, and go on to a state."""
    stage.enter(EMPTY, identifier="e")
    if state is SessionState.RUNNING:
        stage.start(*READY_AND_WAIT)
        stage.wait_for_line("ready")
    elif state is SessionState.READY_ENDING:
        stage.run("false")
    elif state is SessionState.ENDED:
        stage.session.cleanup()
    assert stage.session.state == state


def snapshot(stage: Stage) -> dict[str, Any]:
    """All that a refused call must not change."""
    session = stage.session
    directory = session.working_directory
    return {
        "state": session.state,
        "status": session.action_status,
        "entered": session.environments_entered,
        "journal": list(stage.journal.entries),
        "files": sorted(directory.rglob("*")) if directory.exists() else None,
    }


def refusal(call: Callable[[], object], stage: Stage, kind: type[Exception] = SessionError) -> str:
    """The text of what a call raises; it must change nothing."""
    before = snapshot(stage)
    with pytest.raises(kind) as caught:
        call()
    assert snapshot(stage) == before
    return str(caught.value)


@pytest.mark.parametrize("state", [state for state in SessionState if state is not SessionState.CANCELING])
def test_illegal_call_raises_and_changes_nothing(stage: Stage, state: SessionState) -> None:
    """LC-2, LC-4, LC-28: what a state does not allow is a RuntimeError that says what it needs."""
    bring_to(stage, state)
    assert issubclass(SessionError, RuntimeError)
    for name, call in CALLS.items():
        if state.name not in NEEDS[name].split(" or "):
            text = refusal(lambda call=call: call(stage.session), stage)  # type: ignore[misc]
            assert text == f"{name} needs a Session that is {NEEDS[name]}; this one is {state.name}."


def test_properties_and_extensions_can_be_asked_for_in_every_state(stage: Stage) -> None:
    """LC-2, API-3: also after the end, the directories included."""
    session = stage.session
    assert (session.action_status, session.environments_entered, session.state) == (None, (), SessionState.READY)
    stage.enter(EMPTY, identifier="e")
    session.cleanup()
    assert session.action_status == ActionStatus(state=ActionState.SUCCESS)
    assert session.environments_entered == ("e",)
    assert session.files_directory.parent == session.working_directory
    assert session.get_enabled_extensions() == []
    assert session.state.name == "ENDED"


def test_properties_cannot_be_set(stage: Stage) -> None:
    """API-3: they are read-only."""
    for name in (
        "state",
        "action_status",
        "working_directory",
        "files_directory",
        "environments_entered",
        "future",
    ):
        with pytest.raises(AttributeError):
            setattr(stage.session, name, None)


def test_future_before_any_action(stage: Stage) -> None:
    """API 16a: there is none yet."""
    assert refusal(lambda: stage.session.future, stage) == "There has been no action in this Session yet."


# Order of environments


@pytest.mark.parametrize(
    ("identifier", "text"),
    [
        (
            "outer",
            "Environment 'outer' is not the innermost one. Exit 'inner', which was entered later, first.",
        ),
        (
            "other",
            "Environment 'other' is not entered. Entered are (outermost first): 'outer', 'inner'.",
        ),
    ],
)
def test_environment_that_cannot_be_exited(stage: Stage, identifier: str, text: str) -> None:
    """ENV-8, LC-23: an unknown identifier, and one that is not the innermost."""
    stage.enter(EMPTY, identifier="outer")
    stage.enter(EMPTY, identifier="inner")
    assert refusal(lambda: stage.session.exit_environment(identifier=identifier), stage) == text


def test_exit_where_nothing_is_entered(stage: Stage) -> None:
    """ENV-8."""
    text = refusal(lambda: stage.session.exit_environment(identifier="e"), stage)
    assert text == "Environment 'e' is not entered. Entered are (outermost first): none."


def test_identifier_that_is_in_use(stage: Stage) -> None:
    """ENV-1, LC-23: it can be used again after the exit."""
    stage.enter(EMPTY, identifier="e")
    text = refusal(lambda: stage.session.enter_environment(environment=EMPTY, identifier="e"), stage)
    assert text == "Environment 'e' is already entered. Exit it first, or give this one another identifier."
    stage.exit("e")
    assert stage.session.enter_environment(environment=EMPTY, identifier="e") == "e"


def test_made_up_identifiers_are_unique(stage: Stage) -> None:
    """ENV-1: the Session's id and 32 hex digits."""
    made = [stage.session.enter_environment(environment=EMPTY) for _ in range(3)]
    assert len(set(made)) == 3
    for identifier in made:
        session_id, _, digits = identifier.rpartition(":")
        assert session_id == "s"
        assert len(digits) == 32
        assert int(digits, 16) > 0
    assert stage.session.environments_entered == tuple(made)


# Wrong values

BAD_VARIABLES: list[tuple[dict[str, str], str]] = [
    ({"": "x"}, "os_env_vars: '' can't be the name of an environment variable."),
    ({"A=B": "x"}, "os_env_vars: 'A=B' can't be the name of an environment variable."),
    ({"A\0": "x"}, "os_env_vars: 'A\\x00' can't be the name of an environment variable."),
    ({"A": "x\0"}, "os_env_vars: the value of 'A' contains a NUL character."),
]


@pytest.mark.parametrize(("variables", "text"), BAD_VARIABLES)
def test_impossible_variables_are_refused(stage: Stage, variables: dict[str, str], text: str) -> None:
    """LC-23, ENV-21: by every starter, before anything changes, and by the constructor."""
    session = stage.session
    stage.enter(EMPTY, identifier="e")
    starters: list[Callable[[], object]] = [
        lambda: session.enter_environment(environment=EMPTY, os_env_vars=variables),
        lambda: session.exit_environment(identifier="e", os_env_vars=variables),
        lambda: session.run_task(step_script=TRUE, task_parameter_values=None, os_env_vars=variables),
        lambda: session.run_subprocess(command="true", os_env_vars=variables),
        lambda: Session(session_id="t", job_parameter_values=None, os_env_vars=variables),
    ]
    assert [refusal(starter, stage, ValueError) for starter in starters] == [text] * len(starters)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"command": ""}, "run_subprocess: command must be the name or path of a program; it is blank."),
        ({"command": " \t"}, "run_subprocess: command must be the name or path of a program; it is blank."),
        ({"command": "a\0"}, "run_subprocess: command and args can't contain NUL characters."),
        ({"command": "a", "args": ["b", "\0"]}, "run_subprocess: command and args can't contain NUL characters."),
        ({"command": "a", "timeout": 0}, "run_subprocess: timeout must be at least 1 second; got 0."),
        ({"command": "a", "timeout": -3}, "run_subprocess: timeout must be at least 1 second; got -3."),
    ],
)
def test_wrong_arguments_of_a_subprocess(stage: Stage, options: dict[str, Any], text: str) -> None:
    """SUB-1, LC-23."""
    assert refusal(lambda: stage.session.run_subprocess(**options), stage, ValueError) == text


def test_empty_text_cannot_be_hidden(stage: Stage) -> None:
    """RED-6, API 16a."""
    text = refusal(lambda: stage.session.add_redaction(""), stage, ValueError)
    assert text == "The empty string can't be hidden."


def test_inherit_env_must_be_patterns(tmp_path: Path) -> None:
    """API 7.1: a bare string would be taken letter by letter."""
    with pytest.raises(ValueError, match="inherit_env") as caught:
        Session(session_id="t", job_parameter_values=None, session_root_directory=tmp_path, inherit_env="PATH")
    assert str(caught.value) == "inherit_env must be True, False, or a list of name patterns; got the string 'PATH'."
    assert list(tmp_path.iterdir()) == []


# Transitions


def test_ready_again_after_success(stage: Stage) -> None:
    """LC-3: READY, RUNNING, READY, by every kind of action."""
    session = stage.session
    assert session.state.name == "READY"
    for start in (
        lambda: stage.start("true"),
        lambda: stage.start_task(TRUE),
        lambda: session.enter_environment(environment=environment("E", onEnter=action("true")), identifier="e"),
        lambda: session.exit_environment(identifier="e", keep_session_running=True),
    ):
        start()
        stage.wait()
        assert session.state.name == "READY"


def test_starter_returns_while_the_process_runs(stage: Stage) -> None:
    """LC-11, LC-3: the state is RUNNING then."""
    stage.start(*READY_AND_WAIT)
    assert stage.state == "RUNNING"
    assert stage.session.action_status == ActionStatus(state=ActionState.RUNNING)
    stage.session.cancel_action()
    assert stage.wait().state is ActionState.CANCELED


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("last", ["true", "false"])
def test_exit_and_what_remains(stage: Stage, keeps: bool, last: str) -> None:
    """LC-6a, LC-7: an exit that does not keep the Session running, or fails, leaves exits only, for ever."""
    on_exit = environment("E", onExit=action(last))
    stage.enter(EMPTY, identifier="outer")
    stage.enter(on_exit, identifier="inner")
    stage.exit("inner", keep_session_running=keeps)
    may_go_on = keeps and last == "true"
    expected = SessionState.READY if may_go_on else SessionState.READY_ENDING
    assert stage.session.state == expected
    stage.exit("outer", keep_session_running=True)
    assert stage.session.state == expected


def test_ending_only_begins_when_the_exit_is_accepted(stage: Stage) -> None:
    """LC-6a: not only when it has ended."""
    stage.enter(environment("E", onExit=action(*READY_AND_WAIT)), identifier="e")
    stage.session.exit_environment(identifier="e")
    assert stage.state == "RUNNING"
    stage.session.cancel_action()
    stage.wait()
    assert stage.state == "READY_ENDING"


FAILURES: dict[str, Callable[[Stage], object]] = {
    "failed task": lambda stage: stage.run_task(script(action("false"))),
    "failed subprocess": lambda stage: stage.run("false"),
    "failed enter": lambda stage: stage.enter(environment("F", onEnter=action("false"))),
    "missing program": lambda stage: stage.run("no-such-program-here"),
    "failed setup": lambda stage: stage.run_task(script(action("{{Param.Unknown}}"))),
    "time limit": lambda stage: stage.run(*READY_AND_WAIT, timeout=1),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_after_a_failure_only_exits_remain(open_stage: OpenStage, failure: str) -> None:
    """LC-6b, LC-7, SUB-8, GAP-2: whatever failed, and even if a later exit would keep the Session running."""
    stage = open_stage()
    stage.enter(EMPTY, identifier="e")
    FAILURES[failure](stage)
    assert stage.state == "READY_ENDING"
    for identifier in reversed(stage.session.environments_entered):
        stage.exit(identifier, keep_session_running=True)
    assert stage.state == "READY_ENDING"
    with pytest.raises(SessionError):
        stage.start("true")


def test_acceptance_of_a_task_that_fails(open_stage: OpenStage) -> None:
    """ACC-2: exit code 3; exits still work; then the directory is gone."""
    stage = open_stage()
    stage.enter(environment("E", onExit=action("true")), identifier="e")
    assert stage.run_task(script(action(*shell("exit 3")))) == ActionStatus(state=ActionState.FAILED, exit_code=3)
    assert stage.state == "READY_ENDING"
    with pytest.raises(RuntimeError):
        stage.start_task(TRUE)
    assert stage.exit("e", keep_session_running=False).state is ActionState.SUCCESS
    stage.session.cleanup()
    assert stage.state == "ENDED"
    assert not stage.session.working_directory.exists()


def test_rules_are_added_between_actions_only(stage: Stage) -> None:
    """PM-20: see also the table of refused calls."""
    rule = PathMappingRule(
        source_path_format=PathFormat.URI, source_path="s3://a", destination_path=stage.session.working_directory
    )
    stage.session.extend_path_mapping_rules([rule])
    stage.run("false")
    assert stage.state == "READY_ENDING"
    stage.session.extend_path_mapping_rules([rule])
    assert stage.session._path_mapping_rules == [rule, rule]
