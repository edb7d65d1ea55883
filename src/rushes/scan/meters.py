"""The meters of the one pass, in one written list. A meter that is added to this list is run, stored and shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rushes.media.batch import Batch
from rushes.media.views import Views
from rushes.recipe import TRANSNET, Recipe, ScanSettings
from rushes.records import Column, VideoFacts
from rushes.scan.blend import Blend
from rushes.scan.content import Content
from rushes.scan.dense import DenseMotion
from rushes.scan.exposure import Exposure
from rushes.scan.grid import Grid
from rushes.scan.motion import GlobalMotion
from rushes.scan.scenedetect_meters import PySceneDetectMeters, scenedetect_columns
from rushes.scan.transnet import TransNet, check_installed


class Meter(Protocol):
    """What all meters have in common: they declare their columns, and give one float32 value for each frame and column at the end."""

    columns: tuple[Column, ...]

    def finish(self) -> dict[str, npt.NDArray[np.float32]]:
        """The signals: for each column, one value a frame that was pushed."""
        ...


class FrameMeter(Meter, Protocol):
    """A meter that takes one frame at a time. `per_s`: how many frames a second it measures, on a grid in time that begins at the first
    frame; None: it measures every frame.
    """

    per_s: float | None

    def push(self, views: Views, on_grid: bool) -> None:
        """Takes the next frame, in order of pts. `on_grid`: whether it lies on the meter's grid."""
        ...


class BatchMeter(Meter, Protocol):
    """A meter that takes many frames at a time."""

    def push(self, batch: Batch) -> None:
        """Takes the next frames, in order of pts."""
        ...


@dataclass(frozen=True, slots=True)
class Meters:
    """The meters of one pass, by whether they take one frame at a time or a batch."""

    by_frame: tuple[FrameMeter, ...]
    by_batch: tuple[BatchMeter, ...]


def make_meters(facts: VideoFacts, recipe: Recipe) -> Meters:
    """Fresh meters for one video."""
    settings = recipe.scan
    detectors: list[FrameMeter] = [PySceneDetectMeters(settings.scenedetect, facts.time_base, facts.fps)] if settings.scenedetect else []
    if TRANSNET in settings.detectors:
        detectors.append(TransNet(on_gpu=recipe.resources["scan"].gpus > 0))
    return Meters(
        by_frame=(Grid(settings.grid_per_s), DenseMotion(), *detectors),
        by_batch=(Content(), Exposure(hdr=facts.hdr), GlobalMotion(), Blend()),
    )


def check_detectors(settings: ScanSettings) -> None:
    """Makes sure that the network is installed, where the pass is to run it. Nothing is imported.

    Raises:
        MissingExtra: it is not.
    """
    if TRANSNET in settings.detectors:
        check_installed()


def all_columns(settings: ScanSettings) -> tuple[Column, ...]:
    """The columns of all signals that a scan with these settings gives, in order."""
    kinds = (Content, Grid, DenseMotion, Exposure, GlobalMotion, Blend, *((TransNet,) if TRANSNET in settings.detectors else ()))
    return (*(column for kind in kinds for column in kind.columns), *scenedetect_columns(settings.scenedetect))
