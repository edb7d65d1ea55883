"""Hard cuts, and cuts to clips. Truth: PySceneDetect itself, and spans by construction."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import cv2
import numpy as np
import pytest
import scenedetect
from scenedetect.common import Timecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector, HashDetector, HistogramDetector

from pictures import film, moving, still, texture
from rushes.errors import RecipeError, StoreError
from rushes.recipe import ShotSettings
from rushes.scan.content import Content
from rushes.scan.scenedetect_meters import PySceneDetectMeters
from rushes.shots import find_shots, needed_signals
from rushes.shots.adaptive import adaptive_cuts
from rushes.shots.combined import KEPT
from rushes.shots.content import content_cuts
from rushes.shots.gradual import Transition
from rushes.shots.scenedetect_cuts import scenedetect_cuts
from rushes.shots.spans import absorb
from shot_signals import signals_of

TICK = Fraction(1, 12800)
NO_TRIM = {"guard_s": 0.0, "max_s": 0.0, "gradual": False}


class Scored(ContentDetector):
    """PySceneDetect's content detector, fed scores instead of pictures."""

    def _calculate_frame_score(self, timecode, frame_img):
        return frame_img


class ScoredAdaptive(AdaptiveDetector):
    _calculate_frame_score = Scored._calculate_frame_score


def peer_on(detector, frames, pts, tick=TICK):
    """Indices of the cuts PySceneDetect's detector finds when fed these frames with these pts."""
    cuts = []
    for frame, p in zip(frames, pts, strict=True):
        cuts += detector.process_frame(scenedetect.FrameTimecode(Timecode(int(p - pts[0]), tick), 25.0), frame)
    return np.searchsorted(pts, [c.pts + pts[0] for c in cuts]).tolist()


def steps(rng, n, irregular):
    return 5000 + np.cumsum(rng.integers(100, 1500, n) if irregular else np.full(n, 512)).astype(np.int64)


@pytest.mark.parametrize("min_s", [0.0, 0.3, 0.6, 2.0])
@pytest.mark.parametrize("irregular", [False, True], ids=["steady", "vfr"])
def test_random_scores_give_the_same_cuts_as_pyscenedetect(min_s, irregular):
    rng = np.random.default_rng(7)
    cuts = 0
    for _ in range(25):
        n = int(rng.integers(1, 160))
        score = np.where(rng.random(n) < rng.uniform(0.02, 0.4), rng.gamma(2, 25, n), rng.gamma(2, 3, n)).astype(np.float32)
        score[rng.random(n) < 0.1] = 0
        score[0] = np.nan
        pts = steps(rng, n, irregular)
        plain = np.nan_to_num(score).astype(float)
        content = content_cuts(score, pts, TICK, min_s=min_s).tolist()
        adaptive = adaptive_cuts(score, pts, TICK, min_s=min_s).tolist()
        assert content == peer_on(Scored(min_scene_len=min_s), plain, pts)
        assert adaptive == peer_on(ScoredAdaptive(min_scene_len=min_s), plain, pts)
        cuts += len(content) + len(adaptive)
    assert cuts > 100 or min_s > 1


def bgr_film(n_shots=4, length=20, **how):
    made = film(160, 90, [length] * n_shots, **how)
    return made, [made.picture(i) for i in range(made.n_frames)]


def test_content_equals_pyscenedetects_value_on_the_same_pictures():
    class Spy(ContentDetector):
        def process_frame(self, timecode, frame_img):
            super().process_frame(timecode, frame_img)
            return [self._frame_score]

    _, frames = bgr_film()
    meter, spy = Content(), Spy()
    theirs = [spy.process_frame(scenedetect.FrameTimecode(i, 25.0), f)[0] for i, f in enumerate(frames)]
    for frame in frames:
        meter.push_bgr(frame[None])
    ours = meter.finish()["content"]
    assert np.isnan(ours[0]) and theirs[0] == 0
    np.testing.assert_array_equal(ours[1:], np.array(theirs[1:], np.float32))
    assert ours[20] > 27


