"""Environments that wrap the actions of others: rules WRAP-1 to WRAP-22, ENV-22, FILE-7, FILE-8, TASK-2."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import pytest
from openjd.model import ParameterValue, ParameterValueType, RevisionExtensions, SpecificationRevision
from openjd.model.v2023_09 import Environment

from openjd.sessions import ActionState, ActionStatus, WrapConflictError
from openjd.sessions._platform.limits import longest_command_line
from support import child, scripts
from support.scripts import WITH_EXPRESSIONS, WITH_WRAPPING, action, environment, file, script, sh
from support.stage import OpenStage, Stage

WITH_SECRETS = RevisionExtensions(spec_rev=SpecificationRevision.v2023_09, supported_extensions=["REDACTED_ENV_VARS"])
QUOTINGS = [
    f"{function}([WrappedAction.Environment[0], WrappedAction.Args[0]])"
    for function in ("repr_sh", "repr_json", "repr_py", "string")
] + ["repr_sh(repr_json(WrappedAction.Environment + WrappedAction.Args))"]
HOOKS = ("onWrapEnvEnter", "onWrapTaskRun", "onWrapEnvExit")
REPORT = (
    "{{string(WrappedAction.Timeout) if WrappedAction.Timeout != null else 'none'}}",
    "{{WrappedAction.Cancelation.Mode if WrappedAction.Cancelation.Mode != null else 'none'}}",
    "period={{WrappedAction.Cancelation.NotifyPeriodInSeconds}}",
)
RUN = action("{{WrappedAction.Command}}", "{{WrappedAction.Args}}")


def wrapper(
    hook: Mapping[str, Any] = RUN, name: str = "W", hooks: Optional[Mapping[str, Any]] = None, **options: Any
) -> Environment:
    """An environment that wraps: what each hook runs, ``hook`` unless ``hooks`` says so."""
    actions: dict[str, Any] = {**dict.fromkeys(HOOKS, hook), **(hooks or {})}
    return scripts.environment(name, extensions=WITH_WRAPPING, **actions, **options)


def named(*words: str) -> dict[str, dict[str, Any]]:
    """Hooks that say which they are, and whose action they replace, before they run it."""
    texts = ("enter {{WrappedEnv.Name}}", "task {{WrappedStep.Name}}", "exit {{WrappedEnv.Name}}")
    tail = ("{{WrappedAction.Command}}", "{{WrappedAction.Args}}")
    return {
        hook: action("sh", "-c", 'echo "$0"; exec "$@"', " ".join([text, *words]), *tail)
        for hook, text in zip(HOOKS, texts)
    }


def succeeded(status: ActionStatus) -> None:
    assert status.state is ActionState.SUCCESS, status.fail_message


def run_task(stage: Stage, *argv: str, **options: Any) -> ActionStatus:
    return stage.run_task(script(action(*argv)), **{"step_name": "S", **options})


# When a hook runs


def test_hooks_replace_the_actions_of_inner_environments_and_tasks(stage: Stage) -> None:
    """WRAP-1, WRAP-3, WRAP-5, WRAP-6: also where the wrapping one is not the outermost."""
    said: dict[str, Any] = {"onEnter": action("echo", "in"), "onExit": action("echo", "out")}
    stage.enter(environment("Outer", **said))
    stage.enter(wrapper(hooks=named(), onEnter=action("echo", "W in"), onExit=action("echo", "W out")))
    stage.enter(environment("Inner", **said))
    run_task(stage, "echo", "do it")
    stage.run("echo", "subprocess")
    for name in ("Inner", "W", "Outer"):
        succeeded(stage.exit(name))
    assert stage.journal.output == [
        *("in", "W in", "enter Inner", "in", "task S", "do it", "subprocess"),
        *("exit Inner", "out", "W out", "out"),
    ]


def test_acc_9_hooks_run_for_actions_that_exist(stage: Stage) -> None:
    """ACC-9, WRAP-4, LC-14: an enter hook once, no exit hook, a task hook for each task."""
    stage.enter(wrapper(hooks=named()))
    stage.enter(environment("Inner", onEnter=action("echo", "in")))
    assert stage.enter(environment("Plain", variables={"A": "1"})) == ActionStatus(state=ActionState.SUCCESS)
    run_task(stage, "echo", "1")
    run_task(stage, "echo", "2")
    for name in ("Plain", "Inner", "W"):
        assert stage.exit(name) == ActionStatus(state=ActionState.SUCCESS)
    assert stage.journal.output == ["enter Inner", "in", "task S", "1", "task S", "2"]


def test_nothing_is_wrapped_after_the_wrapping_environment(stage: Stage) -> None:
    """WRAP-1"""
    stage.enter(wrapper(hooks=named()))
    stage.exit("W")
    run_task(stage, "echo", "bare", step_name=None)
    assert stage.journal.output == ["bare"]


def test_one_wrapping_environment_at_a_time(stage: Stage) -> None:
    """WRAP-2, ENV-3: refused before anything changes."""
    stage.enter(wrapper())
    with pytest.raises(WrapConflictError):
        stage.session.enter_environment(environment=wrapper(name="Other"))
    assert (stage.state, stage.session.environments_entered) == ("READY", ("W",))
    stage.exit("W")
    succeeded(stage.enter(wrapper(name="Other")))


def test_tasks_need_the_name_of_their_step(stage: Stage) -> None:
    """TASK-2, LC-23: only while they are wrapped, and only if they are."""
    run_task(stage, "true", step_name=None)
    stage.enter(wrapper())
    before = len(stage.journal.entries)
    with pytest.raises(ValueError, match="environment 'W' wraps tasks, so the name of the step is needed"):
        stage.start_task(script(action("true")))
    assert (stage.state, len(stage.journal.entries)) == ("READY", before)
    stage.session._run_task_without_session_env(step_script=script(action("true")), task_parameter_values={})
    succeeded(stage.wait())


def test_tasks_without_the_environments_are_not_wrapped(stage: Stage) -> None:
    """MODEL-31, WRAP-3"""
    stage.enter(wrapper(hooks=named()))
    bare = script(action("echo", "bare"))
    stage.session._run_task_without_session_env(step_script=bare, task_parameter_values={})
    succeeded(stage.wait())
    assert stage.journal.output == ["bare"]


def test_result_of_a_hook_is_the_result_of_the_action(stage: Stage) -> None:
    """WRAP-6, WRAP-7: a failed enter hook is followed by the exit hook, a failed exit hook by the environment's own."""
    hooks = {"onWrapEnvEnter": action("sh", "-c", "exit 3"), "onWrapEnvExit": action("sh", "-c", "exit 4")}
    stage.enter(wrapper(hooks=hooks, onExit=action("echo", "W out")))
    status = stage.enter(environment("Inner", onEnter=action("true"), onExit=action("true")))
    assert (status.state, status.exit_code) == (ActionState.FAILED, 3)
    assert (stage.state, stage.session.environments_entered) == ("READY_ENDING", ("W", "Inner"))
    status = stage.exit("Inner")
    assert (status.state, status.exit_code) == (ActionState.FAILED, 4)
    succeeded(stage.exit("W"))
    assert stage.journal.output == ["W out"]


