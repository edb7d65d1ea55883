"""A clip of pictures that Rushes draws itself, shaped like a clip of the footage, for the request that tries out a caption server.

No picture of the footage is in it, so that a server which is not the one that was meant gets nothing of anyone's.
"""

from __future__ import annotations

from rushes.captions.request import Request
from rushes.recipe import FrameSettings

MARK = b"Rushes test picture"
"""Stands in each picture as a JPEG comment, so that those who run a server can tell such a request from others."""
CLIP_ID = "rushes-test-clip"
ASPECT = 16 / 9
GRAIN = 7.0
"""Standard deviation of the grain, 8-bit levels: it makes the JPEG of such a picture about as large as one of ordinary footage (0.1
to 0.2 bytes a pixel at quality 85), so that a server's limit on the size of a request is met here, too."""


def sample_clip(frames: FrameSettings) -> Request:
    """A clip of `frames.per_clip` pictures of 16:9, `frames.short_side_px` high: a light disc that moves from left to right over a grey
    ground with grain. The same settings always give the same bytes.
    """
    step_s = 1.0 / frames.per_s
    length_s = frames.per_clip * step_s
    pictures = tuple(_picture(frames, (k + 0.5) / frames.per_clip, seed=k) for k in range(frames.per_clip))
    times_s = tuple(k * step_s for k in range(frames.per_clip))
    return Request(CLIP_ID, pictures, times_s, {"duration_s": length_s}, "a clip of test pictures", (0.0, length_s))


def _picture(frames: FrameSettings, place: float, seed: int) -> bytes:
    """One JPEG; `place`: how far the disc has come, 0 (left) to 1 (right)."""
    import cv2
    import numpy as np

    height, width = frames.short_side_px, round(frames.short_side_px * ASPECT)
    ground = np.tile(np.linspace(70.0, 140.0, height, dtype=np.float32)[:, None, None], (1, width, 3))
    grain = np.random.default_rng(seed).normal(0.0, 1.0, (height, width, 1)).astype(np.float32)
    smooth = cv2.GaussianBlur(grain, (0, 0), 0.8)[:, :, None]
    picture = np.clip(ground + smooth * (GRAIN / float(smooth.std())), 0.0, 255.0).astype(np.uint8)
    cv2.circle(picture, (round(place * width), height // 2), height // 6, (90, 220, 250), -1)
    ok, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, frames.quality])
    if not ok:
        raise ValueError(f"a test picture of {width} x {height} could not be encoded as JPEG")
    jpeg = data.tobytes()
    comment = b"\xff\xfe" + (len(MARK) + 2).to_bytes(2, "big") + MARK  # ITU-T T.81, B.2.4.5: a comment's length counts itself
    return jpeg[:2] + comment + jpeg[2:]
