"""Counts of a run while it goes on: what progress bars, `rushes status` and the table `runs` show. Safe for several threads."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any


class Tally:
    """The books of one run.

    Attributes:
        counts: videos_found, videos_scanned, videos_reused, videos_failed, videos_duplicate, clips_kept, clips_dropped, clips_failed,
            captions_made, caption_requests, captions_pending, frames_encoded, footage_s, decoded_s, bytes_read.
        busy_s: stage -> busy seconds: CPU time of scan, shots and files, time in flight of captions.
        under_way: uri -> seconds decoded so far, of the videos that are being decoded.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.busy_s: Counter[str] = Counter()
        self.under_way: dict[str, float] = {}
        self.videos_todo = 0
        self.footage_todo_s = 0.0
        self.bytes_todo = 0
        self.began = time.monotonic()

    def add(self, **counts: float) -> None:
        """Adds to counts."""
        with self._lock:
            self.counts.update(counts)

    def busy(self, seconds: Mapping[str, float]) -> None:
        """Adds busy seconds by stage."""
        with self._lock:
            self.busy_s.update(seconds)

    def snapshot(self) -> dict[str, Any]:
        """Counts, busy seconds and what is under way, as plain data for `load`."""
        with self._lock:
            return {"counts": dict(self.counts), "busy_s": dict(self.busy_s), "under_way": dict(self.under_way)}

    def load(self, snapshot: Mapping[str, Any]) -> None:
        """Takes over what another process counted."""
        with self._lock:
            self.counts, self.busy_s = Counter(snapshot["counts"]), Counter(snapshot["busy_s"])
            self.under_way = snapshot["under_way"]

    @property
    def decoded_now_s(self) -> float:
        """Seconds decoded, those of videos under way included."""
        with self._lock:
            return float(self.counts["decoded_s"]) + sum(self.under_way.values())

    @property
    def wall_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    def as_dict(self) -> dict[str, Any]:
        """Counts as the contract's `runs --json` has them."""
        names = (
            "videos_found", "videos_scanned", "videos_reused", "videos_failed", "videos_duplicate", "clips_kept", "clips_dropped",
            "clips_failed", "frames_encoded", "captions_made", "captions_pending", "caption_requests", "bytes_read",
        )  # fmt: skip
        with self._lock:
            found: dict[str, Any] = {name: int(self.counts[name]) for name in names}
            found |= {name: round(float(self.counts[name]), 6) for name in ("footage_s", "decoded_s")}
            found["busy_s"] = {stage: round(float(s), 3) for stage, s in self.busy_s.items()}
        found["wall_s"] = round(self.wall_s, 3)
        return found
