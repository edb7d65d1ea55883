"""Reads the facts of a video stream from its container and its header, without decoding; a decoded frame corrects them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rushes.errors import ProbeError
from rushes.media.frame_tags import full_range, orientation, pixel_aspect
from rushes.records import Orientation, VideoFacts

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

HDR_TRANSFERS = {16: "smpte2084", 18: "arib-std-b67"}
"""PQ and HLG, by their numbers in ITU-T H.273 table 3."""
TRANSFERS = {
    1: "bt709",
    4: "gamma22",
    5: "gamma28",
    6: "smpte170m",
    8: "linear",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    **HDR_TRANSFERS,
}
RANGES = {1: "limited", 2: "full"}
CLOCK_RATE = 1000
"""Frame rate that is not believed where it is also the number of ticks a second; Matroska counts milliseconds."""


def open_container(source: str | Any, uri: str) -> InputContainer:
    """Opens a path or a seekable file object; local paths are read by libav itself.

    Raises:
        ProbeError: the bytes are no container that libav knows.
    """
    import av

    try:
        return av.open(source, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError, EOFError) as error:
        raise ProbeError(
            f"not a readable video: {_words(error)}", uri=uri, step="probe", mend="check that the file is complete and is a video"
        ) from error


def _words(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error)


def facts_of(container: InputContainer, stream: VideoStream, size_bytes: int, other_streams: str | None = None) -> VideoFacts:
    """The facts that the container and the stream header give. `upright` corrects some of them, such as `width` and `height`, by the first
    frame.
    """
    context = stream.codec_context
    assert stream.time_base is not None  # it is None only in a stream that is being written
    sar = float(pixel_aspect(stream.sample_aspect_ratio))
    audio = container.streams.audio
    duration = float(stream.duration * stream.time_base) if stream.duration else None
    if duration is None and container.duration:
        duration = container.duration / 1_000_000
    rate = stream.average_rate or stream.guessed_rate
    if rate and rate >= CLOCK_RATE and rate * stream.time_base >= 1:  # it is the clock's: the stream does not say how long its frames last
        rate = None
    depth = context.format.components[0].bits if context.format else None
    width, height = displayed(context.width, context.height, sar, Orientation())
    return VideoFacts(
        container=container.format.name.split(",")[0],
        codec=context.codec.canonical_name,
        profile=context.profile,
        coded_width=context.width,
        coded_height=context.height,
        width=width,
        height=height,
        sar=sar,
        rotation=0,
        mirrored=False,
        fps=float(rate) if rate else None,
        time_base=stream.time_base,
        duration_s=duration,
        bit_rate=stream.bit_rate or container.bit_rate or None,
        pix_fmt=context.pix_fmt,
        bit_depth=depth,
        color_range=RANGES.get(int(context.color_range)),
        color_transfer=TRANSFERS.get(int(context.color_trc)),
        hdr=int(context.color_trc) in HDR_TRANSFERS,
        has_audio=bool(audio),
        audio_codec=audio[0].codec_context.name if audio and audio[0].codec_context else None,
        stream_index=stream.index,
        other_streams=other_streams,
        creation_time=_tag(container, stream, "creation_time", "com.apple.quicktime.creationdate", "date"),
        location=_tag(container, stream, "location", "location-eng", "com.apple.quicktime.location.ISO6709"),
        size_bytes=size_bytes,
    )


def _tag(container: InputContainer, stream: VideoStream, *names: str) -> str | None:
    for name in names:
        for metadata in (container.metadata, stream.metadata):
            if metadata.get(name):
                return str(metadata[name])
    return None


def upright(facts: VideoFacts, frame: VideoFrame) -> VideoFacts:
    """The facts with what only a decoded frame tells: its true size, orientation, pixel format, range and transfer curve."""
    way, transfer = orientation(frame), int(frame.color_trc)
    width, height = displayed(frame.width, frame.height, facts.sar, way)
    return replace(
        facts,
        coded_width=frame.width,
        coded_height=frame.height,
        width=width,
        height=height,
        rotation=way.rotation,
        mirrored=way.mirrored,
        pix_fmt=frame.format.name,
        bit_depth=frame.format.components[0].bits,
        color_range="full" if full_range(frame, facts.codec) else RANGES.get(int(frame.color_range), facts.color_range),
        color_transfer=TRANSFERS.get(transfer, facts.color_transfer),
        hdr=transfer in HDR_TRANSFERS or facts.hdr,
    )


def displayed(width: int, height: int, sar: float, way: Orientation) -> tuple[int, int]:
    """(width, height) in pixels of a coded picture upright and with square pixels; both are even where its pixels are not square."""
    size = (width, height) if sar == 1.0 else (max(2, 2 * round(width * sar / 2)), max(2, 2 * round(height / 2)))
    return size[::-1] if way.sideways else size
