"""What a file says of how its pictures are to be seen: believed where it can be, and followed in frames, measures and clip files."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition

from footage import Clip, encoding, render, truncated
from pictures import film, moving, still, texture
from rushes.captions.facts import sentence
from rushes.errors import ProbeError, RecipeError
from rushes.measures.clip import measure_clip
from rushes.measures.clip_time import ClipTime
from rushes.media.cut import ClipSpan, cut_clips
from rushes.media.streams import open_film
from rushes.recipe import Recipe
from rushes.records import Orientation, Span
from rushes.rows.signals import Series
from rushes.scan.one_pass import Scan, scan
from stores import go, seen
from tagged import (
    MATRIX_OF,
    PATCHES,
    SIDE,
    as_coded,
    coded_patches,
    display_matrix,
    encode,
    from_planes,
    pixels_of,
    restated,
    seen_patches,
    swept,
)

Footage = Callable[[str, Callable[[Path], Clip]], Clip]
LOSSLESS = {"options": {"crf": "1", "preset": "ultrafast"}}


def measures(found: Scan) -> dict[str, float | str | None]:
    """The measures of the whole video as one clip."""
    t = (found.pts - found.pts[0]) * float(found.facts.time_base)
    end_s = float((found.end_pts - found.pts[0]) * found.facts.time_base)
    time = ClipTime(slice(0, len(found.pts)), t.astype(np.float64), end_s)
    return measure_clip(found.signals, time, Series.of("v", found).way)


def cut(path: Path, found: Scan, folder: Path, mode: str) -> Path:
    """The whole video as a clip file."""
    spans = [ClipSpan("aa" * 16, Span(int(found.pts[0]), found.end_pts))]
    (made,) = cut_clips(str(path), found.facts, spans, str(folder / mode), encoding=encoding(mode, crf=4), uri=str(path))  # type: ignore[arg-type]
    assert made.error is None and made.uri is not None, made.error
    again, _ = swept(Path(made.uri))
    assert (made.width, made.height) == (again.facts.width, again.facts.height)
    return Path(made.uri)


# Orientation


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    return cv2.GaussianBlur(texture(96, 160, 3), (0, 0), 3)


@pytest.mark.parametrize("way", MATRIX_OF)
def test_frames_and_clip_files_are_upright_whatever_the_matrix_asks_for(way: str, scene: np.ndarray, tmp_path: Path) -> None:
    coded = as_coded(scene, MATRIX_OF[way])
    frames = [av.VideoFrame.from_ndarray(coded, "bgr24").reformat(format="yuv420p") for _ in range(4)]
    path = encode(tmp_path / "a.mp4", frames, "libx264", matrix=display_matrix(MATRIX_OF[way]), **LOSSLESS)
    found, (stored, *_) = swept(path, "frames.quality=100")
    assert (found.facts.width, found.facts.height) == (stored.width, stored.height) == (96, 160)
    files = [cut(path, found, tmp_path, mode) for mode in ("copy", "encode")]
    for jpeg in (stored.jpeg, *(swept(file, "frames.quality=100")[1][0].jpeg for file in files)):
        assert np.abs(pixels_of(jpeg).astype(float) - scene).mean() < 3
    with av.open(str(files[1])) as container:  # without help from tags
        plain = next(container.decode(video=0)).to_ndarray(format="bgr24")
    assert plain.shape == scene.shape and np.abs(plain.astype(float) - scene).mean() < 3


def test_a_matrix_that_is_scaled_or_askew_means_the_nearest_way(tmp_path: Path) -> None:
    scene, (a, b, c, d) = texture(96, 160, 3), MATRIX_OF["transposed"]
    askew = [v * 40_000 for v in (a, b, 0, c, d)] + [0, 0, 0, 1 << 30]
    askew[0], askew[4] = 3000, -3000
    frame = av.VideoFrame.from_ndarray(scene, "bgr24").reformat(format="yuv420p")
    found, _ = swept(encode(tmp_path / "a.mkv", [frame], "ffv1", matrix=askew))
    assert found.facts.orientation == Orientation(270, mirrored=True)
    nothing = swept(encode(tmp_path / "b.mp4", [frame], "libx264", matrix=[0] * 9))[0]
    assert nothing.facts.orientation == Orientation()


LABELS = {
    "mirrored left to right": "pan_left",
    "mirrored top to bottom": "pan_right",
    "transposed": "tilt_down",
    "rotated by 270": "tilt_up",
}


@pytest.mark.parametrize(("way", "label"), LABELS.items())
def test_the_camera_moves_as_the_viewer_sees_it(way: str, label: str, tmp_path: Path) -> None:
    """Coded is a pan to the right."""
    pan = moving(160, 96, 5, dx=2.0)
    frames = [av.VideoFrame.from_ndarray(pan(i), "bgr24").reformat(format="yuv420p") for i in range(50)]
    path = encode(tmp_path / "a.mp4", frames, "libx264", fps=25, matrix=display_matrix(MATRIX_OF[way]))
    assert measures(swept(path)[0])["camera_motion"] == label


@pytest.mark.parametrize("name", ["mirrored_left_right", "mirrored_top_bottom"])
def test_case_04_mirrors(data_dir: Path, name: str) -> None:
    path = data_dir / "field" / "04_mirror_matrix" / f"{name}.mp4"
    truth = cv2.imread(f"{path}.truth.png")
    _, (stored, *_) = swept(path)
    assert truth is not None and np.abs(pixels_of(stored.jpeg).astype(float) - truth).mean() < 4


def test_a_frame_whose_side_data_cannot_be_listed_is_read_all_the_same(data_dir: Path) -> None:
    """Stereo HEVC carries the number of the view, which PyAV does not know."""
    found, frames = swept(data_dir / "hostile" / "mp4ff__stereo_spatial.mp4")
    assert frames and found.facts.orientation == Orientation()


# Shape of pixels


@pytest.mark.parametrize(
    ("stated", "size"),
    [
        ((4, 3), (256, 108)),
        ((32, 11), (558, 108)),
        ((1, 2), (96, 108)),
        ((3, 1), (192, 108)),
        ((1, 255), (192, 108)),
        ((1088, 1), (192, 108)),
        ((65535, 1), (192, 108)),
    ],
)
def test_a_pixel_shape_is_followed_up_to_the_widest_of_the_standard(stated: tuple[int, int], size: tuple[int, int], tmp_path: Path) -> None:
    frames = [av.VideoFrame.from_ndarray(texture(192, 108, 5), "bgr24").reformat(format="yuv420p") for _ in range(6)]
    path = encode(tmp_path / "a.mp4", frames, "libx264", sample_aspect_ratio=Fraction(16, 11), **LOSSLESS)
    restated(path, b"pasp", struct.pack(">II", *stated))
    found, (stored, *_) = swept(path)
    assert (found.facts.width, found.facts.height) == size
    assert stored.width == pytest.approx(size[0], abs=1) and stored.height == size[1]
    for mode in ("copy", "encode"):
        with av.open(str(cut(path, found, tmp_path, mode))) as container:
            stream = container.streams.video[0]
            shape = stream.sample_aspect_ratio or Fraction(1)
            assert mode == "copy" or shape == 1, "an encoded clip has square pixels"
            assert stream.width * shape == pytest.approx(size[0], abs=1.1) and stream.height == size[1]


@pytest.mark.parametrize("name", ["pixels_255_times_as_high", "pixels_255_times_as_wide", "pixels_65535_times_as_wide"])
def test_case_16_absurd_pixels_count_as_square(data_dir: Path, name: str) -> None:
    found, frames = swept(data_dir / "field" / "16_absurd_pixel_aspect" / f"{name}.mp4")
    assert (found.facts.width, found.facts.height, found.facts.sar) == (320, 180, 1.0)
    assert {(f.width, f.height) for f in frames} == {(320, 180)} and len(frames) == 5


# Frame rate and length


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_a_rate_that_the_frames_contradict_is_not_believed(mode: str, tmp_path: Path) -> None:
    steps = [40, 33, 47] * 20
    pts = [sum(steps[:i]) for i in range(len(steps))]
    path = render(tmp_path / "a.mkv", (still(96, 64, 2), 60), fps=1000, pts=pts, time_base=Fraction(1, 1000)).path
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 1000
    found, _ = swept(path, f"scan.mode={mode}")
    assert found.facts.fps == pytest.approx(25, rel=0.02)
    assert found.mode == mode


def test_a_rate_that_the_frames_bear_out_stays_as_stated(tmp_path: Path) -> None:
    for mode in ("exact", "fast"):
        found, _ = swept(render(tmp_path / f"{mode}.mkv", film(96, 64, [40]), fps=Fraction(30000, 1001)).path, f"scan.mode={mode}")
        assert found.facts.fps == pytest.approx(30000 / 1001, abs=1e-9)


def test_the_length_is_that_of_the_frames_where_the_container_states_another(tmp_path: Path) -> None:
    whole = render(tmp_path / "a.mkv", film(96, 64, [100]))
    assert swept(whole.path)[0].facts.duration_s == pytest.approx(4.0, abs=0.01)
    found, _ = swept(truncated(whole.path, tmp_path / "half.mkv", 0.5))
    assert 1.0 < found.footage_s < 3.0
    assert found.facts.duration_s == found.footage_s


def test_the_bit_rate_follows_the_length(tmp_path: Path) -> None:
    whole = render(tmp_path / "a.mkv", film(96, 64, [100]))
    half = truncated(whole.path, tmp_path / "half.mkv", 0.5)
    size = half.stat().st_size
    found = scan(str(half), Recipe(), size_bytes=size)
    assert found.facts.bit_rate == pytest.approx(8 * size / found.footage_s, abs=1)
    with av.open(str(half)) as container:
        assert container.bit_rate < 0.7 * found.facts.bit_rate


def test_case_08_a_webcam_has_25_frames_a_second(data_dir: Path) -> None:
    found, _ = swept(data_dir / "field" / "08_webcam_1000_fps" / "webcam.webm")
    assert len(found.pts) == 150
    assert found.facts.fps == pytest.approx(25.2, rel=0.02)


def test_the_sentence_says_the_clips_own_rate() -> None:
    clip = {"mode": "exact", "fps": 29.97002997, "duration_s": 10.0}
    assert "at 29.97 frames a second" in sentence({**clip, "n_frames": 300.0}, (0, 10))
    assert "at 12.3 frames a second" in sentence({**clip, "n_frames": 123.0}, (0, 10))
    assert "at 29.97 frames a second" in sentence({**clip, "mode": "fast", "n_frames": 100.0}, (0, 10))
    assert "at 12.3 frames a second" in sentence({**clip, "fps": None, "n_frames": 123.0}, (0, 10))


# Range of grey pictures


def halves(pixels: str, full: bool) -> av.VideoFrame:
    """A quarter black, a quarter white, and half middle grey, as luma codes of studio or full range."""
    bits = next((b for b in (16, 12, 10) if str(b) in pixels), 8)
    low, high = (0, (1 << bits) - 1) if full else (16 << (bits - 8), 235 << (bits - 8))
    luma = np.full((64, 96), (low + high) // 2, np.uint16 if bits > 8 else np.uint8)
    luma[:32, :48], luma[32:, 48:] = low, high
    neutral = np.full((32, 48), 128 << (bits - 8), luma.dtype)
    return from_planes([luma] if pixels.startswith("gray") else [luma, neutral, neutral], pixels)


GREYS = [
    ("libx265", "gray", False, 1), ("libx265", "gray10le", False, 1), ("libx265", "gray", True, 2), ("libx265", "gray12le", False, 0),
    ("ffv1", "gray", True, 0), ("ffv1", "gray", False, 1), ("ffv1", "gray10le", False, 1), ("ffv1", "gray16le", True, 0),
    ("ffv1", "gray", True, 2), ("ffv1", "yuv420p", True, 2), ("ffv1", "yuv420p", False, 0),
]  # fmt: skip


@pytest.mark.parametrize(("codec", "pixels", "full", "tag"), GREYS)
def test_grey_pictures_have_the_range_of_their_tag(codec: str, pixels: str, full: bool, tag: int, tmp_path: Path) -> None:
    options = {"x265-params": "log-level=none:lossless=1:pools=none"} if codec == "libx265" else {}
    frames = [halves(pixels, full) for _ in range(3)]
    for frame in frames:
        frame.color_range = tag
    path = encode(tmp_path / "a.mkv", frames, codec, color_range=tag, options=options)
    found, _ = swept(path)
    seen = measures(found)
    assert seen["clipped_share"] == pytest.approx(0.25, abs=0.01) and seen["dark_share"] == pytest.approx(0.25, abs=0.01)
    assert seen["contrast"] == pytest.approx(90.2, abs=1.0), "standard deviation of 0, 127.5, 127.5, 255"
    for file in (path, cut(path, found, tmp_path, "encode")):
        picture = pixels_of(swept(file, "frames.quality=100")[1][0].jpeg).astype(int)
        assert np.abs(picture[16, 24] - 0).max() <= 2 and np.abs(picture[48, 72] - 255).max() <= 2, file


@pytest.mark.parametrize("name", ["mono_av1.mkv", "mono_h264.mp4", "mono_hevc.mp4", "same_as_420.mp4"])
def test_case_15_grey_measures_as_colour_does(data_dir: Path, name: str) -> None:
    found, (stored, *_) = swept(data_dir / "field" / "15_monochrome_hevc" / name)
    seen, picture = measures(found), pixels_of(stored.jpeg)
    assert seen["clipped_share"] == pytest.approx(0.25, abs=0.005)
    assert seen["contrast"] == pytest.approx(90.7, abs=0.1)
    assert np.percentile(picture, 10) <= 2 and np.percentile(picture, 90) >= 253


@pytest.mark.parametrize("name", ["gbrp12.mkv", "gray16.mkv", "same_pictures_10_bit.mkv", "yuva444p12_prores.mov"])
def test_case_24_deep_formats_measure_as_8_bits_do(data_dir: Path, name: str) -> None:
    folder = data_dir / "field" / "24_deep_and_alpha_formats"
    plain, deep = (measures(swept(folder / file)[0]) for file in ("same_pictures_8_bit.mkv", name))
    for column in ("luma_mean", "contrast", "sharpness", "motion_mean"):
        assert deep[column] == pytest.approx(plain[column], rel=0.05), column


# Colours


@pytest.mark.parametrize("number", [1, 4, 5, 6, 7, 9])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le"])
def test_stored_frames_have_the_colours_of_the_tagged_matrix(number: int, full: bool, pixels: str, tmp_path: Path) -> None:
    frame = coded_patches(number, full=full, pixels=pixels)
    tag = 2 if full else 1
    frame.colorspace, frame.color_range = number, tag
    path = encode(tmp_path / "a.mkv", [frame], "ffv1", colorspace=number, color_range=tag)
    for side in (480, 96):  # as it is, and scaled
        _, (stored, *_) = swept(path, f"frames.short_side_px={side}")
        assert np.abs(seen_patches(stored.jpeg) - PATCHES).max() <= 3


@pytest.mark.parametrize(("height", "usual"), [(192, 5), (720, 1)])
def test_without_a_tag_the_size_decides(height: int, usual: int, tmp_path: Path) -> None:
    frame = coded_patches(usual, full=False, pixels="yuv420p").reformat(8 * SIDE, height)
    _, (stored, *_) = swept(encode(tmp_path / "a.mkv", [frame], "ffv1"))
    assert np.abs(seen_patches(stored.jpeg) - PATCHES).max() <= 3


def hdr_to_sdr(patches: np.ndarray, transfer: str) -> np.ndarray:
    """What docs/pictures.md says of HDR, for R'G'B' 0..255 in BT.2020 primaries."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    e = patches / 255

    def light_of(code: np.ndarray) -> np.ndarray:
        p = code ** (1 / m2)
        return 10_000 * (np.maximum(p - c1, 0) / (c2 - c3 * p)) ** (1 / m1)

    def code_of(light: np.ndarray) -> np.ndarray:
        y = (light / 10_000) ** m1
        return ((c1 + c2 * y) / (1 + c3 * y)) ** m2

    if transfer == "pq":
        light = light_of(e)
    else:
        scene = np.where(e <= 0.5, e**2 / 3, (np.exp((e - 0.55991073) / 0.17883277) + 0.28466892) / 12)
        light = 1000 * (scene @ (0.2627, 0.6780, 0.0593))[:, None] ** 0.2 * scene
    peak = code_of(np.array(1000.0))
    x, top = np.minimum(code_of(light) / peak, 1), code_of(np.array(203.0)) / peak
    knee = 1.5 * top - 0.5
    t = (x - knee) / (1 - knee)
    curve = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * top
    shown = light_of(np.where(x < knee, x, curve) * peak) / 203
    to_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
    linear = np.clip(shown @ to_709.T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(("transfer", "number"), [("pq", 16), ("hlg", 18)])
def test_hdr_is_mapped_by_the_documented_curve_in_frames_and_nowhere_else(transfer: str, number: int, tmp_path: Path) -> None:
    frame, plain = (coded_patches(9, full=False, pixels="yuv420p10le") for _ in range(2))
    tags = {"colorspace": 9, "color_range": 1, "color_primaries": 9}
    for name, value in (*tags.items(), ("color_trc", number)):
        setattr(frame, name, value)
    path = encode(tmp_path / "a.mkv", [frame], "ffv1", **tags, color_trc=number)
    found, (stored, *_) = swept(path)
    assert np.abs(seen_patches(stored.jpeg) - hdr_to_sdr(PATCHES, transfer)).max() <= 3
    sdr, _ = swept(encode(tmp_path / "b.mkv", [plain], "ffv1", **tags))
    for column in ("luma_mean", "contrast", "sharpness"):
        assert measures(found)[column] == measures(sdr)[column]


@pytest.mark.parametrize("name", ["bt2020", "bt2020_hlg", "bt709"])
def test_case_27_patches_of_known_colour(data_dir: Path, name: str) -> None:
    _, (stored, *_) = swept(data_dir / "field" / "27_bt2020_colours" / f"{name}.mkv")
    patches = np.array([[[200, 30, 30], [30, 180, 40], [40, 60, 200]], [[220, 200, 60], [180, 140, 110], [128, 128, 128]]], float)
    picture = pixels_of(stored.jpeg)[:, :, ::-1].astype(float)
    seen = picture[[60, 180]][:, [80, 240, 400]]
    wanted = hdr_to_sdr(patches.reshape(-1, 3), "hlg").reshape(patches.shape) if name.endswith("hlg") else patches
    assert np.abs(seen - wanted).max() <= 3


# Which stream


def several(path: Path, *sizes: tuple[int, int, int], default: int | None = None) -> Path:
    """A file with one video stream for each (width, height, frames); what a stream shows is grey, 40 times its index."""
    with av.open(str(path), "w") as out:
        streams = [out.add_stream("mjpeg" if n < 5 else "libx264", rate=25) for *_, n in sizes]
        for k, (stream, (width, height, n)) in enumerate(zip(streams, sizes, strict=True)):
            stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p" if n < 5 else "yuv420p"
            if default is not None:
                stream.disposition = Disposition.default if k == default else Disposition(0)
        for i in range(max(n for *_, n in sizes)):
            for k, (width, height, n) in enumerate(sizes):
                if i < n:
                    frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), 40 * k, np.uint8), "bgr24")
                    frame = frame.reformat(format=streams[k].pix_fmt, dst_color_range="JPEG" if n < 5 else "MPEG")
                    frame.pts, frame.time_base = i, Fraction(1, 25)
                    out.mux(streams[k].encode(frame))
        for stream in streams:
            out.mux(stream.encode())
    return path


