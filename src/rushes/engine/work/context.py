"""What a guarded child holds between the jobs of one run: recipe, store, and rows on their way into it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from rushes.engine.jobs import Setup
from rushes.engine.stages import STAGES
from rushes.measures.clip import COLUMNS as MEASURE_COLUMNS
from rushes.media import storage
from rushes.media.faults import PATIENCE_S
from rushes.media.same_file import SameFile
from rushes.records import Column, Video
from rushes.rows.scanned import Rows, Stamp
from rushes.scan.one_pass import signal_columns
from rushes.store.buffer import Buffer
from rushes.store.store import now
from rushes.store.tables import CLIPS, ERRORS, MARKS, MEASURES, VIDEOS, Table

WRITING_S = 4 * PATIENCE_S
"""How long one write to the store may take: the lease is read, and the file is written, each with further tries."""


class Context:
    """One run in one child. A child writes what it finds itself: the rows of a job are durable before its outcome is reported.

    Attributes:
        recipe, prints, store, run_id: of the run. The store lets this process write only while the run holds its lease.
        tick: shows the guard that the job is alive, where no footage is decoded.
    """

    def __init__(self, setup: Setup) -> None:
        self.recipe = setup.recipe
        self.prints = setup.prints
        self.run_id = setup.run_id
        self.store = setup.gated_store()
        self.store.while_writing = self.alive
        self.tick: Callable[[], None] = lambda: None
        self._buffers: dict[str, Buffer] = {}

    @cached_property
    def signal_columns(self) -> Sequence[Column]:
        """Declared columns of the table `signals` under this recipe."""
        return signal_columns(self.recipe)

    def stamp(self) -> Stamp:
        """The last columns of rows that are made now."""
        return Stamp(self.run_id, now())

    def write(self, rows: Rows, table: Table | None = None) -> None:
        """Makes rows durable: those of the tables of videos, `marks` last, or of one stage's table and `errors`.

        Raises:
            StorageError: they could not be written.
        """
        name = table.name if table else ""
        if name not in self._buffers:
            of_videos = [(CLIPS, ()), (MEASURES, MEASURE_COLUMNS), (ERRORS, ()), (VIDEOS, ()), (MARKS, ())]
            self._buffers[name] = Buffer(self.store, [(table, ()), (ERRORS, ())] if table else of_videos)
        self._buffers[name].commit(rows)

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Shows the guard that the job is alive while the store is written or a model is loaded: a storage that does not answer is no hang
        of the decoder. After `WRITING_S` it is one all the same.
        """
        over = threading.Event()

        def show() -> None:
            until = time.monotonic() + WRITING_S
            while not over.wait(1.0) and time.monotonic() < until:
                self.tick()

        thread = threading.Thread(target=show, name="writing", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def wants_clips(self) -> bool:
        """Whether the recipe wants any stage of clips."""
        return bool(self.prints.keys() - {stage.name for stage in STAGES if stage.row == "video"})

    def same_file(self, video: Video) -> SameFile:
        """Watches that a video stays the one that was identified."""
        return SameFile(video, self.recipe.storage)

    @contextmanager
    def opened(self, video: Video) -> Iterator[str | Any]:
        """A video's source, as `scan` takes it: a path, or an open file."""
        source = storage.open_seekable(video.source, self.recipe.storage)
        try:
            yield source
        finally:
            if not isinstance(source, str):
                source.close()
