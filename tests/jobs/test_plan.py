"""Plans: steps in the order of their dependencies, tasks, and that plans can be pickled (DESIGN §6, Whole jobs)."""

from __future__ import annotations

import pickle
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from openjd.model import Job, ParameterValue, ParameterValueType, Step

from openjd.sessions import PathMappingRule
from openjd.sessions.jobs.plan import SessionPlan, StepPlan, choose_tasks, select_steps
from support.jobs import chunks, environment, exactly, job, step
from support.manual_loop import ManualClock

DIAMOND = [step("last", after=["left", "right"]), step("left", after=["first"]), step("right"), step("first")]
FRAMES = step("Render", ranges={"Frame": ("INT", "1-3"), "Camera": ("STRING", ["left", "right"])})


def names(made: Job, only: object = None, **options: bool) -> list[str]:
    assert only is None or isinstance(only, str)
    return [each.name for each in select_steps(made, only, **options)]


def test_steps_come_after_those_they_depend_on() -> None:
    assert names(job(*DIAMOND)) == ["first", "left", "right", "last"]


@pytest.mark.parametrize(
    ("only", "with_dependencies", "expected"),
    [
        ("last", False, ["last"]),
        ("last", True, ["first", "left", "right", "last"]),
        ("left", True, ["first", "left"]),
        ("right", True, ["right"]),
    ],
)
def test_one_step_with_or_without_all_it_depends_on(only: str, with_dependencies: bool, expected: list[str]) -> None:
    assert names(job(*DIAMOND), only, with_dependencies=with_dependencies) == expected


def test_unknown_step_is_named_beside_the_known_ones() -> None:
    with pytest.raises(ValueError, match=exactly("The job has no step 'd'. Its steps are: 'a', 'b c'.")):
        select_steps(job(step("a"), step("b c")), "d")


def values(plan: StepPlan) -> list[str]:
    return [" ".join(str(parameter.value) for parameter in task.values()) for task in plan.tasks(time.monotonic)]


def test_tasks_are_those_of_the_parameter_space() -> None:
    plan = StepPlan(job(FRAMES).steps[0])
    assert values(plan) == ["1 left", "1 right", "2 left", "2 right", "3 left", "3 right"]
    assert values(plan) == values(plan)
    assert plan.task_count == 6


def test_a_step_without_parameter_space_has_one_task() -> None:
    plan = StepPlan(job(step("a")).steps[0])
    assert (list(plan.tasks(time.monotonic)), plan.task_count) == ([{}], 1)


def test_chosen_tasks_are_run_in_their_order_and_as_often_as_chosen() -> None:
    made = job(FRAMES).steps[0]
    wanted = [{"Camera": "right", "Frame": "3"}, {"Frame": "1", "Camera": "left"}, {"Camera": "right", "Frame": "3"}]
    plan = StepPlan(made, choose_tasks(made, wanted))
    assert plan.task_count == 3
    assert list(plan.tasks(time.monotonic))[1] == {
        "Frame": ParameterValue(type=ParameterValueType.INT, value="1"),
        "Camera": ParameterValue(type=ParameterValueType.STRING, value="left"),
    }
    assert [task["Frame"].value for task in plan.tasks(time.monotonic)] == ["3", "1", "3"]


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (
            [{"Frame": "1"}],
            "Task 1 of step 'Render': the step's parameters are Frame, Camera; values were given for Frame.",
        ),
        ([{}], "Task 1 of step 'Render': the step's parameters are Frame, Camera; values were given for none."),
        (
            [{"Frame": "1", "Camera": "left", "X": "1"}],
            "Task 1 of step 'Render': the step's parameters are Frame, Camera; values were given for Frame, Camera, X.",
        ),
        (
            [{"Frame": "1", "Camera": "left"}, {"Frame": "4", "Camera": "left"}],
            "Task 2 of step 'Render': Parameter Frame of type INT value 4 is not in the parameter space range.",
        ),
        (
            [{"Frame": "one", "Camera": "left"}],
            "Task 1 of step 'Render': Parameter Frame of type INT value one is not in the parameter space range.",
        ),
        (
            [{"Frame": "1", "Camera": "top"}],
            "Task 1 of step 'Render': Parameter Camera of type STRING value top is not in the parameter space range.",
        ),
    ],
)
def test_tasks_that_the_step_does_not_have(wanted: Sequence[Mapping[str, str]], reason: str) -> None:
    with pytest.raises(ValueError, match=exactly(reason)):
        choose_tasks(job(FRAMES).steps[0], wanted)


def test_a_step_without_parameters_has_no_task_with_values() -> None:
    reason = "Task 1 of step 'a': the step's parameters are none; values were given for X."
    with pytest.raises(ValueError, match=exactly(reason)):
        choose_tasks(job(step("a")).steps[0], [{"X": "1"}])


# Chunks (2023-09 §3.4.1.5)