FILM, SMALL, COVER = (192, 108, 50), (96, 54, 50), (96, 54, 1)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov"])
@pytest.mark.parametrize(
    ("sizes", "default", "scanned", "others"),
    [
        ((COVER, FILM), None, 1, None),
        ((FILM, COVER), None, 0, None),
        ((FILM, FILM), None, 0, "stream 1: h264 192x108"),
        ((FILM, FILM), 1, 0, "stream 1: h264 192x108"),
        ((SMALL, FILM), 1, 1, "stream 0: h264 96x54"),
        ((FILM, SMALL), None, 0, "stream 1: h264 96x54"),
        (((48, 26, 50), FILM), None, 1, None),
        (((192, 108, 4), FILM, SMALL), None, 1, "stream 2: h264 96x54"),
    ],
)
def test_the_film_is_scanned_and_other_films_are_named(
    suffix: str, sizes: tuple[tuple[int, int, int], ...], default: int | None, scanned: int, others: str | None, tmp_path: Path
) -> None:
    path = several(tmp_path / f"a.{suffix}", *sizes, default=default)
    with path.open("rb") as file:
        for source in (str(path), file):
            film = open_film(source, str(path))
            with film.container:
                assert film.stream.index == scanned
    found, (stored, *_) = swept(path)
    assert (found.facts.stream_index, len(found.pts)) == (scanned, 50)
    assert found.facts.other_streams == others
    assert pixels_of(stored.jpeg).mean() == pytest.approx(40 * scanned, abs=3)
    for mode in ("copy", "encode"):
        again = swept(cut(path, found, tmp_path, mode))[1]
        assert pixels_of(again[0].jpeg).mean() == pytest.approx(40 * scanned, abs=3)


