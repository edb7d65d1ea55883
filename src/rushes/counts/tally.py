"""Counts of a run while it goes on: what progress bars, `rushes status` and the table `runs` show. Safe for several threads."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any


class Tally:
    """The counts of one run.

    Attributes:
        counts: videos_found, videos_scanned, videos_reused, videos_failed, videos_duplicate, videos_forgotten, clips_kept, clips_dropped,
            clips_failed, spans_failed, scores_made, scores_pending (kept clips that wait for a score), captions_made, files_made,
            files_failed, caption_requests, prompt_tokens, completion_tokens (of its captions, failed ones too), captions_pending,
            frames_encoded, footage_s, decoded_s, bytes_read; videos_with_other_streams (scanned in this run, whose files hold further
            films); and NAME_made of any other stage of clips.
        busy_s: stage -> busy seconds: CPU time of scan, shots and files, time of the jobs of scores, time in flight of captions.
        under_way: job -> seconds decoded so far, of the videos and segments that are being decoded, where that is known.
        scans_submitted: videos and segments that the cluster may be decoding, where `under_way` is not known.
        errors: type of error -> failed videos, scores and captions.
        data_sets: data sets that were named as footage -> the version that was read.
        passed_over: suffix -> files of folders and patterns that were not taken because of it.
        reasons: rule -> dropped clips that it drops, whatever other rules say of them.
        capacity: stage -> how many jobs of it can be at work at once, so that busy_s / (wall_s x capacity) is its busy share.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.busy_s: Counter[str] = Counter()
        self.under_way: dict[str, float] = {}
        self.scans_submitted = 0
        self.errors: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.capacity: dict[str, int] = {}
        self.passed_over: dict[str, int] = {}
        self.data_sets: dict[str, str] = {}
        self.videos_todo = 0
        self.footage_todo_s = 0.0
        self.bytes_todo = 0
        self.began = time.monotonic()

    def add(self, **counts: float) -> None:
        """Adds to counts."""
        with self._lock:
            self.counts.update(counts)

    def enter(self, counts: Mapping[str, float], busy: Mapping[str, float], errors: Mapping[str, int], reasons: Mapping[str, int]) -> None:
        """Adds what came of a job: counts, busy seconds by stage, failures by type of error, dropped clips by rule."""
        with self._lock:
            self.counts.update(counts)
            self.busy_s.update(busy)
            self.errors.update(errors)
            self.reasons.update(reasons)

    @property
    def in_flight(self) -> int:
        """Videos and segments that are being decoded, as far as is known."""
        return len(self.under_way) or self.scans_submitted

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
            "videos_found", "videos_scanned", "videos_reused", "videos_failed", "videos_duplicate", "videos_forgotten",
            "clips_kept", "clips_dropped", "clips_failed", "spans_failed", "scores_made", "scores_pending", "frames_encoded",
            "files_made", "files_failed", "captions_made", "captions_pending", "caption_requests", "prompt_tokens", "completion_tokens",
            "bytes_read", "videos_with_other_streams",
        )  # fmt: skip
        with self._lock:
            found: dict[str, Any] = {name: int(self.counts[name]) for name in names}
            found |= {name: round(float(self.counts[name]), 6) for name in ("footage_s", "decoded_s")}
            found |= {name: int(n) for name, n in self.counts.items() if name not in found}
            found["busy_s"] = {stage: round(float(s), 3) for stage, s in self.busy_s.items()}
            found["errors"] = dict(self.errors)
            found["reasons"] = dict(self.reasons.most_common())
        found |= {"videos_todo": self.videos_todo, "footage_todo_s": round(self.footage_todo_s, 3), "capacity": dict(self.capacity)}
        found["passed_over"], found["data_sets"] = dict(self.passed_over), dict(self.data_sets)
        found |= {"in_flight": self.in_flight, "decoded_now_s": round(self.decoded_now_s, 3), "wall_s": round(self.wall_s, 3)}
        return found
