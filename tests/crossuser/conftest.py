"""Stages for Sessions as another user; skipped where the accounts of ``.ci/accounts`` are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from session.conftest import begin, journal, run  # noqa: F401 - fixtures
from support.accounts import ALICE, BOB, let_others_pass, need_account, user_of
from support.stage import OpenStage, Stage


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root directory that other users may pass."""
    let_others_pass(tmp_path)
    return tmp_path


@pytest.fixture
def open_stage(root: Path) -> Iterator[OpenStage]:
    """Opens stages as the user of a name, and closes them at the end."""
    stages: list[Stage] = []

    def open_one(name: str, **options: Any) -> Stage:
        need_account(name)
        stages.append(Stage(root, **{"user": user_of(name), **options}))
        return stages[-1]

    yield open_one
    for stage in stages:
        stage.close()


@pytest.fixture
def alice(open_stage: OpenStage) -> Stage:
    """A Session as one user."""
    return open_stage(ALICE)


@pytest.fixture
def bob(open_stage: OpenStage) -> Stage:
    """A Session as another one, who shares no group with the first."""
    return open_stage(BOB, session_id="bob's")
