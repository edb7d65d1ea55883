"""A store under one recipe, as the commands show it. Pure reading; rows come batch by batch, and verdicts are computed on the way."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rushes.captions.agreement import Comparison
from rushes.engine.fingerprints import fingerprints
from rushes.engine.stages import wanted_scores
from rushes.errors import StoreError
from rushes.recipe import Recipe
from rushes.records import Column, Row
from rushes.results.columns import CLIP_FAILED
from rushes.results.judged import judged
from rushes.results.lines import LINE_COLUMNS, caption_line, clip_line, error_line, rows_of, video_line
from rushes.results.reader import Reader
from rushes.results.runs import run_row
from rushes.rows.clip_columns import caption_columns, comparisons, rule_columns
from rushes.rows.scored import WantedScore, shown_columns
from rushes.store.lease import holder
from rushes.store.store import Store
from rushes.store.tables import RUNS, VIDEOS
from rushes.verdict.arrow import outcomes
from rushes.verdict.checks import Check, check_columns, checks_of, columns_of

if TYPE_CHECKING:
    import pyarrow as pa

LEAST_DIGITS = 8
"""A clip is named by so many digits of its clip_id at least."""
SEEN_WITHOUT = ("frames", "files", "scores", "alignment")
"""Stages whose rows need not be there: clips show nothing of two, scorers have fingerprints of their own, and an agreement may be null."""
NAMED = 3
"""Uris of one name that an error lists."""
DIGITS = frozenset("0123456789abcdef")


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
        check_columns(recipe.rules, rule_columns(recipe))
        self.checks: tuple[Check, ...] = checks_of(recipe.rules)
        self.prints, self.scorers = self._as_made(recipe)
        self.scores: tuple[Column, ...] = shown_columns(self.scorers)
        self.fields: tuple[Column, ...] = caption_columns(recipe)
        self.compared: tuple[Comparison, ...] = comparisons(recipe)
        self._demand_rows()
        self.reader = Reader(store, self.prints, self.scorers, self.fields, self.compared)
        self.later: tuple[Column, ...] = self.reader.later

    def of_newest_run(self) -> Results | None:
        """The store under its newest run's recipe; None where this recipe gives the same verdicts, or no run has written here."""
        if not self._run_rows:
            return None
        newest = Results(self.store)
        stages = ("measures", "scores", "captions")
        alike = newest.checks == self.checks and all(newest.prints.get(s) == self.prints.get(s) for s in stages)
        return None if alike else newest

    @cached_property
    def _run_rows(self) -> list[Row]:
        return self._read_runs()

    def _read_runs(self) -> list[Row]:
        rows: list[Row] = self.store.read(RUNS).to_pylist()
        return sorted(rows, key=lambda row: (row["started_at"], row["run_id"]))

    def _as_made(self, recipe: Recipe) -> tuple[dict[str, str], tuple[WantedScore, ...]]:
        """The fingerprints of a recipe, and its scorers with theirs. Of stages and scorers in which it is like the newest run's, those
        under which that run made its rows: another release may have made them, and they are there to be seen until the next run recomputes
        them.
        """
        prints, scorers = fingerprints(recipe), wanted_scores(recipe)
        if not self._run_rows:
            return prints, scorers
        newest = Recipe.model_validate_json(self._run_rows[-1]["recipe"])
        counts = json.loads(self._run_rows[-1]["counts"])
        recorded: dict[str, str] = counts["fingerprints"]
        alike, same = fingerprints(newest), set(wanted_scores(newest)).intersection(scorers)
        made = {stage: recorded.get(stage, value) if alike.get(stage) == value else value for stage, value in prints.items()}
        by_scorer: dict[str, str] = counts.get("scorers", {})
        return made, tuple(replace(one, fingerprint=by_scorer[one.name]) if one in same else one for one in scorers)

    def _demand_rows(self) -> None:
        runs = [json.loads(row["counts"]) for row in self._run_rows]
        made = {f for counts in runs for f in (*counts["fingerprints"].values(), *counts.get("scorers", {}).values())}
        wanted = {stage: f for stage, f in self.prints.items() if stage not in SEEN_WITHOUT}
        wanted |= {f"the scorer {one.name}": one.fingerprint for one in self.scorers}
        for stage, fingerprint in wanted.items():
            if fingerprint not in made:
                raise StoreError(
                    f"{self.store.root} holds no rows of {stage} under this recipe (fingerprint {fingerprint})", step="store",
                    mend="run first: rushes run with the same recipe; only rules can change without a run",
                )  # fmt: skip

    def clip_tables(self, videos: Sequence[str] | None = None, *, names: Collection[str] | None = None) -> Iterator[pa.Table]:
        """All clips with their verdicts as Arrow tables (`judged.judged`), one a range of videos; inside one by uri and time.

        Args:
            videos: only clips of these few, by video_id, as one table.
            names: only these columns, those that rules look at, `verdict` and `reasons`; default: all.
        """
        needed = None if names is None else {*names, *columns_of(self.checks), CLIP_FAILED}
        if videos is not None:
            yield judged(self.reader.clips_of(videos, needed), self.checks)
            return
        for prefix in self.reader.ranges():
            found = self.reader.clips(prefix, needed)
            if found.num_rows:
                yield judged(found, self.checks)

    def clips(self) -> Iterator[Row]:
        """The contract's `clips --json`, in the order of `clip_tables`."""
        for clips in self.clip_tables(names=self.line_columns):
            yield from rows_of(clips, self.line)

    @property
    def line_columns(self) -> frozenset[str]:
        """The columns that `line` looks at."""
        return LINE_COLUMNS.union(column.name for column in (*self.scores, *self.agreements))

    @property
    def agreements(self) -> tuple[Column, ...]:
        """The columns that say how captions agree with what was measured, and with the frames."""
        return tuple(column for column in self.later if column not in self.scores and column not in self.fields)

    def line(self, clip: Row) -> Row:
        """A judged clip as `clips --json` shows it."""
        return clip_line(clip, [column.name for column in self.scores], [column.name for column in self.agreements])

    def captions(self) -> Iterator[Row]:
        """Captions of the clips that are not dropped, those that were made, and the clips that failed for good."""
        import pyarrow as pa
        import pyarrow.compute as pc

        for clips in self.clip_tables():
            answered = pc.or_(clips["caption"].is_valid(), pc.equal(clips["verdict"], pa.scalar("failed")))
            yield from rows_of(clips.filter(answered), caption_line)

    def videos(self) -> Iterator[Row]:
        """The contract's `videos --json`: one row a uri, range by range, inside one by uri."""
        for prefix in self.reader.ranges():
            yield from rows_of(self.reader.videos(prefix), video_line)

    def errors(self) -> Iterator[Row]:
        """Failed attempts under the recipe, newest last."""
        yield from rows_of(self.reader.errors(), error_line)

    def runs(self) -> list[Row]:
        """The contract's `runs --json`, oldest first."""
        rows, lease = self._run_rows, None
        if any(row["status"] == "running" for row in rows):
            lease, rows = holder(self.store), self._read_runs()  # in this order: one that ends meanwhile has not crashed
        return [run_row(row, lease) for row in rows]

    def manifest_names(self) -> dict[str, str]:
        """The manifest's other columns, by name: "number" where all values are numbers or bools, else "text"."""
        kinds: dict[str, str] = {}
        seen: set[str | None] = {None}
        for extra in self.reader.manifest_columns():
            if extra not in seen:
                seen.add(extra)
                for name, value in json.loads(str(extra)).items():
                    number = value is None or isinstance(value, int | float)
                    kinds[name] = "number" if number and kinds.get(name, "number") == "number" else "text"
        return kinds

    def explain(self, what: str) -> list[Row]:
        """Why a clip, or each clip of a video, is kept, dropped or failed: every rule with value and bounds.

        Args:
            what: a clip_id (or its first 8 digits or more), a uri, or the last part of one that no other video has.

        Raises:
            StoreError: nothing by that name, or several videos.
        """
        names = {what, os.path.abspath(what)}
        found = self.reader.find_clips(what) if len(what) >= LEAST_DIGITS and set(what) <= DIGITS else []
        videos = sorted({video for _, video in found}) or self.reader.videos_of(names)
        chosen = {clip for clip, _ in found} or None
        out = self._explained(videos, chosen) if videos else []
        out = out or self._explained_videos(names)
        if not out and (uri := self._uri_that_ends_in(what)) is not None:
            return self.explain(uri)
        if not out:
            raise StoreError(
                f"{self.store.root} knows no clip or video {what!r}",
                step="explain",
                mend="`rushes videos` and `rushes clips` list what there is",
            )
        return out

    def _uri_that_ends_in(self, name: str) -> str | None:
        """The uri whose last part is `name`; None where there is none.

        Raises:
            StoreError: there are several.
        """
        import pyarrow.compute as pc

        uris: Any = self.reader.current["uri"]
        found = sorted(uris.filter(pc.ends_with(uris, "/" + name)).to_pylist()) if name and "/" not in name else []
        if len(found) > 1:
            more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
            raise StoreError(
                f"{len(found)} videos are called {name}: {', '.join(found[:NAMED])}{more}", step="explain", mend="give a whole uri"
            )
        return found[0] if found else None

    def _explained(self, videos: Sequence[str], chosen: set[str] | None) -> list[Row]:
        out: list[Row] = []
        for clips in self.clip_tables(videos):
            keys, scores = ["clip_id", "uri", "start_s", "end_s", "verdict", "error", "mend"], [column.name for column in self.scores]
            for at, row in enumerate(clips.select([*keys, *scores]).to_pylist()):
                if chosen is None or row["clip_id"] in chosen:
                    of_clip = {"scores": {name: row.pop(name) for name in scores}}
                    out.append(row | {"rules": outcomes(self.checks, clips.slice(at, 1).column, 0)} | of_clip)
        uris = {row["uri"] for row in out}
        known = self.store.read(VIDEOS, fingerprints=[self.prints["scan"]], only={"uri": uris}).to_pylist() if uris else []
        notes = {row["uri"]: time_note(row) for row in known}
        return [row | {"time": notes.get(row["uri"])} for row in out]

    def _explained_videos(self, names: set[str]) -> list[Row]:
        """What became of uris that show no clip of their own: they failed, are duplicates, or hold no shot."""
        now = {(row["uri"], row["video_id"]) for row in self.reader.current_of(names).to_pylist()}
        rows = self.store.read(VIDEOS, fingerprints=[self.prints["scan"]], only={"uri": names}).to_pylist()
        return [
            {"clip_id": None, "uri": row["uri"], "verdict": "failed" if row["status"] == "failed" else None, "status": row["status"]}
            | {"error": row["error"], "mend": row["mend"], "rules": [], "scores": {}, "time": time_note(row)}
            for row in rows
            if (row["uri"], row["video_id"]) in now
        ]


