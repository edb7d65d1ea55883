"""Where decoding of a stream may begin without a frame from before: read from the bytes of a key packet, nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

Entry = Literal["closed", "open"]
"""closed: nothing shown before the key frame follows it. open: leading pictures may follow, to be left out."""

H264_IDR, H264_SEI = 5, 6
H264_SLICES = range(1, 6)
RECOVERY_POINT = 6
"""SEI payload type (ITU-T H.264, table D.1)."""
HEVC_IRAP = range(16, 24)
HEVC_IDR = (19, 20)
"""nal_unit_type (ITU-T H.265, table 7-1): random access points; of these, IDR has no leading picture that refers to what lies before."""


def entry_of(codec: str, extradata: bytes | None, packet: bytes) -> Entry | None:
    """How decoding may begin at this key packet; None when what follows might refer to frames before it.

    H.264: an IDR picture, or a recovery point that is exact at once (recovery_frame_cnt 0). HEVC: any random access picture, since its
    leading pictures may be left out by the standard (H.265, 3.129 and 8.1.3). Other codecs reset at what their container calls a key frame.
    """
    if codec == "h264":
        for nal in nal_units(packet, extradata, length_at=4):
            kind = nal[0] & 0x1F
            if kind == H264_IDR:
                return "closed"
            if kind == H264_SEI and _recovers_at_once(nal):
                return "open"
            if kind in H264_SLICES:
                return None
        return None
    if codec == "hevc":
        kinds = [(nal[0] >> 1) & 0x3F for nal in nal_units(packet, extradata, length_at=21)]
        pictures = [kind for kind in kinds if kind < 32]
        if not pictures or any(kind not in HEVC_IRAP for kind in pictures):
            return None
        return "closed" if pictures[0] in HEVC_IDR else "open"
    return "open"


def outputs_pending_pictures(codec: str, extradata: bytes | None, packet: bytes) -> bool:
    """Whether pictures that wait to be shown survive this key packet. HEVC may say that they are dropped, in the second bit of the slice
    header of a random access picture (no_output_of_prior_pics_flag; H.265, 7.3.6.1); libav heeds no such flag of H.264.
    """
    if codec != "hevc":
        return True
    slices = (nal for nal in nal_units(packet, extradata, length_at=21) if (nal[0] >> 1) & 0x3F in HEVC_IRAP)
    return not any(len(nal) > 2 and nal[2] & 0x40 for nal in slices)


def referred_to(codec: str, extradata: bytes | None, packet: bytes) -> bool:
    """Whether leaving this leading picture out would leave a hole in the numbering of H.264's reference frames (`nal_ref_idc` above 0)."""
    return codec == "h264" and any(nal[0] & 0x60 for nal in nal_units(packet, extradata, length_at=4) if nal[0] & 0x1F in H264_SLICES)


def shown(codec: str, packet: bytes) -> bool:
    """Whether a packet gives a picture: VP8 has packets that only refresh a reference (show_frame, RFC 6386, 9.1)."""
    return codec != "vp8" or not packet or bool(packet[0] & 0x10)


def nal_units(packet: bytes, extradata: bytes | None, *, length_at: int) -> Iterator[bytes]:
    """The NAL units of a packet: length-prefixed where the extradata is avcC or hvcC (version 1), else between start codes.

    `length_at` is where that record keeps lengthSizeMinusOne: byte 4 of avcC, byte 21 of hvcC (ISO/IEC 14496-15).
    """
    if extradata and extradata[0] == 1 and len(extradata) > length_at:
        width = extradata[length_at] % 4 + 1
        at = 0
        while at + width < len(packet):
            length = int.from_bytes(packet[at : at + width])
            at += width
            if length:
                yield packet[at : at + length]
            at += length
        return
    at = packet.find(b"\x00\x00\x01")
    while at >= 0:
        following = packet.find(b"\x00\x00\x01", at + 3)
        unit = packet[at + 3 : following if following >= 0 else len(packet)]
        if unit:
            yield unit
        at = following


def _recovers_at_once(nal: bytes) -> bool:
    """Whether an SEI unit holds a recovery point whose recovery_frame_cnt is 0: its first bit, ue(v), is 1 (H.264, 7.3.2.3.1 and D.1.8)."""
    at = 1
    while at + 2 < len(nal):
        kind = size = 0
        while at < len(nal) and nal[at] == 0xFF:
            kind, at = kind + 255, at + 1
        kind, at = kind + nal[at], at + 1
        while at < len(nal) and nal[at] == 0xFF:
            size, at = size + 255, at + 1
        if at + 1 >= len(nal):
            return False
        size, at = size + nal[at], at + 1
        if kind == RECOVERY_POINT:
            return bool(nal[at] & 0x80)
        at += size
    return False
