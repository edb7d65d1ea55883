"""What a store holds, as people and scripts ask for it: videos, clips with their verdicts, runs, errors. Pure reading.

Everything is seen under one recipe: the newest run's, or the one that is asked for.
Verdicts are computed here, by the same function as in a run.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from rushes.engine.clip_columns import RULE_COLUMNS, clip_columns, frame_s
from rushes.engine.fingerprints import Fingerprints, fingerprints
from rushes.engine.lease import EXPIRY_S, holder
from rushes.errors import StoreError
from rushes.measures.clip import COLUMNS as MEASURE_COLUMNS
from rushes.recipe import Recipe
from rushes.store.store import Store, now
from rushes.store.tables import CAPTIONS, CLIPS, ERRORS, FILES, MEASURES, RUNS, VIDEOS
from rushes.verdict.judge import check_columns, checks, judge

Row = dict[str, Any]

CRASHED_AFTER_S = EXPIRY_S
"""A running run whose heartbeat is older than this has crashed; one whose process is gone has at once."""
LATER: Row = {"errors": {}, "capacity": {}, "in_flight": 0, "decoded_now_s": 0.0, "videos_todo": 0, "footage_todo_s": 0.0}
"""What rows of older versions lack."""


class Results:
    """A store under one recipe.

    Args:
        store: the store.
        recipe: None: the newest run's.

    Raises:
        StoreError: no run has written here, or the recipe needs rows that no run has made.
        RecipeError: a rule looks at a column that nothing makes.
    """

    def __init__(self, store: Store, recipe: Recipe | None = None) -> None:
        self.store = store
        if recipe is None:
            if not self._run_rows:
                raise StoreError(f"no run has written to {store.root} yet", step="store", mend=f"rushes run FOOTAGE --out {store.root}")
            recipe = Recipe.model_validate_json(self._run_rows[-1]["recipe"])
        self.recipe = recipe
        check_columns(recipe.rules, RULE_COLUMNS)
        self.prints = self._as_made(recipe)
        self._demand_rows()

    @cached_property
    def _run_rows(self) -> list[Row]:
        rows: list[Row] = self.store.read(RUNS).to_pylist()
        return sorted(rows, key=lambda row: (row["started_at"], row["run_id"]))

    def _as_made(self, recipe: Recipe) -> Fingerprints:
        """The fingerprints of a recipe. Of stages in which it is like the newest run's, those under which that run made its rows: another
        release may have made them, and they are there to be seen until the next run makes them anew.
        """
        prints = fingerprints(recipe)
        if not self._run_rows:
            return prints
        newest, ours = self._run_rows[-1], prints.as_dict()
        alike = fingerprints(Recipe.model_validate_json(newest["recipe"])).as_dict()
        recorded = json.loads(newest["counts"])["fingerprints"]
        return Fingerprints({stage: recorded[stage] if alike.get(stage) == value else value for stage, value in ours.items()})

    def _demand_rows(self) -> None:
        made = {f for row in self._run_rows for f in json.loads(row["counts"])["fingerprints"].values()}
        for stage, fingerprint in self.prints.as_dict().items():
            if fingerprint not in made and stage not in ("frames", "files"):  # clips and verdicts are made from neither
                raise StoreError(
                    f"{self.store.root} holds no rows of {stage} under this recipe (fingerprint {fingerprint})", step="store",
                    mend="run first: rushes run with the same recipe; only rules can change without a run",
                )  # fmt: skip

    @cached_property
    def _videos(self) -> list[Row]:
        """The newest row of each uri under the recipe's scan, sorted by uri."""
        rows: list[Row] = self.store.read(VIDEOS, fingerprints=[self.prints.scan]).to_pylist()
        rows.sort(key=lambda row: row["written_at"])
        return [row for _, row in sorted({row["uri"]: row for row in rows}.items())]

    @cached_property
    def _sources(self) -> dict[str, Row]:
        """video_id -> the row of the uri it is seen under: the newest that was scanned or reused."""
        done = [row for row in self._videos if row["status"] == "done"]
        return {row["video_id"]: row for row in sorted(done, key=lambda row: row["written_at"])}

    def videos(self) -> list[Row]:
        """The contract's `videos --json`: one row a uri."""
        clips = [row for row in self._by_clip(CLIPS, self.prints.shots).values()]
        n_clips = Counter(row["video_id"] for row in clips)
        n_shots = Counter(row["video_id"] for row in clips if row["start_kind"] != "split")
        names = (
            "video_id", "uri", "status", "error_type", "error", "container", "codec", "width", "height", "fps", "footage_s", "decoded_s",
            "n_frames", "n_corrupt", "mode", "size_bytes", "has_audio", "creation_time", "location",
        )  # fmt: skip
        out = []
        for row in self._videos:
            own = row["status"] == "done"
            counts = {"n_shots": n_shots[row["video_id"]] if own else 0, "n_clips": n_clips[row["video_id"]] if own else 0}
            out.append({name: row[name] for name in names} | counts | {"extra": json.loads(row["extra"]) if row["extra"] else {}})
        return out

    def _by_clip(self, table: Any, fingerprint: str | None, extra: Any = ()) -> dict[str, Row]:
        if fingerprint is None:
            return {}
        return {row["clip_id"]: row for row in self.store.read(table, fingerprints=[fingerprint], extra=extra).to_pylist()}

    @cached_property
    def _caption_errors(self) -> dict[str, Row]:
        if self.prints.captions is None:
            return {}
        rows = self.store.read(ERRORS, fingerprints=[self.prints.captions]).to_pylist()
        return {row["key"]: row for row in rows if row["stage"] == "captions" and row["permanent"]}

    def columns(self) -> Iterator[Row]:
        """All columns of each clip without models, flat, in order of uri and time."""
        measures = self._by_clip(MEASURES, self.prints.measures, MEASURE_COLUMNS)
        clips = [c for c in self._by_clip(CLIPS, self.prints.shots).values() if c["video_id"] in self._sources and c["clip_id"] in measures]
        for clip in sorted(clips, key=lambda c: (self._sources[c["video_id"]]["uri"], c["start_pts"])):
            yield clip_columns(clip, measures[clip["clip_id"]], self._sources[clip["video_id"]])

    def clips(self) -> list[Row]:
        """The contract's `clips --json`: all clips with their verdicts, in order of uri and time.

        A dropped clip shows no caption and no file, as if its recipe had been the only one to use the store.
        """
        captions, files = self._by_clip(CAPTIONS, self.prints.captions), self._by_clip(FILES, self.prints.files)
        facts = ("fps", "aspect", "bit_rate", "codec", "container", "has_audio", "creation_time", "location")
        out = []
        for columns in self.columns():
            name = columns["clip_id"]
            caption, file, source = captions.get(name), files.get(name), self._sources[columns["video_id"]]
            verdict = judge(columns, self.recipe.rules, failed=name in self._caption_errors and caption is None, frame_s=frame_s(columns))
            if verdict.kind == "dropped":  # what looser rules had made of it is not part of this recipe
                caption = file = None
            row = {
                k: columns[k]
                for k in ("clip_id", "video_id", "uri", "start_pts", "end_pts", "time_base", "start_s", "end_s", "duration_s", "n_frames")
            }
            row |= {k: columns[k] for k in ("width", "height", "mode", *facts)}
            row |= {
                "verdict": verdict.kind,
                "reasons": [{"rule": r.rule, "column": r.column, "value": r.value, "bound": r.bound} for r in verdict.reasons],
                "measures": {c.name: columns[c.name] for c in MEASURE_COLUMNS}, "scores": {},
                "caption": caption["text"] if caption else None,
                "caption_fields": json.loads(caption["fields"]) if caption and caption["fields"] else None,
                "caption_model": caption["model"] if caption else None, "clip_uri": file["clip_uri"] if file else None,
                "error": self._caption_errors[name]["error"] if verdict.kind == "failed" else None,
                "extra": json.loads(source["extra"]) if source["extra"] else {},
            }  # fmt: skip
            out.append(row)
        return out

    def captions(self) -> list[Row]:
        """Caption rows, then failed captions, of the recipe's clips that are not dropped."""
        own = {clip["clip_id"] for clip in self.clips() if clip["verdict"] != "dropped"}
        names = ("clip_id", "text", "model", "prompt_id", "prompt_tokens", "completion_tokens", "seconds", "tries", "finish_reason")
        made = [
            {n: row[n] for n in names} | {"error_type": None, "error": None}
            for name, row in self._by_clip(CAPTIONS, self.prints.captions).items()
            if name in own
        ]
        failed = {name: row for name, row in self._caption_errors.items() if name in own and name not in {row["clip_id"] for row in made}}

        empty = dict.fromkeys(names)
        return made + [{**empty, "clip_id": k, "error_type": r["error_type"], "error": r["error"]} for k, r in failed.items()]

    def runs(self) -> list[Row]:
        """The contract's `runs --json`, oldest first."""
        lease = holder(self.store) if any(row["status"] == "running" for row in self._run_rows) else None
        return [run_row(row, lease) for row in self._run_rows]

    def errors(self) -> list[Row]:
        """Failed attempts under the recipe, newest last."""
        rows: list[Row] = self.store.read(ERRORS, fingerprints=self.prints.as_dict().values()).to_pylist()
        names = ("stage", "key", "video_id", "uri", "start_s", "end_s", "error_type", "error", "attempt", "permanent")
        rows.sort(key=lambda row: row["written_at"])
        return [{n: row[n] for n in names} | {"at": row["written_at"].isoformat()} for row in rows]

    def explain(self, what: str) -> list[Row]:
        """Why a clip, or each clip of a video, is kept, dropped or failed: every rule with value and bounds.

        Args:
            what: a clip_id (or its first 8 digits or more), or a uri.

        Raises:
            StoreError: nothing by that name.
        """
        verdicts = {clip["clip_id"]: clip for clip in self.clips()}
        names = {what, os.path.abspath(what)}
        out = []
        for columns in self.columns():
            clip = verdicts[columns["clip_id"]]
            if clip["uri"] not in names and not (len(what) >= 8 and clip["clip_id"].startswith(what)):
                continue
            rules = [
                {"rule": c.rule, "column": c.column, "value": c.value, "min": c.min, "max": c.max, "outcome": c.words}
                for c in checks(columns, self.recipe.rules, frame_s=frame_s(columns))
            ]
            keys = ("clip_id", "uri", "start_s", "end_s", "verdict", "error")
            out.append({k: clip[k] for k in keys} | {"rules": rules})
        if not out:
            out = [
                {
                    "clip_id": None,
                    "uri": v["uri"],
                    "verdict": "failed" if v["status"] == "failed" else None,
                    "status": v["status"],
                    "error": v["error"],
                    "rules": [],
                }
                for v in self.videos()
                if v["uri"] in names
            ]
        if not out:
            raise StoreError(
                f"{self.store.root} knows no clip or video {what!r}",
                step="explain",
                mend="`rushes videos` and `rushes clips` list what there is",
            )
        return out


