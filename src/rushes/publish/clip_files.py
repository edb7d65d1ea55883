"""Clip files for a target: those that the stage `files` has made, and else files that are cut now, each clip once.

The clips of one video are cut in one guarded child that opens their source once, several videos at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rushes.errors import Failure
from rushes.media.guard import Stopped
from rushes.publish.clip_media import cutting_recipe
from rushes.recipe import ClipSettings, Recipe
from rushes.records import Row
from rushes.results.lines import rows_of

if TYPE_CHECKING:
    import pyarrow as pa

    from rushes.media.storage import Options
    from rushes.operators.children import Children

LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class ClipFile:
    """The file of one clip.

    Attributes:
        row: the clip: a row of `Changes.rows`.
        uri: path or URL of the file; "" where there is none.
        n_frames: frames in it; None of a file of the stage `files`.
        error: why there is no file.
        made: what came of cutting it, the fields of `media.clip_span.CutResult`; None of a file of the stage `files`.
    """

    row: Row
    uri: str
    n_frames: int | None = None
    error: Failure | None = None
    made: Row | None = None


class ClipFiles:
    """Gives the files of clips. Use it as a context manager: leaving it ends the children.

    Args:
        recipe: how clips are cut, by how many processes, within which limits; they are encoded where it makes no files.
        folder: where files that are cut go; path or URL.
        options: options of the filesystems of sources and folder.
        stop: whether the work was interrupted.
        name: the name of a clip's file, without suffix; default: its clip_id in a folder of its first two characters.
        always: cut all clips, also those of which the stage `files` has made a file.
        clips: how they are cut instead.
        step: what the files are made for, as errors name it.
    """

    def __init__(
        self, recipe: Recipe, folder: str, options: Options, stop: Callable[[], bool], *, name: Callable[[Row], str] | None = None,
        always: bool = False, clips: ClipSettings | None = None, step: str = "publish",
    ) -> None:  # fmt: skip
        from rushes.operators.children import Children

        clips = clips or cutting_recipe(recipe).clips
        self._recipe = Recipe(scan=recipe.scan, clips=clips, resources=recipe.resources, storage=options)
        self._folder, self._name, self._always, self._stop, self._step = folder, name, always, stop, step
        self._children: Children = Children(recipe.scan)

    def __enter__(self) -> ClipFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._children.close()

    def of(self, tables: Iterable[pa.Table]) -> Iterator[list[ClipFile]]:
        """The files of the clips of some tables, those of one video after the other, in the order of the tables.

        Raises:
            Stopped: the work was interrupted. CannotGoOn: the folder cannot be written.
        """
        from rushes.engine.worker import worker_count

        threads = worker_count(self._recipe)
        waiting: deque[Future[list[ClipFile]]] = deque()
        rows = (row for table in tables for row in rows_of(table, dict))
        with ThreadPoolExecutor(threads, thread_name_prefix="publish") as pool:
            try:
                for _, some in groupby(rows, key=lambda row: (row["uri"], row["video_id"])):
                    waiting.append(pool.submit(self._of_video, list(some)))
                    while len(waiting) > 2 * threads:
                        yield self._next(waiting)
                while waiting:
                    yield self._next(waiting)
            finally:
                for future in waiting:
                    future.cancel()
                if waiting:  # it was stopped, or cannot go on
                    self._children.close()

    def made(self, tables: Iterable[pa.Table], failed: MutableMapping[str, str], tell: Callable[[int], None]) -> Iterator[ClipFile]:
        """The files that there are, as `of`, one by one. Clips of which none can be made are noted in `failed`, and told."""
        for of_video in self.of(tables):
            for one in of_video:
                if one.error is None:
                    yield one
                else:
                    failed[one.row["clip_id"]] = one.error.what
                    tell(1)

    def _next(self, waiting: deque[Future[list[ClipFile]]]) -> list[ClipFile]:
        while not waiting[0].done():
            if self._stop():
                raise Stopped
            wait([waiting[0]], LOOK_EVERY_S)
        found = waiting[0].result()
        waiting.popleft()
        return found

    def _of_video(self, rows: Sequence[Row]) -> list[ClipFile]:
        cut = [row for row in rows if self._always or not row["clip_uri"]]
        made = self._cut(cut) if cut else {}
        return [made.get(row["clip_id"]) or ClipFile(row, str(row["clip_uri"])) for row in rows]

    def _cut(self, rows: Sequence[Row]) -> Mapping[str, ClipFile]:
        from rushes.operators.children import Failed

        first = rows[0]
        job: dict[str, Any] = {
            "kind": "cut", "uri": first["uri"], "recipe": self._recipe.model_dump(mode="json"), "folder": self._folder,
            "video_id": first["video_id"], "time_pieces": first["time_pieces"],
            "spans": [(row["clip_id"], row["start_pts"], row["end_pts"]) for row in rows],
        }  # fmt: skip
        if self._name is not None:
            job["names"] = {row["clip_id"]: self._name(row) for row in rows}
        try:
            done = self._children.do(job, uri=first["uri"], step=self._step)
        except Failed as failed:
            return {row["clip_id"]: ClipFile(row, "", error=failed.failure) for row in rows}
        made = {one["clip_id"]: one for one in done["files"]}
        return {row["clip_id"]: _clip_file(row, made[row["clip_id"]]) for row in rows}


def _clip_file(row: Row, made: Row) -> ClipFile:
    if made["error"] is not None:
        return ClipFile(row, "", error=Failure(**made["error"]))
    return ClipFile(row, str(made["uri"]), made["n_frames"], made=made)
