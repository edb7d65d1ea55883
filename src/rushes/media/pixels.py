"""Prepares decoded frames for the encoder of clip files: upright, 8-bit 4:2:0, with even sides and the same range and colour tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rushes.errors import CutError
from rushes.media.probe import full_range

if TYPE_CHECKING:
    from av import VideoFrame

BT709 = 1
"""Number (ITU-T H.273, table 4) of the matrix by which RGB is converted."""
ROTATIONS: dict[int, list[tuple[str, str | None]]] = {
    90: [("transpose", "clock")],
    180: [("hflip", None), ("vflip", None)],
    270: [("transpose", "cclock")],
}
"""Degrees clockwise -> libav filters and their argument."""


class Upright:
    """Makes the frames of one video upright. It keeps its libav filter, so that the filter is set up once and not for each frame.

    A side with an odd number of pixels is scaled to one pixel less. 10-bit pictures become 8-bit without tone mapping, and an HDR clip
    keeps its transfer tag.
    """

    def __init__(self) -> None:
        self._graph: Any = None
        self._key: tuple[int, int, int] | None = None

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """The frame as upright yuv420p, in full range if it was, with its colour tags.

        Raises:
            CutError: libav cannot convert its pixel format.
        """
        import av

        try:
            return self._converted(frame)
        except (av.error.FFmpegError, ValueError) as error:
            raise CutError(f"a picture of {frame.format.name} cannot be converted: {error}", step="clips") from error

    def _converted(self, frame: VideoFrame) -> VideoFrame:
        from av.video.reformatter import ColorRange

        wide = full_range(frame)
        tags = (frame.colorspace, frame.color_primaries, frame.color_trc)
        rgb = frame.format.is_rgb
        out = frame.reformat(
            max(2, frame.width & ~1),
            max(2, frame.height & ~1),
            "yuv420p",
            dst_color_range=ColorRange.JPEG if wide and not rgb else ColorRange.MPEG,
            dst_colorspace="ITU709" if rgb else None,
            threads=1,
        )
        degrees = round(-frame.rotation / 90) * 90 % 360
        if degrees:
            out = self._rotated(out, degrees)
        out.colorspace = BT709 if rgb else tags[0]
        out.color_primaries, out.color_trc = tags[1:]
        out.color_range = ColorRange.JPEG if wide and not rgb else ColorRange.MPEG
        return out

    def _rotated(self, frame: VideoFrame, degrees: int) -> VideoFrame:
        from av.filter import Graph

        key = (frame.width, frame.height, degrees)
        if key != self._key:
            graph = Graph()
            entry = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
            graph.link_nodes(entry, *(graph.add(name, arg) for name, arg in ROTATIONS[degrees]), graph.add("buffersink")).configure()
            self._graph, self._key = graph, key
        self._graph.push(frame)
        return self._graph.pull()  # type: ignore[no-any-return]
