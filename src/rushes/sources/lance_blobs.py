"""Videos in a column of blobs of a Lance dataset, by the file and the bytes in which each lies, so that they are read there by ranges.

Where Lance keeps a blob is told by its description (pylance 14, file versions 2.0 to 2.2). `kind` 0 is in the data file, at `position`;
1 is in a file of several blobs beside it and 2 in a file of its own, which are named by `blob_id`; 3 is elsewhere, at `blob_uri`. Datasets
before 2.2 have `position` and `size` alone, in the data file. Of each kind the beginning of one blob is compared with what Lance itself
reads, since these places are Lance's own affair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rushes.errors import FootageError
from rushes.media.address import local_path, range_uri
from rushes.media.storage import Options, ranges

INLINE, PACKED, DEDICATED, EXTERNAL = range(4)
ROW = "_rowaddr"
COMPARED = 64
"""Bytes of a blob that are compared."""


def blob_column(data: Any) -> str | None:
    """The first column of blobs of a dataset that has no column `uri`."""
    if "uri" in data.schema.names:
        return None
    return next((one.name for one in data.schema if _is_blob(one)), None)


def _is_blob(field: Any) -> bool:
    marked = (field.metadata or {}).get(b"lance-encoding:blob") == b"true"
    return marked or getattr(field.type, "extension_name", "") == "lance.blob.v2"


def rows_by_blob(data: Any, column: str, names: list[str], options: Options, shown: str) -> Iterator[Mapping[str, Any]]:
    """The rows that have a blob: the columns `names`, and `uri`, where the blob lies.

    Args:
        data: the dataset.
        column: the blobs.
        names: the other columns that are wanted.
        options: storage options by protocol.
        shown: the dataset's name, for errors.

    Raises:
        FootageError: a blob is not where it is looked for.
    """
    compared: set[int] = set()
    [number] = [field.id() for field in data.lance_schema.fields() if field.name() == column]
    scanner = data.scanner(columns=[*names, column], with_row_address=True, blob_handling="blobs_descriptions")
    for batch in scanner.to_batches():
        for row in batch.to_pylist():
            described, address = row.pop(column), row.pop(ROW)
            if described is None or not (described["size"] or described.get("blob_uri")):
                continue
            kind = described.get("kind", INLINE)
            uri = _file(data, address >> 32, number, kind, described, shown)
            if kind != EXTERNAL or described["size"]:
                uri = range_uri(uri, described["position"], described["size"])
            if kind not in compared:
                _compare(data, column, address, uri, options, shown)
                compared.add(kind)
            yield {**row, "uri": uri}


def _file(data: Any, fragment: int, field: int, kind: int, described: Mapping[str, Any], shown: str) -> str:
    """The file that holds a blob."""
    [file] = [file for file in data.get_fragment(fragment).metadata.files if field in file.fields]
    if described["blob_id"] if kind == EXTERNAL else getattr(file, "base_id", None):
        what = "blobs lie in a registered base, another place than the dataset"
        raise FootageError(what, uri=shown, mend="copy the dataset to one place, or name the videos in a column uri")
    if kind == EXTERNAL:
        return local_path(described["blob_uri"]) or str(described["blob_uri"])
    path = f"{data.uri.rstrip('/')}/data/{file.path}"
    if kind == INLINE:
        return path
    return f"{path.removesuffix('.lance')}/{format(described['blob_id'], '032b')[::-1]}.blob"


def _compare(data: Any, column: str, address: int, uri: str, options: Options, shown: str) -> None:
    """Raises:
    FootageError: Lance reads other bytes.
    """
    [blob] = data.take_blobs(column, addresses=[address])
    wanted = blob.read_range(0, min(COMPARED, blob.size()))
    try:
        with ranges(uri, options) as read:
            found = read(0, len(wanted))
    except OSError as error:
        raise FootageError(f"a blob is not at {uri}: {error}", uri=shown, mend=MEND) from error
    if found != wanted:
        raise FootageError(f"the bytes at {uri} are not those that Lance reads", uri=shown, mend=MEND)


MEND = "this version of Lance keeps blobs elsewhere: publish the videos as files, and name these in a column uri"
