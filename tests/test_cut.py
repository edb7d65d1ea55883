"""Clip files hold exactly the frames they should.

Told by the number drawn in each frame, for readers that honour edit lists and for those that do not.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest

from footage import Clip, encoding, jittered, render, ticks_of
from pictures import moving, read_frame_number
from rushes.errors import CutError, StorageError
from rushes.media import clip_file
from rushes.media.cut import ClipSpan, CutResult, Encoding, cut_clips
from rushes.media.decode import Decoder
from rushes.media.encoding import ENCODERS, Encoder
from rushes.media.random_access import entry_of
from rushes.records import Span, VideoFacts
from variants import variants

N = 90
CLOCK = Fraction(1, 90000)
X264_OPEN = {"x264-params": "open-gop=1:b-pyramid=none", "sc_threshold": "0"}
X264_PYRAMID = {"x264-params": "open-gop=1:b-pyramid=normal", "bf": "7", "b_strategy": "0", "sc_threshold": "0"}
X265_OPEN = {"x265-params": "log-level=none:pools=none:frame-threads=1:scenecut=0:open-gop=1:bframes=4:b-pyramid=1:b-adapt=0"}

SOURCES: dict[str, Callable[[Path], Clip]] = {
    "h264.mp4": lambda p: render(p, (moving(192, 112, 1), N), gop=15, audio=True),
    "h264_open.mp4": lambda p: render(p, (moving(192, 112, 2), N), gop=15, options=X264_OPEN),
    "h264_open_pyramid.mp4": lambda p: render(p, (moving(192, 112, 2), N), gop=15, bframes=7, options=X264_PYRAMID),
    "h264_vfr.mp4": lambda p: render(p, (moving(192, 112, 3), N), gop=15, pts=jittered(N, Fraction(25), CLOCK), time_base=CLOCK),
    "h264_edit.mp4": lambda p: render(p, (moving(192, 112, 4), N), gop=15, start=-int(7 / Fraction(25) / ticks_of(Fraction(25)))),
    "h264_late.ts": lambda p: render(p, (moving(192, 112, 5), N), gop=15, audio=True),
    "h264.mkv": lambda p: render(p, (moving(192, 112, 5), N), gop=15, fps=Fraction(30000, 1001)),
    "hevc_open.mp4": lambda p: render(p, (moving(192, 112, 6), N), codec="hevc", gop=15, bframes=4, options=X265_OPEN),
    "hevc.ts": lambda p: render(p, (moving(192, 112, 7), N), codec="hevc", gop=15),
    "mpeg2.ts": lambda p: render(p, (moving(192, 112, 8), N), codec="mpeg2video", gop=15),
    "mpeg4.mp4": lambda p: render(p, (moving(192, 112, 9), N), codec="mpeg4", gop=15),
    "vp9.webm": lambda p: render(p, (moving(192, 112, 10), N), codec="vp9", gop=15, audio=True),
    "av1.mp4": lambda p: render(p, (moving(192, 112, 11), N), codec="av1", gop=15),
    "mjpeg.avi": lambda p: render(p, (moving(192, 112, 12), N), codec="mjpeg"),
    "rotated.mov": lambda p: render(p, (moving(192, 112, 13), N), gop=15, rotation=90),
}
NO_ENTRY = {"h264_open_pyramid.mp4"}
"""Every group but the first has leading pictures that are references."""


class Source:
    """What the project's decoder shows of a file: facts, and the number drawn at each pts."""

    def __init__(self, path: Path) -> None:
        self.path, self.uri = path, str(path)
        with Decoder(self.uri, uri=self.uri, size_bytes=path.stat().st_size, mode="exact") as decoder:
            self.numbers = {pts: number(frame) for frame, pts in decoder}
            self.facts: VideoFacts = decoder.facts
            self.end = max(self.numbers) + max(1, decoder.last_duration)
        self.pts = sorted(self.numbers)

    def thirds(self) -> list[ClipSpan]:
        """Three spans that tile the video and start away from key frames."""
        edges = [self.pts[0], self.pts[31], self.pts[58], self.end]
        return [ClipSpan(f"{k}c" * 16, Span(a, b)) for k, (a, b) in enumerate(pairwise(edges))]

    def cut(
        self, folder: Path | str, clips: list[ClipSpan] | None = None, mode: str = "copy", tick: Callable[[], None] = int, **how: object
    ) -> list[CutResult]:
        spans = self.thirds() if clips is None else clips
        results = list(cut_clips(self.uri, self.facts, spans, str(folder), encoding=encoding(mode, **how), uri=self.uri, tick=tick))
        return sorted(results, key=lambda r: r.start_pts)

    def inside(self, start: int, end: int) -> list[int]:
        return [pts for pts in self.pts if start <= pts < end]


