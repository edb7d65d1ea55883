"""Which clips `rushes clips` prints, and in which order. At most one range of clips, or the sample asked for, is in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rushes.results.results import Results, sampled
from rushes.results.where import clips_where

if TYPE_CHECKING:
    import pyarrow as pa

PILE_VIDEOS = 2048
"""Videos that are sorted together: with 25 clips each some 50,000 clips."""
ORDER: Any = [("uri", "ascending"), ("start_pts", "ascending"), ("clip_id", "ascending")]


def chosen_clips(
    results: Results,
    *,
    verdict: str | None = None,
    where: str | None = None,
    sample: int | None = None,
    sort: bool = False,
    names: Collection[str] | None = None,
    videos: Sequence[str] | None = None,
) -> Iterator[pa.Table]:
    """Judged clips, table by table.

    Args:
        results: the store under a recipe.
        verdict: only kept, dropped or failed ones.
        where: only those for which a SQL expression holds.
        sample: so many at most, the same each time.
        sort: all in order of uri and time; else range by range, and only inside a range in that order.
        names: the columns wanted, besides verdict and reasons; default: those of `clips --json`.
        videos: only clips of these few, by video_id.

    Raises:
        UsageError: the expression cannot be used.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    names = results.line_columns if names is None else names
    tables = clips_where(results, where, names, videos) if where is not None else results.clip_tables(videos, names=names)
    if verdict is not None:
        tables = (clips.filter(pc.equal(clips["verdict"], pa.scalar(verdict))) for clips in tables)
    if sample is not None:
        best = sampled(tables, sample)
        return iter(() if best is None else (best,))
    return _sorted(results, tables) if sort else tables


def count_kept(results: Results) -> int:
    """How many clips of a store are kept under its recipe; only the columns that rules look at are read."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return sum(clips.filter(pc.equal(clips["verdict"], pa.scalar("kept"))).num_rows for clips in results.clip_tables(names=()))


def _sorted(results: Results, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The tables in order of uri and time, through scratch files of `PILE_VIDEOS` neighbours by uri each, which are sorted one by one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    uris: Any = results.reader.sources["uri"].combine_chunks().sort()
    if len(uris) <= PILE_VIDEOS:
        found = list(tables)
        if found:
            yield pa.concat_tables(found).sort_by(ORDER)
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rushes-")))
        piles: dict[int, pa.RecordBatchFileWriter] = {}
        for clips in tables:
            pile = pc.index_in(clips["uri"], value_set=uris).to_numpy() // PILE_VIDEOS
            for number in np.unique(pile).tolist():
                if number not in piles:
                    piles[number] = stack.enter_context(pa.ipc.new_file(str(folder / f"{number}.arrow"), clips.schema))
                piles[number].write_table(clips.filter(pa.array(pile == number)))
        for writer in piles.values():
            writer.close()
        for number in sorted(piles):
            with pa.OSFile(str(folder / f"{number}.arrow"), "rb") as file:
                yield pa.ipc.open_file(file).read_all().sort_by(ORDER)