def test_case_20_the_film_behind_a_preview_and_two_cameras(data_dir: Path) -> None:
    folder = data_dir / "field" / "20_preview_track_first"
    film, cameras = (swept(folder / name)[0] for name in ("preview_first.mov", "front_and_rear.mp4"))
    assert (len(film.pts), film.facts.width, film.facts.height, film.facts.other_streams) == (150, 320, 180, None)
    assert (len(cameras.pts), cameras.facts.stream_index, cameras.facts.other_streams) == (150, 0, "stream 1: h264 320x180")


def test_all_films_of_a_file_are_videos_of_their_own(tmp_path: Path) -> None:
    folder, out = tmp_path / "footage", tmp_path / "store"
    folder.mkdir()
    several(folder / "car.mp4", FILM, (96, 54, 40), COVER)
    several(folder / "phone.mkv", COVER, FILM)
    (folder / "broken.mp4").write_bytes(bytes(range(256)) * 40)
    base = ("rules.too_short.min=0", "captions.engine=none", "clips.mode=encode", "shots.gradual=false", "rules.static.max=2")
    quiet = (*base, "rules.frozen.max=2", "rules.empty.min=0", "rules.blurred.min=0", "rules.dark.max=2")

    def videos(*settings: str) -> tuple[dict[str, int], dict[str, dict[str, Any]]]:
        counts = go(folder, out, *quiet, *settings).counts
        return counts, {Path(v["uri"]).name: v for v in seen(out, *quiet, *settings).videos()}

    counts, rows = videos()
    assert counts["videos_with_other_streams"] == 1 and counts["videos_scanned"] == 2
    film_of_phone = rows["phone.mkv"]["video_id"]
    assert rows["car.mp4"]["other_streams"] == "stream 1: h264 96x54" and rows["phone.mkv"]["other_streams"] is None
    counts, rows = videos("scan.stream=all")
    assert [counts[f"videos_{how}"] for how in ("scanned", "reused", "failed", "with_other_streams")] == [2, 1, 1, 0]
    front, rear = rows["car.mp4#stream=0"], rows["car.mp4#stream=1"]
    assert (front["n_frames"], rear["n_frames"], rear["width"]) == (50, 40, 96)
    assert len({front["video_id"], rear["video_id"], rows["car.mp4"]["video_id"]}) == 3
    assert rows["phone.mkv"]["video_id"] == film_of_phone and rows["broken.mp4"]["status"] == "failed"
    clips = {Path(c["uri"]).name: c for c in seen(out, *quiet, "scan.stream=all").clips()}
    for name, size in (("car.mp4#stream=0", (192, 108)), ("car.mp4#stream=1", (96, 54))):
        with av.open(clips[name]["clip_uri"]) as file:
            assert (file.streams.video[0].width, file.streams.video[0].height) == size
    again, _ = videos("scan.stream=all")
    assert [again[f"videos_{how}"] for how in ("scanned", "reused", "failed")] == [0, 3, 1]
    counts, rows = videos("scan.stream=1")
    assert [counts[f"videos_{how}"] for how in ("scanned", "reused", "failed")] == [1, 1, 1]
    assert rows["phone.mkv#stream=1"]["n_frames"] == 50


def test_a_stream_that_is_not_there_is_an_error_that_names_those_there_are(tmp_path: Path) -> None:
    path = several(tmp_path / "a.mp4", FILM, COVER)
    with pytest.raises(ProbeError, match="no video stream with index 3: its video streams are 0, 1"):
        open_film(str(path), str(path), 3)
    for wrong in ("-1", "both", "true"):
        with pytest.raises(RecipeError, match="film"):
            Recipe().with_overrides([f"scan.stream={wrong}"])
    assert Recipe().with_overrides(["scan.stream=2"]).scan.stream_index == 2
