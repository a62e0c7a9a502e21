"""Job parameters: values from the command line, from files and from templates, each as its type has it."""

from __future__ import annotations

import json
import os.path
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Callable, Union, cast

from openjd.model import (
    EnvironmentTemplate,
    JobParameterDefinition,
    JobParameterInputValues,
    JobParameterValues,
    JobTemplate,
    merge_job_parameter_definitions,
    preprocess_job_parameters,
)
from openjd.model.v2023_09 import (
    JobBoolParameterDefinition,
    JobListPathParameterDefinition,
    JobPathParameterDefinition,
    JobRangeExprParameterDefinition,
)

from openjd.sessions.cli.documents import InputError, given_document, is_file_reference

Value = Union[str, float, bool, list[object]]
"""A value as it is given; one from the command line is a text, whatever its type."""

_BOOLS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_LONGEST_RANGE = 1024
"""Characters of a range expression, unless its parameter says otherwise (2023-09 §2.10)."""
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def read_job_parameters(arguments: Iterable[str]) -> dict[str, Value]:
    """Read the arguments of ``--job-param``; of a parameter given more than once, the last value counts."""
    values: dict[str, Value] = {}
    for argument in arguments:
        values.update(_job_parameters_of(argument))
    return values


def _job_parameters_of(argument: str) -> Mapping[str, Value]:
    name, equals, value = argument.partition("=")
    if equals and not is_file_reference(argument) and not argument.lstrip().startswith("{"):
        return {name: value}
    document, source = given_document(argument, "--job-param")
    if not isinstance(document, dict):
        raise InputError(f"{source}: expected an object of parameter names and values.")
    for name, value in document.items():
        if not isinstance(name, str) or not isinstance(value, (str, int, float, list)):
            raise InputError(
                f"{source}: {name}: expected a name with a text, a number, true, false or a list, not {_shown(value)}."
            )
    return document


def job_parameter_values(
    template: JobTemplate,
    environments: Sequence[EnvironmentTemplate],
    given: Mapping[str, Value],
    template_folder: Path,
) -> JobParameterValues:
    """Give the value of each job parameter as its type has it, paths joined, all constraints checked.

    Raises:
        ValueError: If a value is missing, unknown or not allowed.
    """
    definitions = merge_job_parameter_definitions(job_template=template, environment_templates=list(environments))
    with_uris = _parameters_with_uris(template, *environments)
    values: dict[str, object] = dict(given)
    for definition in definitions:
        has_uris = definition.name in with_uris
        if definition.name in given:
            value = _as_typed(definition, given[definition.name])
            values[definition.name] = _paths_placed(definition, value, partial(_joined, Path.cwd(), has_uris))
        elif _has_paths(definition) and definition.default is not None:
            place = partial(_joined_default, definition, template_folder, has_uris)
            values[definition.name] = _paths_placed(definition, definition.default, place)
    if with_uris:  # have the model join nothing that is placed already, whichever template has EXPR
        template = template.model_copy(update={"extensions": [*(template.extensions or ()), "EXPR"]})
    return preprocess_job_parameters(
        job_template=template,
        job_parameter_values=cast(JobParameterInputValues, values),  # says str only, but takes these
        job_template_dir=template_folder,
        current_working_dir=Path.cwd(),
        environment_templates=list(environments),
    )


# Types (2023-09 §2.1 to §2.4, §2.9 to §2.16)


def _as_typed(definition: JobParameterDefinition, value: Value) -> Value:
    """Give a bool for BOOL, a list for every kind of list, else a text; the model checks what is in it."""
    if isinstance(definition, JobBoolParameterDefinition):
        return _as_bool(definition, value)
    if definition.type.value.startswith("LIST["):
        return _as_list(definition, value)
    if isinstance(value, (bool, list)):
        raise _wrong(definition, "a text or a number", value)
    if isinstance(definition, JobRangeExprParameterDefinition):
        _check_length(definition, str(value))
    return str(value)


def _check_length(definition: JobRangeExprParameterDefinition, value: str) -> None:
    """Check what the model does not (2023-09 §2.10)."""
    least, most = definition.minLength or 0, definition.maxLength or _LONGEST_RANGE
    if not least <= len(value) <= most:
        raise ValueError(
            f"Parameter {definition.name} of type RANGE_EXPR: expected {least} to {most} characters, not {len(value)}."
        )


def _as_bool(definition: JobParameterDefinition, value: Value) -> bool:
    if isinstance(value, str) and value.lower() in _BOOLS:
        return _BOOLS[value.lower()]
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    raise _wrong(definition, "true, false, yes, no, on, off, 1 or 0", value)


def _as_list(definition: JobParameterDefinition, value: Value) -> list[object]:
    found = _parsed(value) if isinstance(value, str) else value
    if not isinstance(found, list):
        raise _wrong(definition, 'a list, as a text in JSON such as ["a", "b"] or [1, 2]', value)
    return found


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _wrong(definition: JobParameterDefinition, expected: str, value: Value) -> ValueError:
    return ValueError(
        f"Parameter {definition.name} of type {definition.type.value}: expected {expected}, not {_shown(value)}."
    )


def _shown(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


# Paths (2023-09 §2.2, §2.12): joined with a folder before constraints are compared; an empty one stays empty.


def _has_paths(definition: JobParameterDefinition) -> bool:
    return isinstance(definition, (JobPathParameterDefinition, JobListPathParameterDefinition))


def _parameters_with_uris(*templates: Union[JobTemplate, EnvironmentTemplate]) -> set[str]:
    """Give the names of the parameters that a template with EXPR defines; only such a template has LIST[PATH]."""
    return {
        definition.name
        for template in templates
        if "EXPR" in (template.extensions or ())
        for definition in template.parameterDefinitions or ()
    }


def _paths_placed(definition: JobParameterDefinition, value: object, place: Callable[[str], str]) -> object:
    if not _has_paths(definition):
        return value
    if isinstance(value, list):
        return [place(each) if isinstance(each, str) else each for each in value]
    return place(str(value))


def _joined(folder: Path, has_uris: bool, path: str) -> str:
    """Give an absolute path for a relative one; with EXPR a URI is none."""
    if not path or os.path.isabs(path) or (has_uris and _URI.match(path)):
        return path
    return os.path.normpath(folder / path)


def _joined_default(definition: JobParameterDefinition, folder: Path, has_uris: bool, default: str) -> str:
    path = _joined(folder, has_uris, default)
    is_elsewhere = os.path.isabs(default) or not Path(path).is_relative_to(folder)
    if default and is_elsewhere and not (has_uris and _URI.match(default)):
        what = f"element {default!r} of the default" if isinstance(definition.default, list) else f"default {default!r}"
        raise ValueError(
            f"The {what} of {definition.type.value} parameter {definition.name} "
            "must be relative and within the template's folder."
        )
    return path
