"""A publish that is killed at any moment, again and again: readers see the old rows or the new ones, and the next publish completes it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from consumers import PAIMON, TARGETS
from publishing import copied, go, recaption, same, wanted
from stores import SRC

KILLS = {"parquet": 6, "lance": 6, "iceberg": 6, "paimon": 3}
"""By kind of target. For each publish to paimon a Python starts that imports pypaimon, and one for each look at the table."""
PUBLISH = """
import sys
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
import publishing, pyarrow.dataset, rushes.publish.publish
print("begun", flush=True)
publishing.go(Path(sys.argv[3]), sys.argv[4], *sys.argv[5:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KILLS)
def test_killed_at_any_moment(reel_store: Path, tmp_path: Path, kind: str) -> None:
    if kind == "paimon" and PAIMON is None:
        pytest.skip("RUSHES_PAIMON_PYTHON names no Python with pypaimon: make test-targets does")
    store, place = copied(reel_store, tmp_path / "store"), tmp_path / "target"
    address, rows, settings = TARGETS[kind]
    to = address.format(place)

    def read() -> list[dict[str, Any]]:
        return rows(place)

    go(store, to, *settings)
    clips, moments, states = [row["clip_id"] for row in wanted(store)], random.Random(5), set()
    recaption(store, clips[0], "how long it takes")
    began = time.perf_counter()
    go(store, to, *settings)
    lasts_s = time.perf_counter() - began
    for k in range(KILLS[kind]):
        old = read()
        recaption(store, clips[k % len(clips)], f"caption {k}")
        command = [sys.executable, "-W", "ignore", "-c", PUBLISH, str(SRC), str(Path(__file__).parent), str(store), to, *settings]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=dict(os.environ)) as process:
            assert process.stdout is not None and process.stdout.readline() == "begun\n"
            time.sleep((k + moments.random()) / KILLS[kind] * 1.1 * lasts_s)
            process.kill()
        now = read()
        assert same(now, old) or same(now, wanted(store)), k
        states.add(same(now, old))
    assert go(store, to, *settings).right and same(read(), wanted(store))
    assert go(store, to, *settings).status == "unchanged"
    assert True in states, "no kill came before the commit"
