"""Who new files are: up to 4 MiB of each are read, and what was learnt is kept while reading goes on.

A million files are terabytes to read. So a run that takes long over it writes what it knows into the table `identities`: one that is killed
meanwhile, or before these videos are scanned, does not read them again.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any

from rushes import errors
from rushes.engine.fingerprints import identity_fingerprint
from rushes.engine.machine import cores
from rushes.engine.quarantine import quarantined
from rushes.engine.rows import Stamp
from rushes.engine.stages import start_engine
from rushes.errors import CannotGoOn
from rushes.log import note
from rushes.media.guard import Stopped
from rushes.media.identity import video_id
from rushes.media.storage import Options
from rushes.recipe import Recipe
from rushes.sources.found import Footage
from rushes.store.store import Store, now
from rushes.store.tables import IDENTITIES

Answer = dict[str, Any]
"""What `quarantined` gives: `{"done": {"video_id": ...}}` or `{"error": ...}`."""
Answers = list[tuple[int, Answer]]
"""Some answers, each with the place of its file among those asked for. Empty ones come too, so that the asker can look up."""

KEEP_EVERY_S = 10.0
"""Seconds of reading after which what was learnt is written, and again after each such time. A run that takes less over it writes none."""
THREADS_PER_CORE = 4
"""Files that are read at once: reading is mostly waiting for a disk or a server."""
LOOK_EVERY_S = 0.2


def one(address: str, size: int, options: Options) -> Answer:
    """Reads who a file is. Whatever goes wrong is an error of this file; one that is marked as fatal ends the run."""
    return quarantined(lambda: {"video_id": video_id(address, size, options)})


class Keeper:
    """Writes what a run learns of files into the table `identities`, every `KEEP_EVERY_S`.

    It writes before the run holds the lease, and needs none: each part has a name of its own and is never written anew, its rows say what
    was read and nothing of what is done, and two runs that read one file say the same of it. The store is made by the first write.

    Args:
        store: the store, there or not.
        recipe: the recipe.
        run_id: the run.
    """

    def __init__(self, store: Store, recipe: Recipe, run_id: str) -> None:
        self._store = store
        self._recipe = recipe
        self._run_id = run_id
        self._rows: list[dict[str, Any]] = []
        self._since = time.monotonic()
        self._begun = False

    def begin(self) -> None:
        """Counts the time from now on."""
        self._since, self._begun = time.monotonic(), False

    def take(self, item: Footage, video: str) -> None:
        """Takes what was learnt of a file, for the next write. Without a stamp nobody could tell whether the file is still the same."""
        if item.stamp:
            row = {"uri": item.uri, "video_id": video, "size_bytes": item.size, "stamp": item.stamp}
            self._rows.append(Stamp(self._run_id, now()).on(row, identity_fingerprint()))

    def write_if_due(self) -> None:
        """Writes what is held, if `KEEP_EVERY_S` have passed.

        Raises:
            StoreError: the folder holds other things, so no store can be made there.
            StorageError: the store cannot be written.
            MissingExtra, UsageError, CannotGoOn: the run's cluster cannot be joined; nothing was written.
        """
        if self._rows and time.monotonic() - self._since >= KEEP_EVERY_S:
            if not self._begun:
                if self._recipe.engine.runner == "ray":  # a request that turns out wrong is to write nothing
                    start_engine(self._recipe)
                Store.create(self._store.root, self._store.options)
                self._begun = True
            self._write()

    def end(self) -> None:
        """Writes what is left, if reading took so long that some was written before."""
        if self._begun:
            self._write()
        self._rows = []

    def _write(self) -> None:
        if rows := self._rows:
            self._store.write_rows(IDENTITIES, rows, name=f"{identity_fingerprint()[:8]}-{secrets.token_hex(10)}")
            note("identities kept", run_id=self._run_id, stage="identify", files=len(rows))
        self._rows, self._since = [], time.monotonic()


class Identifier:
    """Reads who files are.

    Args:
        recipe: the recipe.
        keeper: what keeps the answers; default: nothing is kept, as a plan does it.
        interrupted: set it to stop within seconds.
    """

    def __init__(self, recipe: Recipe, keeper: Keeper | None = None, interrupted: threading.Event | None = None) -> None:
        self._recipe = recipe
        self._keeper = keeper
        self._interrupted = interrupted or threading.Event()

    def answers(self, items: Sequence[Footage]) -> Iterator[tuple[int, Answer]]:
        """One answer for each file, as they come, with its place among them.

        Raises:
            Stopped: the run was interrupted.
            CannotGoOn: nothing can be read (a package is missing), or the store cannot be written.
        """
        if not items:
            return
        keeper = self._keeper
        if keeper is not None:
            keeper.begin()
        try:
            with closing(here(items, self._recipe.storage)) as come:
                for some in come:
                    for k, answer in some:
                        if "error" in answer and answer["error"]["fatal"]:
                            raise getattr(errors, answer["error"]["type"], CannotGoOn)(answer["error"]["message"])
                        if keeper is not None and "done" in answer:
                            keeper.take(items[k], answer["done"]["video_id"])
                        yield k, answer
                    if self._interrupted.is_set():
                        raise Stopped
                    if keeper is not None:
                        keeper.write_if_due()
        finally:
            if keeper is not None:
                keeper.end()


def here(items: Sequence[Footage], options: Options) -> Generator[Answers]:
    """Answers from this process, in the order in which they come; when it is closed, what is not begun is given up."""
    todo, n_threads = iter(enumerate(items)), THREADS_PER_CORE * cores()
    ended: SimpleQueue[Future[Answer]] = SimpleQueue()
    under_way: dict[Future[Answer], int] = {}
    threads = ThreadPoolExecutor(n_threads, thread_name_prefix="identities")
    try:
        while True:
            for k, item in islice(todo, 2 * n_threads - len(under_way)):
                future = threads.submit(one, item.address, item.size or 0, options)
                under_way[future] = k
                future.add_done_callback(ended.put)
            if not under_way:
                return
            yield [(under_way.pop(future), future.result()) for future in _arrived(ended)]
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _arrived(queue: SimpleQueue[Any]) -> list[Any]:
    """What is in a queue, after a short wait if there is nothing."""
    found: list[Any] = []
    try:
        found.append(queue.get(timeout=LOOK_EVERY_S))
        while True:
            found.append(queue.get_nowait())
    except Empty:
        return found
