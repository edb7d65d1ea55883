"""What is looked for, as a vector of the space in which the clips' vectors lie: of a text, of a picture, or that of a clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rushes.errors import UsageError
from rushes.media import storage
from rushes.media.address import public_uri
from rushes.models.device import choose
from rushes.models.encoder import Encoder
from rushes.no_pandas import let_pandas_in
from rushes.results import Results
from rushes.search.vectors import Vector, Vectors

DIGITS = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for.

    Attributes:
        vector: (d,) float32, of unit length.
        clip_id: the clip whose vector it is, which is not to be found; None of a text or a picture.
    """

    vector: Vector
    clip_id: str | None = None


def of_text(results: Results, text: str) -> Query:
    """The vector of a text, by the encoder of the recipe.

    Raises:
        UsageError: the text is empty. StoreError: the recipe wants no embeddings.
        MissingExtra: `rushes[models]` is not installed.
        ModelError: the encoder cannot be had, or the text is too long for it.
    """
    Vectors(results)  # says what is missing before a model is loaded
    if not text.strip():
        raise UsageError("there is nothing to look for: the text is empty", step="search", mend='name it, as in "a red door"')
    return Query(_encoder(results).texts([text])[0])


def of_example(results: Results, what: str) -> Query:
    """The vector of a clip, or of a picture. For a clip no model is loaded.

    Args:
        results: the store under a recipe.
        what: a clip_id or the beginning of one, or the path or URL of a picture.

    Raises:
        UsageError: there is no such clip or picture, several clips begin so, or the clip has no vector.
        StoreError, MissingExtra, ModelError: as for a text.
    """
    vectors = Vectors(results)
    found = results.reader.find_clips(what) if what and set(what) <= DIGITS else []
    if len(found) > 1:
        what = f"{len(found)} clips begin with {what}, such as {found[0][0]} and {found[1][0]}"
        raise UsageError(what, step="search", mend="give more of its digits")
    if found:
        vector = vectors.of_clip(*found[0])
        if vector is None:
            what = f"the clip {found[0][0]} has no embedding: the rules dropped it before it was scored, or its score failed or is pending"
            raise UsageError(
                what, step="search", mend=f"name another clip; `rushes explain {results.store.root} {found[0][0]}` tells of this one"
            )
        return Query(vector, found[0][0])
    return Query(_of_picture(results, what))


def _of_picture(results: Results, uri: str) -> Vector:
    options = results.store.options
    try:
        size = storage.stat(uri, options).size
        with storage.ranges(uri, options, size) as read:
            data = read(0, size or 0)
    except OSError as error:
        what = f"there is no clip and no picture {public_uri(uri)!r}: {error.strerror or error}"
        raise UsageError(
            what, step="search", mend=f"name a clip_id of `rushes clips {results.store.root}`, or a file with a picture"
        ) from error
    passed = _encoder(results).pictures([data])
    if passed.faults:
        raise UsageError(f"{public_uri(uri)} is no picture that can be read", step="search", mend="use a JPEG, PNG or WebP file")
    vector: Vector = passed.rows[0].astype(np.float32)
    return vector


def _encoder(results: Results) -> Encoder:
    let_pandas_in()
    settings = results.recipe.scores
    return Encoder.load(settings.encoder, settings.encoder_revision, choose(), settings.batch)
