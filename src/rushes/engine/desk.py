"""The driver's side of a run: jobs to do, attempts, books, and orders for the workers. The workers' side is `session.py`.

On one machine a session calls the desk directly; on Ray the desk is an actor on the driver's node and a session calls it through
`cluster.py`. What passes is plain data.

A job is handed to whoever has a worker free. An attempt is recorded before it starts; what a session held that was not heard of again is
handed out once more. A job's books are entered when its rows are durable, and once.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypedDict

from rushes.engine.tally import Books, Tally
from rushes.log import LoggedEvent

ALIVE_S = 10.0
"""A session that has not been heard of for this long is dead: sessions post several times a second."""


DEAD = -1.0
"""Instead of the time when a session was last heard of."""


class DeskGone(Exception):
    """The driver, and the desk with it, is not there any more."""


class Turn(TypedDict):
    """A job to do, as JSON; which attempt of this run it is, from 1; the attempts before it whose worker died without a word; and whether
    this run has counted the video as scanned: then the job is what is left to do with it.
    """

    job: str
    attempt: int
    lost: list[int]
    scanned: bool


class Orders(TypedDict):
    """What the driver wants of a session: `stop` at once; answer roll call number `roll_call` with the next news; `close` for good."""

    stop: bool
    roll_call: int
    close: bool


class News(TypedDict):
    """What a session tells.

    `ended`: (job key, books) of jobs whose rows are durable. `more`: what else has become durable since the last news, captions above all.
    `under_way`: job -> seconds decoded. `capacity`: stage -> rows it can have under way. `notes`: its log, where the driver is elsewhere.
    `answered`: the newest roll call it knows. `closed`: these are its last news. `fatal`: (type, message) of what ends the run.
    """

    ended: list[tuple[str, Books]]
    more: Books
    under_way: dict[str, float]
    capacity: dict[str, int]
    notes: list[LoggedEvent]
    answered: int
    closed: bool
    fatal: tuple[str, str] | None


class Door(Protocol):
    """How a session reaches the desk. Every call raises DeskGone when the driver has ended."""

    def take(self, worker: str) -> Turn | None:
        """See `Desk.take`."""
        ...

    def again(self, key: str) -> int:
        """See `Desk.again`."""
        ...

    def divide(self, key: str, parts: Mapping[str, str], then: str) -> None:
        """See `Desk.divide`."""
        ...

    def advance(self, key: str, then: str, books: Books) -> None:
        """See `Desk.advance`."""
        ...

    def post(self, worker: str, news: News) -> Orders:
        """See `Desk.post`."""
        ...


@dataclass(slots=True)
class _Job:
    text: str
    attempts: int = 0
    lost: list[int] = field(default_factory=list)
    books: Books | None = None
    halfway: Books | None = None
    """What was entered when the job was half done."""

    @property
    def is_scanned(self) -> bool:
        return self.halfway is not None and bool(self.halfway["counts"].get("videos_scanned"))


@dataclass(slots=True)
class _Worker:
    heard: float
    answered: int = 0
    closed: bool = False
    under_way: dict[str, float] = field(default_factory=dict)
    capacity: dict[str, int] = field(default_factory=dict)


class Desk:
    """See the module. Safe for several threads.

    Attributes:
        tally: the books of the run.
        fatal: (type, message) of the first error that ends the run, or None.
        left: jobs of this pass that have not ended, as of the last `refresh`.
    """

    def __init__(self) -> None:
        self.tally = Tally()
        self.fatal: tuple[str, str] | None = None
        self.left = 0
        self._not_ended: set[str] = set()
        """Jobs of this pass."""
        self._lock = threading.RLock()
        self._queue: deque[str] = deque()
        self._jobs: dict[str, _Job] = {}
        self._open: dict[str, str] = {}
        """Jobs under way, and the session that each is with."""
        self._whole_of: dict[str, str] = {}
        """Parts of divided jobs that have not ended: key -> that of the job to do when all of them have."""
        self._workers: dict[str, _Worker] = {}
        self._notes: list[LoggedEvent] = []
        self._orders = Orders(stop=False, roll_call=0, close=False)
        self._anew = 0
        """Sessions that began anew in mid-run, since the desk had not answered."""

    # -- what sessions ask ---------------------------------------------------------------------------------------------------------

    def take(self, worker: str) -> Turn | None:
        """Hands out the next job and records that an attempt at it starts.

        An empty `job` says to ask again soon: there is none now, but some are under way that may yet come back. None: all are done.
        """
        with self._lock:
            self._hear(worker)
            self._bring_back()
            if not self._queue:
                return Turn(job="", attempt=0, lost=[], scanned=False) if self._open else None
            key = self._queue.popleft()
            job = self._jobs[key]
            job.attempts += 1
            self._open[key] = worker
            lost, job.lost = job.lost, []
            return Turn(job=job.text, attempt=job.attempts, lost=lost, scanned=job.is_scanned)

    def again(self, key: str) -> int:
        """Records that an attempt failed whose session lives, and that the next one starts there; gives its number."""
        with self._lock:
            self._jobs[key].attempts += 1
            return self._jobs[key].attempts

    def divide(self, key: str, parts: Mapping[str, str], then: str) -> None:
        """Puts other jobs in the place of one that is under way, first in the queue.

        Args:
            key: the job under way.
            parts: key -> JSON of the jobs to do instead; those that ended in this run are left out.
            then: JSON of the job to do under the first key when they have ended. With no parts it is next, and parts not begun are dropped.
        """
        with self._lock:
            whole = self._jobs[key]
            whole.text, whole.attempts = then, 0
            self._open.pop(key, None)
            self._drop_parts(key)
            for name, text in reversed(list(parts.items())):
                if self._jobs.setdefault(name, _Job(text)).books is None:
                    self._whole_of[name] = key
                    self._queue.appendleft(name)
            self._join(key)

    def advance(self, key: str, then: str, books: Books) -> None:
        """Enters the books of the half of a job that is durable, once, and puts the other half, `then`, first in the queue."""
        with self._lock:
            job = self._jobs[key]
            if job.halfway is None and job.books is None:
                self.tally.enter(books)
                job.text, job.attempts, job.halfway = then, 0, books
                self._open.pop(key, None)
                self._queue.appendleft(key)

    def post(self, worker: str, news: News) -> Orders:
        """Takes a session's news, gives the orders."""
        with self._lock:
            known = self._hear(worker)
            known.answered, known.closed = news["answered"], news["closed"]
            known.under_way, known.capacity = news["under_way"], news["capacity"]
            for key, books in news["ended"]:
                self._enter(key, books)
            if news["closed"]:
                self._give_back(worker)
            self.tally.enter(news["more"])
            self._notes += news["notes"]
            living = [w for w in self._workers.values() if self._lives(w)]
            self.tally.under_way = {key: s for w in living for key, s in w.under_way.items()}
            self.tally.capacity = dict(sum((Counter(w.capacity) for w in living), Counter()))
            self.fatal = self.fatal or news["fatal"]
            orders = self._orders.copy()
            orders["stop"] |= self.fatal is not None
            return orders

    # -- what the driver does ------------------------------------------------------------------------------------------------------

    def load(self, jobs: Mapping[str, str]) -> None:
        """Takes the jobs of a pass: key -> JSON, in order. One that is done already, with durable rows, is not done again."""
        with self._lock:
            for held in (self._queue, self._open, self._whole_of):
                held.clear()
            self._not_ended.clear()
            for key, text in jobs.items():
                job = self._jobs.setdefault(key, _Job(text))
                job.text = text
                if job.books is None:
                    self._queue.append(key)
                    self._not_ended.add(key)

    def add(self, **counts: float) -> None:
        """Adds to the books what the driver itself knows."""
        self.tally.add(**counts)

    def order(self, *, stop: bool = False, close: bool = False, roll_call: bool = False) -> int:
        """Gives orders to all sessions; `stop` and `close` stay. Gives the number of the newest roll call."""
        with self._lock:
            self._orders["stop"] |= stop
            self._orders["close"] |= close
            self._orders["roll_call"] += roll_call
            return self._orders["roll_call"]

    def silent(self, roll_call: int, *, close: bool = False) -> int:
        """Living sessions that have not yet answered a roll call, or not yet closed: at none, all that ended before it is in the books."""
        with self._lock:
            living = [w for w in self._workers.values() if self._lives(w) and not w.closed]
            return sum(close or w.answered < roll_call for w in living)

    def state(self) -> dict[str, Any]:
        """The books, what ends the run, sessions that ended and may have left work undone, jobs that are left, logs since the last call."""
        with self._lock:
            lost = self._anew + sum(not w.closed and not self._lives(w) for w in self._workers.values())
            notes, self._notes = self._notes, []
            found = {"tally": self.tally.snapshot(), "fatal": self.fatal, "lost": lost, "notes": notes}
            return found | {"left": len(self._not_ended)}

    def refresh(self) -> int:
        """Brings `tally`, `fatal` and `left` up to date; gives how many sessions ended that may have left work undone."""
        state = self.state()
        self.left = state["left"]
        return int(state["lost"])

    def end(self, *, drained: bool) -> None:
        """Nobody will ask any more. `drained`: no plan of the run goes on in this process."""

    # -- inside --------------------------------------------------------------------------------------------------------------------

    def _hear(self, worker: str) -> _Worker:
        if worker not in self._workers:
            for name, other in self._workers.items():
                if name.rsplit("-", 1)[0] == worker.rsplit("-", 1)[0]:  # its process lives, so it ended in good order
                    other.closed = True
                    self._anew += 1
                    self._give_back(name)
                elif name.rpartition("/")[0] == worker.rpartition("/")[0]:  # a node has one session: the older one is dead
                    other.heard = DEAD
            self._workers[worker] = _Worker(0.0)
        self._workers[worker].heard = time.monotonic()
        return self._workers[worker]

    def _lives(self, worker: _Worker) -> bool:
        return worker.heard != DEAD and time.monotonic() - worker.heard < ALIVE_S

    def _bring_back(self) -> None:
        """Puts what dead sessions held first in the queue."""
        for key in [key for key, worker in self._open.items() if not self._lives(self._workers[worker])]:
            del self._open[key]
            self._jobs[key].lost.append(self._jobs[key].attempts)
            self._queue.appendleft(key)

    def _give_back(self, worker: str) -> None:
        """Puts what a session held that ends in good order first in the queue: no attempts at it."""
        for key in [key for key, holder in self._open.items() if holder == worker]:
            del self._open[key]
            self._jobs[key].attempts -= 1
            self._queue.appendleft(key)

    def _enter(self, key: str, books: Books) -> None:
        job = self._jobs[key]
        if job.books is None:
            self.tally.enter(books)
            job.books = books
        self._not_ended.discard(key)
        self._open.pop(key, None)
        self._drop_parts(key)  # a video that failed in one segment
        whole = self._whole_of.pop(key, None)
        if whole is not None:
            self._join(whole)

    def _drop_parts(self, key: str) -> None:
        for part in [part for part, whole in self._whole_of.items() if whole == key and part not in self._open]:
            del self._whole_of[part]
            self._queue.remove(part)

    def _join(self, key: str) -> None:
        """Queues the job to do when all parts have ended, if they have."""
        if key not in self._whole_of.values() and self._jobs[key].books is None and key not in self._queue:
            self._queue.appendleft(key)
