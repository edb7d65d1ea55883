"""Tells from the bytes of a key packet whether decoding can begin there without any earlier frame. Nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

Entry = Literal["closed", "open"]
"""closed: no picture that follows the key frame in the file is shown before it. open: such pictures (leading pictures) may follow, and must
be left out when decoding begins here."""

WITHOUT_REORDERING = {"vp8", "vp9", "av1"}
"""Codecs whose frames come in the order of presentation: what follows a key frame is shown after it, and nothing looks back past it
(VP8: RFC 6386, 9.1; VP9: bitstream specification, 7.2, reset at key frames; AV1: bitstream specification, 7.20, a key frame that is shown
replaces all references)."""
AV1_SEQUENCE, AV1_FRAME_HEADER, AV1_FRAME = 1, 3, 6
"""obu_type (AV1 bitstream specification, 6.2.2) of the header of the sequence, and of the units that begin a frame."""
MPEG_VIDEO = {"mpeg1video", "mpeg2video"}
MPEG_GROUP = b"\x00\x00\x01\xb8"
"""Start code of a header of a group of pictures (ISO/IEC 13818-2, table 6-1)."""
H264_IDR, H264_SEI = 5, 6
H264_SLICES = range(1, 6)
RECOVERY_POINT = 6
"""SEI payload type (ITU-T H.264, table D.1)."""
AT_ONCE, EXACTLY = 0x80, 0x40
"""Bits of its first byte: recovery_frame_cnt is 0, which ue(v) codes as one bit, 1; and, if so, exact_match_flag."""
HEVC_IRAP = range(16, 24)
HEVC_IDR = (19, 20)
"""nal_unit_type (ITU-T H.265, table 7-1): random access points; of these, IDR has no leading picture that refers to what lies before."""


def entry_of(codec: str, extradata: bytes | None, packet: bytes) -> Entry | None:
    """How decoding can begin at this key packet; None where a later frame might refer to a frame before it.

    H.264: an IDR picture, or a recovery point that is exact at once (recovery_frame_cnt 0). HEVC: any random access picture, since its
    leading pictures may be left out by the standard (H.265, 3.129 and 8.1.3). Other codecs reset at what their container calls a key frame.
    """
    if codec == "h264":
        recovers = False
        for nal in nal_units(packet, extradata, length_at=4):
            kind = nal[0] & 0x1F
            if kind == H264_IDR:
                return "closed"
            if kind in H264_SLICES:
                break
            recovers = recovers or (kind == H264_SEI and bool(_recovery_point(nal) & AT_ONCE))
        return "open" if recovers else None
    if codec == "hevc":
        kinds = [(nal[0] >> 1) & 0x3F for nal in nal_units(packet, extradata, length_at=21)]
        pictures = [kind for kind in kinds if kind < 32]
        if not pictures or any(kind not in HEVC_IRAP for kind in pictures):
            return None
        return "closed" if pictures[0] in HEVC_IDR else "open"
    return "open"


def outputs_pending_pictures(codec: str, extradata: bytes | None, packet: bytes) -> bool:
    """Whether a decoder still outputs, at this key packet, the pictures that it has decoded and not yet output. An HEVC stream may tell it
    to drop them, by the second bit of the slice header of a random access picture (no_output_of_prior_pics_flag; H.265, 7.3.6.1). libav
    ignores the similar flag of H.264.
    """
    if codec != "hevc":
        return True
    slices = (nal for nal in nal_units(packet, extradata, length_at=21) if (nal[0] >> 1) & 0x3F in HEVC_IRAP)
    return not any(len(nal) > 2 and nal[2] & 0x40 for nal in slices)


def stands_alone(codec: str, extradata: bytes | None, packet: bytes) -> bool:
    """Whether decoding can begin at this key packet, such that no frame after it in the file refers to a frame before it or is shown before
    it, and the decoder outputs all frames before it.
    """
    if codec == "av1":
        return _begins_with_shown_key(packet)
    if codec in MPEG_VIDEO:
        return _group_is_closed(packet)
    if codec in WITHOUT_REORDERING:
        return True
    return entry_of(codec, extradata, packet) == "closed" and outputs_pending_pictures(codec, extradata, packet)


def burst_begins(codec: str, extradata: bytes | None, packet: bytes) -> bool:
    """Whether a few packets from this key packet on can be decoded by themselves, if those that are shown before it are left out: by the
    standard of HEVC these may be missing, and nothing that is shown after it refers to them; so it is in MPEG-1 and MPEG-2, where they are
    B-pictures, to which nothing refers (ISO/IEC 13818-2, 6.1.1.7). In H.264 what is shown from an exact recovery point on equals what a
    decode from the beginning gives (exact_match_flag; H.264, D.2.8).
    """
    if codec in MPEG_VIDEO or stands_alone(codec, extradata, packet):
        return True
    if entry_of(codec, extradata, packet) != "open":
        return False
    if codec == "h264":
        points = [_recovery_point(nal) for nal in nal_units(packet, extradata, length_at=4) if nal[0] & 0x1F == H264_SEI]
        return any(point & AT_ONCE and point & EXACTLY for point in points)
    return codec == "hevc" and outputs_pending_pictures(codec, extradata, packet)


def referred_to(codec: str, extradata: bytes | None, packet: bytes) -> bool:
    """Whether this leading picture is a reference frame of H.264 (`nal_ref_idc` above 0). If it were left out, a number would be missing in
    the count of reference frames, which decoders take for a loss.
    """
    return codec == "h264" and any(nal[0] & 0x60 for nal in nal_units(packet, extradata, length_at=4) if nal[0] & 0x1F in H264_SLICES)


def shown(codec: str, packet: bytes) -> bool:
    """Whether a packet gives a picture. Some packets of VP8 and VP9 only update a reference frame (show_frame; VP8: RFC 6386, 9.1; VP9:
    bitstream specification, 6.2). Most files of VP9 pack such a frame together with one that is shown (annex B), and all of AV1 do (7.5).
    """
    if codec not in ("vp8", "vp9") or not packet:
        return True
    if codec == "vp8":
        return bool(packet[0] & 0x10)
    if packet[-1] & 0xE0 == 0xC0 and len(packet) > 1:  # a superframe
        return True
    at = 2 if packet[0] & 0x30 == 0x30 else 3  # bit of show_existing_frame; profile 3 has a reserved bit before it
    return bool(packet[0] >> at & 1) or bool(packet[0] >> (at - 2) & 1)


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


def _begins_with_shown_key(packet: bytes) -> bool:
    """Whether the first frame of a temporal unit of AV1 is a key frame that is shown (AV1 bitstream specification, 5.3 and 5.9.2)."""
    at, still = 0, False
    while at < len(packet):
        kind, extended, sized = packet[at] >> 3 & 15, packet[at] >> 2 & 1, packet[at] >> 1 & 1
        at += 1 + extended
        size, shift = 0, 0
        while sized and at < len(packet):
            byte, at = packet[at], at + 1
            size, shift = size | (byte & 0x7F) << shift, shift + 7
            if not byte & 0x80:
                break
        if at >= len(packet):
            return False
        if kind == AV1_SEQUENCE:
            still = bool(packet[at] & 0b1000)  # reduced_still_picture_header: each frame is a key frame that is shown
        if kind in (AV1_FRAME_HEADER, AV1_FRAME):
            return still or packet[at] & 0b11110000 == 0b00010000  # show_existing_frame 0, frame_type 0, show_frame 1
        at += size if sized else len(packet)
    return False


def _group_is_closed(packet: bytes) -> bool:
    """Whether a packet of MPEG-1 or MPEG-2 has a header of a group of pictures that says that its B-pictures look at nothing before it
    (closed_gop, after 25 bits of time code; ISO/IEC 13818-2, 6.2.2.6).
    """
    at = packet.find(MPEG_GROUP)
    return 0 <= at < len(packet) - 7 and bool(packet[at + 7] & 0x40)


def _recovery_point(nal: bytes) -> int:
    """The first byte of the recovery point in an SEI unit (H.264, 7.3.2.3.1 and D.1.8); 0 where there is none."""
    at = 1
    while at + 2 < len(nal):
        kind = size = 0
        while at < len(nal) and nal[at] == 0xFF:
            kind, at = kind + 255, at + 1
        kind, at = kind + nal[at], at + 1
        while at < len(nal) and nal[at] == 0xFF:
            size, at = size + 255, at + 1
        if at + 1 >= len(nal):
            return 0
        size, at = size + nal[at], at + 1
        if kind == RECOVERY_POINT:
            return nal[at]
        at += size
    return 0
