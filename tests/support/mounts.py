"""File systems for tests, where they may be mounted (by root on Linux); elsewhere the test is skipped."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_file_system(place: Path, size: int = 256, files: int = 1000) -> Iterator[None]:
    """A file system in memory, of some kilobytes and for some files."""
    options = f"mode=755,size={size}k,nr_inodes={files}"
    _run("mount", "-t", "tmpfs", "-o", options, "none", str(place))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def make_read_only(place: Path) -> None:
    _run("mount", "-o", "remount,ro", str(place))


@contextmanager
def disk(place: Path, image: Path) -> Iterator[None]:
    """A file system of some megabytes in a file, which can fail (ext4)."""
    image.touch()
    os.truncate(image, 8 * 1024 * 1024)
    _run("mkfs.ext4", "-q", "-F", str(image))
    _run("mount", "-o", "loop", str(image), str(place))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fail(place: Path) -> None:
    """Have the kernel do what it does when a disk fails: nothing can be written any more, whoever has files open."""
    _run("sync", "--file-system", str(place))
    _run("mount", "-o", "remount,abort", str(place))


def mend(place: Path, image: Path) -> None:
    _run("umount", str(place))
    _run("mount", "-o", "loop", str(image), str(place))


def make_immutable(path: Path) -> None:
    """Have a file that not even root can delete."""
    _run("chattr", "+i", str(path))


def make_mutable(path: Path) -> None:
    _run("chattr", "-i", str(path))


@contextmanager
def silent_file_system(place: Path) -> Iterator[None]:
    """A file system that never answers, like one of a network whose server has gone, until the block ends."""
    try:
        server = os.open("/dev/fuse", os.O_RDWR)
    except OSError:
        pytest.skip("This system has no FUSE")
    try:
        options = f"fd={server},rootmode=40000,user_id=0,group_id=0,allow_other"
        if ctypes.CDLL(None).mount(b"silent", os.fsencode(place), b"fuse", 0, options.encode()):
            pytest.skip("may not mount a file system")
        try:
            yield
        finally:
            os.close(server)
            server = -1
            subprocess.run(["umount", "--lazy", place], check=True)
    finally:
        if server >= 0:
            os.close(server)


def _run(*command: str) -> None:
    if shutil.which(command[0]) is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip(f"may not {command[0]}")
