"""Are the same cuts and dissolves found in every light, and none where texture and light only move? Beside PySceneDetect on the same files.

    python -m benchmarks.cuts_in_light
    python -m benchmarks.cuts_in_light --transnet --films "*_0.mp4"        with TransNetV2, and what it costs

It joins stretches of real single shots by cuts and dissolves at random places, so that every boundary is known, and renders the film four
times: in colour, in grey, in grey at half the contrast (as a thermal camera), in grey at 0.4 of the light (as a night camera). The sources
are not those on which the bounds of the detectors were chosen, though errors on them were looked at. Single shots are those sources whole,
and drawn ones of each kind in `moving_light.py`, over stills and with numbers that were not used to choose the bounds. Exits with 1 when a
target is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from benchmarks import cuts, moving_light, render
from benchmarks.clock import medians
from benchmarks.scan import floor
from benchmarks.targets import Targets
from benchmarks.threads import as_in_a_child
from rushes.recipe import Recipe
from rushes.scan.one_pass import scan

U8 = npt.NDArray[np.uint8]
SIZE = (320, 180)
FPS = 25
SHOTS = 40
"""Shots of a film."""
FILMS = 2
SECONDS = 10
"""Length of a drawn shot: 21 kinds with 3 numbers each are ten minutes in all, a third of the 30 minutes in
which one false boundary may be."""
NUMBERS = (1001, 1002, 1003)
"""Of the drawn shots; those on which the bounds were chosen have 1 to 6."""
HELD_OUT = (
    "lerobot__lerobot_aloha_sim_insertion_human_observation.images.top_episode_000000.mp4", "sam2__02_cups.mp4", "sam2__03_blocks.mp4",
    "sam2__05_default_juggle.mp4", "mmaction2__test_video_structuralize.mp4", "intel__one-by-one-person-detection.mp4",
    "moviepy__chaplin.mp4", "datajuicer__video4.mp4", "exo__sample_h265.mp4", "streamio__awesome_movie.mov",
)  # fmt: skip
"""Single shots that were not used to choose the bounds."""


def gray(frame: U8) -> U8:
    """Grey, as BGR."""
    return cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)  # type: ignore[return-value]


LIGHTS: dict[str, Callable[[U8], U8]] = {
    "colour": lambda frame: frame,
    "gray": gray,
    "thermal": lambda frame: gray(frame) // 2 + 64,
    "night": lambda frame: (gray(frame) * 0.4).astype(np.uint8),
}


def frames_of(path: Path) -> list[U8]:
    """All frames of a video, small."""
    with av.open(str(path)) as container:
        shown = (frame.to_ndarray(format="bgr24") for frame in container.decode(video=0))
        return [cv2.resize(frame, SIZE, interpolation=cv2.INTER_AREA) for frame in shown]  # type: ignore[misc]


def joined(sources: list[list[U8]], seed: int) -> tuple[list[U8], list[dict[str, Any]]]:
    """A film of SHOTS shots and its transitions, as truth.json has them: three of five are cuts, the others dissolves of 0.3 to 2 s."""
    rng = np.random.default_rng(seed)
    film: list[U8] = []
    known: list[dict[str, Any]] = []
    last, free = -1, 0
    for _ in range(SHOTS):
        last = int(rng.choice([k for k in range(len(sources)) if k != last]))
        source, n = sources[last], int(rng.integers(30, 100))
        blended = int(rng.integers(8, 50)) if film and rng.random() < 0.4 else 0
        blended = min(blended, len(film) - free - 8) if len(film) - free - 8 >= 8 else 0
        begin = int(rng.integers(0, max(1, len(source) - n - blended)))
        shot = [
            source[min(begin + k, 2 * len(source) - 2 - begin - k) if begin + k >= len(source) else begin + k] for k in range(n + blended)
        ]
        at = len(film) - blended
        if blended:
            for k in range(blended):
                film[at + k] = cv2.addWeighted(film[at + k], 1 - (k + 1) / (blended + 1), shot[k], (k + 1) / (blended + 1), 0)  # type: ignore[call-overload]
            known.append({"kind": "dissolve", "start_s": at / FPS, "end_s": (at + blended) / FPS})
        elif film:
            known.append({"kind": "cut", "time_s": at / FPS})
        free = len(film)
        film += shot[blended:]
    return film, known


def write(path: Path, frames: Iterator[U8]) -> None:
    """Renders a film as H.264."""
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="bgr24")))
        out.mux(stream.encode(None))


def films(folder: Path) -> None:
    """Renders the films with known transitions, and truth.json."""
    sources = [frames_of(render.DATA / "footage" / name) for name in HELD_OUT]
    truth = {}
    for number in range(FILMS):
        film, known = joined(sources, 100 + number)
        for light, change in LIGHTS.items():
            name = f"{light}_{number}.mp4"
            write(folder / name, map(change, film))
            truth[name] = {"transitions": known}
    (folder / "truth.json").write_text(json.dumps(truth))


def singles(folder: Path) -> None:
    """Renders the single shots: real ones, and drawn ones over stills of these."""
    sources = [frames_of(render.DATA / "footage" / name) for name in HELD_OUT]
    for name, source in zip(HELD_OUT, sources, strict=True):
        write(folder / f"real_{Path(name).stem}.mp4", iter(source))
    for k, (kind, make) in enumerate(moving_light.KINDS.items()):
        for number in NUMBERS:
            picture = make(moving_light.Scene(sources[(k + number) % len(sources)][0], number))
            write(folder / f"drawn_{kind}_{number}.mp4", map(picture, range(SECONDS * FPS)))


def made(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of rendered films in the cache of the benchmarks, made if absent."""

    def into(folder: Path) -> None:
        folder.mkdir()
        make(folder)

    return render.once(f"{name}-2", into)