def number(frame: av.VideoFrame) -> int:
    return read_frame_number(np.ascontiguousarray(frame.to_ndarray(format="gray")))


def seen(uri: str, **options: str) -> list[tuple[Fraction, int]]:
    """(seconds, number drawn) of each frame that libav shows of a file, turned upright frames turned back."""
    with av.open(uri, options=options) as container:
        stream = container.streams.video[0]
        return [(frame.pts * stream.time_base, number(frame)) for frame in container.decode(stream)]


@pytest.fixture(scope="module")
def source(footage) -> Callable[[str], Source]:
    made: dict[str, Source] = {}

    def once(name: str) -> Source:
        if name not in made:
            made[name] = Source(footage(f"cut_{name}", SOURCES[name]).path)
        return made[name]

    return once


@pytest.mark.parametrize("name", SOURCES)
def test_copies_hold_no_foreign_frame_and_no_hole(source, tmp_path, name):
    film = source(name)
    results = film.cut(tmp_path)
    base = film.facts.time_base
    good = [r for r in results if r.error is None]
    assert len(good) == (1 if name in NO_ENTRY else 3), [r.error for r in results]
    for clip, result in zip(film.thirds(), results, strict=True):
        if result.error:
            assert "cannot be entered" in result.error.what
            continue
        assert clip.span.start_pts <= result.start_pts < result.end_pts <= clip.span.end_pts
        kept = film.inside(result.start_pts, result.end_pts)
        assert result.n_frames == len(kept) >= 8
        frames = seen(result.uri)
        assert [n for _, n in frames] == [film.numbers[pts] for pts in kept]
        rounding = 0 if result.uri.endswith(("mp4", "mov")) else Fraction(1, 2000)
        assert all(abs(t - (pts - kept[0]) * base) <= rounding for (t, _), pts in zip(frames, kept, strict=True))
        assert [n for _, n in seen(result.uri, ignore_editlist="1")] == [n for _, n in frames]
        assert result.bytes == os.path.getsize(result.uri)
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.name not in {os.path.basename(r.uri) for r in good}] == []


