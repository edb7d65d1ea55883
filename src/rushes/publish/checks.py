"""Looks at a target after writing, through the consumer's own reader: are all rows there, and is what they hold what was published?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rushes.media import storage
from rushes.media.address import split_stream
from rushes.publish.changes import Changes
from rushes.publish.row_hash import ROW_HASH, row_hashes
from rushes.publish.target import Film, Target, Written

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found.

    Attributes:
        verdict: "right" or "wrong".
        reader: the consumer's reader that was used.
        rows, bytes: what it found in the target.
        clips: of how many clips every published value was compared; 0 where the format does not hold them all.
        frames: frames of their files that were decoded.
        problems: what is wrong, one sentence each.
    """

    verdict: str
    reader: str
    rows: int
    bytes: int
    clips: int
    frames: int
    problems: Sequence[str]


def check(target: Target, changes: Changes, written: Written, options: storage.Options) -> Checked:
    """Compares what the consumer's reader finds with what was wanted.

    All rows are counted. Of `changes.sample` every published value is compared where the format holds them all, by the hash of the row
    computed anew; files of clips are decoded; where only references are published, their sources must be there, as large as when they
    were scanned.
    """
    rows = changes.sample.filter(_not_failed(changes.sample["clip_id"], written.failed))
    ids: list[str] = [str(value) for value in rows["clip_id"].to_pylist()]
    found = target.read_back(ids, changes.schema)
    problems: list[str] = []
    wanted = changes.n_rows - len(written.failed)
    if found.rows != wanted:
        problems.append(f"{found.rows} clips were found, and {wanted} were published")
    if found.sample is not None:
        problems += _differences(found.sample, rows)
    frames = 0
    for clip, film in found.films.items():
        n, problem = decoded(film)
        frames += n
        problems += [f"clip {clip}: {problem}"] if problem else []
    if not found.films:
        problems += _sources(rows, options)
    compared = len(ids) if found.sample is not None else 0
    return Checked("wrong" if problems else "right", found.reader, found.rows, found.bytes, compared, frames, tuple(problems))


def _not_failed(ids: Any, failed: Mapping[str, str]) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.invert(pc.is_in(ids, value_set=pa.array(sorted(failed), pa.string())))


def _differences(found: pa.Table, wanted: pa.Table) -> list[str]:
    names = [name for name in found.column_names if name != ROW_HASH]
    hashes: Mapping[Any, Any] = dict(zip(found["clip_id"].to_pylist(), row_hashes(found.select(names)).to_pylist(), strict=True))
    held: Mapping[Any, Any] = dict(zip(found["clip_id"].to_pylist(), found[ROW_HASH].to_pylist(), strict=True))
    problems = []
    for clip, row_hash in zip(wanted["clip_id"].to_pylist(), wanted[ROW_HASH].to_pylist(), strict=True):
        if clip not in hashes:
            problems.append(f"clip {clip} is not in the target")
        elif hashes[clip] != row_hash or held[clip] != row_hash:
            problems.append(f"clip {clip} is not in the target as it was published")
    if found.num_rows > len(hashes):
        problems.append(f"{found.num_rows - len(hashes)} of {found.num_rows} clips looked at are there twice")
    return problems


def decoded(film: Film) -> tuple[int, str | None]:
    """Decodes a clip's file; gives the number of its frames, and what is wrong: it cannot be decoded, lacks frames, or its pts go back."""
    import av

    n, last = 0, None
    try:
        with av.open(film.file, "r") as container:
            for frame in container.decode(video=0):
                if last is not None and (frame.pts is None or frame.pts <= last):
                    return n, f"the pts of frame {n} is {frame.pts}, after {last}"
                n, last = n + 1, frame.pts
    except (OSError, ValueError) as error:  # libav's own errors are both
        return n, f"its file cannot be decoded: {error}"
    if film.n_frames is not None and n != film.n_frames:
        return n, f"its file has {n} frames, and {film.n_frames} were published"
    return n, None if n else "its file has no frame"


def _sources(rows: pa.Table, options: storage.Options) -> list[str]:
    """What is wrong with the sources that references lead to."""
    sizes = {split_stream(str(uri))[0]: size for uri, size in zip(rows["uri"].to_pylist(), rows["size_bytes"].to_pylist(), strict=True)}
    problems = []
    for uri, size in sizes.items():
        try:
            found = storage.stat(uri, options).size
        except OSError as error:
            problems.append(f"the source {uri} cannot be read: {error}")
            continue
        if found is not None and size is not None and found != size:
            problems.append(f"the source {uri} has {found} bytes, and had {size} when it was scanned")
    return problems
