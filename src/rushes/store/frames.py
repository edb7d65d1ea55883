"""Sampled frames on their way into the store, in parts of at most 64 MiB as they come, whatever the video's length; and out of it."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rushes.records import Span
from rushes.store.parts import video_part
from rushes.store.store import Store
from rushes.store.tables import FRAMES

MAX_PART_BYTES = 64 << 20
VIDEOS_HELD = 64
"""Videos whose list of frame pts is kept: clips of one video come together."""


class FrameReader:
    """Reads the sampled frames of clips. Several threads may use it.

    Args:
        store: the store.
        fingerprint: of the frames.
    """

    def __init__(self, store: Store, fingerprint: str) -> None:
        self._store = store
        self._fingerprint = fingerprint
        self._pts: OrderedDict[str, list[int]] = OrderedDict()

    def pts(self, video_id: str) -> list[int]:
        """Sorted pts of a video's sampled frames.

        Raises:
            StorageError: they cannot be read.
        """
        found = self._pts.get(video_id)
        if found is None:
            found = self._pts[video_id] = self._store.frame_pts(video_id, self._fingerprint)
            while len(self._pts) > VIDEOS_HELD:
                self._pts.popitem(last=False)
        return found

    def jpegs(self, video_id: str, pts: Sequence[int]) -> dict[int, bytes]:
        """JPEG bytes by pts, of the frames asked for that exist. Raises as `pts`."""
        return self._store.frames(video_id, self._fingerprint, pts) if pts else {}


class FrameWriter:
    """Writes one video's sampled frames.

    Args:
        columns: the columns that all rows share: video_id, fingerprint, run_id, written_at.
        hold: keep the frames in a scratch file until `finish` says which to write (for `frames.keep = "kept"`).
        check: called before a part is written; what it raises keeps the part from being written.
        label: stands in the parts' names, so that several writers of one video do not overwrite each other's parts.
    """

    def __init__(
        self, store: Store, columns: dict[str, Any], *, hold: bool, check: Callable[[], None] = lambda: None, label: str = ""
    ) -> None:
        self._store = store
        self._columns = columns
        self._check = check
        self._label = label
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0
        self._part = 0
        self._scratch = tempfile.TemporaryFile(prefix="rushes-") if hold else None  # noqa: SIM115 - open until `close`
        self._held: list[tuple[int, int, int, int, int]] = []
        self.count = 0

    def add(self, pts: int, jpeg: bytes, width: int, height: int) -> None:
        """Takes the next frame, in order of pts."""
        if self._scratch is None:
            self._take(pts, jpeg, width, height)
        else:
            self._held.append((pts, width, height, self._scratch.tell(), len(jpeg)))
            self._scratch.write(jpeg)

    def _take(self, pts: int, jpeg: bytes, width: int, height: int) -> None:
        self._rows.append({**self._columns, "pts": pts, "jpeg": jpeg, "width": width, "height": height})
        self._bytes += len(jpeg)
        self.count += 1
        if self._bytes >= MAX_PART_BYTES:
            self._write()

    def finish(self, spans: Iterable[Span]) -> None:
        """Writes what is left; of held frames those inside the spans. All frames are durable when this returns."""
        if self._scratch is not None:
            inside = list(spans)
            for pts, width, height, at, size in self._held:
                if any(s.start_pts <= pts < s.end_pts for s in inside):
                    self._scratch.seek(at)
                    self._take(pts, self._scratch.read(size), width, height)
        if self._rows:
            self._write()
        self.close()

    def close(self) -> None:
        """Gives the scratch file back; frames not yet written are dropped."""
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = None

    def _write(self) -> None:
        self._check()
        name = video_part(self._columns["video_id"], self._columns["fingerprint"], self._part, self._label)
        self._store.write_rows(FRAMES, self._rows, name=name)
        self._rows, self._bytes, self._part = [], 0, self._part + 1