def test_directives_of_a_hook_are_those_of_the_action(stage: Stage) -> None:
    """WRAP-8, ENV-12, ENV-13, ENV-16: variables count in the enter hook, and end with the inner environment."""
    say = sh("echo 'openjd_env: MADE=by hook'; echo 'openjd_progress: 50'")
    stage.enter(wrapper(hooks={"onWrapEnvEnter": say, "onWrapEnvExit": say}))
    assert stage.enter(environment("Inner", onEnter=action("true"), onExit=action("true"))).progress == 50
    run_task(stage, "sh", "-c", 'echo "$MADE"')
    stage.exit("Inner")
    run_task(stage, "sh", "-c", 'echo "${MADE-none}"')
    assert [line for line in stage.journal.output if not line.startswith("openjd")] == ["by hook", "none"]


# What a hook sees


def test_symbols_of_the_wrapped_action(stage: Stage) -> None:
    """WRAP-12: command and arguments as they would have run."""
    show = action(
        "sh", "-c", 'printf "<%s>" "$@"; echo', "-", "{{WrappedAction.Command}}", "{{WrappedAction.Args}}", *REPORT
    )
    stage.enter(wrapper(show))
    run = {"command": "run", "args": ["{{null}}", "{{['a', 'b c']}}", ""], "timeout": "{{4 + 1}}"}
    stage.run_task(scripts.script(run, extensions=WITH_EXPRESSIONS), step_name="S")
    run_task(stage, "bare")
    assert stage.journal.output == [
        "<run><a><b c><><5><none><period=>",
        "<bare><none><none><period=>",
    ]


