"""Fixtures for Sessions with real processes: what a `conftest.py` takes from here, its tests have."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openjd.sessions import LOG
from support.accounts import let_others_pass, need_account, user_of
from support.programs import Begin, Program, Run
from support.stage import Gate, Journal, OpenStage, Stage, wait_until


@pytest.fixture
def account(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """What a Session is made with to run as some user: our own, unless a parameter names another one."""
    name = getattr(request, "param", None)
    if name is None:
        return {}
    need_account(name)
    let_others_pass(tmp_path)
    return {"user": user_of(name)}


@pytest.fixture
def open_stage(tmp_path: Path, account: dict[str, Any]) -> Iterator[OpenStage]:
    """Opens stages, given what a Session is to be made with, and closes them at the end."""
    stages: list[Stage] = []

    def open_one(**options: Any) -> Stage:
        stages.append(Stage(tmp_path, **account, **options))
        return stages[-1]

    yield open_one
    for stage in stages:
        stage.close()


@pytest.fixture
def stage(open_stage: OpenStage) -> Stage:
    """A Session without anything special."""
    return open_stage()


@pytest.fixture
def journal() -> Iterator[Journal]:
    """What is logged, by whomever."""
    made = Journal()
    LOG.addHandler(made)
    yield made
    LOG.removeHandler(made)


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """Every record of every level, as handlers get it."""
    found: list[logging.LogRecord] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    handler, level = Keeper(), LOG.level
    LOG.addHandler(handler)
    LOG.setLevel(logging.DEBUG)
    yield found
    LOG.setLevel(level)
    LOG.removeHandler(handler)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """What a shell script can wait for."""
    made = Gate(tmp_path / "gate")
    yield made
    made.close()


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Begins programs; at the end nothing of them is left."""
    programs: list[Program] = []

    def begin_one(code: str) -> Program:
        programs.append(Program(tmp_path, code))
        return programs[-1]

    yield begin_one
    for program in programs:
        program.close()
        wait_until(lambda program=program: program.helpers() == [])  # type: ignore[misc]


@pytest.fixture
def run(begin: Begin) -> Run:
    """Runs programs that must succeed."""

    def run_one(code: str) -> list[str]:
        status, output, complaints = begin(code).finish()
        assert (status, complaints) == (0, ""), output
        return output

    return run_one
