"""Programs that run for weeks: whatever they have had, they give back (DESIGN §4, LC-30, LC-36)."""

from __future__ import annotations

import pytest

from support.programs import Begin, Run
from support.stage import PATIENCE

MEASURE = """
import gc

def held():
    gc.collect()
    status = Path("/proc/self/status").read_text()
    resident = int(status.partition("VmRSS:")[2].split()[0])
    children = [pid for pid in os.listdir("/proc") if pid.isdigit() and is_ours(pid)]
    return len(os.listdir("/proc/self/fd")), threading.active_count(), len(children), resident

def is_ours(pid):
    try:
        return f"launcher of process {os.getpid()}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False

def settle(wanted):
    # threads and keepers need a moment to go
    for _ in range(500):
        now = held()
        if now[:3] == wanted[:3]:
            break
        threading.Event().wait(0.02)
    return now

def compare(before, after, megabytes):
    growth = after[3] - before[3]
    say(after[:3] == before[:3] or (before[:3], after[:3]), growth < megabytes * 1024 or growth)
"""

ACTIONS = (
    MEASURE
    + """
LOG.setLevel(logging.WARNING)
with new_session() as session:
    for _ in range(300):
        run(session, "true")
    before = held()
    for number in range(5000):
        status = run(session, "true")
        assert status.exit_code == 0
    compare(before, settle(before), 8)
    say(os.listdir(session.working_directory) == [session.files_directory.name])
say(os.listdir(os.environ["ROOT"]))
"""
)


@pytest.mark.slow
def test_thousands_of_actions_in_a_session(begin: Begin) -> None:
    """Descriptors, threads, helpers, memory and files are as many after 5,000 actions as after the first ones."""
    assert begin(ACTIONS).finish(4 * PATIENCE) == (0, ["True True", "True", "[]"], "")


COLLECTOR = """
import gc
with new_session() as session:
    run(session, "true")
    gc.collect()
    gc.disable()
    for _ in range(20):
        run(session, "true")
    left = gc.collect()
    say(left < 20 * 5 or left)
"""


def test_what_an_action_has_held_is_free_at_its_end(run: Run) -> None:
    """DESIGN §4: without the collector, which takes its time in the midst of other actions."""
    assert run(COLLECTOR) == ["True"]


SESSIONS = (
    MEASURE
    + """
LOG.setLevel(logging.WARNING)
options = {"job_parameter_values": None, "session_root_directory": os.environ["ROOT"]}
def live(number):
    with Session(session_id=str(number), **options) as session:
        session.add_redaction(f"a secret of {number}")
        assert run(session, "true").exit_code == 0
def live_together(numbers):
    sessions = [Session(session_id=str(number), **options) for number in numbers]
    for session in sessions:
        start(session, "sleep", "60")
    for session in sessions[::2]:
        session.cancel_action()
    for session in sessions:
        session.cleanup()
for number in range(100):
    live(number)
live_together(range(128))
before = settle(held())
for number in range(500):
    live(number)
for _ in range(2):
    live_together(range(128))
compare(before, settle(before), 8)
say(os.listdir(os.environ["ROOT"]), LOG.filters)
"""
)


@pytest.mark.slow
def test_a_thousand_sessions_in_a_program(begin: Begin) -> None:
    """LC-30: one after the other, and 128 at once."""
    assert begin(SESSIONS).finish(4 * PATIENCE) == (0, ["True True", "[] []"], "")


FORKS = (
    MEASURE
    + """
import multiprocessing
LOG.setLevel(logging.WARNING)
context = multiprocessing.get_context("fork")
def work(number):
    with new_session() as mine:
        return run(mine, "sh", "-c", f"exit {number % 3}").exit_code
with new_session() as session:
    start(session, "yes", "x" * 100)
    with context.Pool(4) as pool:
        say(pool.map(work, range(40)) == [number % 3 for number in range(40)])
    for _ in range(50):
        pid = os.fork()
        if pid == 0:
            os._exit(session.state.name != "ENDED")
        assert os.waitpid(pid, 0)[1] == 0
    say(session.state.name)
    session.cancel_action()
    say(session.wait(20).state.name)
say(os.listdir(os.environ["ROOT"]))
"""
)


def test_forks_and_multiprocessing_while_output_flows(run: Run) -> None:
    """LC-36: neither the parent's Sessions nor those of its children are harmed."""
    assert run(FORKS) == ["True", "RUNNING", "CANCELED", "[]"]