def print_cost(path: Path) -> None:
    """What the network costs in the pass over a video, in empty decodes of it, one thread."""
    network = Recipe().with_overrides(["shots.detector=transnet"])
    works = {"decode": partial(floor, path), "pass": partial(scan, str(path), Recipe()), "with transnet": partial(scan, str(path), network)}
    seen = {name: one.cpu_s for name, one in medians(works, 2).items()}
    print(f"{path.name}, CPU-s: " + ", ".join(f"{name} {cpu_s:.2f}" for name, cpu_s in seen.items()))
    length_s, more = scan(str(path), Recipe()).footage_s, seen["with transnet"] - seen["pass"]
    print(f"transnet: {more / length_s:.2f} CPU-s a second of footage, {more / seen['decode']:.1f} times the empty decode")


def main() -> int:
    """Runs the benchmark; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transnet", action="store_true", help="run TransNetV2 on the films, too, and say what it costs; no single shots")
    parser.add_argument("--films", default="*", help="pattern of the files' names")
    options = parser.parse_args()
    if options.transnet:
        as_in_a_child("benchmarks.cuts_in_light")
    if not render.real():
        print(f"no shared footage at {render.DATA}: set RUSHES_DATA")
        return 1
    av.logging.set_level(av.logging.PANIC)  # x264 tells of each film
    targets = Targets()
    results = cuts.report_truth(made("cuts-in-light", films), transnet=options.transnet, names=options.films)
    for label, mean in results.items():
        print(f"mean {label:22} " + "  ".join(f"{key} {value:.3f}" for key, value in mean.items()))
    if options.transnet:
        print_cost(render.ordinary(720))
        return 0
    for mode, less in (("", 0.0), (" fast", 0.01)):
        mean = results[f"rushes combined{mode}"]
        hard = "hard_f1_one_frame" if mode else "hard_f1"
        targets.at_least(f"hard cuts, F1 in four lights{mode}", mean[hard], 0.99 - less)
        targets.at_least(f"gradual transitions, F1 in four lights{mode}", mean["gradual_f1"], 0.96 - less)
        targets.at_most(f"error of their ends, median, s{mode}", mean["extent_median_s"], 0.1)
    shots = sorted(made("single-shots", singles).glob("*.mp4"))
    drawn, real = ([path for path in shots if path.name.startswith(part)] for part in ("drawn", "real"))
    for name, paths in (("drawn", drawn), ("real", real)):
        print(f"{name} single shots:")
        minutes, false = cuts.false_boundaries(paths, "combined")
        print(f"combined: {false} false boundaries in {minutes:.1f} min")
        if name == "drawn":
            targets.at_most("false boundaries in moving texture and light", float(false), 1.0)
        else:
            targets.at_most("false boundaries in real single shots", float(false), 0.0)
    return targets.close()


if __name__ == "__main__":
    sys.exit(main())
