"""Moments in which something is done: between two lines of the package, or when a record is logged."""

from __future__ import annotations

import gc
import logging
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Callable

import openjd.sessions

PACKAGE = str(Path(openjd.sessions.__file__).parent)


def is_counted(frame: FrameType) -> bool:
    """Whether a frame is the package's; moments in comprehensions are as many as there are elements, and all alike."""
    return frame.f_code.co_filename.startswith(PACKAGE) and not frame.f_code.co_name.endswith(("<genexpr>", "comp>"))


class AtLine:
    """Does something before the n-th line that this thread executes in the package, as a signal handler would.

    With it, interruptions are tested as orders of events and not by chance.
    """

    def __init__(self, number: int, do: Callable[[], object]) -> None:
        self._number = number
        self._do = do
        self._count = 0
        self._hook = self._trace  # kept: the interpreter does not always hold what traces it

    def __enter__(self) -> AtLine:
        gc.disable()  # finalizers of what others have left would be moments, too, at random
        sys.settrace(self._hook)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        gc.enable()

    @property
    def has_come(self) -> bool:
        return self._count >= self._number

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if not is_counted(frame):
            return None
        if event == "line":
            self._count += 1
            if self._count == self._number:
                sys.settrace(None)
                self._do()
        return self._hook


class AtCall:
    """Does something where this thread begins the n-th call in the package, or has got back from a built-in one.

    There, and at the ends of loops, CPython runs signal handlers, so there a KeyboardInterrupt may come up.
    """

    def __init__(self, number: int, do: Callable[[], object]) -> None:
        self._number = number
        self._do = do
        self._count = 0
        self._hook = self._profile

    def __enter__(self) -> AtCall:
        gc.disable()
        sys.setprofile(self._hook)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        gc.enable()

    @property
    def has_come(self) -> bool:
        return self._count >= self._number

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "c_return") and is_counted(frame):
            self._count += 1
            if self._count == self._number:
                sys.setprofile(None)
                self._do()


class AtRecord(logging.Filter):
    """Does something, once, when a record is logged that begins with a text; on the thread that logs it.

    It is a filter for a handler.
    """

    def __init__(self, start: str, do: Callable[[], object]) -> None:
        super().__init__()
        self._start = start
        self._do = do
        self.results: list[object] = []

    def filter(self, record: logging.LogRecord) -> bool:
        if not self.results and record.getMessage().startswith(self._start):
            self.results.append(None)
            self.results[0] = self._do()
        return True