def chunked(default: int, range_: object = "1-12", **fields: Any) -> Step:
    return job(step("Render", ranges={"Frame": ("CHUNK[INT]", range_, chunks(default, **fields))})).steps[0]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (chunked(5), ["1-4", "5-8", "9-12"]),
        (chunked(100), ["1-12"]),
        (chunked(3, "1,10-12,14"), ["1-1", "10-12", "14-14"]),
        (chunked(3, "-3-0"), ["-3--2", "-1-0"]),
        (chunked(3, [3, 1, 2]), ["3-3", "1-2"]),
        (chunked(5, target=0), ["1-4", "5-8", "9-12"]),
        (chunked(3, "1-8", contiguous=False), ["1-3", "4-6", "7,8"]),
        (chunked(3, "1,3,5,8-10", contiguous=False), ["1-5:2", "8-10"]),
    ],
)
def test_chunks_of_the_default_size(made: Step, expected: list[str]) -> None:
    """CHK-2: the first and the last value, also of one; or any range expression."""
    assert values(StepPlan(made)) == expected


def test_chunks_are_of_one_value_of_every_other_parameter() -> None:
    """CHK-1."""
    ranges = {"Frame": ("CHUNK[INT]", "1-4", chunks(3)), "Camera": ("STRING", ["left", "right"])}
    plan = StepPlan(job(step("Render", ranges=ranges)).steps[0])
    assert values(plan) == ["1-2 left", "1-2 right", "3-4 left", "3-4 right"]
    assert plan.task_count == 8


def test_chunks_that_aim_for_a_run_time_begin_with_the_default_size_and_grow_or_shrink() -> None:
    clock = ManualClock()
    plan = StepPlan(chunked(2, "1-40", target=10))
    found = []
    for task in plan.tasks(lambda: clock.now):
        found.append(str(task["Frame"].value))
        clock.advance(4)
    assert found[:3] == ["1-2", "3-7", "8-17"]
    assert plan.task_count == 40


def test_the_tasks_of_chunks_are_counted_one_by_one() -> None:
    made = chunked(5)
    assert StepPlan(made).task_count == 12
    assert StepPlan(made, choose_tasks(made, [{"Frame": "2-4"}, {"Frame": "5-5"}])).task_count == 4


@pytest.mark.parametrize("options", [{}, {"contiguous": False}, {"target": 9}])
def test_long_ranges_are_counted_at_once(options: Any) -> None:
    """Without making their chunks, of which no computer has so many."""
    ranges = {"Frame": ("CHUNK[INT]", f"1-{10**15}:3", chunks(7, **options)), "Camera": ("STRING", ["left", "right"])}
    assert StepPlan(job(step("Render", ranges=ranges)).steps[0]).task_count == 2 * (10**15 // 3 + 1)


@pytest.mark.parametrize(
    ("made", "chunk"),
    [(chunked(5), "2-11"), (chunked(5), "7-7"), (chunked(5, contiguous=False), "1,3,9-12"),
     (chunked(5, contiguous=False, target=9), "4")],
)  # fmt: skip
def test_any_chunk_of_the_range_can_be_chosen(made: Step, chunk: str) -> None:
    """It is passed on as it is given (CHK-2)."""
    assert values(StepPlan(made, choose_tasks(made, [{"Frame": chunk}]))) == [chunk]


@pytest.mark.parametrize(("made", "value", "chunk"), [(chunked(5), "7", "7-7"), (chunked(5, "-9-9"), "-7", "-7--7")])
def test_one_value_is_a_contiguous_chunk(made: Step, value: str, chunk: str) -> None:
    """CHK-2"""
    assert values(StepPlan(made, choose_tasks(made, [{"Frame": value}]))) == [chunk]


@pytest.mark.parametrize("value", ["1-3,5", "1-9:2", "1 - 3", "x", ""])
def test_what_is_no_contiguous_chunk_is_refused(value: str) -> None:
    reason = f"Frame={value} is no contiguous chunk; give its first and last value, as in 1-5, or one."
    with pytest.raises(ValueError, match=exactly(f"Task 1 of step 'Render': {reason}")):
        choose_tasks(chunked(5), [{"Frame": value}])


@pytest.mark.parametrize("target", [0, 9])
@pytest.mark.parametrize(("contiguous", "value"), [(True, "9-13"), (True, "3-1"), (False, "1,13"), (False, "x")])
def test_chunks_that_the_step_does_not_have(contiguous: bool, value: str, target: int) -> None:
    with pytest.raises(ValueError, match=r"^Task 1 of step 'Render': "):
        choose_tasks(chunked(5, contiguous=contiguous, target=target), [{"Frame": value}])


def test_plans_can_be_pickled() -> None:
    made = job(FRAMES, step("b", environments=[environment("inner")]), environments=[environment("outer")])
    rule = {"source_path_format": "POSIX", "source_path": "/a", "destination_path": "/b"}
    plan = SessionPlan(
        job_name=made.name,
        steps=tuple(StepPlan(each) for each in made.steps),
        environments=tuple(made.jobEnvironments or ()),
        job_parameters={"X": ParameterValue(type=ParameterValueType.STRING, value="x")},
        path_mapping_rules=(PathMappingRule.from_dict(rule),),
        extensions=frozenset({"REDACTED_ENV_VARS"}),
    )
    copy = pickle.loads(pickle.dumps(plan))
    assert copy == plan
    assert [values(each) for each in copy.steps] == [values(each) for each in plan.steps]