@pytest.mark.parametrize("name", SOURCES)
def test_encoded_clips_hold_exactly_the_span(source, tmp_path, name):
    film = source(name)
    results = film.cut(tmp_path, mode="encode", crf=20)
    for clip, result in zip(film.thirds(), results, strict=True):
        assert result.error is None
        assert (result.start_pts, result.end_pts) == (clip.span.start_pts, clip.span.end_pts)
        kept = film.inside(result.start_pts, result.end_pts)
        frames = seen(result.uri) if name != "rotated.mov" else seen_turned(result.uri)
        assert [n for _, n in frames] == [film.numbers[pts] for pts in kept]
        assert result.n_frames == len(kept)
        assert all(t == (pts - clip.span.start_pts) * film.facts.time_base for (t, _), pts in zip(frames, kept, strict=True))


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1"])
def test_clips_are_encoded_by_a_codec_in_a_size_and_at_a_rate_of_their_own(source, tmp_path, codec):
    """The source has 192 x 112 pixels and about 25 frames a second at uneven times; each file has 138 x 80 pixels and 10 a second."""
    film = source("h264_vfr.mp4")
    base, (clip, _, _) = film.facts.time_base, film.thirds()
    how = {"codec": codec, "crf": 20, "short_side_px": 80, "fps": 10.0}
    (result,) = film.cut(tmp_path, [clip], mode="encode", **how)
    assert result.error is None, result.error
    n = -(-(clip.span.end_pts - clip.span.start_pts) * base * 10 // 1)
    at = [clip.span.start_pts + k * Fraction(1, 10) / base for k in range(int(n))]
    meant = [film.numbers[max(pts for pts in film.pts if pts <= time)] for time in at]
    assert seen(result.uri) == [(Fraction(k, 10), number) for k, number in enumerate(meant)]
    with av.open(result.uri) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.codec.canonical_name == codec and stream.average_rate == 10
        assert (stream.width, stream.height) == (result.width, result.height) == (138, 80)
    assert result.n_frames == len(meant) and len(set(meant)) == len(meant)
    assert {os.sched_getscheduler(int(task)) for task in os.listdir("/proc/self/task")} == {os.SCHED_OTHER}  # SVT-AV1 of root changes it
    assert film.cut(tmp_path, [clip], mode="encode", **how)[0].reused
    assert not film.cut(tmp_path, [clip], mode="encode", **how | {"fps": 12.5})[0].reused


def test_a_rate_above_the_sources_shows_frames_again_and_no_picture_is_enlarged(source, tmp_path):
    film = source("h264.mp4")
    (result,) = film.cut(tmp_path, film.thirds()[:1], mode="encode", short_side_px=1080, fps=50.0)
    assert (result.width, result.height, result.n_frames) == (192, 112, 62)
    assert [number for _, number in seen(result.uri)] == [film.numbers[pts] for pts in film.pts[:31] for _ in range(2)]
    sounds(result.uri, Fraction(31, 25))


def sounds(uri: str, length_s: Fraction) -> None:
    """The sound of a file lasts as long as its pictures, but for a packet at each end."""
    with av.open(uri) as container:
        track = container.streams.audio[0]
        packets = [p for p in container.demux(track) if p.size]
        end = max((p.pts + p.duration) * p.time_base for p in packets)
        assert length_s - Fraction(1, 20) <= end <= length_s


@pytest.mark.parametrize(
    ("fps", "rate"), [(29.97, "30000/1001"), (23.976, "24000/1001"), (24.0, "24"), (0.5, "1/2"), (12.5, "25/2"), (2.0, "2")]
)
def test_rates_of_television_are_meant_exactly(fps, rate):
    assert Encoding(fps=fps).rate == Fraction(rate)


def test_encoding_chooses_its_own_key_frames_and_shows_a_last_frame_of_one_tick(source, tmp_path):
    film = source("h264_vfr.mp4")
    (result,) = film.cut(tmp_path, [ClipSpan("aa", Span(film.pts[50], film.pts[-1] + 1))], mode="encode")
    assert result.error is None and result.n_frames == 40
    with av.open(result.uri) as container:
        stream = container.streams.video[0]
        packets = [p for p in container.demux(stream) if p.size]
        assert stream.duration * stream.time_base == (result.end_pts - result.start_pts) * film.facts.time_base
    assert sum(p.is_keyframe for p in packets) == 1, "the source's pictures 60 and 75 are I pictures; x264 was ordered about"
    assert len(seen(result.uri)) == 40


def test_no_last_frame_is_lost_to_a_rounded_edit_list(source, tmp_path):
    film = source("h264_vfr.mp4")
    clips = [ClipSpan(f"{i:02d}", Span(film.pts[i], film.pts[i + 4] + 1)) for i in range(0, 85, 3)]
    assert {(r.error, r.n_frames) for r in film.cut(tmp_path, clips, mode="encode")} == {(None, 5)}


def seen_turned(uri: str) -> list[tuple[Fraction, int]]:
    with av.open(uri) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (112, 192)
        frames = list(container.decode(stream))
        assert {f.rotation for f in frames} == {0}
        back = [np.ascontiguousarray(np.rot90(f.to_ndarray(format="gray"))) for f in frames]
        return [(f.pts * stream.time_base, read_frame_number(b)) for f, b in zip(frames, back, strict=True)]


def test_a_copy_keeps_the_turn(source, tmp_path):
    film = source("rotated.mov")
    assert film.facts.rotation == 90
    for result in film.cut(tmp_path):
        assert Source(Path(result.uri)).facts.rotation == 90


def test_the_copy_is_bit_exact(source, tmp_path):
    film = source("hevc_open.mp4")
    (_, result, _) = film.cut(tmp_path)
    with av.open(film.uri) as a, av.open(result.uri) as b:
        want = [f.to_ndarray() for f in a.decode(video=0) if result.start_pts <= f.pts < result.end_pts]
        have = [f.to_ndarray() for f in b.decode(video=0)]
    assert all(np.array_equal(x, y) for x, y in zip(want, have, strict=True))


def test_key_frames_inside_groups_are_known_from_their_bytes(source):
    def entries(name: str) -> list[str | None]:
        with av.open(source(name).uri) as container:
            stream = container.streams.video[0]
            keys = [bytes(p) for p in container.demux(stream) if p.size and p.is_keyframe]
            return [entry_of(source(name).facts.codec, stream.codec_context.extradata, key) for key in keys]

    assert entries("h264.mp4") == ["closed"] * 6
    assert entries("h264_open.mp4") == ["closed"] + ["open"] * 5
    assert set(entries("hevc_open.mp4")[1:]) == {"open"}
    with av.open(source("h264.mp4").uri) as container:
        stream = container.streams.video[0]
        rest = [bytes(p) for p in container.demux(stream) if p.size and not p.is_keyframe]
        assert {entry_of("h264", stream.codec_context.extradata, p) for p in rest} == {None}


def test_a_span_without_key_frame_stays_a_reference(source, tmp_path):
    film = source("h264.mp4")
    (result,) = film.cut(tmp_path, [ClipSpan("ab", Span(film.pts[16], film.pts[28]))])
    assert result.uri is None and result.n_frames == 0
    assert "no key frame inside the span" in result.error.what
    assert (result.error.uri, result.error.step) == (film.uri, "clips")
    assert result.error.mend == 'set clips.mode = "encode" for such footage'
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.parametrize("mode", ["copy", "encode"])
@pytest.mark.parametrize("name", ["h264.mp4", "h264_late.ts", "vp9.webm"])
def test_sound_stays_with_its_pictures(source, tmp_path, name, mode):
    film = source(name)
    with av.open(film.uri) as container:
        track = container.streams.audio[0]
        ends = [(p.pts * p.time_base, (p.pts + p.duration) * p.time_base, bytes(p)) for p in container.demux(track) if p.size]
    for result in film.cut(tmp_path, mode=mode):
        first, last = result.start_pts * film.facts.time_base, result.end_pts * film.facts.time_base
        want = [(a, data) for a, b, data in ends if a >= first and b <= last]
        with av.open(result.uri) as container:
            track = container.streams.audio[0]
            have = [(p.pts * p.time_base, bytes(p)) for p in container.demux(track) if p.size]
        assert len(have) == len(want) > 5
        assert all(abs(t - (a - first)) < Fraction(1, 1000) for (t, _), (a, _) in zip(have, want, strict=True))
        if not film.uri.endswith(".ts"):  # a transport stream's ADTS headers are taken off
            assert [d for _, d in have] == [d for _, d in want]


def test_files_are_written_once(source, tmp_path):
    film = source("h264.mp4")
    for mode in ("copy", "encode"):
        first = film.cut(tmp_path / mode, mode=mode)
        inodes = {r.uri: os.stat(r.uri).st_ino for r in first}
        assert film.cut(tmp_path / mode, mode=mode) == [replace(result, reused=True) for result in first]
        assert {r.uri: os.stat(r.uri).st_ino for r in first} == inodes, "a file was written again"
    other = film.cut(tmp_path / "encode", mode="encode", crf=35)
    assert sum(r.bytes for r in other) < sum(r.bytes for r in first), "another crf is another file"
    again = film.cut(tmp_path / "encode", mode="copy")
    assert [r.n_frames for r in again] == [r.n_frames for r in film.cut(tmp_path / "copy", mode="copy")]


def test_the_source_is_opened_once(source, tmp_path, monkeypatch):
    film = source("h264.mp4")
    opened = []
    real = av.open
    monkeypatch.setattr(av, "open", lambda file, *a, **k: (opened.append(file), real(file, *a, **k))[1])
    for mode in ("copy", "encode"):
        opened.clear()
        film.cut(tmp_path / mode, mode=mode)
        assert opened.count(film.uri) == 1


def test_a_file_that_is_not_what_was_meant_is_an_error_and_removed(source, tmp_path, monkeypatch):
    film = source("h264.mp4")
    real = clip_file.ClipFile.mux
    written = []

    def loses_one(self, packet):
        written.append(packet)
        if len(written) != 20:
            real(self, packet)

    monkeypatch.setattr(clip_file.ClipFile, "mux", loses_one)
    results = film.cut(tmp_path, film.thirds()[:1])
    assert "packets and" in results[0].error.what or "frame" in results[0].error.what
    assert results[0].uri is None
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_verify_sees_a_wrong_time(source):
    film = source("h264.mp4")
    right = [pts - film.pts[0] for pts in film.pts]
    clip_file.verify(film.uri, right, N, film.facts.time_base)
    wrong = [*right[:50], right[50] + 1, *right[51:]]
    with pytest.raises(CutError, match="frame 50 is at"):
        clip_file.verify(film.uri, wrong, N, film.facts.time_base)
    with pytest.raises(CutError, match="89 were meant"):
        clip_file.verify(film.uri, right[:-1], N - 1, film.facts.time_base)


def test_clips_of_an_abandoned_pass_leave_no_file(source, tmp_path):
    film = source("h264.mp4")
    for mode in ("copy", "encode"):
        going = cut_clips(film.uri, film.facts, film.thirds(), str(tmp_path / mode), encoding=encoding(mode), uri=film.uri)
        done = next(going)
        going.close()
        assert [str(p) for p in (tmp_path / mode).rglob("*") if p.is_file()] == [done.uri]


def test_a_remote_folder_gets_whole_files(source, tmp_path):
    film = source("h264.mp4")
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    for mode in ("copy", "encode"):
        results = film.cut(f"memory://clips/{mode}", mode=mode)
        for result in results:
            assert result.uri == f"memory://clips/{mode}/{result.clip_id[:2]}/{result.clip_id}.mp4"
            data = fs.cat_file(f"/clips/{mode}/{result.clip_id[:2]}/{result.clip_id}.mp4")
            (tmp_path / "back.mp4").write_bytes(data)
            assert len(data) == result.bytes
            kept = film.inside(result.start_pts, result.end_pts)
            assert [n for _, n in seen(str(tmp_path / "back.mp4"))] == [film.numbers[pts] for pts in kept]
        assert film.cut(f"memory://clips/{mode}", mode=mode) == [replace(result, reused=True) for result in results]
    fs.store.clear()


@pytest.mark.parametrize("mode", ["copy", "encode"])
@pytest.mark.parametrize(
    ("at", "code", "words"),
    [(5, errno.ENOSPC, "no space left to write"), (60, errno.ENOSPC, "no space left"), (5, errno.EFBIG, "File too large")],
)
def test_a_full_disk_stops_the_run_and_leaves_no_half_file(source, tmp_path, monkeypatch, mode, at, code, words):
    film = source("h264.mp4")
    muxed = []
    real = av.container.OutputContainer

    class Full:
        """libav's container on a disk that is full after some packets."""

        def __init__(self, out):
            self._out = out

        def __getattr__(self, name):
            return getattr(self._out, name)

        def mux_one(self, packet):
            muxed.append(packet)
            if len(muxed) > at:
                raise av.error.FFmpegError(code, os.strerror(code), film.uri)
            self._out.mux_one(packet)

    opened = av.open
    monkeypatch.setattr(av, "open", lambda *a, **k: Full(c) if isinstance(c := opened(*a, **k), real) else c)
    with pytest.raises(StorageError, match=words):
        film.cut(tmp_path, film.thirds()[:1], mode=mode)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_an_encoder_that_does_not_open_is_an_error_of_its_clip(source, tmp_path, monkeypatch):
    film = source("h264.mp4")
    monkeypatch.setitem(ENCODERS, "h264", Encoder("libx264", {"preset": "nosuch"}))
    results = film.cut(tmp_path, mode="encode")
    assert [r.uri for r in results] == [None] * 3 and all("x264" in r.error.what for r in results)
    assert {(r.error.uri, r.error.step) for r in results} == {(film.uri, "clips")} and all(r.error.mend for r in results)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_folder_that_cannot_be_made_stops_the_run(source, tmp_path):
    (tmp_path / "clips").write_bytes(b"")
    for mode in ("copy", "encode"):
        with pytest.raises(StorageError, match="a file stands where a folder is needed"):
            source("h264.mp4").cut(tmp_path / "clips", mode=mode)


def test_colours_and_pixel_shape_are_kept(footage, tmp_path):
    wide = Source(footage("cut_wide.mp4", lambda p: render(p, (moving(193, 113, 20), 20), pix_fmt="yuv444p")).path)
    (result,) = wide.cut(tmp_path, [ClipSpan("aa", Span(wide.pts[0], wide.end))], mode="encode")
    with av.open(result.uri) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.codec_context.pix_fmt) == (192, 112, "yuv420p")
    hdr = Source(footage("cut_hlg.mp4", lambda p: render(p, (moving(192, 112, 21), 20), codec="hevc", transfer="hlg")).path)
    for mode in ("copy", "encode"):
        (result,) = hdr.cut(tmp_path / mode, [ClipSpan("aa", Span(hdr.pts[0], hdr.end))], mode=mode)
        assert Source(Path(result.uri)).facts.color_transfer == "arib-std-b67"
    full = Source(footage("cut_full.mp4", lambda p: render(p, (moving(192, 112, 22), 20), full_range=True)).path)
    (result,) = full.cut(tmp_path / "full", [ClipSpan("aa", Span(full.pts[0], full.end))], mode="encode", crf=1)
    copied = Source(Path(result.uri))
    assert copied.facts.color_range == "full"
    with av.open(full.uri) as a, av.open(result.uri) as b:
        for x, y in zip(a.decode(video=0), b.decode(video=0), strict=True):
            difference = x.to_ndarray(format="gray").astype(int) - y.to_ndarray(format="gray")
            assert abs(difference.mean()) < 0.5, "the range was converted"


