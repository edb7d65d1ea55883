"""Prepares decoded frames for the encoder of clip files: upright, with square pixels and even sides, 8-bit 4:2:0, with the same tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rushes.errors import CutError
from rushes.media.encoding import Encoding
from rushes.media.frame_tags import BT709, full_range, is_grey, is_rgb
from rushes.media.probe import displayed
from rushes.records import Orientation, VideoFacts

if TYPE_CHECKING:
    from av import VideoFrame

MIRRORED: list[tuple[str, str | None]] = [("hflip", None)]
ROTATIONS: dict[int, list[tuple[str, str | None]]] = {
    90: [("transpose", "clock")],
    180: [("hflip", None), ("vflip", None)],
    270: [("transpose", "cclock")],
}
"""Degrees clockwise -> libav filters and their argument."""


class Upright:
    """Makes the frames of one video upright. It keeps its libav filter, so that the filter is set up once and not for each frame.

    Pixels that are not square are scaled to be; a side with an odd number of pixels is scaled to one pixel less. 10-bit pictures become
    8-bit without tone mapping, and an HDR clip keeps its transfer tag.

    Args:
        encoding: says the size.
    """

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self._graph: Any = None
        self._key: tuple[int, int, Orientation] | None = None

    def __call__(self, frame: VideoFrame, facts: VideoFacts) -> VideoFrame:
        """The frame as upright yuv420p, in full range if it was, with its colour tags.

        Raises:
            CutError: libav cannot convert its pixel format.
        """
        import av

        try:
            return self._converted(frame, facts)
        except (av.error.FFmpegError, ValueError) as error:
            raise CutError(f"a picture of {frame.format.name} cannot be converted: {error}", step="clips") from error

    def _converted(self, frame: VideoFrame, facts: VideoFacts) -> VideoFrame:
        from av.video.reformatter import ColorRange, Interpolation

        wide = full_range(frame, facts.codec)
        tags = (frame.colorspace, frame.color_primaries, frame.color_trc)
        rgb = is_rgb(frame)
        as_full = is_grey(frame) or (wide and not rgb)  # swscale takes grey for full range, and so leaves its codes as they are
        width, height = displayed(frame.width, frame.height, facts.sar, Orientation())
        out = frame.reformat(
            *self._encoding.size(width, height),
            "yuv420p",
            interpolation=Interpolation.BICUBIC,
            dst_color_range=ColorRange.JPEG if as_full else ColorRange.MPEG,
            dst_colorspace="ITU709" if rgb else None,
            threads=1,
        )
        if facts.orientation != Orientation():
            out = self._turned(out, facts.orientation)
        out.colorspace = BT709 if rgb else tags[0]
        out.color_primaries, out.color_trc = tags[1:]
        out.color_range = ColorRange.JPEG if wide and not rgb else ColorRange.MPEG
        return out

    def _turned(self, frame: VideoFrame, way: Orientation) -> VideoFrame:
        from av.filter import Graph

        key = (frame.width, frame.height, way)
        if key != self._key:
            filters = [*(MIRRORED if way.mirrored else ()), *ROTATIONS.get(way.rotation, ())]
            graph = Graph()
            entry = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
            graph.link_nodes(entry, *(graph.add(name, arg) for name, arg in filters), graph.add("buffersink")).configure()
            self._graph, self._key = graph, key
        self._graph.push(frame)
        return self._graph.pull()  # type: ignore[no-any-return]
