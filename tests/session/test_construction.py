"""Making a Session: rules API-2, API-6, LC-1, WD-1, WD-4 to WD-7, WD-9, EXT-1, USER-1, USER-2, USER-5; API §5, §7.1."""

from __future__ import annotations

import contextlib
import inspect
import os
import pwd
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from openjd.model import ParameterValue, ParameterValueType, RevisionExtensions, SpecificationRevision

from openjd.sessions import (
    LOG,
    ActionState,
    KeeperError,
    LogContent,
    Parameter,
    PosixSessionUser,
    Session,
    SessionState,
    SessionUser,
    WindowsSessionUser,
    WorkspaceError,
)
from support.scripts import action, script, sh
from support.stage import Journal, OpenStage, Stage, shell

ME = pwd.getpwuid(os.geteuid()).pw_name


def new_session(root: Path, **options: Any) -> Session:
    given = {"session_id": "s", "job_parameter_values": None, "session_root_directory": root, **options}
    return Session(**given)


# What fails


class Half(Session):
    """A Session that can be looked at though its construction has failed."""

    made: Session

    def __init__(self, **options: Any) -> None:
        Half.made = self
        super().__init__(**options)


def test_failed_construction_leaves_nothing(tmp_path: Path, journal: Journal) -> None:
    """LC-1, API 7.1: a RuntimeError, an ERROR line, no filter, no thread, no directory; the rest counts as ENDED."""
    filters, threads = list(LOG.filters), threading.active_count()
    root = tmp_path / "missing"
    with pytest.raises(WorkspaceError) as caught:
        Half(session_id="half", job_parameter_values=None, session_root_directory=root)
    reason = (
        f"The session_root_directory {str(root)!r} must be an existing directory. "
        "Create it, or leave it out to use the default."
    )
    assert isinstance(caught.value, RuntimeError)
    assert str(caught.value) == reason
    assert journal.texts == [f"ERROR creating Session Working Directory: {reason}"]
    assert journal.lines[0].session_id == "half"
    assert journal.lines[0].content == LogContent.COMMAND_OUTPUT | LogContent.FILE_PATH
    assert (LOG.filters, threading.active_count()) == (filters, threads)
    assert not list(tmp_path.iterdir())
    assert Half.made.state is SessionState.ENDED
    with pytest.raises(RuntimeError, match=r"^This Session could not be constructed\.$"):
        Half.made.cancel_action()


def test_root_that_is_a_file(tmp_path: Path) -> None:
    """WD-1, LC-1."""
    root = tmp_path / "file"
    root.touch()
    with pytest.raises(WorkspaceError) as caught:
        new_session(root)
    assert str(caught.value) == (
        f"The session_root_directory {str(root)!r} must be an existing directory. "
        "Create it, or leave it out to use the default."
    )


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"job_parameter_values": [object()]}, TypeError),
        ({"os_env_vars": {"": ""}}, ValueError),
        ({"inherit_env": "HOME"}, ValueError),
        ({"user": 1}, ValueError),
    ],
)
def test_wrong_argument_makes_nothing(tmp_path: Path, options: dict[str, Any], kind: type[Exception]) -> None:
    """LC-1: neither a directory nor a filter."""
    filters = list(LOG.filters)
    with pytest.raises(kind):
        new_session(tmp_path, **options)
    assert not list(tmp_path.iterdir())
    assert LOG.filters == filters


def test_arguments_are_given_by_name() -> None:
    """API-2: all of them, by real signatures."""
    with pytest.raises(TypeError):
        Session("s", None)  # type: ignore[call-arg]
    for name in ("enter_environment", "exit_environment", "run_task", "run_subprocess", "cancel_action"):
        parameters = list(inspect.signature(getattr(Session, name)).parameters.values())[1:]
        assert {parameter.kind for parameter in parameters} == {inspect.Parameter.KEYWORD_ONLY}
    expected = {
        "enter_environment": ["environment", "identifier", "os_env_vars", "step_name", "resolved_symtab"],
        "exit_environment": ["identifier", "os_env_vars", "keep_session_running", "resolved_symtab"],
        "run_task": [
            *("step_script", "task_parameter_values", "os_env_vars"),
            *("log_task_banner", "step_name", "resolved_symtab"),
        ],
        "run_subprocess": [
            *("command", "args", "timeout", "os_env_vars", "use_session_env_vars", "log_banner_message"),
        ],
        "cancel_action": ["time_limit", "mark_action_failed"],
    }
    for name, parameters_of in expected.items():
        assert list(inspect.signature(getattr(Session, name)).parameters)[1:] == parameters_of


