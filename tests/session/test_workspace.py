"""Directories and files of a Session: rules WD-1 to WD-13, LC-34, FILE-3, PM-15."""

from __future__ import annotations

import fcntl
import grp
import itertools
import json
import os
import resource
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, Optional

import pytest

from openjd.sessions._errors import ActionFailed, WorkspaceError
from openjd.sessions._platform import directories, removal
from openjd.sessions._runtime.sweeping import sweep
from openjd.sessions._runtime.workspace import Workspace
from support.moments import AtCall

IS_ROOT = os.geteuid() == 0
NOBODY = 65534
needs_root = pytest.mark.skipif(not IS_ROOT, reason="makes files of other users")

Make = Callable[..., Workspace]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes workspaces in a root of their own, and deletes what the test has left of them."""
    made: list[Workspace] = []

    def make_one(root: Optional[Path] = tmp_path, group: Optional[str] = None) -> Workspace:
        made.append(Workspace.create(root, group))
        return made[-1]

    yield make_one
    for workspace in made:
        assert workspace.delete() == []


@pytest.fixture
def shared_place() -> Iterator[Path]:
    """A directory that any user can reach; pytest's own cannot."""
    path = Path(tempfile.mkdtemp()).resolve()
    if IS_ROOT:
        os.chown(path, NOBODY, NOBODY)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def give_default_access(directory: Path, entries: str) -> None:
    """Have all that is made in a directory grant access to others than its owner."""
    if shutil.which("setfacl") is None:
        pytest.skip("needs the program setfacl")
    command = ["setfacl", "--default", "--modify", entries, str(directory)]
    if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("this file system has no access control lists")
    (directory / "other").mkdir()
    assert "system.posix_acl_default" in os.listxattr(directory / "other")
    (directory / "other").rmdir()


def as_ordinary_user(act: Callable[[], object]) -> object:
    """What a function gives that runs in a child process without root's powers."""

    def without_powers() -> object:
        if IS_ROOT:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        return act()

    return as_other_process(without_powers)


def as_other_process(act: Callable[[], object]) -> object:
    """What a function gives that runs in a child process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            result = act()
        except BaseException as error:
            result = f"{type(error).__name__}: {error}"
        os.write(writer, json.dumps(result).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answer:
        result = json.loads(answer.read())
    os.waitpid(child, 0)
    return result


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def marks_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob(".*"))


# The root


def test_directories_lie_in_the_given_root(make: Make, tmp_path: Path) -> None:
    """WD-1, WD-5, WD-6"""
    workspace = make()
    assert workspace.directory.parent == tmp_path.resolve()
    assert len(workspace.directory.name) == 8
    assert workspace.files_directory.parent == workspace.directory
    assert workspace.files_directory.name.startswith("embedded_files")
    assert len(workspace.files_directory.name) == len("embedded_files") + 8
    assert os.listdir(workspace.directory) == [workspace.files_directory.name]


def test_root_is_resolved(make: Make, tmp_path: Path) -> None:
    """WD-5"""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert make(tmp_path / "link").directory.parent == tmp_path.resolve() / "real"


def test_relative_root_is_taken_from_the_current_directory(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WD-1"""
    monkeypatch.chdir(tmp_path)
    assert make(Path(".")).directory.parent == tmp_path.resolve()


@pytest.mark.parametrize("name", ["missing", "file", "file/below"])
def test_given_root_must_be_an_existing_directory(tmp_path: Path, name: str) -> None:
    """WD-1"""
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError) as caught:
        Workspace.create(tmp_path / name, None)
    assert str(caught.value) == (
        f"The session_root_directory '{tmp_path}/{name}' must be an existing directory. "
        "Create it, or leave it out to use the default."
    )


