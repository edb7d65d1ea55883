"""Targets that are published to while a process is struck: readers see the old clips or the new ones, and the next publish completes it.

A campaign has a store of its own and one target. Between two publishes one caption changes, and two thresholds, so that clips come and go.
"""

from __future__ import annotations

import io
import random
import re
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.render import ROOT
from benchmarks.survival.moments import MOMENTS, Watch
from benchmarks.survival.places import Machine
from benchmarks.survival.runs import Blow, Run, Struck, await_moment
from benchmarks.survival.scenes import PLAIN
from benchmarks.survival.server import Own, Server
from benchmarks.survival.victims import CHILD, DRIVER, NODE, VICTIMS, WORKER

sys.path.insert(0, str(ROOT / "tests"))
import consumers
from publishing import numbers, recaption

FILMS = 4
"""Films of the footage that are in the store: some twelve clips, so that cutting them takes as long as all else."""
RECIPES = (
    ("rules.too_short.min=2.6",),
    ("rules.too_short.min=1", "rules.too_long.column=duration_s", "rules.too_long.max=3.3"),
)
"""Settings of each other publish: the second lets short clips in, which are cut, and takes long ones out."""
CUTS = ("lance", "files", "webdataset", "hf", "jsonl")
"""Kinds of targets for which clips are cut here."""
STRUCK = (DRIVER, "driver, SIGTERM", "driver, SIGINT", "driver, SIGINT twice", CHILD, WORKER, NODE)
"""Victims that a publish has; in place of others its driver is struck."""
APART = ("video", "video_uri", "file_bytes")
"""Columns that say where a target is, or hold a film or its size: x264 does not always make the same bytes of the same pictures."""

View = dict[str, str]
"""clip_id -> all that a consumer reads of the clip, and the numbers drawn in its film, as text."""


@dataclass(frozen=True, slots=True)
class PublishScene:
    """A kind of target. `stages`: names of the moments (`moments.MOMENTS`) at which it is struck."""

    kind: str
    stages: tuple[str, ...]

    @property
    def name(self) -> str:
        """As the scene is shown."""
        return f"publish, {self.kind}"


PUBLISHED = tuple(
    PublishScene(kind, ("any", "clips being cut", "any") if kind in CUTS else ("any", "any"))
    for kind in consumers.TARGETS
    if kind != "paimon" or consumers.PAIMON is not None
)


@dataclass(slots=True)
class Usual:
    """The undisturbed publish: how long it takes."""

    usual_s: float