# Directories


def test_directories(tmp_path: Path) -> None:
    """WD-5, WD-6, WD-7: random names, private, gone at the end; API-6: the block ends the Session."""
    with new_session(str(tmp_path), session_id="telling") as session:  # type: ignore[arg-type]
        working, files = session.working_directory, session.files_directory
        assert session.state.name == "READY"
        assert working.parent == tmp_path.resolve()
        assert len(working.name) == 8
        assert "telling" not in working.name
        assert files.parent == working
        assert files.name.startswith("embedded_files")
        assert [stat.S_IMODE(path.stat().st_mode) for path in (working, files)] == [0o700, 0o700]
    assert session.state.name == "ENDED"
    assert session.working_directory == working
    assert not list(tmp_path.iterdir())


def test_block_that_raises_ends_the_session(tmp_path: Path) -> None:
    """API-6: and the exception passes."""
    with contextlib.suppress(KeyError), new_session(tmp_path) as session:
        raise KeyError
    assert session.state.name == "ENDED"
    assert not list(tmp_path.iterdir())


def test_working_directory_is_the_same_everywhere(stage: Stage) -> None:
    """WD-9, WD-12: symbol, current directory and variable; files stay there for later actions."""
    directory = stage.session.working_directory
    text = "echo '{{Session.WorkingDirectory}}'; pwd -P; echo $OPENJD_SESSION_WORKING_DIR; touch shared"
    stage.run_task(script(sh(text)))
    assert stage.journal.output == [str(directory)] * 3
    assert stage.run("test", "-e", "shared").state is ActionState.SUCCESS


def test_parent_without_sticky_bit_is_warned_of(tmp_path: Path, journal: Journal) -> None:
    """WD-4, API §15."""
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    root = open_to_all / "root"
    root.mkdir(mode=0o755)
    new_session(root).cleanup()
    [warning] = [line for line in journal.lines if line.text.startswith("Sticky bit")]
    assert warning.text == (
        f"Sticky bit is not set on {open_to_all}. This may pose a risk when running work on this host as users may "
        "modify or delete files in this directory which do not belong to them."
    )
    assert warning.content == LogContent.HOST_INFO | LogContent.FILE_PATH


# Users


def test_own_user_shares_the_directory_with_its_group(open_stage: OpenStage) -> None:
    """USER-1, WD-7, USER-5: run directly, but with the group's modes."""
    user = PosixSessionUser(ME)
    assert user.is_process_user()
    assert isinstance(user, SessionUser)
    stage = open_stage(user=user)
    assert stat.S_IMODE(stage.session.working_directory.stat().st_mode) == 0o770
    assert stage.session.working_directory.stat().st_gid == os.getegid()
    stage.run(*shell("id -un"))
    assert stage.journal.output == [ME]


def test_group_that_does_not_exist(tmp_path: Path) -> None:
    """WD-7: the reason names it, and no directory stays."""
    with pytest.raises(WorkspaceError) as caught:
        new_session(tmp_path, user=PosixSessionUser(ME, group="no-such-group-here"))
    text = "The session user's group 'no-such-group-here' does not exist on this host. Give the user an existing group."
    assert str(caught.value) == text
    assert not list(tmp_path.iterdir())


def test_user_of_another_kind(tmp_path: Path) -> None:
    """USER-2; USER-17: a Windows user can't even be made here."""

    class Other(SessionUser):
        user = "x"

        def is_process_user(self) -> bool:
            return True

    with pytest.raises(ValueError, match="needs") as caught:
        new_session(tmp_path, user=Other())
    assert str(caught.value) == "A Session on this system needs a PosixSessionUser; got Other."
    with pytest.raises(RuntimeError, match=r"^WindowsSessionUser can only be used on Windows systems\.$"):
        WindowsSessionUser("x", password="y")


