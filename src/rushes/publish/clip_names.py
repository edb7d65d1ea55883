"""Names of clip files that people read: the source, the times, and the clip."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rushes.media.address import protocol_of
from rushes.records import Row

STEM_BYTES = 120
"""Bytes of the source's name in a clip's name; a file's name has at most 255, and a hidden one while it is written is longer."""
ID_DIGITS = 8
METADATA = "metadata.jsonl"
"""The list of a folder of clip files: Hugging Face's `videofolder` looks under this name for what is known of each video."""


def name_of(clip: Row) -> str:
    """The name of a clip's file, without suffix: its source's name, its start and end, and the first digits of its clip_id.

    Characters other than letters, digits, "-" and "_" become "_", dots too: some trainers take what follows the first dot for the suffix.
    """
    uri = str(clip["uri"])
    path = unquote(urlsplit(uri).path) if protocol_of(uri) in ("http", "https") else uri
    stem = re.sub(r"[^\w-]+", "_", Path(path.rstrip("/")).stem).strip("_") or "video"
    stem = stem.encode()[:STEM_BYTES].decode(errors="ignore")
    return f"{stem}_{_clock(clip['start_s'])}_{_clock(clip['end_s'])}_{clip['clip_id'][:ID_DIGITS]}"


def _clock(seconds: float) -> str:
    hundredths = round(seconds * 100)
    whole, rest = divmod(hundredths, 100)
    return f"{whole // 3600:02d}h{whole // 60 % 60:02d}m{whole % 60:02d}s{rest:02d}"
