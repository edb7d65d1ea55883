"""Rows of captions of windows: those that are there, and those that are made."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rushes.captions import Answer
from rushes.captions.fields import field_values
from rushes.captions.windows import Window
from rushes.records import Row
from rushes.rows.clip_columns import within
from rushes.rows.scanned import Stamp
from rushes.store.buffer import Buffer
from rushes.store.store import Store, now
from rushes.store.tables import WINDOWS

OF_ANSWER = ("text", "model", "prompt_id", "prompt_tokens", "completion_tokens", "seconds", "tries", "finish_reason", "server")
"""Columns of a caption that are those of an answer."""
VIDEOS = 16
"""Videos whose rows are in memory; more than have clips under way at once."""


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


@dataclass
class WindowRows:
    """Rows of the table `windows` under the fingerprint of the captions. The clips of a video come together, so the rows of the videos that
    were asked for last stay in memory: the table is read once for each video, and not for each clip.
    """

    store: Store
    buffer: Buffer
    schema: Mapping[str, Any] | None
    fingerprint: str
    run_id: str

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._of_video: dict[str, dict[tuple[str, int], Answer]] = {}
        """video_id -> clip and number of the window -> answer; in the order in which the videos were first asked for."""

    def known(self, clip: Row, windows: Sequence[Window]) -> dict[int, Answer]:
        """The answers that are in the store, by the number of the window.

        Raises:
            StorageError: they cannot be read.
        """
        video = clip["video_id"]
        with self._lock:
            if video not in self._of_video:
                rows: list[Row] = self.store.read(WINDOWS, fingerprints=[self.fingerprint], only={"video_id": [video]}).to_pylist()
                while len(self._of_video) >= VIDEOS:
                    del self._of_video[next(iter(self._of_video))]
                self._of_video[video] = {(row["clip_id"], row["window"]): _answer(row) for row in rows}
            found = self._of_video[video]
            return {one.index: found[clip["clip_id"], one.index] for one in windows if (clip["clip_id"], one.index) in found}

    def keep(self, clip: Row, window: Window, answer: Answer) -> None:
        """Writes the row of a window; it is durable when this returns.

        Raises:
            StorageError: it cannot be written.
        """
        piece = within(clip, window)
        of_span = {name: piece[name] for name in ("start_pts", "end_pts", "start_s", "end_s")}
        row = Stamp(self.run_id, now()).on({**of_span, "window": window.index, **answer_row(clip, answer, self.schema)}, self.fingerprint)
        self.buffer.commit({WINDOWS.name: [row]})
        with self._lock:
            if (mine := self._of_video.get(clip["video_id"])) is not None:
                mine[clip["clip_id"], window.index] = answer


def _answer(row: Row) -> Answer:
    return Answer(row["clip_id"], **{name: row[name] for name in OF_ANSWER}, fields=json.loads(row["fields"]) if row["fields"] else None)
