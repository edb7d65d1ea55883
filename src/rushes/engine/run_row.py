"""The row of the table `runs`: rewritten while the run goes on, so that `rushes status` can look on from outside; and how the recipe of a
run differs from that of the newest row.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from rushes.counts.tally import Tally
from rushes.engine.stages import wanted_scores
from rushes.media.address import public_uri
from rushes.recipe import Recipe
from rushes.rows.scanned import Stamp
from rushes.store.store import Store, now
from rushes.store.tables import RUNS

WRITE_EVERY_S = 2.0
LIBRARIES = ("rushes", "daft", "av", "opencv-python-headless", "numpy", "pyarrow", "openai")
SHOWN_KEYS = 6
"""Changed keys that are named one by one."""
OF_ROWS = ("scan", "shots", "frames", "rules", "scores", "captions", "clips")
"""Sections whose keys change rows or verdicts."""


@dataclass
class RunRow:
    """Writes the row of one run."""

    store: Store
    recipe: Recipe
    prints: Mapping[str, str]
    run_id: str
    profile: str
    tally: Tally

    def __post_init__(self) -> None:
        scorers = {one.name: one.fingerprint for one in wanted_scores(self.recipe)}
        self._scorers = {"scorers": scorers} if scorers else {}
        self._started, self._written = now(), 0.0

    def write_if_due(self) -> None:
        """Writes when the row in the store is older than `WRITE_EVERY_S`.

        Raises:
            StorageError: the store cannot be written.
        """
        if time.monotonic() - self._written >= WRITE_EVERY_S:
            self.write("running")

    def write(self, status: str, message: str | None = None) -> None:
        """Writes the row with a status: running, finished or interrupted, and why the run could not go on.

        Raises:
            StorageError: the store cannot be written.
        """
        self._written = time.monotonic()
        counts = {**self.tally.as_dict(), "runner": self.recipe.engine.runner, "fingerprints": self.prints, **self._scorers}
        versions = {name: version(name) for name in LIBRARIES}
        row = {
            "status": status, "started_at": self._started, "ended_at": None if status == "running" else now(), "host": platform.node(),
            "pid": os.getpid(), "recipe": without_secrets(self.recipe).model_dump_json(), "profile": self.profile,
            "counts": json.dumps(counts), "versions": json.dumps(versions), "message": message,
        }  # fmt: skip
        self.store.write_rows(RUNS, [Stamp(self.run_id, now()).on(row, "")], name=self.run_id)


def without_secrets(recipe: Recipe) -> Recipe:
    """The recipe as it may be stored: no storage options, no user or signature in the caption servers' addresses."""
    named = recipe.captions.base_url
    address = public_uri(named) if isinstance(named, str) and named else tuple(map(public_uri, named)) if named else None
    captions = recipe.captions.model_copy(update={"base_url": address})
    return recipe.model_copy(update={"storage": {}, "captions": captions})


def recipe_change(store: Store, recipe: Recipe) -> str | None:
    """A line that names the keys in which a recipe differs from that of the store's newest run; None where it does not, or there is none.

    Keys that the newest run's release did not have are left out.

    Raises:
        StorageError: the store cannot be read.
    """
    rows: list[dict[str, Any]] = store.read(RUNS).to_pylist()
    if not rows:
        return None
    newest = max(rows, key=lambda row: (row["started_at"], row["run_id"]))
    before, now = json.loads(newest["recipe"]), without_secrets(recipe).model_dump(mode="json")
    changes = []
    for section in OF_ROWS:
        old, new = before.get(section, {}), now[section]
        if section == "rules":
            old, new = _flat(old), _flat(new)
            keys = [*old, *(key for key in new if key not in old)]
        else:
            keys = [key for key in new if key in old]
        changes += [f"{section}.{key} {_shown(old.get(key))} -> {_shown(new.get(key))}" for key in keys if old.get(key) != new.get(key)]
    if not changes:
        return None
    more = f", and {len(changes) - SHOWN_KEYS} more" if len(changes) > SHOWN_KEYS else ""
    return f"the recipe differs from that of the last run: {', '.join(changes[:SHOWN_KEYS])}{more}"


def _flat(rules: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {f"{name}.{key}": value for name, rule in rules.items() for key, value in rule.items()}


def _shown(value: Any) -> str:
    return "unset" if value is None else json.dumps(value, ensure_ascii=False)
