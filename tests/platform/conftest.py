"""The platforms that the contract is tried on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from openjd.sessions._platform.posix import PosixPlatform
from support.bench import Bench
from support.fake_platform import FakePlatform
from support.manual_loop import ManualClock, ManualLoop


@pytest.fixture(scope="module")
def loop() -> Iterator[ManualLoop]:
    manual_loop = ManualLoop()
    yield manual_loop
    manual_loop.close()


@pytest.fixture(scope="module")
def posix_platform(loop: ManualLoop) -> Iterator[PosixPlatform]:
    """One launcher for all tests of a module."""
    platform = PosixPlatform(loop)
    platform.open_keeper().leave(lambda: None)
    yield platform
    platform.forget()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def posix(posix_platform: PosixPlatform, loop: ManualLoop, tmp_path: Path) -> Iterator[Bench]:
    """A real keeper."""
    bench = Bench(posix_platform, loop, tmp_path)
    yield bench
    bench.close()


@pytest.fixture
def fake(loop: ManualLoop, clock: ManualClock, tmp_path: Path) -> Iterator[Bench]:
    """A keeper of nothing."""
    platform = FakePlatform(loop, clock)
    bench = Bench(platform, loop, tmp_path)
    yield bench
    bench.close()


@pytest.fixture(params=["posix", "fake"])
def bench(request: pytest.FixtureRequest, posix_platform: PosixPlatform) -> Bench:  # noqa: ARG001 - made early
    """Each platform in turn."""
    chosen = request.getfixturevalue(request.param)
    assert isinstance(chosen, Bench)
    return chosen
