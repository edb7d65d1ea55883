"""Clip files of kept clips: cut from the source in one opening, recorded in the table `files`, failures in `errors`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

from rushes.engine.rows import Stamp
from rushes.media import storage
from rushes.media.cut import ClipMode, ClipSpan, cut_clips
from rushes.recipe import Recipe
from rushes.records import Span, VideoFacts
from rushes.store.store import Store

FOLDER = "clip_files"
"""Where clip files lie in the store, by mode."""


@dataclass(frozen=True, slots=True)
class Written:
    """Rows by table, and the seconds that passed a decoder for them (none for stream copies)."""

    rows: dict[str, list[dict[str, Any]]]
    decoded_s: float


def write_files(
    store: Store,
    recipe: Recipe,
    job: Mapping[str, Any],
    video: Mapping[str, Any],
    kept: Sequence[Mapping[str, Any]],
    fingerprint: str,
    stamp: Stamp,
    tick: Callable[[], None],
) -> Written:
    """Cuts a video's kept clips to files, as the recipe's `clips` say; calls `tick` often meanwhile."""
    assert recipe.clips.mode != "reference"
    mode: ClipMode = recipe.clips.mode
    facts = VideoFacts(**{f.name: video[f.name] for f in fields(VideoFacts)} | {"time_base": Fraction(str(video["time_base"]))})
    spans = [ClipSpan(c["clip_id"], Span(c["start_pts"], c["end_pts"])) for c in kept]
    by_id = {c["clip_id"]: c for c in kept}
    folder = store.path(FOLDER, mode if mode == "copy" else f"{mode}-crf{recipe.clips.crf}")
    source = storage.open_seekable(job["source"], recipe.storage)
    rows: dict[str, list[dict[str, Any]]] = {"files": [], "errors": []}
    try:
        how: dict[str, Any] = {"mode": mode, "crf": recipe.clips.crf, "options": recipe.storage, "tick": tick}
        for result in cut_clips(source, facts, spans, folder, uri=job["uri"], **how):
            clip = by_id[result.clip_id]
            if result.error is None:
                row = {
                    "clip_id": result.clip_id, "video_id": video["video_id"], "clip_uri": result.uri, "mode": mode,
                    "start_pts": result.start_pts, "end_pts": result.end_pts, "n_frames": result.n_frames, "bytes": result.bytes,
                }  # fmt: skip
                rows["files"].append(stamp.on(row, fingerprint))
            else:
                row = {
                    "stage": "files", "key": result.clip_id, "video_id": video["video_id"], "uri": job["uri"], "start_s": clip["start_s"],
                    "end_s": clip["end_s"], "error_type": "CutError", "error": result.error.what, "attempt": 1, "permanent": True,
                }  # fmt: skip
                rows["errors"].append(stamp.on(row, fingerprint))
    finally:
        if not isinstance(source, str):
            source.close()
    decoded = sum(c["duration_s"] for c in kept) if mode == "encode" else 0.0
    return Written(rows, decoded)
