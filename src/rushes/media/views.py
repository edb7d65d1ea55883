"""Small views of a decoded frame, each made only when it is asked for, and at most once.

One swscale call shrinks the frame to `small` (long side 256, studio-range YUV 4:2:0). All views that are needed of every frame are made
from `small`, which is what makes the pass cheap. `luma` (long side 640) and the native planes are read only for frames on the grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from rushes.media.frame_tags import is_grey

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.reformatter import ColorRange

U8 = npt.NDArray[np.uint8]

SMALL_LONG_SIDE = 256
"""PySceneDetect's analysis width (scene_manager.DEFAULT_MIN_WIDTH)."""
LUMA_LONG_SIDE = 640
"""The grid's luma is the picture halved until its long side is at most this: OpenCV halves ten times faster than it scales by area."""
THUMB = (32, 18)
"""Width and height of the blend test's thumbnail, whatever the video's shape."""
THUMB_SIZE = THUMB[0] * THUMB[1]
"""Values of a thumbnail: luma alone, so that what is found by it does not depend on colour."""


def fit(width: int, height: int, long_side: int, *, step: int = 2) -> tuple[int, int]:
    """(width, height) in multiples of `step` with the given long side, never upscaled, at least 16 px each."""
    scale = min(1.0, long_side / max(width, height))
    return max(16, round(width * scale / step) * step), max(16, round(height * scale / step) * step)


def halved(width: int, height: int, long_side: int) -> tuple[int, int]:
    """(width, height) halved until neither is above `long_side`; at least 16 px each."""
    while max(width, height) > long_side:
        width, height = width // 2, height // 2
    return max(16, width), max(16, height)


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the views of one video, fixed at its first frame so that series stay comparable when the stream changes size."""

    small: tuple[int, int]
    motion: tuple[int, int]
    luma: tuple[int, int]

    @classmethod
    def of(cls, width: int, height: int) -> Shape:
        """Sizes for a coded width and height in pixels."""
        small = fit(width, height, SMALL_LONG_SIDE, step=4)  # so that its half has whole chroma planes too
        motion = (small[0] // 2, small[1] // 2)
        return cls(small, motion, halved(width, height, LUMA_LONG_SIDE))


class Shrinker:
    """Keeps the swscale contexts of one video, so that they are set up once and not for each frame."""

    def __init__(self, shape: Shape) -> None:
        from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

        self.shape = shape
        self._small = VideoReformatter()
        self._luma = VideoReformatter()
        self._fast = Interpolation.FAST_BILINEAR
        self._area = Interpolation.AREA
        self._studio, self._full = ColorRange.MPEG, ColorRange.JPEG

    def small(self, frame: VideoFrame, *, full_range: bool) -> VideoFrame:
        """The frame as studio-range yuv420p of `shape.small`."""
        width, height = self.shape.small
        return self._small.reformat(
            frame, width, height, "yuv420p", interpolation=self._fast, dst_color_range=self._range(frame, full_range), threads=1
        )

    def luma(self, frame: VideoFrame, *, full_range: bool) -> VideoFrame:
        """The frame's luma as gray of `shape.luma`, for formats whose luma plane cannot be used as it is."""
        width, height = self.shape.luma
        return self._luma.reformat(
            frame, width, height, "yuv420p", interpolation=self._area, dst_color_range=self._range(frame, full_range), threads=1
        )

    def _range(self, frame: VideoFrame, full_range: bool) -> ColorRange:
        """The range to ask swscale for, so that studio range comes out. It takes all grey pictures for full range and would squeeze those
        that are in studio range already; asked for full range, it leaves their codes alone.
        """
        return self._full if is_grey(frame) and not full_range else self._studio


def planes(frame: VideoFrame) -> list[U8]:
    """The 8-bit planes of a frame as arrays (height, width), without a copy; valid while the frame lives."""
    return [np.ndarray((p.height, p.width), np.uint8, p, 0, (p.line_size, 1)) for p in cast("Any", frame.planes)]


