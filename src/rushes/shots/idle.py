"""Stretches at a shot's ends in which nothing moves, such as those of a robot that has not begun, from the signals of each frame.

A frame moves where a part of the picture changes far more than the rest, where the camera moves, or where all of it changes. The noise of a
sensor changes all of the picture alike, and compression leaves little of it. Motion begins at the first frame that moves and is followed by
others that do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from rushes.shots.spans import I64, Piece

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

IDLE_SIGNALS = ("dx", "dy", "zoom", "motion_fit", "frame_diff", "block_diff")
LEAST, LOCAL = 0.8, 3.0
"""A part of the picture moves where its change (`block_diff`, grey levels) is at least LEAST, and LOCAL times that of the whole picture.
The largest of some hundred blocks of mere noise is about twice the mean. Noise that compression lets through here and there stays below
LEAST, but for single frames."""
ALL = 0.75
"""Mean change of the picture, grey levels, from which all of it moves. Noise of 4 levels a pixel at 320 x 180 makes 0.6."""
FIT, SPEED, STEP, RADIUS = 0.5, 0.01, 2e-4, 12**-0.5
"""The camera moves where its move is believed and faster than SPEED, diagonals a second, and than STEP, diagonals: what measures/camera.py
calls static is slower, and noise makes steps of half of STEP. RADIUS makes a zoom a mean move, as there."""
NEXT, NEXT_MOVING = 3, 2
LASTS_S, LASTS_SHARE = 0.4, 0.3
"""Motion begins where, of the next frames, so many move, and of those within LASTS_S, seconds, this share: a key frame that encodes the
same picture anew is one frame, and where a converted film repeats frames every second or third moves."""


def trimmed(piece: Piece, signals: Mapping[str, F32], pts: I64, time_base: Fraction, keep: Fraction) -> Piece:
    """The piece less what is still at its ends beyond `keep` ticks; the piece itself where nothing moves in it, or something only for a
    moment at each of its ends.

    Args:
        piece: its frames.
        signals: name -> (n,) float32 of the video, NaN where not measured; `IDLE_SIGNALS` are looked at.
        pts: (n,) strictly increasing.
        time_base: seconds of a tick.
        keep: stillness that stays at each end, ticks.
    """
    at = slice(piece.first, piece.stop)
    t = np.asarray((pts[at] - pts[piece.first]) * float(time_base), np.float64)
    moves = _moves({name: signals[name][at].astype(np.float64) for name in IDLE_SIGNALS}, t)
    first, behind = _onset(moves, t), _onset(np.concatenate(([False], moves[:0:-1])), t[-1] - t[::-1])
    if first is None or behind is None:
        return piece
    last = piece.stop - 1 - behind  # the picture after it is the one that stays
    if piece.first + first > last:
        return piece
    start = max(piece.first, int(np.searchsorted(pts, int(-(-(int(pts[piece.first + first]) - keep) // 1)))))
    stop = min(piece.stop, int(np.searchsorted(pts, int((int(pts[last]) + keep) // 1), "right")))
    edges = "idle" if start > piece.first else piece.start, "idle" if stop < piece.stop else piece.end
    return replace(piece, first=start, stop=stop, start=edges[0], end=edges[1])


def _moves(rows: Mapping[str, F64], t: F64) -> Bools:
    """(n,) whether each frame of a shot differs from the one before by motion; the first one, of another shot's, does not."""
    local = (rows["block_diff"] >= LEAST) & (rows["block_diff"] >= LOCAL * rows["frame_diff"])
    step = np.hypot(rows["dx"], rows["dy"]) + RADIUS * np.abs(rows["zoom"])
    camera = (rows["motion_fit"] >= FIT) & (step >= np.maximum(STEP, SPEED * np.diff(t, prepend=t[0])))
    found = local | camera | (rows["frame_diff"] >= ALL)
    found[0] = False
    return found


def _onset(moves: Bools, t: F64) -> int | None:
    """The first frame of a motion that lasts; None where there is none. `moves`, `t`: (n,) which frames move, and their seconds."""
    for at in np.flatnonzero(moves):
        near = moves[at : int(np.searchsorted(t, t[at] + LASTS_S))]
        if moves[at : at + NEXT].sum() >= NEXT_MOVING and near.mean() >= LASTS_SHARE:
            return int(at)
    return None
