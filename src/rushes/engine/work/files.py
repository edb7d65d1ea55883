"""Clip files of kept clips: cut from the source in one opening, recorded in the table `files`, failures in `errors`."""

from __future__ import annotations

import time
from dataclasses import replace

from rushes.engine.jobs import Clips, Outcome
from rushes.engine.pipe import Progress
from rushes.engine.work.context import Context
from rushes.errors import Failure
from rushes.media.cut import ClipSpan, cut_clips
from rushes.media.encoding import encoding_of
from rushes.media.file_clock import pieces_of
from rushes.recipe import Recipe
from rushes.records import Span, VideoFacts
from rushes.rows.scanned import Rows, attempt_row
from rushes.store.store import CLIP_FILES, Store
from rushes.store.tables import FILES


def folder_of(store: Store, recipe: Recipe) -> str:
    """Where a recipe's clip files lie in a store."""
    encoding = encoding_of(recipe.clips)
    return store.path(CLIP_FILES, f"encode-{encoding.name}" if encoding else "copy")


def cut(context: Context, job: Clips, progress: Progress) -> Outcome:
    """Cuts a video's clips to files, as the recipe's `clips` say. Encoding decodes them once more; a stream copy decodes nothing."""
    began, stamp, same, recipe = time.process_time(), context.stamp(), context.same_file(job.video), context.recipe
    assert recipe.clips.mode != "reference"
    facts = VideoFacts.of_row(job.facts)
    spans = [ClipSpan(c["clip_id"], Span(c["start_pts"], c["end_pts"])) for c in job.clips]
    by_id, fingerprint, video_id = {c["clip_id"]: c for c in job.clips}, context.prints["files"], job.video.video_id
    rows: Rows = {"files": [], "errors": []}
    with context.opened(job.video) as source:
        results = cut_clips(
            source, facts, spans, folder_of(context.store, recipe), encoding=encoding_of(recipe.clips), uri=job.video.uri,
            options=recipe.storage, tick=context.tick, pieces=pieces_of(job.facts.get("time_pieces")),
        )  # fmt: skip
        for result in results:
            clip = by_id[result.clip_id]
            if result.error is None:
                row = {
                    "clip_id": result.clip_id, "video_id": video_id, "clip_uri": result.uri, "mode": recipe.clips.mode,
                    "start_pts": result.start_pts, "end_pts": result.end_pts, "n_frames": result.n_frames, "bytes": result.bytes,
                    "note": result.note,
                    "width": result.width, "height": result.height,
                }  # fmt: skip
                rows["files"].append(stamp.on(row, fingerprint))
            else:
                failure = replace(Failure.of(result.error), span_s=(clip["start_s"], clip["end_s"]))
                who = {"uri": job.video.uri, "video_id": video_id}
                rows["errors"].append(stamp.on(attempt_row(who, failure, job.stage, result.clip_id, 1, permanent=True), fingerprint))
    same.check()
    context.write(rows, FILES)
    decoded_s = sum(c["duration_s"] for c in job.clips) if recipe.clips.mode == "encode" else 0.0
    made, failed = (float(len(rows[name])) for name in ("files", "errors"))
    return Outcome(
        counts={"decoded_s": decoded_s, "files_made": made, "files_failed": failed}, busy={job.stage: time.process_time() - began}
    )
