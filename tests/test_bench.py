"""The benchmarks run: a quick one, without the published library, gives its rows of the table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bench.ways import CALLER, DELIVERY, KEEPER, LOOP, Waking, Way, passages

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ["what", "unit", "bare", "this library", "published", "× bare", "× published", "goal", "reached"]
MISSING = "–"


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.skipif(sys.platform != "linux", reason="The benchmarks read /proc")
def test_quick_run_writes_the_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    options = ["--quick", "--without-published", "--only", "setup", "--directory", str(tmp_path), "--output", str(page)]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *options], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "setup ...\n")
    text = page.read_text("utf-8")
    head, _, *rows = [cells(line) for line in text.splitlines() if line.startswith("|")]
    assert head == COLUMNS
    assert [row[:2] for row in rows] == [
        ["a Session made and cleaned up, without an action", "ms"],
        ["… own processor time", "ms"],
    ]
    for row in rows:
        bare, ours, published, of_bare, of_published = row[2:7]
        assert min(map(float, (bare, ours, of_bare))) > 0
        assert (published, of_published) == (MISSING, MISSING)
    assert str(tmp_path) not in text


def test_names_are_shown() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--list", "--only", "tree"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["tree-group", "tree-setsid", "tree-double", "tree-sessions"]


def test_a_way_is_gone_from_its_start_to_its_end() -> None:
    """What does not belong to it is passed over; one that begins anew before it has ended does not count."""
    way = Way("", lambda: None, (DELIVERY, CALLER), {"asks": (CALLER, KEEPER), "tells": (DELIVERY, CALLER)})
    wakings = [(DELIVERY, CALLER), (CALLER, KEEPER), (LOOP, CALLER), (DELIVERY, CALLER), (CALLER, KEEPER)]
    assert list(passages((Waking(moment, *wakes) for moment, wakes in enumerate(wakings)), way)) == [[0, 1, 3]]
    anew = Way("", lambda: None, (CALLER, LOOP), {"decides": (LOOP, KEEPER), "says so": (KEEPER, LOOP)})
    wakings = [(CALLER, LOOP), (LOOP, KEEPER), (CALLER, LOOP), (KEEPER, LOOP), (LOOP, KEEPER), (KEEPER, LOOP)]
    assert list(passages((Waking(moment, *wakes) for moment, wakes in enumerate(wakings)), anew)) == [[2, 4, 5]]
