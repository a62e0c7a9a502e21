"""The logger, the fields of its records, banners, the one filter that hides secrets, and text of others made harmless.

Rules: LOG-1 to LOG-8. Every record of a Session carries ``session_id``; most carry ``openjd_log_content``.
A log handler or filter of somebody else that raises is reported the way ``logging`` itself reports it, and harms
nothing else (LOG-7).
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from enum import Flag
from functools import cache
from typing import Any, Callable, Optional

LOG = logging.getLogger("openjd.sessions")
LOG.setLevel(logging.INFO)


class LogContent(Flag):
    """What a log record may contain; a record's ``openjd_log_content`` (rule LOG-2)."""

    BANNER = 1
    FILE_PATH = 2
    FILE_CONTENTS = 4
    COMMAND_OUTPUT = 8
    EXCEPTION_INFO = 16
    PROCESS_CONTROL = 32
    PARAMETER_INFO = 64
    HOST_INFO = 128


class LoggerAdapter(logging.LoggerAdapter):  # type: ignore[type-arg]  # generic only from Python 3.11 on
    """An adapter whose own ``extra`` is merged with that of each call; its own wins (rule LOG-3)."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


Redact = Callable[[str], str]


class _RedactingFilter(logging.Filter):
    """Hides the secrets of the open Sessions in every record that is logged to ``LOG`` (rules RED-1, LOG-8).

    A record with a ``session_id`` is searched for that Session's secrets, one without for those of all.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.RLock()  # the garbage collector may end a Session within add or remove
        self._sessions: Mapping[str, tuple[Redact, ...]] = {}

    def add(self, session_id: str, redact: Redact) -> None:
        with self._lock:
            self._sessions = {**self._sessions, session_id: (*self._sessions.get(session_id, ()), redact)}
            LOG.addFilter(self)

    def remove(self, session_id: str, redact: Redact) -> None:
        with self._lock:
            left = tuple(known for known in self._sessions.get(session_id, ()) if known is not redact)
            others = {key: value for key, value in self._sessions.items() if key != session_id}
            self._sessions = {**others, session_id: left} if left else others
            if not self._sessions:
                LOG.removeFilter(self)

    def renew_lock(self) -> None:
        self._lock = threading.RLock()

    def filter(self, record: logging.LogRecord) -> bool:
        for redact in self._redactors_for(record):
            _redact_record(record, redact)
        return True

    def _redactors_for(self, record: logging.LogRecord) -> Iterable[Redact]:
        sessions = self._sessions
        session_id = getattr(record, "session_id", None)
        if session_id is not None:
            return sessions.get(session_id, ())
        return [redact for redactors in sessions.values() for redact in redactors]


_FILTER = _RedactingFilter()


def renew_locks() -> None:
    """This is a forked child: whoever held a lock is not here to release it."""
    _FILTER.renew_lock()
    _prototype.cache_clear()  # it knows the process


def _redact_record(record: logging.LogRecord, redact: Redact) -> None:
    try:
        _redact_parts(record, redact)
    except Exception:  # a client's wrong % arguments, for instance (RED-11)
        record.msg, record.args, record.exc_info, record.stack_info = "********", (), None, None


def _redact_parts(record: logging.LogRecord, redact: Redact) -> None:
    shown = record.getMessage()
    hidden = redact(shown)
    if hidden != shown:
        record.msg, record.args = hidden, ()
    if record.exc_info:
        trace = logging.Formatter().formatException(record.exc_info)
        if redact(trace) != trace:
            record.exc_text, record.exc_info = redact(trace), None
    if record.stack_info:
        record.stack_info = redact(record.stack_info)


def report_foreign_error(record: logging.LogRecord) -> None:
    """Say on standard error that a handler or filter raised, as ``logging`` does for its own handlers."""
    with suppress(Exception):  # standard error may be closed
        logging.Handler().handleError(record)


_RULE_LENGTH = 46
LogBatch = tuple[int, Iterable[str], Optional[LogContent]]
"""A level, messages, and what they contain."""


