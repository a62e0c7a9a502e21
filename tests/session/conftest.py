"""Stages for Sessions with real processes."""

import pytest

from support.accounts import ALICE
from support.fixtures import account, begin, gate, journal, open_stage, records, run, stage

__all__ = ("account", "begin", "gate", "journal", "open_stage", "records", "run", "stage")

AS_BOTH = {"test_cancel", "test_cleanup", "test_survivors", "test_time_limits"}
"""Modules whose stories are the same for our own user and another one."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "account" in metafunc.fixturenames and metafunc.module.__name__.rpartition(".")[2] in AS_BOTH:
        metafunc.parametrize("account", [None, ALICE], indirect=True, ids=["", "another-user"])
