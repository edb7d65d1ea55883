"""Tells by a file name's suffix whether the file is taken for a video or for a list of videos."""

from __future__ import annotations

VIDEO = frozenset(
    (
        *("mp4", "m4v", "mov", "qt", "mkv", "mk3d", "webm", "avi", "divx", "flv", "f4v", "wmv", "asf", "mpg"),
        *("mpeg", "mpe", "m1v", "m2v", "mpv", "ts", "mts", "m2ts", "m2t", "trp", "vob", "evo", "3gp", "3gpp"),
        *("3g2", "mxf", "gxf", "ogv", "ogm", "rm", "rmvb", "ivf", "swf", "dv", "nut", "y4m", "h264", "264"),
        *("avc", "h265", "265", "hevc", "av1", "obu", "insv", "lrv", "mjpeg", "mjpg", "wtv", "amv", "ismv"),
    )
)
"""Suffixes taken from a folder, in lower case: containers, transport streams and raw streams that libav reads."""
MANIFEST = frozenset({"txt", "csv", "jsonl", "parquet"})
"""Suffixes of lists of videos."""


def suffix_of(name: str) -> str:
    """The suffix in lower case without its dot; "" when there is none. The name may be a path or a URL without query."""
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return suffix.lower() if dot and stem else ""


def is_video(name: str) -> bool:
    """Whether a file found in a folder is taken."""
    return suffix_of(name) in VIDEO


def is_manifest(name: str) -> bool:
    """Whether a file named on the command line is a list."""
    return suffix_of(name) in MANIFEST
