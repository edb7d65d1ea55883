"""The written list of targets, and how `--to` names one."""

from __future__ import annotations

from importlib import import_module

from rushes.errors import UsageError
from rushes.publish.target import Target

TARGETS = {
    "files": "rushes.publish.targets.files:FilesTarget",
    "hf": "rushes.publish.targets.hf:HfTarget",
    "iceberg": "rushes.publish.targets.iceberg:IcebergTarget",
    "jsonl": "rushes.publish.targets.jsonl:JsonlTarget",
    "lance": "rushes.publish.targets.lance:LanceTarget",
    "lerobot": "rushes.publish.targets.lerobot:LerobotTarget",
    "paimon": "rushes.publish.targets.paimon:PaimonTarget",
    "parquet": "rushes.publish.targets.parquet:ParquetTarget",
    "webdataset": "rushes.publish.targets.webdataset:WebDatasetTarget",
}
"""Kind -> the class of the target, which is imported when it is used."""


def split_address(to: str) -> tuple[str, str]:
    """The kind and the place that `--to` names, such as `parquet` and `clips/` of `parquet:clips/`.

    Raises:
        UsageError: there is no such kind, or no place is named.
    """
    kind, colon, place = to.partition(":")
    if not colon or kind not in TARGETS or not place:
        mend = f"use {', '.join(f'{name}:' for name in TARGETS)} and then the place, such as parquet:clips"
        raise UsageError(f"{to!r} names no target", step="publish", mend=mend)
    return kind, place


def target_class(kind: str) -> type[Target]:
    """The class of a kind of target."""
    module, _, name = TARGETS[kind].partition(":")
    found: type[Target] = getattr(import_module(module), name)
    return found
