"""The identity of each stage's rows: step, code version, parameters, weights or prompt; never workers, timeouts, storage or rules."""

from __future__ import annotations

from rushes.engine.stages import STAGES, digest
from rushes.media.identity import VERSION as IDENTITY_VERSION
from rushes.recipe import Recipe


def identity_fingerprint() -> str:
    """The fingerprint of the table `identities`. It hangs on no recipe, and identity is no stage: a plan does not count it."""
    return digest("identity", IDENTITY_VERSION)


def fingerprints(recipe: Recipe) -> dict[str, str]:
    """Stage -> fingerprint, of the stages that a recipe wants, in the order of the list of stages."""
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
    return {name: found for name in stages if (found := made[name]) is not None}
