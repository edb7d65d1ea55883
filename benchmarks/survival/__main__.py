"""`python -m benchmarks survival`: so many kills over all scenes, moments and victims; exit code 1 when anything is lost or doubled."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.survival.campaign import PARALLEL, Campaign
from benchmarks.survival.places import Machine, Nodes, place
from benchmarks.survival.publishing import PUBLISHED, PublishCampaign, PublishScene
from benchmarks.survival.runs import Blow, Struck
from benchmarks.survival.scenes import SCENES, Scene, make_footage
from benchmarks.survival.server import Own, Server, Several
from benchmarks.survival.victims import ATTEMPTS, DRIVER, RAY_SHARES, SHARES

IN_A_ROW = 5
"""Blows of one campaign."""
SERVICE_S = 0.15
"""A caption of the server takes so long: all together about as long as the scan of the films."""
AGAIN = 2
"""Blows of one campaign that may count as attempts: at `scan.attempts` of one video, over all runs, it is failed."""
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    pass"
"""A process that keeps a core busy, as long as the process that started it lives."""


@contextmanager
def load(n: int) -> Iterator[None]:
    """So many processes that do nothing but keep cores busy, for the length of a block."""
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(n)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def drawn(
    scenes: Sequence[Scene | PublishScene], chance: random.Random, shares: Mapping[str, int]
) -> Iterator[tuple[Scene | PublishScene, list[Blow]]]:
    """Campaigns without end, round by round: every moment of every scene once in a round, each with a victim by chance, in any order."""
    while True:
        campaigns = []
        for scene in scenes:
            stages = chance.sample(scene.stages, len(scene.stages))
            blows = [Blow(chance.choices([*shares], [*shares.values()])[0], stage) for stage in stages]
            campaigns += [(scene, spared(blows[i : i + IN_A_ROW])) for i in range(0, len(blows), IN_A_ROW)]
        yield from chance.sample(campaigns, len(campaigns))


def spared(blows: Sequence[Blow]) -> list[Blow]:
    """The blows, with the driver struck where one video could be attempted too often."""
    found: list[Blow] = []
    for blow in blows:
        often = blow.victim in ATTEMPTS and sum(b.victim in ATTEMPTS for b in found) >= AGAIN
        found.append(Blow(DRIVER, blow.moment) if often else blow)
    return found


def line_of(struck: Struck) -> str:
    """A line on one blow."""
    held = f"{struck.answers} captions held up to {struck.oldest_s:.1f} s" if struck.answers else ""
    notes = [f"{struck.scans} scans anew" if struck.scans else "", held]
    words = ", ".join(n for n in notes if n) or "nothing anew"
    result = "WRONG" if struck.problems else "equal"
    ended = f"outlived {struck.outlived_s:4.2f} s" if struck.ended else "went on"
    return f"{result}  {struck.runner}  {struck.scene:36} {struck.blow.victim:22} {struck.blow.moment:22} {ended:16} {words}"


def table(all_struck: Sequence[Struck]) -> None:
    """Prints what came of each kind of blow: by victim, by moment, by scene."""
    head = ("", "kills", "restarts", "wrong", "scans anew", "captions anew", "oldest, s", "outlived, s")
    for kind in ("victim", "moment", "scene"):
        rows: dict[str, list[Struck]] = {}
        for struck in all_struck:
            rows.setdefault(struck.scene if kind == "scene" else getattr(struck.blow, kind), []).append(struck)
        print(f"\n{kind:36}" + "".join(f"{h:>15}" for h in head[1:]))
        for name, some in sorted(rows.items()):
            figures = (
                len(some), sum(s.ended for s in some), sum(bool(s.problems) for s in some), sum(s.scans for s in some),
                sum(s.answers for s in some), f"{max(s.oldest_s for s in some):.1f}", f"{max(s.outlived_s for s in some):.2f}",
            )  # fmt: skip
            print(f"{name:36}" + "".join(f"{f:>15}" for f in figures))


def main() -> int:
    """Run it; 1 when a store differs from the undisturbed one, or a promise is broken on the way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--runner", choices=[Machine.runner, Nodes.runner], default="native")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scene", action="append", help="only scenes whose name begins so")
    parser.add_argument("--victim", action="append", help="only victims whose name begins so")
    parser.add_argument("--load", type=int, default=0, help="processes that keep the cores busy meanwhile")
    args = parser.parse_args()
    scenes = [s for s in (*SCENES, *PUBLISHED) if s.name.startswith(tuple(args.scene or ("",)))]
    all_shares = SHARES if args.runner == "native" else RAY_SHARES
    shares = {v: share for v, share in all_shares.items() if v.startswith(tuple(args.victim or ("",)))}
    chance, struck = random.Random(args.seed), list[Struck]()
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rushes-survival-")))
        servers = {
            "one": stack.enter_context(Server(SERVICE_S, PARALLEL).running()),
            "several": stack.enter_context(Several(SERVICE_S, PARALLEL).running()),
            "own": Own(SERVICE_S, PARALLEL, folder / "account"),
        }
        where = stack.enter_context(place(args.runner, folder))
        footage = folder / "footage"
        make_footage(footage)
        stack.enter_context(load(args.load))
        campaigns: dict[str, Campaign | PublishCampaign] = {}
        for k, (scene, blows) in enumerate(drawn(scenes, chance, shares)):
            if scene.name not in campaigns:
                if isinstance(scene, PublishScene):
                    campaigns[scene.name] = PublishCampaign(scene, footage, folder / str(k), servers["one"], where, chance)
                else:
                    campaigns[scene.name] = Campaign(scene, footage, folder / str(k), servers[scene.servers], where, chance)
                print(f"undisturbed  {scene.name}: {campaigns[scene.name].prepare().usual_s:.1f} s", flush=True)
            for one in campaigns[scene.name].go(blows):
                struck.append(one)
                print(line_of(one), *(f"\n    {problem}" for problem in one.problems), flush=True)
            if len(struck) >= args.kills:
                break
    table(struck)
    wrong = sum(bool(s.problems) for s in struck)
    minutes, litter = (time.monotonic() - began) / 60, sum(s.litter for s in struck)
    print(
        f"\n{len(struck)} kills, {sum(s.ended for s in struck)} restarts, {wrong} wrong, {litter} temporary files left, {minutes:.1f} min"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