def test_peers_inside_the_pass_equal_pyscenedetect_outside_it():
    _, frames = bgr_film()
    pts = steps(np.random.default_rng(1), len(frames), True)
    names = {"hash": HashDetector, "histogram": HistogramDetector, "content": ContentDetector, "adaptive": AdaptiveDetector}
    meters = PySceneDetectMeters(tuple(names), TICK, None)
    for frame, p in zip(frames, pts, strict=True):
        meters.push_bgr(frame, int(p))
    signals = meters.finish()
    assert set(signals) == {c.name for c in meters.columns}
    found = 0
    for name, kind in names.items():
        cuts = scenedetect_cuts(name, signals[f"psd_{name}"], pts, TICK, min_s=0.3).tolist()
        assert cuts == peer_on(kind(min_scene_len=0.3), frames, pts), name
        found += len(cuts)
    assert found >= 9
    assert signals["psd_hash_value"][20] >= 0.35 > signals["psd_hash_value"][10]


def test_a_detector_pyscenedetect_does_not_have_is_named_with_those_it_has():
    with pytest.raises(RecipeError, match=r"'hsh'.*hash"):
        PySceneDetectMeters(("hsh",), TICK, 25.0)


def test_a_missing_signal_is_named():
    settings = ShotSettings(detector="combined", gradual=False)
    with pytest.raises(StoreError, match="jump_e"):
        find_shots({"content": np.zeros(3, np.float32)}, np.arange(3), TICK, 3, settings)


