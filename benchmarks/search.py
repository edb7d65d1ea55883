"""What a search costs in stores of 100,000 and of a million clips, with an index and without, and what share of the nearest it then finds.

    python -m benchmarks.search [--clips 0.1 1]      (millions)

The rows are synthetic, as those of `benchmarks.scale`, compacted, with vectors of 768 numbers. As those of CLIP, the vectors of clips lie
around a common mean, in clusters of unequal size (2,000 centres, shares as 1/rank), spread along 48 directions and a little along all. What
is looked for are 50 further such vectors, as of pictures, and 50 as of texts: these lie apart from all clips, as CLIP's do ("Mind the Gap",
arXiv 2203.02053), so that their cosines are small. Right is what numpy finds among all vectors. Seconds (of CPU) and peaks are those of a
process of its own each, which searches twice: what the second search takes is what a program that goes on searching sees.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.scale import NOON, ROOT, VIDEOS_A_PART, cpu_s, filled, part, peak_mib
from benchmarks.targets import Targets
from rushes.api import results
from rushes.engine.fingerprints import fingerprints
from rushes.engine.stages import wanted_scores
from rushes.recipe import Recipe
from rushes.search.index import Index, make_index
from rushes.search.nearest import nearest_clips
from rushes.search.vectors import Vectors
from rushes.store.compact import compact
from rushes.store.store import Store
from rushes.store.tables import CLIPS, MARKS, RUNS, SCORES

LENGTH, CENTRES, DIRECTIONS = 768, 2000, 48
QUERIES, NEAREST = 50, 10
RECIPE = Recipe().with_overrides(['scores.use=["embedding"]'])
Array = np.ndarray


def unit(vectors: Array) -> Array:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@cache
def space() -> tuple[Array, Array, Array, Array]:
    """The mean of all clips, that of all texts, the centres, and the directions of spread."""
    rng = np.random.default_rng(7)
    mean, of_texts = unit(rng.normal(size=(2, LENGTH)))
    return mean, of_texts, unit(rng.normal(size=(CENTRES, LENGTH))), unit(rng.normal(size=(DIRECTIONS, LENGTH)))


def drawn(rng: np.random.Generator, n: int, *, texts: bool = False) -> Array:
    """The vectors of `n` clips, or of texts about such clips."""
    mean, of_texts, centres, directions = space()
    shares = 1 / np.arange(1, CENTRES + 1)
    own = centres[rng.choice(CENTRES, n, p=shares / shares.sum())]
    spread = rng.normal(size=(n, DIRECTIONS)).astype(np.float32) @ directions * np.float32(0.8 / DIRECTIONS**0.5)
    around = own + spread + rng.normal(size=(n, LENGTH)).astype(np.float32) * np.float32(0.3 / LENGTH**0.5)
    return unit(of_texts + 0.4 * around if texts else mean + around)


def queries() -> dict[str, Array]:
    rng = np.random.default_rng(99)
    return {"like a picture": drawn(rng, QUERIES), "as of a text": drawn(rng, QUERIES, texts=True)}


class Best:
    """The nearest clips to each query, found by numpy, batch by batch."""

    def __init__(self, asked: dict[str, Array]) -> None:
        self._asked = asked
        nothing = (np.full((QUERIES, NEAREST), -2.0, np.float32), np.zeros((QUERIES, NEAREST), "S32"))
        self.found = dict.fromkeys(asked, nothing)

    def add(self, names: Array, vectors: Array) -> None:
        for kind, (cosines, ids) in self.found.items():
            both = np.hstack([cosines, self._asked[kind] @ vectors.T])
            of_both = np.hstack([ids, np.broadcast_to(names, (QUERIES, len(names)))])
            order = np.argsort(-both, axis=1)[:, :NEAREST]
            self.found[kind] = (np.take_along_axis(both, order, 1), np.take_along_axis(of_both, order, 1))

    def names(self, kind: str) -> list[list[str]]:
        return [[name.decode() for name in row] for row in self.found[kind][1].tolist()]


def make_of(root: str, n_clips: str) -> dict[str, float]:
    """Makes the store, compacted, and writes down the right answers."""
    store, prints, (scorer,) = Store.create(root, {}), fingerprints(RECIPE), wanted_scores(RECIPE)
    rng, began = np.random.default_rng(1), cpu_s()
    best = Best(queries())
    for number in range(max(1, int(n_clips) // (25 * VIDEOS_A_PART))):
        for table, rows in part(rng, number, prints):
            if table is not MARKS:
                store.write_table(table, rows, f"{rows['fingerprint'][0].as_py()[:8]}-{number:020d}")
            if table is CLIPS:
                vectors, names = drawn(rng, rows.num_rows), np.array(rows["clip_id"].to_pylist(), "S32")
                flat = pa.ListArray.from_arrays(np.arange(0, vectors.size + 1, LENGTH, dtype=np.int32), pa.array(vectors.ravel()))
                known = {"clip_id": rows["clip_id"], "video_id": rows["video_id"], "embedding": flat, "scorer": "embedding"}
                stamps = {"fingerprint": scorer.fingerprint, "run_id": "run-000000", "written_at": NOON}
                scores = filled(SCORES, {**known, **stamps}, rows.num_rows, scorer.columns)
                store.write_table(SCORES, scores, f"{scorer.fingerprint[:8]}-{number:020d}")
                best.add(names, vectors)
    run = {"run_id": "run-000000", "status": "finished", "started_at": NOON, "ended_at": NOON, "recipe": RECIPE.model_dump_json()}
    counts = json.dumps({"fingerprints": prints, "scorers": {"embedding": scorer.fingerprint}})
    store.write_rows(RUNS, [{**run, "counts": counts, "versions": "{}", "fingerprint": "0" * 32, "written_at": NOON}])
    compact(store)
    Path(root).with_name("right.json").write_text(json.dumps({kind: best.names(kind) for kind in queries()}))
    sure = {f"cosine {kind}": float(cosines[:, 0].mean()) for kind, (cosines, _) in best.found.items()}
    return {"seconds": cpu_s() - began, "mib": peak_mib(), **sure}


def exact_of(root: str) -> dict[str, float]:
    return searched(root, exact=True)


def indexed_of(root: str) -> dict[str, float]:
    return searched(root, exact=False)


def searched(root: str, exact: bool) -> dict[str, float]:
    """Two searches in one process, each for the 10 nearest kept clips; both must be right where all vectors are compared."""
    found, right = results(root), json.loads(Path(root).with_name("right.json").read_text())
    asked, figures = queries()["like a picture"], {"before MiB": peak_mib()}
    for k, name in enumerate(("", "again ")):
        began, wall = cpu_s(), time.perf_counter()
        answer = nearest_clips(found, asked[k], n=NEAREST, verdict=None, exact=exact)
        figures |= {f"{name}seconds": cpu_s() - began, f"{name}wall s": time.perf_counter() - wall}
        if exact and [row["clip_id"] for row in answer.rows] != right["like a picture"][k]:
            raise RuntimeError("the nearest are not those that numpy finds")
        if exact == (answer.indexed > 0):
            raise RuntimeError("the index was not used as asked")
    return figures | {"mib": peak_mib(), "compared": answer.compared}


def index_of(root: str) -> dict[str, float]:
    """Makes the index."""
    vectors, before, began, wall = Vectors(results(root)), peak_mib(), cpu_s(), time.perf_counter()
    made = make_index(vectors)
    seconds = {"seconds": cpu_s() - began, "wall s": time.perf_counter() - wall}
    return {**seconds, "mib": peak_mib(), "before MiB": before, "MB": made.bytes / 1e6}


def recall_of(root: str) -> dict[str, float]:
    """The share of the 10 nearest by numpy that are the 10 nearest by the vectors of the index."""
    index = Index.opened(Vectors(results(root)))
    right, best = json.loads(Path(root).with_name("right.json").read_text()), Best(queries())
    assert index is not None
    for stream in index.streams():
        for clips, vectors in stream():
            best.add(np.array(clips["clip_id"].to_pylist(), "S32"), vectors)
    found = {kind: sum(len({*mine}.intersection(own)) for mine, own in zip(best.names(kind), right[kind], strict=True)) for kind in right}
    return {f"recall {kind}": n / (QUERIES * NEAREST) for kind, n in found.items()}


WORKS: dict[str, Callable[..., dict[str, float]]] = {
    "make": make_of, "exact": exact_of, "index": index_of, "indexed": indexed_of, "recall": recall_of,
}  # fmt: skip


def in_own_process(work: str, *args: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.search", "--work", work, *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(n_clips: int, run: Callable[..., dict[str, float]] = in_own_process) -> dict[str, dict[str, float]]:
    """All figures of one size of store, each work by `run`."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as folder:
        root = os.path.join(folder, "store")
        for work in WORKS:
            found[work] = run(work, root, *([str(n_clips)] if work == "make" else []))
            print(f"{n_clips:>9} clips  {work:8}", "  ".join(f"{k} {v:.4g}" for k, v in found[work].items()), flush=True)
    return found


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=float, nargs="+", default=[0.1, 1], help="sizes of stores, in millions of clips")
    parser.add_argument("--work", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        print(json.dumps(WORKS[args.work[0]](*args.work[1:])))
        return 0
    targets = Targets()
    for millions in args.clips:
        found = measure(int(millions * 1e6))
        for kind in queries():
            targets.at_least(f"{millions:g} M: recall@10, {kind}", found["recall"][f"recall {kind}"], 0.95)
        targets.at_most(f"{millions:g} M: memory of a search, no index", found["exact"]["mib"], 1536, "MiB")
        targets.at_most(f"{millions:g} M: memory of making the index", found["index"]["mib"], 2048, "MiB")
    return targets.close()


if __name__ == "__main__":
    sys.exit(main())
