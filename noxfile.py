"""Everything that is checked, by one command: ``nox``. The build runs the same.

The sessions run in the environment that nox itself is installed in: ``pip install -e '.[test]'``.
"""

from __future__ import annotations

import sys

import nox

nox.needs_version = ">=2024.4"
nox.options.default_venv_backend = "none"


def run(session: nox.Session, module: str, *arguments: str) -> None:
    """Run a tool of this environment, also where its programs are not on the PATH."""
    session.run(sys.executable, "-m", module, *arguments)


@nox.session
def format(session: nox.Session) -> None:
    """The code is formatted (to format it: ``ruff format .``)."""
    run(session, "ruff", "format", "--check", ".")


@nox.session
def lint(session: nox.Session) -> None:
    """No linter complaints (to mend the simple ones: ``ruff check --fix .``)."""
    run(session, "ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """The types are right."""
    run(session, "mypy")


@nox.session
def imports(session: nox.Session) -> None:
    """Modules import only what their layer allows."""
    if sys.version_info < (3, 10):
        session.skip("import-linter with all contracts needs Python 3.10")
    session.run(sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()")


@nox.session
def tests(session: nox.Session) -> None:
    """The tests pass; what follows ``--`` goes to pytest."""
    run(session, "pytest", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The docs build without a warning, into ``site``."""
    run(session, "sphinx", "-W", "--keep-going", "-q", "-E", "docs", "site")
