"""Path mapping in a Session: PM-15 to PM-20, SYM-4, SYM-9, API §13 and the list of §16 that clients edit."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from openjd.model import ParameterValue, ParameterValueType

from openjd.sessions import ActionState, PathFormat, PathMappingRule
from support.scripts import action, environment, script, sh
from support.stage import READY_AND_WAIT, OpenStage, Stage

SHOW = script(action("cat", "{{Session.PathMappingRulesFile}}"))


def rule(source: str, destination: str, kind: PathFormat = PathFormat.POSIX) -> PathMappingRule:
    paths: dict[PathFormat, Any] = {PathFormat.POSIX: PurePosixPath, PathFormat.WINDOWS: PureWindowsPath}
    return PathMappingRule(
        source_path_format=kind,
        source_path=paths.get(kind, str)(source),
        destination_path=PurePosixPath(destination),
    )


A, AB, URI = rule("/a", "/x"), rule("/a/b", "/y"), rule("s3://bucket", "/z", PathFormat.URI)
WINDOWS = rule("C:\\Proj\\Shots\\s1", "/w", PathFormat.WINDOWS)
PARAMETERS = {"P": ParameterValue(type=ParameterValueType.PATH, value="/a/b/c")}


def written(rules: list[PathMappingRule]) -> dict[str, Any]:
    return {"version": "pathmapping-1.0", "path_mapping_rules": [rule.to_dict() for rule in rules]}


def test_file_with_rules(open_stage: OpenStage) -> None:
    """PM-11, PM-15, PM-16, PM-18: most specific first, formats in upper case; a private file in the directory."""
    stage = open_stage(path_mapping_rules=[A, URI, AB, WINDOWS])
    text = "cat {{Session.PathMappingRulesFile}}; echo; echo {{Session.HasPathMappingRules}}"
    stage.run_task(script(sh(f"{text}; echo {{{{Session.PathMappingRulesFile}}}}")))
    document, has_rules, path = stage.journal.output
    assert json.loads(document) == written([WINDOWS, AB, A, URI])
    assert [entry["source_path_format"] for entry in json.loads(document)["path_mapping_rules"]] == [
        *("WINDOWS", "POSIX", "POSIX", "URI"),
    ]
    assert has_rules == "true"
    file = Path(path)
    assert (file.parent, file.suffix, file.stat().st_mode & 0o777) == (stage.session.working_directory, ".json", 0o600)


@pytest.mark.parametrize("rules", [None, []])
def test_file_without_rules(open_stage: OpenStage, rules: Any) -> None:
    """PM-17, PM-18, GAP-39: the empty object."""
    stage = open_stage(path_mapping_rules=rules)
    stage.run_task(script(sh("cat {{Session.PathMappingRulesFile}}; echo; echo {{Session.HasPathMappingRules}}")))
    assert stage.journal.output == ["{}", "false"]


def test_one_file_for_the_session(open_stage: OpenStage) -> None:
    """PM-15: for all its actions, rewritten only when the rules have changed, or it has been deleted."""
    stage = open_stage(path_mapping_rules=[A])
    stage.enter(environment("E", variables={"V": "{{Session.PathMappingRulesFile}}"}))
    assert len(stage.files) == 1
    path = stage.session.working_directory / stage.files[0]
    first = path.stat()
    stage.run_task(SHOW)
    assert path.stat() == first
    stage.session.extend_path_mapping_rules([AB])
    stage.run_task(SHOW)
    assert json.loads(stage.journal.output[-1]) == written([AB, A])
    path.unlink()
    stage.run_task(SHOW)
    assert json.loads(stage.journal.output[-1]) == written([AB, A])
    stage.exit("E")
    assert stage.files == [path.name]


def test_rules_that_are_added(open_stage: OpenStage) -> None:
    """PM-20, API-8: sorted in, positional, from the next action on, for parameters as well."""
    stage = open_stage(path_mapping_rules=[A], job_parameter_values=PARAMETERS)
    show = script(action("echo", "{{Param.P}}", "{{RawParam.P}}"))
    stage.run_task(show)
    stage.session.extend_path_mapping_rules(iter([AB]))
    stage.run_task(show)
    assert stage.journal.output == ["/x/b/c /a/b/c", "/y/c /a/b/c"]
    assert stage.session._path_mapping_rules == [AB, A]


@pytest.mark.parametrize("way", ["in place", "assigned"])
def test_rules_that_clients_edit(open_stage: OpenStage, way: str) -> None:
    """PM-15, API §16, MODEL-31: the private list, between actions."""
    stage = open_stage(path_mapping_rules=[A], job_parameter_values=PARAMETERS)
    session: Any = stage.session
    show = script(action("echo", "{{Param.P}}"))
    stage.run_task(show)
    if way == "in place":
        session._path_mapping_rules.append(AB)
        session._path_mapping_rules.sort(key=lambda rule: -rule._source_path_component_count())
    else:
        session._path_mapping_rules = [AB]
    stage.run_task(show)
    session._path_mapping_rules = None
    stage.run_task(show)
    assert stage.journal.output == ["/x/b/c", "/y/c", "/a/b/c"]


def test_callers_list_is_left_alone(open_stage: OpenStage) -> None:
    """API §7.1: copied and sorted; None stays None."""
    given = [A, AB]
    stage = open_stage(path_mapping_rules=given)
    assert given == [A, AB]
    assert stage.session._path_mapping_rules == [AB, A]
    given.clear()
    assert stage.session._path_mapping_rules == [AB, A]
    assert open_stage(session_id="t").session._path_mapping_rules is None


def test_rules_cannot_be_added_while_an_action_runs(stage: Stage) -> None:
    """PM-20."""
    stage.start(*READY_AND_WAIT)
    with pytest.raises(RuntimeError) as caught:
        stage.session.extend_path_mapping_rules([A])
    assert str(caught.value) == (
        "extend_path_mapping_rules() needs a Session that is READY or READY_ENDING; this one is RUNNING."
    )
    assert stage.session._path_mapping_rules is None


def test_file_that_cannot_be_written(stage: Stage) -> None:
    """PM-19, LC-20: the action fails."""
    stage.run("sh", "-c", "cd /; rm -r $OPENJD_SESSION_WORKING_DIR")
    status = stage.run_task(SHOW)
    directory = str(stage.session.working_directory)
    assert (status.state, status.exit_code) == (ActionState.FAILED, None)
    assert status.fail_message == (
        f"The path mapping file cannot be written in {directory!r}: No such file or directory."
    )


def test_file_comes_with_the_first_prepared_action(stage: Stage) -> None:
    """PM-15, SUB-3: not with a subprocess, nor with the Session."""
    stage.run("true")
    assert stage.files == []
    stage.enter(environment("E", variables={"V": "1"}))
    assert len(stage.files) == 1
