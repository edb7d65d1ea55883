"""How clip files are encoded: codec, quality, size and frame rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Literal

from rushes.recipe import ClipSettings

VideoCodec = Literal["h264", "hevc", "vp9", "av1"]
NTSC = Fraction(1000, 1001)
"""Ratio of the frame rates of television (23.976, 29.97, 59.94) to whole numbers (SMPTE ST 170)."""
NTSC_ROUNDED = 0.005
"""A rate that is so near to a whole number times `NTSC` is taken for it; people write 29.97 for 30000/1001. Frames a second."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """One of libav's encoders, and the options that make it work on one thread at a speed near that of x264's `veryfast`.

    Attributes:
        name: libav's.
        options: of the encoder.
        tag: the four letters by which mp4 names the codec, where libav's choice is one that players of Apple do not take.
    """

    name: str
    options: Mapping[str, str]
    tag: str | None = None


ENCODERS: dict[str, Encoder] = {
    "h264": Encoder("libx264", {"preset": "veryfast"}),  # PySceneDetect's split_video_ffmpeg uses the same preset
    "hevc": Encoder("libx265", {"preset": "veryfast", "x265-params": "log-level=none:pools=none:frame-threads=1:open-gop=0"}, "hvc1"),
    "vp9": Encoder("libvpx-vp9", {"deadline": "good", "cpu-used": "4", "b": "0"}),  # b=0: quality is constant, no bit rate is aimed at
    "av1": Encoder("libsvtav1", {"preset": "8", "svtav1-params": "lp=1"}),
}
"""The encoder of each codec that `clips.codec` may name; all of them are in PyAV's libav."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How clips are encoded.

    Attributes:
        codec: a key of `ENCODERS`.
        crf: quality on the encoder's own scale, 0 (best) to 51; those of vp9 and av1 go on to 63.
        short_side_px: the short side of the picture as a player shows it, pixels; a smaller picture keeps its size. 0: as in the source.
        fps: frames a second, all shown equally long; each is the frame that the source shows at that time. 0: the source's own frames at
            their own times.
    """

    codec: VideoCodec = "h264"
    crf: int = 18
    short_side_px: int = 0
    fps: float = 0.0

    @property
    def rate(self) -> Fraction | None:
        """`fps` as a fraction; None where the source's own frames are kept."""
        if not self.fps:
            return None
        ntsc = round(self.fps / float(NTSC)) * NTSC
        if abs(self.fps - float(ntsc)) < NTSC_ROUNDED and round(self.fps) != self.fps:
            return ntsc
        return Fraction(self.fps).limit_denominator(1001)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The size in pixels at which a picture of `width` x `height` square pixels is encoded. Sides are even; none is enlarged."""
        short = min(width, height)
        if not self.short_side_px or short <= self.short_side_px:
            return max(2, width & ~1), max(2, height & ~1)
        scale = Fraction(self.short_side_px, short)
        return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)

    @property
    def changed(self) -> dict[str, object]:
        """The settings that are not the default ones, but for `crf`. They name folders and fingerprints, so that those of stores made
        before a setting existed stay what they were.
        """
        usual = asdict(Encoding())
        return {name: value for name, value in asdict(self).items() if name != "crf" and value != usual[name]}

    @property
    def name(self) -> str:
        """The settings as part of a folder's name, such as `crf18`, or `av1-crf30-480px-24fps`."""
        changed = self.changed
        codec = f"{self.codec}-" if "codec" in changed else ""
        size = f"-{self.short_side_px}px" if "short_side_px" in changed else ""
        return f"{codec}crf{self.crf}{size}" + (f"-{self.fps:g}fps" if "fps" in changed else "")


def encoding_of(clips: ClipSettings) -> Encoding | None:
    """How a recipe has clips encoded; None where it has their streams copied, or no files made."""
    return Encoding(clips.codec, clips.crf, clips.short_side_px, clips.fps) if clips.mode == "encode" else None
