"""Batches of clips through the scorers of one process: a frame is encoded once for all heads, and not at all where its vector is known."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rushes.errors import Failure, ModelError, ScoreError
from rushes.models.device import Device, choose, healthy
from rushes.models.encoder import Encoder
from rushes.quarantine import quarantined
from rushes.recipe_scores import ScoreSettings
from rushes.records import evenly
from rushes.scores.listed import scorers_of
from rushes.scores.scorer import ClipFrames, ClipVectors, EmbeddingScorer, FrameScorer, Scorer, Values

ENCODER = "encoder"
"""The encoder's name among the seconds."""
ALL = 1 << 30
"""So many frames no clip has: what a scorer that wants all of them is given at most."""
Vector = npt.NDArray[np.float16]
Known = Mapping[int, npt.NDArray[Any]]
"""Vectors of a clip's frames that are already there, by pts."""
C = TypeVar("C", ClipFrames, ClipVectors)


@dataclass(slots=True)
class Scored:
    """What came of a batch of clips.

    Attributes:
        values: of each clip, by scorer: its values, or why this scorer failed on it.
        vectors: of each clip, by pts: the vectors that were made in this call, to be stored.
        encoded: frames that went through the encoder.
        seconds: by scorer, and of the encoder as `ENCODER`: time on the wall, loading not counted.
    """

    values: list[dict[str, Values | ScoreError]]
    vectors: list[dict[int, Vector]]
    encoded: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))


