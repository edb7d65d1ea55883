"""Are damaged clips dropped by the default rules, and clean ones kept, on footage from which no bound was chosen?

    python -m benchmarks.damage [--part seen|unseen] [--values]

It takes three seconds of single shots of the shared footage, none of which is a source of the clips with known damage from which the bounds
were fitted (`benchmarks/calibrate.py`), damages them by script and encodes them: blurred, dark, black, overexposed, frozen, shaky, noisy,
and blocky by five encoders. Clean ones are the same pictures, encoded well by old and new codecs. The rules are those of the profile `web`.
Of the sources one half was looked at while measures and bounds were changed (`seen`), the other was not (`unseen`). Exits with 1
when a target is missed on the unseen half.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from benchmarks import render
from benchmarks.calibrate import CLEAN_MAX, JUDGED, TARGETS, Clip, dropped_by, from_recipe, measure_file
from benchmarks.targets import Targets
from rushes.recipe import Recipe

U8 = npt.NDArray[np.uint8]
SIZE = (640, 360)
FPS = 25
FRAMES = 75
SEEN = (
    "cookbook__robotic_arm_input.mp4", "mmaction2__demo.mp4", "moviepy__chaplin.mp4", "datajuicer__video1.mp4",
    "streamio__awesome_movie.mov", "exo__portrait_4k60.mp4", "pyscenedetect__issue-134-rotate.mp4",
    "champ__navigation_gif.mp4", "moviepy__video_with_failing_audio.mp4",
)  # fmt: skip
UNSEEN = (
    "intel__one-by-one-person-detection.mp4", "mmaction2__test_video_structuralize.mp4", "sam2__03_blocks.mp4", "exo__sample_h265.mp4",
    "datajuicer__video4.mp4", "datajuicer__video5.mp4", "mdn__frog.mp4", "datajuicer__video3.mp4",
    "lerobot__lerobot_umi_cup_in_the_wild_observation.image_episode_000000.mp4",
)  # fmt: skip
"""Sources, of each of which the first frames are taken; these lie in one shot."""
GOOD = {
    "h264": ("mp4", "libx264", {"preset": "veryfast", "crf": "23"}, SIZE),
    "hevc": ("mp4", "libx265", {"preset": "ultrafast", "crf": "28", "x265-params": "log-level=none"}, SIZE),
    "mpeg2": ("mpg", "mpeg2video", {"qmin": "4", "qmax": "4"}, SIZE),
    "mpeg4": ("avi", "mpeg4", {"qmin": "4", "qmax": "4"}, SIZE),
    "mjpeg": ("avi", "mjpeg", {"qmin": "4", "qmax": "4", "strict": "unofficial"}, SIZE),
    "3gp": ("3gp", "h263", {"qmin": "5", "qmax": "5"}, (176, 144)),
    "realmedia": ("rm", "rv20", {"qmin": "5", "qmax": "5"}, (320, 176)),
}
"""How clean clips are encoded: name -> container, encoder, options, size. A quantiser of 4 or 5 is that of a DVD, or a good recording of a
phone of that time."""
POOR = {
    "h264": ("mp4", "libx264", {"preset": "veryfast", "crf": "45"}, SIZE),
    "mpeg2": ("mpg", "mpeg2video", {"qmin": "28", "qmax": "28"}, SIZE),
    "mpeg4": ("avi", "mpeg4", {"qmin": "28", "qmax": "28"}, SIZE),
    "mjpeg": ("avi", "mjpeg", {"qmin": "28", "qmax": "28", "strict": "unofficial"}, SIZE),
    "3gp": ("3gp", "h263", {"qmin": "24", "qmax": "24"}, (176, 144)),
}
"""How blocky ones are."""


def frames_of(name: str) -> list[U8]:
    """The first FRAMES pictures of a source, BGR; shown forth and back where it is shorter."""
    out: list[U8] = []
    with av.open(str(render.DATA / "footage" / name)) as container:
        for frame in container.decode(video=0):
            out.append(render.fitted(frame.to_ndarray(format="bgr24"), *SIZE))
            if len(out) == FRAMES:
                return out
    there_and_back = [*out, *out[-2:0:-1]]
    return [there_and_back[i % len(there_and_back)] for i in range(FRAMES)]


def shaken(frames: list[U8]) -> Iterator[U8]:
    """Each picture displaced by up to 4 % of the width, independently of the others, as in the shared clips."""
    rng = np.random.default_rng(7)
    for frame in frames:
        x, y = rng.uniform(-0.04, 0.04, 2) * SIZE[0]
        yield cv2.warpAffine(frame, np.array([[1.1, 0, x - 32], [0, 1.1, y - 18]], np.float32), SIZE, borderMode=cv2.BORDER_REFLECT)  # type: ignore[misc]


def grainy(frames: list[U8]) -> Iterator[U8]:
    """Noise of a sensor at night: sigma 20, new in each picture."""
    rng = np.random.default_rng(8)
    for frame in frames:
        grain = rng.normal(0, 20, frame.shape[:2]).astype(np.int16)
        yield cv2.add(frame, np.repeat(grain[..., None], 3, 2), dtype=cv2.CV_8U)  # type: ignore[misc]


def overexposed(frames: list[U8]) -> Iterator[U8]:
    """So much light that half of the first picture is white."""
    gain = 255 / max(1.0, float(np.median(frames[0].min(axis=2))))
    return (np.clip(frame * gain, 0, 255).astype(np.uint8) for frame in frames)


DAMAGES: dict[str, Callable[[list[U8]], Iterator[U8]]] = {
    "blurred": lambda frames: (cv2.GaussianBlur(frame, (0, 0), 5) for frame in frames),  # type: ignore[misc]
    "dark": lambda frames: ((frame * 0.1).astype(np.uint8) for frame in frames),
    "black": lambda frames: (np.zeros_like(frame) for frame in frames),
    "overexposed": overexposed,
    "frozen": lambda frames: (frames[0] for _ in frames),
    "shaky": shaken,
    "noisy": grainy,
}


def clips(folder: Path, sources: Sequence[str]) -> None:
    """Renders all clips of some sources, and truth.json."""
    truth = []
    for name in sources:
        frames = frames_of(name)

        def write(
            damage: str, how: str, pictures: Iterator[U8], to: tuple[str, str, dict[str, str], tuple[int, int]], name: str = name
        ) -> None:
            suffix, encoder, options, size = to
            file = f"{Path(name).stem}__{damage}_{how}.{suffix}"
            small = (cv2.resize(p, size, interpolation=cv2.INTER_AREA) if size != SIZE else p for p in pictures)
            render.encode(folder / file, small, encoder, options, FPS)  # type: ignore[arg-type]
            truth.append({"file": file, "source": name, "damage": damage, "how": how})

        for how, to in GOOD.items():
            write("clean", how, iter(frames), to)
        for how, to in POOR.items():
            write("blocky", how, iter(frames), to)
        for damage, change in DAMAGES.items():
            write(damage, "h264", change(frames), GOOD["h264"])
    (folder / "truth.json").write_text(json.dumps(truth))


def made(part: str) -> Path:
    """The folder of a part, rendered if absent."""

    def into(folder: Path) -> None:
        folder.mkdir()
        clips(folder, SEEN if part == "seen" else UNSEEN)

    return render.once(f"damage-{part}-2", into)


def judge(part: str, targets: Targets | None, *, values: bool) -> None:
    """Prints which share of each kind of clips is dropped, and the clips that are judged wrongly."""
    folder, bound = made(part), from_recipe(Recipe())
    found: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for row in json.loads((folder / "truth.json").read_text()):
        clip = Clip(row["source"], row["damage"], measure_file(folder / row["file"]))
        rules = dropped_by(clip, bound)
        found[clip.damage][row["how"]].append(bool(rules))
        if values or bool(rules) == (clip.damage == "clean"):
            shown = " ".join(f"{j.column} {v:.3g}" for j in JUDGED if isinstance(v := clip.measures.get(j.column), float))
            print(f"  {row['file']}: {', '.join(rules) or 'kept'}; {shown}")
    for damage, by_how in found.items():
        flags = [flag for group in by_how.values() for flag in group]
        share, each = sum(flags) / len(flags), ", ".join(f"{how} {sum(group)} of {len(group)}" for how, group in by_how.items())
        print(f"{part}: {damage}: {each}")
        if targets is None:
            print(f"{part}: {damage}: {share:.3f} dropped")
        elif damage == "clean":
            targets.at_most("clean clips dropped", share, CLEAN_MAX)
        else:
            targets.at_least(f"{damage} clips dropped", share, TARGETS[damage])


def main() -> int:
    """Runs the benchmark; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("seen", "unseen"), help="one half of the sources alone")
    parser.add_argument("--values", action="store_true", help="print the measures of all clips, not only of those judged wrongly")
    options = parser.parse_args()
    if not render.real():
        print(f"no shared footage at {render.DATA}: set RUSHES_DATA")
        return 1
    av.logging.set_level(av.logging.PANIC)
    targets = Targets()
    for part in (options.part,) if options.part else ("seen", "unseen"):
        judge(part, targets if part == "unseen" else None, values=options.values)
    return targets.close()


if __name__ == "__main__":
    sys.exit(main())
