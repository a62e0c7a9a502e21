"""Secrets of real processes: RED-1 to RED-13, LOG-8, API §11 and add_redaction of §16a."""

from __future__ import annotations

import logging
import re
import sys
import threading
from typing import Any

import pytest
from openjd.model import RevisionExtensions, SpecificationRevision

from openjd.sessions import LOG, ActionState, ActionStatus, LogContent
from openjd.sessions._logging import LoggerAdapter
from support import child
from support.scripts import action, environment, script, sh
from support.stage import OpenStage, Stage, shell

MASK = "********"
ENABLED = RevisionExtensions(spec_rev=SpecificationRevision.v2023_09, supported_extensions=["REDACTED_ENV_VARS"])
NOT_ENABLED = "Received openjd_redacted_env message but REDACTED_ENV_VARS extension is not enabled"


@pytest.fixture
def stage(open_stage: OpenStage) -> Stage:
    """A Session with the extension."""
    return open_stage(revision_extensions=ENABLED)


def entering(*lines: str) -> Any:
    return environment("E", onEnter=action(*child("text", *lines)))


def texts_of(record: logging.LogRecord) -> list[str]:
    return [str(record.msg), str(record.args), record.getMessage(), str(record.exc_text)]


# Whose value


def test_variable_is_set_and_hidden(stage: Stage) -> None:
    """RED-1, RED-2, RED-4, RED-13: in its own line, and in the output of all later actions; processes see it."""
    stage.enter(entering("before hush", "openjd_redacted_env: K=hush", "say hush!"))
    stage.run(*shell('echo $K; test "$K" = hush && echo really'))
    stage.run_task(script(sh("echo a${K}b")))
    assert stage.journal.output == [
        *("before hush", f"openjd_redacted_env: K={MASK}", f"say {MASK}!", MASK, "really", f"a{MASK}b"),
    ]
    assert stage.journal.at(30) == []


def test_value_is_hidden_where_it_cannot_be_set(stage: Stage) -> None:
    """RED-5: by a task, an exit, a subprocess."""
    stage.enter(environment("E", onExit=sh("echo openjd_redacted_env: K=third; echo third")))
    stage.run(*shell("echo openjd_redacted_env: K=first; echo first"))
    stage.run_task(script(sh("echo openjd_redacted_env: K=second; echo second")))
    stage.exit("E")
    assert stage.journal.output == [f"openjd_redacted_env: K={MASK}", MASK] * 3


def test_without_the_extension(open_stage: OpenStage) -> None:
    """RED-3: hidden all the same, not set, and a warning."""
    stage = open_stage()
    stage.enter(entering("openjd_redacted_env: K=hush"))
    stage.run(*shell("echo ${K-unset} hush"))
    assert stage.journal.output == [f"openjd_redacted_env: K={MASK}", f"unset {MASK}"]
    assert stage.journal.at(30) == [NOT_ENABLED]


def test_other_sessions_do_not_hide_it(open_stage: OpenStage) -> None:
    """RED-1: the secrets of one Session are its own."""
    first = open_stage(session_id="first", revision_extensions=ENABLED)
    second = open_stage(session_id="second")
    first.enter(entering("openjd_redacted_env: K=hush"))
    second.run("echo", "hush")
    assert second.journal.output == ["hush"]


def test_short_secrets_are_warned_of(stage: Stage) -> None:
    """GAP-45: they are hidden as they are."""
    stage.run(*shell("echo openjd_redacted_env: K=e; echo red; echo openjd_redacted_env: L="))
    assert stage.journal.output == [
        line.replace("e", MASK) for line in ("openjd_redacted_env: K=e", "red", "openjd_redacted_env: L=")
    ]
    [warning] = stage.journal.at(30)
    assert warning.endswith("makes this log hard to read.".replace("e", MASK))


# How it is hidden


def test_overlapping_hits_are_one(stage: Stage) -> None:
    """RED-6."""
    stage.enter(entering("openjd_redacted_env: K=abcab", "openjd_redacted_env: L=cabx"))
    stage.run(*child("text", "abcabcab", "abcabx", "abcabcabx-abcab"))
    assert stage.journal.output[2:] == [MASK, MASK, f"{MASK}-{MASK}"]


