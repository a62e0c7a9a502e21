"""Every example runs, and the README shows what the examples are."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
TEMPLATE = EXAMPLES / "image-sequence" / "template.yaml"
LIMITS = EXAMPLES / "resource-limits" / "limits.yaml"
ZOOM = EXAMPLES / "mandelbrot-zoom" / "template.yaml"


def run(folder: Path, *command: str) -> list[str]:
    """The lines that a Python program prints, run in a folder; it must succeed and complain of nothing."""
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=folder, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG file that holds as many pixels as it says."""
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    start = data.index(b"IDAT")
    (size,) = struct.unpack(">I", data[start - 4 : start])
    assert len(zlib.decompress(data[start + 4 : start + 4 + size])) == height * (1 + 3 * width)
    return width, height


def check_frames(folder: Path) -> None:
    names = [f"frame_{number:04d}.png" for number in range(1, 13)] + ["preview.png"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert {picture_size(folder / name) for name in names} == {(160, 120)}


def test_every_example_is_run_here() -> None:
    embedding = {path.stem for path in (EXAMPLES / "embedding").glob("*.py")}
    assert embedding == {"minimal", "progress", "asyncio_worker"}
    assert set(EXAMPLES.rglob("*.yaml")) == {TEMPLATE, LIMITS, ZOOM}


def test_image_sequence(tmp_path: Path) -> None:
    printed = run(tmp_path, "-m", "openjd.sessions", "run", str(TEMPLATE), "-p", "OutputDir=frames")
    check_frames(tmp_path / "frames")
    assert any(line.endswith("openjd_progress: 100") for line in printed)


def test_resource_limits(tmp_path: Path) -> None:
    """Around a job that knows nothing of them, every action of which then says that it is limited."""
    printed = run(
        tmp_path,
        *("-m", "openjd.sessions", "run", str(TEMPLATE), "--env", str(LIMITS)),
        *("-p", "OutputDir=frames", "-p", "MemoryMB=1500", "-p", "CpuSeconds=77"),
    )
    check_frames(tmp_path / "frames")
    assert any("under-limits.sh python3" in line for line in printed)


@pytest.mark.skipif(sys.platform != "linux", reason="neither prlimit nor ulimit -v")
@pytest.mark.parametrize("search", [os.environ["PATH"], "without prlimit"])
def test_resource_limits_are_in_force(tmp_path: Path, search: str) -> None:
    """With prlimit, and with the shell's own limits; a task that needs more fails, with its own exit code."""
    if search == "without prlimit":
        search = str(tmp_path)
        (tmp_path / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    show = (
        "import resource as r; print('LIMITS', r.getrlimit(r.RLIMIT_AS), r.getrlimit(r.RLIMIT_CPU)); bytearray(10**9)"
    )
    job = {
        "specificationVersion": "jobtemplate-2023-09",
        "name": "Greedy",
        "steps": [
            {"name": "S", "script": {"actions": {"onRun": {"command": sys.executable, "args": ["-S", "-c", show]}}}}
        ],
    }
    (tmp_path / "job.json").write_text(json.dumps(job), "utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "openjd.sessions", "run", str(tmp_path / "job.json"), "--env", str(LIMITS)),
            *("-p", "MemoryMB=500", "-p", "CpuSeconds=77"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PATH": search},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"LIMITS ({500 * 2**20}, {500 * 2**20}) (77, 77)" in done.stdout
    assert "MemoryError" in done.stdout
    assert "exit code 1" in done.stderr + done.stdout


def run_zoom(folder: Path, *parameters: str) -> list[str]:
    """The lines that the example prints, without their times; its pictures are in ``16x12``."""
    given = [argument for each in ("OutputDir=.", "Size=[16, 12]", *parameters) for argument in ("-p", each)]
    printed = run(folder, "-m", "openjd.sessions", "run", str(ZOOM), *given)
    assert {picture_size(path) for path in (folder / "16x12").iterdir()} == {(16, 12)}
    return [line.partition("\t")[2] or line for line in printed]


def test_mandelbrot_zoom_in_chunks_of_two(tmp_path: Path) -> None:
    parameters = ["Frames=1-5:2,8-11", "SecondsPerChunk=0", "Inverted=yes", 'Colours=["black", "orange"]']
    printed = run_zoom(tmp_path, *parameters)
    chunks = [line for line in printed if line.startswith(("Frame(CHUNK[INT]) = ", "Rendering "))]
    assert chunks == [
        line
        for chunk, frames in (("1,3", 2), ("5,8", 2), ("9,10", 2), ("11", 1))
        for line in (f"Frame(CHUNK[INT]) = {chunk}", f"Rendering {frames} of 7 frames")
    ]
    numbers = (1, 3, 5, 8, 9, 10, 11)
    assert sorted(path.name for path in (tmp_path / "16x12").iterdir()) == [f"zoom_{n:04d}.png" for n in numbers]


def test_mandelbrot_zoom_in_chunks_that_aim_for_a_run_time(tmp_path: Path) -> None:
    printed = run_zoom(tmp_path)
    assert len(list((tmp_path / "16x12").iterdir())) == 16
    assert "Rendering 2 of 16 frames" in printed
    assert "Tasks run: 16" in printed


def test_embedding_minimal(tmp_path: Path) -> None:
    printed = run(tmp_path, str(EXAMPLES / "embedding" / "minimal.py"))
    assert [line for line in printed if line.startswith("Hello")] == [f"Hello from frame {n}" for n in (1, 2, 3)]


def test_embedding_progress(tmp_path: Path) -> None:
    printed = run(tmp_path, str(EXAMPLES / "embedding" / "progress.py"), str(TEMPLATE), "OutputDir=frames")
    check_frames(tmp_path / "frames")
    assert f"  Bouncing ball RUNNING  |{'#' * 20}| Rendering frame 7" in printed
    assert f"  Bouncing ball SUCCESS  |{'#' * 20}| Rendering frame 12" in printed


def test_embedding_asyncio(tmp_path: Path) -> None:
    printed = run(tmp_path, str(EXAMPLES / "embedding" / "asyncio_worker.py"))
    assert sorted(line.partition(": ")[2] for line in printed) == [
        f"SUCCESS, This tool renders {number}" for number in range(1, 10)
    ]


def test_readme_shows_the_minimal_example() -> None:
    """Without its docstring."""
    example = (EXAMPLES / "embedding" / "minimal.py").read_text("utf-8").split('"""\n\n', 1)[1]
    samples = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), flags=re.DOTALL)
    assert samples == [example]
