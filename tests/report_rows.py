"""Rows for a report, made by hand, and a reader of the page that comes out: what the tests of the report build on."""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from typing import Any

import cv2
import numpy as np

from rushes.recipe import Rule
from rushes.records import Column
from rushes.report.data import ReportData, Totals
from rushes.report.sheets import rule_key

RULES = {
    "too_short": Rule(column="duration_s", min=4.0),
    "blurred": Rule(column="sharpness", min=0.3),
    "shaky": Rule(column="shake", max=0.5),
    "exposed": Rule(column="luma", min=0.1, max=0.9),
}
COLUMNS = {
    c.name: c
    for c in (
        Column("duration_s", "float", "s", "Length of the clip."),
        Column("sharpness", "float", "1", "Edge energy."),
        Column("shake", "float", "diagonal/s", "Motion left over."),
        Column("luma", "float", "0 to 1", "Mean luma."),
        Column("camera_motion", "text", "", "What the camera does."),
        Column("codec", "text", "", "The codec's name."),
        Column("has_audio", "bool", "", "An audio stream is there."),
        Column("never_measured", "float", "1", "Null in every clip."),
    )
}


class Page(HTMLParser):
    """What a browser would see: tags in order, attributes, text by element, scripts and styles."""

    VOID = ("meta", "img", "br", "hr", "input", "link")

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.inside: list[str] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.inside.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.inside and self.inside[-1] == tag, f"</{tag}> closes {self.inside[-3:]}"
        self.inside.pop()

    def handle_data(self, data: str) -> None:
        if self.inside and self.inside[-1] in self.raw:
            self.raw[self.inside[-1]].append(data)
        else:
            self.text += data + "\n"

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def jpeg(width: int, height: int, seed: int = 0) -> bytes:
    """Noise, the hardest picture to compress."""
    picture = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    return cv2.imencode(".jpg", picture)[1].tobytes()


SMALL = jpeg(64, 36)


def clip(number: int, values: Mapping[str, Any], *, video: str = "v0", uri: str = "/footage/a.mp4", **more: Any) -> dict[str, Any]:
    """A row as `clips --json` gives it; the verdict follows from RULES by plain comparison."""
    duration = float(values.get("duration_s", 5.0))
    measures = {name: values.get(name) for name in ("sharpness", "shake", "luma", "camera_motion", "never_measured")}
    reasons = []
    for name, rule in RULES.items():
        value = duration if rule.column == "duration_s" else measures[str(rule.column)]
        for bound, wrong in ((rule.min, lambda v, b: v < b), (rule.max, lambda v, b: v > b)):
            if bound is not None and value is not None and wrong(value, bound):
                reasons.append({"rule": name, "column": rule.column, "value": value, "bound": bound})
    row = {
        "clip_id": hashlib.sha256(f"{video}:{number}".encode()).hexdigest()[:32],
        "video_id": video,
        "uri": uri,
        "start_pts": number * 5120,
        "end_pts": number * 5120 + round(duration * 512),
        "time_base": "1/512",
        "start_s": number * 10.0,
        "end_s": number * 10.0 + duration,
        "duration_s": duration,
        "verdict": "dropped" if reasons else "kept",
        "reasons": reasons,
        "measures": measures,
        "scores": {},
        "caption": None,
        "codec": "h264",
        "has_audio": True,
    }
    return row | more


def video(video_id: str | None, uri: str, status: str = "done", footage_s: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"video_id": video_id, "uri": uri, "status": status, "footage_s": footage_s, "error_type": None, "error": None} | more


def run_row(**more: Any) -> dict[str, Any]:
    row = {
        "run_id": "run-1",
        "status": "finished",
        "started_at": "2026-11-21T10:00:00.25+00:00",
        "ended_at": "2026-11-21T10:01:00+00:00",
        "wall_s": 60.0,
        "runner": "native",
        "videos_found": 4,
        "videos_scanned": 1,
        "videos_reused": 1,
        "videos_failed": 1,
        "videos_duplicate": 1,
        "footage_s": 120.0,
        "decoded_s": 121.2,
        "frames_encoded": 120,
        "caption_requests": 3,
        "busy_s": {"captions": 60.0, "scan": 50.0, "shots": 1.0},
        "capacity": {"scan": 1, "shots": 1, "captions": 4},
        "fingerprints": {"scan": "abc123"},
        "recipe_toml": '[scan]\nmode = "exact"\n',
        "profile": "web",
        "versions": {"rushes": "0.1.0"},
    }
    return row | more


