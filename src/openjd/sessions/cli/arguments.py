"""The grammar of the command line: parse the command into options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable, Optional, Union

from openjd.sessions._version import __version__
from openjd.sessions.cli.documents import is_file_reference
from openjd.sessions.cli.templates import SUPPORTED_EXTENSIONS


@dataclass(frozen=True)
class CheckOptions:
    """The arguments of ``check``."""

    path: str
    output: str
    extensions: str


@dataclass(frozen=True)
class RunOptions:
    """The arguments of ``run``, named like its options."""

    path: str
    output: str
    extensions: str
    job_param: list[str]
    step: Optional[str]
    task_param: list[tuple[str, str]]
    tasks: Optional[str]
    maximum_tasks: Optional[int]
    run_dependencies: bool
    environment: list[str]
    path_mapping_rules: Optional[str]
    preserve: bool
    verbose: bool
    timestamp_format: str


@dataclass(frozen=True)
class SweepOptions:
    """The arguments of ``sweep``."""

    root: Optional[str]
    dry_run: bool


@dataclass(frozen=True)
class DoctorOptions:
    """The arguments of ``doctor``."""

    user: str
    group: Optional[str]


Options = Union[CheckOptions, RunOptions, SweepOptions, DoctorOptions]
_KINDS: dict[str, Callable[..., Options]] = {
    "run": RunOptions,
    "check": CheckOptions,
    "sweep": SweepOptions,
    "doctor": DoctorOptions,
}


def parse_arguments(argv: Optional[Sequence[str]] = None) -> Options:
    """Parse a command.

    Raises:
        SystemExit: With status 2 if it breaks the grammar, with 0 if it only asked for help or the version.
    """
    arguments = vars(_parser().parse_args(argv))
    return _KINDS[arguments.pop("command")](**arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="openjd-sessions", description="Run Open Job Description jobs on this host.")
    parser.add_argument("--version", action="version", version=f"openjd-sessions {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a job template, here, in one session")
    check = commands.add_parser("check", help="check a job or environment template, without running anything")
    for command in (run, check):
        _add_common_arguments(command)
    _add_job_arguments(run)
    _add_task_arguments(run)
    _add_session_arguments(run)
    sweep = commands.add_parser("sweep", help="delete the working directories of programs that are gone")
    _add_sweep_arguments(sweep)
    _add_doctor_arguments(commands.add_parser("doctor", help="check that sessions can run as another user"))
    return parser


def _add_doctor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", metavar="NAME", required=True, help="the account that actions are to run as")
    parser.add_argument(
        "--group", metavar="NAME", help="the group through which files are shared; default: this program's own"
    )


def _add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="TEMPLATE", help="the template's file, YAML or JSON")
    parser.add_argument(
        "--output",
        choices=("human-readable", "json", "yaml"),
        default="human-readable",
        help="how to print log and results; default: %(default)s",
    )
    parser.add_argument(
        "--extensions",
        metavar="NAME[,NAME...]",
        default=",".join(SUPPORTED_EXTENSIONS),
        help="the extensions that templates may use; default: all that can be run, %(default)s",
    )


def _add_job_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-p",
        "--job-param",
        metavar="KEY=VALUE|file://PATH|JSON",
        action="append",
        default=[],
        type=_job_parameter,
        help="job parameters: one, those of a YAML or JSON file, or a JSON object; may be given more than once, and "
        "the last value counts",
    )
    parser.add_argument(
        "--environment",
        "--env",
        metavar="PATH",
        action="extend",
        nargs="+",
        default=[],
        help="environment templates to enter around the job, in this order",
    )
    parser.add_argument(
        "--path-mapping-rules",
        metavar="RULES|file://PATH",
        help="path mapping rules: YAML or JSON of the form pathmapping-1.0",
    )


def _add_task_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--step", metavar="NAME", help="run only this step")
    dependencies = parser.add_mutually_exclusive_group()
    dependencies.add_argument(
        "--run-dependencies", action="store_true", help="before the step, run the steps that it depends on"
    )
    dependencies.add_argument(
        "--no-run-dependencies", dest="run_dependencies", action="store_false", help="run the step alone (the default)"
    )
    tasks = parser.add_mutually_exclusive_group()
    tasks.add_argument(
        "-tp",
        "--task-param",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        type=_task_parameter,
        help="run only the task of the step that has this parameter value; to be given for each task parameter",
    )
    tasks.add_argument(
        "--tasks",
        metavar="JSON|file://PATH",
        help='run only these tasks of the step: [{"KEY": "VALUE", ...}, ...], or a YAML or JSON file of that',
    )
    tasks.add_argument(
        "--maximum-tasks", metavar="N", type=_positive, help="run at most so many tasks of the step, or of every step"
    )


def _add_session_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preserve", action="store_true", help="keep the session's working directory")
    parser.add_argument("--verbose", action="store_true", help="log more: versions, set-up, files, clean-up")
    parser.add_argument(
        "--timestamp-format",
        choices=("relative", "local", "utc"),
        default="relative",
        help="the times in the log; default: %(default)s",
    )


def _add_sweep_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", metavar="ROOT", nargs="?", help="where they lie; the default root if not given")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted")


def _job_parameter(text: str) -> str:
    if is_file_reference(text) or text.lstrip().startswith("{") or text.partition("=")[0] not in ("", text):
        return text
    raise argparse.ArgumentTypeError(f"expected KEY=VALUE, file://PATH or a JSON object, not {text!r}")


def _task_parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, not {text!r}")
    return name, value


def _positive(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a number from 1 up, not {text!r}")
