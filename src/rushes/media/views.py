"""A decoded frame's small views, each made at most once and only when asked for.

The order of shrinking is what makes the pass cheap: one swscale call takes the frame to `small` (long side 256, studio-range
YUV 4:2:0); everything that is looked at for every frame comes from there. `luma` (long side 640) and the native planes are
touched only on the grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from av import VideoFrame

U8 = npt.NDArray[np.uint8]

SMALL_LONG_SIDE = 256
"""PySceneDetect's analysis width (scene_manager.DEFAULT_MIN_WIDTH)."""
LUMA_LONG_SIDE = 640
"""The grid's luma is the picture halved until its long side is at most this: OpenCV halves ten times faster than it scales by area."""
THUMB = (32, 18)
"""Width and height of the blend test's thumbnail, whatever the video's shape."""
THUMB_SIZE = THUMB[0] * THUMB[1] * 3 // 2
"""Values of a thumbnail: luma, and both colour planes at half size."""


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
    diagonal: float
    """Diagonal of the motion view in its own pixels."""

    @classmethod
    def of(cls, width: int, height: int) -> Shape:
        """Sizes for a coded width and height in pixels."""
        small = fit(width, height, SMALL_LONG_SIDE, step=4)  # so that its half has whole chroma planes too
        motion = (small[0] // 2, small[1] // 2)
        return cls(small, motion, halved(width, height, LUMA_LONG_SIDE), float(np.hypot(*motion)))


class Shrinker:
    """Holds the swscale contexts of one video, so that no frame pays for their set-up."""

    def __init__(self, shape: Shape) -> None:
        from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

        self.shape = shape
        width, height = shape.motion
        self.packed = np.empty((height * 3 // 2, width), np.uint8)
        """One frame's `motion` view with its colour planes below, as OpenCV wants I420; overwritten by the next frame."""
        self.bgr = np.empty((height, width, 3), np.uint8)
        self._small = VideoReformatter()
        self._luma = VideoReformatter()
        self._fast = Interpolation.FAST_BILINEAR
        self._area = Interpolation.AREA
        self._studio = ColorRange.MPEG

    def small(self, frame: VideoFrame) -> VideoFrame:
        """The frame as studio-range yuv420p of `shape.small`."""
        width, height = self.shape.small
        return self._small.reformat(
            frame, width, height, "yuv420p", interpolation=self._fast, dst_color_range=self._studio, threads=1
        )

    def luma(self, frame: VideoFrame) -> VideoFrame:
        """The frame's luma as gray of `shape.luma`, for formats whose luma plane cannot be used as it is."""
        width, height = self.shape.luma
        return self._luma.reformat(
            frame, width, height, "yuv420p", interpolation=self._area, dst_color_range=self._studio, threads=1
        )


def plane(frame: VideoFrame, index: int, width: int, height: int) -> U8:
    """One 8-bit plane as an array (height, width), without a copy; valid while the frame lives."""
    p: Any = frame.planes[index]
    return np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[:height, :width]


def _halve(picture: U8, size: tuple[int, int], out: U8 | None) -> U8:
    return cv2.resize(picture, size, dst=out, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


class Views:
    """One frame and what signals want to see of it. Use within the turn of the loop: the next frame's views overwrite these.

    Attributes:
        frame: the decoded picture, not rotated.
        pts: its integer pts.
        t: seconds since the video's first frame.
        full_range: luma runs 0..255 (True) or 16..235 (False) in the native planes.
    """

    def __init__(
        self, frame: VideoFrame, pts: int, t: float, shrinker: Shrinker, *, full_range: bool, motion_out: U8 | None = None, thumb_out: U8 | None = None
    ) -> None:
        """`motion_out` (h, w) and `thumb_out` (864,) are where `motion` and `thumb` are written, if given; those two stay valid."""
        self.frame = frame
        self.pts = pts
        self.t = t
        self.full_range = full_range
        self._shrinker = shrinker
        self._motion_out = motion_out
        self._thumb_out = thumb_out

    @cached_property
    def _small(self) -> VideoFrame:
        return self._shrinker.small(self.frame)

    @cached_property
    def small_y(self) -> U8:
        """Luma of the small view, (h, w), studio range 16..235 whatever the source's range."""
        width, height = self._shrinker.shape.small
        return plane(self._small, 0, width, height)

    @cached_property
    def motion(self) -> U8:
        """Half the small luma, (h, w), long side 128, studio range, area-averaged."""
        return _halve(self.small_y, self._shrinker.shape.motion, self._motion_out)

    @cached_property
    def _colour(self) -> tuple[U8, U8]:
        """U and V at half the size of `motion`, area-averaged."""
        width, height = self._shrinker.shape.motion
        out = self._shrinker.packed[height:].reshape(2, height // 2, width // 2)
        u, v = (_halve(plane(self._small, i + 1, width, height), (width // 2, height // 2), out[i]) for i in (0, 1))
        return u, v

    @cached_property
    def bgr(self) -> U8:
        """`motion` and its colour as BGR, (h, w, 3), long side 128: what PySceneDetect's formula is applied to.

        PySceneDetect looks at a long side of 256; the mean over the picture is nearly the same at half of that, for a third of the cost.
        """
        packed = self._shrinker.packed
        packed[: self._shrinker.shape.motion[1]] = self.motion
        _ = self._colour  # written into `packed` as well
        return cv2.cvtColor(packed, cv2.COLOR_YUV2BGR_I420, dst=self._shrinker.bgr)  # type: ignore[return-value]

    @cached_property
    def thumb(self) -> U8:
        """(864,) = 32 x 18 luma, then 16 x 9 U, then 16 x 9 V: area averages, for the blend test."""
        width, height = THUMB
        out = np.empty(THUMB_SIZE, np.uint8) if self._thumb_out is None else self._thumb_out
        luma, colour = out[: width * height].reshape(height, width), out[width * height :].reshape(2, height // 2, width // 2)
        cv2.resize(self.motion, THUMB, dst=luma, interpolation=cv2.INTER_AREA)
        for plane_in, plane_out in zip(self._colour, colour, strict=True):
            cv2.resize(plane_in, (width // 2, height // 2), dst=plane_out, interpolation=cv2.INTER_AREA)
        return out

    @cached_property
    def native(self) -> npt.NDArray[Any] | None:
        """The luma plane at native resolution, (h, w) uint8 or uint16, without a copy; None for RGB and packed formats."""
        fmt = self.frame.format
        if fmt.is_rgb or not fmt.is_planar or fmt.is_big_endian:
            if not fmt.name.startswith("gray") or fmt.is_big_endian:
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
            return plane(self._shrinker.luma(self.frame), 0, *size)
        picture = native[::2] if self.frame.interlaced_frame else native
        while picture.shape[1] // 2 >= size[0] and picture.shape[0] // 2 >= size[1]:
            height, width = picture.shape[0] // 2, picture.shape[1] // 2
            picture = cv2.resize(picture[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        if picture.shape != size[::-1]:
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        return picture

    @property
    def luma_full_range(self) -> bool:
        """Whether `luma` runs 0..255."""
        return self.full_range and self.native is not None and self.native.dtype == np.uint8


@dataclass(frozen=True, slots=True)
class Batch:
    """Small views of consecutive frames, stacked so that signals can be computed for many frames at once.

    Attributes:
        t: (n,) seconds since the video's first frame, increasing.
        motion: (n, h, w) uint8, see `Views.motion`.
        thumb: (n, 864) uint8, see `Views.thumb`.
    """

    t: npt.NDArray[np.float64]
    motion: U8
    thumb: U8


def pixel_aspect(sar: Fraction | None) -> float:
    """Width of a pixel divided by its height; 1.0 where the stream does not say."""
    return float(sar) if sar else 1.0