def test_default_root_is_made_for_everybody_to_traverse(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WD-1, WD-2: whatever the umask, and with missing parents."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "new" / "tmp"))
    before = os.umask(0o077)
    try:
        workspace = make(None)
    finally:
        os.umask(before)
    assert workspace.directory.parent == tmp_path.resolve() / "new/tmp/OpenJD"
    assert mode_of(tmp_path / "new/tmp/OpenJD") == 0o755


def test_mode_of_an_existing_default_root_is_set_again(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WD-2, WD-3"""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "OpenJD").mkdir()
    (tmp_path / "OpenJD").chmod(0o777)
    assert make(None).warnings == ()
    assert mode_of(tmp_path / "OpenJD") == 0o755


@pytest.mark.parametrize("kind", ["link", "file"])
def test_default_root_must_be_a_real_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """WD-3"""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if kind == "link":
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "OpenJD").symlink_to("elsewhere")
    else:
        (tmp_path / "OpenJD").touch()
    with pytest.raises(WorkspaceError) as caught:
        Workspace.create(None, None)
    assert str(caught.value) == (
        f"The default root directory '{tmp_path.resolve()}/OpenJD' is a link, or no directory; it must be a directory "
        "that belongs to this user or to root. Remove it, or give a session_root_directory."
    )


@needs_root
def test_default_root_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """WD-3"""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "OpenJD").mkdir()
    os.chown(tmp_path / "OpenJD", NOBODY, NOBODY)
    with pytest.raises(WorkspaceError) as caught:
        Workspace.create(None, None)
    assert str(caught.value) == (
        f"The default root directory '{tmp_path.resolve()}/OpenJD' belongs to user id {NOBODY}; it must be a directory "
        "that belongs to this user or to root. Remove it, or give a session_root_directory."
    )


def test_world_writable_ancestors_without_sticky_bit_are_named(make: Make, tmp_path: Path) -> None:
    """WD-4"""
    unsafe, sticky, root = tmp_path / "unsafe", tmp_path / "unsafe/sticky", tmp_path / "unsafe/sticky/root"
    root.mkdir(parents=True)
    unsafe.chmod(0o777)
    sticky.chmod(0o1777)
    assert make(root).warnings == (
        f"Sticky bit is not set on {unsafe.resolve()}. This may pose a risk when running work on this host as users "
        "may modify or delete files in this directory which do not belong to them.",
    )
    assert make().warnings == ()


def test_directories_of_a_group_without_sticky_bit_are_named(make: Make, tmp_path: Path) -> None:
    """WD-4"""
    unsafe, sticky, root = tmp_path / "unsafe", tmp_path / "unsafe/sticky", tmp_path / "unsafe/sticky/root"
    root.mkdir(parents=True)
    unsafe.chmod(0o770)
    sticky.chmod(0o1770)
    assert make(root).warnings == (
        f"Sticky bit is not set on {unsafe.resolve()}. This may pose a risk when running work on this host as users "
        "may modify or delete files in this directory which do not belong to them.",
    )


@needs_root
def test_default_root_that_is_open_to_all_is_named(shared_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """WD-4: the administrator has made it, so its mode is not set."""
    monkeypatch.setattr(tempfile, "tempdir", str(shared_place))
    (shared_place / "OpenJD").mkdir()
    (shared_place / "OpenJD").chmod(0o777)
    assert as_ordinary_user(lambda: list(Workspace.create(None, None).warnings)) == [
        f"Sticky bit is not set on {shared_place}/OpenJD. This may pose a risk when running work on this host as users "
        "may modify or delete files in this directory which do not belong to them."
    ]


@needs_root
def test_directories_of_other_users_are_named(make: Make, tmp_path: Path) -> None:
    """WD-4"""
    root = tmp_path / "foreign" / "root"
    root.mkdir(parents=True)
    os.chown(root.parent, NOBODY, NOBODY)
    assert make(root).warnings == (
        f"User id {NOBODY} owns {root.parent.resolve()}. This may pose a risk when running work on this host as users "
        "may modify or delete files in this directory which do not belong to them.",
    )


# Modes, groups, owner marks


def test_modes_do_not_depend_on_the_umask(make: Make) -> None:
    """WD-7, WD-11"""
    before = os.umask(0o277)
    try:
        workspace = make()
        plain, program = (
            Path(workspace.files.write("plain", b"")),
            Path(workspace.files.write("program", b"", executable=True)),
        )
    finally:
        os.umask(before)
    assert [mode_of(path) for path in (workspace.directory, workspace.files_directory)] == [0o700, 0o700]
    assert [mode_of(path) for path in (plain, program)] == [0o600, 0o700]


@pytest.mark.parametrize("is_shared", [False, True])
def test_access_lists_of_the_root_are_not_inherited(make: Make, tmp_path: Path, is_shared: bool) -> None:
    """WD-7, WD-11: a default list would grant others what the group has, and the group less."""
    give_default_access(tmp_path, "user:1:rwx,group:1:rwx,group::r-x")
    workspace = make(group=grp.getgrgid(os.getegid()).gr_name if is_shared else None)
    plain = Path(workspace.files.write("plain", b""))
    rules = Path(workspace.write_rules("{}"))
    made = (workspace.directory, workspace.files_directory, plain, rules)
    assert [name for path in made for name in os.listxattr(path) if "acl" in name] == []
    assert [mode_of(path) for path in made] == (
        [0o770, 0o770, 0o660, 0o660] if is_shared else [0o700, 0o700, 0o600, 0o600]
    )


@needs_root
def test_group_gets_what_the_owner_has(make: Make) -> None:
    """WD-7, WD-11"""
    group = next(entry for entry in grp.getgrall() if entry.gr_gid not in (os.getegid(), 0))
    workspace = make(group=group.gr_name)
    paths = [
        workspace.directory,
        workspace.files_directory,
        Path(workspace.files.write("plain", b"")),
        Path(workspace.files.write("program", b"", executable=True)),
        Path(workspace.write_rules("{}")),
    ]
    assert [mode_of(path) for path in paths] == [0o770, 0o770, 0o660, 0o770, 0o660]
    assert {path.stat().st_gid for path in paths} == {group.gr_gid}


def test_unknown_group_is_refused(tmp_path: Path) -> None:
    """WD-7"""
    with pytest.raises(WorkspaceError) as caught:
        Workspace.create(tmp_path, "no-such-group")
    assert str(caught.value) == (
        "The session user's group 'no-such-group' does not exist on this host. Give the user an existing group."
    )
    assert list(tmp_path.iterdir()) == []


@needs_root
def test_directory_is_removed_if_its_group_cannot_be_set(shared_place: Path) -> None:
    """WD-7"""
    root = grp.getgrgid(0).gr_name
    assert as_ordinary_user(lambda: Workspace.create(shared_place, root).warnings) == (
        f"WorkspaceError: A directory that the group '{root}' may use cannot be made in '{shared_place}': Operation "
        "not permitted. This user must be allowed to make it, and to hand it to the group if there is one."
    )
    assert list(shared_place.iterdir()) == []


def test_root_that_cannot_be_written_to_is_refused(shared_place: Path) -> None:
    """LC-1"""
    shared_place.chmod(0o555)
    assert as_ordinary_user(lambda: Workspace.create(shared_place, None).warnings) == (
        f"WorkspaceError: A directory cannot be made in '{shared_place}': Permission denied. This user must be allowed "
        "to make it, and to hand it to the group if there is one."
    )
    assert list(shared_place.iterdir()) == []


def test_owner_mark_is_locked_while_the_directory_is_used(make: Make, tmp_path: Path) -> None:
    workspace = make()
    mark = tmp_path / f".{workspace.directory.name}.owner"
    with mark.open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    workspace.delete()
    assert list(tmp_path.iterdir()) == []


def test_retained_directory_loses_its_owner_mark_only(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path, None)
    Path(workspace.files.write("kept", b"content"))
    workspace.release()
    assert marks_in(tmp_path) == []
    assert (workspace.files_directory / "kept").read_bytes() == b"content"


def test_closing_touches_no_file(tmp_path: Path) -> None:
    """LC-36: what a forked child does."""
    workspace = Workspace.create(tmp_path, None)
    workspace.close()
    assert workspace.files_directory.is_dir()
    assert marks_in(tmp_path) == [f".{workspace.directory.name}.owner"]


def test_name_of_another_owner_is_not_taken(tmp_path: Path) -> None:
    """A mark that exists belongs to somebody else, even before its directory is made."""
    with directories.open_root(tmp_path) as root:
        mark = directories.OwnerMark.make(root, "abcdef01")
        with pytest.raises(FileExistsError):
            directories.OwnerMark.make(root, "abcdef01")
        mark.remove()


# Sweeping


def test_only_abandoned_directories_are_swept(make: Make, tmp_path: Path) -> None:
    """API 16a: what is in use, was retained, or never was ours stays."""
    living = make()
    abandoned, retained = Workspace.create(tmp_path, None), Workspace.create(tmp_path, None)
    abandoned.files.write("file", b"data")
    abandoned.close()  # as the system does when a program ends
    retained.release()
    (tmp_path / "something else").mkdir()
    (tmp_path / ".abcdef01.owner").touch(0o600)
    (tmp_path / ".owner").touch()
    assert sweep(tmp_path) == [abandoned.directory]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [living.directory.name, f".{living.directory.name}.owner", retained.directory.name, "something else", ".owner"]
    )
    assert sweep(tmp_path) == []


def test_directory_of_a_forked_owner_is_in_use_until_the_owner_ends(make: Make, tmp_path: Path) -> None:
    """LC-36: another process sees that the program lives."""
    workspace = make()
    assert as_other_process(lambda: [str(path) for path in sweep(tmp_path)]) == []
    assert workspace.files_directory.is_dir()


@needs_root
def test_marks_of_other_users_are_not_believed(tmp_path: Path) -> None:
    """Otherwise a mark would be enough to have somebody else's directory deleted."""
    (tmp_path / "abcdef01").mkdir()
    (tmp_path / ".abcdef01.owner").touch(0o600)
    os.chown(tmp_path / ".abcdef01.owner", NOBODY, NOBODY)
    assert sweep(tmp_path) == []
    assert (tmp_path / "abcdef01").is_dir()


def _linked(mark: Path) -> None:
    (mark.parent / "target").touch(0o600)
    mark.symlink_to("target")


def _linked_twice(mark: Path) -> None:
    mark.touch(0o600)
    os.link(mark, mark.with_name("second name"))


@pytest.mark.parametrize(
    "forge",
    [
        _linked,
        _linked_twice,
        lambda mark: mark.touch(0o640),
        lambda mark: mark.touch(0o400),
        lambda mark: mark.mkdir(0o600),
        lambda mark: os.mkfifo(mark, 0o600),
    ],
    ids=["link", "second name", "group's", "read only", "directory", "pipe"],
)
def test_files_that_are_no_marks_of_ours_are_not_believed(tmp_path: Path, forge: Callable[[Path], object]) -> None:
    """A job may move a file of ours, or a link, to the name of a mark."""
    (tmp_path / "abcdef01").mkdir()
    forge(tmp_path / ".abcdef01.owner")
    assert sweep(tmp_path) == []
    assert (tmp_path / "abcdef01").is_dir()


@pytest.mark.parametrize("name", ["", ".", "..", "victim", "abcdef012", "ABCDEF01", "abcdef01\n"])
def test_names_that_are_not_ours_are_not_swept(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    (root / "victim").mkdir(parents=True)
    (root / name).mkdir(exist_ok=True)
    (root / f".{name}.owner").touch(0o600)
    before = sorted(tmp_path.rglob("*"))
    assert sweep(root) == []
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o1770, 0o702])
def test_root_that_others_may_write_to_is_not_swept(tmp_path: Path, mode: int) -> None:
    """Whoever may put a mark there could name what is deleted."""
    abandoned = Workspace.create(tmp_path, None)
    abandoned.close()
    tmp_path.chmod(mode)
    with pytest.raises(WorkspaceError) as caught:
        sweep(tmp_path)
    assert str(caught.value) == (
        f"The root directory '{tmp_path.resolve()}' is not swept: others than this user and root may write to it, and "
        "what they put there is not trusted. Delete by hand what has been left there, or give a root of this user "
        "alone."
    )
    tmp_path.chmod(0o755)
    assert sweep(tmp_path) == [abandoned.directory]


@needs_root
def test_root_of_another_user_is_not_swept(shared_place: Path) -> None:
    abandoned = Workspace.create(shared_place, None)
    abandoned.close()
    with pytest.raises(WorkspaceError, match="others than this user and root may write to it"):
        sweep(shared_place)
    assert abandoned.files_directory.is_dir()


def test_mark_made_under_a_strange_umask_is_believed(tmp_path: Path) -> None:
    before = os.umask(0o277)
    try:
        abandoned = Workspace.create(tmp_path, None)
    finally:
        os.umask(before)
    abandoned.close()
    assert sweep(tmp_path) == [abandoned.directory]


@needs_root
def test_what_cannot_be_swept_stays_for_the_next_time(shared_place: Path) -> None:
    def leave_behind() -> str:
        workspace = Workspace.create(shared_place, None)
        workspace.close()
        return str(workspace.directory)

    directory = Path(str(as_ordinary_user(leave_behind)))
    (directory / "foreign").mkdir()
    (directory / "foreign" / "file").touch()
    assert as_ordinary_user(lambda: [str(path) for path in sweep(shared_place)]) == []
    shutil.rmtree(directory / "foreign")
    assert as_ordinary_user(lambda: [str(path) for path in sweep(shared_place)]) == [str(directory)]


# Files


def test_file_is_written_completely_and_replaced(make: Make) -> None:
    """WD-11, WD-13"""
    workspace = make()
    large = bytes(range(256)) * 40_000
    assert Path(workspace.files.write("a file", large)).read_bytes() == large
    assert Path(workspace.files.write("a file", b"small", executable=True)) == workspace.files_directory / "a file"
    assert (workspace.files_directory / "a file").read_bytes() == b"small"
    assert mode_of(workspace.files_directory / "a file") == 0o700
    assert Path(workspace.files.write("a file", b"")).read_bytes() == b""
    assert os.listdir(workspace.files_directory) == ["a file"]


def test_an_open_file_keeps_its_old_content_when_replaced(make: Make) -> None:
    """WD-11: nobody sees half a file."""
    workspace = make()
    with Path(workspace.files.write("f", b"old")).open("rb") as reader:
        Path(workspace.files.write("f", b"new"))
        assert reader.read() == b"old"


@pytest.mark.parametrize("is_new", [False, True])
def test_short_write_is_continued_and_its_failure_leaves_what_was_there(make: Make, is_new: bool) -> None:
    """WD-13: the system takes the first 5,000 bytes, and refuses the rest when it is offered."""
    workspace = make()
    Path(workspace.files.write("f", b"old"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(ActionFailed) as caught:
            workspace.files.write("new" if is_new else "f", b"x" * 10_000, is_new=is_new)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value).endswith(f"' cannot be written in '{workspace.files_directory}': File too large.")
    assert (workspace.files_directory / "f").read_bytes() == b"old"
    assert os.listdir(workspace.files_directory) == ["f"]


@pytest.mark.parametrize(
    ("put", "kind"),
    [
        (lambda path: path.symlink_to("elsewhere"), "A link"),
        (lambda path: path.symlink_to("/dev/null"), "A link"),
        (lambda path: path.mkdir(), "A directory"),
        (lambda path: os.mkfifo(path), "A pipe or device"),
    ],
)
def test_only_regular_files_are_replaced(make: Make, put: Callable[[Path], None], kind: str) -> None:
    """WD-11, FILE-9"""
    workspace = make()
    put(workspace.files_directory / "f")
    with pytest.raises(ActionFailed) as caught:
        Path(workspace.files.write("f", b"data"))
    assert str(caught.value) == (
        f"'f' cannot be written in '{workspace.files_directory}': "
        f"{kind} is in its place, and only a regular file is ever replaced."
    )
    assert os.listdir(workspace.files_directory) == ["f"]


def test_files_directory_is_not_reached_through_a_link(make: Make, tmp_path: Path) -> None:
    """FILE-5: a job puts a link in the place of the files directory."""
    workspace = make()
    (tmp_path / "elsewhere").mkdir()
    workspace.files_directory.rename(workspace.directory / "moved")
    workspace.files_directory.symlink_to(tmp_path / "elsewhere")
    Path(workspace.files.write("f", b"data"))
    assert (workspace.directory / "moved" / "f").read_bytes() == b"data"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_new_file_can_not_be_read_before_it_is_complete(make: Make) -> None:
    """FILE-3, WD-11: it is looked at whenever anything is called while it is made."""
    files, data = make().files, b"x" * 10_000
    states = []

    def is_looked_at(number: int) -> bool:
        path = Path(files.path_of(str(number)))
        look = AtCall(number, lambda: states.append((mode_of(path), path.stat().st_size) if path.exists() else None))
        with look:
            files.write(path.name, data, is_new=True)
        assert path.read_bytes() == data
        files.remove(path.name)
        return look.has_come

    assert len(list(itertools.takewhile(is_looked_at, itertools.count(1)))) > 5
    assert set(states) == {None, (0o200, 0), (0o200, len(data)), (0o600, len(data))}


def test_new_file_takes_nobodys_place(make: Make) -> None:
    """FILE-3: it is made exclusively."""
    files = make().files
    there = Path(files.write("f", b"there"))
    with pytest.raises(ActionFailed, match="File exists"):
        files.write("f", b"data", is_new=True)
    assert there.read_bytes() == b"there"
    files.remove("f")
    files.remove("f")
    assert os.listdir(files.path) == []


# The path mapping file


def test_rules_are_written_once_and_again_when_they_change(make: Make) -> None:
    """PM-15"""
    workspace = make()
    path = Path(workspace.write_rules("{}"))
    first = path.stat()
    assert (path.parent, path.suffix, path.read_text()) == (workspace.directory, ".json", "{}")
    assert mode_of(path) == 0o600

    assert Path(workspace.write_rules("{}")) == path
    assert path.stat().st_ino == first.st_ino

    assert Path(workspace.write_rules('{"a": 1}')) == path
    assert path.read_text() == '{"a": 1}'

    path.unlink()
    assert Path(workspace.write_rules('{"a": 1}')).read_text() == '{"a": 1}'


def test_rules_file_that_cannot_be_written_fails_the_action(make: Make, tmp_path: Path) -> None:
    """PM-19"""
    workspace = make()
    workspace.directory.rename(tmp_path / "moved")
    with pytest.raises(ActionFailed) as caught:
        workspace.write_rules("{}")
    (tmp_path / "moved").rename(workspace.directory)
    assert str(caught.value) == (
        f"The path mapping file cannot be written in '{workspace.directory}': No such file or directory."
    )


# Deletion


def test_everything_is_deleted_and_links_are_not_followed(tmp_path: Path) -> None:
    """LC-34, USER-16"""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    workspace = Workspace.create(tmp_path, None)
    inside = workspace.directory
    (inside / "link to a directory").symlink_to(tmp_path / "outside")
    (inside / "link to a file").symlink_to(tmp_path / "outside" / "kept")
    (inside / "dangling").symlink_to("nowhere")
    os.mkfifo(inside / "fifo")
    os.mkdir(os.fsencode(inside) + b"/\xff\xfe")
    with open(os.fsencode(inside) + b"/\xff\xfe/\x80\n", "wb"):
        pass
    Path(workspace.files.write("file", b""))
    assert workspace.delete() == []
    assert os.listdir(tmp_path) == ["outside"]
    assert os.listdir(tmp_path / "outside") == ["kept"]


def test_deleting_again_does_nothing(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path, None)
    assert (workspace.delete(), workspace.delete()) == ([], [])
    workspace.release()


def test_directory_that_has_gone_is_deleted(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path, None)
    shutil.rmtree(workspace.directory)
    assert workspace.delete() == []
    assert list(tmp_path.iterdir()) == []


def test_link_in_the_place_of_the_directory_is_removed_itself(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    workspace = Workspace.create(tmp_path, None)
    shutil.rmtree(workspace.directory)
    workspace.directory.symlink_to(tmp_path / "outside")
    assert workspace.delete() == []
    assert os.listdir(tmp_path) == ["outside"]
    assert os.listdir(tmp_path / "outside") == ["kept"]


@pytest.mark.parametrize("depth", [200, 3000])
def test_depth_does_not_matter(tmp_path: Path, depth: int) -> None:
    """Neither paths longer than the system takes, nor more levels than descriptors."""
    workspace = Workspace.create(tmp_path, None)
    current = os.open(workspace.directory, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("a", dir_fd=current)
        os.close(os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=current))
        below = os.open("a", os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = below
    os.close(current)
    assert workspace.delete() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o000, 0o100, 0o400, 0o500])
def test_own_directories_without_permissions_are_deleted(shared_place: Path, mode: int) -> None:
    def act() -> object:
        workspace = Workspace.create(shared_place, None)
        inner = workspace.directory / "outer" / "inner"
        inner.mkdir(parents=True)
        (inner / "file").touch()
        for path in (inner, inner.parent, workspace.files_directory, workspace.directory):
            path.chmod(mode)
        return workspace.delete()

    assert as_ordinary_user(act) == []
    assert list(shared_place.iterdir()) == []


@needs_root
def test_what_cannot_be_deleted_is_named_with_its_reason(shared_place: Path) -> None:
    """LC-34: each item itself, not the directories that only contain it; the owner mark stays, unlocked."""
    workspace = Workspace.create(shared_place, None)
    for path in (workspace.directory, workspace.files_directory):
        os.chown(path, NOBODY, NOBODY)
    foreign = workspace.directory / "outer" / "foreign"
    foreign.mkdir(parents=True)
    (foreign / "file").touch()
    (foreign / "other file").touch()
    closed = workspace.directory / "outer" / "closed"
    closed.mkdir(mode=0o700)
    (closed / "file").touch()
    os.chown(foreign.parent, NOBODY, NOBODY)
    (workspace.directory / "own").touch()

    rest = as_ordinary_user(lambda: sorted((str(path), reason) for path, reason in workspace.delete()))
    assert rest == [
        [str(closed), "Operation not permitted"],
        [str(foreign / "file"), "Permission denied"],
        [str(foreign / "other file"), "Permission denied"],
    ]
    assert sorted(os.listdir(workspace.directory)) == ["outer"]
    assert marks_in(shared_place) == [f".{workspace.directory.name}.owner"]
    workspace.delete()


@pytest.mark.parametrize("times", [1, 9, 1000])
def test_files_that_appear_meanwhile(tmp_path: Path, times: int) -> None:
    """They are deleted too, unless they keep appearing for ever: each time the directory was believed to be empty."""
    (tmp_path / "tree" / "level").mkdir(parents=True)
    (tmp_path / "tree" / "level" / "file").touch()
    attempt = removal._Removal(str(tmp_path))
    attempt._go_down("tree")
    appeared = 0
    while len(attempt._levels) > 1:
        if appeared < times:
            (tmp_path / "tree" / f"file {appeared}").touch()
            (tmp_path / "tree" / f"directory {appeared}").mkdir()
            appeared += 1
        level = attempt._levels[-1]
        for name in level.directories:
            attempt._remove(name)
        level.directories.clear()
        if attempt._levels[-1] is level:
            attempt._go_up(level)
    attempt.close()
    assert attempt.rest == ([] if times < 10 else [(str(tmp_path / "tree"), "Directory not empty")])
    assert (tmp_path / "tree").exists() == (times >= 10)


def test_directory_that_moves_out_of_reach_is_not_followed(tmp_path: Path) -> None:
    """The way up leads to another directory than the way down came from: nothing there may be touched."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "level").mkdir()
    (outside / "level" / "kept").touch()
    (tmp_path / "tree" / "level").mkdir(parents=True)
    (tmp_path / "tree" / "level" / "file").touch()
    attempt = removal._Removal(str(tmp_path))
    attempt._go_down("tree")
    attempt._go_down("level")
    (tmp_path / "tree" / "level").rename(outside / "moved")
    with pytest.raises(OSError, match="It was moved while it was being removed"):
        attempt._go_up(attempt._levels[-1])
    attempt.close()
    assert sorted(os.listdir(outside)) == ["level", "moved"]
    assert os.listdir(outside / "level") == ["kept"]
    assert removal.remove_tree(str(tmp_path), "tree") == []


def test_removal_for_the_host_does_not_follow_a_link(tmp_path: Path) -> None:
    """USER-16: nor does it touch a directory that has been put in the place of the host's."""
    kept = tmp_path / "outside" / "kept"
    kept.mkdir(parents=True)
    (tmp_path / "link").symlink_to("outside")
    with pytest.raises(NotADirectoryError):
        removal.main(str(tmp_path / "link"), str(os.geteuid()))
    with pytest.raises(PermissionError, match="It belongs to another user"):
        removal.main(str(tmp_path / "outside"), str(os.geteuid() + 1))
    assert kept.is_dir()
    removal.main(str(tmp_path / "outside"), str(os.geteuid()))
    assert os.listdir(tmp_path / "outside") == []


def test_tree_is_not_removed_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside" / "kept").mkdir(parents=True)
    (tmp_path / "link").symlink_to("outside")
    assert removal.remove_tree(str(tmp_path / "link"), "kept") == [(str(tmp_path / "link/kept"), "Not a directory")]
    assert (tmp_path / "outside" / "kept").is_dir()