def test_values_of_several_lines(stage: Stage) -> None:
    """RED-7: the first and last line wherever they occur, those between as whole lines."""
    stage.enter(entering('openjd_redacted_env: "K=first\\nmiddle\\nlast"'))
    stage.run(*child("text", "a first b", "a last b", "middle", "a middle b", "first", "first\\nmiddle\\nlast"))
    stage.run(*child("variables", "K"))
    assert stage.journal.output[1:] == [
        *(f"a {MASK} b", f"a {MASK} b", MASK, "a middle b", MASK, MASK),
        *(f"K={MASK}", MASK, MASK),
    ]
    assert "first" not in stage.journal.output[0]


def test_secret_across_the_border_of_a_long_line(stage: Stage) -> None:
    """DIR-4, GAP-14."""
    stage.session.add_redaction("swordfish")
    program = "import sys; sys.stdout.write('x' * 63996 + 'swordfish' + 'y' * 9 + '\\n')"
    stage.run(sys.executable, "-I", "-S", "-c", program)
    assert all(len(line) <= 64000 for line in stage.journal.output)
    assert re.fullmatch(r"x{63996}\*{8,16}y{9}", "".join(stage.journal.output))


# Malformed declarations

LEAKY = [
    "openjd_redacted_env:K=swordfish",
    "OPENJD_redacted_env: K=swordfish",
    " openjd_redacted_env: K=swordfish",
    "openjd_redacted_env K=swordfish",
    "openjd_redacted_env: 1K=swordfish",
    'openjd_redacted_env: "K=swordfish',
    "openjd_redacted_env: swordfish",
]


@pytest.mark.parametrize("line", LEAKY)
@pytest.mark.parametrize("is_enabled", [True, False])
def test_malformed_declarations_leak_nothing(open_stage: OpenStage, line: str, is_enabled: bool) -> None:
    """RED-8, RED-9, RED-10, GAP-25: neither line, mark and warnings, nor fail_message; nor later lines."""
    stage = open_stage(**({"revision_extensions": ENABLED} if is_enabled else {}))
    stage.session.enter_environment(
        environment=environment("E", onEnter=action(*child("text", line, "the swordfish"))), identifier="E"
    )
    status = stage.wait()
    stage.exit("E")
    everything = [*stage.journal.texts, *map(str, stage.journal.told)]
    shown = [text for text in everything if not text.startswith("Running command")]
    assert not [text for text in shown if "swordfish" in text]
    assert any(MASK in text for text in stage.journal.output)
    is_near_miss = not line.startswith("openjd_redacted_env: ")
    expected = ActionState.FAILED if is_near_miss or not is_enabled else ActionState.SUCCESS
    assert status.state is expected


def test_malformed_declaration_with_the_extension(stage: Stage) -> None:
    """RED-9: sets nothing, is a warning, and does not fail the action."""
    stage.enter(entering("openjd_redacted_env: 1K=swordfish"))
    assert stage.session.action_status == ActionStatus(state=ActionState.SUCCESS, exit_code=0)
    reason = "Failed to parse environment variable assignment."
    assert stage.journal.output == [f"openjd_redacted_env: 1K={MASK} -- ERROR: {reason}"]
    assert stage.journal.at(30) == [
        f"Malformed openjd_redacted_env command: {reason} No environment variable will be set."
    ]


def test_malformed_declaration_without_the_extension(open_stage: OpenStage) -> None:
    """RED-9, DIR-20: like a malformed openjd_env."""
    stage = open_stage()
    stage.enter(entering("openjd_redacted_env: 1K=swordfish"))
    reason = "Failed to parse environment variable assignment."
    status = stage.session.action_status
    assert status is not None
    assert (status.state, status.fail_message) == (ActionState.FAILED, reason)
    assert stage.journal.at(30) == [NOT_ENABLED]


# Where it is hidden


def test_messages_to_the_callback(stage: Stage) -> None:
    """RED-10, GAP-26: status and fail message, there and in action_status."""
    stage.session.add_redaction("hush")
    stage.run(*shell("echo openjd_status: say hush; echo openjd_fail: hush too; exit 1"))
    final = ActionStatus(ActionState.FAILED, None, f"say {MASK}", f"{MASK} too", 1)
    assert stage.journal.told[-1] == stage.session.action_status == final
    assert not any("hush" in str(status) for status in stage.journal.told)


