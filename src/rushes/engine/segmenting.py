"""Long videos in the child: where to cut one, the pass over a segment, and the joining of segments into what one pass would have given.

A segment is a row of the table `segments` when it is done. A run that was killed goes on with the segments that are missing.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rushes.engine.rows import Made, Stamp
from rushes.engine.same_file import SameFile
from rushes.engine.segment_rows import cuts_json, segment_of, segment_row, segment_scan
from rushes.errors import DecodeError
from rushes.media.segments import MIN_SEGMENTS, Cuts, where_to_cut
from rushes.recipe import Recipe
from rushes.scan.one_pass import TooLong
from rushes.scan.segment import SegmentScan, scan_segment
from rushes.scan.stitch import Refusal, stitch
from rushes.store.parts import video_part
from rushes.store.store import Store, now
from rushes.store.tables import FRAMES, SEGMENTS

if TYPE_CHECKING:
    from rushes.engine.child import Worker

VERSION = 1
"""Raise when the rows of the table `segments` change."""
Progress = Callable[[float], None]
Job = Mapping[str, Any]


def unsegmented(recipe: Recipe) -> str | None:
    """Why a recipe has every video scanned whole, whatever its length."""
    if recipe.scan.detectors:
        return "scan.detectors runs detectors of PySceneDetect, which look back without bound"
    if recipe.frames.keep == "kept":
        return 'frames.keep = "kept" needs the verdict before frames are written'
    return None


def present(store: Store, video_id: str, fingerprint: str) -> set[int]:
    """Segments of a video that are done under these cuts (`fingerprint` of what `split` gave). Reads a listing only."""
    parts = store.parts(SEGMENTS, video_part(video_id, fingerprint))
    return {int(part.uri.removesuffix(".parquet").rpartition("-")[2]) for part in parts}


def forget(store: Store, done: Container[str]) -> int:
    """Deletes the segments of videos that are complete; call it when their marks are durable. Reads a listing; gives their number."""
    spent = [part for part in store.parts(SEGMENTS) if part.video in done]
    store.remove(spent)
    return len(spent)


@dataclass(slots=True)
class _Read:
    """What reading the segments of a video brought up: their CPU time, the seconds of footage that this run decoded of them, and why the
    last one read cannot be used.
    """

    cpu_s: float = 0.0
    footage_s: float = 0.0
    refusal: str | None = None


class Segmenting:
    """The jobs on long videos, done with a worker's store and recipe."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._store, self._recipe, self._prints = worker.store, worker.recipe, worker.prints

    @property
    def _names(self) -> list[str]:
        return [column.name for column in self._worker.signal_columns]

    def scan(self, job: Job, progress: Progress) -> dict[str, Any]:
        """The pass over a video; of a long one `cuts`, where to cut it, and nothing is decoded."""
        longest_s = MIN_SEGMENTS * self._recipe.engine.segment_s
        if not longest_s:
            return self._worker.scan(job, progress)
        try:
            return self._worker.scan(job, progress, longest_s)
        except TooLong:
            found = self.split(job)
            return found if found["cuts"] else {**self._worker.scan(job, progress), "note": found["note"]}

    def split(self, job: Job) -> dict[str, Any]:
        """Where to cut a video: `cuts`, or null with a `note` for people (null too where the video is just short). Nothing is decoded."""
        length = self._recipe.engine.segment_s
        with self._worker.opened(job) as source:
            found = where_to_cut(source, uri=job["uri"], size_bytes=job["size"] or 0, segment_s=length, mode=self._recipe.scan.mode)
        if not isinstance(found, Cuts):
            return {"cuts": None, "note": found.note and _whole(job, found.note)}
        if note := unsegmented(self._recipe):
            return {"cuts": None, "note": _whole(job, note)}
        return {"cuts": cuts_json(found, self._fingerprint(found)), "note": None}

    def _fingerprint(self, cuts: Cuts) -> str:
        """The identity of segments: everything that changes them."""
        what = ["segments", VERSION, self._prints.scan, self._prints.frames, cuts_json(cuts, "")]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]

    def segment(self, job: Job, progress: Progress) -> dict[str, Any]:
        """The pass over one segment; its frames and its row are durable when this returns."""
        began, stamp, cuts, index = time.process_time(), Stamp(self._worker.run_id, now()), job["cuts"], job["index"]
        same = SameFile(job, self._recipe.storage)
        frames = self._worker.frame_writer(job, stamp, same, _label(cuts, index))
        decoded_s, refusal = 0.0, None
        try:
            with self._worker.opened(job) as source:
                found = scan_segment(
                    source, self._recipe, segment_of(cuts, index), cuts["mode"], uri=job["uri"], size_bytes=job["size"] or 0,
                    on_frame=(lambda f: frames.add(f.pts, f.jpeg, f.width, f.height)) if frames else None, progress=progress,
                )  # fmt: skip
            if frames:
                frames.finish(())
            row, decoded_s = segment_row(job["video_id"], found, time.process_time() - began, self._names), found.decoded_s
        except DecodeError as error:  # the whole video has other frames
            refusal = f"segment {index}: {error.what}"
            row = {"video_id": job["video_id"], "segment": index, "refusal": refusal}
        finally:
            if frames:
                frames.close()
        same.check()
        name = video_part(job["video_id"], cuts["fingerprint"], index)
        self._store.write_rows(SEGMENTS, [stamp.on(row, cuts["fingerprint"])], name=name)
        busy = {"scan": time.process_time() - began}
        return {
            "kept": 0, "dropped": 0, "footage_s": 0.0, "decoded_s": decoded_s, "busy": busy, "rows": {}, "clips": (),
            "note": refusal,
        }  # fmt: skip

    def stitch(self, job: Job, progress: Progress) -> dict[str, Any]:
        """Joins the segments, then does what follows a pass.

        Where they cannot be joined exactly the video is scanned whole, and `note` says why. The segments stay until `forget`, so that a
        kill before the answer is durable costs no decode.
        """
        began, stamp, read = time.process_time(), Stamp(self._worker.run_id, now()), _Read()
        same = SameFile(job, self._recipe.storage)
        found = stitch(self._stored(job, read, progress))
        self._drop_frames(job, keep=None if isinstance(found, Refusal) else job["cuts"])
        if isinstance(found, Refusal):
            note = _whole(job, read.refusal or found.reason)
            return {**self._worker.scan(job, progress), "note": note}
        frames = self._worker.frame_writer(job, stamp, same, _label(job["cuts"]))
        if frames:
            for frame in found.frames:
                frames.add(frame.pts, frame.jpeg, frame.width, frame.height)
        busy_s = time.process_time() - began
        made = Made(found.scan, read.cpu_s + busy_s, busy_s, began, footage_s=0.0, n_frames=found.n_frames - len(found.frames))
        return {**self._worker.conclude(made, job, stamp, same, frames), "footage_s": read.footage_s, "note": None}

    def _stored(self, job: Job, read: _Read, progress: Progress) -> Iterator[SegmentScan]:
        """The segments in order, one at a time in memory, up to the first that is missing or refused."""
        cuts = job["cuts"]
        for index in range(len(cuts["segments"])):
            under = video_part(job["video_id"], cuts["fingerprint"], index)
            rows = self._store.read(SEGMENTS, fingerprints=[cuts["fingerprint"]], under=under).to_pylist()
            read.refusal = rows[0]["refusal"] if rows else None
            if not rows or read.refusal:
                return
            scan, cpu_s = segment_scan(rows[0], segment_of(cuts, index), self._names)
            read.cpu_s += cpu_s
            read.footage_s += scan.decoded_s if rows[0]["run_id"] == self._worker.run_id else 0.0
            progress(0.0)
            yield scan

    def _drop_frames(self, job: Job, keep: Job | None) -> None:
        """Deletes the frames that segments wrote, of all cuts of this video but those to keep. Frames that are complete stay."""
        if self._prints.frames is None or "frames" in job["present"]:
            return
        video = video_part(job["video_id"], self._prints.frames)
        spared = None if keep is None else _label(keep)
        parts = self._store.parts(FRAMES, f"{video}-{LABEL}")
        self._store.remove(part for part in parts if part.label != spared)


LABEL = "cut"
"""Marks the parts of frames that segments wrote."""


def _label(cuts: Job, index: int | None = None) -> str:
    """What tells apart the frames of one segment: the cuts and its number; without a number, those of all seams."""
    return f"{LABEL}{cuts['fingerprint'][:8]}" + ("" if index is None else f"-{index:05d}")


def _whole(job: Job, why: str) -> str:
    return f"{job['uri']} is scanned whole: {why}"
