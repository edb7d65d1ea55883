"""Stores of clips with vectors, written row by row: what a run with the scorer `embedding` leaves, without its model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rushes.engine.fingerprints import fingerprints
from rushes.engine.stages import wanted_scores
from rushes.measures.clip import COLUMNS as MEASURE_COLUMNS
from rushes.recipe import Recipe
from rushes.results import Results
from rushes.store.parts import part_name
from rushes.store.store import Store
from rushes.store.tables import CLIPS, ERRORS, MEASURES, RUNS, SCORES, VIDEOS, Table

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CLIPS_A_VIDEO = 5
WITH_EMBEDDING = 'scores.use=["embedding"]'
Vectors = npt.NDArray[np.float32]


def ids(kind: str, n: int, digits: int) -> list[str]:
    return [hashlib.sha256(f"{kind} {k}".encode()).hexdigest()[:digits] for k in range(n)]


def clustered(n: int, length: int, seed: int = 0, spread: float = 0.6) -> Vectors:
    """Vectors of unit length around some centres, as those of clips are: (n, length)."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(max(2, n // 40), length))
    found = centres[random.integers(0, len(centres), n)] + spread * random.normal(size=(n, length))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


class Embedded:
    """A store in which a run has ended. Clip k has vector k; `clip_ids` are in order of k. `CLIPS_A_VIDEO` clips are of one video.

    Every seventh clip is too short, so that the rules drop it; of every eleventh the caption failed for good.
    """

    def __init__(self, folder: Path | str, vectors: Vectors, *settings: str, a_part: int = 50) -> None:
        self.recipe = Recipe().with_overrides([WITH_EMBEDDING, *settings])
        self.store, self.vectors = Store.create(str(folder), {}), vectors
        n = len(vectors)
        self.clip_ids, self.video_ids = ids("clip", n, 32), ids("video", -(-n // CLIPS_A_VIDEO), 64)
        self.prints = fingerprints(self.recipe)
        (self.scorer,) = wanted_scores(self.recipe)
        counts = {"fingerprints": self.prints, "scorers": {"embedding": self.scorer.fingerprint}}
        run = {"run_id": "r", "status": "finished", "started_at": NOON, "ended_at": NOON, "host": "h", "pid": 1, "profile": "web"}
        run |= {"recipe": self.recipe.model_dump_json(), "counts": json.dumps(counts), "versions": "{}", "fingerprint": "f" * 32}
        self.store.write_rows(RUNS, [run | {"written_at": NOON}])
        self.of_footage(range(n))
        self.of_scores(range(n), a_part)

    @property
    def results(self) -> Results:
        """The store as a reader sees it now."""
        return Results(self.store)

    @property
    def root(self) -> str:
        return self.store.root

    def put(self, table: Table, stage: str, rows: Sequence[dict[str, Any]], extra: Any = ()) -> None:
        stamps = {"fingerprint": self.prints.get(stage, stage), "run_id": "r", "written_at": NOON}
        stamped = [stamps | row for row in rows]
        self.store.write_rows(table, stamped, extra=extra, name=part_name(table, stamped))

    def of_footage(self, some: Sequence[int]) -> None:
        """Videos, clips and measures of some clips."""
        videos = sorted({k // CLIPS_A_VIDEO for k in some})
        facts = {"status": "done", "width": 1920, "height": 1080, "fps": 25.0, "footage_s": 100.0, "codec": "h264"}
        self.put(VIDEOS, "scan", [{"uri": f"/footage/{v:04d}.mp4", "video_id": self.video_ids[v], **facts} for v in videos])
        names = {k: {"clip_id": self.clip_ids[k], "video_id": self.video_ids[k // CLIPS_A_VIDEO]} for k in some}
        spans = {k: (k % CLIPS_A_VIDEO) * 10 for k in some}
        clips = [
            {**names[k], "start_pts": 100 * s, "end_pts": 100 * s + 900, "time_base": "1/100", "start_s": float(s), "end_s": s + 9.0}
            | {"duration_s": 1.0 if k % 7 == 0 else 9.0, "n_frames": 225, "start_kind": "cut", "end_kind": "cut"}
            for k, s in spans.items()
        ]
        self.put(CLIPS, "shots", clips)
        self.put(MEASURES, "measures", [{**names[k], "sharpness": 0.5 + (k % 10) / 20, "texture": 0.5} for k in some], MEASURE_COLUMNS)
        failed = {"stage": "captions", "attempt": 1, "permanent": True, "error_type": "Refused", "error": "no words", "mend": "ask again"}
        rows = [failed | {"key": self.clip_ids[k], "video_id": names[k]["video_id"], "uri": "u"} for k in some if k % 11 == 0]
        if rows:
            self.put(ERRORS, "captions", rows)

    def of_scores(self, some: Sequence[int], a_part: int = 50) -> None:
        """The vectors of some clips, in parts."""
        rows = [
            {"clip_id": self.clip_ids[k], "video_id": self.video_ids[k // CLIPS_A_VIDEO], "scorer": "embedding", "model": "m"}
            | {"parameters": "{}", "seconds": 0.1, "embedding": self.vectors[k].tolist()}
            for k in some
        ]
        for at in range(0, len(rows), a_part):
            self.put(SCORES, self.scorer.fingerprint, rows[at : at + a_part], self.scorer.columns)

    def verdict(self, k: int) -> str:
        """What the rules make of clip k."""
        return "dropped" if k % 7 == 0 else "failed" if k % 11 == 0 else "kept"

    def truth(self, vector: Vectors, n: int, verdict: str | None = "kept", but: int = -1) -> list[tuple[str, float]]:
        """The nearest clips and their cosines, by numpy."""
        cosines = self.vectors.astype(np.float64) @ vector.astype(np.float64)
        order = [k for k in np.argsort(-cosines).tolist() if verdict in (None, self.verdict(k)) and k != but]
        return [(self.clip_ids[k], float(cosines[k])) for k in order[:n]]
