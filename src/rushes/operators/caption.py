"""The operator `Caption`: from clips with frames to words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import CancelledError
from typing import Any

import pyarrow as pa

from rushes.captions import Answer, Request, answer_schema, identity, needs
from rushes.captions.fields import field_values
from rushes.errors import RecipeError
from rushes.media.address import public_uri
from rushes.operators.asking import Asked, Asking
from rushes.operators.columns import CAPTION, caption_type
from rushes.operators.from_engine import caption_columns, clip_windows, even_pts, second, within
from rushes.operators.operator import Operator, Values, clips_of
from rushes.operators.problem import Problem, closed
from rushes.recipe import Recipe

NEEDS = ("clip_id", "start_pts", "time_base", "start_s", "end_s")
UNSPOKEN = ("frames", "reasons")
"""Fields of a clip that are no facts for words."""
_Clips = list[tuple[str, dict[str, Any] | None]]


class Caption(Operator):
    """Captions clips by the engine that the recipe names: `facts`, or any OpenAI-compatible server.

    A clip that cannot be captioned is an error in its row. A server that is away is asked again for `captions.patience_s`; then, and at
    once where it refuses the key or knows no such model, the call raises ServerError, since the fault is no clip's.

    Args:
        recipe: `captions`, `resources.captions.concurrency` and, where captions have windows, `frames.per_clip` are looked at; `Scan` of
            the same recipe gives the frames for each window. A prompt's path and the variables OPENAI_API_KEY and
            OPENAI_BASE_URL are read in the process that uses the operator.

    Raises:
        RecipeError: the engine is "none" or "serve", or the model or the prompt is missing.

    Attributes:
        returns: of the class: the type without a schema; of an operator: with the columns of the fields, where its prompt has a schema.
    """

    reads = ("uri", "clip")
    adds = "caption"
    returns = CAPTION

    def __init__(self, recipe: Recipe | None = None) -> None:
        whole = recipe or Recipe()
        if identity(whole.captions) is None:
            raise RecipeError('captions.engine = "none" makes no captions', step=self.adds, mend='set it to "facts" or "openai"')
        if whole.captions.engine == "serve":
            mend = 'start a server, name it with captions.base_url, and set captions.engine = "openai"'
            raise RecipeError('captions.engine = "serve" is for runs, which start and end servers', step=self.adds, mend=mend)
        self.settings = whole.captions
        self.returns = caption_type(caption_columns(whole))
        self._needs = (*NEEDS, "end_pts") if whole.captions.window_s else NEEDS
        self._window_s = whole.captions.window_s if "frames" in needs(whole.captions) else 0.0
        self._per_clip = whole.frames.per_clip
        self._schema = answer_schema(whole.captions)
        self._asking = Asking(whole.captions, whole.resources["captions"].concurrency)

    def column(self, *columns: Values) -> pa.Array[Any]:
        """The captions, for a column of uris and one of clips as `Scan` gives them. Null clips give null.

        The requests of a batch, and those of other threads, are under way together, at most
        `resources.captions.concurrency` of them.
        """
        clips = self._clips(*columns)
        try:
            return self._as_array(clips, self._asking.submit(self._asked(clips)).result())
        except CancelledError:
            raise closed(self.adds) from None

    async def column_async(self, *columns: Values) -> pa.Array[Any]:
        """The same for asynchronous UDFs: it holds no thread while the server works."""
        clips = self._clips(*columns)
        return self._as_array(clips, await asyncio.wrap_future(self._asking.submit(self._asked(clips))))

    def _asked(self, clips: _Clips) -> list[Asked]:
        return [self._about(uri, clip) for uri, clip in clips if clip is not None]

    def _about(self, uri: str, clip: dict[str, Any]) -> Asked:
        """What is asked about a clip: about each of its windows, where it has some, with as many frames as a run would send."""
        frames, pieces = list(clip.get("frames") or []), {}
        for window in clip_windows(clip, self._window_s):
            piece = within(clip, window)
            chosen = set(even_pts([frame["pts"] for frame in frames], piece["start_pts"], piece["end_pts"], self._per_clip))
            pieces[window] = _request(uri, {**piece, "frames": [frame for frame in frames if frame["pts"] in chosen]})
        return Asked(_request(uri, clip), pieces)

    def _clips(self, *columns: Values) -> _Clips:
        uris, clips = columns
        return list(zip(uris.to_pylist(), clips_of(clips, self.adds, self._needs), strict=True))

    def _as_array(self, clips: _Clips, answers: list[Answer]) -> pa.Array[Any]:
        left = iter(answers)
        return pa.array([None if clip is None else self._row(uri, clip, next(left)) for uri, clip in clips], self.returns)

    def _row(self, uri: str, clip: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
        return _row(uri, clip, answer) | field_values(answer.fields, self._schema)

    def close(self) -> None:
        """Closes the connections."""
        self._asking.close()


def _request(uri: str, clip: Mapping[str, Any]) -> Request:
    frames = clip.get("frames") or []
    return Request(
        clip["clip_id"],
        tuple(frame["jpeg"] for frame in frames),
        tuple(second(frame["pts"], clip) for frame in frames),
        {name: value for name, value in clip.items() if name not in UNSPOKEN},
        public_uri(uri),
        (clip["start_s"], clip["end_s"]),
    )


def _row(uri: str, clip: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    row: dict[str, Any] = {
        "text": answer.text, "fields": None if answer.fields is None else json.dumps(answer.fields, ensure_ascii=False),
        "model": answer.model, "prompt_id": answer.prompt_id, "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens, "seconds": answer.seconds, "tries": answer.tries,
        "finish_reason": answer.finish_reason, "server": answer.server, "error": None,
    }  # fmt: skip
    if answer.error_type is not None:
        row["error"] = Problem(
            error_type=answer.error_type, what=answer.error or "", uri=public_uri(uri), start_s=clip["start_s"], end_s=clip["end_s"],
            mend=answer.mend, permanent=True,
        )  # fmt: skip
    return row
