"""Whether a stream has frames that no other frame refers to. It is read from the bytes of a few packets; nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av import Packet, VideoStream

DROPPED_BY_DECODER = {"av1", "mpeg2video", "mpeg1video", "mpeg4"}
"""Codecs whose libav decoder leaves out non-reference frames under `skip_frame=NONREF` (measured; VP8 and VP9 ignore it)."""


def has_disposable(context: Any, packets: Iterable[Packet[VideoStream]]) -> bool:
    """Whether `skip_frame=NONREF` would leave out frames of this stream.

    Args:
        context: the stream's codec context (its name, extradata and reordering are looked at).
        packets: the first packets of the stream.
    """
    name = context.codec.canonical_name
    if name == "h264":
        # nal_ref_idc, bits 5 and 6 of the NAL header (ITU-T H.264, 7.3.1), is 0 for non-reference slices (types 1 to 5)
        return any(nal[0] & 0x60 == 0 for p in packets for nal in _nals(p, context.extradata, length_at=4) if 1 <= nal[0] & 0x1F <= 5)
    if name == "hevc":
        # nal_unit_type below 16 and even: sub-layer non-reference pictures (ITU-T H.265, table 7-1)
        types = {(nal[0] >> 1) & 0x3F for p in packets for nal in _nals(p, context.extradata, length_at=21)}
        return any(kind < 16 and kind % 2 == 0 for kind in types)
    return name == "av1" or (name in DROPPED_BY_DECODER and bool(context.has_b_frames))


def _nals(packet: Packet[VideoStream], extradata: bytes | None, *, length_at: int) -> Iterator[bytes]:
    """First two bytes of each NAL unit: length-prefixed where the extradata is avcC or hvcC (version 1), else after start codes.

    `length_at` is where that record keeps lengthSizeMinusOne: byte 4 of avcC, byte 21 of hvcC (ISO/IEC 14496-15).
    """
    data = bytes(packet)
    if extradata and extradata[0] == 1 and len(extradata) > length_at:
        width = extradata[length_at] % 4 + 1
        at = 0
        while at + width + 1 < len(data):
            yield data[at + width : at + width + 2]
            at += width + int.from_bytes(data[at : at + width])
    else:
        at = data.find(b"\x00\x00\x01")
        while 0 <= at < len(data) - 4:
            yield data[at + 3 : at + 5]
            at = data.find(b"\x00\x00\x01", at + 3)
