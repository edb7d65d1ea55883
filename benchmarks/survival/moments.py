"""When a run is struck: moments seen from outside, by the files of its store, its processes and the requests it makes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.render import ROOT
from benchmarks.survival.places import Machine
from benchmarks.survival.server import Own, Server

sys.path.insert(0, str(ROOT / "tests"))
from processes import state_of


@dataclass(slots=True)
class Watch:
    """One process of a run, looked on from outside.

    Attributes:
        usual_s: how long the undisturbed run took.
        captions: how many captions it asked for; from `begin` on: how many are still to be asked for.
    """

    out: Path
    pid: int
    place: Machine
    server: Server | Own
    usual_s: float
    captions: int
    began: float = field(default_factory=time.monotonic)
    before: dict[tuple[str, str], int] = field(default_factory=dict)
    asked_before: float = 0.0

    def begin(self, now: float) -> None:
        """Counts what is there at a time (since the epoch): before the run, or when it survived a strike."""
        self.began = time.monotonic()
        self.before = {kind: self.count(*kind) for kind in KINDS}
        self.captions = max(0, self.captions - self.requests(answered=True))
        self.asked_before = now

    def count(self, folder: str, suffix: str) -> int:
        """Files of a folder of the store whose names end so."""
        return sum(name.endswith(suffix) for _, _, names in os.walk(self.out / folder) for name in names)

    def new(self, folder: str, suffix: str) -> bool:
        """Whether a file came there."""
        return self.count(folder, suffix) > self.before[folder, suffix]

    def children(self) -> list[int]:
        """Decoding children of the run, by id."""
        return self.place.children(self.pid)

    def requests(self, *, answered: bool = False) -> int:
        """Captions asked for since `begin`, or those that were answered."""
        return sum(bool(r["answered"]) or not answered for r in self.server.asked if r["at"] > self.asked_before)


PART, TMP = ".parquet", ".tmp"
KINDS = [(t, PART) for t in ("runs", "frames", "signals", "clips", "videos", "marks", "scores", "captions")]
KINDS += [("frames", TMP), ("clip_files", TMP), ("clip_files", ".mp4")]


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of a run. `reached` is asked again and again; then a pause of up to `within_s` seconds goes by, by chance."""

    name: str
    reached: Callable[[Watch, float], bool]
    within_s: float = 0.0
    stops: str = ""
    """The process that stops by itself at this moment, "driver" or "child"; see `stopping/sitecustomize.py`."""


def came(folder: str, suffix: str = PART) -> Callable[[Watch, float], bool]:
    """A file of this kind came."""
    return lambda watch, _chance: watch.new(folder, suffix)


def at(share: float, spread: float = 0.0) -> Callable[[Watch, float], bool]:
    """A share of the undisturbed run's time has gone by, and by chance up to `spread` more."""
    return lambda watch, chance: time.monotonic() - watch.began > (share + spread * chance) * watch.usual_s


def stopped(watch: Watch, _chance: float) -> bool:
    """A process of the run has stopped by itself."""
    return any(state_of(pid) == "T" for pid in {watch.pid, *watch.place.holders(watch.pid), *watch.children()})


MOMENTS = {
    m.name: m
    for m in (
        Moment("plan", at(0.02, 0.3)),
        Moment("run row written", came("runs"), 0.1),
        Moment("scan begins", lambda watch, _: bool(watch.children()), 0.5),
        Moment("clips being cut", lambda watch, _: bool(watch.children()), 0.7),
        Moment("mid scan", came("signals"), 1.0),
        Moment("frames being written", came("frames", TMP)),
        Moment("frames written", came("frames"), 0.05),
        Moment("signals written", came("signals"), 0.01),
        Moment("flush, after clips", came("clips")),
        Moment("flush, after videos", came("videos"), 0.002),
        Moment("marks written", came("marks"), 0.5),
        Moment("models are loaded", lambda watch, _: bool(watch.place.scorers(watch.pid)), 2.0),
        Moment("servers are loaded", lambda watch, _: bool(watch.place.servers(watch.pid)), 1.5),
        Moment("scores written", came("scores"), 0.1),
        Moment("files being cut", came("clip_files", TMP), 0.02),
        Moment("file cut", came("clip_files", ".mp4"), 0.3),
        Moment("captions under way", lambda watch, chance: watch.requests() > chance * watch.captions, 0.2),
        Moment("captions written", came("captions"), 0.2),
        Moment("last captions", lambda watch, _: watch.requests() >= watch.captions, 0.2),
        Moment("closing", lambda watch, _: watch.requests(answered=True) >= watch.captions, 0.4),
        Moment("between two files, driver", stopped, stops="driver"),
        Moment("between two files, child", stopped, stops="child"),
        Moment("any", at(0.0, 1.1)),
    )
}
