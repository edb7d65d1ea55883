"""Encodes decoded frames as upright JPEGs with square pixels, for models and people to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from rushes.media.frame_tags import BT709, is_grey, is_rgb, matrix
from rushes.media.tone import to_sdr
from rushes.media.views import planes
from rushes.records import VideoFacts

if TYPE_CHECKING:
    from av import VideoFrame

ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


class JpegWriter:
    """Scales, turns upright and encodes the frames of one video. HDR is mapped to SDR (`media/tone.py`).

    Args:
        short_side_px: short side of the JPEG; a smaller video is not enlarged.
        quality: JPEG quality, 1 to 100.
    """

    def __init__(self, short_side_px: int, quality: int) -> None:
        from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

        self._short = short_side_px
        self._options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        self._scaler, self._converter = VideoReformatter(), VideoReformatter()
        self._area, self._plain = Interpolation.AREA, Interpolation.BILINEAR
        # To 8 bits, colours are off by up to 3 without these flags; to 16 bits they are exact without, and wrong with them (swscale 9.5).
        self._exact = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
        self._ranges = {True: ColorRange.JPEG, False: ColorRange.MPEG}

    def encode(self, frame: VideoFrame, facts: VideoFacts) -> tuple[bytes, int, int]:
        """JPEG bytes, width and height of the upright picture."""
        width, height = frame.width * facts.sar, float(frame.height)
        scale = min(1.0, self._short / min(width, height))
        size = max(2, round(width * scale)), max(2, round(height * scale))
        picture: npt.NDArray[Any] = self._hdr(frame, facts, size) if facts.hdr else self._sdr(frame, facts, size)
        if facts.mirrored:
            picture = cv2.flip(picture, 1)
        if facts.rotation:
            picture = cv2.rotate(picture, ROTATIONS[facts.rotation])
        ok, data = cv2.imencode(".jpg", picture, self._options)
        if not ok:
            raise ValueError(f"a frame of {size[0]} x {size[1]} could not be encoded as JPEG")
        return data.tobytes(), picture.shape[1], picture.shape[0]

    def _scaled(self, frame: VideoFrame, facts: VideoFacts, size: tuple[int, int], pixels: str) -> VideoFrame:
        """The frame scaled as YUV, since swscale converts the smaller picture to RGB much faster. Its range stays as it was."""
        if is_rgb(frame):
            return frame
        full = facts.color_range == "full"
        kept = self._ranges[full or is_grey(frame)]  # swscale takes grey for full range, and so leaves its codes as they are
        small = self._scaler.reformat(frame, *size, pixels, interpolation=self._area, dst_color_range=kept, threads=1)
        small.color_range = self._ranges[full]
        return small

    def _sdr(self, frame: VideoFrame, facts: VideoFacts, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        small = self._scaled(frame, facts, size, "yuv420p")
        how = matrix(frame, hdr=False)
        small = self._converter.reformat(small, *size, "gbrp", src_colorspace=how, interpolation=self._exact, threads=1)
        green, blue, red = planes(small)  # three planes take 60 % of the time of bgr24, with the same values
        return cv2.merge((blue, green, red))  # type: ignore[return-value]

    def _hdr(self, frame: VideoFrame, facts: VideoFacts, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        small = self._scaled(frame, facts, size, "yuv420p10le")
        how = matrix(frame, hdr=True)
        small = self._converter.reformat(small, *size, "rgb48le", src_colorspace=how, interpolation=self._plain, threads=1)
        return to_sdr(_packed(small), facts.color_transfer or "", bt709_primaries=int(frame.color_primaries) == BT709)


def _packed(frame: VideoFrame) -> npt.NDArray[np.uint16]:
    """The packed 16-bit pixels of a frame, (h, w, 3), without a copy."""
    data: Any = frame.planes[0]
    rows = np.frombuffer(data, np.uint16).reshape(frame.height, -1)
    return rows[:, : frame.width * 3].reshape(frame.height, frame.width, 3)
