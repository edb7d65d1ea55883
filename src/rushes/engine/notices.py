"""How the recipe of a run differs from that of the run before, as a line for people."""

from __future__ import annotations

import json
from typing import Any

from rushes.engine.run_row import without_secrets
from rushes.recipe import Recipe
from rushes.store.store import Store
from rushes.store.tables import RUNS

SHOWN_KEYS = 6
"""Changed keys that are named one by one."""
OF_ROWS = ("scan", "shots", "frames", "rules", "scores", "captions", "clips")
"""Sections whose keys change rows or verdicts."""


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
