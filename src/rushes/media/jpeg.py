"""Encodes decoded frames as upright JPEGs with square pixels, for models and people to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from rushes.records import VideoFacts

if TYPE_CHECKING:
    from av import VideoFrame

HD_HEIGHT = 720
"""Footage without a colour tag is read as BT.709 from this height on, pixels, and as BT.601 below, as players usually do."""
ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


class JpegWriter:
    """Scales, rotates and encodes the frames of one video.

    Args:
        short_side_px: short side of the JPEG; a smaller video is not enlarged.
        quality: JPEG quality, 1 to 100.
    """

    def __init__(self, short_side_px: int, quality: int) -> None:
        from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

        self._short = short_side_px
        self._options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        self._scaler, self._converter = VideoReformatter(), VideoReformatter()
        self._area, self._plain = Interpolation.AREA, Interpolation.FAST_BILINEAR
        self._ranges = {True: ColorRange.JPEG, False: ColorRange.MPEG}
        self._matrices = {1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601}
        self._hd, self._sd = Colorspace.ITU709, Colorspace.ITU601

    def encode(self, frame: VideoFrame, facts: VideoFacts) -> tuple[bytes, int, int]:
        """JPEG bytes, width and height of the upright picture."""
        width, height = frame.width * facts.sar, float(frame.height)
        scale = min(1.0, self._short / min(width, height))
        size = max(2, round(width * scale)), max(2, round(height * scale))
        matrix = self._matrices.get(int(frame.colorspace), self._hd if frame.height >= HD_HEIGHT else self._sd)
        small = frame
        if not frame.format.is_rgb:  # scale as YUV first, since swscale converts the smaller picture to BGR much faster
            small = self._scaler.reformat(
                frame, *size, "yuv420p", interpolation=self._area, dst_color_range=self._ranges[facts.color_range == "full"], threads=1
            )
        small = self._converter.reformat(small, *size, "bgr24", src_colorspace=matrix, interpolation=self._plain, threads=1)
        p: Any = small.planes[0]
        picture: npt.NDArray[Any] = np.frombuffer(p, np.uint8).reshape(size[1], p.line_size)[:, : size[0] * 3].reshape(size[1], size[0], 3)
        if facts.rotation:
            picture = cv2.rotate(picture, ROTATIONS[facts.rotation])
        ok, data = cv2.imencode(".jpg", picture, self._options)
        if not ok:
            raise ValueError(f"a frame of {size[0]} x {size[1]} could not be encoded as JPEG")
        return data.tobytes(), picture.shape[1], picture.shape[0]
