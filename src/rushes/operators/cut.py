"""The operator `CutClips`: from clips to files, by stream copy or by encoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from rushes.errors import CutError, Failure, RecipeError
from rushes.media.address import local_path, public_uri
from rushes.operators.children import Children, Failed
from rushes.operators.columns import FILE
from rushes.operators.from_engine import FAILURE
from rushes.operators.operator import Operator, Values, clips_of
from rushes.operators.problem import Problem, problem
from rushes.recipe import Recipe
from rushes.records import Row

NEEDS = ("clip_id", "start_pts", "end_pts")
Key = tuple[str, str, int, int]
"""uri, clip_id, start_pts, end_pts."""


class CutClips(Operator):
    """Writes clips to FOLDER/<first two characters of the clip_id>/<clip_id>.mp4 (.mov, .mkv where mp4 cannot hold the streams).

    The clips of one video in a batch are cut from one opening of their source, in a guarded child. A clip that cannot be cut is an
    error in its row; where the child dies, all clips of that video in the batch are. A complete file of an earlier call is kept.

    Args:
        folder: path or URL. A relative path is made absolute here, not in the process that uses the operator.
        recipe: `clips.mode` must be "copy" or "encode"; `clips.crf`, `storage`, and the limits in `scan` are looked at, too.

    Raises:
        RecipeError: `clips.mode` is "reference", the default, which writes no files.
    """

    reads = ("uri", "clip")
    adds = "file"
    returns = FILE

    def __init__(self, folder: str, recipe: Recipe) -> None:
        if recipe.clips.mode == "reference":
            raise RecipeError('clips.mode = "reference" writes no files', step=self.adds, mend='set clips.mode to "copy" or "encode"')
        self.recipe = Recipe(scan=recipe.scan, clips=recipe.clips, storage=recipe.storage)
        self.folder = local_path(folder) or folder
        self._children = Children(recipe.scan)

    def column(self, *columns: Values) -> pa.Array[Any]:
        """The files, for a column of uris and one of clips.

        A clip is a struct with `clip_id`, and `start_pts` and `end_pts` in ticks of the video's time base; `Scan` gives such clips. Where a
        video's clock broke, its `time_pieces` must be there too, as `Scan` gives them. Null clips give null.
        """
        uris, clips = columns
        keys: list[Key | None] = []
        pieces: dict[str, str | None] = {}
        for uri, clip in zip(uris.to_pylist(), clips_of(clips, self.adds, NEEDS), strict=True):
            keys.append(None if clip is None else (uri, clip["clip_id"], clip["start_pts"], clip["end_pts"]))
            if clip is not None:
                pieces[uri] = clip.get("time_pieces")
        found: dict[Key, Row] = {}
        by_uri: dict[str, list[Key]] = {}
        for key in dict.fromkeys(key for key in keys if key is not None):
            if key[2] < key[3]:
                by_uri.setdefault(key[0], []).append(key)
            else:
                found[key] = {"error": _empty(key)}
        for uri, wanted in by_uri.items():
            found |= self._files(uri, wanted, pieces[uri])
        return pa.array([None if key is None else found[key] for key in keys], FILE)

    def _files(self, uri: str, wanted: Sequence[Key], pieces: str | None) -> dict[Key, Row]:
        job = {
            "kind": "cut", "uri": uri, "recipe": self.recipe.model_dump(mode="json"), "folder": self.folder,
            "spans": [key[1:] for key in wanted], "time_pieces": pieces,
        }  # fmt: skip
        try:
            done = self._children.do(job, uri=uri, step=self.adds)
        except Failed as failed:
            return {key: {"error": problem(failed.failure)} for key in wanted}
        made = {result["clip_id"]: result for result in done["files"]}
        return {key: self._row(key, made[key[1]]) for key in wanted}

    def _row(self, key: Key, made: Row) -> Row:
        if made["error"] is not None:
            return {"error": problem(FAILURE.validate_python(made["error"]))}
        return {"clip_uri": made["uri"], "mode": self.recipe.clips.mode} | {
            k: made[k] for k in ("start_pts", "end_pts", "n_frames", "bytes", "width", "height")
        }

    def close(self) -> None:
        """Ends the children."""
        self._children.close()


def _empty(key: Key) -> Problem:
    what = f"clip {key[1]}: its span [{key[2]}, {key[3]}) is empty"
    return problem(Failure.of(CutError(what, uri=public_uri(key[0]), step="file", mend="give a clip an end after its start")))
