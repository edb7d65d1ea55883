"""What is run: footage, and scenes, each of which makes a run do other work."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.render import ROOT

sys.path.insert(0, str(ROOT / "tests"))
from footage import jittered, render, ticks_of  # the tests' builders
from pictures import Gradual, film
from stores import BASE

WORKERS = 2
CAPTIONS = (
    "captions.engine=openai", "captions.model=tiny-vlm", "captions.concurrency=3", "captions.patience_s=30",
    "frames.per_clip=3",
)  # fmt: skip
PLAIN = (*BASE, f"scan.workers={WORKERS}", "frames.per_s=10", "shots.gradual=true", "rules.too_short.min=0.5")
SCORES = ('scores.use=["frame_scorers:Brightness"]', "rules.brightness.min=105")
"""A scorer of the tests, which needs no model."""
OWN = ("captions.engine=serve", "captions.servers=2", "captions.restarts=30")
SEVERAL = (*PLAIN, "frames.per_s=25", "frames.short_side_px=720", "frames.quality=98")
"""Frames so many and so large that those of one video take more than one part."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A run to be disturbed.

    Attributes:
        footage: name of the folder of footage.
        settings: of the run.
        before: settings of a run that went before, undisturbed; None for an empty store.
        servers: who makes captions: "one" server of others, "several" of others, or the run's "own".
        stages: names of the moments (`moments.MOMENTS`) that such a run has.
    """

    name: str
    settings: tuple[str, ...]
    stages: tuple[str, ...]
    before: tuple[str, ...] | None = None
    footage: str = "films"
    servers: str = "one"


BETWEEN = ("between two files, driver", "between two files, child")
SCAN = (
    "plan", "run row written", "scan begins", "mid scan", "frames being written", "signals written", "flush, after clips",
    "flush, after videos", "marks written", *BETWEEN, *BETWEEN,
)  # fmt: skip
CAPTIONING = ("captions under way", "captions written", "last captions", "closing", BETWEEN[0], "any")
SERVING = ("servers are loaded", "servers are loaded", "servers are loaded", "captions under way", "captions under way")
SCORING = ("models are loaded", "models are loaded", "scores written", "scores written")
FILES = ("files being cut", "file cut", BETWEEN[1])
SCENES = (
    Scene("scan, captions, copies", (*PLAIN, *CAPTIONS, "clips.mode=copy"), (*SCAN, *FILES, *CAPTIONING)),
    Scene("frames of kept clips, encoded files", (*PLAIN, "frames.keep=kept", "clips.mode=encode"), (*SCAN, *FILES, "any")),
    Scene(
        "shots changed", (*PLAIN, *CAPTIONS, "clips.mode=copy", "shots.detector=stride", "shots.stride_s=0.9"),
        ("plan", "run row written", "flush, after clips", "marks written", *FILES, *CAPTIONING), before=(*PLAIN, *CAPTIONS),
    ),
    Scene(
        "prompt changed", (*PLAIN, *CAPTIONS, "captions.prompt=short"), ("plan", "run row written", *CAPTIONING),
        before=(*PLAIN, *CAPTIONS),
    ),
    Scene(
        "files wanted later", (*PLAIN, "clips.mode=encode"),
        ("plan", "run row written", *FILES, BETWEEN[0], BETWEEN[0], "marks written", "any"), before=PLAIN,
    ),
    Scene(
        "scores, captions, copies", (*PLAIN, *CAPTIONS, *SCORES, "clips.mode=copy"),
        ("plan", "mid scan", "marks written", *SCORING, *FILES, *CAPTIONING),
    ),
    Scene(
        "own servers, captions, copies", (*PLAIN, *CAPTIONS, *OWN, "clips.mode=copy"),
        ("plan", "mid scan", "marks written", *SERVING, *FILES[:2], *CAPTIONING), servers="own",
    ),
    Scene("several servers, captions", (*PLAIN, *CAPTIONS), ("mid scan", *CAPTIONING, *CAPTIONING), servers="several"),
    Scene(
        "a scorer is added", (*PLAIN, *SCORES), ("plan", "run row written", *SCORING, "any"), before=PLAIN,
    ),
    Scene(
        "frames in several parts", SEVERAL, ("mid scan", "frames being written", "frames written", BETWEEN[1], "any"), footage="large",
    ),
)  # fmt: skip


def make_footage(folder: Path, n_films: int = 12, long_frames: int = 1200, n_large: int = 2) -> None:
    """Renders the folders of footage: "films" (short ones, a long one, one content under two names, a broken file), and "large"."""
    films = folder / "films"
    films.mkdir(parents=True)
    quick: dict[str, str] = {"preset": "ultrafast"}
    for k in range(n_films):
        name, how = films / f"{k:02}.mp4", {"options": quick, "audio": k % 4 == 1}
        if k % 4 == 2:
            render(name, film(256, 144, [60, 70, 60], [Gradual("dissolve", 14), Gradual("fadeblack", 16)], seed=300 + k), **how)
        elif k % 4 == 3:
            edit = film(256, 144, [70, 25, 75], seed=300 + k)
            steps = jittered(edit.n_frames, 25, ticks_of(25))
            render(name.with_suffix(".mkv"), edit, pts=steps, **how)
        else:
            render(name, film(256, 144, [60 + 5 * k, 80, 45], seed=300 + k), **how)
    render(films / "long.mp4", film(256, 144, [100] * (long_frames // 100), seed=400), options=quick)
    shutil.copyfile(films / "00.mp4", films / "second name.mp4")
    (films / "broken.mp4").write_bytes(np.random.default_rng(1).bytes(30_000))
    large = folder / "large"
    large.mkdir()
    for k in range(n_large):
        render(large / f"{k}.mp4", film(1280, 720, [90, 90], seed=500 + k), options={**quick, "crf": "10"})
