"""Reads the facts of a video from its container, without decoding: its first video stream, cover art left aside, and that stream's
header.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rushes.errors import ProbeError
from rushes.media.views import pixel_aspect
from rushes.records import VideoFacts

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
STILL_CODECS = {"png", "bmp", "tiff", "webp"}
"""Codecs of cover art in containers that do not mark it as an attached picture."""


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


def video_stream(container: InputContainer, uri: str) -> VideoStream:
    """The first video stream that is not cover art.

    Raises:
        ProbeError: there is none.
    """
    from av.stream import Disposition

    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    moving = [s for s in streams if s.codec_context is not None and s.codec_context.name not in STILL_CODECS]
    for stream in moving or streams:
        if stream.codec_context is not None:
            return stream
    kinds = sorted({str(s.type) for s in container.streams}) or ["nothing"]
    raise ProbeError(
        f"no video stream that can be decoded (the file holds: {', '.join(kinds)})",
        uri=uri,
        step="probe",
        mend="take the file out of the footage",
    )


def facts_of(container: InputContainer, stream: VideoStream, size_bytes: int) -> VideoFacts:
    """The facts that the container and the stream header give. `upright` corrects some of them, such as `width` and `height`, by the first
    frame.
    """
    context = stream.codec_context
    assert stream.time_base is not None  # it is None only in a stream that is being written
    sar = pixel_aspect(stream.sample_aspect_ratio)
    audio = container.streams.audio
    duration = float(stream.duration * stream.time_base) if stream.duration else None
    if duration is None and container.duration:
        duration = container.duration / 1_000_000
    rate = stream.average_rate or stream.guessed_rate
    depth = context.format.components[0].bits if context.format else None
    return VideoFacts(
        container=container.format.name.split(",")[0],
        codec=context.codec.canonical_name,
        profile=context.profile,
        coded_width=context.width,
        coded_height=context.height,
        width=max(1, round(context.width * sar)),
        height=context.height,
        sar=sar,
        rotation=0,
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
    """The facts with what only a decoded frame tells: its true size, rotation, pixel format, range and transfer curve.

    libav gives the angle of the display matrix counter-clockwise; `rotation` is clockwise, by how much the picture must be rotated to be
    upright.
    """
    rotation = round(-frame.rotation / 90) * 90 % 360
    size = (max(1, round(frame.width * facts.sar)), frame.height)
    if rotation in (90, 270):
        size = (size[1], size[0])
    transfer = int(frame.color_trc)
    return replace(
        facts,
        coded_width=frame.width,
        coded_height=frame.height,
        width=size[0],
        height=size[1],
        rotation=rotation,
        pix_fmt=frame.format.name,
        bit_depth=frame.format.components[0].bits,
        color_range="full" if full_range(frame) else RANGES.get(int(frame.color_range), facts.color_range),
        color_transfer=TRANSFERS.get(transfer, facts.color_transfer),
        hdr=transfer in HDR_TRANSFERS or facts.hdr,
    )


def full_range(frame: VideoFrame) -> bool:
    """Whether luma runs over the whole of its bits (JPEG range) rather than 16..235."""
    return int(frame.color_range) == 2 or frame.format.name.startswith("yuvj") or frame.format.is_rgb
