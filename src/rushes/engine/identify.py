"""Who new files are: up to 4 MiB of each are read, here or on the nodes of a cluster, and what was learnt is kept while reading goes on.

A million files are terabytes to read. So a run on Ray shares them among the nodes, and a run that takes long over it writes what it knows
into the table `identities`: one that is killed meanwhile, or before these videos are scanned, does not read them again.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import cache
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from rushes import errors
from rushes.engine import cluster
from rushes.engine.fingerprints import identity_fingerprint
from rushes.engine.machine import cores
from rushes.engine.quarantine import quarantined
from rushes.engine.rows import Stamp
from rushes.engine.stages import TASKS_PER_CPU, start_engine
from rushes.errors import CannotGoOn
from rushes.log import note
from rushes.media.guard import Stopped
from rushes.media.identity import video_id
from rushes.media.storage import Options
from rushes.recipe import Recipe
from rushes.sources.found import Footage
from rushes.store.store import Store, now
from rushes.store.tables import IDENTITIES

if TYPE_CHECKING:
    import daft

Answer = dict[str, Any]
"""What `quarantined` gives: `{"done": {"video_id": ...}}` or `{"error": ...}`."""
Answers = list[tuple[int, Answer]]
"""Some answers, each with the place of its file among those asked for. Empty ones come too, so that the asker can look up."""

KEEP_EVERY_S = 10.0
"""Seconds of reading after which what was learnt is written, and again after each such time. A run that takes less over it writes none."""
TELL_EVERY_S = 10.0
"""How often a person is told how far reading has come, as often as of the run after it."""
SPREAD_ABOVE = 1000
"""More new files than these are shared among the nodes of a cluster; so few are 4 GB at most, 43 s at 100 MB/s."""
THREADS_PER_CORE = 4
"""Files that are read at once: reading is mostly waiting for a disk or a server."""
CHUNK = 256
"""Files of one task of a cluster, at most 1 GiB: ten seconds at 100 MB/s, since the answers of a task come when all are there."""
LOOK_EVERY_S = 0.2
IDLE_TURNS = 3
"""Times in a row that a broken engine may bring no answer, before the run gives up."""
WORDS = 400
"""Characters of a broken engine's last words that are shown; Daft's end with the cause."""


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
        keeper: what keeps the answers. Default: nothing is kept, and all is read by this process, as a plan does it.
        interrupted: set it to stop within seconds.
        told: called with a line for people while reading takes long.
    """

    def __init__(
        self,
        recipe: Recipe,
        keeper: Keeper | None = None,
        interrupted: threading.Event | None = None,
        told: Callable[[str], None] | None = None,
    ) -> None:
        self._recipe = recipe
        self._keeper = keeper
        self._interrupted = interrupted or threading.Event()
        self._told = told or (lambda _line: None)

    def answers(self, items: Sequence[Footage]) -> Iterator[tuple[int, Answer]]:
        """One answer for each file, as they come, with its place among them.

        Raises:
            Stopped: the run was interrupted.
            CannotGoOn: nothing can be read (a package is missing), the store cannot be written, or the cluster broke.
        """
        if not items:
            return
        keeper, spread = self._keeper, self._recipe.engine.runner == "ray" and self._keeper is not None and len(items) > SPREAD_ABOVE
        if keeper is not None:
            keeper.begin()
        n_read, told = 0, time.monotonic()
        try:
            with closing(on_nodes(items, self._recipe) if spread else here(items, self._recipe.storage)) as come:
                for some in come:
                    for k, answer in some:
                        if "error" in answer and answer["error"]["fatal"]:
                            raise getattr(errors, answer["error"]["type"], CannotGoOn)(answer["error"]["message"])
                        if keeper is not None and "done" in answer:
                            keeper.take(items[k], answer["done"]["video_id"])
                        yield k, answer
                    n_read += len(some)
                    if self._interrupted.is_set():
                        raise Stopped
                    if time.monotonic() - told >= TELL_EVERY_S:
                        self._told(f"new files: who they are was read of {n_read} of {len(items)}")
                        told = time.monotonic()
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