@pytest.mark.parametrize(
    ("cancelation", "mode", "task_period", "environment_period"),
    [
        (None, "none", "", ""),
        ({"mode": "TERMINATE"}, "TERMINATE", "", ""),
        ({"mode": "NOTIFY_THEN_TERMINATE"}, "NOTIFY_THEN_TERMINATE", "120", "30"),
        ({"mode": "NOTIFY_THEN_TERMINATE", "notifyPeriodInSeconds": 7}, "NOTIFY_THEN_TERMINATE", "7", "7"),
        ({"mode": "{{null}}", "notifyPeriodInSeconds": 7}, "none", "", ""),
        ({"mode": "{{'TERMINATE'}}"}, "TERMINATE", "", ""),
        ({"mode": "{{'NOTIFY'}}_THEN_TERMINATE"}, "NOTIFY_THEN_TERMINATE", "120", "30"),
    ],
)
def test_cancelation_of_the_wrapped_action(
    stage: Stage, cancelation: Optional[dict[str, Any]], mode: str, task_period: str, environment_period: str
) -> None:
    """WRAP-12, ACT-22, ACT-23"""
    fields = {} if cancelation is None else {"cancelation": cancelation}
    inner = action("true", **fields)
    stage.enter(wrapper(action("echo", *REPORT)))
    stage.enter(scripts.environment("Inner", extensions=WITH_EXPRESSIONS, onEnter=inner, onExit=inner))
    stage.run_task(scripts.script(inner, extensions=WITH_EXPRESSIONS), step_name="S")
    stage.exit("Inner")
    assert stage.journal.output == [
        f"none {mode} period={period}" for period in (environment_period, task_period, environment_period)
    ]


def test_scopes_do_not_leak(open_stage: OpenStage) -> None:
    """WRAP-9 to WRAP-11: each is resolved with its own bindings, files, step and parameters only."""
    parameters = {"P": ParameterValue(type=ParameterValueType.STRING, value="p")}
    stage = open_stage(job_parameter_values=parameters)
    hook = sh("cat '{{Env.File.F}}'; echo '{{WrappedAction.Args}}' '{{mine}}' '{{Param.P}}' '{{Step.Name}}'")
    outer = wrapper(hook, let=["mine = Param.P + 'W'"], files=[file("F", "{{mine}}\n", filename="f")])
    stage.enter(outer, step_name="WStep")
    task = scripts.script(
        action("cat", "{{mine}}", "{{Task.Param.T}}"),
        [file("F", "{{mine}}", filename="f")],
        let=["mine = Param.P + 'T'"],
        extensions=WITH_EXPRESSIONS,
    )
    given = {"T": ParameterValue(type=ParameterValueType.INT, value="1")}
    succeeded(stage.run_task(task, step_name="S", task_parameter_values=given))
    assert stage.journal.output == ["pW", '["pT", "1"] pW p WStep']


@pytest.mark.parametrize("symbol", ["Task.Param.T", "Task.File.F", "inner"])
def test_hooks_see_nothing_of_the_inner_script(stage: Stage, symbol: str) -> None:
    """WRAP-10, WRAP-13"""
    stage.enter(wrapper(action("echo", f"{{{{{symbol}}}}}")))
    task = scripts.script(action("true"), [file("F", "x")], let=["inner = 1"], extensions=WITH_EXPRESSIONS)
    given = {"T": ParameterValue(type=ParameterValueType.INT, value="1")}
    status = stage.run_task(task, step_name="S", task_parameter_values=given)
    assert status.fail_message is not None
    assert status.fail_message.startswith(
        f"Environment 'W', onWrapTaskRun, args[0] cannot be resolved: Undefined variable: '{symbol}'."
    )


def test_inner_scripts_see_nothing_of_the_wrapping_one(stage: Stage) -> None:
    """WRAP-9, WRAP-13, LC-20: what cannot be resolved is not wrapped either."""
    stage.enter(wrapper(action("echo", "hook"), let=["outer = 1"]))
    status = stage.run_task(scripts.script(action("{{outer}}"), extensions=WITH_EXPRESSIONS), step_name="S")
    assert (status.state, status.exit_code, stage.journal.output) == (ActionState.FAILED, None, [])
    assert status.fail_message is not None
    assert status.fail_message.startswith("Step 'S', onRun, command cannot be resolved: Undefined variable: 'outer'.")


