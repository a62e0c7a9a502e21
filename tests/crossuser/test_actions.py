"""Actions as another user: rules USER-1, USER-3, USER-4, USER-7 to USER-10, WD-7, WD-11; API §12, §14."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from openjd.sessions import ActionState, LogContent, PosixSessionUser
from openjd.sessions._platform import accounts
from support import child
from support.accounts import ALICE, BOB, account_uids, let_others_pass, need_account, user_of
from support.bench import parent_of
from support.programs import Begin, command_of
from support.scripts import environment, file, script, sh
from support.stage import READY_AND_WAIT, OpenStage, Stage, shell

ME = accounts.user_name()
ALICES_FILES = f"{ALICE}-files"


def say(stage: Stage, script_text: str) -> list[str]:
    """What a shell script prints."""
    stage.journal.clear()
    assert stage.run(*shell(script_text)).state is ActionState.SUCCESS
    return stage.journal.output


def test_it_runs_as_the_user(alice: Stage) -> None:
    """USER-3, USER-7: with the groups of a login, and nothing of ours."""
    assert say(alice, "id -un; id -run; id -Gn") == [ALICE, ALICE, f"{ALICE} {ALICES_FILES}"]


def test_what_it_finds_around_it(alice: Stage) -> None:
    """USER-7, ACT-10: as for our own user: its own session, no descriptors, no signals blocked, empty input."""
    alice.run(*child("surroundings"))
    found = json.loads(alice.journal.output[-1])
    assert found["leads_session"]
    assert found["leads_group"]
    assert found["descriptors"] == [0, 1, 2]
    assert (found["blocked_signals"], found["standard_input"]) == (0, "")
    assert found["directory"] == str(alice.session.working_directory)


def test_its_streams_can_be_opened_again(alice: Stage) -> None:
    """DESIGN §4: the pipe is the user's own."""
    assert say(alice, "echo out >/dev/stdout; echo err >/dev/stderr") == ["out", "err"]


def test_environment_is_that_of_the_login(monkeypatch: pytest.MonkeyPatch, open_stage: OpenStage) -> None:
    """USER-9: nothing of ours is in it, whatever it is."""
    for name in ("OJD_OURS", "LD_LIBRARY_PATH", "PYTHONPATH", "LC_ALL", "DISPLAY", "TERM"):
        monkeypatch.setenv(name, "of-ours")
    stage = open_stage(ALICE)
    found = dict(line.split("=", 1) for line in say(stage, "env"))
    assert found["OJD_LOGIN"] == "of alice"
    assert (found["HOME"], found["USER"], found["LOGNAME"]) == (f"/home/{ALICE}", ALICE, ALICE)
    assert "of-ours" not in found.values()
    assert [name for name in found if name.startswith(("SUDO_", "OJD_OURS", "OPENJD_SESSIONS_TEST"))] == []
    assert found["PWD"] == found["OPENJD_SESSION_WORKING_DIR"] == str(stage.session.working_directory)


def test_variables_count_on_top_of_it(open_stage: OpenStage) -> None:
    """USER-9, ENV-18, ENV-19: those of the Session, of the call and of environments; also to unset one."""
    stage = open_stage(ALICE, os_env_vars={"A": "session", "B": "session", "MAIL": None})
    stage.enter(environment("E", variables={"C": "environment", "OJD_LOGIN": "changed"}))
    stage.run(*shell('echo "$A $B $C $OJD_LOGIN ${MAIL-unset}"'), os_env_vars={"B": "call"})
    assert stage.journal.output == ["session call environment changed unset"]


def test_login_is_what_there_is_to_inherit(open_stage: OpenStage) -> None:
    """API §7.1: ``inherit_env`` chooses of the login's variables."""
    assert say(open_stage(ALICE, inherit_env=False), 'echo "${HOME-none}"') == ["none"]
    chosen = open_stage(ALICE, inherit_env=["HO*", "PATH"])
    assert say(chosen, 'echo "$HOME ${USER-none}"') == [f"/home/{ALICE} none"]