def clips_of(frames, **settings):
    pts = 900 + 512 * np.arange(len(frames), dtype=np.int64)
    signals = signals_of(frames, pts, TICK)
    shots = find_shots(signals, pts, TICK, int(pts[-1]) + 512, ShotSettings(**{**NO_TRIM, **settings}))
    return [((s.span.start_pts - 900) // 512, (s.span.end_pts - 900) // 512) for s in shots]


def bright(image, gain):
    return np.clip(image * gain, 0, 255).astype(np.uint8)


def test_combined_finds_cuts_exactly():
    made, frames = bgr_film(n_shots=5, length=24)
    edges = [0, *made.cuts, made.n_frames]
    assert clips_of(frames) == list(pairwise(edges))


def test_a_jump_cut_of_one_camera_is_a_cut():
    """A large thing is elsewhere from one frame to the next, before a background that stays."""
    behind, thing = texture(192, 108, 1), texture(192, 108, 2)
    y, x = np.mgrid[:108, :192]
    frames = []
    for i in range(80):
        inside = ((x - (75 if i < 40 else 110) - np.sin(i)) / 30) ** 2 + ((y - 62) / 40) ** 2 < 1
        frames.append(np.where(inside[..., None], thing, behind).astype(np.uint8))
    aligned = signals_of(frames, 900 + 512 * np.arange(80, dtype=np.int64), TICK)["kept_blocks"][40]
    assert aligned >= KEPT, "it is judged as what flits past is"
    assert clips_of(frames) == [(0, 40), (40, 80)]


def gray(frame):
    return cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)


LIGHTS = {"gray": gray, "half_contrast": lambda f: gray(f) // 2 + 64, "night": lambda f: bright(gray(f), 0.4)}


@pytest.mark.parametrize("light", LIGHTS)
def test_combined_finds_the_same_cuts_in_every_light(light):
    made, frames = bgr_film(n_shots=5, length=24)
    seen = [LIGHTS[light](frame) for frame in frames]
    assert clips_of(seen) == list(pairwise([0, *made.cuts, made.n_frames]))
    assert len(clips_of(seen, detector="content")) < 5, "the content detector misses some: the test has a light to see"


def test_between_black_bars_the_same_cuts_are_found():
    """Bars as of a wide film take more than a fifth of bright pictures: these are alike by the bars alone."""
    made, frames = bgr_film(n_shots=5, length=24)
    wide = [bright(frame.astype(np.int16) + 30, 1) for frame in frames]
    for frame in wide:
        frame[:10] = frame[-10:] = 0
    assert clips_of(wide) == list(pairwise([0, *made.cuts, made.n_frames]))


def test_a_cut_to_a_dark_shot_is_a_cut_and_no_fade():
    """Dark pictures that slowly get a little brighter: as dark as the lowest point of a short fade."""
    _, frames = bgr_film(n_shots=3, length=40)
    low = [np.clip(f * (0.16 + 0.002 * i), 0, 255).astype(np.uint8) for i, f in enumerate(frames[40:80])]
    assert clips_of([*frames[:40], *low, *frames[80:]], gradual=True) == [(0, 40), (40, 80), (80, 120)]


def test_between_two_flashes_the_old_picture_is_seen_again():
    _, frames = bgr_film(n_shots=1, length=60)
    for i in (30, 31, 35, 36):
        frames[i] = np.clip(frames[i] * 0.4 + 150, 0, 255).astype(np.uint8)
    assert clips_of(frames) == [(0, 60)]


@pytest.mark.parametrize("lasts", [1, 2, 4])
def test_a_flash_is_no_cut(lasts):
    _, frames = bgr_film(n_shots=1, length=60)
    for i in range(30, 30 + lasts):
        frames[i] = np.full_like(frames[i], 250)
    assert clips_of(frames) == [(0, 60)]
    assert len(clips_of(frames, detector="content")) > 1, "the content detector sees it: the test has a flash to see"


@pytest.mark.parametrize("first", ["flash", "other scene"])
def test_what_a_video_begins_or_ends_with_for_a_moment_is_cut_off(first):
    """Nothing tells a flash from another scene there, and pictures of another scene are not left in a clip."""
    _, frames = bgr_film(n_shots=2, length=60)
    short = [np.full_like(frames[0], 250)] * 3 if first == "flash" else frames[57:60]
    assert clips_of([*short, *frames[60:]]) == [(0, 3), (3, 63)]
    assert clips_of([*frames[60:], *short]) == [(0, 60), (60, 63)]


def test_a_switched_light_is_no_cut():
    _, frames = bgr_film(n_shots=1, length=60)
    frames[30:] = [bright(f, 0.45) for f in frames[30:]]
    assert clips_of(frames) == [(0, 60)]
    assert len(clips_of(frames, detector="content")) == 2


def test_stutter_is_no_cut():
    _, frames = bgr_film(n_shots=1, length=200)
    frozen = [frames[(i // 5) * 5 * 2] for i in range(100)]
    assert clips_of(frozen) == [(0, 100)]


def test_a_recording_that_freezes_while_its_camera_moves_on_is_no_cut():
    """Half a second at a time is missing, in which the picture moves by a quarter of its width."""
    picture = moving(160, 90, 5, dx=3.0)
    frames = [picture(i if i < 40 or i > 120 else i - i % 13) for i in range(160)]
    assert clips_of(frames) == [(0, 160)]


@pytest.mark.parametrize("repeats", [1, 4, 10])
def test_a_cut_after_frames_that_repeat_is_a_cut(repeats):
    made, frames = bgr_film(n_shots=3, length=40)
    for cut in made.cuts:
        frames[cut - repeats : cut] = [frames[cut - repeats]] * repeats
    assert clips_of(frames) == list(pairwise([0, *made.cuts, made.n_frames]))


class TestSpans:
    """find_shots on bare cut flags: the signal of a peer decides where the cuts are."""

    def shots(self, n=100, cuts=(), pts=None, duration=512, **settings):
        pts = 1000 + 512 * np.arange(n, dtype=np.int64) if pts is None else pts
        content = np.zeros(len(pts), np.float32)
        content[list(cuts)] = 99
        how = ShotSettings(**{"detector": "content", "min_s": 0.0, **NO_TRIM, **settings})
        return pts, find_shots({"content": content}, pts, TICK, int(pts[-1]) + duration, how)

    def test_clips_tile_the_video_whatever_the_times(self):
        rng = np.random.default_rng(3)
        for _ in range(50):
            n = int(rng.integers(1, 80))
            cuts = np.flatnonzero(rng.random(n) < 0.2)
            pts, shots = self.shots(pts=steps(rng, n, True), cuts=cuts[cuts > 0])
            spans = [s.span for s in shots]
            assert spans[0].start_pts == pts[0] and spans[-1].end_pts == pts[-1] + 512
            assert all(a.end_pts == b.start_pts for a, b in pairwise(spans))
            assert [s.start_pts for s in spans[1:]] == pts[cuts[cuts > 0]].tolist()
            assert sum(s.n_frames for s in shots) == n

    def test_the_guard_trims_cuts_inward_to_frames_and_leaves_the_videos_ends(self):
        pts, (first, middle, last) = self.shots(cuts=(40, 70), guard_s=0.1)  # 25 fps: 0.1 s is 2.5 frames
        assert (first.span.start_pts, first.span.end_pts) == (pts[0], pts[37])
        assert (middle.span.start_pts, middle.span.end_pts) == (pts[43], pts[67])
        assert (last.span.start_pts, last.span.end_pts) == (pts[73], pts[-1] + 512)
        assert [s.n_frames for s in (first, middle, last)] == [37, 24, 27]
        assert [(s.start, s.end) for s in (first, middle, last)] == [("video", "cut"), ("cut", "cut"), ("cut", "video")]

    def test_a_guard_of_whole_frames_is_exact(self):
        pts, (_, last) = self.shots(cuts=(50,), guard_s=0.12)
        assert last.span.start_pts == pts[53]

    def test_a_shot_the_guard_would_empty_keeps_its_middle_frame(self):
        pts, shots = self.shots(cuts=(40, 43), guard_s=0.5)
        assert (shots[1].span.start_pts, shots[1].span.end_pts, shots[1].n_frames) == (pts[41], pts[42], 1)

    def test_a_long_shot_is_split_into_equal_parts_whose_joints_are_not_trimmed(self):
        pts, shots = self.shots(n=1000, max_s=15.0, guard_s=0.1, cuts=(100,))
        edges = [100 + 3, 402, 701, 1000]
        assert [s.span.start_pts for s in shots[1:]] == pts[edges[:3]].tolist()
        assert all(a.span.end_pts == b.span.start_pts for a, b in pairwise(shots[1:]))
        assert [(s.start, s.end) for s in shots] == [("video", "cut"), ("cut", "split"), ("split", "split"), ("split", "video")]

    def test_a_split_over_a_gap_gives_no_empty_part(self):
        pts = np.concatenate((np.arange(10), 10_000 + np.arange(10))) * 512
        _, shots = self.shots(pts=pts.astype(np.int64), max_s=10.0)
        assert all(s.n_frames >= 1 for s in shots) and sum(s.n_frames for s in shots) == 20

    def test_stride(self):
        pts, shots = self.shots(n=210, detector="stride", stride_s=4.0, min_s=0.5)
        assert [s.span.start_pts for s in shots] == pts[[0, 100]].tolist(), "a last piece of 0.4 s joins the one before"
        assert shots[-1].span.end_pts == pts[-1] + 512
        assert [(s.start, s.end) for s in shots] == [("video", "split"), ("split", "video")]

    def test_one_frame(self):
        _, (only,) = self.shots(n=1, guard_s=1.0, max_s=0.01, duration=7)
        assert (only.span.start_pts, only.span.end_pts, only.n_frames) == (1000, 1007, 1)


def test_no_sliver_stays_beside_a_transition():
    pts = np.arange(200, dtype=np.int64)
    near = Fraction(10)
    transitions = [Transition(50, 60, "dissolve"), Transition(68, 80, "fade"), Transition(120, 130, "dissolve")]
    cuts, spans = absorb(np.array([30, 45, 55, 95, 137]), transitions, pts, near)
    assert cuts == [30, 95]
    assert [(s.start, s.end) for s in spans] == [(45, 80), (120, 137)]


def test_settings_say_which_signals_they_need():
    assert needed_signals(ShotSettings(detector="adaptive", gradual=False)) == ("content",)
    assert {"jump_d", "jump_e", "blend_e", "fade_y"} <= set(needed_signals(ShotSettings()))
    assert needed_signals(ShotSettings(detector="stride")) == ()


def test_a_still_picture_is_one_clip():
    picture = still(160, 90, 3)
    assert clips_of([picture(i) for i in range(50)], gradual=True) == [(0, 50)]
