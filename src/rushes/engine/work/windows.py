"""Rows of captions of windows: those that are there, and those that are made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rushes.captions import Answer
from rushes.captions.fields import field_values
from rushes.captions.windows import Window
from rushes.records import Row
from rushes.rows.clip_columns import second
from rushes.rows.scanned import Stamp
from rushes.store.buffer import Buffer
from rushes.store.store import Store, now
from rushes.store.tables import WINDOWS

OF_ANSWER = ("text", "model", "prompt_id", "prompt_tokens", "completion_tokens", "seconds", "tries", "finish_reason", "server")
"""Columns of a caption that are those of an answer."""


def answer_row(clip: Row, answer: Answer, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a row says of an answer that is a caption of a clip, or of a window of it.

    Raises:
        ValueError: the answer is another clip's.
    """
    if answer.clip_id != clip["clip_id"]:
        raise ValueError(f"the answer about clip {answer.clip_id} came for clip {clip['clip_id']}")
    fields = None if answer.fields is None else json.dumps(answer.fields, ensure_ascii=False)
    who = {"clip_id": clip["clip_id"], "video_id": clip["video_id"]}
    return who | {name: getattr(answer, name) for name in OF_ANSWER} | {"fields": fields, **field_values(answer.fields, schema)}


def within(clip: Row, window: Window) -> Row:
    """The columns of a clip, of which those of its span are those of a window."""
    start_s, end_s = (clip["start_s"] + second(pts, clip) for pts in (window.start_pts, window.end_pts))
    span = {"start_pts": window.start_pts, "end_pts": window.end_pts, "start_s": start_s, "end_s": end_s, "duration_s": end_s - start_s}
    return {**clip, **span}


class WindowRows:
    """Rows of the table `windows` under the fingerprint of the captions."""

    def __init__(self, store: Store, buffer: Buffer, schema: Mapping[str, Any] | None, fingerprint: str, run_id: str) -> None:
        self._store = store
        self._buffer = buffer
        self._schema = schema
        self._fingerprint = fingerprint
        self._run_id = run_id

    def known(self, clip: Row, windows: Sequence[Window]) -> dict[int, Answer]:
        """The answers that are in the store, by the number of the window.

        Raises:
            StorageError: they cannot be read.
        """
        rows: list[Row] = self._store.read(WINDOWS, fingerprints=[self._fingerprint], only={"video_id": [clip["video_id"]]}).to_pylist()
        found = {row["window"]: row for row in rows if row["clip_id"] == clip["clip_id"]}
        return {window.index: _answer(found[window.index]) for window in windows if window.index in found}

    def keep(self, clip: Row, window: Window, answer: Answer) -> None:
        """Writes the row of a window; it is durable when this returns.

        Raises:
            StorageError: it cannot be written.
        """
        piece = within(clip, window)
        of_span = {name: piece[name] for name in ("start_pts", "end_pts", "start_s", "end_s")}
        row = Stamp(self._run_id, now()).on(
            {**of_span, "window": window.index, **answer_row(clip, answer, self._schema)}, self._fingerprint
        )
        self._buffer.commit(self._buffer.add({WINDOWS.name: [row]}))


def _answer(row: Row) -> Answer:
    return Answer(row["clip_id"], **{name: row[name] for name in OF_ANSWER}, fields=json.loads(row["fields"]) if row["fields"] else None)
