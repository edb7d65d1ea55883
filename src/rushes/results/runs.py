"""Rows of `runs` as the contract has them, and whether a run that says that it is running still is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rushes.records import Row
from rushes.store.lease import EXPIRY_S
from rushes.store.store import Store, now
from rushes.store.tables import PUBLISHED

CRASHED_AFTER_S = EXPIRY_S
"""A running run whose heartbeat is older than this has crashed; one whose process is gone has at once."""
LATER: Row = {
    "scores_made": 0,
    "scores_pending": 0,
    "errors": {},
    "reasons": {},
    "capacity": {},
    "passed_over": {},
    "in_flight": 0,
    "decoded_now_s": 0.0,
    "videos_todo": 0,
    "footage_todo_s": 0.0,
}
"""What rows of older versions lack."""


def run_row(row: Mapping[str, Any], lease: Mapping[str, Any] | None) -> Row:
    """One row of `runs` as the contract has it; a running run that cannot be alive is "crashed".

    Args:
        row: as stored.
        lease: who holds the store now.
    """
    counts: Row = json.loads(row["counts"])
    status = row["status"]
    if status == "running" and not alive(row, lease):
        status = "crashed"
    times = {k: row[k].isoformat() if row[k] else None for k in ("started_at", "ended_at")}
    head = {"run_id": row["run_id"], "status": status, **times}
    rest = {name: row[name] for name in ("host", "pid", "profile", "message")}
    return head | LATER | counts | rest | {"versions": json.loads(row["versions"])}


def alive(row: Mapping[str, Any], lease: Mapping[str, Any] | None) -> bool:
    """Whether the run of a running run's row may still be at work: it holds the store, and its process or its heartbeat lives."""
    if lease is None or lease.get("run_id") != row["run_id"] or lease["dead"]:
        return False
    age_s = (now() - datetime.fromisoformat(lease["at"])).total_seconds()
    return age_s < CRASHED_AFTER_S


def published_rows(store: Store) -> list[Row]:
    """The rows of `published`, oldest first."""
    rows: list[Row] = store.read(PUBLISHED).to_pylist()
    return sorted(rows, key=lambda row: (row["ended_at"], row["publish_id"]))