def caption(row: Mapping[str, Any], text: str | None, **more: Any) -> dict[str, Any]:
    keys = {"model": "m", "prompt_id": "dense", "prompt_tokens": 900, "completion_tokens": 40, "seconds": 1.5, "finish_reason": "stop"}
    place = {name: row.get(name) for name in ("clip_id", "uri", "start_pts", "start_s", "end_s")}
    return place | {"text": text, "error_type": None, "error": None} | keys | more


def counted(clips: Sequence[Mapping[str, Any]], videos: Sequence[Mapping[str, Any]], captions: Sequence[Mapping[str, Any]]) -> Totals:
    """Totals of rows by plain counting."""
    broken = [{reason["rule"] for reason in row["reasons"]} for row in clips if row["verdict"] == "dropped"]
    made = [row for row in captions if not row["error_type"]]
    tried = {row["clip_id"] for row in captions}
    return Totals(
        clips=Counter(row["verdict"] for row in clips),
        clip_s={v: sum(row["duration_s"] for row in clips if row["verdict"] == v) for v in ("kept", "dropped", "failed")},
        broke=Counter(rule for rules in broken for rule in rules),
        only=Counter(rule for rules in broken if len(rules) == 1 for rule in rules),
        videos=Counter(row["status"] for row in videos),
        footage_s=sum(row["footage_s"] for row in videos if row["status"] == "done"),
        video_errors=Counter(row["error_type"] for row in videos if row["status"] == "failed"),
        caption_errors=Counter(row["error_type"] for row in captions if row["error_type"]),
        models=Counter(row["model"] for row in made),
        finishes=Counter(row["finish_reason"] for row in made),
        made=len(made),
        pending=sum(row["verdict"] == "kept" and row["clip_id"] not in tried and row["caption"] is None for row in clips),
        prompt_tokens=sum(row["prompt_tokens"] for row in made) if made else None,
        completion_tokens=sum(row["completion_tokens"] for row in made) if made else None,
    )


def report(clips: Sequence[Mapping[str, Any]], **more: Any) -> ReportData:
    """A store of four uris: one scanned, one reused, one duplicate, one failed."""
    own = [
        video("v0", "/footage/a.mp4", footage_s=1200.0),
        video("v1", "/footage/b.mp4", footage_s=600.0),
        video("v0", "/footage/c.mp4", "duplicate"),
        video(None, "/footage/d.mp4", "failed", error_type="ProbeError", error="scan on d.mp4: no index", mend="copy it again"),
    ]
    videos, captions = more.pop("videos", own), more.pop("captions", [])
    sheets = {verdict: [row for row in clips if row["verdict"] == verdict] for verdict in ("kept", "failed")}
    strips: dict[str, list[Any]] = {}
    for row in clips:
        strips.setdefault(row["video_id"], []).append(row)
        for reason in row["reasons"] if row["verdict"] == "dropped" else ():
            sheets.setdefault(rule_key(reason["rule"]), []).append(row)
    data = ReportData(
        "/stores/one", run_row(), counted(clips, videos, captions), videos, clips, sheets, strips, captions, COLUMNS, RULES, (0.0, 0.0),
        lambda v, a, b: SMALL,
    )  # fmt: skip
    return dataclasses.replace(data, **more)


def drawn(number: int, seed: int = 7) -> list[dict[str, Any]]:
    """Clips with measures on both sides of every bound, some null, some exactly on a bound."""
    rng = random.Random(seed)
    rows = []
    for i in range(number):
        values = {
            "duration_s": rng.choice([4.0, round(rng.uniform(0.5, 20), 3)]),
            "sharpness": rng.choice([None, 0.3, rng.random(), rng.random(), rng.random()]),
            "shake": rng.choice([0.5, rng.uniform(0, 0.6), rng.uniform(0, 0.6)]),
            "luma": rng.uniform(0.05, 0.95),
            "camera_motion": rng.choice(["static", "static", "pan left", "shaky"]),
        }
        rows.append(clip(i, values, video=f"v{i % 2}", uri=f"/footage/{'ab'[i % 2]}.mp4"))
    return rows
