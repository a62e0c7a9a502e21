"""Output without measure (DIR-1 to DIR-8, DESIGN §11): memory stays bounded, nothing is lost, nobody else waits.

Once it is 10 GB, once a line of 1 GB, once a million lines of random bytes, and a hundred actions at once. The other
amounts are smaller: memory would grow with them if it grew at all. ``OPENJD_SESSIONS_FLOODS=100`` in the environment
multiplies them, which takes some minutes.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Optional

import pytest

from openjd.sessions import ActionState
from support import child
from support.bench import parent_of, state_of
from support.programs import Begin
from support.stage import PATIENCE, READY_AND_WAIT, OpenStage, seconds_to_cancel, wait_until

MOST_GROWTH = 96 * 1024
"""Kilobytes that a program may grow by, whatever its actions print."""

MEASURE = """
import time

def memory(key, pid="self"):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(key)))

class Reader(logging.Handler):
    # counts lines of output and their characters, looks whether numbers keep their order, and stalls if it is to
    def __init__(self, stalls=False):
        super().__init__()
        self.lines = self.characters = self.disorder = 0
        self.last = {}
        self.stalls = stalls
    def handle(self, record):
        if getattr(record, "openjd_log_content", None) != LogContent.COMMAND_OUTPUT:
            return
        text = record.msg
        if text == "Output:":
            return
        self.lines += 1
        self.characters += len(text)
        if self.stalls and self.lines in (1, 1000, 30000):
            threading.Event().wait(0.4)
        if text[:2] == "# " and text.split()[1].isdigit():
            number = int(text.split()[1])
            self.disorder += number != self.last.get(record.session_id, 0) + 1
            self.last[record.session_id] = number

from openjd.sessions import LogContent
def flood(command, stalls=False):
    with new_session() as session:
        run(session, "true")
        reader = Reader(stalls)
        LOG.addHandler(reader)
        Path("/proc/self/clear_refs").write_text("5")
        before = memory("VmRSS")
        start(session, "sh", "-c", command)
        status = session.wait()
        LOG.removeHandler(reader)
        assert status.exit_code == 0, status
        say(memory("VmHWM") - before, reader.lines, reader.characters, reader.disorder)
"""

TIMES = int(os.environ.get("OPENJD_SESSIONS_FLOODS", "1"))
MEGABYTES = 100 * TIMES
LINES = 100_000 * TIMES
FLOODS = {
    "one line": (f"head -c {MEGABYTES}M /dev/zero | tr '\\0' x", None, MEGABYTES * 2**20),
    "NULs": (f"head -c {MEGABYTES}M /dev/zero", None, MEGABYTES * 2**20),
    "progress bars": (f"yes 'xxxxxxx' | head -c {2 * TIMES}M | tr '\\n' '\\r'", 2**18 * TIMES, None),
    "numbered lines": (f"seq -f '# %.0f of a line of ordinary length, as programs print them' {LINES}", LINES, None),
    "random bytes": (f"head -c {2 * TIMES}M /dev/urandom", None, None),
    "empty lines": (f"yes '' | head -c {256 * TIMES}K", 2**18 * TIMES, 0),
}


@pytest.mark.parametrize("stalls", [False, True], ids=["quick", "stalling"])
@pytest.mark.parametrize("kind", FLOODS)
def test_memory_and_completeness(begin: Begin, kind: str, stalls: bool) -> None:
    """DIR-1, DIR-4, DESIGN §11: with a handler that keeps up and with one that stalls now and then."""
    check_flood(begin, *FLOODS[kind], stalls=stalls, patience=PATIENCE * TIMES)


RANDOM_LINES = (
    "LC_ALL=C tr -d '\\r' < /dev/urandom | LC_ALL=C tr '\\001-\\020' '\\n' | head -n 1000000 | "
    """LC_ALL=C awk '{ print "# " NR " " $0 }'"""
)


@pytest.mark.slow
def test_ten_gigabytes_into_a_handler_that_stalls(begin: Begin) -> None:
    """DESIGN §11, DIR-4."""
    check_flood(begin, "head -c 10G /dev/zero", None, 10 * 2**30, stalls=True)


@pytest.mark.slow
def test_line_of_a_gigabyte(begin: Begin) -> None:
    """DIR-4: it is told in pieces, and none is lost."""
    check_flood(begin, "head -c 1G /dev/zero | tr '\\0' x", None, 2**30, stalls=False)


@pytest.mark.slow
def test_million_lines_of_random_bytes(begin: Begin) -> None:
    """DIR-1, DIR-3."""
    check_flood(begin, RANDOM_LINES, 1_000_000, None, stalls=True)


def check_flood(
    begin: Begin,
    command: str,
    lines: Optional[int],
    characters: Optional[int],
    *,
    stalls: bool,
    patience: float = 10 * PATIENCE,
) -> None:
    """Have an action print, and so many lines or characters told in their order, without using much memory."""
    program = begin(MEASURE + f"flood({command!r}, {stalls})")
    code, output, complaints = program.finish(patience)
    assert (code, complaints) == (0, "")
    growth, found_lines, found_characters, disorder = map(int, output[0].split())
    assert growth < MOST_GROWTH
    assert lines is None or found_lines == lines
    assert characters is None or found_characters == characters
    assert disorder == 0
    assert found_lines > 0


MANY = (
    MEASURE
    + """
