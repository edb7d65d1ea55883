"""The identity of each stage's rows: step, code version, parameters, weights or prompt; never workers, timeouts, storage or rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rushes.engine.stages import STAGES, digest
from rushes.media.identity import VERSION as IDENTITY_VERSION
from rushes.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """The fingerprints of the stages that a recipe wants.

    Attributes:
        by_stage: stage -> fingerprint, in the order of the list of stages.
    """

    by_stage: Mapping[str, str]

    def __hash__(self) -> int:
        return hash(tuple(self.by_stage.items()))

    def of(self, stage: str) -> str | None:
        """The fingerprint of a stage; None where it is not wanted."""
        return self.by_stage.get(stage)

    def as_dict(self) -> dict[str, str]:
        """Stage -> fingerprint, of the stages that are wanted."""
        return dict(self.by_stage)

    @property
    def scan(self) -> str:
        """Of the scan, which every recipe wants."""
        return self.by_stage["scan"]

    @property
    def frames(self) -> str | None:
        """Of the sampled frames."""
        return self.of("frames")

    @property
    def shots(self) -> str:
        """Of the clips, which every recipe wants."""
        return self.by_stage["shots"]

    @property
    def measures(self) -> str:
        """Of the measures, which every recipe wants."""
        return self.by_stage["measures"]

    @property
    def captions(self) -> str | None:
        """Of the captions."""
        return self.of("captions")

    @property
    def files(self) -> str | None:
        """Of the clip files."""
        return self.of("files")


def identity_fingerprint() -> str:
    """The fingerprint of the table `identities`. It hangs on no recipe, and identity is no stage: a plan does not count it."""
    return digest("identity", IDENTITY_VERSION)


def fingerprints(recipe: Recipe) -> Fingerprints:
    """The fingerprints of all stages under a recipe."""
    stages, made = {stage.name: stage for stage in STAGES}, dict[str, str | None]()

    def of(name: str) -> str:
        if name not in made:
            made[name] = stages[name].fingerprint(recipe, of)
        found = made[name]
        assert found is not None, f"a stage depends on {name}, which the recipe does not want"
        return found

    for stage in STAGES:
        if stage.name not in made:
            made[stage.name] = stage.fingerprint(recipe, of)
    return Fingerprints({name: found for name in stages if (found := made[name]) is not None})