class ScorePass:
    """The encoder and the scorers of one process, loaded once.

    Args:
        settings: the recipe's section.
        names: the scorers to load, of those that the recipe wants; None: all.
        device: "auto", "cpu", "cuda:0" ..., or one that was chosen before; see `models.device.choose`.

    Raises:
        RecipeError: `scores.use` names what is no scorer, or a scorer lacks a setting.
    """

    def __init__(self, settings: ScoreSettings, names: Collection[str] | None = None, device: str | Device = "auto") -> None:
        self.scorers: tuple[Scorer, ...] = tuple(s for s in scorers_of(settings) if names is None or s.name in names)
        self.device: Device | None = None
        self._settings, self._asked = settings, device
        self._encoder: Encoder | None = None

    def load(self, encoder: Encoder | None = None) -> None:
        """Loads every model, once.

        Args:
            encoder: a loaded encoder to use, instead of the one that the recipe names.

        Raises:
            MissingExtra: a package is not installed; the message names the line that installs it.
            ModelError: a model cannot be had or used; the message says what to set.
        """
        self.device = self._asked if isinstance(self._asked, Device) else choose(self._asked)
        s, self._encoder = self._settings, encoder
        if encoder is None and any(isinstance(scorer, EmbeddingScorer) for scorer in self.scorers):
            self._encoder = Encoder.load(s.encoder, s.encoder_revision, self.device, s.batch)
        for scorer in self.scorers:
            if isinstance(scorer, FrameScorer):
                scorer.load(self.device)
            elif isinstance(scorer, EmbeddingScorer) and self._encoder is not None:
                scorer.load(self._encoder)

    def pts_wanted(self, pts: Sequence[int], wanted: Collection[str] | None = None) -> list[int]:
        """Which of a clip's sampled frames the scorers look at, in order: the frames of which `score` needs the JPEG.

        Args:
            pts: of all sampled frames of the clip, in order.
            wanted: names of scorers; None: all.
        """
        counts = {scorer.images or ALL for scorer in self.scorers if wanted is None or scorer.name in wanted}
        return sorted({one for n in counts for one in evenly(pts, n)})

    def score(
        self, clips: Sequence[ClipFrames], wanted: Sequence[Collection[str]] | None = None, known: Sequence[Known] | None = None
    ) -> Scored:
        """Scores clips. Frames of all clips are batched together; what fails on one clip costs no other.

        Args:
            clips: with all their sampled frames, since a scorer takes evenly spread ones of these. Frames that `pts_wanted` does not name
                need no JPEG.
            wanted: of each clip, the names of the scorers that lack its row; None: all of all.
            known: of each clip, the vectors that are already there, as `Scored.vectors` gave them. Such a frame needs no JPEG for a head.

        Raises:
            CannotGoOn: what no later clip would survive either, such as a GPU that has broken down.
        """
        scored = Scored([{} for _ in clips], [{} for _ in clips])
        have = known or [{}] * len(clips)
        todo = {s.name: [i for i in range(len(clips)) if wanted is None or s.name in wanted[i]] for s in self.scorers}
        heads = [scorer for scorer in self.scorers if isinstance(scorer, EmbeddingScorer)]
        self._encode([(i, head.images) for head in heads for i in todo[head.name]], clips, have, scored)
        vectors = cache(lambda i, images: self._vectors(clips[i], images, have[i], scored.vectors[i]))
        for scorer in self.scorers:
            mine = todo[scorer.name]
            if isinstance(scorer, FrameScorer):
                taken = [replace(clips[i], pictures=tuple(evenly(clips[i].pictures, scorer.images or ALL))) for i in mine]
                self._run(scorer, scorer.score, mine, taken, clips, scored)
            elif isinstance(scorer, EmbeddingScorer):
                self._run(scorer, scorer.score, mine, [vectors(i, scorer.images) for i in mine], clips, scored)
        return scored

    def _encode(self, work: Sequence[tuple[int, int]], clips: Sequence[ClipFrames], known: Sequence[Known], scored: Scored) -> None:
        """Makes the vectors of the frames that heads look at, where they are not there. Equal JPEGs are encoded once.

        `work` has the index of a clip and the number of frames that a head looks at, for each head and clip.
        """
        seen = {(i, picture.pts): picture for i, images in set(work) for picture in evenly(clips[i].pictures, images or ALL)}
        lacking = [(i, picture) for (i, pts), picture in sorted(seen.items(), key=lambda one: one[0]) if pts not in known[i]]
        if not lacking:
            return
        assert self._encoder is not None, "load() comes before score()"
        jpegs = {jpeg: k for k, jpeg in enumerate(dict.fromkeys(picture.jpeg for _, picture in lacking))}
        begun = time.perf_counter()
        passed = self._encoder.pictures(list(jpegs))
        scored.seconds[ENCODER] += time.perf_counter() - begun
        scored.encoded += len(jpegs) - len(passed.faults)
        rows = passed.rows.astype(np.float16)
        for i, picture in lacking:
            if jpegs[picture.jpeg] not in passed.faults:
                scored.vectors[i][picture.pts] = rows[jpegs[picture.jpeg]]

    def _vectors(self, clip: ClipFrames, images: int, known: Known, made: Mapping[int, Vector]) -> ClipVectors | ScoreError:
        """The vectors of the frames that a head looks at, rounded as they are stored, so that a row does not depend on when it is made."""
        pts = [picture.pts for picture in evenly(clip.pictures, images or ALL)]
        rows = [known[one] if one in known else made[one] for one in pts if one in known or one in made]
        if len(rows) < len(pts):
            return ScoreError(f"{len(pts) - len(rows)} of its {len(pts)} frames cannot be decoded")
        return ClipVectors(clip.clip_id, tuple(pts), np.array(rows, np.float16).astype(np.float32))

    def _run(
        self, scorer: Scorer, score: Callable[[Sequence[C]], Sequence[Values | ScoreError]], mine: Sequence[int],
        taken: Sequence[C | ScoreError], clips: Sequence[ClipFrames], scored: Scored,
    ) -> None:  # fmt: skip
        """Has a scorer score its clips: all at once, and one by one where that raises."""
        if not mine:
            return
        begun = time.perf_counter()
        found: dict[int, Values | ScoreError] = {}
        able: list[tuple[int, C]] = []
        for i, clip in zip(mine, taken, strict=True):
            if isinstance(clip, ScoreError):
                found[i] = clip
            elif not clips[i].pictures:
                found[i] = ScoreError("no frame of it is stored")
            else:
                able.append((i, clip))

        def all_of(some: Sequence[tuple[int, C]]) -> dict[int, Values | ScoreError]:
            return dict(zip([i for i, _ in some], _checked(scorer, score([clip for _, clip in some]), len(some)), strict=True))

        together = quarantined(lambda: all_of(able)) if able else {}
        if isinstance(together, Failure):
            for one in able:
                alone = quarantined(partial(all_of, [one]))
                found |= {one[0]: self._failed(alone)} if isinstance(alone, Failure) else alone
        else:
            found |= together
        for i, values in found.items():
            scored.values[i][scorer.name] = _placed(values, scorer, clips[i]) if isinstance(values, ScoreError) else values
        scored.seconds[scorer.name] += time.perf_counter() - begun

    def _failed(self, failure: Failure) -> ScoreError:
        """What a scorer raised on one clip, as this clip's error.

        Raises:
            CannotGoOn: it concerns all clips.
        """
        if failure.fatal:
            raise failure.error()
        if self.device is not None and not healthy(self.device):
            what = f"{self.device.words} does no more work: {_last_line(failure)}"
            raise ModelError(what, step="scores", mend="start the run again; if it happens again, look at the GPU with nvidia-smi")
        return ScoreError(_last_line(failure), mend=failure.mend if failure.detail is None else None)


def _checked(scorer: Scorer, found: Sequence[Values | ScoreError], n: int) -> Sequence[Values | ScoreError]:
    """What a scorer gave, which may be the user's own code.

    Raises:
        ValueError: it is not one answer a clip with the columns that the scorer states.
    """
    names = {column.name for column in scorer.columns}
    if len(found) != n:
        raise ValueError(f"it gave {len(found)} answers for {n} clips")
    for values in found:
        if isinstance(values, ScoreError):
            continue
        if set(values) != names:
            raise ValueError(f"it gave the columns {', '.join(sorted(values))} and states {', '.join(sorted(names))}")
        if odd := [name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value)]:
            raise ValueError(f"it gave no finite number for {odd[0]}")
    return found


def _placed(error: ScoreError, scorer: Scorer, clip: ClipFrames) -> ScoreError:
    """The error with the scorer and the clip that it concerns."""
    what = f"the scorer {scorer.name} failed on the clip {clip.clip_id}: {error.what}"
    return ScoreError(what, uri=clip.uri, span_s=clip.span_s, step="scores", mend=error.mend)


def _last_line(failure: Failure) -> str:
    """What was raised: of an error that is none of ours its own words, as the last line of its details has them."""
    return failure.what if failure.detail is None else failure.detail.strip().splitlines()[-1]