class SessionLog:
    """Logs for one Session: every record has its id, is redacted, and no failing handler harms the caller.

    ``level`` replaces ``LOG``'s own level for this Session once it is set (rule DIR-16).
    """

    def __init__(self, session_id: str, redact: Redact) -> None:
        self.session_id = session_id
        self.level: Optional[int] = None
        self.redact = redact
        self._held: list[LogBatch] = []
        self._holder: Optional[int] = None
        """The thread whose messages are held back."""
        _FILTER.add(session_id, redact)

    def close(self) -> None:
        """Stop redacting for this Session."""
        _FILTER.remove(self.session_id, self.redact)

    def hold(self) -> None:
        """Keep what this thread logs until ``release``: all at once it costs less, and nobody waits for it then."""
        self._holder = threading.get_ident()

    def release(self) -> None:
        """Log what has been held, and hold nothing any more."""
        self._holder = None
        self.flush()

    def flush(self) -> None:
        """Log what has been held; by whoever holds it, before something that may take long."""
        held, self._held = self._held, []
        self._emit(held)

    def debug(self, message: str, content: Optional[LogContent] = None) -> None:
        self.log(logging.DEBUG, message, content)

    def info(self, message: str, content: Optional[LogContent] = None) -> None:
        self.log(logging.INFO, message, content)

    def warning(self, message: str, content: Optional[LogContent] = None) -> None:
        self.log(logging.WARNING, message, content)

    def error(self, message: str, content: Optional[LogContent] = None) -> None:
        self.log(logging.ERROR, message, content)

    def log(self, level: int, message: str, content: Optional[LogContent] = None) -> None:
        self._log_lines(level, (message,), content)

    def info_lines(self, messages: Iterable[str], content: Optional[LogContent] = None) -> None:
        """Log several messages at once, one record each."""
        self._log_lines(logging.INFO, messages, content)

    def debug_lines(self, messages: Iterable[str], content: Optional[LogContent] = None) -> None:
        """The same for debugging: the messages are not asked for if nobody wants them."""
        self._log_lines(logging.DEBUG, messages, content)

    def _log_lines(self, level: int, messages: Iterable[str], content: Optional[LogContent]) -> None:
        if self._holder is not None and self._holder == threading.get_ident():
            self._held.append((level, messages, content))
        else:
            self._emit([(level, messages, content)])

    def _emit(self, batches: Sequence[LogBatch]) -> None:
        """Redact and log messages, as far as somebody wants them."""
        shown = set(filter(self.shows, {level for level, _, _ in batches}))
        if shown:
            self._handle(
                (level, map(self.redact, messages), content) for level, messages, content in batches if level in shown
            )

    def section(self, title: str) -> None:
        """A section banner (rule LOG-4)."""
        self.info("")
        self._ruled("=", f"--------- {title}")

    def subsection(self, title: str) -> None:
        """A sub-section banner (rule LOG-4)."""
        self._ruled("-", title)

    def lines(self, lines: Iterable[str]) -> None:
        """Log lines of output that are redacted already, one record a line."""
        if self.shows(logging.INFO):
            self._handle([(logging.INFO, lines, LogContent.COMMAND_OUTPUT)])

    def shows(self, level: int) -> bool:
        """Whether a record of this level would be logged for this Session."""
        if self.level is None:
            return LOG.isEnabledFor(level)
        return level >= self.level and LOG.manager.disable < level

    def _ruled(self, rule: str, title: str) -> None:
        self.info_lines((rule * _RULE_LENGTH, title, rule * _RULE_LENGTH), LogContent.BANNER)

    def _handle(self, batches: Iterable[LogBatch]) -> None:
        """Make records of redacted messages, one each, and have them handled.

        A record costs most of a line's time, so all are copied from one and handed to the handlers directly, wherever
        nobody could tell the difference.
        """
        if not _handlers_of(LOG) or LOG.filters != [_FILTER] or not _records_are_usual():
            for level, messages, content in batches:
                for message in messages:
                    _call(LOG.handle, self._make_record(level, message, content))
        elif not LOG.disabled:
            _handle_copies(self._fields(), batches)

    def _fields(self) -> dict[str, Any]:
        """What ``_make_record`` would give any record here and now, but for its level, in half its time."""
        prototype = _prototype()
        now = time.time()
        fields = prototype.__dict__.copy()
        fields["session_id"] = self.session_id
        fields["created"] = now
        fields["msecs"] = now % 1 * 1000 // 1
        fields["relativeCreated"] = prototype.relativeCreated + (now - prototype.created) * 1000
        fields["thread"] = threading.get_ident()
        fields["threadName"] = threading.current_thread().name
        fields["processName"] = _process_name()
        if "taskName" in fields:
            fields["taskName"] = _task_name()
        return fields

    def _make_record(self, level: int, message: str, content: Optional[LogContent]) -> logging.LogRecord:
        record = logging.getLogRecordFactory()(LOG.name, level, __file__, 0, message, (), None)
        record.session_id = self.session_id
        if content is not None:
            record.openjd_log_content = content
        return record


