"""What an action costs that has a hundred embedded files of 10 kB."""

from __future__ import annotations

import os
import tempfile
import time

from bench import bare
from bench.metric import PUBLISHED, Goal, Metric, Row, Values
from bench.sessions import Driven, listen, own_directory, script
from bench.timing import repeated

FILES = 100
TEXT = "x" * 99 + "\n"
DATA = TEXT * 100


def with_files(quick: bool) -> Values:
    listen()
    task = script("true", files=[(f"File{number}", DATA) for number in range(FILES)])
    driven = Driven()
    driven.run(task)
    written = sum(path.stat().st_size for path in driven.session.files_directory.iterdir())
    if written < FILES * len(DATA):
        raise RuntimeError(f"Only {written} bytes are written.")
    return repeated(lambda: driven.run(task), 5 if quick else 50)


def bare_files(quick: bool) -> Values:
    command, variables = bare.resolve(["true"]), bare.variables()
    directory, data = tempfile.mkdtemp(dir=own_directory()), DATA.encode()
    names = [os.path.join(directory, f"file{number}") for number in range(FILES)]

    def run() -> float:
        begin = time.perf_counter()
        for name in names:
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.write(file, data)
            os.close(file)
        bare.run(command, variables)
        return time.perf_counter() - begin

    return repeated(run, 5 if quick else 50)


METRICS = (
    Metric(
        "files",
        rows=(
            Row("time", f"`true` with {FILES} embedded files of 10 kB", "ms", Goal(0.3, PUBLISHED)),
            Row("processor", "… own processor time", "ms"),
        ),
        library=with_files,
        bare=bare_files,
    ),
)
