"""Rows out of one part: only the columns wanted, only the row groups that can hold what is asked for, one at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rushes.media import storage
from rushes.media.address import local_path
from rushes.store.parts import Asked, Part

if TYPE_CHECKING:
    import pyarrow as pa

FEW = 1024
"""Up to so many values are looked for in a column as they are; of more, those that a row group has are found first."""


class Rewritten(FileNotFoundError):
    """The part that was listed is gone: another one has its name, with the same rows and more."""


class Opened:
    """A part open for reading.

    Raises:
        FileNotFoundError: it is gone: a compaction has merged it into another. Or it is not as it was listed any more (`Rewritten`).
        OSError: it cannot be read.
    """

    def __init__(self, part: Part, options: storage.Options) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.part = part
        self._options = options
        path = local_path(part.uri)
        with ExitStack() as stack, self._as_listed():
            if path is None:
                from rushes.store.remote_parts import remote_part

                file = remote_part(part.uri, part.size, options)
            else:
                file = stack.enter_context(pa.OSFile(path, "rb"))  # not a Python file: Arrow's threads read it
            self._file = pq.ParquetFile(file, pre_buffer=path is None)
            self._stack = stack.pop_all()

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def _as_listed(self) -> Iterator[None]:
        """Turns a failure to read a part on an object store into `Rewritten` where a run has written it anew since it was listed."""
        try:
            yield
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            if local_path(self.part.uri) is None and storage.stat(self.part.uri, self._options).size != self.part.size:
                raise Rewritten(self.part.uri) from error
            raise

    @property
    def schema(self) -> pa.Schema:
        """The columns that the part has."""
        return self._file.schema_arrow

    @property
    def n_rows(self) -> int:
        """Number of rows, superseded ones too."""
        return int(self._file.metadata.num_rows)

    def tables(
        self, schema: pa.Schema | None = None, fingerprints: Sequence[str] | None = None, only: Mapping[str, Asked] | None = None
    ) -> Iterator[pa.Table]:
        """The rows, a row group at a time, with the columns of `schema`; one that the part lacks is null.

        Args:
            schema: columns wanted; default: those of the part.
            fingerprints: only rows of these.
            only: column -> values: only rows that have one of them. The other columns are read where some row has.
        """
        tests: list[tuple[str, Asked]] = [] if fingerprints is None else [("fingerprint", Asked(fingerprints))]
        tests += list((only or {}).items())
        for group in range(self._file.num_row_groups):
            if self._may_match(group, tests):
                with self._as_listed():
                    rows = self._matching(group, tests, schema or self.schema)
                if rows is not None:
                    yield rows

    @property
    def n_groups(self) -> int:
        """Number of row groups."""
        return int(self._file.num_row_groups)

    def between(self, group: int, column: str) -> tuple[Any, Any]:
        """Least and greatest value of a column in a row group, nulls aside; (None, None) where there is none, or it is not known."""
        stats = self._file.metadata.row_group(group).column(self._places[column]).statistics
        return (None, None) if stats is None or not stats.has_min_max else (stats.min, stats.max)

    def group(self, group: int, schema: pa.Schema, fingerprints: Sequence[str] | None = None) -> pa.Table:
        """The rows of one row group, with the columns of `schema`; only those of these fingerprints, where some are given."""
        tests = [] if fingerprints is None else [("fingerprint", Asked(fingerprints))]
        with self._as_listed():
            return self._matching(group, tests, schema) or schema.empty_table()

    def _matching(self, group: int, tests: Sequence[tuple[str, Asked]], schema: pa.Schema) -> pa.Table | None:
        mask: Any = True
        for column, asked in tests:
            mask = _and(mask, self._hits(group, column, asked))
        if mask is False:
            return None
        rows = self._shaped(group, schema)
        return rows if mask is True else rows.filter(mask)

    def _hits(self, group: int, column: str, asked: Asked) -> Any:
        """Which rows have a value that is asked for: True for all of them, False for none, else a mask."""
        import pyarrow as pa
        import pyarrow.compute as pc

        have = self._file.read_row_group(group, columns=[column])[column]
        values = asked.values
        if len(values) > FEW:
            values = values.intersection(pc.unique(have).to_pylist())
        mask: Any = pc.is_in(have, value_set=pa.array(values, have.type))
        n = pc.sum(mask).as_py() or 0
        return mask if 0 < n < len(have) else n > 0

    def _shaped(self, group: int, schema: pa.Schema) -> pa.Table:
        import pyarrow as pa

        have = set(self.schema.names)
        rows = self._file.read_row_group(group, columns=[n for n in schema.names if n in have])
        columns = [
            rows[f.name].cast(f.type) if f.name in have else pa.chunked_array([pa.nulls(rows.num_rows, f.type)], f.type) for f in schema
        ]
        return pa.Table.from_arrays(columns, schema=schema)

    def _may_match(self, group: int, tests: Sequence[tuple[str, Asked]]) -> bool:
        """Whether the row group's statistics leave room for the values asked for."""
        meta = self._file.metadata.row_group(group)
        for column, asked in tests:
            stats = meta.column(self._places[column]).statistics
            if stats is not None and stats.has_min_max and not asked.any_between(stats.min, stats.max):
                return False
        return True

    @cached_property
    def _places(self) -> dict[str, int]:
        """Column -> its number in every row group."""
        meta = self._file.metadata
        return {meta.schema.column(i).path: i for i in range(meta.num_columns)}


def _and(one: Any, other: Any) -> Any:
    """Both of two masks, where True and False stand for masks of one value."""
    import pyarrow.compute as pc

    if one is True or other is False:
        return other
    if other is True or one is False:
        return one
    both = pc.and_(one, other)
    return both if pc.any(both).as_py() else False


def gathered(tables: Collection[pa.Table], schema: pa.Schema) -> pa.Table:
    """Tables as one; an empty one where there is none."""
    import pyarrow as pa

    return pa.concat_tables(tables) if tables else schema.empty_table()
