"""The frames of a clip as one small video, for servers that take videos."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from rushes.captions.sample import MARK

if TYPE_CHECKING:
    from av import VideoFrame

TIME_BASE = Fraction(1, 1000)
"""Frames have their times to the millisecond; a second frame within the same one comes a millisecond later."""
CRF = 20
"""x264's constant rate factor. Six frames each of 40 real videos: SSIM of luma against the JPEGs 0.99 in the middle and 0.89 at least; 0.92
of the bytes of the JPEGs in the middle, and 1.47 of them at most."""


def mp4_of(frames: Sequence[bytes], times_s: Sequence[float]) -> bytes:
    """An mp4 (H.264, 4:2:0) with these pictures, each at its time after the first.

    Every picture is a key frame, so that a server may take any of them without the others. Width and height lose a row or column where
    they are odd, as 4:2:0 wants. A picture of another size than the first is scaled to that. The mark of test pictures is kept, as the
    file's comment.

    Args:
        frames: JPEG bytes, at least one, in order of time.
        times_s: seconds of each.
    """
    import av

    pictures = [_decoded(jpeg) for jpeg in frames]
    width, height = (max(2, side & ~1) for side in (pictures[0].width, pictures[0].height))
    rate = Fraction(len(times_s) - 1, 1) / Fraction(max(times_s[-1] - times_s[0], 0.001)) if len(times_s) > 1 else Fraction(1)
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        if MARK in frames[0]:
            file.metadata["comment"] = MARK.decode()
        stream = file.add_stream("libx264", rate=rate.limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(CRF), "preset": "veryfast", "g": "1", "threads": "1"}
        stream.codec_context.time_base = TIME_BASE
        last = -1
        for picture, at_s in zip(pictures, times_s, strict=True):
            shaped = picture.reformat(width, height, "yuv420p", dst_color_range="MPEG")
            shaped.time_base, shaped.pts = TIME_BASE, max(round((at_s - times_s[0]) / TIME_BASE), last + 1)
            last = shaped.pts
            file.mux(stream.encode(shaped))
        file.mux(stream.encode(None))
    return out.getvalue()


def _decoded(jpeg: bytes) -> VideoFrame:
    import av

    with av.open(io.BytesIO(jpeg), "r", format="mjpeg") as file:
        return next(file.decode(video=0))
