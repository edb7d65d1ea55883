"""The written list of stages. A stage is added here, once: with its file of work, its table and its fingerprint.

The plan, the comparison of what is wanted with what is there, the loop, the counts and the docs all walk this list.

The stages of videos (`scan`, `frames`, `shots`, `measures`) are made together, by the jobs that the first of them names: one pass over a
video. A stage of clips works on the clips that the rules keep, when these are known.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rushes.captions import identity as caption_identity
from rushes.captions import needs as caption_needs
from rushes.errors import RecipeError
from rushes.measures.clip import VERSION as MEASURES_VERSION
from rushes.media.encoding import encoding_of
from rushes.recipe import TRANSNET, Recipe, StageResources
from rushes.rows.clip_columns import later_columns
from rushes.rows.scored import WantedScore
from rushes.scan.one_pass import FRAMES_VERSION
from rushes.scan.one_pass import VERSION as SCAN_VERSION
from rushes.scan.sparse import VERSION as SPARSE_VERSION
from rushes.scan.transnet import identity as transnet_identity
from rushes.scores.listed import encoder_identity, identity_of, scorers_of
from rushes.scores.scorer import EmbeddingScorer
from rushes.shots.content import THRESHOLD as CONTENT_THRESHOLD
from rushes.shots.find import VERSION as SHOTS_VERSION
from rushes.store.tables import ALIGNMENT, CAPTIONS, CLIPS, FILES, FRAMES, MEASURES, SCORES, VIDEOS, Table

ALIGNMENT_VERSION = 1
"""Raise when the same caption and vectors give another agreement."""
FILES_VERSION = 1
"""Raise when the clip files of the same clips change."""

Of = Callable[[str], str]
"""Gives the fingerprint of another stage of the list, on which a stage's rows depend."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage.

    Attributes:
        name: its name in the recipe's `[resources]`, in `plan --json`, and in the column `stage` of the store's tables.
        row: what one row of it is about: a video (a `mark` says that it is complete) or a clip (its own row says so).
        doc: what the stage makes, in a few words.
        table: where its rows lie.
        fingerprint: the identity of its rows under a recipe; None where the recipe does not want the stage.
        job: the name of its jobs on Ray's dashboard; empty where another stage's jobs make its rows.
        work: of a stage of clips, what a job does: "module:function", called as `function(context, job, progress)` in a guarded
            child (`work/child.py`); empty for captions, which one asynchronous captioner makes (`work/captions.py`), and for scores, which
            processes of their own make (`work/scores.py`).
    """

    name: str
    row: Literal["video", "clip"]
    doc: str
    table: Table
    fingerprint: Callable[[Recipe, Of], str | None]
    job: str = ""
    work: str = ""


def digest(step: str, *parts: object) -> str:
    """32 hex digits that name a step and everything that changes its rows: SHA-256 over canonical JSON."""
    return hashlib.sha256(json.dumps([step, *parts], sort_keys=True, default=str).encode()).hexdigest()[:32]


def content_threshold(recipe: Recipe) -> float | None:
    """Content from which a frame is a cut, where the detector is `content`; None where shots are not found by it. In sparse mode the pass
    looks for cuts itself, to decode what lies around them.
    """
    threshold = recipe.shots.threshold
    return None if recipe.shots.detector != "content" else CONTENT_THRESHOLD if threshold is None else threshold


def _scan(recipe: Recipe, of: Of) -> str:
    settings = recipe.scan.model_dump(include={"mode", "grid_per_s", "detectors", "hole_s"})
    if recipe.scan.mode != "sparse":
        network = [transnet_identity()] if TRANSNET in recipe.scan.detectors else []
        return digest("scan", SCAN_VERSION, settings, *network)
    bursts = recipe.scan.model_dump(include={"sparse_burst", "sparse_s"}) | {"content": content_threshold(recipe)}
    return digest("scan", SCAN_VERSION, settings, SPARSE_VERSION, bursts)


def _look(recipe: Recipe) -> dict[str, object]:
    """What decides how a sampled frame looks."""
    sparse: dict[str, object] = {}
    if recipe.scan.mode == "sparse":  # of what is decoded whole for cuts by content, frames between key frames are stored, too
        sparse = {"sparse_s": recipe.scan.sparse_s, "version": SPARSE_VERSION, "content": content_threshold(recipe)}
    return recipe.frames.model_dump(include={"at", "per_s", "short_side_px", "quality"}) | {"mode": recipe.scan.mode} | sparse


def _frames(recipe: Recipe, of: Of) -> str | None:
    if recipe.frames.keep == "none":
        return None
    later = {column.name for column in later_columns(recipe)}  # frames are chosen before scores and captions are known
    rules = {name: rule.model_dump() for name, rule in recipe.rules.items() if (rule.column or name) not in later}
    keep = {"keep": recipe.frames.keep, "rules": rules, "of": of("measures")} if recipe.frames.keep == "kept" else {}
    return digest("frames", FRAMES_VERSION, _look(recipe), keep)


def _shots(recipe: Recipe, of: Of) -> str:
    shots = recipe.shots  # keys that came later are left out while they are off, so that older rows are still right
    settings = shots.model_dump(exclude={key for key in ("within_spans", "trim_idle") if not getattr(shots, key)})
    return digest("shots", SHOTS_VERSION, settings, of("scan"))


def _measures(recipe: Recipe, of: Of) -> str:
    return digest("measures", MEASURES_VERSION, of("shots"))


def wanted_scores(recipe: Recipe) -> tuple[WantedScore, ...]:
    """The scorers that a recipe wants, each with the fingerprint of its rows: its own identity, and how frames look and are chosen.

    Raises:
        RecipeError: there is no such scorer, or it lacks a setting.
    """
    frames = {"look": _look(recipe), "version": FRAMES_VERSION}
    return tuple(
        WantedScore(scorer.name, digest("scores", scorer.name, identity_of(scorer, recipe.scores), frames), scorer.columns)
        for scorer in scorers_of(recipe.scores)
    )


def embeddings_fingerprint(recipe: Recipe) -> str | None:
    """The fingerprint of the table `embeddings`: the encoder's identity, and how frames look; None where no scorer takes embeddings."""
    if not any(isinstance(scorer, EmbeddingScorer) for scorer in scorers_of(recipe.scores)):
        return None
    return digest("embeddings", encoder_identity(recipe.scores), {"look": _look(recipe), "version": FRAMES_VERSION})


