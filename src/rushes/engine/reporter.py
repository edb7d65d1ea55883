"""A session's reports to the desk: what has become durable since the last one. Orders come back."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from rushes.engine.desk import DeskGone, Door, News, Orders
from rushes.engine.tally import Books
from rushes.errors import RushesError
from rushes.log import EventBuffer

POST_EVERY_S = 0.2


class Reporter:
    """Posts news several times a second, from a thread of its own.

    Args:
        name: the session's name at the desk.
        door: the desk.
        capacity: stage -> rows that the session can have under way.
        on_stop: called once, when the run is to stop.
        on_close: called once, when the driver wants the session to end, or is gone.
    """

    def __init__(self, name: str, door: Door, capacity: dict[str, int], on_stop: Callable[[], None], on_close: Callable[[], None]) -> None:
        self._name = name
        self._door = door
        self._on_stop = on_stop
        self._on_close = on_close
        self._lock = threading.Lock()
        self._capacity = capacity
        self._ended: list[tuple[str, Books]] = []
        self._counts: Counter[str] = Counter()
        self._busy: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self.carrier: EventBuffer | None = None
        """The log of a process that is not the driver's."""
        self._under_way: dict[str, float] = {}
        self._answered = 0
        self._fatal: tuple[str, str] | None = None
        self._stopped = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="news", daemon=True)
        self._thread.start()

    def ended(self, key: str, books: Books) -> None:
        """A job ended and its rows are durable."""
        with self._lock:
            self._ended.append((key, books))

    def add(self, books: Books) -> None:
        """What else has become durable."""
        with self._lock:
            self._counts.update(books["counts"])
            self._busy.update(books["busy"])
            self._errors.update(books["errors"])

    def under_way(self, key: str, seconds: float | None) -> float:
        """How far the decoding of a job has come; None when it has ended. Gives how far it had come before."""
        with self._lock:
            before = self._under_way.pop(key, 0.0)
            if seconds is not None:
                self._under_way[key] = seconds
            return before

    def die(self, error: RushesError) -> None:
        """The run cannot go on; what is durable stays."""
        with self._lock:
            self._fatal = self._fatal or (type(error).__name__, str(error))
        self._stop()

    def _run(self) -> None:
        while not self._closed.wait(POST_EVERY_S):
            if self.report()["close"]:
                self._on_close()
                return

    def report(self, *, closed: bool = False) -> Orders:
        """Posts the news and follows the orders."""
        with self._lock:
            news = News(
                ended=self._ended, more=Books(counts=dict(self._counts), busy=dict(self._busy), errors=dict(self._errors)),
                under_way=dict(self._under_way), capacity=self._capacity, notes=self.carrier.taken() if self.carrier else [],
                answered=self._answered, closed=closed, fatal=self._fatal,
            )  # fmt: skip
            self._ended, self._counts, self._busy, self._errors = [], Counter(), Counter(), Counter()
        try:
            orders = self._door.post(self._name, news)
        except DeskGone:
            orders = Orders(stop=True, roll_call=0, close=True)
        self._answered = orders["roll_call"]
        if orders["stop"]:
            self._stop()
        return orders

    def _stop(self) -> None:
        if not self._stopped:
            self._stopped = True
            self._on_stop()

    def close(self) -> None:
        """Reports for the last time."""
        self._closed.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
        self.report(closed=True)