COUNT = 100
LINE = "x" * 120
script = f'''
i=0
while [ $i -lt 10 ]; do
    seq -f '# %.0f {LINE}' $((i * 400 + 1)) $((i * 400 + 400))
    echo openjd_progress: $((i * 10))
    i=$((i + 1))
done'''
told = []
options = {"job_parameter_values": None, "session_root_directory": os.environ["ROOT"],
           "callback": lambda session_id, status: told.append((session_id, status.progress))}
sessions = [Session(session_id=str(number), **options) for number in range(COUNT)]
for session in sessions:
    run(session, "true")
told.clear()
reader = Reader()
LOG.addHandler(reader)
Path("/proc/self/clear_refs").write_text("5")
before = memory("VmRSS")
for session in sessions:
    start(session, "sh", "-c", script)
for session in sessions:
    assert session.wait(120).exit_code == 0
say(memory("VmHWM") - before, reader.lines, reader.disorder, set(reader.last.values()))
wanted = [None, *(float(number * 10) for number in range(10)), 90.0]
say([progress for number in range(COUNT) if (progress := [p for i, p in told if i == str(number)]) != wanted])
for session in sessions:
    session.cleanup()
"""
)


@pytest.mark.slow
def test_a_hundred_actions_at_once(begin: Begin) -> None:
    """DESIGN §11: the bound is the whole program's; and every directive in between has counted."""
    code, output, complaints = begin(MANY).finish()
    assert (code, complaints) == (0, "")
    growth, lines, disorder, last = output[0].split(maxsplit=3)
    assert int(growth) < MOST_GROWTH
    assert (int(lines), int(disorder), last) == (100 * 4_010, 0, "{4000}")
    assert output[1] == "[]"


def test_directives_between_everything_else(open_stage: OpenStage) -> None:
    """DIR-3, DIR-9: after bytes of other code pages, NULs and lone CRs; no byte is lost."""
    stage = open_stage()
    stage.run(
        *child(
            "raw", r"caf\xe9\r", r"openjd_progress: 5\r", r"\x00\x00\n", r"openjd_status: \x84\n", r"50%\r60%\r\n", "x"
        )
    )
    assert stage.journal.output == [
        *("caf\\xe9", "openjd_progress: 5", "\0\0", "openjd_status: \\x84", "50%", "60%", "x"),
    ]
    status = stage.session.action_status
    assert status is not None
    assert (status.progress, status.status_message) == (5.0, "\\x84")


@pytest.mark.parametrize("how", ["cancel", "limit"])
def test_others_are_not_late(open_stage: OpenStage, how: str) -> None:
    """DESIGN §4: beside a flood a kill comes within 0.2 s; the best of some tries, as others use this machine."""
    flooding = [open_stage(session_id=f"flood {number}") for number in range(3)]
    for stage in flooding:
        stage.journal.setLevel(100)
        stage.start("yes", "x" * 200)
    late = []
    for number in range(3):
        other = open_stage(session_id=f"other {number}")
        if how == "limit":
            due = time.monotonic() + 1
            assert other.run("sleep", "60", timeout=1).state is ActionState.TIMEOUT
            late.append(time.monotonic() - due)
        else:
            late.append(seconds_to_cancel(other))
    assert min(late) < 0.2
    for stage in flooding:
        assert stage.state == "RUNNING"
        stage.session.cancel_action()
        assert stage.wait().state is ActionState.CANCELED


def test_silent_actions_cost_nothing(open_stage: OpenStage) -> None:
    """DESIGN §4: nobody looks around while nothing happens, neither the program nor its keepers."""
    stages = [open_stage(session_id=str(number)) for number in range(5)]
    for stage in stages:
        stage.start(*READY_AND_WAIT)
        stage.wait_for_line("ready")
    keepers = {parent_of(int(stage.journal.after("Command started as pid: "))) for stage in stages}
    assert len(keepers) == len(stages)
    pids = [os.getpid(), *keepers]
    wait_until(lambda: all(state_of(keeper) == "S" for keeper in keepers))
    before = sum(map(ticks, pids))
    switches = sum(map(wakings, keepers))
    threading.Event().wait(2)
    assert sum(map(ticks, pids)) - before <= 2
    assert sum(map(wakings, keepers)) == switches
    for stage in stages:
        stage.session.cancel_action()
        stage.wait()


def ticks(pid: int) -> int:
    """Hundredths of a second of processor time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def wakings(pid: int) -> int:
    """How often a process has been woken."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("voluntary_ctxt_switches")))
