"""The row of the table `runs`: rewritten while the run goes on, so that `rushes status` can look on from outside."""

from __future__ import annotations

import json
import os
import platform
import time
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from rushes.engine.rows import Stamp
from rushes.media.address import public_uri
from rushes.recipe import Recipe
from rushes.store.store import now
from rushes.store.tables import RUNS

if TYPE_CHECKING:
    from rushes.engine.session import Session

WRITE_EVERY_S = 2.0
LIBRARIES = ("rushes", "daft", "av", "opencv-python-headless", "numpy", "pyarrow", "openai")


class RunRow:
    """Writes the row of one run."""

    def __init__(self, session: Session, profile: str) -> None:
        self._session = session
        self._profile = profile
        self._started: datetime = now()
        self._written = 0.0

    def write_if_due(self, status: str) -> None:
        """Writes when the row in the store is older than `WRITE_EVERY_S`."""
        if time.monotonic() - self._written >= WRITE_EVERY_S:
            with self._session.storing():
                self.write(status)

    def write(self, status: str) -> None:
        """Writes the row with a status: running, finished or interrupted.

        Raises:
            StorageError: the store cannot be written.
        """
        session = self._session
        self._written = time.monotonic()
        counts = {**session.counts(), "runner": session.recipe.engine.runner, "fingerprints": session.prints.as_dict()}
        versions = {name: version(name) for name in LIBRARIES}
        row = {
            "status": status, "started_at": self._started, "ended_at": None if status == "running" else now(), "host": platform.node(),
            "pid": os.getpid(), "recipe": without_secrets(session.recipe).model_dump_json(), "profile": self._profile,
            "counts": json.dumps(counts), "versions": json.dumps(versions), "message": str(session.fatal) if session.fatal else None,
        }  # fmt: skip
        session.store.write_rows(RUNS, [Stamp(session.run_id, now()).on(row, "")], name=session.run_id)


def without_secrets(recipe: Recipe) -> Recipe:
    """The recipe as it may be stored: no storage options, no user or signature in the caption server's address."""
    address = recipe.captions.base_url
    captions = recipe.captions.model_copy(update={"base_url": public_uri(address) if address else None})
    return recipe.model_copy(update={"storage": {}, "captions": captions})
