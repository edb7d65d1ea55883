"""Pieces of a fixed length, for footage without cuts, such as that of a robot on its round."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt


def stride_joints(pts: npt.NDArray[np.int64], end_pts: int, stride: Fraction, least: Fraction) -> list[int]:
    """Indices of the frames where a new piece starts: the first frame of each `stride`, counted from the first pts.

    Args:
        pts: (n,) increasing, n >= 1.
        end_pts: end of the video.
        stride: ticks, above 0.
        least: a last piece shorter than this, in ticks, is joined to the piece before.
    """
    start = int(pts[0])
    count = int((end_pts - start - 1) // stride)
    wanted = [start + -(-(i * stride) // 1) for i in range(1, count + 1)]
    joints = sorted(set(np.searchsorted(pts, np.array(wanted, np.int64)).tolist()) - {0, len(pts)}) if wanted else []
    while joints and end_pts - int(pts[joints[-1]]) < least:
        joints.pop()
    return [int(j) for j in joints]
