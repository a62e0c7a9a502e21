"""The house stays as the design page draws it: layers, sizes, names, and what an import costs."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Union

import pytest

import openjd.sessions

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "openjd" / "sessions"
MODULES = sorted(PACKAGE.rglob("*.py"))

MOST_FILE_LINES = 400
MOST_FUNCTION_LINES = 60
MOST_CLASS_LINES = 300
MOST_PARAMETERS = 6
MANY_PARAMETERS_ALLOWED = {"_session.py:Session.__init__"}

Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]
Definition = Union[ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef]

every_module = pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())


def run_python(code: str, *options: str) -> str:
    """What a program prints that runs in a fresh interpreter."""
    done = subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, cwd="/", timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def definitions(tree: ast.AST, outer: str = "") -> Iterator[tuple[str, Definition]]:
    """Every class and function of a module, with its dotted name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield outer + node.name, node
            yield from definitions(node, f"{outer}{node.name}.")
        else:
            yield from definitions(node, outer)


def functions(module: Path) -> Iterator[tuple[str, Function]]:
    for name, node in definitions(ast.parse(module.read_text("utf-8"))):
        if not isinstance(node, ast.ClassDef):
            yield name, node


def length(node: Definition) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


# Layers


@pytest.mark.skipif(sys.version_info < (3, 10), reason="import-linter with all contracts needs Python 3.10")
def test_import_contracts_hold() -> None:
    code = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@every_module
def test_only_the_platform_asks_which_system_it_runs_on(module: Path) -> None:
    if module.is_relative_to(PACKAGE / "_platform"):
        return
    asked = {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(ast.parse(module.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    assert not asked & {"sys.platform", "os.name", "platform.system"}


# What an import costs

UNWANTED = (
    *("openjd.model", "openjd.expr", "openjd._openjd_rs", "openjd.sessions.jobs", "openjd.sessions.cli"),
    *("asyncio", "multiprocessing", "pydantic", "yaml", "rich", "dask"),
)


def test_importing_the_package_loads_little_and_starts_nothing() -> None:
    """API-7: no model, no native module, no asyncio, no thread, no handler; LOG's level becomes INFO."""
    code = """
import json, logging, signal, sys, threading
handlers = [signal.getsignal(number) for number in signal.valid_signals()]
import openjd.sessions
print(json.dumps({
    "modules": sorted(sys.modules),
    "threads": threading.active_count(),
    "log_handlers": len(logging.getLogger().handlers) + len(openjd.sessions.LOG.handlers),
    "level": openjd.sessions.LOG.level,
    "signals": handlers == [signal.getsignal(number) for number in signal.valid_signals()],
}))
"""
    found = json.loads(run_python(code))
    assert [name for name in found["modules"] if name.startswith(UNWANTED)] == []
    assert (found["threads"], found["log_handlers"], found["level"], found["signals"]) == (1, 0, 20, True)


def test_model_types_are_aliased_when_they_are_asked_for() -> None:
    code = """
import sys, openjd.sessions as sessions
assert "openjd.model" not in sys.modules
import openjd.model, openjd.model.v2023_09 as model
assert sessions.ParameterType is openjd.model.ParameterValueType
assert sessions.EnvironmentModel is model.Environment
assert sessions.EnvironmentScriptModel is model.EnvironmentScript
assert sessions.StepScriptModel is model.StepScript
print("openjd._openjd_rs" in sys.modules)
"""
    assert run_python(code) == "False\n"


def test_package_can_be_imported_where_posix_modules_are_missing() -> None:
    """As on Windows: nothing that exists only on POSIX is imported before it is needed."""
    code = """
import sys
for name in ("fcntl", "pwd", "grp", "resource", "termios", "posix_ipc", "syslog"):
    sys.modules[name] = None
import openjd.sessions
print(sorted(name for name in openjd.sessions.__all__ if not hasattr(openjd.sessions, name)))
"""
    assert run_python(code) == "[]\n"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")
def test_launcher_and_keeper_stand_alone() -> None:
    """Their program runs as ``python -I -S``: it needs the standard library only, and little of it."""
    from openjd.sessions._platform.posix_link import stand_alone_program

    program, _, start = stand_alone_program().decode().rstrip().rpartition("\n")
    assert start == "module.main()"
    code = f"import sys; before = set(sys.modules)\n{program}\nprint(*sorted(set(sys.modules) - before))"
    loaded = set(run_python(code, "-I", "-S").split())
    ours = {name for name in loaded if name.startswith("openjd")}
    assert ours
    assert all(name.startswith("openjd.sessions._platform.posix_") for name in ours)
    assert loaded & {"asyncio", "logging", "site", "subprocess", "threading"} == set()


# Sizes


@every_module
def test_files_are_short(module: Path) -> None:
    assert len(module.read_text("utf-8").splitlines()) <= MOST_FILE_LINES


@every_module
def test_functions_and_classes_are_short(module: Path) -> None:
    found = definitions(ast.parse(module.read_text("utf-8")))
    assert [f"{name}: {length(node)} lines" for name, node in found if length(node) > most_lines(node)] == []


def most_lines(node: Definition) -> int:
    return MOST_CLASS_LINES if isinstance(node, ast.ClassDef) else MOST_FUNCTION_LINES


@every_module
def test_functions_have_few_parameters(module: Path) -> None:
    too_many = []
    for name, node in functions(module):
        arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
        count = len([argument for argument in arguments if argument.arg not in ("self", "cls")])
        if count > MOST_PARAMETERS and f"{module.relative_to(PACKAGE)}:{name}" not in MANY_PARAMETERS_ALLOWED:
            too_many.append(f"{name}: {count} parameters")
    assert too_many == []


# Documentation


@every_module
def test_modules_say_what_they_are_for(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text("utf-8")))


def test_public_names_are_documented() -> None:
    """Every public class and function, and every public method and property of a public class."""
    public = {name: getattr(openjd.sessions, name) for name in openjd.sessions.__all__}
    undocumented = [path for name, value in public.items() for path in undocumented_in(name, value)]
    assert undocumented == []


def undocumented_in(name: str, value: object) -> Iterator[str]:
    if not getattr(value, "__module__", "").startswith("openjd.sessions"):
        return
    if inspect.isclass(value):
        text = vars(value).get("__doc__")
        if not text or text.startswith(f"{name}("):  # what a dataclass says of itself
            yield name
        for member, thing in vars(value).items():
            is_code = inspect.isroutine(thing) or isinstance(thing, property)
            if is_code and not member.startswith("_") and not inspect.getdoc(getattr(value, member)):
                yield f"{name}.{member}"
    elif inspect.isroutine(value) and not inspect.getdoc(value):
        yield name
