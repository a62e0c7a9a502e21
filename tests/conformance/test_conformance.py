"""The specification's published job cases, run through the command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).resolve().parents[3] / "shared" / "conformance"
FOLDERS = ("base", "REDACTED_ENV_VARS", "FEATURE_BUNDLE_1", "TASK_CHUNKING", "EXPR", "WRAP_ACTIONS")


def found() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((CASES / folder).glob("*.test.yaml"))]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a program called ``python``, which the cases need."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "python").symlink_to(sys.executable)
    return folder


@pytest.mark.skipif(not CASES.exists(), reason="the published cases are not there (../shared/conformance)")
@pytest.mark.parametrize("case", [pytest.param(path, id=f"{path.parent.name}-{path.name}") for path in found()])
def test_published_case(case: Path, programs: Path) -> None:
    if "node" in case.name and shutil.which("node") is None:
        pytest.skip("needs node")
    command = f"{sys.executable} -m openjd.sessions run"
    search = f"{programs}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, str(CASES / "run.py"), str(case.relative_to(CASES)), "--command", command, "-v"],
        capture_output=True,
        text=True,
        timeout=150,
        env={**os.environ, "PATH": search},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if done.stdout == "0 passed, 0 failed, 1 skipped\n":
        pytest.skip("for another system")