def test_any_name_and_value_arrives(alice: Stage) -> None:
    """USER-10: they are data, and no shell sees them."""
    variables = {"a b": "1", "x;id": "$(id)\n`id`", "é": "ü\udcff", "-": "", "LD_PRELOAD": "", "PYTHONHOME": "/x"}
    alice.run("env", "-0", os_env_vars=variables)
    text = "\n".join(alice.journal.output)
    assert all(f"{name}={value}".replace("\udcff", "\\xff") in text for name, value in variables.items())


def test_nothing_of_an_action_is_on_a_command_line(alice: Stage) -> None:
    """USER-4, USER-14: neither variables nor our source, from the login on."""
    alice.start(*READY_AND_WAIT, os_env_vars={"SECRET": "topsecret"})
    alice.wait_for_line("ready")
    lines = [command_of(int(name)) for name in os.listdir("/proc") if name.isdigit()]
    launcher = command_of(parent_of(parent_of(pid_of(alice))))
    assert launcher in lines
    assert launcher.count(b"\0") == 6
    assert [line for line in lines if b"topsecret" in line or b"def main" in line] == []


def test_own_user_has_the_modes_but_no_login(root: Path) -> None:
    """USER-1: run directly."""
    user = PosixSessionUser(ME)
    assert user.is_process_user()
    stage = Stage(root, user=user)
    assert say(stage, "id -un; echo $HOME") == [ME, os.environ["HOME"]]
    stage.close()


def test_directories_and_files_are_shared_with_the_group(alice: Stage) -> None:
    """WD-7, WD-11, FILE-12: owner and group, nobody else; ours to write, the user's to run."""
    task = script(
        sh(
            "stat -c %a:%G . '{{Task.File.Tool}}' '{{Task.File.Data}}' '{{Session.PathMappingRulesFile}}'; "
            "'{{Task.File.Tool}}'; echo more >>'{{Task.File.Data}}'"
        ),
        [file("Tool", "#!/bin/sh\necho it runs", runnable=True), file("Data", "text")],
    )
    assert alice.run_task(task).state is ActionState.SUCCESS
    group = ALICES_FILES
    assert alice.journal.output == [*(f"{mode}:{group}" for mode in (770, 770, 660, 660)), "it runs"]
    folder = alice.session.working_directory
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(alice.session.files_directory.stat().st_mode) == 0o770


def test_other_users_see_nothing_of_it(alice: Stage, bob: Stage) -> None:
    """WD-7: neither directory nor files, though both belong to Sessions of one program."""
    alice.run(*shell("echo private >f"))
    folder = alice.session.working_directory
    bob.run(*shell(f"ls '{folder}' || cat '{folder}/f' || echo x >'{folder}/g' || echo refused"))
    assert bob.journal.output[-1] == "refused"
    assert all("Permission denied" in line for line in bob.journal.output[:-1])


def test_access_lists_of_the_root_let_nobody_in(root: Path, open_stage: OpenStage) -> None:
    """WD-7: a default list of the root that names another user."""
    need_account(ALICE)
    command = ["setfacl", "--default", "--modify", f"user:{BOB}:rwx", str(root)]
    if shutil.which("setfacl") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("needs the program setfacl, and a file system with access control lists")
    test_other_users_see_nothing_of_it(open_stage(ALICE), open_stage(BOB, session_id="bob's"))


