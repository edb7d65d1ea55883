"""One pass against the script chain it replaces, each link of which decodes anew: CPU-seconds, same file, same run.

    python -m benchmarks.chain [--rounds 3]

The chain: PySceneDetect (AdaptiveDetector, defaults, its default backend); a split at its scenes, re-encoded as `split_video_ffmpeg` does
(libx264 veryfast crf 22; through PyAV, since no ffmpeg binary is needed here) or packets copied as with `--copy`; frames, one a second,
short side 480, as JPEG; Farneback flow between full-size frames at 2 a second, with the parameters of Data-Juicer's
video_motion_score_filter. In the chain's favour: start-up and imports are not counted, frames and flow read the source once rather than
each clip, and the decoders use libav's default threads. Our side: scan with everything on, shots, measures.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from benchmarks import render
from benchmarks.clock import Cost, cost
from benchmarks.targets import Targets
from benchmarks.threads import as_in_a_child
from rushes.engine.fingerprints import fingerprints
from rushes.recipe import Recipe
from rushes.records import Mode
from rushes.rows.scanned import Stamp, clip_rows
from rushes.rows.signals import Series
from rushes.scan.one_pass import scan
from rushes.store.store import now

TIMES_LESS = 4.0
FARNEBACK: dict[str, Any] = {"pyr_scale": 0.5, "levels": 3, "winsize": 15, "iterations": 3, "poly_n": 5, "poly_sigma": 1.2, "flags": 0}
"""data_juicer/ops/filter/video_motion_score_filter.py, 1.6.1."""
FLOW_PER_S = 2.0
Scenes = list[tuple[float, float]]


def find_scenes(path: Path) -> Scenes:
    """PySceneDetect's scenes, its way: (start, end) in seconds."""
    import scenedetect

    video = scenedetect.open_video(str(path))
    manager = scenedetect.SceneManager()
    manager.add_detector(scenedetect.AdaptiveDetector())
    manager.detect_scenes(video)
    return [(start.seconds, end.seconds) for start, end in manager.get_scene_list(start_in_scene=True)]


def split_encoded(path: Path, scenes: Scenes, folder: Path) -> None:
    """Each scene decoded from the key frame before it and encoded, as one ffmpeg process a scene does."""
    for i, (start, end) in enumerate(scenes):
        with av.open(str(path)) as source, av.open(str(folder / f"{i:03d}.mp4"), "w") as out:
            video = source.streams.video[0]
            source.seek(int(start / video.time_base), stream=video)
            stream = out.add_stream("libx264", rate=video.average_rate, options={"preset": "veryfast", "crf": "22"})
            stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
            for frame in source.decode(video):
                if frame.time >= end:
                    break
                if frame.time >= start:
                    frame.pict_type = 0
                    out.mux(stream.encode(frame))
            out.mux(stream.encode(None))


def split_copied(path: Path, scenes: Scenes, folder: Path) -> None:
    """Each scene's packets from the key frame before it, copied."""
    for i, (start, end) in enumerate(scenes):
        with av.open(str(path)) as source, av.open(str(folder / f"{i:03d}.mp4"), "w") as out:
            video = source.streams.video[0]
            source.seek(int(start / video.time_base), stream=video)
            stream = out.add_stream_from_template(video)
            for packet in source.demux(video):
                if packet.dts is None or packet.dts * video.time_base >= end:
                    break
                packet.stream = stream
                out.mux(packet)


def grid_frames(path: Path, per_s: float) -> Any:
    """Decoded frames, the first of each cell of a grid in time."""
    cell = -1
    with av.open(str(path)) as source:
        for frame in source.decode(video=0):
            if int(frame.time * per_s + 1e-6) > cell:
                cell = int(frame.time * per_s + 1e-6)
                yield frame


def sample_frames(path: Path) -> int:
    """One JPEG a second, short side 480; gives their bytes."""
    size = 0
    for frame in grid_frames(path, 1.0):
        picture = frame.to_ndarray(format="bgr24")
        scale = min(1.0, 480 / min(picture.shape[:2]))
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        size += len(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1])
    return size


def farneback(path: Path) -> float:
    """Mean magnitude of full-size flow at 2 frames a second."""
    before, sizes = None, []
    for frame in grid_frames(path, FLOW_PER_S):
        gray = cv2.cvtColor(frame.to_ndarray(format="bgr24"), cv2.COLOR_BGR2GRAY)
        if before is not None:
            flow = cv2.calcOpticalFlowFarneback(before, gray, None, **FARNEBACK)  # type: ignore[call-overload]
            sizes.append(float(np.linalg.norm(flow, axis=2).mean()))
        before = gray
    return float(np.mean(sizes)) if sizes else 0.0


def one_pass(path: Path, mode: Mode) -> int:
    """Scan with everything on, shots and measures; gives the number of clips."""
    recipe = Recipe.parse({"scan": {"mode": mode}})
    found = scan(str(path), recipe, on_frame=lambda _frame: None)
    return len(clip_rows(Series.of("0" * 64, found), recipe, fingerprints(recipe), Stamp("bench", now()))["clips"])


def costs(path: Path, rounds: int) -> dict[str, Cost]:
    """Median costs of the links of the chain and of ours, rounds alternating; OpenCV with one thread throughout."""
    scenes = find_scenes(path)
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as name:
        folder = Path(name)
        links: dict[str, Callable[[], object]] = {
            "scenes": partial(find_scenes, path),
            "split, encoded": partial(split_encoded, path, scenes, folder),
            "split, copied": partial(split_copied, path, scenes, folder),
            "frames": partial(sample_frames, path),
            "Farneback": partial(farneback, path),
            "rushes exact": partial(one_pass, path, "exact"),
            "rushes fast": partial(one_pass, path, "fast"),
        }
        seen: dict[str, list[Cost]] = {link: [] for link in links}
        for _ in range(rounds):
            for link, work in links.items():
                seen[link].append(cost(work))
    return {link: Cost(statistics.median(c.cpu_s for c in some), statistics.median(c.wall_s for c in some)) for link, some in seen.items()}


def chain_s(found: dict[str, Cost], split: str) -> float:
    """CPU-seconds of the whole chain with one of the two splits."""
    return sum(found[link].cpu_s for link in ("scenes", split, "frames", "Farneback"))


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    as_in_a_child("benchmarks.chain")
    cv2.setNumThreads(1)
    path = render.ordinary(720)
    print(f"footage: {render.origin()}, {path.name}")
    targets = Targets()
    found = costs(path, rounds)
    for link, one in found.items():
        print(f"{link:16} {one.cpu_s:8.3f} CPU-s {one.wall_s:8.3f} s wall")
    for split in ("split, encoded", "split, copied"):
        for mode in ("exact", "fast"):
            name = f"chain ({split}) / rushes {mode}"
            targets.at_least(name, chain_s(found, split) / found[f"rushes {mode}"].cpu_s, TIMES_LESS, "x")
    return targets.close()


if __name__ == "__main__":
    sys.exit(main())
