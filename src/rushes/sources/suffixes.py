"""Tells by a file name's suffix whether the file is taken for a video, for a list of videos, or for a list of a kind that is not read."""

from __future__ import annotations

VIDEO = frozenset(
    (
        *("mp4", "m4v", "mov", "qt", "mkv", "mk3d", "webm", "avi", "divx", "flv", "f4v", "wmv", "asf", "mpg"),
        *("mpeg", "mpe", "m1v", "m2v", "mp2v", "mpv", "m2p", "ts", "mts", "m2ts", "m2t", "tp", "trp", "vob", "vro", "evo"),
        *("3gp", "3gpp", "3g2", "3gp2", "k3g", "mxf", "gxf", "ogv", "ogm", "rm", "rmvb", "ivf", "swf", "dv", "nut", "y4m"),
        *("h261", "h263", "h264", "264", "h26l", "avc", "h265", "265", "hevc", "av1", "obu", "vc1", "mjpeg", "mjpg", "mj2"),
        *("insv", "lrv", "lrf", "360", "mod", "tod", "dav", "mqv", "nsv", "wtv", "amv", "ismv", "gif", "fli", "flc", "bik"),
    )
)
"""Suffixes taken from a folder, in lower case: containers, transport streams and raw streams that libav reads, and the names that cameras
and recorders give them: low-resolution copies of DJI (lrf) and GoPro (lrv), 360 cameras (360, insv), JVC's and Panasonic's camcorders (mod,
tod), satellite receivers (tp, trp), Dahua's recorders (dav)."""
TEXT_LISTS = ("txt", "csv", "tsv", "json", "jsonl", "ndjson")
LISTS = frozenset({*TEXT_LISTS, "parquet"})
"""Suffixes of lists of videos; those of text may be followed by .gz."""
OTHER_LISTS = frozenset(
    (
        *("xlsx", "xls", "ods", "numbers", "feather", "arrow", "orc", "avro", "yaml", "yml", "xml", "m3u", "m3u8", "pls", "sqlite", "db"),
        *("duckdb", "pkl", "pickle", "npy", "npz", "tfrecord", "lance", "html", "md"),
    )
)
"""Suffixes of files that may list videos and that are not read as lists, nor taken for a video where they are named."""
PACKED = frozenset({"gz", "zst", "bz2", "xz", "lz4", "zip", "7z"})
READ_LISTS = "lists that are read: .txt, .csv, .tsv, .json, .jsonl, .ndjson (each also with .gz), .parquet, and a folder of such parts"


def suffix_of(name: str) -> str:
    """The suffix in lower case without its dot; "" when there is none. The name may be a path or a URL without query."""
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return suffix.lower() if dot and stem else ""


def is_video(name: str) -> bool:
    """Whether a file found in a folder is taken."""
    return suffix_of(name) in VIDEO


def list_kind(name: str) -> str | None:
    """The kind of a list by its name, such as "csv" for list.csv.gz; None for a file that is no list of a kind that is read."""
    suffix = suffix_of(name)
    if suffix == "gz":
        inner = suffix_of(name[: -len(".gz")])
        return inner if inner in TEXT_LISTS else None
    return suffix if suffix in LISTS else None


def is_unread_list(name: str) -> bool:
    """Whether a file that is named is a list of a kind that is not read, such as list.xlsx or list.csv.zip."""
    suffix = suffix_of(name)
    inner = suffix_of(name[: -len(suffix) - 1]) if suffix in PACKED else suffix
    return inner in OTHER_LISTS or (suffix in PACKED and inner in LISTS and list_kind(name) is None)
