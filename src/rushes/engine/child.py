"""The guarded child: scans videos, re-cuts stored signals, writes clip files.

Runs as `python -m rushes.engine.child`; never imports daft.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from rushes.engine.files import write_files
from rushes.engine.fingerprints import fingerprints
from rushes.engine.quarantine import quarantined
from rushes.engine.rows import Made, Rows, Series, Stamp, clip_rows, mark, scanned_row, sendable, without
from rushes.engine.same_file import SameFile
from rushes.engine.segmenting import Segmenting
from rushes.engine.wanted import Wanted, wanted_clips
from rushes.media import storage
from rushes.media.guard import serve
from rushes.recipe import Recipe
from rushes.records import Span
from rushes.scan.one_pass import scan, signal_columns
from rushes.store.frames import FrameWriter
from rushes.store.parts import video_part
from rushes.store.store import Store, now
from rushes.store.tables import SIGNALS, schema

Progress = Callable[[float], None]


class Worker:
    """What a child holds between jobs of one run: store and recipe.

    Frames and signals are written here, the rows of all other tables go back with the answer: what a child held would be lost when the
    next file crashes it.
    """

    def __init__(self, setup: Mapping[str, Any]) -> None:
        self.recipe = Recipe.model_validate(setup["recipe"])
        self.store = Store(setup["store"], self.recipe.storage)
        self.run_id: str = setup["run_id"]
        self.prints = fingerprints(self.recipe)
        self.tick: Callable[[], None] = lambda: None
        """Tells the guard that the job under way is alive."""

    @cached_property
    def signal_columns(self) -> Any:
        """Declared columns of the signals table under this recipe."""
        return signal_columns(self.recipe)

    def scan(self, job: Mapping[str, Any], progress: Progress, longest_s: float | None = None) -> dict[str, Any]:
        """The one pass over a video, then shots and measures. Frames and signals are durable when this returns.

        Of what is `present` already nothing is written again.

        Raises:
            TooLong: the video is longer than `longest_s`.
        """
        began, stamp, same = time.process_time(), Stamp(self.run_id, now()), SameFile(job, self.recipe.storage)
        frames = self.frame_writer(job, stamp, same)
        try:
            with self.opened(job) as source:
                found = scan(
                    source, self.recipe, uri=job["uri"], size_bytes=job["size"] or 0, progress=progress,
                    on_frame=(lambda f: frames.add(f.pts, f.jpeg, f.width, f.height)) if frames else None, longest_s=longest_s,
                )  # fmt: skip
            scanned = time.process_time() - began
            made = Made(found, scanned, scanned, began, footage_s=found.footage_s)
            return self.conclude(made, job, stamp, same, frames)
        finally:
            if frames:
                frames.close()

    def frame_writer(self, job: Mapping[str, Any], stamp: Stamp, same: SameFile, label: str = "") -> FrameWriter | None:
        """Takes a video's sampled frames; None where the recipe wants none, or they are there."""
        if not self.prints.frames or "frames" in job["present"]:
            return None
        shared = stamp.on({"video_id": job["video_id"]}, self.prints.frames)
        return FrameWriter(self.store, shared, hold=self.recipe.frames.keep == "kept", check=same.check, label=label)

    @contextmanager
    def opened(self, job: Mapping[str, Any]) -> Iterator[str | Any]:
        """The job's source, as `scan` takes it."""
        source = storage.open_seekable(job["source"], self.recipe.storage)
        try:
            yield source
        finally:
            if not isinstance(source, str):
                source.close()

    def conclude(self, made: Made, job: Mapping[str, Any], stamp: Stamp, same: SameFile, frames: FrameWriter | None) -> dict[str, Any]:
        """What follows a pass: shots, measures; the last frames and the signals are durable when this returns."""
        found, video_id = made.scan, job["video_id"]
        series = Series.of(video_id, found)
        rows = clip_rows(series, self.recipe, self.prints, stamp)
        video = {**scanned_row(found, made.cpu_s), "uri": job["uri"], "video_id": video_id, "stamp": job["stamp"], "extra": job["extra"]}
        wanted = wanted_clips(self.recipe, rows["clips"], rows["measures"], video)
        if frames:
            frames.finish([Span(c["start_pts"], c["end_pts"]) for c in wanted.kept])
        same.check()
        if "scan" not in job["present"]:
            self._write_signals(series, stamp)
        rows["marks"] = [mark(video_id, "scan", len(found.pts), self.prints.scan, stamp), *rows["marks"]]
        if frames and self.prints.frames:
            rows["marks"].append(mark(video_id, "frames", frames.count + made.n_frames, self.prints.frames, stamp))
        rows["videos"] = [stamp.on(video, self.prints.scan)]
        busy = {"scan": made.busy_s, "shots": time.process_time() - made.began - made.busy_s}
        return {**self._cut(video, wanted, rows, busy, job), "footage_s": made.footage_s, "decoded_s": made.footage_s}

    def recut(self, job: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Shots and measures anew from stored signals; the video is not opened."""
        began = time.process_time()
        rows = clip_rows(self._read_signals(job["video_id"]), self.recipe, self.prints, Stamp(self.run_id, now()))
        wanted = wanted_clips(self.recipe, rows["clips"], rows["measures"], job["video"])
        return self._cut(job["video"], wanted, rows, {"shots": time.process_time() - began}, job)

    def _cut(self, video: Mapping[str, Any], wanted: Wanted, rows: Rows, busy: dict[str, float], job: Mapping[str, Any]) -> dict[str, Any]:
        """The answer when a video has been cut into clips. `unfiled`: those whose files are to be made next, out of `video`."""
        filed = set(job["filed"])
        unfiled = [clip for clip in wanted.kept if clip["clip_id"] not in filed] if self.prints.files else []
        return {
            "kept": len(wanted.kept), "dropped": wanted.n_dropped, "footage_s": 0.0, "decoded_s": 0.0, "busy": busy,
            "rows": sendable(without(rows, job["present"])), "clips": wanted.kept if self.prints.captions else (),
            "unfiled": unfiled, "video": {k: v for k, v in video.items() if k not in ("written_at", "run_id", "fingerprint")},
        }  # fmt: skip

    def files(self, job: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Clip files that are missing of a video whose clips are known."""
        assert self.prints.files is not None
        began, same, stamp = time.process_time(), SameFile(job, self.recipe.storage), Stamp(self.run_id, now())
        written = write_files(self.store, self.recipe, job, job["video"], job["clips"], self.prints.files, stamp, self.tick)
        same.check()
        return {
            "kept": len(job["clips"]), "dropped": 0, "footage_s": 0.0, "decoded_s": written.decoded_s,
            "busy": {"files": time.process_time() - began}, "rows": sendable(written.rows), "clips": (),
        }  # fmt: skip

    def _write_signals(self, series: Series, stamp: Stamp) -> None:
        import pyarrow as pa

        fixed = {
            "video_id": series.video_id, "time_base": str(series.time_base), "end_pts": series.end_pts,
            "mode": series.mode, "rotation": series.rotation, "pts": series.pts,
        }  # fmt: skip
        fields = []
        full = schema(SIGNALS, self.signal_columns)
        row = stamp.on({**fixed, **series.signals}, self.prints.scan)
        for field in full:
            value = row[field.name]
            if pa.types.is_list(field.type):
                inner = pa.array(value, field.type.value_type, from_pandas=True)
                fields.append(pa.ListArray.from_arrays(pa.array([0, len(inner)], pa.int32()), inner))
            else:
                fields.append(pa.array([value], field.type))
        self.store.write_table(SIGNALS, pa.Table.from_arrays(fields, schema=full), video_part(series.video_id, self.prints.scan))

    def _read_signals(self, video_id: str) -> Series:
        found = self.store.read(SIGNALS, extra=self.signal_columns, fingerprints=[self.prints.scan], only={"video_id": [video_id]})
        row = {name: found[name][0] for name in found.column_names}
        arrays = {c.name: np.asarray(row[c.name].values.to_numpy(zero_copy_only=False), np.float32) for c in self.signal_columns}
        return Series(
            video_id, np.asarray(row["pts"].values, np.int64), arrays, Fraction(row["time_base"].as_py()), row["end_pts"].as_py(),
            row["rotation"].as_py(), row["mode"].as_py(),
        )  # fmt: skip


class Jobs:
    """Takes jobs off the pipe; the first message of a run sets up the worker."""

    def __init__(self) -> None:
        self.worker: Worker | None = None

    def do(self, job: dict[str, Any], progress: Progress) -> dict[str, Any]:
        """Does one job: setup, scan, recut, files, segment or stitch."""
        return quarantined(lambda: self._do(job, progress))

    def _do(self, job: dict[str, Any], progress: Progress) -> dict[str, Any]:
        if job["kind"] == "setup":
            self.worker = Worker(job)
            return {}
        assert self.worker is not None
        reached = 0.0

        def at(seconds: float) -> None:
            nonlocal reached
            reached = seconds
            progress(seconds)

        self.worker.tick = lambda: progress(reached)
        long = Segmenting(self.worker)
        work = {
            "scan": long.scan, "recut": self.worker.recut, "files": self.worker.files,
            "segment": long.segment, "stitch": long.stitch,
        }  # fmt: skip
        return work[job["kind"]](job, at)


def main() -> None:
    """Entry of the child process: one thread each for libav and OpenCV."""
    import av
    import cv2

    cv2.setNumThreads(1)
    av.logging.set_level(av.logging.PANIC)
    serve(Jobs().do)


if __name__ == "__main__":
    main()
