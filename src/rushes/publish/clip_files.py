"""Clip files for a target: those that the stage `files` has made, and else files that are cut now, each clip once.

The clips of one video are cut in one guarded child that opens their source once, several videos at a time: on this machine, or on the nodes
of the cluster on which the recipe's jobs are done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

from rushes.errors import Failure
from rushes.media.guard import Stopped
from rushes.publish.clip_media import cutting_recipe
from rushes.publish.cut_on_node import Holder
from rushes.publish.cutters import Cutter, Cutting, Here, OnCluster
from rushes.recipe import ClipSettings, Recipe
from rushes.records import Row
from rushes.results.lines import rows_of

if TYPE_CHECKING:
    import pyarrow as pa

    from rushes.media.storage import Options
    from rushes.publish.target import Context

LOOK_EVERY_S = 0.2
LEAST_CLIPS, MOST_PIECES = 8, 8
"""Clips that are encoded by one process at least, and processes that encode the clips of one video at most: each decodes the video from its
beginning to its last clip."""


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
    """Gives the files of clips. Use it as a context manager: leaving it ends the processes that cut.

    Args:
        recipe: how clips are cut, by how many processes, within which limits; they are encoded where it makes no files.
        folder: where files that are cut go; path or URL.
        options: options of the filesystems of sources and folder.
        stop: whether the work was interrupted.
        name: the name of a clip's file, without suffix; default: its clip_id in a folder of its first two characters.
        always: cut all clips, also those of which the stage `files` has made a file.
        clips: how they are cut instead.
        step: what the files are made for, as errors name it.
        holder: for whom nodes of the recipe's cluster cut; None: this machine cuts, whatever the recipe's runner.
    """

    def __init__(
        self, recipe: Recipe, folder: str, options: Options, stop: Callable[[], bool], *, name: Callable[[Row], str] | None = None,
        always: bool = False, clips: ClipSettings | None = None, step: str = "publish", holder: Holder | None = None,
    ) -> None:  # fmt: skip
        clips = clips or cutting_recipe(recipe).clips
        self._recipe = Recipe(scan=recipe.scan, clips=clips, resources=recipe.resources, engine=recipe.engine, storage=options)
        self._folder, self._name, self._always, self._stop, self._step = folder, name, always, stop, step
        self._holder = holder if recipe.engine.runner == "ray" else None
        self._cutter: Cutter | None = None

    @classmethod
    def of_target(cls, context: Context, folder: str, name: Callable[[Row], str] | None = None) -> ClipFiles:
        """Those of a target; the rest as above."""
        return cls(context.results.recipe, folder, context.options, context.stop, name=name, holder=context.holder)

    def __enter__(self) -> ClipFiles:
        return self

    def __exit__(self, *_: object) -> None:
        if self._cutter is not None:
            self._cutter.close()

    def of(self, tables: Iterable[pa.Table]) -> Iterator[list[ClipFile]]:
        """The files of the clips of some tables, those of one video after the other, in the order of the tables.

        Raises:
            Stopped: the work was interrupted. CannotGoOn: the folder cannot be written, or the cluster not be reached.
        """
        waiting: deque[tuple[list[Row], Cutting | None]] = deque()
        for rows in self._pieces(tables):
            cut = [row for row in rows if self._cuts(row)]
            waiting.append((rows, self._begun(cut) if cut else None))
            while len(waiting) > (self._cutter.room if self._cutter else 0):
                yield self._files(*waiting.popleft())
        while waiting:
            yield self._files(*waiting.popleft())

    def _cuts(self, row: Row) -> bool:
        return self._always or not row["clip_uri"]

    def _pieces(self, tables: Iterable[pa.Table]) -> Iterator[list[Row]]:
        """Neighbours of one video, which are cut by one process: all of it, but where fewer videos than processes are to be encoded."""
        import pyarrow.compute as pc

        for table in tables:
            n_videos = pc.count_distinct(table["video_id"]).as_py()
            for _, some in groupby(rows_of(table, dict), key=lambda row: (row["uri"], row["video_id"])):
                rows = list(some)
                n_cut = sum(map(self._cuts, rows)) if self._recipe.clips.mode == "encode" else 0
                most = min(MOST_PIECES, n_cut // LEAST_CLIPS)
                n = max(1, min(most, self._the_cutter().slots // n_videos if most > 1 else 1))
                bounds = [len(rows) * k // n for k in range(n + 1)]
                yield from (rows[start:end] for start, end in pairwise(bounds))

    def _the_cutter(self) -> Cutter:
        """Who cuts: found out when the first clip is to be cut, so that no cluster is joined for files that are there."""
        if self._cutter is None:
            if self._holder is None:
                self._cutter = Here(self._recipe, self._step)
            else:
                self._cutter = OnCluster(self._recipe, self._recipe.storage, self._holder, self._step, self._stop)
        return self._cutter

    def made(self, tables: Iterable[pa.Table], failed: MutableMapping[str, str], tell: Callable[[int], None]) -> Iterator[ClipFile]:
        """The files that there are, as `of`, one by one. Clips of which none can be made are noted in `failed`, and told."""
        for of_video in self.of(tables):
            for one in of_video:
                if one.error is None:
                    yield one
                else:
                    failed[one.row["clip_id"]] = one.error.what
                    tell(1)

    def _begun(self, rows: Sequence[Row]) -> Cutting:
        first = rows[0]
        job: dict[str, Any] = {
            "kind": "cut", "uri": first["uri"], "recipe": self._recipe.model_dump(mode="json"), "folder": self._folder,
            "video_id": first["video_id"], "time_pieces": first["time_pieces"],
            "spans": [(row["clip_id"], row["start_pts"], row["end_pts"]) for row in rows],
        }  # fmt: skip
        if self._name is not None:
            job["names"] = {row["clip_id"]: self._name(row) for row in rows}
        return self._the_cutter().submit(job)

    def _files(self, rows: Sequence[Row], cutting: Cutting | None) -> list[ClipFile]:
        made = self._cut(cutting, [row for row in rows if self._cuts(row)]) if cutting else {}
        return [made.get(row["clip_id"]) or ClipFile(row, str(row["clip_uri"])) for row in rows]

    def _cut(self, cutting: Cutting, rows: Sequence[Row]) -> Mapping[str, ClipFile]:
        """Waits for the files that are cut."""
        from rushes.operators.children import Failed

        cutter = self._the_cutter()
        try:
            while (found := cutter.take(cutting)) is None:
                if self._stop():
                    raise Stopped
                cutter.look()
                wait([cutting.future], LOOK_EVERY_S)
        except Failed as failed:
            return {row["clip_id"]: ClipFile(row, "", error=failed.failure) for row in rows}
        made = {one["clip_id"]: one for one in found}
        return {row["clip_id"]: _clip_file(row, made[row["clip_id"]]) for row in rows}


def _clip_file(row: Row, made: Row) -> ClipFile:
    if made["error"] is not None:
        return ClipFile(row, "", error=Failure(**made["error"]))
    return ClipFile(row, str(made["uri"]), made["n_frames"], made=made)