# Files


def test_acc_10_files_of_both_exist_at_once(stage: Stage) -> None:
    """ACC-10, FILE-7, WRAP-21: same names, own contents, and the given base name."""
    inner = [file("F", "inner", filename="same.sh")]
    outer = [file("F", "outer", filename="same.sh")]
    hook = action(
        "sh",
        "-c",
        'for each; do echo "$(cat "$each") ${each##*/}"; done',
        "-",
        "{{Env.File.F}}",
        "{{WrappedAction.Args}}",
    )
    stage.enter(wrapper(hook, files=outer))
    stage.enter(environment("Inner", files=inner, onEnter=action("cat", "{{Env.File.F}}")))
    stage.run_task(script(action("cat", "{{Task.File.F}}"), inner), step_name="S")
    assert stage.journal.output == ["outer same.sh", "inner same.sh"] * 2


def test_paths_are_stable_over_the_life_of_an_environment(stage: Stage) -> None:
    """FILE-8, WRAP-21: random names too, in all hooks and its own actions; contents are written anew."""
    say = action("sh", "-c", 'echo "$0"; test "$(cat "$0")" = text; echo "changed" > "$0"', "{{Env.File.F}}")
    stage.enter(wrapper(say, files=[file("F", "text")], onEnter=say, onExit=say))
    stage.enter(environment("Inner", onEnter=action("true"), onExit=action("true")))
    succeeded(run_task(stage, "true"))
    succeeded(run_task(stage, "true"))
    stage.exit("Inner")
    stage.exit("W")
    paths = stage.journal.output
    assert (len(paths), len(set(paths))) == (6, 1)
    stage.enter(wrapper(say, files=[file("F", "text")], onEnter=say))
    assert stage.journal.output[-1] not in paths


def test_directory_of_its_own_that_cannot_be_made(stage: Stage) -> None:
    """FILE-14, LC-21"""
    stage.session.files_directory.rmdir()
    status = stage.enter(wrapper(files=[file("F", "text")], onEnter=action("true")))
    assert status.fail_message == (
        f"Environment 'W': a directory for its files cannot be made in '{stage.session.files_directory}': "
        "No such file or directory."
    )
    assert stage.session.environments_entered == ("W",)


LITTER = "mkdir $inner/made; touch $inner/made/file; ln -s $kept $inner/link"
REPLACE_INNER = "mv $inner $outer/moved; ln -s $kept $inner"
REPLACE_OUTER = "mkdir $kept/${inner##*/}; touch $kept/${inner##*/}/file; mv $outer $outer.moved; ln -s $kept $outer"


