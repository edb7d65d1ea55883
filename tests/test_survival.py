"""The kill matrix in short: runs are struck in the middle, started again, and end as if nothing had happened.

In full: `python -m benchmarks survival`.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.survival import readers
from benchmarks.survival.campaign import Blow, Campaign
from benchmarks.survival.places import Machine
from benchmarks.survival.scenes import SCENES, make_footage
from benchmarks.survival.server import Own, Server
from benchmarks.survival.victims import CHILD, DRIVER, KEEPER, SCORER, SERVER

BLOWS = {
    "scan, captions, copies": [
        Blow(DRIVER, "between two files, child"), Blow(CHILD, "mid scan"), Blow(DRIVER, "captions written"),
    ],
    "shots changed": [
        Blow(DRIVER, "flush, after clips"), Blow("quota", "captions under way"), Blow("driver, SIGINT", "file cut"),
    ],
    "scores, captions, copies": [
        Blow(SCORER, "models are loaded"), Blow(DRIVER, "scores written"), Blow("driver, SIGTERM", "models are loaded"),
    ],
    "own servers, captions, copies": [
        Blow(KEEPER, "servers are loaded"), Blow(DRIVER, "captions under way"), Blow(SERVER, "captions under way"),
        Blow("driver, SIGTERM", "captions written"),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("survival")
    make_footage(folder, n_films=3, long_frames=200, n_large=0)
    return folder


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(service_s=0.05, parallel=3).running() as running:
        yield running


def campaign(name: str, footage: Path, folder: Path, server: Server) -> Campaign:
    scene = next(s for s in SCENES if s.name == name)
    asked = Own(0.05, 3, folder / "account") if scene.servers == "own" else server
    made = Campaign(scene, footage, folder, asked, Machine(folder), random.Random(4))
    made.prepare()
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOWS)
def test_struck_and_started_again_a_run_ends_as_if_nothing_had_happened(name: str, footage: Path, tmp_path: Path, server: Server) -> None:
    struck = campaign(name, footage, tmp_path, server).go(BLOWS[name])
    assert {(s.blow.victim, s.blow.moment): s.problems for s in struck if s.problems} == {}
    assert {s.blow for s in struck} == set(BLOWS[name]), "a moment did not come"
    assert sum(s.ended for s in struck) >= 2


def test_what_a_store_lost_or_has_twice_is_seen(footage: Path, tmp_path: Path, server: Server) -> None:
    made = campaign("scan, captions, copies", footage, tmp_path, server)
    whole = tmp_path / "undisturbed" / "store"
    assert made.reference
    assert readers.broken_promises(whole) == []
    assert readers.scanned_in_vain(whole, 0) == 0

    def spoilt(*patterns: str) -> Path:
        out = tmp_path / "disk" / "store"
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(whole, out)
        for pattern in patterns:
            next(out.glob(pattern)).unlink()
        return out

    def words(out: Path) -> str:
        return "; ".join(readers.view(out).unlike(made.reference.view)) if made.reference else ""

    unmade = {"scores", "embeddings", "windows", "alignment", "forgotten", "published"}
    for table in set(readers.COMPARED) - unmade:  # this scene makes none of these
        assert f"{table} lacks" in words(spoilt(f"{table}/**/*.parquet")), table
    for table in ("clips", "measures", "frames", "signals"):
        assert any("the mark of" in promise for promise in readers.broken_promises(spoilt(f"{table}/**/*.parquet"))), table
    assert any("is recorded" in promise for promise in readers.broken_promises(Path(shutil.move(whole, tmp_path / "moved"))))
