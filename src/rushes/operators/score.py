"""The operator `Score`: from clips with frames to the scores of models."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from rushes.errors import Failure, RecipeError, ScoreError
from rushes.media.address import public_uri
from rushes.operators.columns import score_type
from rushes.operators.operator import Operator, Values, clips_of
from rushes.operators.problem import closed, problem
from rushes.recipe import Recipe
from rushes.scores.batch import ScorePass
from rushes.scores.listed import columns_of
from rushes.scores.scorer import ClipFrames, Picture

NEEDS = ("clip_id", "start_s", "end_s")
AT_ONCE = 32
"""Clips that are scored together."""


class Score(Operator):
    """Scores clips by the models that the recipe names, in this process, on its GPU where PyTorch sees one.

    A clip on which a scorer fails has an error in its row, and the columns of this scorer are null; those of the others are there. The
    models are loaded by the first call and stay until the operator is closed. Threads that call at once wait for each other.

    Args:
        recipe: `scores` is looked at. A scorer takes evenly spread ones of the frames that a clip brings.

    Raises:
        RecipeError: `scores.use` is empty or names what is no scorer, or a scorer lacks a setting.
    """

    reads = ("uri", "clip")
    adds = "score"

    def __init__(self, recipe: Recipe | None = None) -> None:
        self.settings = (recipe or Recipe()).scores
        self._columns = columns_of(self.settings)
        if not self._columns:
            raise RecipeError("scores.use names no scorer", step=self.adds, mend="name some, such as aesthetic; docs/scores.md lists them")
        self.returns = score_type(self._columns)
        self._lock = threading.Lock()
        self._pass: ScorePass | None = None
        self._closed = False

    def __reduce__(self) -> tuple[type[Score], tuple[Recipe]]:
        return Score, (Recipe(scores=self.settings),)

    def column(self, *columns: Values) -> pa.Array[Any]:
        """The scores, for a column of uris and one of clips as `Scan` gives them. Null clips give null.

        Raises:
            MissingExtra, ModelError: a model cannot be had.
            UsageError: the operator is closed.
        """
        uris, clips = columns
        pairs = list(zip(uris.to_pylist(), clips_of(clips, self.adds, NEEDS), strict=True))
        found: list[dict[str, Any] | None] = []
        for start in range(0, len(pairs), AT_ONCE):
            some = pairs[start : start + AT_ONCE]
            scored = iter(self._scored([_frames(uri, clip) for uri, clip in some if clip is not None]))
            found += [None if clip is None else next(scored) for _, clip in some]
        return pa.array(found, self.returns)

    def _scored(self, clips: list[ClipFrames]) -> list[dict[str, Any]]:
        with self._lock:
            if self._closed:
                raise closed(self.adds)
            if self._pass is None:
                made = ScorePass(self.settings)
                made.load()
                self._pass = made
            values = self._pass.score(clips).values if clips else []
        return [_row(of_clip) for of_clip in values]

    def close(self) -> None:
        """Lets go of the models."""
        with self._lock:
            self._closed, self._pass = True, None


def _frames(uri: str, clip: Mapping[str, Any]) -> ClipFrames:
    pictures = tuple(Picture(frame["pts"], frame["jpeg"]) for frame in clip.get("frames") or [])
    return ClipFrames(clip["clip_id"], pictures, public_uri(uri), (clip["start_s"], clip["end_s"]))


def _row(of_clip: Mapping[str, Any]) -> dict[str, Any]:
    """One row: the columns of all scorers, and the first error."""
    row: dict[str, Any] = {"error": None}
    for values in of_clip.values():
        if not isinstance(values, ScoreError):
            row |= values
        elif row["error"] is None:
            row["error"] = problem(Failure.of(values))
    return row
