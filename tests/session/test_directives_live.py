"""Output and directives of real processes: DIR-1 to DIR-8, DIR-10 to DIR-22; errors by their full text."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from openjd.sessions import LOG, ActionState, ActionStatus, LogContent
from support import child
from support.scripts import action, environment, notified, script, sh
from support.stage import PATIENCE, Gate, Journal, OpenStage, Stage, shell, wait_until

NEAR_MISS = "Open Job Description: Incorrectly formatted openjd env command ({})"
BAD_ASSIGNMENT = "Failed to parse environment variable assignment."
BAD_NAME = "Failed to parse environment variable name."
BAD_PROGRESS = "Progress must be a floating point value between 0.0 and 100.0, inclusive."


def texts(*lines: str) -> list[str]:
    """A program that prints lines."""
    return child("text", *lines)


def entering(*lines: str, then: str = "") -> Any:
    """An environment whose onEnter prints lines, then goes on."""
    prints = " ".join(f"'{line}'" for line in lines)
    return environment("E", onEnter=sh(f"printf '%s\\n' {prints}; {then or 'true'}"))


# Lines


def test_bytes_become_lines(stage: Stage) -> None:
    """DIR-1 to DIR-3: line ends, bytes that are no UTF-8, control characters, empty lines, no end of the last one."""
    stage.run(*child("raw", r"a\nb\r\nc\rd\n\n", r"\xffx\x00\t\x1b[1m \n", r"\xc3\xa4\n", r"spl", r"it\r", r"\nend"))
    assert stage.journal.output == [
        *("a", "b", "c", "d", "", "\\xffx\0\t\x1b[1m ", "ä", "split", "end"),
    ]


def test_long_line_is_logged_in_pieces(stage: Stage) -> None:
    """DIR-4, GAP-14: a piece that looks like a directive is none."""
    program = "import sys; sys.stdout.write('x' * 64000 + 'openjd_progress: 5\\n')"
    stage.run(sys.executable, "-I", "-S", "-c", program)
    assert stage.journal.output == ["x" * 64000, "openjd_progress: 5"]
    assert stage.journal.told[-1].progress is None


def test_many_lines_keep_their_order(stage: Stage) -> None:
    """DIR-1: none is lost."""
    stage.run(*shell("seq 50000; echo openjd_progress: 3; seq 50001 60000"))
    assert stage.journal.output == [
        *map(str, range(1, 50001)),
        "openjd_progress: 3",
        *map(str, range(50001, 60001)),
    ]


def test_lines_come_while_the_process_runs(stage: Stage, gate: Gate) -> None:
    """DIR-1: as soon as they are complete."""
    stage.start(*shell(f"echo first; printf part; {gate.wait}; echo ial"))
    stage.wait_for_line("first")
    assert stage.journal.output == ["first"]
    gate.open()
    stage.wait()
    assert stage.journal.output == ["first", "partial"]


# What is ignored with a mark

MARKED = [
    *((f"openjd_progress: {text}", BAD_PROGRESS) for text in ("nan", "inf", "101", "-1", "50%", "x", "5_0")),
    ("openjd_session_runtime_loglevel: loud", "Unknown log level: LOUD. Known values: DEBUG,INFO,WARNING,ERROR"),
]
MALFORMED = [
    ("openjd_env: 1A=x", BAD_ASSIGNMENT),
    ("openjd_env: A", BAD_ASSIGNMENT),
    ("openjd_env: A =x", BAD_ASSIGNMENT),
    ('openjd_env: {"A": "x"}', BAD_ASSIGNMENT),
    ('openjd_env: "A=\\u0000"', BAD_ASSIGNMENT),
    ('openjd_env: "A=x', "Unterminated string starting at: line 1 column 1 (char 0)"),
    ("openjd_unset_env: A ", BAD_NAME),
    ("openjd_unset_env: A=x", BAD_NAME),
]
NEAR_MISSES = [
    *("openjd_ENV: A=1", " openjd_env: A=1", "openjd_env:A=1", "openjd_env A=1", "openjd_env", "openjd_env: "),
    *("OPENJD_unset_env: A", "openjd_unset_env:A", "openjd_redacted_env"),
]


@pytest.mark.parametrize("kind", ["task", "enter"])
def test_wrong_values_are_marked(stage: Stage, kind: str) -> None:
    """DIR-10, DIR-16, API §10: and ignored, in every kind of action."""
    lines = [line for line, _ in MARKED]
    if kind == "enter":
        assert stage.enter(environment("E", onEnter=action(*texts(*lines)))).state is ActionState.SUCCESS
    else:
        assert stage.run_task(script(action(*texts(*lines)))).state is ActionState.SUCCESS
    assert stage.journal.output == [f"{line} -- ERROR: {reason}" for line, reason in MARKED]
    assert len(stage.journal.calls) == 2


def test_malformed_directives_of_variables_elsewhere(stage: Stage) -> None:
    """DIR-12 to DIR-15, DIR-21: in an action that enters nothing the line is only marked."""
    lines = [line for line, _ in MALFORMED]
    assert stage.run_task(script(action(*texts(*lines)))).state is ActionState.SUCCESS
    assert stage.journal.output == [f"{line} -- ERROR: {reason}" for line, reason in MALFORMED]


@pytest.mark.parametrize(("line", "reason"), MALFORMED)
def test_malformed_directive_fails_entering(stage: Stage, line: str, reason: str) -> None:
    """DIR-20, GAP-17: canceled and FAILED, with the reason as fail_message and behind the line."""
    stage.enter(entering(line, then="exec sleep 60"))
    assert stage.session.action_status == ActionStatus(ActionState.FAILED, fail_message=reason, exit_code=-9)
    assert stage.journal.output == [f"{line} -- ERROR: {reason}"]
    assert [status.state.name for status in stage.journal.told] == ["RUNNING", "FAILED"]


@pytest.mark.parametrize("line", NEAR_MISSES)
def test_near_miss_fails_every_action(stage: Stage, line: str) -> None:
    """DIR-19, API §10: canceled and FAILED; no call before the final one."""
    stage.run_task(script(action(*child("text-then-wait", line))))
    reason = NEAR_MISS.format(line)
    assert stage.session.action_status == ActionStatus(ActionState.FAILED, fail_message=reason, exit_code=-9)
    assert stage.journal.output[0] == f"{line} -- ERROR: {reason}"
    assert [status.state.name for status in stage.journal.told] == ["RUNNING", "FAILED"]


@pytest.mark.parametrize("kind", ["subprocess", "exit", "enter"])
def test_near_miss_in_other_actions(stage: Stage, kind: str) -> None:
    """DIR-19: the same everywhere."""
    wait = "printf '%s\\n' openjd_env; exec sleep 60"
    if kind == "subprocess":
        stage.run(*shell(wait))
    elif kind == "exit":
        stage.enter(environment("E", onExit=sh(wait)))
        stage.exit("E")
    else:
        stage.enter(environment("E", onEnter=sh(wait)))
    status = stage.session.action_status
    assert status == ActionStatus(ActionState.FAILED, fail_message=NEAR_MISS.format("openjd_env"), exit_code=-9)


def test_near_miss_of_a_process_that_has_ended(stage: Stage) -> None:
    """DIR-22: FAILED, even though it has exited with 0 already."""
    for count in range(1, 21):
        opened = environment(f"E{count}", onExit=action("echo", "openjd_env"))
        stage.enter(opened)
    for count in range(20, 0, -1):
        status = stage.exit(f"E{count}")
        assert (status.state, status.fail_message) == (ActionState.FAILED, NEAR_MISS.format("openjd_env"))
        assert status.exit_code in (0, -9)


def test_broken_directive_uses_the_actions_own_cancelation(stage: Stage) -> None:
    """DIR-22: notified; FAILED even if it exits with 0 then."""
    task = script(
        action(
            "sh",
            "-c",
            "trap 'echo notified; exit 0' TERM; echo openjd_env; while true; do sleep 0.01; done",
            cancelation=notified(600),
        )
    )
    status = stage.run_task(task)
    assert status == ActionStatus(ActionState.FAILED, fail_message=NEAR_MISS.format("openjd_env"), exit_code=0)
    assert "notified" in stage.journal.output


def test_ordinary_lines(stage: Stage) -> None:
    """DIR-9, DIR-18: nothing may precede the token; unknown words and other spellings mean nothing."""
    lines = [
        *(" openjd_progress: 5", "x openjd_progress: 5", "openjd_progress:5", "openjd_Progress: 5", "openjd_status:"),
        *("openjd_environment: x", "openjd_env_setup: y", "openjd_foo: x", "openjd_FAIL: x", "openjd_session: x"),
    ]
    stage.run_task(script(action(*texts(*lines))))
    assert stage.journal.output == lines
    assert stage.journal.told[-1] == ActionStatus(state=ActionState.SUCCESS, exit_code=0)
    assert len(stage.journal.calls) == 2


# What is accepted


def test_payloads(stage: Stage) -> None:
    """DIR-10, DIR-11, DIR-17: numbers in every spelling, texts verbatim; the last one wins; lines are echoed."""
    lines = [
        *("openjd_progress: 0", "openjd_progress:  1e1 ", "openjd_progress: .5", "openjd_progress: 100"),
        *("openjd_status:  a ", "openjd_status: openjd_fail: x", "openjd_fail: b: c"),
    ]
    stage.run(*texts(*lines))
    assert [status.progress for status in stage.journal.told[1:5]] == [0.0, 10.0, 0.5, 100.0]
    assert [status.status_message for status in stage.journal.told[5:7]] == [" a ", "openjd_fail: x"]
    assert stage.journal.told[-1].fail_message == "b: c"
    assert stage.journal.output == lines


def test_progress_may_go_back(stage: Stage) -> None:
    """GAP-46: it is passed on."""
    stage.run(*texts("openjd_progress: 50", "openjd_progress: 10"))
    assert [status.progress for status in stage.journal.told] == [None, 50.0, 10.0, 10.0]


# Whom they concern


def test_directives_work_whatever_is_logged(stage: Stage) -> None:
    """DIR-5, GAP-15: parsing does not depend on levels."""
    LOG.setLevel(50)
    try:
        stage.enter(entering("openjd_env: A=1", "openjd_progress: 5"))
        stage.run(*shell("exit ${A}0"))
    finally:
        LOG.setLevel(20)
    assert stage.journal.told[1].progress == 5.0
    assert stage.journal.told[-1].exit_code == 10


def test_records_of_clients_are_no_directives(stage: Stage) -> None:
    """DIR-6, GAP-16: nor are lines of our own."""

    def react(status: ActionStatus) -> None:
        if status == ActionStatus(state=ActionState.RUNNING):
            LOG.info("openjd_progress: 50", extra={"session_id": "s", "openjd_log_content": LogContent.COMMAND_OUTPUT})

    stage.react = react
    stage.enter(environment("E", variables={"openjd_env": "A=1"}, onEnter=action("true")))
    assert stage.journal.told == [ActionStatus(ActionState.RUNNING), ActionStatus(ActionState.SUCCESS, exit_code=0)]


def test_sessions_do_not_mix(open_stage: OpenStage) -> None:
    """DIR-7, API 17.6: each has its own lines, messages, variables and ids, whatever runs beside it."""
    stages = [open_stage(session_id=f"session {number}") for number in range(4)]
    everything = Journal()
    LOG.addHandler(everything)
    try:
        for number, stage in enumerate(stages):
            lines = [f"line {number} {count}" for count in range(200)]
            text = "; ".join(f"echo {line}; echo openjd_progress: {number}" for line in lines)
            on_enter = sh(f"{text}; echo openjd_env: A={number}")
            stage.session.enter_environment(environment=environment("E", onEnter=on_enter))
        for number, stage in enumerate(stages):
            assert stage.wait().progress == number
        for stage in stages:
            stage.start(*shell("echo A=$A"))
        for stage in stages:
            stage.wait()
    finally:
        LOG.removeHandler(everything)
    for number, stage in enumerate(stages):
        mine = [line for line in everything.lines if line.session_id == f"session {number}"]
        output = [line.text for line in mine if line.content == LogContent.COMMAND_OUTPUT]
        assert output == [
            *(text for count in range(200) for text in (f"line {number} {count}", f"openjd_progress: {number}")),
            *(f"openjd_env: A={number}", f"A={number}"),
        ]
        assert {call.session_id for call in stage.journal.calls} == {f"session {number}"}
        assert {status.progress for status in stage.journal.told} == {None, float(number)}
    assert None not in {line.session_id for line in everything.lines}


# Output that is held open


def test_output_that_something_holds_open(open_stage: OpenStage, gate: Gate) -> None:
    """DIR-8, TASK-8: one second unsaid, five said, then the action ends; directives of that time count.

    What is printed later is dropped, and does not end who prints it.
    """
    stage = open_stage()
    script_text = f"({gate.wait}; echo openjd_progress: 7; {gate.wait}; echo dropped; touch survived) & exit 3"
    stage.start(*shell(script_text))
    first = (
        "Command exited but STDOUT stream is still open. Waiting gracetime of 5 seconds for the STDOUT stream to close "
        "before ending action."
    )
    second = "Gracetime of 5 seconds elapsed but the STDOUT stream is still open. Ending action."
    stage.wait_for_line(first)
    assert stage.state == "RUNNING"
    gate.open()
    stage.wait_for_line("openjd_progress: 7")
    assert stage.wait() == ActionStatus(state=ActionState.FAILED, progress=7.0, exit_code=3)
    warnings = [line for line in stage.journal.lines if line.level == 30]
    assert [line.text for line in warnings][:2] == [first, second]
    assert {line.content for line in warnings[:2]} == {LogContent.PROCESS_CONTROL}
    gate.open()
    stage.wait_for_line("What processes of an ended action still print is dropped from now on.")
    wait_until((stage.session.working_directory / "survived").exists)
    assert "dropped" not in stage.journal.output


def test_cancel_of_an_action_whose_command_has_exited(stage: Stage) -> None:
    """DIR-8, DESIGN §4: the rest is terminated, and the action ends with its own exit code."""
    stage.start(*shell("sleep 60 & exit 3"))
    stage.journal.wait_for(lambda: any("STDOUT stream is still open" in text for text in stage.journal.texts))
    stage.session.cancel_action()
    assert stage.session.wait(PATIENCE) == ActionStatus(state=ActionState.FAILED, exit_code=3)


def test_json_line_is_no_directive(stage: Stage) -> None:
    """DIR-9: what merely contains a directive."""
    line = json.dumps({"message": "openjd_env: A=1"})
    assert stage.run(*texts(line)).state is ActionState.SUCCESS
    assert stage.journal.output == [line]
