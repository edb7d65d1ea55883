"""The operator `Scan`: from the uri of a video to its clips, in one decode."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from typing import Any

import pyarrow as pa

from rushes.errors import RecipeError
from rushes.operators.children import Children, Failed
from rushes.operators.columns import CLIP, ERROR, SCAN
from rushes.operators.from_engine import rule_columns
from rushes.operators.operator import Operator, Values
from rushes.operators.problem import Problem, problem
from rushes.recipe import Recipe
from rushes.verdict.checks import check_columns


@dataclass(frozen=True, slots=True)
class Video:
    """What came of one video: its clips with what is known of the whole, or the error."""

    clips: pa.StructArray | None = None
    video_id: str | None = None
    footage_s: float | None = None
    n_corrupt: int | None = None
    error: Problem | None = None


class Scan(Operator):
    """Decodes each video once, in a guarded child, and gives its clips with measures, verdicts and frames.

    A file that is broken, or that crashes the decoder, hangs it or fills its memory, is an error in its own row. Each thread that
    calls has a child of its own; a child stays under 1 GiB on ordinary footage and is ended at `scan.memory_gib`.

    Args:
        recipe: the sections `scan`, `shots`, `frames`, `rules` and `storage` are looked at. Each clip has at most `frames.per_clip` of the
            frames that `frames.keep` names, evenly spread; with `captions.window_s` so many for each of its windows.

    Raises:
        RecipeError: a rule looks at a column that is not there, or `scan.stream` is "all", which makes several videos of a file, or
            `scan.mode` is "sparse" and the detector needs every frame.
    """

    reads = ("uri",)
    adds = "scan"
    returns = SCAN

    def __init__(self, recipe: Recipe | None = None) -> None:
        whole = recipe or Recipe()
        check_columns(whole.rules, rule_columns(whole))
        if whole.scan.stream == "all":
            what = 'scan.stream = "all" makes several videos of a file, and an operator gives one result for each'
            raise RecipeError(what, step=self.adds, mend='set scan.stream to "film" or to the index of a stream')
        whole.check_sparse()
        self.recipe = Recipe(
            scan=whole.scan,
            shots=whole.shots,
            frames=whole.frames,
            rules=whole.rules,
            scores=whole.scores,
            storage=whole.storage,
            resources=whole.resources,
        )
        self._window_s = whole.captions.window_s
        self._children = Children(whole.scan)

    def column(self, *columns: Values) -> pa.StructArray:
        """What the scan found, for a column of uris: paths, or URLs that fsspec reads. Null uris give null."""
        (uris,) = columns
        return _as_array([None if uri is None else self._video(uri) for uri in uris.to_pylist()])

    def _video(self, uri: str) -> Video:
        with _handover() as (file, path):
            job = {"kind": "scan", "uri": uri, "recipe": self.recipe.model_dump(mode="json"), "window_s": self._window_s, "into": path}
            try:
                done = self._children.do(job, uri=uri, step=self.adds)
            except Failed as failed:
                return Video(error=problem(failed.failure))
            table = pa.ipc.open_stream(file).read_all()
        clips = pa.StructArray.from_arrays([column.combine_chunks() for column in table.columns], fields=list(CLIP))
        return Video(clips, done["video_id"], done["footage_s"], done["n_corrupt"])

    def close(self) -> None:
        """Ends the children."""
        self._children.close()


@contextmanager
def _handover() -> Iterator[tuple[BufferedReader, str]]:
    """A file for what a child hands back, and its path, under which the child opens it and then removes the name."""
    handle, path = tempfile.mkstemp(prefix="rushes-")
    try:
        with os.fdopen(handle, "rb") as file:
            yield file, path
    finally:
        with contextlib.suppress(FileNotFoundError):  # a child that died early, or never came, has left the name
            os.unlink(path)


def _as_array(videos: Sequence[Video | None]) -> pa.StructArray:
    found = [video or Video() for video in videos]
    parts = [video.clips for video in found if video.clips is not None]
    offsets = [0]
    for video in found:
        offsets.append(offsets[-1] + (0 if video.clips is None else len(video.clips)))
    values: Any = pa.concat_arrays(parts) if parts else pa.array([], CLIP)
    missing = pa.array([video.clips is None for video in found], pa.bool_())
    arrays: list[pa.Array[Any]] = [
        pa.array([video.video_id for video in found], pa.string()),
        pa.array([video.footage_s for video in found], pa.float64()),
        pa.array([video.n_corrupt for video in found], pa.int64()),
        pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, mask=missing),
        pa.array([video.error for video in found], ERROR),
    ]
    return pa.StructArray.from_arrays(arrays, fields=list(SCAN), mask=pa.array([video is None for video in videos], pa.bool_()))
