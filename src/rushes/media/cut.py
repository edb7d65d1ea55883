"""Clips as files: every clip of a video from one pass over its source, by stream copy or by encoding.

Mode "copy" writes the packets as they are. A clip begins at the first key frame inside its span from which a decoder can start, and ends at
the last packet inside the span such that no packet before it is shown outside the span or after a packet that is left out. No frame from
outside the span is in the file, not even for a reader that ignores edit lists. Mode "encode" writes exactly the frames of the span, upright
and with square pixels, as H.264 or another codec, in the source's size or a smaller one, at the source's times or at a rate of their own.

A file is named by its clip. It is written under a hidden name, read back and compared, and only then renamed. Its audio is the first audio
track of the source: the packets that lie wholly inside the clip are copied, so up to one audio packet, about 20 ms, is missing at each end.
Sound that no container takes as it is, is encoded anew as AAC or, where libav cannot decode it, left out (`clip_sound.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from rushes.errors import CutError
from rushes.media.clip_file import Place
from rushes.media.clip_sound import sound_of
from rushes.media.clip_span import ClipSpan, CutResult
from rushes.media.cut_copy import copy_clips
from rushes.media.cut_encode import encode_clips
from rushes.media.encoding import Encoding
from rushes.media.time_line import Piece
from rushes.records import VideoFacts

if TYPE_CHECKING:
    from rushes.media.storage import Options

__all__ = ["ClipSpan", "CutResult", "Encoding", "cut_clips"]


def cut_clips(
    source: str | BinaryIO,
    facts: VideoFacts,
    clips: Sequence[ClipSpan],
    folder: str,
    *,
    encoding: Encoding | None,
    uri: str,
    pieces: Sequence[Piece] = (),
    options: Options | None = None,
    tick: Callable[[], None] = lambda: None,
    names: Mapping[str, str] | None = None,
    only_mp4: bool = False,
) -> Iterator[CutResult]:
    """Writes the clips of one video to `folder`/<first two characters of the id>/<id>.mp4 (.mov, .mkv where mp4 cannot hold the streams).

    Results come as clips are finished. A complete file of an earlier run is kept as it is.

    Args:
        source: path or seekable file of the video.
        facts: its facts; spans are in ticks of `facts.time_base`.
        clips: what to cut, in any order.
        folder: path or URL.
        encoding: how clips are encoded; None: their streams are copied.
        uri: the video's name, for errors.
        pieces: how the pts of spans came of the file's stamps, as the scan found it; none: they are equal.
        options: storage options of `folder`.
        tick: called often while it works, so that a guard sees progress.
        names: clip_id -> another name of the clip's file in `folder`, without suffix.
        only_mp4: encode sound that mp4 does not take, rather than choose another container.

    Raises:
        ProbeError: the source cannot be opened.
        DecodeError: encoding was asked for and no frame of the source can be decoded.
        CutError: the source breaks off while it is read.
        StorageError: the folder cannot be written, such as on a full disk.
    """
    if not clips:
        return
    ordered = sorted(clips, key=lambda clip: (clip.span.start_pts, clip.span.end_pts))
    if len({clip.clip_id for clip in ordered}) < len(ordered):
        raise CutError("two clips have one id", uri=uri, step="clips", mend="give each span once")
    codec = facts.codec if encoding is None else encoding.codec
    sound = sound_of(source, uri, facts, codec, only_mp4=only_mp4)
    place = Place(folder, sound.suffix, encoding, options or {}, uri, facts.time_base, sound.how, tick, names or {})
    if not isinstance(source, str):
        source.seek(0)
    for result in (copy_clips if encoding is None else encode_clips)(source, facts, ordered, place, pieces):
        yield result if result.error else replace(result, note=sound.note)
