"""One process of a command that is struck, and what came of the blow."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmarks.survival.moments import Moment, Watch
from benchmarks.survival.places import Machine, kill
from benchmarks.survival.server import Own, Server
from processes import command_of

HANG_S = 600.0
"""How long a run may take, or a moment may keep one waiting. Undisturbed runs on Ray took 10 to 24 s at a load of 3, 120 s at 15."""
LOOK_EVERY_S = 0.001


@dataclass(frozen=True, slots=True)
class Blow:
    """What is to be struck, and when."""

    victim: str
    moment: str


@dataclass(slots=True)
class Struck:
    """What came of a blow.

    Attributes:
        ended: the run ended of it.
        outlived_s: how long the last process of the run lived after the driver.
        scans: scans of this run that had come to their end and are to be done again, since a child writes the marks of a video last.
        answers: captions that the server had given this run and that are to be asked for again.
        at: when it fell, in seconds since the epoch.
        oldest_s: how long before that the oldest of these was given.
        litter: temporary files in the finished store, put down to its last blow.
        problems: what is wrong.
    """

    runner: str
    scene: str
    blow: Blow
    ended: bool = False
    outlived_s: float = 0.0
    scans: int = 0
    answers: int = 0
    at: float = field(default_factory=time.time)
    oldest_s: float = 0.0
    litter: int = 0
    problems: list[str] = field(default_factory=list)


class Run:
    """One process of a command, with all that descends from it.

    Args:
        words: the command, less the settings and what the place adds.
        settings: of the recipe.
        place: where it works.
        stop: where one of its processes is to stop by itself.
    """

    def __init__(self, words: Iterable[object], settings: Iterable[str], place: Machine, stop: str = "") -> None:
        self.mark = f"RUSHES_SURVIVAL={uuid.uuid4().hex}"
        self.began = time.time()
        self._said = b""
        self._place = place
        place.stop_at(stop)
        env = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONFAULTHANDLER": "1", **dict([self.mark.split("=")]), **place.env}
        command = [sys.executable, "-m", "rushes.cli", *map(str, words), *(w for s in settings for w in ("--set", s)), *place.words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env)
        assert self.process.stdout
        os.set_blocking(self.process.stdout.fileno(), False)

    def end(self, server: Server | Own) -> int | None:
        """Waits for the end: the exit code, or None for a run that hangs, which is then ended and has written its stacks to the log."""
        deadline = time.monotonic() + HANG_S
        while self.process.poll() is None:
            server.tick()
            if time.monotonic() > deadline:
                self.process.send_signal(signal.SIGABRT)
                self.process.wait(10)
                return None
            time.sleep(LOOK_EVERY_S * 5)
        return self.process.returncode

    def outlived_s(self) -> tuple[float, str]:
        """How long processes of a run that has ended are still there, and which was there last; all are killed after ten seconds."""
        began, last = time.monotonic(), ""
        while (left := self._place.left(self.mark)) and time.monotonic() - began < 10:
            time.sleep(LOOK_EVERY_S * 10)
            last = next(filter(None, map(command_of, left)), last)[:200]
        kill(left)
        return time.monotonic() - began, last

    def words(self) -> str:
        """The end of what it said."""
        assert self.process.stdout
        self._said += self.process.stdout.read() or b""
        return self._said.decode(errors="replace").strip()[-4000:]

    def go_on(self) -> None:
        """Lets what stopped by itself go on."""
        kill(self._place.working(self.mark), signal.SIGCONT)

    def stop(self) -> None:
        """Ends it if it goes on."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


def await_moment(run: Run, watch: Watch, moment: Moment, chance: random.Random) -> bool:
    """Waits for a moment; False when the run ended before."""
    share, deadline = chance.random(), time.monotonic() + HANG_S
    while not moment.reached(watch, share):
        watch.server.tick()
        if run.process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(LOOK_EVERY_S)
    time.sleep(moment.within_s * chance.random())
    return run.process.poll() is None
