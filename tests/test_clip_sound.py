"""Sound of clips: whatever codec a source has, its pictures become files, and its sound is there, in time, or the row says why not."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from footage import encoding, render
from pictures import film
from rushes.media.cut import ClipSpan, Encoding, cut_clips
from rushes.media.decode import Decoder
from rushes.records import Span
from stores import go, inline, rows_of, seen, settings_of

LOW, HIGH, CHANGE_S = 440.0, 1200.0, 1.6
"""The sound of the films: a low tone, and from 1.6 s on a high one, Hz."""
KINDS = {  # container, codec of the sound, samples a second, channels
    "bluray.m2ts": ("pcm_bluray", 48000, 2),
    "aac.ts": ("aac", 44100, 2),
    "mp2.ts": ("mp2", 48000, 2),
    "six.ts": ("ac3", 48000, 6),
    "s16.mkv": ("pcm_s16le", 48000, 2),
    "odd_rate.mkv": ("pcm_s16le", 12345, 1),
    "flac.mkv": ("flac", 48000, 1),
    "ulaw.avi": ("pcm_mulaw", 8000, 1),
    "g726.avi": ("g726", 8000, 1),
    "ms.avi": ("adpcm_ms", 44100, 2),
    "yamaha.avi": ("adpcm_yamaha", 16000, 1),
    "wma.avi": ("wmav2", 44100, 2),
    "nellymoser.flv": ("nellymoser", 22050, 1),
    "amr.3gp": ("libopencore_amrnb", 8000, 1),
    "g722.nut": ("g722", 16000, 1),
}


BIT_RATES = {"g726": 32000, "libopencore_amrnb": 12200, "wmav2": 128_000}


def tone(n: int, rate: int, start: int) -> np.ndarray:
    """Samples from number `start` on."""
    at = (np.arange(n) + start) / rate
    return 0.4 * np.sin(2 * np.pi * np.where(at < CHANGE_S, LOW, HIGH) * at)


def with_sound(picture: Path, path: Path, codec: str, rate: int, channels: int, length_s: float) -> None:
    """The pictures of one file, copied, with sound beside them."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
    formats = {"ts": "mpegts", "m2ts": "mpegts", "mkv": "matroska", "avi": "avi", "asf": "asf", "flv": "flv", "3gp": "3gp", "nut": "nut"}
    options = {"mpegts_m2ts_mode": "1"} if path.suffix == ".m2ts" else {}
    loose = {"strict": "-2"}
    with av.open(str(picture)) as source, av.open(str(path), "w", format=formats[path.suffix[1:]], options=options) as out:
        video = source.streams.video[0]
        added = out.add_stream_from_template(video, opaque=True)
        sound: Any = out.add_stream(codec, rate=rate, options=loose)
        sound.layout = layout
        if codec in BIT_RATES:
            sound.bit_rate = BIT_RATES[codec]
        packets = []
        size = max(sound.codec_context.frame_size or 0, 1024)
        for start in range(0, int(length_s * rate), size):
            wave = np.repeat(tone(size, rate, start)[:, None], channels, axis=1)
            frame = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16).reshape(1, -1), format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            packets += sound.encode(frame)
        packets += sound.encode(None)
        pictures = [p for p in source.demux(video) if p.size]
        at = {id(p): float((p.dts or 0) * p.time_base) for p in (*pictures, *packets)}
        for packet in pictures:
            packet.stream = added
        for packet in sorted([*pictures, *packets], key=lambda p: at[id(p)]):
            out.mux(packet)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """75 frames at 25 a second, a key frame each second, none reordered: H.264, and MPEG-4 for AVI."""
    folder, shown = tmp_path_factory.mktemp("pictures"), film(160, 96, [75], seed=5)
    usual = render(folder / "p.mp4", shown, gop=25, bframes=0).path
    return {".avi": render(folder / "p.avi", shown, codec="mpeg4", gop=25, bframes=0).path, "": usual}


def heard(uri: str) -> tuple[np.ndarray, int, float]:
    """The first channel of a file's sound, samples a second, and the time of the first one."""
    with av.open(uri) as file:
        stream = file.streams.audio[0]
        frames = [frame for packet in file.demux(stream) for frame in packet.decode()]
        first = float((frames[0].pts or 0) * frames[0].time_base)
        rate, channels = frames[0].sample_rate, len(frames[0].layout.channels)
        wave = []
        for frame in frames:
            samples = frame.to_ndarray().astype(float)
            wave.append(samples[0] if samples.shape[0] == channels else samples.reshape(-1, channels)[:, 0])
        return np.concatenate(wave), rate, first