class Views:
    """One decoded frame and its views. Do not keep it after the next frame has come: it keeps the frame's memory in use.

    Attributes:
        frame: the decoded picture, not rotated.
        pts: its integer pts.
        t: seconds since the video's first frame.
        full_range: luma runs 0..255 (True) or 16..235 (False) in the native planes.
    """

    def __init__(
        self,
        frame: VideoFrame,
        pts: int,
        t: float,
        shrinker: Shrinker,
        *,
        full_range: bool,
        motion_out: U8 | None = None,
        colour_out: U8 | None = None,
    ) -> None:
        """`motion_out` (h, w) and `colour_out` (2, h / 2, w / 2) are where `motion` and `colour` are written, if given."""
        self.frame = frame
        self.pts = pts
        self.t = t
        self.full_range = full_range
        self._shrinker = shrinker
        self._motion_out = motion_out
        self._colour_out = colour_out

    @cached_property
    def _small(self) -> list[U8]:
        """Y, U and V of the small view."""
        return planes(self._shrinker.small(self.frame, full_range=self.full_range))

    @cached_property
    def motion(self) -> U8:
        """Luma, (h, w), long side 128, studio range 16..235 whatever the source's range, area-averaged."""
        return cv2.resize(self._small[0], self._shrinker.shape.motion, dst=self._motion_out, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]

    @cached_property
    def colour(self) -> U8:
        """U and V, (2, h / 2, w / 2), at half the size of `motion`, area-averaged."""
        width, height = self._shrinker.shape.motion
        out = np.empty((2, height // 2, width // 2), np.uint8) if self._colour_out is None else self._colour_out
        for i in (0, 1):
            cv2.resize(self._small[i + 1], (width // 2, height // 2), dst=out[i], interpolation=cv2.INTER_AREA)
        return out

    @cached_property
    def bgr(self) -> U8:
        """The small view as BGR, (h, w, 3), long side 256: what PySceneDetect's own detectors look at when they run inside the pass."""
        height = self._shrinker.shape.small[1]
        packed = np.concatenate([one.ravel() for one in self._small]).reshape(height * 3 // 2, -1)
        return cv2.cvtColor(packed, cv2.COLOR_YUV2BGR_I420)  # type: ignore[return-value]

    @cached_property
    def native(self) -> npt.NDArray[Any] | None:
        """The luma plane at native resolution, (h, w) uint8 or uint16, without a copy; None for RGB and packed formats."""
        fmt = self.frame.format
        luma_first = not fmt.is_rgb and fmt.is_planar
        if fmt.is_big_endian or not (luma_first or fmt.name.startswith("gray")):
            return None
        p: Any = self.frame.planes[0]
        deep = fmt.components[0].bits > 8
        kind = np.uint16 if deep else np.uint8
        rows = np.frombuffer(p, kind).reshape(-1, p.line_size // (2 if deep else 1))
        return rows[: self.frame.height, : self.frame.width]

    @property
    def bits(self) -> int:
        """Bit depth of `native`."""
        return self.frame.format.components[0].bits

    @cached_property
    def luma(self) -> U8:
        """Luma halved until its long side is at most 640, (h, w), area-averaged; one field of an interlaced frame.

        Studio or full range as the source has it (`luma_full_range`).
        """
        size = self._shrinker.shape.luma
        native = self.native
        if native is None or native.dtype != np.uint8:
            return planes(self._shrinker.luma(self.frame, full_range=self.full_range))[0]
        picture = native[::2] if self.frame.interlaced_frame else native
        while picture.shape[1] // 2 >= size[0] and picture.shape[0] // 2 >= size[1]:
            height, width = picture.shape[0] // 2, picture.shape[1] // 2
            picture = cv2.resize(picture[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
        if picture.shape != size[::-1]:
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        return picture

    @property
    def luma_full_range(self) -> bool:
        """Whether `luma` runs 0..255."""
        return self.full_range and self.native is not None and self.native.dtype == np.uint8
