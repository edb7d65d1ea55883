"""The encoder against a bare loop over the same tensors and the same model, on the CPU, and on a GPU where PyTorch sees one.

    python -m benchmarks.encoder [--device auto] [--seconds 20] [--rounds 3]

The model has random weights and a true architecture: on a GPU that of CLIP ViT-L/14, the default encoder; on a CPU that of ViT-B/32, since
two cores take half a second for one picture with the larger one. Both sides are given the same pictures, at the size that the model sees:

- the bare loop holds them as normalised tensors in the device's number format, in page-locked memory on a GPU, and does nothing but copy
  them to the device, run the model, and make the vectors of unit length;
- the encoder is given them as bytes, as its threads have them after a JPEG is decoded, and does all that it does in a run: its threads fill
  the buffers, the device normalises, the vectors come back.

On a CPU the two are compared by CPU-seconds, as elsewhere here, since all cores are at work on both sides; on a GPU by the wall.

On a GPU a profile of one run of the encoder says in which share of the time a kernel was at work. A further figure has JPEGs of 854 x 480
decoded and resized as well; only this one needs OpenCV. Daft and av are not imported. Last, what the heads of the list add.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.targets import Targets
from rushes.models.device import Device, choose, dtype_of
from rushes.models.encoder import Encoder
from rushes.models.pixels import BYTE, Preparation, decoded
from rushes.recipe_scores import ScoreSettings
from rushes.scores.batch import ENCODER, ScorePass
from rushes.scores.scorer import ClipFrames, Picture

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

SIDE, FRAMES, CLIP_S = 224, 8, 10.0
"""Pixels that the model sees; frames of a clip; its seconds."""
PREPARATION = Preparation(
    SIDE, SIDE, SIDE, "bicubic", BYTE, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
)  # fmt: skip
TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14}
BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "patch_size": 32}
PROFILED = 24
"""Batches of the run of which a profile is taken."""
RATIO, BUSY, HEADS = 0.95, 0.9, 0.01
NVIDIA = 163
"""Video-hours per GPU-hour that NVIDIA states for its own video embedder on an H100: another model, beside which ours is printed."""
Pictures = list[npt.NDArray[np.uint8]]


def clip_model(vision: dict[str, int]) -> Any:
    """A CLIP of 768 dimensions with random weights."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    return CLIPModel(CLIPConfig(projection_dim=768, text_config=TEXT, vision_config={"image_size": SIDE, **vision}))


def made(batch: int) -> Pictures:
    """A batch of pictures of noise at the size that the model sees, (224, 224, 3) uint8."""
    return list(np.random.default_rng(0).integers(0, 256, (batch, SIDE, SIDE, 3), dtype=np.uint8))


def bare(net: Any, pictures: Pictures, times: int, device: Device) -> Callable[[], npt.NDArray[np.float32]]:
    """The bare loop: a function that takes a batch of pictures, as a tensor that is ready, so many times through the model."""
    ready = PREPARATION.normalised(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)).to(dtype_of(device))
    ready = ready.pin_memory() if device.on_gpu else ready

    def run() -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            found = []
            for _ in range(times):
                out = net.get_image_features(pixel_values=ready.to(device.name, non_blocking=True))
                found.append(torch.nn.functional.normalize(getattr(out, "pooler_output", out).float()))
            rows: npt.NDArray[np.float32] = torch.cat(found).cpu().numpy()
        return rows

    return run


def per_s(work: Callable[[], Any], n: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Pictures a second of one run, by a clock: of the wall, or of the CPU of this process and its threads."""
    begun = clock()
    work()
    return n / (clock() - begun)


def busy_share(work: Callable[[], Any], device: Device) -> float:
    """In which share of the time that a run takes a kernel or a copy was at work on the GPU; nan where no profile can be taken."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as taken:
        torch.cuda.synchronize(device.name)
        begun = time.perf_counter()
        work()
        torch.cuda.synchronize(device.name)
        wall_us = 1e6 * (time.perf_counter() - begun)
    spans = sorted((e.time_range.start, e.time_range.end) for e in taken.events() if str(e.device_type).endswith("CUDA"))
    covered, reached = 0.0, float("-inf")
    for start, end in spans:
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered / wall_us if spans else float("nan")


def heads_s(encoder: Encoder, device: Device, n: int = 256) -> float:
    """Seconds that all heads of the list take for a clip of 8 frames whose vectors are there, in a batch of n clips."""
    import tiny_checkpoints as tiny

    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as folder:
        tiny.aesthetic_head(Path(folder) / "aesthetic.safetensors", seed=0)
        tiny.nsfw_head(Path(folder) / "nsfw.pth", seed=0)
        settings = ScoreSettings(
            use=("aesthetic", "nsfw_clip", "subject", "embedding"), aesthetic_model=f"{folder}/aesthetic.safetensors",
            nsfw_clip_model=f"{folder}/nsfw.pth", encoder_images=FRAMES,
        )  # fmt: skip
        heads = ScorePass(settings, device=device)
        heads.load(encoder)
    clips = [ClipFrames(str(k), tuple(Picture(p, b"") for p in range(FRAMES))) for k in range(n)]
    rows = np.random.default_rng(1).normal(0, 1, (n, FRAMES, encoder.dimensions)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=2, keepdims=True)
    known = [dict(enumerate(one.astype(np.float16))) for one in rows]
    walls = []
    for _ in range(5):
        begun = time.perf_counter()
        scored = heads.score(clips, known=known)
        walls.append(time.perf_counter() - begun)
        assert scored.encoded == 0 and ENCODER not in scored.seconds
    return statistics.median(walls) / n


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=20.0, help="about how long one round of one side takes")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    targets, device = Targets(), choose(args.device)
    name, vision = ("ViT-L/14", LARGE) if device.on_gpu else ("ViT-B/32", BASE)
    print(f"{device}\nCLIP {name}, random weights, {SIDE} x {SIDE}; PyTorch {torch.__version__}", flush=True)
    return measure(clip_model(vision), device, targets, args.seconds, args.rounds)