@pytest.mark.parametrize(
    ("do", "left", "kept"),
    [(LITTER, [], ["file"]), (REPLACE_INNER, ["moved"], ["file"]), (REPLACE_OUTER, [], ["*", "*/file", "file"])],
    ids=["with what is in it", "link in its place", "link in the place of what contains it"],
)
def test_directory_of_its_own_goes_with_the_environment(
    stage: Stage, tmp_path: Path, do: str, left: list[str], kept: list[str]
) -> None:
    """FILE-8, WD-11: with what was made in it, and never through a link that a job has put in its place."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    names = f"kept={outside} inner=${{0%/*}}; outer=${{inner%/*}}"
    leave = action("sh", "-c", f"{names}; {do}", "{{Env.File.F}}")
    stage.enter(wrapper(files=[file("F", "x")], onEnter=action("true"), onExit=leave))
    files = stage.session.files_directory
    descriptor = os.open(files, os.O_RDONLY)
    inner = os.listdir(descriptor)
    succeeded(stage.exit("W"))
    run_task(stage, "true")
    found = os.listdir(descriptor)
    os.close(descriptor)
    assert found == left
    seen = sorted(str(path.relative_to(outside)).replace(inner[0], "*") for path in outside.rglob("*"))
    assert seen == kept


# Variables


def listed(stage: Stage, *argv: str, **options: Any) -> dict[str, str]:
    """``WrappedAction.Environment`` of a task, by names."""
    run_task(stage, *(argv or ("true",)), **options)
    line = next(line for line in reversed(stage.journal.output) if line.startswith("LISTED "))
    found = [each.partition("=") for each in json.loads(line[len("LISTED ") :])]
    assert len({name for name, _, _ in found}) == len(found)
    return {name: value for name, _, value in found}


SHOW = action(
    "sh",
    "-c",
    '"$@"; echo "LISTED $0"',
    "{{repr_json(WrappedAction.Environment)}}",
    "{{WrappedAction.Command}}",
    "{{WrappedAction.Args}}",
)


@pytest.fixture
def wrapped(stage: Stage) -> Stage:
    stage.enter(wrapper(SHOW, variables={"W": "1"}))
    return stage


def setting(*lines: str) -> dict[str, Any]:
    return action("sh", "-c", "\n".join(f"echo 'openjd_{line}'" for line in lines))


def test_variables_that_sessions_define(open_stage: OpenStage) -> None:
    """WRAP-15, WRAP-16, ENV-22: never those of the host or the caller."""
    stage = open_stage(os_env_vars={"HOST": "h"})
    stage.enter(environment("Outer", variables={"B": "b=1"}, onEnter=setting("env: A=a")))
    stage.enter(wrapper(SHOW, variables={"W": "1"}))
    found = listed(stage, "sh", "-c", 'echo "$HOST $CALL $B $A $W"', os_env_vars={"CALL": "c"})
    assert list(found.items()) == [("B", "b=1"), ("A", "a"), ("W", "1")]
    assert "h c b=1 a 1" in stage.journal.output


def test_variables_of_every_action_are_recorded(wrapped: Stage) -> None:
    """WRAP-16, ENV-13: of tasks and exits too, though no process gets them; not of subprocesses."""
    run_task(wrapped, *argv_of(setting("env: T=task")))
    wrapped.enter(environment("E", onExit=setting("env: X=exit")))
    wrapped.exit("E")
    wrapped.run(*argv_of(setting("env: S=subprocess")))
    assert listed(wrapped, "sh", "-c", 'echo "${T-none} ${X-none}"') == {"W": "1", "T": "task", "X": "exit"}
    assert "none none" in wrapped.journal.output


def argv_of(given: Mapping[str, Any]) -> list[str]:
    return [given["command"], *given["args"]]


def test_secret_variables_are_listed(open_stage: OpenStage) -> None:
    """WRAP-16, RED-13: with their values, which no log shows."""
    stage = open_stage(revision_extensions=WITH_SECRETS)
    hook = action("sh", "-c", "test '{{WrappedAction.Environment}}' = '[\"K=hush\"]' && echo right")
    stage.enter(environment("E", onEnter=setting("redacted_env: K=hush")))
    stage.enter(wrapper(hook))
    succeeded(run_task(stage, "true"))
    assert stage.journal.output[-1] == "right"
    assert not any("hush" in text for text in stage.journal.texts)


@pytest.mark.parametrize("secret", ["xq'zx", 'xq"zx', "xq'\"$zx", "xq zx"])
def test_command_line_of_a_hook_shows_no_secret(open_stage: OpenStage, secret: str) -> None:
    """RED-1, RED-13: however the hook quotes it; the process gets it."""
    stage = open_stage(revision_extensions=WITH_SECRETS)
    spelt = [f"{{{{{function}}}}}" for function in QUOTINGS]
    stage.enter(environment("E", onEnter=action(*child("text", f"openjd_redacted_env: K={secret}"))))
    stage.enter(wrapper(action("sh", "-c", "set -- {{repr_sh(WrappedAction.Environment)}}; echo ${#1}", *spelt)))
    succeeded(run_task(stage, "true", f"--key={secret}"))
    assert stage.journal.output[-1] == str(len(f"K={secret}"))
    line = stage.journal.after("Running command ")
    assert line.startswith("sh -c ")
    assert line.count("********") == 2 * len(QUOTINGS) + 1
    assert not re.search("xq|zx", line)


def test_command_line_that_hidden_secrets_would_break(open_stage: OpenStage) -> None:
    """RED-1: a hook that can be resolved only with the secret is not shown."""
    stage = open_stage(revision_extensions=WITH_SECRETS)
    stage.enter(environment("E", onEnter=setting("redacted_env: K=4711")))
    stage.enter(wrapper(action("echo", "{{int(WrappedAction.Environment[0][2:]) * 2}}")))
    succeeded(run_task(stage, "true"))
    assert (stage.journal.after("Running command "), stage.journal.output[-1]) == ("********", "9422")


def test_value_of_an_entered_environment_holds(wrapped: Stage) -> None:
    """WRAP-17: then that of the outer one again, then the last one that was set."""
    wrapped.enter(environment("A", variables={"K": "a"}))
    wrapped.enter(environment("B", variables={"K": "b"}))
    assert listed(wrapped)["K"] == "b"
    wrapped.exit("B")
    assert listed(wrapped, *argv_of(setting("env: K=task")))["K"] == "a"
    assert listed(wrapped)["K"] == "a"
    wrapped.exit("A")
    assert listed(wrapped)["K"] == "task"


def test_unset_variables_are_absent(wrapped: Stage) -> None:
    """WRAP-17: while an entered environment unsets it; afterwards, if that was the last change."""
    wrapped.enter(environment("A", variables={"K": "a", "L": "a"}))
    wrapped.enter(environment("B", onEnter=setting("unset_env: K")))
    assert listed(wrapped) == {"W": "1", "L": "a"}
    wrapped.exit("B")
    assert listed(wrapped, *argv_of(setting("unset_env: L"))) == {"W": "1", "K": "a", "L": "a"}
    wrapped.exit("A")
    assert listed(wrapped) == {"W": "1"}
    run_task(wrapped, *argv_of(setting("unset_env: K", "env: K=last")))
    assert listed(wrapped) == {"W": "1", "K": "last"}


def test_own_variables_of_an_inner_environment(stage: Stage) -> None:
    """WRAP-18, ENV-9: listed when it is entered, and still when it is exited."""
    show = action("echo", "{{WrappedAction.Environment}}")
    stage.enter(wrapper(show))
    stage.enter(environment("I", variables={"K": "1"}, onEnter=action("true"), onExit=action("true")))
    stage.exit("I")
    assert stage.journal.output == ["K=1"] * 2


def test_own_variables_after_a_hook_that_never_started(stage: Stage) -> None:
    """WRAP-18, LC-15, ENV-11: listed when the environment is exited, and its own action would have had them."""
    show = action("sh", "-c", 'echo "$K" "$0"', "{{WrappedAction.Environment}}")
    broken = action("echo", "{{fail(WrappedAction.Command)}}")
    stage.enter(wrapper(hooks={"onWrapEnvEnter": broken, "onWrapEnvExit": show}))
    status = stage.enter(environment("I", variables={"K": "1"}, onEnter=action("true"), onExit=action("true")))
    assert (status.state, status.exit_code) == (ActionState.FAILED, None)
    succeeded(stage.exit("I"))
    assert stage.journal.output == ["1 K=1"]


# Limits


FORWARD = {
    "timeout": "{{WrappedAction.Timeout}}",
    "cancelation": {
        "mode": "{{WrappedAction.Cancelation.Mode}}",
        "notifyPeriodInSeconds": "{{WrappedAction.Cancelation.NotifyPeriodInSeconds}}",
    },
}
TERMINATE = {"mode": "TERMINATE"}
NOTIFY = {"mode": "NOTIFY_THEN_TERMINATE", "notifyPeriodInSeconds": 600}
"""It ends on its own when it is notified, long before that."""


def cases() -> list[Any]:
    found = []
    for timeout in (None, 1):
        for cancelation in (None, TERMINATE, NOTIFY):
            for kind in ("onEnter", "onRun", "onExit"):
                mode = cancelation["mode"] if cancelation else "none"
                found.append(pytest.param(timeout, cancelation, kind, id=f"{timeout}-{mode}-{kind}"))
    return found


@pytest.mark.parametrize(("timeout", "cancelation", "kind"), cases())
def test_limits_are_forwarded(
    stage: Stage, timeout: Optional[int], cancelation: Optional[dict[str, Any]], kind: str
) -> None:
    """WRAP-19, WRAP-20: what is declared and what is not, to a real process that is canceled or runs out of time."""
    fields = {key: value for key, value in (("timeout", timeout), ("cancelation", cancelation)) if value is not None}
    inner = sh("trap 'echo notified; exit 7' TERM; echo ready; while :; do sleep 0.05; done", **fields)
    stage.enter(wrapper({**RUN, **FORWARD}))
    if kind == "onRun":
        stage.start_task(script(inner), step_name="S")
    else:
        one = environment("I", onEnter=inner) if kind == "onEnter" else environment("I", onExit=inner)
        stage.session.enter_environment(environment=one, identifier="I")
    if kind == "onExit":
        stage.wait()
        stage.session.exit_environment(identifier="I")
    stage.wait_for_line("ready")
    if timeout is None:
        stage.session.cancel_action()
    status = stage.wait()
    assert status.state is (ActionState.CANCELED if timeout is None else ActionState.TIMEOUT)
    assert status.exit_code == (7 if cancelation == NOTIFY else -9)
    assert ("notified" in stage.journal.output) is (cancelation == NOTIFY)


@pytest.mark.parametrize(
    ("cancelation", "line"),
    [(None, "TERMINATE"), (TERMINATE, "TERMINATE"), (NOTIFY, "NOTIFY_THEN_TERMINATE")],
)
def test_own_limits_of_a_hook(stage: Stage, cancelation: Optional[dict[str, Any]], line: str) -> None:
    """WRAP-19: the wrapped action's say nothing unless they are forwarded."""
    fields = {} if cancelation is None else {"cancelation": cancelation}
    stage.enter(wrapper(sh("trap 'echo notified; exit 7' TERM; echo ready; while :; do sleep 0.05; done", **fields)))
    stage.start_task(script(action("true", timeout=1, cancelation=NOTIFY)), step_name="S")
    stage.wait_for_line("ready")
    stage.session.cancel_action()
    assert stage.wait().exit_code == (7 if line == "NOTIFY_THEN_TERMINATE" else -9)


