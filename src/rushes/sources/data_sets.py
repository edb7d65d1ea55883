"""Data sets as footage: tables and folders of other systems, whose rows name videos as the rows of a list do.

A row gives a uri, a span if it has one, and further columns, which travel to videos and clips. Videos inside a tar are named by the tar and
the bytes that they take there, and are not copied.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rushes.errors import FootageError
from rushes.media.address import public_uri
from rushes.media.storage import Options
from rushes.sources.found import FootageCollector
from rushes.sources.lists import take_rows
from rushes.sources.rows import Row
from rushes.sources.span_lists import rows_in

Reader = Callable[[str, Options], tuple[Iterator[Mapping[str, Any]], str]]
"""Gives the rows of a data set at a place, each with `uri`, and the version that was read; "" where it has none."""


def _readers(paimon_python: str | None) -> dict[str, Reader]:
    from functools import partial

    from rushes.sources import data_folders, data_tables

    return {
        "lance": data_tables.lance,
        "iceberg": data_tables.iceberg,
        "paimon": partial(data_tables.paimon, python=paimon_python),
        "hf": data_folders.hugging_face,
        "webdataset": data_folders.web_dataset,
        "lerobot": data_folders.lerobot,
    }


KINDS = ("lance", "iceberg", "paimon", "hf", "webdataset", "lerobot")
"""What may stand before the place of a data set."""


def data_set(name: str) -> tuple[str, str] | None:
    """The kind and the place that a name such as `lance:clips.lance` means; None of a path that is there, and of a URL such as hf://..."""
    kind, colon, place = name.partition(":")
    if kind not in KINDS or not colon or not place or place.startswith("//") or os.path.lexists(name):
        return None
    return kind, place


def take_data_set(kind: str, place: str, options: Options, collector: FootageCollector, paimon_python: str | None = None) -> None:
    """Takes the videos that a data set names, with its other columns.

    Args:
        kind: one of `KINDS`.
        place: path or address, as each kind understands it.
        options: storage options by protocol.
        collector: takes what is found.
        paimon_python: the Python that has pypaimon, as `publish.paimon_python`.

    Raises:
        FootageError: it cannot be read, or a row of it; or it names no video.
        MissingExtra: the package that reads it is not installed.
    """
    shown = f"{kind}:{place if kind in ('iceberg', 'paimon') else public_uri(place)}"
    rows, version = _readers(paimon_python)[kind](place, options)
    found: list[Row] = []
    for number, row in enumerate(rows, 1):
        if not row.get("uri"):
            raise FootageError(f"row {number} names no video", uri=shown, mend="give each row a uri, or leave such rows out")
        found += rows_in(row, shown, f"row {number}")
    take_rows(f"{place.rstrip('/')}/", found, options, collector)
    collector.read_version(shown, version)
