"""What all operators have in common: they take an Arrow batch, add one column of structs to it, pickle as plain data, and can be closed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, Self

import pyarrow as pa

from rushes.errors import UsageError


class Values(Protocol):
    """A column of values: a `pyarrow.Array`, a `pyarrow.ChunkedArray` or a `daft.Series`."""

    def to_pylist(self) -> list[Any]:
        """The values as Python objects; None for null."""


class Operator(ABC):
    """A step of the work as a callable over batches.

    It holds plain data until it is first used, so it can be pickled and sent to the process that is to use it; processes, threads and
    connections are made there. Several threads may call one operator at once. `close`, the end of a `with` block, the end of the object
    and the end of its process all give them back.

    Attributes:
        reads: names of the columns that a batch must have.
        adds: name of the column that is added.
        returns: Arrow type of that column: a struct, whose field `error` is null where the row has a result. Rows that read a null
            are null.
    """

    reads: ClassVar[tuple[str, ...]]
    adds: ClassVar[str]
    returns: pa.StructType

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The batch with the column `adds`, for Ray Data's `map_batches` and for Arrow tables of any origin.

        Raises:
            UsageError: the batch lacks a column of `reads`, or the operator was closed.
            CannotGoOn: the fault is no row's: a full disk, a missing package, a caption server that is away.
        """
        if absent := [name for name in self.reads if name not in batch.column_names]:
            raise UsageError(
                f"the batch has no column {absent[0]!r}; its columns are {', '.join(batch.column_names)}",
                step=self.adds,
                mend=f"give it the columns {' and '.join(self.reads)}",
            )
        return batch.append_column(self.adds, self.column(*(batch[name] for name in self.reads)))

    @abstractmethod
    def column(self, *columns: Values) -> pa.Array[Any]:
        """The values of the column `adds` for columns given in the order of `reads`, all of one length; for Daft, whose UDFs take columns.

        Raises:
            UsageError, CannotGoOn: as when it is called with a batch.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends what the operator started. What is under way in other threads is given up with a UsageError, as is every later call."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def clips_of(values: Values, step: str, needs: Sequence[str]) -> list[dict[str, Any] | None]:
    """The clips of a column of structs.

    Raises:
        UsageError: a clip lacks one of the fields that the step `needs`.
    """
    clips = values.to_pylist()
    for clip in clips:
        if absent := [name for name in needs if clip is not None and clip.get(name) is None]:
            raise UsageError(
                f"a clip has no {absent[0]}; its fields are {', '.join(clip)}", step=step, mend=f"clips must have {', '.join(needs)}"
            )
    return clips
