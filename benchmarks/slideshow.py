"""Does `slideshow` tell stills that are panned and zoomed from footage?

    python -m benchmarks.slideshow

Stills are single frames of the shared footage, over which the view is panned and zoomed, smoothly or evenly. Against them stand the footage
as it is, and the same moves of the view over it while it plays, which is what a smooth camera over a living scene shows. The bounds were
chosen on the twentieth frame of each file, on other moves over it, and on a part of the footage; here it is the seventieth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from benchmarks import render
from benchmarks.cuts_in_light import write
from benchmarks.targets import Targets
from rushes.measures.clip_time import ClipTime
from rushes.measures.slideshow import measure
from rushes.recipe import Recipe, ShotSettings
from rushes.scan.one_pass import Scan, scan
from rushes.shots import find_shots

U8 = npt.NDArray[np.uint8]
Move = tuple[tuple[float, float, float], tuple[float, float, float]]
SIZE = (320, 180)
N, AT = 90, 70
"""Frames of a drawn clip; the frame of each file that is the still."""
LIVES = 8
"""Change of a part of the picture within a second, grey levels, from which something moves there; parts are 1/16 of the width."""
LARGEST = 3 << 20
"""Footage of at most so many bytes is looked at as it is."""
MOVES: tuple[Move, ...] = (
    ((1.0, 0.5, 0.5), (1.2, 0.5, 0.5)),
    ((1.25, 0.6, 0.4), (1.05, 0.5, 0.5)),
    ((1.2, 1.0, 0.5), (1.2, 0.0, 0.5)),
    ((1.3, 0.5, 0.0), (1.3, 0.5, 0.8)),
    ((1.1, 0.2, 0.8), (1.35, 0.7, 0.3)),
)
"""Zoom and centre of the view, at the first frame and at the last."""


def frames_of(path: Path, n: int) -> list[U8]:
    """The first frames of a video, at most 960 wide."""
    found: list[U8] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            wide = min(960, frame.width)
            found.append(frame.to_ndarray(format="bgr24", width=wide, height=round(frame.height * wide / frame.width)))
            if len(found) == n:
                break
    return found


def seen(pictures: list[U8], move: Move, *, eased: bool) -> Iterator[U8]:
    """What the view shows of pictures while it moves over them."""
    for i, picture in enumerate(pictures):
        u = i / (len(pictures) - 1)
        u = u * u * (3 - 2 * u) if eased else u
        zoom, x, y = (a + (b - a) * u for a, b in zip(*move, strict=True))
        height, width = picture.shape[:2]
        scale = max(SIZE[0] / width, SIZE[1] / height) * zoom
        left, top = (width - SIZE[0] / scale) * x, (height - SIZE[1] / scale) * y
        matrix = np.array([[scale, 0, -scale * left], [0, scale, -scale * top]])
        yield cv2.warpAffine(picture, matrix, SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)  # type: ignore[misc]


def lives(pictures: list[U8]) -> bool:
    """Whether something moves in most seconds of footage: where nothing does, a view that moves over it is one over a still."""
    small = [cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), (16, 9), interpolation=cv2.INTER_AREA) for picture in pictures]
    return bool(np.median([cv2.absdiff(a, b).max() for a, b in zip(small, small[25:], strict=False)]) >= LIVES)


def drawn(folder: Path) -> None:
    """Renders the moves over stills and over footage that plays."""
    folder.mkdir()
    files = sorted(path for path in (render.DATA / "footage").iterdir() if path.suffix in (".mp4", ".mkv", ".mov", ".webm"))
    for k, path in enumerate(path for path in files if not path.name.startswith("exo__8k")):
        pictures = frames_of(path, AT + N)
        if len(pictures) < AT + N or pictures[AT].std() < 12:  # dark or empty pictures show no move
            continue
        both = {"still": [pictures[AT]] * N} | ({"plays": pictures[AT:]} if lives(pictures[AT:]) else {})
        for name, shown in both.items():
            write(folder / f"{name}_{path.stem}.mp4", seen(shown, MOVES[k % len(MOVES)], eased=k % 2 == 0))


def clips_of(path: Path) -> list[float | None]:
    """The measure of each shot of a video of a second and more."""
    one: Scan = scan(str(path), Recipe())
    t = (one.pts - one.pts[0]) * float(one.facts.time_base)
    found = []
    for shot in find_shots(one.signals, one.pts, one.facts.time_base, one.end_pts, ShotSettings(max_s=10.0)):
        first, stop = np.searchsorted(one.pts, (shot.span.start_pts, shot.span.end_pts))
        at, end_s = slice(int(first), int(stop)), float((shot.span.end_pts - int(one.pts[0])) * one.facts.time_base)
        value = measure(one.signals, ClipTime(at, t[at], end_s))["slideshow"]
        found.append(value if isinstance(value, float) else None)
    return found


def main() -> int:
    """Runs the benchmark; 1 when a target is missed."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    if not render.real():
        print(f"no shared footage at {render.DATA}: set RUSHES_DATA")
        return 1
    av.logging.set_level(av.logging.PANIC)
    targets, folder = Targets(), render.once("slideshow-2", drawn)
    files = [path for path in sorted((render.DATA / "footage").iterdir()) if path.suffix in (".mp4", ".mov")]
    footage = [path for path in files if path.stat().st_size < LARGEST]
    of = {"stills": sorted(folder.glob("still_*")), "footage under the same moves": sorted(folder.glob("plays_*")), "footage": footage}
    for name, paths in of.items():
        values = [(path.stem, value) for path in paths for value in clips_of(path)]
        judged = [value for _, value in values if value is not None]
        above = sum(value > 0.5 for value in judged)
        print(f"{name}: {len(values)} clips, {len(judged)} judged, {above} above 0.5", flush=True)
        odd = [f"{stem} {value:.2f}" for stem, value in values if value is not None and (value > 0.5) != (name == "stills")]
        print("  " + "; ".join(odd))
        if name == "stills":
            targets.at_least("stills that are found", above / max(len(judged), 1), 0.9)
        else:
            targets.at_most(f"{name} taken for stills", above / max(len(judged), 1), 0.1)
    return targets.close()


if __name__ == "__main__":
    sys.exit(main())