def test_reasons_of_failures(stage: Stage) -> None:
    """RED-10: of set-up and of programs that can't be started."""
    stage.session.add_redaction("hush")
    status = stage.run_task(script(action("hush-program")))
    assert status.fail_message is not None
    assert f"Program '{MASK}-program' was not found" in status.fail_message
    assert not any("hush" in text for text in stage.journal.texts)


def test_own_lines(stage: Stage) -> None:
    """RED-1, LOG-8: settings, parameters, command lines, contents of files at DEBUG."""
    stage.run(*shell("echo openjd_session_runtime_loglevel: DEBUG"))
    stage.session.add_redaction("hush")
    files = [{"name": "F", "type": "TEXT", "data": "say\nhush", "filename": "hush.txt"}]
    stage.enter(environment("hush", variables={"A": "hush"}, files=files, onEnter=action("echo", "hush")))
    found = [text for text in stage.journal.texts if MASK in text]
    assert f"Setting: A={MASK}" in found
    assert f"--------- Entering Environment: {MASK}" in found
    assert f"Running command echo {MASK}" in found
    assert f"Contents:\nsay\n{MASK}" in found
    assert not any("hush" in text for text in stage.journal.texts)


def test_command_line_that_declares_a_secret(stage: Stage) -> None:
    """RED-12: its output has not been seen yet."""
    stage.run(*shell("echo openjd_redacted_env: K=hush"))
    [line] = [text for text in stage.journal.texts if text.startswith("Running command")]
    assert line == f"Running command sh -c 'echo openjd_redacted_env: {MASK}"


def test_records_of_clients(stage: Stage, records: list[logging.LogRecord]) -> None:
    """RED-11, API §11: what they log to LOG with the Session's id, or with none; %-arguments are folded in first."""
    stage.session.add_redaction("hush")
    adapter = LoggerAdapter(LOG, {"session_id": "s"})
    adapter.info("say %s and %d", "hush", 5)
    LOG.warning("hu%s", "sh")
    LOG.error("%(key)s", {"key": "hush"})
    adapter.info("nothing %s", "here")
    assert [record.getMessage() for record in records[-4:]] == [f"say {MASK} and 5", MASK, MASK, "nothing here"]
    assert not any("hush" in text for record in records for text in texts_of(record))


def test_tracebacks_of_clients(stage: Stage, records: list[logging.LogRecord]) -> None:
    """RED-11: an exception's text is searched as well."""
    stage.session.add_redaction("hush")
    try:
        raise ValueError("hush")
    except ValueError:
        LOG.exception("failed", extra={"session_id": "s"})
    shown = logging.Formatter().format(records[-1])
    assert "hush" not in shown
    assert shown.splitlines()[-1] == f"ValueError: {MASK}"


def test_record_that_cannot_be_formatted(stage: Stage, records: list[logging.LogRecord]) -> None:
    """RED-11: is replaced as a whole."""
    stage.session.add_redaction("hush")
    LOG.info("%d", "hush", extra={"session_id": "s"})
    assert (records[-1].getMessage(), records[-1].args) == (MASK, ())


def test_records_after_the_end(stage: Stage, records: list[logging.LogRecord]) -> None:
    """API §11: while the Session is open; the filter goes with the last one."""
    stage.session.add_redaction("hush")
    assert len(LOG.filters) == 1
    stage.session.cleanup()
    LOG.info("hush", extra={"session_id": "s"})
    assert records[-1].getMessage() == "hush"
    assert LOG.filters == []


def test_secret_added_from_another_thread(stage: Stage) -> None:
    """API 16a: it counts from then on, also for the running action."""
    stage.start(*child("text-then-wait", "hush"))
    stage.wait_for_line("ready")
    adder = threading.Thread(target=stage.session.add_redaction, args=["ready"])
    adder.start()
    adder.join()
    LOG.info("are you ready?", extra={"session_id": "s", "openjd_log_content": LogContent.COMMAND_OUTPUT})
    assert stage.journal.output == ["hush", "ready", f"are you {MASK}?"]


def test_much_output_and_many_secrets(stage: Stage) -> None:
    """Q-1: a megabyte of output and a hundred values."""
    for number in range(100):
        stage.session.add_redaction(f"secret number {number};")
    stage.run(
        *shell("seq -f 'line %g of a long text without anything in it; secret number' 20000; echo secret number 7;")
    )
    assert len(stage.journal.output) == 20001
    assert stage.journal.output[-1] == "secret number 7"
