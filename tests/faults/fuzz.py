"""Fuzz one target, led by coverage (needs atheris): ``python tests/faults/fuzz.py output -max_total_time=60``.

It begins with what the corpus has of the target; what breaks a promise is added there, and is a test from then on. The
targets are those of ``support/fuzzing.py``. Further arguments are libFuzzer's; without any it goes on until it finds
something. ``-kept=FOLDER`` keeps all that has led somewhere new.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
with atheris.instrument_imports(include=["openjd.sessions"]):
    from support.fuzzing import CORPUS, TARGETS


def main(target: str, *arguments: str) -> None:
    kept = next((each.partition("=")[2] for each in arguments if each.startswith("-kept=")), None)
    folder = Path(kept or tempfile.mkdtemp(prefix="openjd-fuzz-"))
    folder.mkdir(exist_ok=True)
    for file in CORPUS.glob(f"{target}-*"):
        shutil.copy(file, folder)
    options = [each for each in arguments if not each.startswith("-kept=")]
    atheris.Setup(
        [sys.argv[0], f"-artifact_prefix={CORPUS}/{target}-", "-timeout=10", "-max_len=4096", *options, str(folder)],
        TARGETS[target],
    )
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == [] or sys.argv[1] not in TARGETS:
        sys.exit(f"Which of {', '.join(TARGETS)}?")
    main(*sys.argv[1:])
