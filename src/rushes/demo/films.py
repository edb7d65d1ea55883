"""The files of the demo: which scenes they show, how these are joined, and how the files are encoded.

They are chosen so that a report shows every verdict.
- kept: inspection round, valley, road camera, hand-held pan and zoom, variable frame rate
- dropped: too short, blurred, dark, overexposed, frozen, noisy, blocky, shaky
- failed: an upload that stopped half way
- duplicate: the inspection round under a second name
- not video: a text file
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2

from rushes.demo import damage, scenes
from rushes.demo.paint import FPS, HEIGHT, U8, WIDTH, Scene, u8

CLOCK = Fraction(1, FPS * 512)
"""512 ticks a frame: what FFmpeg gives a 20 fps mp4."""
DAY = ((196, 150, 96), (232, 214, 196))
DUSK = ((92, 52, 70), (96, 148, 236))


@dataclass(frozen=True, slots=True)
class Shot:
    """A scene for `seconds`, joined to the one before by a hard cut, or by a dissolve or fade of `join_s` seconds."""

    scene: Scene
    seconds: float
    join: str = "cut"
    join_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Film:
    """One file: its shots, and how it is encoded. `uneven`: frames come at changing steps (variable frame rate)."""

    name: str
    shots: Callable[[], list[Shot]]
    crf: int = 21
    uneven: bool = False


def render_footage(folder: Path) -> list[Path]:
    """Render the sample footage into `folder`: about 115 s in 14 files, 25 MB, 10 CPU-seconds. Files that are there are left alone.

    Returns all files, sorted by name. The same pictures on every machine; no network, no ffmpeg binary.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    makers: dict[str, Callable[[Path], None]] = {film.name: _encoder(film) for film in FILMS}
    makers["inspection_round_copy.mp4"] = lambda path: _copy(folder / "inspection_round.mp4", path, 1.0)
    makers["upload_stopped_half_way.mp4"] = lambda path: _copy(folder / "valley.mp4", path, 0.55)
    makers["notes.txt"] = _note
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # with pictures this small, more threads are slower
    try:
        for name, make in makers.items():
            if not (folder / name).exists():
                # A hidden name with the same suffix: a run stopped here leaves nothing that looks like footage.
                unfinished = folder / f".{name}"
                make(unfinished)
                os.replace(unfinished, folder / name)
    finally:
        cv2.setNumThreads(threads)
    return sorted(folder / name for name in makers)


def _copy(source: Path, path: Path, share: float) -> None:
    """The first `share` of a file's bytes. An mp4 keeps its index at the end, so half of one cannot be opened."""
    shutil.copyfile(source, path)
    os.truncate(path, int(source.stat().st_size * share))


def _note(path: Path) -> None:
    path.write_text("Camera 2 was out of focus on Tuesday.\n")


def _encoder(film: Film) -> Callable[[Path], None]:
    return lambda path: _encode(film, path)


def _encode(film: Film, path: Path) -> None:
    """Write one film, one thread, so that the bytes are the same everywhere."""
    import av

    options = {"preset": "ultrafast", "crf": str(film.crf), "bf": "2", "g": "48"}
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base, stream.codec_context.thread_count = CLOCK, 1
        tick = 0
        for i, image in enumerate(_pictures(film.shots())):
            frame = av.VideoFrame.from_ndarray(image, "bgr24").reformat(format="yuv420p", threads=1)
            frame.pts, frame.time_base = tick, CLOCK
            out.mux(stream.encode(frame))
            tick += (384, 512, 1024)[i * 7 % 3] if film.uneven else 512
        out.mux(stream.encode())


def _pictures(shots: list[Shot]) -> Iterator[U8]:
    """The frames of a film. A scene goes on moving during the transitions at its two ends."""
    begin = 0.0
    for shot, after in zip(shots, [*shots[1:], None], strict=True):
        whole, joint = round(shot.seconds * FPS), round(after.join_s * FPS) if after else 0
        for i in range(whole):
            yield shot.scene(begin + i / FPS)
        for k in range(joint):
            assert after is not None
            old, new = shot.scene(begin + (whole + k) / FPS), after.scene(k / FPS)
            yield _blend(after.join, old, new, (k + 1) / (joint + 1))
        begin = joint / FPS


def _blend(join: str, old: U8, new: U8, share: float) -> U8:
    if join == "dissolve":
        return u8(cv2.addWeighted(old, 1 - share, new, share, 0))
    return u8(cv2.convertScaleAbs(old if share < 0.5 else new, alpha=abs(2 * share - 1)))


def _inspection_round() -> list[Shot]:
    return [
        Shot(scenes.corridor(1, (150, 168, 176)), 6),
        Shot(scenes.switch_room(4), 7),
        Shot(scenes.corridor(9, (128, 150, 122), speed=2.2, number=31), 5),
    ]


def _valley() -> list[Shot]:
    return [
        Shot(scenes.valley(3, DAY, (60, 96, 70)), 6),
        Shot(scenes.blocks(5), 6, "dissolve", 1.0),
        Shot(scenes.valley(41, DUSK, (56, 50, 74), speed=0.8), 6, "fade", 1.25),
    ]


def _trailer() -> list[Shot]:
    return [
        Shot(scenes.blocks(8), 1.5),
        Shot(scenes.corridor(7, (170, 140, 120)), 2.0),
        Shot(scenes.valley(17, DUSK, (40, 60, 90)), 1.25),
        Shot(scenes.switch_room(2), 1.75),
        Shot(scenes.road(6), 1.5),
    ]


def _handheld() -> list[Shot]:
    return [
        Shot(damage.shaky(scenes.corridor(21, (140, 150, 170), speed=0.8)), 5.5),
        Shot(damage.steered(scenes.valley(23, DAY, (50, 90, 96)), dx=46), 5),
        Shot(damage.steered(scenes.switch_room(6), zoom=0.07), 5),
    ]


def _exposure() -> list[Shot]:
    return [
        Shot(damage.exposed(scenes.corridor(33, (150, 150, 160)), -4.2), 5),
        Shot(damage.exposed(scenes.valley(35, DAY, (90, 120, 110)), 1.5), 5),
    ]


def _feed() -> list[Shot]:
    return [Shot(scenes.blocks(51, 5), 5), Shot(damage.frozen(scenes.road(52)), 5.5)]


FILMS = (
    Film("inspection_round.mp4", _inspection_round),
    Film("valley.mp4", _valley),
    Film("road_camera.mp4", lambda: [Shot(damage.breathing(scenes.road(14)), 8)]),
    Film("trailer.mp4", _trailer),
    Film("handheld.mp4", _handheld),
    Film("night_and_noon.mp4", _exposure),
    Film("feed_that_stopped.mp4", _feed),
    Film("out_of_focus.mp4", lambda: [Shot(damage.blurred(scenes.switch_room(61)), 5.5)]),
    Film("noisy_sensor.mp4", lambda: [Shot(damage.noisy(scenes.corridor(63, (120, 130, 140), speed=1.0)), 5)], crf=24),
    Film("poor_line.mp4", lambda: [Shot(scenes.valley(65, DAY, (70, 90, 110)), 5)], crf=46),
    Film("uneven_clock.mkv", lambda: [Shot(scenes.corridor(71, (160, 150, 130)), 4), Shot(scenes.blocks(73), 4)], uneven=True),
)
