"""What LeRobot has to know of a clip file: that its frames are evenly spaced, and how its pictures are distributed."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from rushes.media import storage
from rushes.publish.film_facts import opened_film
from rushes.publish.lerobot_stats import LEVELS, Stats, picture_stats

LONG_SIDE_PX = 150
"""Pictures are made about so small before they are counted, as LeRobot does."""
TOLERANCE_S = 1e-4
"""How far LeRobot lets a frame be from its time on the grid (`tolerance_s` of `LeRobotDataset`)."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was found in a clip file.

    Attributes:
        times: of its frames, seconds, in order.
        pictures: statistics of its key frames.
        has_audio: whether it has sound.
    """

    times: tuple[Fraction, ...]
    pictures: Stats
    has_audio: bool

    @property
    def rate(self) -> Fraction:
        """Frames a second, if they are evenly spaced; a file of one frame counts as 1."""
        length = self.times[-1] - self.times[0]
        return (Fraction(len(self.times) - 1) / length).limit_denominator(1001) if length else Fraction(1)

    def unlike(self, fps: Fraction) -> int | None:
        """The first frame that is not at its time on the grid; None: all are."""
        return next((k for k, time in enumerate(self.times) if abs(time - k / fps) > TOLERANCE_S), None)


def look_at(uri: str, options: storage.Options) -> Look:
    """Reads a clip file once; decodes its key frames.

    Raises:
        StorageError: it cannot be read.
    """
    levels, n, times = np.zeros((3, LEVELS), np.int64), 0, []
    with opened_film(uri, options) as container:
        stream = container.streams.video[0]
        stream.codec_context.skip_frame = "NONKEY"
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None:
                times.append(packet.pts * Fraction(packet.time_base))
            for frame in packet.decode():
                by = max(1, max(frame.width, frame.height) // LONG_SIDE_PX)
                small = frame.to_ndarray(format="rgb24")[::by, ::by]
                levels += [np.bincount(small[..., colour].ravel(), minlength=LEVELS) for colour in range(3)]
                n += 1
        has_audio = bool(container.streams.audio)
    return Look(tuple(sorted(times)), picture_stats(levels, n), has_audio)
