"""Every example runs, and the README shows what the examples are."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
TEMPLATE = EXAMPLES / "image-sequence" / "template.yaml"


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
    assert [path.relative_to(EXAMPLES) for path in EXAMPLES.rglob("*.yaml")] == [TEMPLATE.relative_to(EXAMPLES)]


def test_image_sequence(tmp_path: Path) -> None:
    printed = run(tmp_path, "-m", "openjd.sessions", "run", str(TEMPLATE), "-p", "OutputDir=frames")
    check_frames(tmp_path / "frames")
    assert any(line.endswith("openjd_progress: 100") for line in printed)


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
