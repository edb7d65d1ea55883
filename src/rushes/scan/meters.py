"""The meters of the one pass, in one written list. A new signal is added here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rushes.media.batch import Batch
from rushes.media.views import Views
from rushes.recipe import ScanSettings
from rushes.records import Column, VideoFacts
from rushes.scan.blend import Blend
from rushes.scan.content import Content
from rushes.scan.dense import DenseMotion
from rushes.scan.exposure import Exposure
from rushes.scan.grid import Grid
from rushes.scan.motion import GlobalMotion
from rushes.scan.scenedetect_meters import PySceneDetectMeters, scenedetect_columns


class Meter(Protocol):
    """What all meters have in common: declared columns, and one float32 value a frame at the end."""

    columns: tuple[Column, ...]

    def finish(self) -> dict[str, npt.NDArray[np.float32]]:
        """The signals: for each column, one value a frame that was pushed."""
        ...


class FrameMeter(Meter, Protocol):
    """A meter that looks at one frame at a time: at all, or at `per_s` frames a second of a grid in time anchored at the first frame."""

    per_s: float | None

    def push(self, views: Views, on_grid: bool) -> None:
        """Takes the next frame, in order of pts."""
        ...


class BatchMeter(Meter, Protocol):
    """A meter that looks at many frames at once."""

    def push(self, batch: Batch) -> None:
        """Takes the next frames, in order of pts."""
        ...


@dataclass(frozen=True, slots=True)
class Meters:
    """The meters of one pass, by whether they take one frame at a time or a batch."""

    by_frame: tuple[FrameMeter, ...]
    by_batch: tuple[BatchMeter, ...]


def make_meters(facts: VideoFacts, settings: ScanSettings) -> Meters:
    """Fresh meters for one video."""
    scenedetect = (PySceneDetectMeters(settings.detectors, facts.time_base, facts.fps),) if settings.detectors else ()
    return Meters(
        by_frame=(Grid(settings.grid_per_s), DenseMotion(), *scenedetect),
        by_batch=(Content(), Exposure(hdr=facts.hdr), GlobalMotion(), Blend()),
    )


def all_columns(settings: ScanSettings) -> tuple[Column, ...]:
    """The signals that these meters give, in order."""
    kinds = (Content, Grid, DenseMotion, Exposure, GlobalMotion, Blend)
    return (*(column for kind in kinds for column in kind.columns), *scenedetect_columns(settings.detectors))