def on_nodes(items: Sequence[Footage], recipe: Recipe) -> Generator[Answers]:
    """Answers from the nodes of a cluster. When some are lost with a node, their files are asked for again.

    Raises:
        MissingExtra, UsageError, CannotGoOn: there is no cluster to join, or it broke and brings nothing any more.
    """
    start_engine(recipe)
    left, idle = dict(enumerate(items)), 0
    while left and idle < IDLE_TURNS:
        before, broken = len(left), "it brought no answers"
        with closing(_turn(left, recipe.storage)) as come:
            for some in come:
                if isinstance(some, str):
                    broken = some
                else:
                    yield [(k, answer) for k, answer in some if left.pop(k, None) is not None]
        idle = idle + 1 if len(left) == before else 0
    if left:
        mend = "look at the cluster (ray status), then run the same command again: it resumes; report it if it stays"
        raise CannotGoOn(f"the engine failed: {' '.join(broken.split())[-WORDS:]}", step="identify", mend=mend)


def _turn(left: dict[int, Footage], options: Options) -> Generator[Answers | str]:
    """One plan over the files that are left: their answers as they come; why the engine broke, if it did."""
    files = [(k, item.address, item.size or 0) for k, item in left.items()]
    arrived: SimpleQueue[Answers | None] = SimpleQueue()
    outcome: list[Answer] = []
    over = threading.Event()

    def collect() -> dict[str, Any]:
        for batch in asked(chunked(files, cluster.node_sizes()), options).to_arrow_iter(results_buffer_size=None):
            for text in batch.column("answers").to_pylist():
                arrived.put([(int(k), answer) for k, answer in json.loads(str(text))])
            if over.is_set():
                break
        return {}

    def work() -> None:
        outcome.append(quarantined(collect))
        arrived.put(None)

    threading.Thread(target=work, name="identities", daemon=True).start()
    try:
        while True:
            some = _arrived(arrived)
            yield [pair for answers in some if answers is not None for pair in answers]
            if None in some:
                break
    finally:
        over.set()
    if "error" in outcome[0]:
        yield str(outcome[0]["error"]["message"])


def chunked(files: Sequence[tuple[int, str, int]], nodes: Sequence[int]) -> list[str]:
    """Files in chunks, as JSON, for nodes of so many CPUs: one task each, and enough of them that no node is without one."""
    n = max(1, min(CHUNK, -(-len(files) // (TASKS_PER_CPU * sum(nodes)))))
    return [json.dumps(files[at : at + n]) for at in range(0, len(files), n)]


def asked(chunks: Sequence[str], options: Options) -> daft.DataFrame:
    """The Daft plan that reads chunks of files, a task each.

    Args:
        chunks: see `chunked`.
        options: storage options: they travel with the plan, and are not written anywhere.
    """
    import daft
    import pyarrow as pa
    from daft import DataType, col

    @daft.cls(name_override="rushes identities", use_process=False)
    class Reading:
        def __init__(self, options: Options) -> None:
            self.options = options

        @daft.method.batch(return_dtype=DataType.string(), batch_size=1)
        def read(self, chunks: daft.Series) -> list[str]:
            return [answered(chunk, self.options) for chunk in chunks.to_pylist()]

    reading: Any = Reading(options)  # Any: its methods take and give expressions here, which Daft's types do not say
    rows = daft.from_arrow([pa.table({"chunk": [chunk]}) for chunk in chunks])
    return rows.select(reading.read(col("chunk")).alias("answers"))


def answered(chunk: str, options: Options) -> str:
    """Reads a chunk of files on a node: a list of place and answer, as JSON."""
    files = json.loads(chunk)
    found = _threads().map(lambda file: one(file[1], file[2], options), files)
    return json.dumps([(k, answer) for (k, _, _), answer in zip(files, found, strict=True)])


@cache
def _threads() -> ThreadPoolExecutor:
    """The threads of a node's process, shared by the tasks that it does at once."""
    return ThreadPoolExecutor(THREADS_PER_CORE * cores(), thread_name_prefix="identities")