def _records_are_usual() -> bool:
    """Whether nobody has changed what records are, or what they hold."""
    return (
        logging.getLogRecordFactory() is logging.LogRecord
        and logging.logThreads
        and logging.logProcesses
        and logging.logMultiprocessing
        and (sys.version_info < (3, 12) or logging.logAsyncioTasks)
    )


@cache
def _prototype() -> logging.LogRecord:
    return logging.LogRecord(LOG.name, logging.NOTSET, __file__, 0, "", (), None)


def _handle_copies(fields: dict[str, Any], batches: Iterable[LogBatch]) -> None:
    """Have a copy of a record handled for each message; a handler that raises harms nobody (LOG-7)."""
    new, kind, copy = logging.LogRecord.__new__, logging.LogRecord, fields.copy
    for level, messages, content in batches:
        handles = [handler.handle for handler in _handlers_of(LOG) if handler.level <= level]  # each may add others
        fields["levelno"], fields["levelname"] = level, logging.getLevelName(level)
        fields["openjd_log_content"] = content
        if content is None:
            del fields["openjd_log_content"]
        for message in messages:
            record = new(kind)
            record.__dict__ = own = copy()
            own["msg"] = message
            for handle in handles:
                try:
                    handle(record)
                except Exception:
                    report_foreign_error(record)


def _process_name() -> str:
    """What ``multiprocessing`` calls this process, where that is in use."""
    multiprocessing = sys.modules.get("multiprocessing")
    try:
        return str(multiprocessing.current_process().name) if multiprocessing is not None else "MainProcess"
    except Exception:  # another thread is just importing it
        return "MainProcess"


def _task_name() -> Optional[str]:
    """The name of the asyncio task that runs on this thread, if there is one."""
    asyncio = sys.modules.get("asyncio")
    try:
        task = asyncio.current_task() if asyncio is not None else None
    except Exception:  # no loop runs here; or another thread is just importing asyncio
        return None
    return task.get_name() if task is not None else None


def _call(handle: Callable[[logging.LogRecord], object], record: logging.LogRecord) -> None:
    """Have somebody else handle a record; one that raises harms nobody (LOG-7)."""
    try:
        handle(record)
    except Exception:
        report_foreign_error(record)


def _handlers_of(logger: logging.Logger) -> list[logging.Handler]:
    found: list[logging.Handler] = []
    current: Optional[logging.Logger] = logger
    while current is not None:
        found += current.handlers
        current = current.parent if current.propagate else None
    return found


def printable(text: str) -> str:
    """What another user says or names, harmless to a terminal and a log: escaped where it is not printable."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def log_host_information(log: SessionLog) -> None:
    """Say which versions run where (rule LOG-5)."""
    log.info_lines(_host_information(), LogContent.HOST_INFO)


@cache
def _host_information() -> tuple[str, ...]:
    from importlib.metadata import PackageNotFoundError, version
    from pathlib import Path
    from platform import platform

    from openjd.sessions._version import __version__

    try:
        model = version("openjd-model")
    except PackageNotFoundError:
        model = "unknown"
    return (
        f"openjd.model Library Version: {model}",
        f"openjd.sessions Library Version: {__version__}",
        f"Installed at: {Path(__file__).resolve().parents[2]}",
        f"Python Interpreter: {sys.executable}",
        f"Python Version: {sys.version}",
        f"Platform: {platform()}",
    )
