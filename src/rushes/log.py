"""The structured log: one JSON object a line, off by default.

Library code logs an event with `note`. It goes nowhere unless the command was given `--log`, or the calling program added a handler to the
logger "rushes".

    {"at": "2026-11-22T10:00:00.123456+00:00", "level": "info", "event": "video done", "run_id": ..., "stage": "scan",
     "key": ..., "uri": ..., "host": ..., "pid": ...}
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from rushes.errors import UsageError

LOGGER = logging.getLogger("rushes")
LOGGER.addHandler(logging.NullHandler())  # else Python itself would print what nobody asked for
FIELDS = "rushes_fields"
Level = Literal["info", "warning", "error"]
LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def note(event: str, *, run_id: str | None = None, stage: str, level: Level = "info", **fields: object) -> None:
    """Tells of one event.

    Args:
        event: what happened, a few words that never change, such as "video done".
        run_id: the run; None where it is not known, as by what asks caption servers.
        stage: run, lease, scan, recut, scores, files, identify or captions.
        level: info; warning for one failed row; error for what ends a run.
        fields: JSON-ready facts: `key` (video_id or clip_id), `uri` (as it may be shown), `error_type` and so on.
    """
    LOGGER.log(LEVELS[level], event, extra={FIELDS: {"run_id": run_id, "stage": stage, **fields}})


@dataclass(frozen=True, slots=True)
class Event:
    """One event, as plain data on its way to another process. `at`: seconds since 1970."""

    at: float
    level: Level
    event: str
    fields: dict[str, Any]


class Collector(logging.Handler):
    """Collects the events of a process that is not the run's driver, until they are taken there."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._events: list[Event] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps an event."""
        fields = {**getattr(record, FIELDS, {}), "host": platform.node(), "pid": os.getpid()}
        level: Level = "error" if record.levelno >= logging.ERROR else "warning" if record.levelno >= logging.WARNING else "info"
        self._events.append(Event(record.created, level, record.getMessage(), fields))

    def close(self) -> None:
        """Holds nothing any more."""
        LOGGER.removeHandler(self)
        super().close()

    def take(self) -> tuple[Event, ...]:
        """The events since the last call."""
        events, self._events = self._events, []
        return tuple(events)


def collect() -> Collector:
    """From now on this process's events are collected for the driver."""
    collector = Collector()
    LOGGER.addHandler(collector)
    LOGGER.setLevel(logging.INFO)
    return collector


def replay(events: Sequence[Event]) -> None:
    """Logs another process's events here, with their own time, host and process id."""
    for one in events:
        record = LOGGER.makeRecord(LOGGER.name, LEVELS[one.level], "", 0, one.event, (), None, extra={FIELDS: one.fields})
        record.created = one.at
        if LOGGER.isEnabledFor(record.levelno):
            LOGGER.handle(record)


class Lines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat()
        head = {"at": at, "level": record.levelname.lower(), "event": record.getMessage()}
        fields = {k: v for k, v in getattr(record, FIELDS, {}).items() if v is not None}
        where = {"host": platform.node(), "pid": os.getpid()}
        return json.dumps({**head, **where, **fields}, default=str)


@contextmanager
def logged(path: str | None) -> Iterator[None]:
    """Writes what happens inside to a file, as one JSON object a line, appended.

    Args:
        path: the file; "-" is stderr; None: no log.

    Raises:
        UsageError: the file cannot be opened.
    """
    if path is None:
        yield
        return
    try:
        handler = logging.StreamHandler(sys.stderr) if path == "-" else logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        what = f"the log {path} cannot be opened: {error.strerror or error}"
        raise UsageError(what, step="run", mend="name a file in a folder that you may write") from error
    handler.setFormatter(Lines())
    before = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(before)
        handler.flush()
        if path != "-":
            handler.close()
