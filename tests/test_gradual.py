"""Dissolves and fades. Truth: films joined by construction, and the shared files whose transitions are known."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise

import cv2
import numpy as np
import pytest
from benchmarks.moving_light import KINDS, Scene

from pictures import Gradual, edit, moving, still, texture
from rushes.recipe import Recipe, ShotSettings
from rushes.scan.blend import Blend
from rushes.scan.content import Content
from rushes.scan.meters import Meters
from rushes.scan.motion import GlobalMotion
from rushes.scan.one_pass import scan
from rushes.scan.ramp import fit_ramp
from rushes.shots import find_shots
from rushes.shots.find import cuts_of, transitions_of
from rushes.shots.gradual import dissolves
from shot_signals import signals_of
from variants import variants

MS = Fraction(1, 1000)
SIZE = (160, 90)


def film(lengths, joints, fps=25, seed=0):
    """Shots of textures that move by a sixteenth of the width a second, each another way."""
    ways = [(1, 0), (-1, 0.5), (0.5, -0.5), (-0.5, 1)]
    shots = [moving(*SIZE, seed * 100 + k, dx=10 * ways[k % 4][0] / fps, dy=10 * ways[k % 4][1] / fps) for k in range(len(lengths))]
    return edit(shots, lengths, joints)


def regular(n, fps):
    return np.round(np.arange(n) * 1000 / fps).astype(np.int64)


def found(made, pts, keep=None, batch=64):
    """(start, end, kind) in seconds of the transitions found in a film shown at `pts`, or in those of its frames to `keep`."""
    keep = np.arange(made.n_frames) if keep is None else keep
    signals = signals_of([made.picture(int(i)) for i in keep], pts[keep], MS, batch)
    t = (pts[keep] - pts[keep][0]) / 1000
    return [(float(t[x.start]), float(t[x.end]), x.kind) for x in transitions_of(signals, pts[keep], MS)]


def truth(made, pts):
    return [(pts[x.start] / 1000, pts[x.end] / 1000, "dissolve" if x.kind == "dissolve" else "fade") for x in made.gradual]


def check(got, wanted, slack_s):
    assert [g[2] for g in got] == [w[2] for w in wanted], (got, wanted)
    for g, w in zip(got, wanted, strict=True):
        slack = max(slack_s, 0.12 * (w[1] - w[0]))
        assert abs(g[0] - w[0]) <= slack and abs(g[1] - w[1]) <= slack, (g, w)


@pytest.mark.parametrize("fps", [8, 12, 25, 30, 60, 120])
@pytest.mark.parametrize("kind", ["dissolve", "fadeblack", "fadewhite"])
def test_transitions_are_found_where_they_are(kind, fps):
    lasts = [1.0, 1.5] if fps < 20 else [0.4, 1.0, 2.0] if fps < 60 else [0.6]
    joints = [Gradual(kind, round(s * fps)) for s in lasts]
    made = film([round(1.6 * fps)] * (len(lasts) + 1), joints, fps, seed=fps)
    pts = regular(made.n_frames, fps)
    check(found(made, pts), truth(made, pts), 0.15 if fps > 8 else 0.26)


def test_variable_frame_rate_and_skipped_frames():
    made = film([50, 50, 50], [Gradual("dissolve", 25), Gradual("fadeblack", 25)], seed=4)
    rng = np.random.default_rng(0)
    pts = np.cumsum(rng.integers(20, 61, made.n_frames)).astype(np.int64)
    pts -= pts[0]
    check(found(made, pts), truth(made, pts), 0.15)
    pts = regular(made.n_frames, 25)
    keep = np.flatnonzero(rng.random(made.n_frames) < 0.5)
    keep[0] = 0
    check(found(made, pts, keep), truth(made, pts), 0.15)


def test_batches_do_not_matter():
    made = film([40, 40], [Gradual("dissolve", 20)], seed=2)
    pts = regular(made.n_frames, 25)
    frames = [made.picture(i) for i in range(made.n_frames)]
    whole = signals_of(frames, pts, MS, 1000)
    assert np.isfinite(whole["blend_start"]).any()
    for size in (1, 7, 64):
        parts = signals_of(frames, pts, MS, size)
        for name, values in whole.items():
            np.testing.assert_array_equal(parts[name], values, err_msg=name)


def test_every_column_is_a_signal_of_every_frame():
    made = film([5], [])
    signals = signals_of([made.picture(i) for i in range(5)], regular(5, 25), MS)
    assert {c.name for c in (*Blend.columns, *Content.columns, *GlobalMotion.columns)} == set(signals)
    assert all(v.shape == (5,) and v.dtype == np.float32 for v in signals.values())
    assert not len(Blend().finish()["blend_e"])


@pytest.mark.parametrize("move", ["pan", "fast_pan", "dimmed", "object", "hard_cut", "still"])
def test_what_is_no_gradual_transition(move):
    rng = np.random.default_rng(1)
    base, other = texture(*SIZE, 1), texture(*SIZE, 2)
    n = 75
    frames = []
    for i in range(n):
        if move in ("pan", "fast_pan"):
            image = moving(*SIZE, 5, dx=2.0 if move == "pan" else 9.0)(i)
        elif move == "dimmed":
            image = np.clip(base * (1 - 0.6 * np.clip((i - 25) / 25, 0, 1)), 0, 255).astype(np.uint8)
        elif move == "object":
            image = base.copy()
            left = i * 4 - 90
            image[20:80, max(left, 0) : max(left + 90, 0)] = other[20:80, : image[20:80, max(left, 0) : max(left + 90, 0)].shape[1]]
        else:
            image = base if i < 40 or move == "still" else other
        frames.append(np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8))
    pts = regular(n, 25)
    assert transitions_of(signals_of(frames, pts, MS), pts, MS) == []


@pytest.mark.parametrize("kind", variants(list(KINDS), quick=["waves", "fire", "exposure", "strobe", "pumping", "passing"]))
def test_texture_and_light_that_move_are_no_boundary(kind):
    """Single shots drawn with a seed that was not used to choose the bounds."""
    picture = KINDS[kind](Scene(texture(192, 108, 3), 2002))
    frames, pts = [picture(i) for i in range(100)], regular(100, 25)
    signals = signals_of(frames, pts, MS)
    assert transitions_of(signals, pts, MS) == []
    cuts = cuts_of(signals, pts, MS, ShotSettings(detector="combined"))
    assert [cut for cut in cuts if pts[cut] >= 300] == []  # of a flash with which a video begins nothing tells that it is one


def in_light(frame, light):
    """A BGR frame as it is, in grey, in grey at half the contrast, or in grey at 0.4 of the light."""
    if light == "colour":
        return frame
    gain, lift = {"gray": (1.0, 0), "half_contrast": (0.5, 64), "night": (0.4, 0)}[light]
    return cv2.cvtColor(np.rint(frame.mean(2) * gain + lift).astype(np.uint8), cv2.COLOR_GRAY2BGR)


@pytest.mark.parametrize("light", ["gray", "half_contrast", "night"])
@pytest.mark.parametrize("bars", [0, 15], ids=["full", "between_bars"])
def test_a_dissolve_is_found_in_every_light(light, bars):
    made = film([50, 50], [Gradual("dissolve", 20)], seed=9)
    pts, frames = regular(made.n_frames, 25), [made.picture(i) for i in range(made.n_frames)]
    if bars:  # a film that is mostly dark, as those are that have bars above and below
        frames = [np.clip((frame.astype(np.int64) - 80) * 2, 0, 255).astype(np.uint8) for frame in frames]
    for frame in frames:
        frame[:bars] = frame[SIZE[1] - bars :] = 0
    signals = signals_of([in_light(frame, light) for frame in frames], pts, MS)
    got = [(pts[x.start] / 1000, pts[x.end] / 1000, x.kind) for x in transitions_of(signals, pts, MS)]
    check(got, truth(made, pts), 0.15)


@pytest.mark.parametrize("light", ["colour", "half_contrast"])
@pytest.mark.parametrize("bars", [(10, 0), (0, 20)], ids=["above_and_below", "at_the_sides"])
def test_dissolves_between_black_bars_are_found(bars, light):
    (down, across), made = bars, film([50, 60, 50], [Gradual("dissolve", 15), Gradual("dissolve", 30)], seed=7)
    frames = [np.zeros_like(made.picture(0)) for _ in range(made.n_frames)]
    inside = slice(down, SIZE[1] - down), slice(across, SIZE[0] - across)
    for i, frame in enumerate(frames):
        frame[inside] = made.picture(i)[inside]
    pts = regular(made.n_frames, 25)
    signals = signals_of([in_light(frame, light) for frame in frames], pts, MS)
    check([(pts[x.start] / 1000, pts[x.end] / 1000, x.kind) for x in transitions_of(signals, pts, MS)], truth(made, pts), 0.15)


@pytest.mark.parametrize(("seed", "light"), [(0, "colour"), (8, "colour"), (5, "gray"), (5, "half_contrast"), (5, "night")])
def test_a_dissolve_between_fast_pans_is_found(seed, light):
    """One frame alone has half a second that fits: before it and after it each shot has moved too far."""
    shots = [moving(*SIZE, 10 * seed + 1, dx=3), moving(*SIZE, 10 * seed + 2, dx=-2.1, dy=1.0)]
    made = edit(shots, [50, 50], [Gradual("dissolve", 12)])
    pts, [known] = regular(made.n_frames, 25), made.gradual
    [got] = transitions_of(signals_of([in_light(made.picture(i), light) for i in range(made.n_frames)], pts, MS), pts, MS)
    assert abs(got.start - known.start) <= 4 and abs(got.end - known.end) <= 4


@pytest.mark.parametrize(
    ("change", "enough"),
    [({}, True), ({"e": 0.9}, False), ({"e": 4.5}, False), ({"s": 3.5}, False), ({"f": 0.7}, False), ({"l": 0.5}, False)],
    ids=["strangers", "alike", "other_exposure", "plain", "no_ramp", "same_detail"],
)
def test_a_single_candidate_is_enough_between_strangers_alone(change, enough):
    """The values of a clear dissolve stand at one frame, and nothing at the others."""
    n, at = 100, 50
    values = {"e": 1.5, "r": 0.1, "q": 0.1, "a": 0.95, "c": 0.2, "s": 20.0, "m": 0.3, "l": 0.1, "f": 0.95, "k": 0.2}
    values |= {"start": -0.2, "end": 0.2}
    values |= change
    signals = {f"blend_{name}": np.where(np.arange(n) == at, value, np.nan).astype(np.float32) for name, value in values.items()}
    deviation = np.full(n, 20.0, np.float32)
    deviation[at] *= np.sqrt((1 + values["c"]) / 2)
    found = dissolves(signals | {"jump_c": np.full(n, np.nan, np.float32), "fade_std": deviation}, np.arange(n) / 25)
    assert [(x.start, x.end) for x in found] == ([(46, 55)] if enough else [])


@pytest.mark.parametrize("n", [8, 16, 30])
def test_between_still_shots_a_dissolve_is_found_to_the_frame(n):
    made = edit([still(*SIZE, 31), still(*SIZE, 32)], [40, 40], [Gradual("dissolve", n)])
    pts, [known] = regular(made.n_frames, 25), made.gradual
    [got] = transitions_of(signals_of([made.picture(i) for i in range(made.n_frames)], pts, MS), pts, MS)
    assert (got.start, got.end) == (known.start, known.end)


def test_a_camera_that_is_jerked_is_no_cut_and_another_view_of_its_scene_is():
    """Both match a part of the frame before alike; a jerk takes more frames than one. Every other frame is skipped, as in fast mode."""
    scene, pts = texture(480, 270, 41), regular(80, 25)[::2]
    moves = np.ones(80, np.int64)
    moves[40:42] = 25
    blurred = [np.linspace(at, at - 0.94 * (move - 1), 8).astype(int) for at, move in zip(np.cumsum(moves), moves, strict=True)]
    views = [np.mean([scene[60:150, left : left + 160] for left in lefts], 0).astype(np.uint8) for lefts in blurred][::2]
    near = cv2.resize(views[20][9:81, 16:144], SIZE)
    for frames, at, wanted in ((views, 21, []), (views[:20] + [near] * 20, 20, [20])):
        signals = signals_of(frames, pts, MS)
        assert signals["jump_m"][at] >= 0.75
        assert cuts_of(signals, pts, MS, ShotSettings(detector="combined")).tolist() == wanted


@pytest.mark.parametrize(("seed", "speed"), [(0, 26), (2, 16), (11, 20)])
def test_what_moves_on_while_a_frame_is_skipped_is_no_cut(seed, speed):
    """A sheet before the camera is pulled down: what comes to light in two frames is twice that of one. A cut is still one."""
    sheet, room = texture(*SIZE, 2 * seed + 1), texture(*SIZE, 2 * seed + 2)
    pulled, joined = [], []
    for i in range(60):
        top = int(np.clip((i - 25) * speed, 0, SIZE[1]))
        pulled.append(np.concatenate((room[:top], sheet[: SIZE[1] - top])))
        joined.append(moving(*SIZE, seed + 50, dx=2.0)(i) if i < 28 else moving(*SIZE, seed + 70, dx=-2.0)(i))
    keep = np.delete(np.arange(60), 27)
    pts = regular(60, 25)[keep]
    for frames, wanted in ((pulled, []), (joined, [27])):
        signals = signals_of([frames[k] for k in keep], pts, MS)
        assert cuts_of(signals, pts, MS, ShotSettings(detector="combined")).tolist() == wanted


def test_clips_leave_transitions_out_and_tile_the_rest():
    made = film([60, 60, 60, 60], [Gradual("dissolve", 25), Gradual("cut", 0), Gradual("fadeblack", 20)], seed=6)
    pts = regular(made.n_frames, 25)
    signals = signals_of([made.picture(i) for i in range(made.n_frames)], pts, MS)
    how = {"guard_s": 0.0, "max_s": 0.0}
    shots = find_shots(signals, pts, MS, int(pts[-1]) + 40, ShotSettings(**how))
    edges = ["video", "transition", "cut", "transition", "video"]
    assert [(s.start, s.end) for s in shots] == list(pairwise(edges))
    assert shots[1].span.end_pts == shots[2].span.start_pts == pts[made.cuts[0]]
    for gradual in made.gradual:
        core = pts[gradual.start + 3 : gradual.end - 3]
        assert not any(s.span.start_pts <= p < s.span.end_pts for s in shots for p in core)
    whole = find_shots(signals, pts, MS, int(pts[-1]) + 40, ShotSettings(**how, gradual=False))
    assert all(a.span.end_pts == b.span.start_pts for a, b in pairwise(whole))


def test_plain_black_of_some_seconds_is_a_clip_between_two_fades():
    def black(i):
        return np.zeros((SIZE[1], SIZE[0], 3), np.uint8)

    made = edit([moving(*SIZE, 1), black, moving(*SIZE, 2)], [50, 50, 50], [Gradual("dissolve", 20)] * 2)
    pts = regular(made.n_frames, 25)
    got = found(made, pts)
    check(got, [(*x[:2], "fade") for x in truth(made, pts)], 0.15)


def test_the_ramp_is_found_in_noise():
    rng = np.random.default_rng(5)
    t = np.arange(0, 3, 0.04)
    for start, end in ((0.8, 1.8), (1.2, 1.6), (0.4, 2.4)):
        alpha = np.clip((t - start) / (end - start), 0, 1) + rng.normal(0, 0.03, len(t))
        assert fit_ramp(t, alpha, 1.4)[:2] == pytest.approx((start, end), abs=0.13)
    assert np.isnan(fit_ramp(t, -t, 1.4)).all()


@pytest.mark.parametrize("mode", variants(["exact", "fast"], quick=["exact"]))
def test_known_transitions_of_real_footage(data_dir, mode):
    name = "gradual_h264_360p.mp4"
    known = [x for x in json.loads((data_dir / "cuts" / "truth.json").read_text())[name]["transitions"]]
    recipe = Recipe().with_overrides([f"scan.mode={mode}"])
    one = scan(str(data_dir / "cuts" / name), recipe, meters=lambda facts: Meters((), (Content(), Blend())))
    t = (one.pts - one.pts[0]) * float(one.facts.time_base)
    got = [(t[x.start], t[x.end]) for x in transitions_of(one.signals, one.pts, one.facts.time_base)]
    pairs = [(g, (x["start_s"], x["end_s"])) for x in known for g in got if g[0] < x["end_s"] and g[1] > x["start_s"]]
    hits = len(pairs)
    assert 2 * hits / (len(known) + len(got)) >= 0.93
    assert np.median([abs(g[i] - x[i]) for g, x in pairs for i in (0, 1)]) <= 0.15
