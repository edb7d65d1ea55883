"""Edit lists of several pieces: a scan in segments gives what one pass gives, and that is what the list shows."""

from __future__ import annotations

import random
from pathlib import Path

import av
import numpy as np
import pytest

from edit_lists import with_edits
from footage import render
from pictures import film, read_frame_number
from rushes.media.decode import Decoder
from rushes.media.segments import Cuts, where_to_cut
from rushes.recipe import Recipe
from rushes.scan.one_pass import SampledFrame, Scan, scan
from rushes.scan.segment import scan_segment
from rushes.scan.stitch import Refusal, Stitched, stitch

N, STEP = 240, 512
RECIPE = Recipe()


def in_segments(path: Path, segment_s: float) -> tuple[Stitched | Refusal, list[SampledFrame]] | None:
    """What the segments give when joined, with all frames in order; None where the video is not cut."""
    cuts = where_to_cut(str(path), uri=str(path), size_bytes=0, segment_s=segment_s, mode="exact")
    if not isinstance(cuts, Cuts):
        return None
    frames: list[SampledFrame] = []
    found = stitch([scan_segment(str(path), RECIPE, s, cuts.mode, uri=str(path), on_frame=frames.append) for s in cuts.segments], RECIPE)
    held = found.frames if isinstance(found, Stitched) else ()
    return found, sorted([*frames, *held], key=lambda f: f.pts)


def assert_equal(found: Scan, whole: Scan) -> None:
    assert found.pts.tolist() == whole.pts.tolist()
    for name in ("facts", "mode", "end_pts", "n_packets", "n_corrupt", "n_repaired_pts", "n_new_clocks", "pieces", "holes"):
        assert getattr(found, name) == getattr(whole, name), name
    assert all(np.array_equal(found.signals[name], row, equal_nan=True) for name, row in whole.signals.items())


@pytest.mark.slow
def test_random_edit_lists_in_segments_and_whole(tmp_path: Path) -> None:
    """Random pieces, groups of pictures and B-frames. Where segments cannot be joined the engine scans the video whole; most can."""
    joined = tried = 0
    for seed in range(9):
        rng = random.Random(seed)
        gop, bframes = rng.choice([10, 20, 33]), rng.choice([0, 2, 3])
        path = tmp_path / f"{seed}.mp4"
        render(path, film(96, 64, [N], seed=seed), gop=gop, bframes=bframes)
        with av.open(str(path), options={"ignore_editlist": "1"}) as container:
            first = min(p.pts for p in container.demux(video=0) if p.pts is not None)
        at = sorted(rng.sample(range(N), 2 * rng.randint(1, 3)))
        pieces = list(zip(at[::2], at[1::2], strict=True))
        if seed % 2:  # key frames that are left out after one piece then have the pts of key frames of the next
            a, b = rng.randint(5, 20), rng.randint(70, 90)
            pieces = [(a, b), (b + gop, N - rng.randint(5, 15))]
        if rng.random() < 0.3:
            rng.shuffle(pieces)
        with_edits(path, [(a * STEP, b * STEP) for a, b in pieces], first_pts=first)
        with Decoder(str(path), uri=str(path), size_bytes=0, mode="exact") as decoder:
            shown = [read_frame_number(frame.reformat(format="gray").to_ndarray()) for frame, _ in decoder]
        assert shown == [k for a, b in pieces for k in range(a, b)], (seed, pieces)
        frames: list[SampledFrame] = []
        whole = scan(str(path), RECIPE, on_frame=frames.append)
        for segment_s in (0.8, 2.0):
            made = in_segments(path, segment_s)
            tried += made is not None
            if made is not None and isinstance(made[0], Stitched):
                joined += 1
                assert_equal(made[0].scan, whole)
                assert made[1] == frames
    assert tried >= 8 and joined >= 0.7 * tried, (joined, tried)


def test_a_video_trimmed_on_the_phone(data_dir: Path) -> None:
    path = data_dir / "field" / "22_trimmed_on_the_phone" / "two_pieces_kept.mp4"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    whole = scan(str(path), RECIPE)
    assert (len(whole.pts), whole.footage_s, set(np.diff(whole.pts))) == (1400, pytest.approx(140.0), {1024})
    made = in_segments(path, RECIPE.engine.segment_s)
    assert made is not None and isinstance(made[0], Stitched), made
    assert_equal(made[0].scan, whole)