def change_at(wave: np.ndarray, rate: int) -> float:
    """Seconds from the first sample at which the tone goes up, by counting crossings of zero in windows of 40 ms."""
    size = int(rate * 0.04)
    crossings = [int(np.sum(np.diff(np.signbit(wave[k : k + size])))) / 2 / 0.04 for k in range(0, len(wave) - size, size // 4)]
    high = np.array(crossings) > (LOW + HIGH) / 2
    return float(np.argmax(high) * (size // 4) + size / 2) / rate


def spans_of(path: Path) -> tuple[Any, list[ClipSpan]]:
    with Decoder(str(path), uri=str(path), size_bytes=path.stat().st_size, mode="exact") as decoder:
        pts = [at for _, at in decoder]
        facts = decoder.facts
    step = pts[1] - pts[0]
    return facts, [ClipSpan("a" * 32, Span(pts[0], pts[25])), ClipSpan("b" * 32, Span(pts[25], pts[-1] + step))]


@pytest.mark.parametrize("mode", ["encode", "copy"])
@pytest.mark.parametrize("name", KINDS)
def test_pictures_become_files_with_their_sound_in_time(name: str, mode: str, pictures: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / name
    with_sound(pictures.get(path.suffix, pictures[""]), path, *KINDS[name], 3.0)
    facts, spans = spans_of(path)
    first, second = cut_clips(str(path), facts, spans, str(tmp_path / "out"), encoding=encoding(mode), uri=str(path))
    for result, n, length_s in ((first, 25, 1.0), (second, 50, 2.0)):
        assert result.error is None and result.uri is not None and result.n_frames == n
        wave, rate, start_s = heard(result.uri)
        assert start_s < 0.3 and length_s - 0.45 < len(wave) / rate < length_s + 0.15
    assert second.uri is not None
    wave, rate, start_s = heard(second.uri)
    assert abs(start_s + change_at(wave, rate) - (CHANGE_S - 1.0)) < 0.08, "the tone changes 0.6 s after the clip's first picture"
    with av.open(second.uri) as file:
        is_aac = file.streams.audio[0].codec_context.name == "aac"
    own = KINDS[name][0]
    assert (second.note is not None) == (is_aac and own != "aac")
    if second.note:
        assert "encoded anew as AAC" in second.note and first.note == second.note


def test_sound_that_nothing_can_decode_is_left_out_with_a_note(pictures: dict[str, Path], tmp_path: Path) -> None:
    """A codec whose packets are noise: the header is right, no packet decodes."""
    good, path = tmp_path / "good.mkv", tmp_path / "noise.mkv"
    with_sound(pictures[""], good, "tta", 48000, 2, 3.0)
    rng = np.random.default_rng(0)
    with av.open(str(good)) as source, av.open(str(path), "w", format="matroska") as out:
        streams = {s.index: out.add_stream_from_template(s, opaque=True) for s in source.streams}
        for packet in source.demux():
            if packet.size:
                data = bytes(packet) if packet.stream.type == "video" else rng.bytes(packet.size)
                copy = av.Packet(data)
                copy.time_base, copy.pts, copy.dts, copy.duration = packet.time_base, packet.pts, packet.dts, packet.duration
                copy.is_keyframe, copy.stream = packet.is_keyframe, streams[packet.stream_index]
                out.mux(copy)
    facts, spans = spans_of(path)
    for result in cut_clips(str(path), facts, spans, str(tmp_path / "out"), encoding=Encoding(), uri=str(path)):
        assert result.error is None and result.uri is not None and result.note is not None and "has no sound" in result.note
        with av.open(result.uri) as file:
            assert not file.streams.audio


def test_a_step_in_the_time_of_sound_stays_a_step(pictures: dict[str, Path], tmp_path: Path) -> None:
    """A recorder that stops its sound for a second: what comes after it is not moved forward."""
    whole, path = tmp_path / "whole.m2ts", tmp_path / "gap.m2ts"
    with_sound(pictures[""], whole, "pcm_bluray", 48000, 1, 3.0)
    with av.open(str(whole)) as source, av.open(str(path), "w", format="mpegts", options={"mpegts_m2ts_mode": "1"}) as out:
        streams = {s.index: out.add_stream_from_template(s, opaque=True) for s in source.streams}
        first = source.streams.video[0].start_time * source.streams.video[0].time_base
        for packet in source.demux():
            if packet.size and not (packet.stream.type == "audio" and 0.4 < float(packet.pts * packet.time_base - first) < 1.3):
                packet.stream = streams[packet.stream_index]
                out.mux(packet)
    facts, (one, other) = spans_of(path)
    span = ClipSpan("c" * 32, Span(one.span.start_pts, other.span.end_pts))
    (result,) = cut_clips(str(path), facts, [span], str(tmp_path / "out"), encoding=Encoding(), uri=str(path))
    assert result.error is None and result.uri is not None
    with av.open(result.uri) as file:
        frames = [frame for packet in file.demux(audio=0) for frame in packet.decode()]
    times = np.array([float(frame.pts * frame.time_base) for frame in frames])
    assert np.diff(times).max() > 0.7, "the gap is still there"
    late = np.concatenate([frame.to_ndarray()[0] for frame, at in zip(frames, times, strict=True) if at > 1.38])
    start_s = times[times > 1.38][0]
    assert abs(start_s + change_at(late, frames[0].sample_rate) - CHANGE_S) < 0.1


@pytest.mark.slow
def test_case_17_of_the_field(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "field" / "17_sound_no_container_takes"
    done = go(folder, tmp_path / "store", "clips.mode=encode", "rules.too_short.min=0")
    made = rows_of(tmp_path / "store", "files")["files"]
    assert done.counts["files_made"] == len(made) == done.counts["clips_kept"] >= 5 and done.counts["files_failed"] == 0
    clips = {c["clip_id"]: c for c in seen(tmp_path / "store", "clips.mode=encode", "rules.too_short.min=0").clips()}
    total: dict[str, int] = {}
    for row in made:
        name = Path(clips[row["clip_id"]]["uri"]).name
        total[name] = total.get(name, 0) + row["n_frames"]
        assert (row["note"] is None) == name.startswith("cctv_ulaw")
        with av.open(row["clip_uri"]) as file:
            assert file.streams.audio
    assert total == {n: 150 for n in ("broadcast_s302m.ts", "camcorder_lpcm.m2ts", "cctv_g726.avi", "cctv_ulaw.mkv", "dvd_pcm.vob")}


@pytest.mark.slow
def test_files_that_cannot_be_made_are_counted_and_told_and_strict(tmp_path: Path) -> None:
    """One key frame in two shots: the second shot cannot be copied."""
    footage = tmp_path / "footage"
    footage.mkdir()
    render(footage / "a.mp4", film(160, 96, [60, 60], seed=3), gop=500)
    settings = settings_of("clips.mode=copy", "rules.too_short.min=0")
    out = tmp_path / "store"
    done = inline("run", footage, "--out", out, "--strict", *settings)
    assert done.code == 1, done.err
    for verb in ("runs", "status"):
        row = inline(verb, out, "--json").lines[-1]
        assert (row["files_made"], row["files_failed"], row["clips_kept"], row["clips_failed"]) == (1, 1, 2, 0)
    good, bad = inline("clips", out, "--json").lines
    assert good["verdict"] == bad["verdict"] == "kept"
    assert good["clip_uri"] and good["error"] is None
    assert bad["clip_uri"] is None and "no key frame" in bad["error"] and "encode" in bad["mend"]
    assert all(c["error"] is None for c in inline("captions", out, "--json").lines)
    (told,) = inline("sql", out, "SELECT clip_id, error, mend, verdict FROM clips WHERE error IS NOT NULL", "--json").lines
    assert told == {"clip_id": bad["clip_id"], "error": bad["error"], "mend": bad["mend"], "verdict": "kept"}
    again = inline("run", footage, "--out", out, "--strict", *settings)
    row = inline("runs", out, "--json").lines[-1]
    assert again.code == 1 and (row["files_made"], row["files_failed"]) == (0, 1), "what failed for good is told again"
    dropped = inline("clips", out, "--json", "--set", "rules.too_short.min=99").lines
    assert [c["error"] for c in dropped] == [None, None]
    json.dumps(dropped, allow_nan=False)
