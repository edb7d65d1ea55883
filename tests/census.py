"""What a store holds, counted from outside: raw rows read by pyarrow alone, files with their times, and what a caption server was asked.

`attempt` does what a person would: plan, run, and compare what was promised with what came.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from caption_server import Running
from rushes.api import plan
from stores import go, parts_of, recipe, seen

KEYS = {
    "videos": ("uri", "video_id"), "signals": ("video_id",), "frames": ("video_id", "pts"), "clips": ("clip_id",), "measures": ("clip_id",),
    "scores": ("clip_id",), "captions": ("clip_id",), "files": ("clip_id",), "marks": ("video_id", "stage"), "errors": ("stage", "key"),
}  # fmt: skip
"""Keys of the tables as docs/architecture.md gives them."""
OF_VIDEOS = ("scan", "frames", "shots", "measures")
OF_CLIPS = ("scores", "captions", "files")
BOOKS = ("videos_scanned", "videos_reused", "videos_failed", "videos_duplicate")
Key = tuple[Any, ...]


def raw(out: Path, table: str) -> list[dict[str, Any]]:
    """Every row of every part, superseded ones too."""
    if not (out / table).is_dir():
        return []
    columns = [*KEYS[table], "fingerprint", *(["text"] if table == "captions" else [])]
    rows: list[dict[str, Any]] = ds.dataset(str(out / table), format="parquet").to_table(columns=columns).to_pylist()
    return rows


@dataclass(frozen=True, slots=True)
class Census:
    """A store at one moment: how often each (key, fingerprint) stands in each table, and every file with its time of change."""

    rows: dict[str, Counter[Key]]
    files: dict[str, int]

    @classmethod
    def of(cls, out: Path) -> Census:
        """Counts a store."""
        rows = {table: Counter(tuple(row[k] for k in (*keys, "fingerprint")) for row in raw(out, table)) for table, keys in KEYS.items()}
        return cls(rows, parts_of(out))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One plan and the run after it."""

    planned: dict[str, Any]
    run: dict[str, Any]
    """The newest row of `runs --json`."""
    clips: list[dict[str, Any]]
    before: Census
    after: Census
    asked: list[str]
    """The first image of each captioning request, as the first 12 hex digits of its SHA-256."""
    told: list[str]
    """The same, as the captions that are new tell it."""

    def missing(self, unread: int = 0) -> dict[str, int]:
        """What the plan said is missing, by stage, without zeros; of videos but for those that cannot be read."""
        less = dict.fromkeys(OF_VIDEOS, unread)
        found = {stage: row["missing"] - less.get(stage, 0) for stage, row in self.planned.items() if isinstance(row, dict)}
        return {stage: n for stage, n in found.items() if n}

    def new(self, table: str) -> set[Key]:
        """Keys with their fingerprint that were not there before."""
        return set(self.after.rows[table]) - set(self.before.rows[table])

    def marked(self, stage: str) -> int:
        """Videos that newly passed a stage."""
        return sum(key[1] == stage for key in self.new("marks"))

    @property
    def captioned(self) -> set[str]:
        """Clips that got a caption."""
        return {key[0] for key in self.new("captions")}

    def kept_its_word(self, unread: int = 0, *, new_footage: bool = False) -> None:
        """Asserts that the run did what the plan said, no more and no less, and that the books balance.

        Args:
            unread: videos that cannot be read, among those the plan wants to scan: they leave an error where others leave a mark.
            new_footage: no run has scanned it, so that the plan can but estimate the seconds to decode.
        """
        for stage in OF_VIDEOS:
            if stage in self.planned:
                assert self.marked(stage) + unread == self.planned[stage]["missing"], stage
        for stage in set(OF_CLIPS) & set(self.planned):
            told, came = self.planned[stage], len(self.new(stage))
            assert came == told["missing"] if self.planned["unknown_videos"] == 0 else came >= told["missing"], stage
        scans = max([unread, *(self.planned[s]["missing"] for s in ("scan", "frames") if s in self.planned)])
        assert self.run["videos_scanned"] == scans - unread
        if new_footage:
            assert self.run["decoded_s"] > 0 < self.planned["decode_s"]
        elif "files" not in self.planned or self.planned["unknown_videos"] == 0:
            assert self.run["decoded_s"] == pytest.approx(self.planned["decode_s"], abs=0.01)
        else:
            assert self.run["decoded_s"] >= self.planned["decode_s"] - 0.01
        self.is_asked_for_what_is_new()
        self.rewrote_nothing()
        self.balances()

    def is_asked_for_what_is_new(self) -> None:
        """Asserts that the server was asked once for each caption that is new, and for no other."""
        assert sorted(self.asked) == sorted(self.told)
        assert self.run["caption_requests"] == len(self.asked)
        assert self.run["captions_made"] == len(self.new("captions"))

    def rewrote_nothing(self) -> None:
        """Asserts that the files that were there are as they were, and that no row was written again beside itself.

        Only the mark of `files` is, when more of a video's clips get one, and the row of a uri that has something new to say.
        """
        before = {path: at for path, at in self.before.files.items() if not path.startswith("videos/")}
        assert {path: self.after.files.get(path) for path in before} == before
        for table in set(KEYS) - {"videos", "errors"}:
            again = [key for key, n in self.after.rows[table].items() if n > 1]
            assert [key for key in again if key[1] != "files"] == [], table

    def balances(self) -> None:
        """Asserts that the books of videos and of clips balance."""
        assert self.run["status"] == "finished"
        assert self.run["videos_found"] == sum(self.run[name] for name in BOOKS)
        verdicts = Counter(clip["verdict"] for clip in self.clips)
        assert [self.run[f"clips_{v}"] for v in ("kept", "dropped", "failed")] == [verdicts[v] for v in ("kept", "dropped", "failed")]
        assert sum(verdicts.values()) == len({c["clip_id"] for c in self.clips})

    def did_nothing(self) -> None:
        """Asserts that nothing was missing, asked, decoded or written but the row of the run."""
        assert self.missing() == {}
        assert self.planned["decode_s"] == self.run["decoded_s"] == self.run["bytes_read"] == self.run["videos_scanned"] == 0
        assert self.asked == []
        assert self.after == self.before


def attempt(footage: Path | Sequence[Path], out: Path, server: Running, *settings: str) -> Attempt:
    """Plans, runs, and counts before and after."""
    named = [footage] if isinstance(footage, Path) else list(footage)
    wanted, before = recipe(*settings), Census.of(out)
    planned = plan(named, out=out, recipe=wanted)
    server.control(model=wanted.captions.model)
    go(named, out, *settings)
    stats, after, results = server.stats(), Census.of(out), seen(out, *settings)
    assert stats["violations"] == []
    old = set(before.rows["captions"])
    texts = [row["text"] for row in raw(out, "captions") if (row["clip_id"], row["fingerprint"]) not in old]
    told = [found[1] for text in texts if (found := re.search(r"first (\w{12})\.", text))]
    asked = [request["images"][0][:12] for request in stats["requests"] if request["images"]]
    return Attempt(planned, results.runs()[-1], results.clips(), before, after, asked, told)
