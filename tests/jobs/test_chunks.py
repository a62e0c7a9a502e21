"""Chunks: what they hold, and how their size follows a run time (2023-09 §3.4.1.5, CHK-6)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openjd.model import ParameterValue, ParameterValueType, StepParameterSpaceIterator

from openjd.sessions.jobs.chunks import ChunkSize, adapted_chunks, task_count
from support.jobs import chunks, job, step
from support.manual_loop import ManualClock


def sizes(first: int, target: float, *measured: tuple[int, float]) -> list[int]:
    """The size after each chunk of so many tasks that took so many seconds."""
    size = ChunkSize(first, target)
    found = []
    for tasks, seconds in measured:
        size.measure(tasks, seconds)
        found.append(size.tasks)
    return found


def test_the_size_is_that_of_a_chunk_that_takes_the_time_aimed_for() -> None:
    assert sizes(10, 60, (10, 30.0)) == [20]
    assert sizes(10, 60, (10, 31.0)) == [19]
    assert sizes(10, 60, (10, 31.0 - 0.7)) == [20]
    assert sizes(10, 60, (10, 600.0)) == [1]
    assert sizes(10, 60, (10, 6000.0)) == [1]


def test_the_size_grows_to_four_times_itself_at_most() -> None:
    assert sizes(1, 60, (1, 1.0), (4, 0.5), (16, 0.0)) == [4, 16, 64]


def test_later_chunks_count_more() -> None:
    assert sizes(10, 60, (10, 10.0), (40, 160.0)) == [40, 16]  # 4 seconds a task, after 1
    assert sizes(10, 60, (10, 10.0), (40, 160.0), (16, 64.0), (16, 64.0)) == [40, 16, 16, 15]


def test_small_chunks_before_a_gap_count_less() -> None:
    assert sizes(20, 60, (20, 60.0), (1, 20.0)) == [20, 13]


@given(load=st.floats(0, 50), task=st.floats(0.01, 10), first=st.integers(1, 5000))
def test_size_and_time_agree_soon_whatever_a_chunk_needs_to_begin_with(load: float, task: float, first: int) -> None:
    """Chunks then take as long as is aimed for, but for half the time of a task: that of the load included."""
    target = 100.0
    size = ChunkSize(first, target)
    for _ in range(60):
        size.measure(size.tasks, load + size.tasks * task)
    seconds = load + size.tasks * task
    half_a_task = 0.5 * seconds / size.tasks
    assert target - seconds <= 1.01 * half_a_task
    assert seconds - target <= 1.01 * half_a_task or size.tasks == 1


def frames(range_: str, default: int, target: int, *, contiguous: bool = True) -> StepParameterSpaceIterator:
    chunked = ("CHUNK[INT]", range_, chunks(default, contiguous=contiguous, target=target))
    made = job(step("Render", ranges={"Frame": chunked, "Camera": ("STRING", ["left", "right"])}))
    return StepParameterSpaceIterator(space=made.steps[0].parameterSpace)


@pytest.mark.parametrize(
    ("contiguous", "expected"),
    [
        (
            True,
            ["left 1-2", "left 3-6", "left 7-10", "left 20-20", "right 1-4", "right 5-8", "right 9-10", "right 20-20"],
        ),
        (False, ["left 1,2", "left 3-6", "left 7-10", "left 20", "right 1-4", "right 5-8", "right 9,10,20"]),
    ],
)
def test_chunks_are_cut_when_they_are_asked_for(contiguous: bool, expected: list[str]) -> None:
    """Each task takes a second, and four are aimed for; a chunk holds values of one camera only."""
    clock = ManualClock()
    found = []
    for parameters in adapted_chunks(
        frames("1-10,20", 2, 4, contiguous=contiguous), ChunkSize(2, 4), lambda: clock.now
    ):
        found.append(f"{parameters['Camera'].value} {parameters['Frame'].value}")
        clock.advance(task_count(parameters))
    assert found == expected


@pytest.mark.parametrize(("text", "count"), [("5-5", 1), ("-3--1", 3), ("1,3,7-10:2", 4), ("1-1000000", 1_000_000)])
def test_tasks_of_a_chunk(text: str, count: int) -> None:
    other = ParameterValue(type=ParameterValueType.STRING, value="1-9")
    chunk = ParameterValue(type=ParameterValueType.CHUNK_INT, value=text)
    assert task_count({"Camera": other, "Frame": chunk}) == count
    assert task_count({"Camera": other}) == 1
    assert task_count({}) == 1
