"""What a process of a Ray cluster does when clips are cut there for a target. Ray itself is not imported here."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rushes.engine.jobs import FAILURE
from rushes.engine.ray_processes import IDLE_S, BetweenTasks
from rushes.media.storage import Options
from rushes.operators.children import Children, Failed
from rushes.recipe import Recipe
from rushes.records import Row
from rushes.store.lease import OwnerCheck
from rushes.store.store import Store


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lease of a target: processes of other machines work for a publish only while it does.

    Attributes:
        store: root of the store that the lease lies in.
        options: of the store's filesystem.
        file: name of the lease in the store.
        owner: the holder's name, `Lease.owner`.
    """

    store: str
    options: Options
    file: str
    owner: str


class _Held:
    """What a worker process keeps between the tasks of one publish."""

    def __init__(self, recipe: Recipe, holder: Holder) -> None:
        self.children = Children(recipe.scan)
        self.between = BetweenTasks(self.children.end_idle)
        self.publish_holds_the_target = OwnerCheck(Store(holder.store, holder.options), holder.owner, IDLE_S, holder.file)


_HELD: dict[str, _Held] = {}
"""What this process keeps, by the holder of the lease: one entry at most, since a worker process serves one driver."""


def cut_on_node(recipe: Recipe, holder: Holder, job: dict[str, Any], step: str) -> Iterator[Any]:
    """One task: cuts clips of one video in a guarded child.

    Args:
        recipe: time and memory limits of the child.
        holder: for whom.
        job: as `operators.child.cut_video` takes it. Without a `folder` the files are cut to a scratch folder, and their bytes given.
        step: what the files are made for, as errors name it.

    Yields:
        What the child answered: {"files": rows} or {"error": failure}; uris are relative to the scratch folder, where there is one. Then,
        for each of the job's spans, the bytes of a file in the order of the rows; none where files have a folder, or a clip has no file.
    """
    if holder.owner not in _HELD:
        for other in list(_HELD):  # a program may make one publish after the other
            _HELD.pop(other).children.close()
        _HELD[holder.owner] = _Held(recipe, holder)
    held = _HELD[holder.owner]
    with tempfile.TemporaryDirectory(prefix="rushes-publish-") as scratch:
        files: list[Row] = []
        with held.between.at_work():
            try:
                wanted = {**job, "folder": job.get("folder", scratch)}
                files = held.children.do(wanted, uri=job["uri"], step=step, progress=lambda _seconds: held.publish_holds_the_target())[
                    "files"
                ]
                answer: Row = {"files": files}
            except Failed as failed:
                answer = {"error": FAILURE.dump_python(failed.failure, mode="json")}
        paths = [Path(file["uri"]) if file["uri"] and "folder" not in job else None for file in files]
        for file, path in zip(files, paths, strict=True):
            file["uri"] = os.path.relpath(path, scratch) if path else file["uri"]
        yield answer
        for path in paths or [None] * len(job["spans"]):
            yield path.read_bytes() if path else b""