def test_user_that_does_not_exist(tmp_path: Path) -> None:
    """USER-8: no directory is made for it; and it is not taken for a number, as sudo would."""
    for name in ("nobody-of-this-name", "#0", ""):
        with pytest.raises(KeeperError) as caught:
            new_session(tmp_path, user=PosixSessionUser(name))
        assert str(caught.value) == f"There is no account {name!r} on this host."
    assert not list(tmp_path.iterdir())


def test_user_has_a_default_group() -> None:
    """USER-5: the program's effective one; names are not checked."""
    assert PosixSessionUser("nobody-of-this-name", group="g").group == "g"
    user = PosixSessionUser("nobody-of-this-name")
    assert (user.user, user.group) == ("nobody-of-this-name", PosixSessionUser(ME).group)
    assert not user.is_process_user()
    with pytest.raises(TypeError):
        SessionUser()  # type: ignore[abstract]


# Parameters and extensions

FOO = ParameterValue(type=ParameterValueType.STRING, value="1")
SHOW = script(action("echo", "{{Param.Foo}}", "{{Task.Param.Bar}}"))


@pytest.mark.parametrize("as_list", [False, True])
def test_parameters_are_taken_in_both_forms_and_copied(open_stage: OpenStage, as_list: bool) -> None:
    """API §5: dictionaries of values and lists of Parameter, for the job and for tasks."""
    job: Any = [Parameter(type=FOO.type, name="Foo", value="1")] if as_list else {"Foo": FOO}
    task: Any = [Parameter(value="2", name="Bar", type=ParameterValueType.INT)]
    if not as_list:
        task = {"Bar": ParameterValue(type=ParameterValueType.INT, value="2")}
    stage = open_stage(job_parameter_values=job)
    job.clear()
    stage.run_task(SHOW, task_parameter_values=task)
    assert stage.journal.output == ["1 2"]


@pytest.mark.parametrize("nothing", [None, {}, []])
def test_no_parameters(open_stage: OpenStage, nothing: Any) -> None:
    """API §5: three ways to say so."""
    stage = open_stage(job_parameter_values=nothing)
    assert stage.run_task(script(action("true")), task_parameter_values=nothing).state is ActionState.SUCCESS
    assert "Parameter values:" not in stage.journal.texts


BAD_PARAMETERS = [
    (
        [Parameter(type=FOO.type, name="Foo", value="1"), Parameter(type=FOO.type, name="Foo", value="2")],
        ValueError,
        "Parameter 'Foo' is given more than once.",
    ),
    (
        ["Foo"],
        TypeError,
        "Parameters are a list of openjd.sessions.Parameter, or a dictionary of openjd.model.ParameterValue; "
        "got the element 'Foo'.",
    ),
]


@pytest.mark.parametrize(("given", "kind", "text"), BAD_PARAMETERS)
def test_wrong_parameters(stage: Stage, given: Any, kind: type[Exception], text: str) -> None:
    """API §5: refused by the constructor and by both ways to run a task, before anything changes."""
    before = list(stage.journal.entries)
    for start in (
        lambda: stage.session.run_task(step_script=SHOW, task_parameter_values=given),
        lambda: stage.session._run_task_without_session_env(step_script=SHOW, task_parameter_values=given),
        lambda: Session(session_id="t", job_parameter_values=given),
    ):
        with pytest.raises(kind) as caught:
            start()
        assert str(caught.value) == text
    assert (stage.journal.entries, stage.session.state) == (before, SessionState.READY)


def test_extensions(tmp_path: Path) -> None:
    """EXT-1: what was given; none by default."""
    names = ["REDACTED_ENV_VARS", "FEATURE_BUNDLE_1"]
    given = RevisionExtensions(spec_rev=SpecificationRevision.v2023_09, supported_extensions=names)
    with new_session(tmp_path, revision_extensions=given) as session:
        assert sorted(session.get_enabled_extensions()) == sorted(names)
    with new_session(tmp_path) as session:
        assert session.get_enabled_extensions() == []


def test_methods_can_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """API §1: by clients' tests, for all Sessions at once."""
    seen: list[str] = []
    monkeypatch.setattr(Session, "cleanup", lambda self: seen.append(type(self).__name__))
    monkeypatch.setattr(Session, "state", property(lambda _: SessionState.CANCELING))
    session = new_session(tmp_path)
    with session:
        assert session.state.name == "CANCELING"
    assert seen == ["Session"]
    monkeypatch.undo()
    session.cleanup()
