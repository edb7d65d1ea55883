"""The identity of each stage's rows: step, code version, parameters, weights or prompt; never workers, timeouts, storage or rules."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from rushes.captions import identity as caption_identity
from rushes.captions import needs as caption_needs
from rushes.measures.clip import VERSION as MEASURES_VERSION
from rushes.media.identity import VERSION as IDENTITY_VERSION
from rushes.recipe import Recipe
from rushes.scan.one_pass import FRAMES_VERSION
from rushes.scan.one_pass import VERSION as SCAN_VERSION
from rushes.shots.find import VERSION as SHOTS_VERSION

FILES_VERSION = 1
"""Raise when the clip files of the same clips change."""


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """One fingerprint a stage; None where the recipe does not want the stage."""

    scan: str
    frames: str | None
    shots: str
    measures: str
    captions: str | None
    files: str | None

    def as_dict(self) -> dict[str, str]:
        """Stage -> fingerprint, of the stages that are wanted."""
        return {name: value for name in self.__slots__ if (value := getattr(self, name)) is not None}


def _digest(step: str, *parts: Mapping[str, object] | str | int) -> str:
    return hashlib.sha256(json.dumps([step, *parts], sort_keys=True, default=str).encode()).hexdigest()[:32]


def identity_fingerprint() -> str:
    """The fingerprint of the table `identities`. It hangs on no recipe, and identity is no stage: a plan does not count it."""
    return _digest("identity", IDENTITY_VERSION)


def fingerprints(recipe: Recipe) -> Fingerprints:
    """The fingerprints of all stages under a recipe."""
    scan = _digest("scan", SCAN_VERSION, recipe.scan.model_dump(include={"mode", "grid_per_s", "detectors"}))
    look = recipe.frames.model_dump(include={"at", "per_s", "short_side_px", "quality"}) | {"mode": recipe.scan.mode}
    shots = _digest("shots", SHOTS_VERSION, recipe.shots.model_dump(), scan)
    measures = _digest("measures", MEASURES_VERSION, shots)
    rules = {name: rule.model_dump() for name, rule in recipe.rules.items()}
    keep = {"keep": recipe.frames.keep, "rules": rules, "of": measures} if recipe.frames.keep == "kept" else {}
    frames = None if recipe.frames.keep == "none" else _digest("frames", FRAMES_VERSION, look, keep)
    captions = files = None
    words, needs = caption_identity(recipe.captions), caption_needs(recipe.captions)
    if words is not None:
        sampled = {"per_clip": recipe.frames.per_clip, "look": look, "version": FRAMES_VERSION}
        captions = _digest("captions", words, *([sampled] if "frames" in needs else []), measures if "measures" in needs else "")
    if recipe.clips.mode != "reference":
        settings = recipe.clips.model_dump(include={"mode", "crf"} if recipe.clips.mode == "encode" else {"mode"})
        files = _digest("files", FILES_VERSION, settings)
    return Fingerprints(scan, frames, shots, measures, captions, files)