def _scores(recipe: Recipe, of: Of) -> str | None:
    """One name for the fingerprints of all scorers: each row has that of its own scorer."""
    wanted = wanted_scores(recipe)
    return digest("scores", sorted(one.fingerprint for one in wanted)) if wanted else None


def _captions(recipe: Recipe, of: Of) -> str | None:
    words, needs = caption_identity(recipe.captions), caption_needs(recipe.captions)
    if words is None:
        return None
    sampled = {"per_clip": recipe.frames.per_clip, "look": _look(recipe), "version": FRAMES_VERSION}
    return digest("captions", words, *([sampled] if "frames" in needs else []), of("measures") if "measures" in needs else "")


def _alignment(recipe: Recipe, of: Of) -> str | None:
    """Wanted where a model makes captions and an encoder looks at frames."""
    vectors = embeddings_fingerprint(recipe) if "frames" in caption_needs(recipe.captions) else None
    return None if vectors is None else digest("alignment", ALIGNMENT_VERSION, vectors, of("captions"))


def _files(recipe: Recipe, of: Of) -> str | None:
    if recipe.clips.mode == "reference":
        return None
    encoding = encoding_of(recipe.clips)
    settings = {"mode": recipe.clips.mode} | ({"crf": encoding.crf, **encoding.changed} if encoding else {})
    return digest("files", FILES_VERSION, settings)


STAGES: list[Stage] = [
    Stage("scan", "video", "signals of every frame, from the one decode", VIDEOS, _scan, job="scan"),
    Stage("frames", "video", "sampled frames as JPEG, from the same decode", FRAMES, _frames),
    Stage("shots", "video", "clips, cut from the signals", CLIPS, _shots, job="recut"),
    Stage("measures", "video", "measures of each clip, from the signals", MEASURES, _measures),
    Stage("scores", "clip", "scores of kept clips by models, on sampled frames; the rules then look at them", SCORES, _scores, job="score"),
    Stage("captions", "clip", "words for kept clips", CAPTIONS, _captions, job="caption"),
    Stage(
        "alignment",
        "clip",
        "how well captions fit their frames, by the encoder",
        ALIGNMENT,
        _alignment,
        job="align",
        work="rushes.engine.work.alignment:align",
    ),
    Stage("files", "clip", "kept clips as files", FILES, _files, job="cut", work="rushes.engine.work.files:cut"),
]


def stages_of_spans(recipe: Recipe) -> frozenset[str]:
    """The stages of videos whose rows hang on the spans that a list gives of a video: their marks name these spans."""
    return frozenset({"shots", "measures"} | ({"frames"} if recipe.frames.keep == "kept" else set()))


def clip_stages() -> list[Stage]:
    """The stages of clips, in the order of the list."""
    return [stage for stage in STAGES if stage.row == "clip"]


def resources(recipe: Recipe, stage: str) -> StageResources:
    """What one job of a stage takes; reading identities, which is no stage, takes one CPU."""
    return recipe.resources.get(stage, StageResources())


def check_resources(recipe: Recipe) -> None:
    """Makes sure that `[resources]` names stages only.

    Raises:
        RecipeError: it names something else.
    """
    names = [stage.name for stage in STAGES if stage.job]
    for name in recipe.resources:
        if name not in names:
            what = f"resources.{name}: there is no stage of that name that has jobs; the stages are {', '.join(names)}"
            raise RecipeError(what, step="recipe", mend="name one of them")
