"""From the options of ``run`` to a plan: templates, parameters, rules and tasks, read and checked."""

from __future__ import annotations

import json
import os.path
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Union

from openjd.model import (
    EnvironmentTemplate,
    Job,
    JobParameterValues,
    JobTemplate,
    Step,
    create_job,
    create_job_with_symbol_tables,
)

from openjd.sessions._core.environments import has_wrap_hooks
from openjd.sessions._path_mapping import PathMappingRule
from openjd.sessions.cli.arguments import RunOptions
from openjd.sessions.cli.documents import InputError, given_document
from openjd.sessions.cli.parameters import job_parameter_values, read_job_parameters
from openjd.sessions.cli.templates import (
    MODEL_ERRORS,
    accepted_extensions,
    model_problem,
    read_environment_template,
    read_job_template,
)
from openjd.sessions.jobs.plan import SessionPlan, StepPlan, choose_tasks, select_steps, task_space

if TYPE_CHECKING:
    from openjd.expr import SerializedSymbolTable

_RULES_VERSION = "pathmapping-1.0"


def read_plan(options: RunOptions) -> SessionPlan:
    """Read all that a command names, and plan what it asks for.

    Raises:
        InputError: If any of it is missing or invalid.
    """
    accepted = accepted_extensions(options.extensions)
    path = Path(options.path)
    template = read_job_template(path, accepted)
    environments = [read_environment_template(Path(name), accepted) for name in options.environment]
    rules = read_path_mapping_rules(options.path_mapping_rules)
    given = read_job_parameters(options.job_param)
    try:
        parameters = job_parameter_values(template, environments, given, Path(os.path.abspath(path)).parent)
        job, symbols, symbols_of_steps = _make_job(template, parameters, environments)
    except MODEL_ERRORS as error:
        raise InputError(f"{path}: the job can't be made: {model_problem(error)}") from error
    plan = SessionPlan(
        job_name=job.name,
        steps=tuple(replace(each, symbols=symbols_of_steps.get(each.step.name)) for each in plan_steps(job, options)),
        environments=(*(each.environment for each in environments), *(job.jobEnvironments or ())),
        symbols=symbols,
        job_parameters=parameters,
        path_mapping_rules=rules,
        extensions=_extensions(template, *environments),
        retain_working_dir=options.preserve,
    )
    _check_wrapping(plan)
    return plan


def _check_wrapping(plan: SessionPlan) -> None:
    """Refuse what a session would refuse only when it comes to it (ENV-3)."""
    for step in plan.steps:
        wrapping = [repr(each.name) for each in (*plan.environments, *step.environments) if has_wrap_hooks(each)]
        if len(wrapping) > 1:
            raise InputError(
                f"Step {step.step.name!r}: the environments {' and '.join(wrapping)} define wrap hooks; "
                "at most one of those around a step may do so."
            )


def _make_job(
    template: JobTemplate, parameters: JobParameterValues, environments: list[EnvironmentTemplate]
) -> tuple[Job, Optional[SerializedSymbolTable], Mapping[str, SerializedSymbolTable]]:
    """Make the job, and with EXPR the symbols that are resolved meanwhile: the job's, and those of each step."""
    if "EXPR" not in (template.extensions or ()):  # without it the expression engine is not loaded
        job = create_job(job_template=template, job_parameter_values=parameters, environment_templates=environments)
        return job, None, {}
    made = create_job_with_symbol_tables(
        job_template=template, job_parameter_values=parameters, environment_templates=environments
    )
    return made.job, made.job_symbol_table, made.step_symbol_tables


def _extensions(*templates: Union[JobTemplate, EnvironmentTemplate]) -> frozenset[str]:
    return frozenset(name for template in templates for name in template.extensions or ())


# Path mapping rules


def read_path_mapping_rules(argument: Optional[str]) -> tuple[PathMappingRule, ...]:
    """Read the argument of ``--path-mapping-rules``."""
    if argument is None:
        return ()
    document, source = given_document(argument, "--path-mapping-rules")
    if not isinstance(document, dict) or document.get("version") != _RULES_VERSION:
        raise InputError(f"{source}: expected an object with 'version: {_RULES_VERSION}' and 'path_mapping_rules'.")
    rules = document.get("path_mapping_rules")
    if not isinstance(rules, list):
        raise InputError(f"{source}: path_mapping_rules: expected a list of rules.")
    return tuple(_rule(rule, f"{source}: path_mapping_rules[{index}]") for index, rule in enumerate(rules))


def _rule(rule: object, place: str) -> PathMappingRule:
    if not isinstance(rule, dict):
        raise InputError(f"{place}: expected an object with source_path_format, source_path and destination_path.")
    try:
        return PathMappingRule.from_dict(rule)
    except ValueError as error:
        raise InputError(f"{place}: {error}") from error


# Steps and tasks


def plan_steps(job: Job, options: RunOptions) -> tuple[StepPlan, ...]:
    """Choose the steps and tasks that a command asks for."""
    try:
        steps = select_steps(job, options.step, with_dependencies=options.run_dependencies)
        tasks = _wanted_tasks(options)
        if tasks is not None:
            wanted = _step_of_tasks(steps, options.step)
            chosen = choose_tasks(wanted, tasks)
            return tuple(StepPlan(step, chosen if step is wanted else None) for step in steps)
    except ValueError as error:
        raise InputError(f"{options.path}: {error}") from error
    return tuple(_limited(StepPlan(step), options) for step in steps)


def _wanted_tasks(options: RunOptions) -> Optional[list[dict[str, str]]]:
    if options.task_param:
        values = dict(options.task_param)
        if len(values) < len(options.task_param):
            raise InputError("--task-param: each task parameter can have one value only.")
        return [values]
    if options.tasks is None:
        return None
    document, source = given_document(options.tasks, "--tasks")
    if not isinstance(document, list):
        raise InputError(f"{source}: expected a list of tasks, which are objects of parameter names and values.")
    return [_texts(task, f"{source}: task {number}") for number, task in enumerate(document, start=1)]


def _texts(values: object, place: str) -> dict[str, str]:
    """Give the values of task parameters as texts, whatever their types."""
    if not isinstance(values, dict):
        raise InputError(f"{place}: expected an object of parameter names and values.")
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, (str, int, float)):
            raise InputError(
                f"{place}: {name}: expected a name with a text or a number, not {json.dumps(value, default=str)}."
            )
    return {name: str(value) for name, value in values.items()}


def _step_of_tasks(steps: Sequence[Step], name: Optional[str]) -> Step:
    if name is not None:
        return next(step for step in steps if step.name == name)
    if len(steps) > 1:
        raise ValueError(f"There are {len(steps)} steps; --step must say which one the tasks are of.")
    return steps[0]


def _limited(plan: StepPlan, options: RunOptions) -> StepPlan:
    if options.maximum_tasks is None or options.step not in (None, plan.step.name):
        return plan
    return StepPlan(plan.step, tuple(islice(task_space(plan.step), options.maximum_tasks)))
