"""How many requests a server is sent at once, found against a simulated server whose capacity is known."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import pytest

from rushes.captions.concurrency import Limit


@dataclass
class Simulated:
    """A server that makes `parallel` answers at once, each in `service_s`, and refuses what is above `admit`; the client always has more
    to ask. Time is simulated.
    """

    parallel: int
    service_s: float = 1.0
    admit: int = 10**9
    now: float = 0.0

    def run(self, limit: Limit, until_s: float) -> tuple[int, int, list[int]]:
        """Answers, refusals, and the limit after each."""
        free = [self.now] * self.parallel  # when each place of the server is free
        ends: list[tuple[float, float, bool]] = []
        under_way = answers = refusals = 0
        numbers = []
        while self.now < until_s:
            while under_way < limit.number:
                under_way += 1
                if under_way > self.admit:
                    heapq.heappush(ends, (self.now + 0.01, self.now, False))
                    continue
                begins = max(self.now, heapq.heappop(free))
                heapq.heappush(free, begins + self.service_s)
                heapq.heappush(ends, (begins + self.service_s, self.now, True))
            at, sent, good = heapq.heappop(ends)
            self.now = at
            if good:
                limit.answered(under_way, sent)
                answers += 1
            else:
                limit.overloaded(sent)
                refusals += 1
            under_way -= 1
            numbers.append(limit.number)
        return answers, refusals, numbers


@pytest.mark.parametrize("parallel", [1, 4, 16, 50])
def test_it_grows_to_what_the_server_makes_at_once_and_not_far_beyond(parallel: int) -> None:
    server = Simulated(parallel)
    limit = Limit(most=512, clock=lambda: server.now)
    server.run(limit, 40.0)  # until it is found
    before = server.now
    answers, _, numbers = server.run(limit, 140.0)
    assert answers >= 0.95 * parallel * (server.now - before)
    assert max(numbers) <= max(16, 3 * parallel), "what waits in the server helps no one"


def test_a_server_that_refuses_gets_nearly_as_many_as_it_admits() -> None:
    server = Simulated(20, admit=20)
    limit = Limit(most=256, clock=lambda: server.now)
    server.run(limit, 40.0)
    before = server.now
    answers, refusals, numbers = server.run(limit, 240.0)
    assert answers >= 0.93 * 20 * (server.now - before)
    assert refusals <= 0.03 * answers
    assert max(numbers) <= 22


def test_it_never_exceeds_the_limit_of_the_run_nor_falls_below_one() -> None:
    server = Simulated(64)
    limit = Limit(most=12, clock=lambda: server.now)
    _, _, numbers = server.run(limit, 30.0)
    assert max(numbers) == 12
    for _ in range(50):
        limit.overloaded(server.now)
        server.now += 1.0
    assert limit.number == 1


def test_many_refusals_of_one_moment_count_once() -> None:
    limit = Limit(most=64, start=40, clock=lambda: 10.0)
    for _ in range(30):
        limit.overloaded(sent=9.0)
    assert limit.number == 36