def measure(net: Any, device: Device, targets: Targets, seconds: float, rounds: int, batch: int = 0) -> int:
    """All figures of one model on one device; the exit code."""
    import tiny_checkpoints as tiny

    encoder = Encoder(net, PREPARATION, tiny.tokenizer(), device, batch, decode=lambda picture: picture)
    batch = encoder.batch
    few = made(batch)
    encoder.pictures(few * 2)  # the first run makes buffers and chooses kernels
    times = max(8, round(seconds * per_s(lambda: encoder.pictures(few * 2), 2 * batch) / batch))
    n, pictures = times * batch, few * times
    loop = bare(net, few, times, device)
    assert np.allclose((loop() * encoder.pictures(pictures).rows).sum(axis=1), 1, atol=0.01), "both make the same vectors"
    ours_s = statistics.median(per_s(lambda: encoder.pictures(pictures), n) for _ in range(rounds))
    clock, second = (time.perf_counter, "second") if device.on_gpu else (time.process_time, "CPU-second")
    seen = [(per_s(loop, n, clock), per_s(lambda: encoder.pictures(pictures), n, clock)) for _ in range(rounds)]
    loops, ours = (statistics.median(one[k] for one in seen) for k in (0, 1))
    print(f"{n} pictures a round, batches of {batch}; bare loop {loops:.2f}, encoder {ours:.2f} images a {second}; {ours_s:.1f} a second")
    targets.at_least(f"encoder / bare loop, images a {second}", statistics.median(mine / theirs for theirs, mine in seen), RATIO)
    footage = ours_s * CLIP_S / FRAMES
    words = f"; NVIDIA states {NVIDIA} for its video embedder on an H100" if device.on_gpu else ""
    print(f"video-hours per hour of the device, {FRAMES} frames a clip of {CLIP_S:.0f} s: {footage:.0f}{words}")
    if device.on_gpu:
        targets.at_least("share of the time the GPU is busy", busy_share(lambda: encoder.pictures(few * PROFILED), device), BUSY)
    from_jpeg(net, device, batch, n, ours_s)
    per_clip = heads_s(encoder, device)
    print(f"all heads: {1e6 * per_clip:.0f} us a clip")
    targets.at_most("heads / encoder, seconds a clip", per_clip / (FRAMES / ours_s), HEADS)
    return targets.close()


def from_jpeg(net: Any, device: Device, batch: int, n: int, without: float) -> None:
    """Prints the pictures a second where the encoder decodes JPEGs of 854 x 480 as well."""
    try:
        import cv2
    except ImportError:
        print("from JPEG: not measured, since OpenCV is not installed")
        return
    soft = cv2.resize(np.random.default_rng(2).integers(0, 256, (30, 54, 3), dtype=np.uint8), (854, 480), interpolation=cv2.INTER_CUBIC)
    jpeg = cv2.imencode(".jpg", soft, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    encoder = Encoder(net, PREPARATION, None, device, batch)
    encoder.pictures([jpeg] * batch)
    found = per_s(lambda: encoder.pictures([jpeg] * n), n)
    alone = per_s(lambda: [PREPARATION.sized(decoded(jpeg)) for _ in range(50)], 50)
    print(f"from JPEGs of 854 x 480, {len(jpeg) // 1024} KiB: {found:.1f} images/s, {found / without:.2f} of the encoder without decoding")
    print(f"one thread decodes and resizes {alone:.0f} of these a second")


if __name__ == "__main__":
    sys.exit(main())
