"""What a frame and its stream say about how the picture is to be seen: which way up, the shape of its pixels, its range, its matrix."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rushes.records import Orientation

if TYPE_CHECKING:
    from av import VideoFrame

BELIEVED_PIXELS = Fraction(32, 11)
"""The widest pixel that ITU-T H.264, table E-1, names, as width over height; the narrowest believed is as many times as high as wide. A
shape beyond these is taken for a wrong entry in the file, and the pixels count as square."""
STUDIO_UNLESS_TAGGED = {"h264", "hevc", "vvc", "av1", "vp8", "vp9", "mpeg4", "mpeg2video", "mpeg1video"}
"""Codecs whose specification says that luma without a tag runs from 16 to 235 (ITU-T H.264 and H.265, E.2.1 and E.3.1), also where there
is no colour. Others, such as FFV1, code grey pictures as libav converts them, from 0 to 255."""
HD_HEIGHT = 720
"""Footage without a colour tag is read as BT.709 from this height on, pixels, and as BT.601 below, as players usually do."""
BT709, FCC, BT601, SMPTE240M, BT2020 = 1, 4, 5, 7, 9
"""Matrices, by their numbers in ITU-T H.273, table 4, which are those of swscale too."""
MATRICES = {1: BT709, 4: FCC, 5: BT601, 6: BT601, 7: SMPTE240M, 9: BT2020, 10: BT2020}
"""Tag -> matrix. 10 is BT.2020 with constant luminance, which swscale does not have; 9 comes near."""


def orientation(frame: VideoFrame) -> Orientation:
    """How the picture must be mirrored and rotated to be upright, from the frame's display matrix.

    The matrix (a b; c d) takes the point (x, y) to (a x + c y, b x + d y), y downwards (ISO/IEC 14496-12, 6.2.2; libavutil/display.h). It
    may also ask for an odd angle or a scale: then the nearest of the eight ways to put a picture on a rectangle is meant, as players do.
    """
    try:
        sides: Any = frame.side_data
    except ValueError:  # PyAV 18 cannot list side data with kinds that it does not know, as stereo HEVC has; it still gives the angle
        return Orientation(round(-frame.rotation / 90) * 90 % 360)
    data = next((bytes(side) for side in sides if side.type.name == "DISPLAYMATRIX"), b"")
    if len(data) < 20:
        return Orientation()
    a, b, _, c, d = (float(entry) for entry in struct.unpack_from("=5i", data))
    x, y = max(1.0, math.hypot(a, c)), max(1.0, math.hypot(b, d))  # the scale of each side

    def likeness(way: Orientation) -> float:
        (p, q), (r, s) = way.matrix
        return (p * a + q * c) / x + (r * b + s * d) / y

    return max(Orientation.all(), key=likeness)


def pixel_aspect(stated: Fraction | None) -> Fraction:
    """Width of a pixel divided by its height; 1 where the stream does not say, or says what is beyond belief."""
    return stated if stated is not None and 1 / BELIEVED_PIXELS <= stated <= BELIEVED_PIXELS else Fraction(1)


def full_range(frame: VideoFrame, codec: str) -> bool:
    """Whether luma runs over the whole of its bits rather than 16..235 (times 4 for 10 bits, and so on).

    Args:
        frame: a decoded frame.
        codec: libav's canonical name of the codec, which decides about grey pictures without a tag.
    """
    if is_rgb(frame) or frame.format.name.startswith("yuvj"):
        return True
    tag = int(frame.color_range)
    return tag == 2 or (tag != 1 and is_grey(frame) and codec not in STUDIO_UNLESS_TAGGED)


def is_rgb(frame: VideoFrame) -> bool:
    """Whether the frame holds RGB, as such or by a palette: then no matrix made it."""
    return frame.format.is_rgb or frame.format.has_palette


def is_grey(frame: VideoFrame) -> bool:
    """Whether the frame has luma only (or luma and alpha), which swscale takes for full range, whatever its tag says."""
    return frame.format.name.startswith(("gray", "ya8", "ya16"))


def matrix(frame: VideoFrame, *, hdr: bool) -> int:
    """The matrix that made the frame's luma and colour of RGB: the tagged one, else that which is usual for its size. HDR is BT.2020."""
    usual = BT2020 if hdr else BT709 if frame.height >= HD_HEIGHT else BT601
    return MATRICES.get(int(frame.colorspace), usual)
