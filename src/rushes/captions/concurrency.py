"""How many requests one server is sent at once: found while it works, between 1 and the run's limit.

A server that batches makes more answers a second the more requests it has, up to a number that depends on the model, the GPU and the length
of the prompts. Beyond that they wait inside it and come nearer to their time limit. So the number grows while throughput grows, and shrinks
when the server says that it has too many.

**It grows** from `START` by doubling as long as each doubling raises the answers a second by `GAIN` (TCP's slow start, RFC 5681, with the
throughput in the place of the missing loss). Then it climbs by a quarter now and then, and steps back where that gained nothing
("perturb and observe"). Latency is not looked at: that of a batching server rises long before its throughput stops to, so that a gradient
of latency (TCP Vegas; Netflix's Gradient2Limit) would stop too early.

**It shrinks** to `SHRINK` of itself on 429, 503 and timeouts, once for all requests that were under way together, and comes back by 1 a
window: additive increase, multiplicative decrease (Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion
Avoidance", 1989). 0.9 is the ratio of Netflix's concurrency-limits (AIMDLimit): with TCP's 0.5 a server that refuses what it has no place
for would work at three quarters of what it takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

START = 8
"""Requests at once to a server of which nothing is known: the default of `resources.captions.concurrency`."""
GAIN = 1.1
"""A larger number is kept where it makes this many times as many answers a second: above the noise of a window of answers."""
SHRINK = 0.9
LEAST_WINDOW = 8
"""Answers at least by which throughput is measured."""
FULL = 0.9
"""Of the number, so many requests must have been under way on the mean: else it is not what limits throughput."""
HOLD = 8
"""Windows after which a number that gained nothing is tried again: what clips ask of a server changes during a run."""


@dataclass(slots=True)
class Limit:
    """The number for one server. Used by one thread.

    Args:
        most: the run's limit, which it never exceeds.
        start: the first number.
        clock: gives seconds.
    """

    most: int
    start: int = START
    clock: Callable[[], float] = monotonic
    number: int = field(init=False)
    _doubling: bool = field(init=False, default=True)
    _ceiling: int | None = field(init=False, default=None)
    """One less than the smallest number at which the server had too many, if it ever had."""
    _before: tuple[int, float] | None = field(init=False, default=None)
    """The number of the window before a larger one was tried, and its answers a second."""
    _hold: int = field(init=False, default=0)
    _changed: float = field(init=False, default=float("-inf"))
    """Requests sent before this are not measured by: the number was another one, or the server's queue had not grown to it."""
    _settled: bool = field(init=False, default=True)
    """Whether a request has been answered that was sent since the number changed."""
    _shrunk: float = field(init=False, default=float("-inf"))
    _answers: int = field(init=False, default=0)
    _waited_s: float = field(init=False, default=0.0)
    _under_way: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.number = max(1, min(self.start, self.most))

    def answered(self, under_way: int, sent: float) -> None:
        """The server has answered a request.

        Throughput is the mean number under way by the mean time to an answer (Little's law): answers that come in bursts, as those of
        requests that were sent together do, count the same as others.

        Args:
            under_way: requests that it had, this one included.
            sent: when this one was sent, by `clock`.
        """
        if sent < self._changed:
            return
        if not self._settled:
            self._settled, self._changed = True, self.clock()
            return
        self._answers += 1
        self._waited_s += self.clock() - sent
        self._under_way += under_way
        if self._answers < max(LEAST_WINDOW, self.number):
            return
        before, is_full = self.number, self._under_way >= FULL * self.number * self._answers
        if is_full and self._waited_s > 0.0:
            self._end_window(self._under_way / self._waited_s)
        self._new_window(changed=self.number != before)

    def overloaded(self, sent: float) -> None:
        """The server has too many requests, or let one wait for too long.

        Args:
            sent: when this request was sent, by `clock`: those sent before the number last shrank say nothing new.
        """
        if sent < self._shrunk:
            return
        self._ceiling = max(1, self.number - 1)
        self.number = max(1, int(self.number * SHRINK))
        self._doubling, self._before, self._hold, self._shrunk = False, None, HOLD, self.clock()
        self._new_window(changed=True)

    def _new_window(self, *, changed: bool) -> None:
        self._answers, self._waited_s, self._under_way = 0, 0.0, 0
        if changed:
            self._settled, self._changed = False, self.clock()

    def _end_window(self, rate: float) -> None:
        """Chooses the next number by the answers a second of the last window."""
        if self._before is not None:
            smaller, its_rate = self._before
            self._before = None
            if rate < its_rate * min(GAIN, 1.0 + (self.number / smaller - 1.0) / 2.0):  # a quarter more can give at most a quarter more
                self.number = (smaller + self.number + 1) // 2 if self._doubling else smaller
                self._doubling, self._hold = False, HOLD
                return
        if self._ceiling is not None and self.number < self._ceiling:
            self.number += 1
            return
        if self._hold > 0:
            self._hold -= 1
            return
        step = self.number if self._doubling else 1 if self._ceiling is not None else max(1, self.number // 4)
        larger = min(self.most, self.number + step)
        if larger > self.number:
            self._before = (self.number, rate)
            self.number = larger
