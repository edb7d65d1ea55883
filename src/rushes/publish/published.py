"""The store's table `published`: one row for each publish that wrote something, after it was checked."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
from datetime import datetime
from typing import TYPE_CHECKING

from rushes.publish.checks import Checked
from rushes.publish.target import Record, Written
from rushes.store.process import myself
from rushes.store.store import Store, now
from rushes.store.tables import PUBLISHED

if TYPE_CHECKING:
    from rushes.results import Results


def who() -> str:
    """The user and the machine, as user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may have a user without a name
        user = f"uid-{os.getuid()}"
    return f"{user}@{myself()['host']}"


def record_published(results: Results, target: str, record: Record, written: Written, checked: Checked, begun: datetime) -> None:
    """Adds the row of a publish. It is one more part of the table, which nothing else writes, so no lease is needed.

    Raises:
        StorageError: the store cannot be written. The target is as published; publishing again makes up for the row.
    """
    ended = now()
    row = {
        "publish_id": record.publish_id, "target": target, "version": written.version, "by": record.by, "started_at": begun,
        "ended_at": ended, "settings": json.dumps(dict(record.settings)), "counts": json.dumps(dict(record.counts)),
        "failed": len(written.failed), "bytes": written.bytes, "reader": checked.reader, "rows": checked.rows,
        "clips_checked": checked.clips, "frames_checked": checked.frames, "verdict": checked.verdict,
        "problems": json.dumps(list(checked.problems)),
        "fingerprint": hashlib.sha256(f"{target}\x1f{json.dumps(dict(record.settings))}".encode()).hexdigest()[:16],
        "run_id": record.run_ids[-1], "written_at": ended,
    }  # fmt: skip
    results.store.write_rows(PUBLISHED, [row], name=record.publish_id)


def is_recorded(store: Store, publish_id: str) -> bool:
    """Whether the table has the row of a publish."""
    return bool(store.read(PUBLISHED, columns=[], only={"publish_id": [publish_id]}).num_rows)