class PublishCampaign:
    """A scene, in a folder of its own."""

    def __init__(
        self, scene: PublishScene, footage: Path, folder: Path, server: Server | Own, place: Machine, chance: random.Random
    ) -> None:
        self.scene, self.folder, self.server, self.place, self.chance = scene, folder, server, place, chance
        self.films = sorted((footage / "films").glob("0*"))[:FILMS]
        self.store, self.target = folder / "store", folder / "target"
        self._address, self._read, self._settings = consumers.TARGETS[scene.kind]
        self._n = 0
        self._usual_s = 0.0
        self._old: View = {}

    def _publish(self, target: Path, stop: bool = True) -> Run:
        words = ["publish", self.store, "--to", self._address.format(target)]
        return Run(words, [*PLAIN, *RECIPES[self._n % 2], *self._settings], self.place if stop else Machine(self.folder))

    def _done(self, run: Run, what: str) -> float:
        """Waits for the end of a command that nothing disturbs; the seconds that it took.

        Raises:
            RuntimeError: it failed.
        """
        began = time.monotonic()
        try:
            if (code := run.end(self.server)) != 0:
                raise RuntimeError(f"{what} of {self.scene.name!r} ended with {code}: {run.words()}")
        finally:
            run.stop()
        return time.monotonic() - began

    def prepare(self) -> Usual:
        """Makes the store, and publishes it twice, with a change in between.

        Raises:
            RuntimeError: a command failed, or a publish did not give what one in one go gives.
        """
        self.folder.mkdir(parents=True)
        self._done(Run(["run", *self.films, "--out", self.store], PLAIN, Machine(self.folder)), "the run")
        self._done(self._publish(self.target), "the first publish")
        self._old = self._view(self.target)
        self._change()
        self._usual_s = self._done(self._publish(self.target), "the second publish")
        new = self._in_one_go()
        if (seen := self._view(self.target)) != new or seen == self._old:
            raise RuntimeError(f"undisturbed, {self.scene.name!r} is no measure: {_difference(seen, new) or 'nothing changed'}")
        self._old = new
        return Usual(self._usual_s)

    def _change(self) -> None:
        """Another caption for one of the clips that stay or go, and the other thresholds."""
        self._n += 1
        clips = sorted(clip for clip in self._old if "." not in clip)
        recaption(self.store, clips[self._n % len(clips)], f"caption {self._n}")

    def _in_one_go(self) -> View:
        """What a new target shows, published now, undisturbed and on this machine."""
        fresh = self.folder / f"fresh-{self._n}"
        self._done(self._publish(fresh, stop=False), "the publish in one go")
        found = self._view(fresh)
        for path in self.folder.glob(f"{fresh.name}*"):
            shutil.rmtree(path)
        return found

    def go(self, blows: Iterable[Blow]) -> list[Struck]:
        """Strikes one publish after the other; each is then done again, undisturbed. A moment that does not come is left out."""
        return [struck for blow in blows if (struck := self._struck(blow)) is not None]

    def _struck(self, blow: Blow) -> Struck | None:
        blow = blow if blow.victim in STRUCK else Blow(DRIVER, blow.moment)
        self._change()
        struck = Struck(self.place.runner, self.scene.name, blow)
        self.place.mend()
        run = self._publish(self.target)
        try:
            watch = Watch(self.store, run.process.pid, self.place, self.server, self._usual_s, 0)
            watch.begin(run.began)
            hit = await_moment(run, watch, MOMENTS[blow.moment], self.chance) and VICTIMS[blow.victim].strike(watch, self.chance)
            code = run.end(self.server)
            struck.outlived_s, last = run.outlived_s()
            said = run.words()
        finally:
            run.stop()
        new = self._in_one_go()
        if hit:
            struck.problems += self._looked_at(struck, code, said, last, new)
        again = self._publish(self.target)
        try:
            if (code := again.end(self.server)) != 0:
                struck.problems.append(f"the next publish ended with {code}: {again.words()}")
        finally:
            again.stop()
        if wrong := _difference(self._view(self.target), new):
            struck.problems.append(f"after the next publish the target is not that of a publish in one go: {wrong}")
        self._old = new
        return struck if hit or struck.problems else None

    def _looked_at(self, struck: Struck, code: int | None, said: str, last: str, new: View) -> list[str]:
        """What must hold as soon as a publish has ended of its blow, or lived through it."""
        victim, found = VICTIMS[struck.blow.victim], []
        struck.ended = bool(victim.codes) and code in victim.codes
        if code is None or "Traceback" in said:
            found.append(f"it hung, or ended with a traceback: {said}")
        allowed = victim.codes | {0} if victim.codes else {0, 1}  # 1: clips that a child was cutting are left out, and told
        if code is not None and code not in allowed:
            found.append(f"exit code {code}: {said}")
        if struck.outlived_s > self.place.outlive_s:
            found.append(f"a process lived {struck.outlived_s:.1f} s longer than its driver: {last}")
        seen = self._view(self.target)
        failed = re.findall(r"failed: clip (\w+):", said)
        left_out = {name: text for name, text in new.items() if not any(name == clip or f"_{clip[:8]}." in name for clip in failed)}
        if seen not in (self._old, new, left_out):
            found.append(f"readers see neither the old clips nor the new ones: {_difference(seen, new)}")
        return found

    def _view(self, target: Path) -> View:
        films = self._films(target)
        rows = [{name: value for name, value in row.items() if name not in APART} for row in self._read(target)]
        return {str(row.get("clip_id") or row["id"]): f"{films.get(str(row.get('clip_id')), '')} {sorted(row.items())}" for row in rows} | {
            name: digest for name, digest in films.items() if "." in name
        }

    def _films(self, target: Path) -> View:
        """The numbers drawn in films: by clip_id where the target keeps films in other files, else by the names of their own."""
        if self.scene.kind == "webdataset":
            films = {str(sample["__key__"]): sample["mp4"] for sample in consumers.samples(target)}
        elif self.scene.kind == "lance":
            films = consumers.lance_films(target)
        else:
            films = {path.name: path.read_bytes() for path in (target / "LATEST").resolve().rglob("*.mp4")}
        return {name: str(numbers(io.BytesIO(film))) for name, film in films.items()}


def _difference(seen: View, wanted: View) -> str:
    """In what two views differ, in words; empty when they are equal."""
    words = [
        f"{len(keys)} clips {what}"
        for what, keys in (("lack", wanted.keys() - seen.keys()), ("too many", seen.keys() - wanted.keys()))
        if keys
    ]
    differ = [clip for clip in seen.keys() & wanted.keys() if seen[clip] != wanted[clip]]
    return "; ".join([*words, *([f"{len(differ)} differ, such as {seen[differ[0]]} for {wanted[differ[0]]}"] if differ else [])])
