"""Runs PySceneDetect's own detectors inside the one pass, on the small BGR view (optional extra `rushes[scenedetect]`).

Each detector gives two signals: `psd_NAME`, 1 at the first frame of a new shot and 0 elsewhere, and `psd_NAME_value`, the detector's
first metric. They run with a minimum length of 0; the shots step applies `shots.min_s` afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from rushes.errors import MissingExtra, RecipeError
from rushes.media.views import U8, Views
from rushes.records import Column

_SOURCE = "PySceneDetect, scenedetect.detectors, default settings"


def scenedetect_columns(names: tuple[str, ...]) -> tuple[Column, ...]:
    """The signals of the named detectors."""
    return tuple(
        column
        for name in names
        for column in (
            Column(f"psd_{name}", "float", "", f"1 where PySceneDetect's {name} detector sees a new shot, else 0", 0.0, 1.0, _SOURCE),
            Column(
                f"psd_{name}_value", "float", "", f"first metric of PySceneDetect's {name} detector; null where it has none", source=_SOURCE
            ),
        )
    )


class PySceneDetectMeters:
    """Runs PySceneDetect detectors next to our own meters, frame by frame."""

    per_s: float | None = None

    def __init__(self, names: tuple[str, ...], time_base: Fraction, fps: float | None) -> None:
        """Loads the detectors.

        Args:
            names: such as "hash": the class HashDetector of `scenedetect.detectors`.
            time_base: seconds of a tick of the frames' pts.
            fps: nominal frames a second, for detectors that count frames; None: 25.

        Raises:
            MissingExtra: PySceneDetect is not installed.
            RecipeError: a name that PySceneDetect does not have.
        """
        try:
            import scenedetect
            from scenedetect import detectors
        except ImportError as cause:
            raise MissingExtra(
                f"scan.detectors names {', '.join(names)}, and PySceneDetect is not installed",
                step="scan",
                mend="pip install 'rushes[scenedetect]', or leave scan.detectors empty",
            ) from cause
        self.columns = scenedetect_columns(names)
        make: Any = scenedetect
        self._timecode: Callable[[int], Any] = lambda pts: make.FrameTimecode(make.common.Timecode(pts, time_base), fps or 25.0)
        self._seconds_of_tick = float(time_base)
        self._detectors = [_Detector(name, _class_of(name, detectors)(min_scene_len=0)) for name in names]
        self._first: int | None = None
        self._t: list[float] = []

    def push(self, views: Views, on_grid: bool) -> None:
        """Take the next frame; `on_grid` does not matter here."""
        self.push_bgr(views.bgr, views.pts)

    def push_bgr(self, bgr: U8, pts: int) -> None:
        """Take the next frame as (h, w, 3) uint8 BGR with its pts."""
        self._first = pts if self._first is None else self._first
        self._t.append((pts - self._first) * self._seconds_of_tick)
        code = self._timecode(pts - self._first)
        for one in self._detectors:
            one.values.append(np.nan)
            one.cuts += [cut.seconds for cut in one.detector.process_frame(code, bgr)]
        self._last = code

    def finish(self) -> dict[str, npt.NDArray[np.float32]]:
        """The signals named in `columns`, float32, one value a frame."""
        t = np.array(self._t)
        out: dict[str, npt.NDArray[np.float32]] = {}
        for one in self._detectors:
            flags = np.zeros(len(t), np.float32)
            if len(t):
                found = one.cuts + [cut.seconds for cut in one.detector.post_process(self._last)]
                flags[[int(np.argmin(np.abs(t - s))) for s in found]] = 1.0
            out[f"psd_{one.name}"] = flags
            out[f"psd_{one.name}_value"] = np.array(one.values, np.float32)
        return out


class _Detector:
    """One detector, its cuts and its metric. It is given to the detector in place of PySceneDetect's StatsManager, of which only these two
    methods are called, because the StatsManager keeps the metrics of all frames.
    """

    def __init__(self, name: str, detector: Any) -> None:
        self.name = name
        self.detector = detector
        self.cuts: list[float] = []
        self.values: list[float] = []
        self._metric = (detector.get_metrics() or [""])[0]
        if name not in ("content", "adaptive"):  # with a stats manager these two also compute edges, which takes ten times as long
            detector.stats_manager = self

    def metrics_exist(self, timecode: Any, keys: list[str]) -> bool:
        """False: no metric is known before the detector has computed it."""
        return False

    def set_metrics(self, timecode: Any, metrics: dict[str, float]) -> None:
        """Keep the first metric of the present frame."""
        self.values[-1] = metrics.get(self._metric, self.values[-1])


def _class_of(name: str, detectors: Any) -> Any:
    """The class NAMEDetector of `scenedetect.detectors`."""
    known = sorted(key.removesuffix("Detector").lower() for key in vars(detectors) if key.endswith("Detector"))
    if name not in known:
        raise RecipeError(f"scan.detectors has {name!r}, which PySceneDetect does not", step="scan", mend=f"choose from {', '.join(known)}")
    return getattr(detectors, f"{name.capitalize()}Detector")