def run_row(row: Mapping[str, Any], lease: Mapping[str, Any] | None) -> Row:
    """One row of `runs` as the contract has it; a running run that cannot be alive is "crashed".

    Args:
        row: as stored.
        lease: who holds the store now.
    """
    counts: Row = json.loads(row["counts"])
    status = row["status"]
    if status == "running" and not alive(row, lease):
        status = "crashed"
    times = {k: row[k].isoformat() if row[k] else None for k in ("started_at", "ended_at")}
    head = {"run_id": row["run_id"], "status": status, **times}
    rest = {name: row[name] for name in ("host", "pid", "profile", "message")}
    return head | LATER | counts | rest | {"versions": json.loads(row["versions"])}


def alive(row: Mapping[str, Any], lease: Mapping[str, Any] | None) -> bool:
    """Whether the run of a running run's row may still be at work: it holds the store, and its process or its heartbeat lives."""
    if lease is None or lease.get("run_id") != row["run_id"] or lease["dead"]:
        return False
    age_s = (now() - datetime.fromisoformat(lease["at"])).total_seconds()
    return age_s < CRASHED_AFTER_S


def sampled(clips: Sequence[Row], n: int) -> list[Row]:
    """As many as `n` clips, the same ones each time, spread over the store: those of the smallest clip_id, which is a hash."""
    chosen = {c["clip_id"] for c in sorted(clips, key=lambda c: str(c["clip_id"]))[:n]}
    return [c for c in clips if c["clip_id"] in chosen]