def time_note(video: Row) -> str | None:
    """What a scan found broken in the time stamps of a video, as a sentence; None where nothing was. `video`: its row of `videos`."""
    mended, clocks, holes = (video.get(name) or 0 for name in ("n_repaired_pts", "n_new_clocks", "n_holes"))
    said = []
    if mended:
        said.append(f"mended time stamps, which were missing or far from those of both their neighbours: {mended}")
    if clocks:
        said.append(f"clocks that began anew, where time now goes on evenly: {clocks}")
    if holes:
        said.append(f"holes, during which the camera was off and which no clip holds: {holes}, {video['holes_s']:.1f} s in all")
    return "; ".join(said) or None


def sampled(tables: Iterator[pa.Table], n: int) -> pa.Table | None:
    """As many as `n` clips, the same ones each time, spread over the store: those of the smallest clip_id, which is a hash.

    Only they and one range of clips are in memory. None where there is no clip.
    """
    import pyarrow as pa

    best: pa.Table | None = None
    for clips in tables:
        both = clips if best is None else pa.concat_tables([best, clips])
        best = both.sort_by("clip_id").slice(0, n).combine_chunks()
    order: Any = [("uri", "ascending"), ("start_pts", "ascending"), ("clip_id", "ascending")]
    return None if best is None else best.sort_by(order)
