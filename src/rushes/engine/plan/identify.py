"""Identities of new files: their `video_id` is computed from up to 4 MiB of each, by jobs like any other, and recorded meanwhile.

A million files are terabytes to read. So a run on Ray shares them among the nodes, and a run that reads for long writes the identities into
the table `identities`: if it is killed meanwhile, or before these videos are scanned, the next run does not read them again.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from rushes.counts.tally import Tally
from rushes.engine.executor import Executor
from rushes.engine.fingerprints import identity_fingerprint
from rushes.engine.jobs import File, Identify, Outcome, Setup
from rushes.engine.local import Local
from rushes.engine.loop import Loop
from rushes.errors import Failure
from rushes.log import note
from rushes.recipe import Recipe
from rushes.records import Row
from rushes.rows.scanned import Stamp
from rushes.sources.found import Footage
from rushes.store.forgotten import Forgotten
from rushes.store.store import Store, now
from rushes.store.tables import IDENTITIES

KEEP_EVERY_S = 10.0
"""Seconds of reading after which the identities are written, and again after each such time. A run that reads for less writes none."""
TELL_EVERY_S = 10.0
"""How often a line for people says how far reading has come, seconds: as often as lines about the run that follows."""
SPREAD_ABOVE = 1000
"""More new files than these are shared among the nodes of a cluster; so few are 4 GB at most, 43 s at 100 MB/s."""


class Keeper:
    """Writes the identities that a run has read into the table `identities`, every `KEEP_EVERY_S`.

    It writes before the run holds the lease, and needs none: each part has a name of its own and is never written anew, its rows say what
    was read and nothing of what is done, and two runs that read one file say the same of it. The store is made by the first write.

    Args:
        store: the store, there or not.
        run_id: the run.
        prepare: called before the store is made; it raises where the request turns out wrong, so that nothing is written.
    """

    def __init__(self, store: Store, run_id: str, prepare: Callable[[], object]) -> None:
        self._store = store
        self._run_id = run_id
        self._prepare = prepare

    def begin(self) -> None:
        """Begins anew: holds nothing, and counts the time from now on."""
        self._rows: list[Row] = []
        self._since, self._begun = time.monotonic(), False
        self._forgotten = Forgotten.of(self._store).with_streams() if self._store.marked() else Forgotten()

    def take(self, item: Footage, video: str) -> None:
        """Takes a file's identity for the next write. A file without a stamp is left out: no run could see whether it has changed;
        and one that was taken out of the store for good.
        """
        if item.stamp and not self._forgotten.holds(video, item.uri):
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
                self._prepare()
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


@dataclass(slots=True)
class Identifier:
    """Reads the identities of files.

    Attributes:
        recipe: the recipe.
        keeper: what keeps the answers. Default: nothing is kept, and all is read by this process, as a plan does it.
        interrupted: set it to stop within seconds.
        announce: called with a line for people while reading takes long.
        cluster: gives the executor of the run's cluster, which reads more than `SPREAD_ABOVE` files; None where there is no cluster.
    """

    recipe: Recipe
    keeper: Keeper | None = None
    interrupted: threading.Event = field(default_factory=threading.Event)
    announce: Callable[[str], None] = lambda _line: None
    cluster: Callable[[], Executor] | None = None

    def read(self, items: Sequence[Footage], take: Callable[[int, str | Failure], None]) -> None:
        """Reads the files, and gives for each its place among them and its video_id, or why it could not be read.

        Raises:
            Stopped: the run was interrupted.
            CannotGoOn: nothing can be read (a package is missing), the store cannot be written, or the cluster broke.
        """
        if not items:
            return
        n, announced, keeper = 0, time.monotonic(), self.keeper

        def took(outcome: Outcome) -> None:
            nonlocal n
            for place, found in outcome.identities.items():
                if isinstance(found, Failure):
                    if found.fatal:
                        raise found.error()
                elif keeper is not None:
                    keeper.take(items[place], found)
                take(place, found)
            n += len(outcome.identities)

        def look() -> None:
            nonlocal announced
            if time.monotonic() - announced >= TELL_EVERY_S:
                self.announce(f"new files: who they are was read of {n} of {len(items)}")
                announced = time.monotonic()
            if keeper is not None:
                keeper.write_if_due()

        here = Local(Setup(run_id="", store="", owner="", recipe=self.recipe, prints={}), None)
        if keeper is not None:
            keeper.begin()
        try:
            executor = self.cluster() if self.cluster is not None and len(items) > SPREAD_ABOVE else here
            loop = Loop(executor, Tally(), {}, 1, None, look, self.interrupted.is_set, took)
            loop.run(_jobs(items, executor.chunk, executor.slots("identify")))
        finally:
            here.stop()
            if keeper is not None:
                keeper.end()


def _jobs(items: Sequence[Footage], chunk: int, slots: int) -> Iterator[Identify]:
    """Jobs of at most `chunk` files, and enough of them that no node is without one."""
    n = max(1, min(chunk, -(-len(items) // (2 * slots))))
    for start in range(0, len(items), n):
        some = enumerate(items[start : start + n], start)
        yield Identify(files=tuple(File(place=k, address=item.address, size=item.size or 0, stream=item.stream) for k, item in some))
