"""Counts of a run while it goes on: what progress bars, `rushes status` and the table `runs` show. Safe for several threads."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypedDict


class Books(TypedDict):
    """What a job or a caption adds to the books: counts, busy seconds by stage, failures by type of error."""

    counts: dict[str, float]
    busy: dict[str, float]
    errors: dict[str, int]


class Tally:
    """The books of one run.

    Attributes:
        counts: videos_found, videos_scanned, videos_reused, videos_failed, videos_duplicate, clips_kept, clips_dropped, clips_failed,
            captions_made, caption_requests, captions_pending, frames_encoded, footage_s, decoded_s, bytes_read.
        busy_s: stage -> busy seconds: CPU time of scan, shots and files, time in flight of captions.
        under_way: job -> seconds decoded so far, of the videos and segments that are being decoded.
        errors: type of error -> failed videos and captions.
        capacity: stage -> how many rows of it can be under way at once, so that busy_s / (wall_s x capacity) is its busy share.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.busy_s: Counter[str] = Counter()
        self.under_way: dict[str, float] = {}
        self.errors: Counter[str] = Counter()
        self.capacity: dict[str, int] = {}
        self.videos_todo = 0
        self.footage_todo_s = 0.0
        self.bytes_todo = 0
        self.began = time.monotonic()

    def add(self, **counts: float) -> None:
        """Adds to counts."""
        with self._lock:
            self.counts.update(counts)

    def enter(self, books: Books) -> None:
        """Adds what a session tells: counts, busy seconds, errors."""
        with self._lock:
            self.counts.update(books["counts"])
            self.busy_s.update(books["busy"])
            self.errors.update(books["errors"])

    def snapshot(self) -> dict[str, Any]:
        """All that other processes count, as plain data for `load`."""
        with self._lock:
            found = {"counts": dict(self.counts), "busy_s": dict(self.busy_s), "errors": dict(self.errors)}
            return {**found, "under_way": dict(self.under_way), "capacity": dict(self.capacity)}

    def load(self, snapshot: Mapping[str, Any]) -> None:
        """Takes over what another process counted."""
        with self._lock:
            self.counts, self.busy_s, self.errors = (Counter(snapshot[name]) for name in ("counts", "busy_s", "errors"))
            self.under_way, self.capacity = snapshot["under_way"], snapshot["capacity"]

    @property
    def in_flight(self) -> int:
        """Videos and segments that are being decoded."""
        with self._lock:
            return len(self.under_way)

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
            found["errors"] = dict(self.errors)
        found |= {"videos_todo": self.videos_todo, "footage_todo_s": round(self.footage_todo_s, 3), "capacity": dict(self.capacity)}
        found |= {"in_flight": self.in_flight, "decoded_now_s": round(self.decoded_now_s, 3), "wall_s": round(self.wall_s, 3)}
        return found
