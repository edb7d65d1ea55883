"""How fast a store's own runs were, and what that says of the rows that are missing: hours, cores for each GPU, and costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rushes.engine.local import shares_here
from rushes.engine.plan.plan import Plan
from rushes.machine import cores
from rushes.recipe import Recipe
from rushes.records import Row
from rushes.store.store import Store
from rushes.store.tables import RUNS

DIGITS = 4
"""Significant digits of an estimate."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Estimates from the runs that made rows under the recipe's fingerprints; null where no run tells.

    Attributes:
        captions_per_s: clips that the caption servers caption a second when as many requests are under way as the run allows.
        tokens_per_s: tokens that they write a second meanwhile.
        cores_per_gpu: cores that scan as fast as one server captions, each server being one GPU's or one share of a GPU's.
        hours_to_go: until all that is missing is scanned and captioned, on this machine's cores and with the same servers.
        cost_to_go: of the captions that are missing, at the recipe's prices; null where the recipe states none.
    """

    captions_per_s: float | None = None
    tokens_per_s: float | None = None
    cores_per_gpu: float | None = None
    hours_to_go: float | None = None
    cost_to_go: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        """The same as numbers of few digits, as `plan --json` has them."""
        return {name: None if value is None else float(f"{value:.{DIGITS}g}") for name, value in asdict(self).items()}


def pace(store: Store | None, recipe: Recipe, plan: Plan) -> Pace:
    """What the store's own runs say of a plan; all is null where there is no store.

    Raises:
        StorageError: the store cannot be read.
    """
    if store is None:
        return Pace()
    runs = [json.loads(row["counts"]) for row in store.read(RUNS).to_pylist()]
    captions = _Sum.of(runs, "captions", plan.prints.get("captions"), "captions_made")
    scans = _Sum.of(runs, "scan", plan.prints["scan"], "footage_s", capacity=1)
    counts = plan.counts.get("captions", {})
    wanted, missing = int(counts.get("wanted", 0)), int(counts.get("missing", 0))
    clips_per_s = wanted / plan.known_s if plan.known_s and wanted else None
    to_caption = missing + plan.footage_s * (clips_per_s or 0.0)
    waits = [plan.footage_s / (scans.per_s * _cores(recipe))] if scans.per_s else [0.0] if not plan.footage_s else []
    waits += [to_caption / captions.per_s] if captions.per_s else []
    per_core = scans.per_s * clips_per_s if scans.per_s and clips_per_s else None
    return Pace(
        captions_per_s=captions.per_s,
        tokens_per_s=captions.per_s * captions.tokens[1] / captions.made if captions.per_s and captions.tokens[1] else None,
        cores_per_gpu=captions.per_s / _servers(recipe) / per_core if captions.per_s and per_core else None,
        hours_to_go=max(waits) / 3600.0 if waits and (captions.per_s or not to_caption) else None,
        cost_to_go=_cost(recipe, captions, to_caption),
    )


@dataclass(frozen=True, slots=True)
class _Sum:
    """What runs made of one stage: rows or seconds, in how many seconds of all its places, and with how many tokens read and written."""

    made: float
    full_s: float
    tokens: tuple[float, float]

    @classmethod
    def of(cls, runs: Sequence[Row], stage: str, fingerprint: str | None, count: str, capacity: int | None = None) -> _Sum:
        """Of the runs under a fingerprint. `capacity`: places of the stage; default: as each run says."""
        mine = [run for run in runs if fingerprint and run.get("fingerprints", {}).get(stage) == fingerprint and run.get(count)]
        full_s = sum(float(run["busy_s"].get(stage, 0.0)) / (capacity or run["capacity"].get(stage) or 1) for run in mine)
        tokens = [sum(float(run.get(name) or 0) for run in mine) for name in ("prompt_tokens", "completion_tokens")]
        return cls(sum(float(run[count]) for run in mine), full_s, (tokens[0], tokens[1]))

    @property
    def per_s(self) -> float | None:
        """What the stage makes a second when all its places are taken."""
        return self.made / self.full_s if self.made and self.full_s else None


def _cores(recipe: Recipe) -> int:
    return recipe.resources["scan"].concurrency or cores()


def _servers(recipe: Recipe) -> int:
    """Caption servers that are asked, or that a run starts on this machine."""
    if recipe.captions.engine == "serve":
        return len(shares_here(recipe))
    urls = recipe.captions.base_url
    return 1 if urls is None or isinstance(urls, str) else len(urls)


def _cost(recipe: Recipe, captions: _Sum, n: float) -> float | None:
    prices = (recipe.captions.price_per_million_prompt_tokens, recipe.captions.price_per_million_completion_tokens)
    if not any(prices) or not captions.made:
        return None
    return n * sum(price * tokens / captions.made / 1e6 for price, tokens in zip(prices, captions.tokens, strict=True))