REAL = ["pyscenedetect__goldeneye-vfr-drop3", "torchcodec__nasa_13013", "exo__sample_with_av1c", "moviepy__chaplin", "autoeditor__SAR-2by3"]


@pytest.mark.parametrize("file", variants(REAL, quick=REAL[1:]))
@pytest.mark.parametrize("mode", ["copy", "encode"])
def test_real_files_show_the_same_pictures(data_dir, tmp_path, file, mode):
    path = data_dir / "footage" / f"{file}.mp4"
    frames: dict[int, np.ndarray] = {}
    with Decoder(str(path), uri=str(path), size_bytes=path.stat().st_size, mode="exact") as decoder:
        next(iter(decoder))
        facts = decoder.facts
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams[facts.stream_index]):
            frames[frame.pts] = frame.reformat(64, 36, "gray").to_ndarray()
            if len(frames) == 60:
                break
        shape = container.streams[facts.stream_index].sample_aspect_ratio or 1
    pts = sorted(frames)
    spans = [ClipSpan("a0", Span(pts[0], pts[30])), ClipSpan("b1", Span(pts[30], pts[-1] + 1))]
    results = [r for r in cut_clips(str(path), facts, spans, str(tmp_path), encoding=encoding(mode, crf=0), uri=str(path)) if not r.error]  # type: ignore[arg-type]
    assert results
    for result in results:
        kept = [p for p in pts if result.start_pts <= p < result.end_pts]
        with av.open(result.uri) as container:
            assert (container.streams.video[0].sample_aspect_ratio or 1) == (shape if mode == "copy" else 1)
            assert (result.width, result.height) == (facts.width, facts.height)
            base = container.streams.video[0].time_base
            shown = [(f.pts * base, f.reformat(64, 36, "gray").to_ndarray()) for f in container.decode(video=0)]
        assert [t for t, _ in shown] == [(p - result.start_pts) * facts.time_base for p in kept]
        for (_, picture), p in zip(shown, kept, strict=True):
            off = np.abs(picture.astype(int) - frames[p])
            if mode == "encode" and shape != 1:
                assert off.mean() < 3, "scaled to square pixels"
                continue
            assert off.max() <= (facts.bit_depth > 8 and mode == "encode"), (
                "x264 is lossless at crf 0 but for 10 to 8 bits, and a copy is a copy"
            )


@pytest.mark.parametrize("mode", ["copy", "encode"])
def test_it_says_all_the_while_that_it_is_alive(source, tmp_path, mode):
    """A guard that hears nothing takes a long cut for a hang."""
    film, ticks = source("h264.mp4"), []
    film.cut(tmp_path, mode=mode, tick=lambda: ticks.append(1))
    assert len(ticks) >= N