def test_three_users_at_once(alice: Stage, bob: Stage, open_stage: OpenStage, root: Path) -> None:
    """Each Session has its own user, and two of one user have one launcher."""
    second, own = open_stage(ALICE, session_id="second"), Stage(root, session_id="own")
    stages = [alice, bob, second, own]
    for stage in stages:
        stage.start(*shell("id -un; echo ready; exec sleep 60"))
    for stage in stages:
        stage.wait_for_line("ready")
    assert [stage.journal.output[0] for stage in stages] == [ALICE, BOB, ALICE, ME]
    keepers = [parent_of(pid_of(stage)) for stage in stages]
    launchers = [parent_of(keeper) for keeper in keepers]
    assert len(set(keepers)) == 4
    assert launchers[0] == launchers[2]
    assert len(set(launchers)) == 3
    bob.session.cancel_action()
    assert bob.wait().state is ActionState.CANCELED
    assert [stage.state for stage in (alice, second, own)] == ["RUNNING"] * 3
    own.close()


def pid_of(stage: Stage) -> int:
    return int(stage.journal.after("Command started as pid: "))


def test_user_who_is_not_in_the_group(open_stage: OpenStage) -> None:
    """USER-6: the action fails, and says what is missing."""
    stage = open_stage(BOB, user=PosixSessionUser(BOB, group=ALICES_FILES))
    status = stage.run("true")
    assert status.fail_message == (
        "Program 'true' could not be started: its user may not enter the working directory. A Session's user must be "
        "a member of the group that its files are shared with, and be allowed to pass the root directory."
    )


def test_program_is_looked_up_as_the_user(alice: Stage) -> None:
    """ACT-9: in the PATH of the login."""
    status = alice.run("no-such-program")
    assert status.fail_message is not None
    assert status.fail_message.startswith("Program 'no-such-program' was not found in the PATH searched: /usr/")


def test_the_jobs_command_is_logged(alice: Stage) -> None:
    """USER-15: not what it takes to become the user."""
    alice.run("echo", "x y")
    lines = [line.text for line in alice.journal.lines if line.content and LogContent.PROCESS_CONTROL in line.content]
    assert lines[0] == "Running command echo 'x y'"
    assert not any("sudo" in line for line in alice.journal.texts)


def test_accounts_are_those_of_the_tests() -> None:
    """The users of these tests are not our own one."""
    assert user_of(ALICE).is_process_user() is False
    assert os.geteuid() not in account_uids()


def test_no_capability_is_left(alice: Stage) -> None:
    """USER-3: neither in effect nor to be had again, but for the bound that the system sets for all."""
    lines = say(alice, "grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status /proc/$PPID/status")
    assert len(lines) == 8
    assert all(int(line.rpartition("\t")[2], 16) == 0 for line in lines if "CapInh" not in line)


def test_programs_own_process_is_out_of_reach(alice: Stage) -> None:
    """USER-9: its memory, environment, descriptors, and signals to it."""
    me = os.getpid()
    reads = "; ".join(f"cat /proc/{me}/{name} >/dev/null && echo read" for name in ("environ", "mem", "maps"))
    alice.run(*shell(f"{reads}; ls /proc/{me}/fd && echo read; kill -0 {me} && echo signalled; echo done"))
    assert alice.journal.output[-1] == "done"
    assert not {"read", "signalled"} & set(alice.journal.output)


@pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel's keyrings")
def test_keys_of_the_program_are_out_of_reach(begin: Begin, root: Path) -> None:
    """USER-9: those of its session keyring, which processes inherit; the program keeps them."""
    need_account(ALICE)
    let_others_pass(root)
    status, output, complaints = begin(f"""
from support import keys
from support.accounts import user_of
from support.stage import Stage
try:
    key = keys.add_to_new_session_keyring(b"topsecret")
except OSError as error:
    say("no keyrings:", error)
    sys.exit()
stage = Stage(Path(os.environ["ROOT"]), user=user_of({ALICE!r}))
stage.run(sys.executable, "-I", "-S", keys.__file__, str(key))
say(*stage.journal.output)
stage.close()
say(keys.read(key))
""").finish()
    if output and output[0].startswith("no keyrings: "):
        pytest.skip(output[0])
    assert (status, complaints) == (0, "")
    assert output == ["not found, not readable, not listed", "b'topsecret'"]
