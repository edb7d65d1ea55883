"""Runs that are struck and started again until they finish, and what is looked at after each blow and at the end."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.survival import readers
from benchmarks.survival.moments import MOMENTS, Watch
from benchmarks.survival.places import COUNT, Machine
from benchmarks.survival.runs import Blow, Run, Struck, await_moment
from benchmarks.survival.scenes import WORKERS, Scene
from benchmarks.survival.server import Own, Server, text_of
from benchmarks.survival.victims import ATTEMPTS, EARLY, KEEPER, NODE, SERVER, VICTIMS, WORKER, remount
from rushes.engine.work.captions import AHEAD
from rushes.recipe import Recipe

UNDER_WAY_S = 3.0
"""An answer younger than this may be on its way from the server to the store: the driver has not seen it, or is writing it down. It
was 1.5 s and 2.0 s where three processes of tests and more wanted two cores."""
PARALLEL = 3
"""Captions that the server makes at once, and that a run asks for at once."""
TRIES = 4
"""Runs in a row that may fail, undisturbed, before a campaign is given up."""


@dataclass(slots=True)
class Reference:
    """The undisturbed run of a scene: what readers see afterwards, and how long it takes with the runner."""

    base: Path | None
    view: readers.View
    lines: tuple[str, ...]
    clip_files: dict[str, str]
    usual_s: float
    captions: int
    files: dict[str, int]
    """How many files each of the children, and the driver, put in their places."""


class Campaign:
    """A scene, in a folder of its own, with a server."""

    def __init__(self, scene: Scene, footage: Path, folder: Path, server: Server | Own, place: Machine, chance: random.Random) -> None:
        self.scene = scene
        self.footage = footage / scene.footage
        self.folder = folder
        self.server = server
        self.place = place
        self.chance = chance
        self.recipe = Recipe().with_overrides([*scene.settings])
        self.reference: Reference | None = None

    def _settings(self, settings: Iterable[str]) -> list[str]:
        return [*settings, *self.server.settings]

    def _undisturbed(self, out: Path, settings: Iterable[str], place: Machine, stop: str = "") -> float:
        began = time.monotonic()
        run = Run(["run", self.footage, "--out", out], self._settings(settings), place, stop)
        try:
            if (code := run.end(self.server)) != 0:
                raise RuntimeError(f"the undisturbed run of {self.scene.name!r} ended with {code}: {run.words()}")
        finally:
            run.stop()
        return time.monotonic() - began

    def prepare(self) -> Reference:
        """Runs the scene undisturbed, natively whatever the runner, since all runners must make the same rows; and then with the runner.

        Raises:
            RuntimeError: a run failed, made nothing, or made other rows than the native one.
        """
        here = Machine(self.folder)
        base, out = self.folder / "base" / "store", self.folder / "undisturbed" / "store"
        for path in (base, out):
            path.parent.mkdir(parents=True)
        if self.scene.before is not None:
            self._undisturbed(base, self.scene.before, here)
            shutil.copytree(base, out)
        self.server.forget()
        usual_s = self._undisturbed(out, self.scene.settings, here, stop=COUNT)
        seen = readers.view(out)
        lines, asked = tuple(readers.listed(out, self.recipe)), len(self.server.asked)
        if not any(seen.rows.values()) or (wrong := readers.broken_promises(out)):
            raise RuntimeError(f"the undisturbed run of {self.scene.name!r} is no measure: {wrong or 'it made no rows'}")
        made = here.counted()
        files = {"driver": made["driver"], "child": -(-made["child"] // WORKERS)}
        self.reference = Reference(base if base.exists() else None, seen, lines, _hashes(out), usual_s, asked, files)
        if self.place.runner != here.runner:
            self._compare_runners(self.reference)
        return self.reference

    def _compare_runners(self, native: Reference) -> None:
        with self._store() as out:
            native.usual_s = self._undisturbed(out, self.scene.settings, self.place)
            if wrong := readers.view(out).unlike(native.view):
                raise RuntimeError(f"undisturbed, {self.place.runner} makes other rows of {self.scene.name!r}: {wrong}")

    @contextmanager
    def _store(self) -> Iterator[Path]:
        """A store as it was before the scene, on a disk of its own where one can be mounted."""
        disk = self.folder / "disk"
        disk.mkdir(exist_ok=True)
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(disk)], capture_output=True, check=False)
        out = disk / "store"
        try:
            if self.reference and self.reference.base:
                shutil.copytree(self.reference.base, out)
            yield out
        finally:
            if made.returncode == 0:
                subprocess.run(["umount", "-l", str(disk)], check=True)
            else:
                shutil.rmtree(out, ignore_errors=True)

    def go(self, blows: Iterable[Blow]) -> list[Struck]:
        """Strikes the blows one after the other, each in the run that goes on or the next, until the last run has finished.

        A store that is finished before all blows are struck is compared, and the rest goes on with a new one. A blow whose moment does not
        come in a whole run is left out.
        """
        left, struck = deque(blows), []
        while left:
            n_left = len(left)
            with self._store() as out:
                struck += self._life(out, left)
            if len(left) == n_left:
                left.popleft()
        return struck

    def _life(self, out: Path, left: deque[Blow]) -> list[Struck]:
        """One store from its beginning until it is finished."""
        struck: list[Struck] = []
        self.server.forget()
        for _ in range(len(left) + TRIES):
            self.server.back()
            had = self._stored(out) if (out / "rushes.json").is_file() else set()
            self.place.mend()
            run = Run(["run", self.footage, "--out", out], self._settings(self.scene.settings), self.place, self._stop(left))
            try:
                n = len(struck)
                self._strike(run, out, left, struck)
                run.go_on()
                code = run.end(self.server)
                if len(struck) > 0:
                    struck[-1].problems += self._asked_in_vain(run, had, struck[n:])
                expected = VICTIMS[struck[-1].blow.victim].codes if len(struck) > n else frozenset()
                by_server = self.server.may_stop_a_run and self._stopped_by_server(struck[n:])
                if code == 0 or (code not in expected and not (code == 3 and by_server)):
                    self._finished(run, code, out, struck)
                    return struck
                self._after(run, out, struck[n:])
            finally:
                run.stop()
                remount(out.parent)
        struck[-1].problems.append(f"it did not finish in {TRIES} runs: {run.words()}")
        return struck

    def _stop(self, left: deque[Blow]) -> str:
        """Where the next run is to stop by itself: at a file that the undisturbed run put in its place, by chance."""
        who = MOMENTS[left[0].moment].stops if left else ""
        if not who:
            return ""
        assert self.reference is not None
        return f"{who} {self.chance.randint(1, self.reference.files[who])} {self.chance.choice(['before', 'after'])}"

    @staticmethod
    def _stopped_by_server(struck: list[Struck]) -> int:
        return sum(s.blow.victim in (SERVER, KEEPER) for s in struck)

    def _strike(self, run: Run, out: Path, left: deque[Blow], struck: list[Struck]) -> None:
        """Strikes as many blows as the run lives through, and one more."""
        assert self.reference is not None
        watch = Watch(out, run.process.pid, self.place, self.server, self.reference.usual_s, self.reference.captions)
        while left:
            watch.begin(time.time())
            run.go_on()
            if not await_moment(run, watch, MOMENTS[left[0].moment], self.chance):
                return
            blow = left.popleft()
            victim = VICTIMS[blow.victim]
            if not victim.strike(watch, self.chance):
                continue
            struck.append(Struck(self.place.runner, self.scene.name, blow))
            if victim.codes:
                return

    def _after(self, run: Run, out: Path, blows: list[Struck]) -> None:
        """What must hold as soon as a run has ended of its last blow."""
        assert self.reference is not None
        struck = blows[-1]
        ended_at, struck.ended = time.time(), True
        struck.outlived_s, last = run.outlived_s()
        if struck.outlived_s > self.place.outlive_s and (struck.blow.victim, struck.blow.moment) not in EARLY:
            struck.problems.append(f"a process lived {struck.outlived_s:.1f} s longer than its driver: {last}")
        if "Traceback" in (said := run.words()):
            struck.problems.append(f"it ended with a traceback: {said}")
        if not (out / "rushes.json").is_file():
            return
        time.sleep(self.place.settles_s)
        before = readers.files_of(out)
        seen = readers.view(out)
        struck.problems += seen.beyond(self.reference.view)
        struck.problems += readers.broken_promises(out)
        struck.scans = readers.scanned_in_vain(out, run.began)
        self._lost(run, out, blows, ended_at)
        if changed := {*readers.files_of(out).items()} ^ {*before.items()}:
            struck.problems.append(f"the store changed after the last process of the run was gone: {min(changed)[0]}")

    def _lost(self, run: Run, out: Path, blows: list[Struck], ended_at: float) -> None:
        """Compares the answers that the server gave this run with the captions of the store, and the scans that had ended with the marks.

        A child does one scan at a time and writes its rows, marks last, so each child loses one at most; and each that was killed while the
        run went on one more, which waits to be done again. An answer may be lost with what it was given to, if that was struck just after:
        the driver, or, on Ray, the captioner with its process or its node, and then the run went on.
        """
        struck, asked = blows[-1], [r for r in self._asked(run) if r["at"] < ended_at]
        stored, ends = self._stored(out), [*(s.at for s in blows if s.blow.victim in (WORKER, NODE)), ended_at]
        ages = {}
        for request in asked:
            end, answered = next(e for e in ends if e >= request["at"]), request["answered"]  # of whoever asked, if that was struck
            if answered and answered < end and text_of(request) not in stored:
                ages[text_of(request)] = min(end, struck.at) - answered
        struck.answers, struck.oldest_s = len(ages), max([0.0, *ages.values()])
        if struck.oldest_s > UNDER_WAY_S:
            struck.problems.append(f"{len(ages)} captions are lost, the oldest {struck.oldest_s:.1f} s old")
        if struck.scans > WORKERS + sum(s.blow.victim in (*ATTEMPTS, NODE) for s in blows):
            struck.problems.append(f"{struck.scans} scans that had ended are lost")

    def _asked(self, run: Run) -> list[dict[str, Any]]:
        return [r for r in self.server.asked if r["at"] > run.began]

    def _stored(self, out: Path) -> set[str]:
        return set(readers.captions_of(out, self.recipe)) if self.reference and self.reference.captions else set()

    def _asked_in_vain(self, run: Run, had: set[str], struck: list[Struck]) -> list[str]:
        """Requests of a run for captions that the store had before it, or that it had been given already.

        What was under way may be asked for again in the same run when the server died, or, on Ray, the captioner with its process or its
        node: then also answers that it was writing.
        """
        asked = self._asked(run)
        allowed = PARALLEL * self._stopped_by_server(struck) + AHEAD * PARALLEL * sum(s.blow.victim in (WORKER, NODE) for s in struck)
        found = []
        if known := sum(text_of(r) in had for r in asked):
            found.append(f"{known} captions were asked for that the store had")
        twice = sum(n - 1 for n in Counter(text_of(r) for r in asked).values())
        if twice > allowed:
            found.append(f"{twice} requests were made twice in one run")
        return found

    def _finished(self, run: Run, code: int | None, out: Path, struck: list[Struck]) -> None:
        """Compares a finished store with the undisturbed one; what is wrong is put down to the last blow."""
        assert self.reference is not None
        problems, (outlived_s, last) = [], run.outlived_s()
        if outlived_s > self.place.outlive_s:
            problems.append(f"a process lived {outlived_s:.1f} s longer than its driver, which ended with {code}: {last}")
        if code != 0:
            problems.append("it hung: " + run.words() if code is None else f"exit code {code}: " + run.words())
        else:
            problems += readers.view(out).unlike(self.reference.view)
            problems += readers.broken_promises(out)
            blamed, died = sum(s.blow.victim in ATTEMPTS for s in struck), readers.lost_workers(out)
            if died > blamed:
                problems.append(f"{died} attempts are recorded of children and workers that died, {blamed} were killed")
            if (lines := readers.listed(out, self.recipe)) != [*self.reference.lines]:
                wrong = [f"{a} for {b}" for a, b in zip(lines, self.reference.lines, strict=False) if a != b]
                problems.append(f"clips and videos are not those of the undisturbed run: {wrong[:1]}")
            if _hashes(out) != self.reference.clip_files:
                problems.append("clip files are not those of the undisturbed run")
        if problems and not struck:
            struck.append(Struck(self.place.runner, self.scene.name, Blow("nothing", "none came")))
        if struck:
            struck[-1].problems += problems
            struck[-1].litter = readers.litter(out)
            struck[-1].outlived_s = max(struck[-1].outlived_s, outlived_s)


def _hashes(out: Path) -> dict[str, str]:
    """SHA-256 of every clip file, by path in the store."""
    files = (p for p in (out / "clip_files").rglob("*") if p.is_file() and p.suffix != ".tmp")
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