# Command lines


def test_argument_that_is_too_long(stage: Stage) -> None:
    """WRAP-22: refused before start; limit, hook and action are named."""
    stage.enter(wrapper(action("sh", "-c", "echo {{WrappedAction.Args}}")))
    status = run_task(stage, "echo", "x" * 70_000, "y" * 70_000)
    assert (status.state, status.exit_code) == (ActionState.FAILED, None)
    assert status.fail_message == (
        "Environment 'W', onWrapTaskRun (in place of Step 'S', onRun): argument 2 of the command line is 140013 bytes "
        "long; this system allows 131071. Pass it in a file instead."
    )
    assert [each.state for each in stage.journal.told][-1:] == [ActionState.FAILED]


def test_command_line_that_is_too_long(stage: Stage) -> None:
    """WRAP-22: the total, with the variables."""
    limit = longest_command_line()
    stage.enter(wrapper(action("sh", "-c", "echo $#", *["{{WrappedAction.Args}}"] * (limit // 100_000 + 1))))
    succeeded(run_task(stage, "echo", "x" * 90_000))
    status = run_task(stage, "echo", "x" * 100_100)
    assert (status.state, status.exit_code) == (ActionState.FAILED, None)
    pattern = (
        r"Environment 'W', onWrapTaskRun \(in place of Step 'S', onRun\): the command line takes (\d+) bytes with its "
        rf"variables; this system allows {limit}\. Pass fewer or shorter arguments or variables, or a file instead\."
    )
    found = re.fullmatch(pattern, str(status.fail_message))
    assert found is not None
    assert int(found[1]) > limit


def test_longest_argument_that_is_allowed(stage: Stage) -> None:
    """WRAP-22"""
    stage.enter(wrapper())
    succeeded(run_task(stage, "true", "x" * 131_071))
    assert "131071" in str(run_task(stage, "true", "x" * 131_072).fail_message)


@pytest.mark.parametrize(
    ("size", "count", "reason"),
    [
        (200_000, 1, "variable 'V0' is 200003 bytes long; this system allows 131071. Pass it in a file instead."),
        (100_000, longest_command_line() // 100_000 + 1, "the command line takes "),
    ],
)
def test_variables_that_are_too_long(open_stage: OpenStage, size: int, count: int, reason: str) -> None:
    """WRAP-22: one, or all together, however short the arguments are."""
    text = ParameterValue(type=ParameterValueType.STRING, value="x" * size)
    stage = open_stage(job_parameter_values={"P": text})
    stage.enter(environment("E", variables={f"V{number}": "{{Param.P}}" for number in range(count)}))
    stage.enter(wrapper())
    status = run_task(stage, "true")
    assert (status.state, status.exit_code) == (ActionState.FAILED, None)
    title = "Environment 'W', onWrapTaskRun (in place of Step 'S', onRun): "
    assert str(status.fail_message).startswith(title + reason)
