"""Dense motion on the grid: how fast each part of the picture moves, a few times a second.

It is the optical flow between a frame on the grid and an earlier one, both as the motion view (long side 128 pixels). The earlier frame is
the last one that lies at least `BASELINE_S` before, so that a speed reads the same at 24 and at 120 frames a second.

DIS (Kroeger et al. 2016, "Fast optical flow using dense inverse search"; OpenCV's preset ULTRAFAST) finds the flow. Alone it reads
shifts below three pixels 10 to 25 % too high and misses those above ten. So it starts from the shift of the whole picture, found by phase
correlation, and one Lucas-Kanade step (1981) corrects what DIS leaves, with a smoothing and a derivative filter that match each other. A
uniform shift then reads within 2 %.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rushes.media.time_grid import FLOW_PER_S, HELD_DT_S
from rushes.media.views import Views
from rushes.records import Column
from rushes.scan.align import DERIVATIVE, SMOOTH, halved
from rushes.scan.shift import PhaseCorrelation

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

BASELINE_S = 0.06
"""Shortest time between the two frames, seconds: two frames at 24, 25 and 30 a second, four at 60. Longer ones lose objects that cross the
picture in two seconds; in shorter ones a pan of 5 % of the width a second is within the noise."""
LONGEST_S = 1.5
"""A picture that was shown for longer than this, seconds, stood still, and then changed within `HELD_DT_S`."""
STILL = 0.005
"""Below this speed, diagonals a second, a part of the picture counts as still: an object above it crosses the picture's width
in less than three minutes; sensor noise after compression is below it."""
CHANGE = 0.5
"""Mean change over a window, grey levels, below which it counts as still even if there is flow: without detail, as on an empty road, flow
follows the noise."""
FINEST = 1
"""Halvings of the finest level that DIS works on; the preset's 2 smears objects smaller than a quarter of the picture."""
WINDOW = 9
"""Side of the Lucas-Kanade window, pixels."""
RIDGE = 0.5
"""Squared grey levels a pixel added to the window's gradient energy: flat areas keep the flow that DIS gave them."""
SMALLEST = 40
"""Short side of the motion view, pixels, from which DIS runs: its 8-pixel patches at a quarter of the size need 32, and OpenCV reads
past the picture below that. Smaller ones start from the whole picture's shift alone."""
TABLE = 32
"""Steps a pixel of cv2.remap's interpolation table (INTER_TAB_SIZE): flow is rounded to it, so that the warp is the one asked for."""


class DenseMotion:
    """Speed of the picture's parts at frames on the grid; NaN at other frames, and where no earlier frame lies `BASELINE_S` before."""

    columns: tuple[Column, ...] = (
        Column("flow_mean", "float", "diagonal/s", "mean speed over the picture", 0.0, None, "Kroeger et al. 2016, Lucas-Kanade"),
        Column("flow_p95", "float", "diagonal/s", "speed that a twentieth of the picture exceeds", 0.0, None, "as flow_mean"),
        Column("flow_still", "float", "1", f"share of the picture slower than {STILL} diagonals a second", 0.0, 1.0, "as flow_mean"),
        Column("flow_dt", "float", "s", "time from the frame compared with to this one", BASELINE_S, LONGEST_S),
    )

    per_s: float | None = FLOW_PER_S

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._dis.setFinestScale(FINEST)
        self._phase: PhaseCorrelation | None = None
        self._recent: deque[tuple[float, U8]] = deque()
        self._rows: list[tuple[float, float, float, float]] = []

    def push(self, views: Views, on_grid: bool) -> None:
        """Take the next frame; flow is computed when it is on the grid."""
        self.push_motion(views.t, views.motion, on_grid)

    def push_motion(self, t: float, motion: U8, on_grid: bool) -> None:
        """Take the next frame by its time, seconds, and its motion view (h, w)."""
        recent = self._recent
        while len(recent) > 1 and recent[1][0] <= t - BASELINE_S:
            recent.popleft()
        row = (np.nan,) * 4
        if on_grid and recent and t - recent[0][0] >= BASELINE_S:
            since = t - recent[0][0]
            row = self._measure(recent[0][1], motion, since if since <= LONGEST_S else HELD_DT_S)
        recent.append((t, motion))
        self._rows.append(row)

    def restart(self) -> None:
        """Says that the next frame is compared with none of those before it."""
        self._recent.clear()

    def finish(self) -> dict[str, F32]:
        """The signals, one value a frame."""
        table = np.array(self._rows, np.float32).reshape(-1, len(self.columns))
        return {column.name: table[:, i].copy() for i, column in enumerate(self.columns)}

    def _measure(self, before: U8, after: U8, dt: float) -> tuple[float, float, float, float]:
        pair = halved(np.stack((before, after)))
        if self._phase is None:
            self._phase = PhaseCorrelation(pair.shape[2], pair.shape[1])
        spectra = self._phase.spectra(pair.astype(np.float32))
        start = np.empty((*before.shape, 2), np.float32)
        start[:] = self._phase.shifts(spectra[:1], spectra[1:])[0] * (before.shape[1] // pair.shape[2])
        if min(before.shape) >= SMALLEST:
            start = self._dis.calc(before, after, start)
        flow = refine(before, after, start)
        speed = np.sqrt(flow[0] ** 2 + flow[1] ** 2).ravel()  # not cv2.magnitude: its last bit depends on where in memory it writes
        speed /= np.float32(np.hypot(*before.shape) * dt)
        noise = cv2.blur(np.abs(cv2.sepFilter2D(cv2.subtract(after, before, dtype=cv2.CV_32F), -1, SMOOTH, SMOOTH)), (WINDOW, WINDOW))
        still = (speed < STILL) | (noise.ravel() < CHANGE)
        rank = int(0.95 * (speed.size - 1))
        return float(speed.mean()), float(np.partition(speed, rank)[rank]), float(still.mean()), dt


def refine(before: U8, after: U8, flow: npt.NDArray[Any]) -> tuple[F32, F32]:
    """One Lucas-Kanade step on a flow (h, w, 2) in pixels from `before` to `after`, (h, w) each: the flow's x and y, (h, w)."""
    height, width = before.shape
    coarse = np.rint(flow * TABLE) / np.float32(TABLE)
    x = coarse[..., 0] + np.arange(width, dtype=np.float32)
    y = coarse[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    warped = cv2.remap(after.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    start = before.astype(np.float32)
    both = start + warped
    gx = cv2.sepFilter2D(both, cv2.CV_32F, DERIVATIVE * np.float32(0.5), SMOOTH)
    gy = cv2.sepFilter2D(both, cv2.CV_32F, SMOOTH, DERIVATIVE * np.float32(0.5))
    gt = cv2.sepFilter2D(warped - start, cv2.CV_32F, SMOOTH, SMOOTH)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    gt *= inside
    xx, xy, yy, xt, yt = (cv2.blur(p, (WINDOW, WINDOW)) for p in (gx * gx, gx * gy, gy * gy, gx * gt, gy * gt))
    xx, yy = xx + np.float32(RIDGE), yy + np.float32(RIDGE)
    det = xx * yy - xy * xy
    du = np.clip((xy * yt - yy * xt) / det, -1, 1)
    dv = np.clip((xy * xt - xx * yt) / det, -1, 1)
    return coarse[..., 0] + du, coarse[..., 1] + dv
