"""The data of a report out of a store of any size: totals as Arrow columns, range by range, and samples of clips to show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from rushes.captions import answer_schema
from rushes.captions.fields import label_names
from rushes.measures.clip import COLUMNS
from rushes.recipe_text import as_toml
from rushes.report.data import ReportData, Row, Totals
from rushes.report.ledger import FAILURES
from rushes.report.said import Counting
from rushes.report.sheets import rule_key
from rushes.report.strips import STRIPS
from rushes.results.columns import MEASURES_SEEN, OF_ERROR
from rushes.results.judged import of_failed
from rushes.results.lines import rows_of, video_line
from rushes.results.results import Results
from rushes.results.runs import published_rows
from rushes.rows.clip_columns import ASPECT, DURATION
from rushes.verdict.checks import KINDS

if TYPE_CHECKING:
    import pyarrow as pa

CHARTED = 20_000
"""Clips that the charts are drawn from: of a share of 1 % the standard error is then 0.07 %."""
SHOWN = 1000
"""Clips, or captions, of which those on one contact sheet are chosen."""
SHOWN_COLUMNS = (
    "clip_id", "video_id", "uri", "start_pts", "end_pts", "start_s", "end_s", DURATION.name, ASPECT.name, *MEASURES_SEEN, "caption",
    "caption_model", "clip_uri", "time_pieces", "prompt_id", "prompt_tokens", "completion_tokens", "seconds", "finish_reason", *OF_ERROR,
)  # fmt: skip
"""What the page shows of a clip, besides scores and the columns that rules look at."""


Order = list[tuple[str, Literal["ascending", "descending"]]]


class _Sample:
    """The clips with the smallest clip_id, which is a hash, so that they are spread evenly over the store and the same each time."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._most: str | None = None
        self._best: pa.Table | None = None

    def add(self, clips: pa.Table, at: Any) -> None:
        """Takes the clips at some places of a table."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self._most is not None:
            at = at.filter(pc.less(clips["clip_id"].take(at), pa.scalar(self._most)))
        if len(at):
            both = clips.take(at) if self._best is None else pa.concat_tables([self._best, clips.take(at)])
            best = both.sort_by("clip_id").slice(0, self._n).combine_chunks()
            self._best = best
            self._most = best["clip_id"][-1].as_py() if best.num_rows == self._n else None

    def rows(self) -> list[Row]:
        """The clips with the columns `SHOWN_COLUMNS`, scores, the columns that rules look at, verdict and reasons."""
        rows: list[Row] = [] if self._best is None else list(self._best.to_pylist())
        return rows


class _Clips:
    """What is counted and kept of all clips."""

    def __init__(self, rules: list[str], agreements: Sequence[str]) -> None:
        self.said = Counting(agreements)
        self.clips: Counter[str] = Counter()
        self.clip_s: dict[str, float] = dict.fromkeys(KINDS, 0.0)
        self.broke: Counter[str] = Counter()
        self.only: Counter[str] = Counter()
        self.caption_errors: Counter[str] = Counter()
        self.models: Counter[str] = Counter()
        self.finishes: Counter[str] = Counter()
        self.tokens: dict[str, int | None] = {"prompt_tokens": None, "completion_tokens": None}
        self.made = self.pending = 0
        self.charts, self.captions = _Sample(CHARTED), _Sample(SHOWN)
        self.sheets = {key: _Sample(SHOWN) for key in ("kept", "failed", *map(rule_key, rules))}

    def add(self, clips: pa.Table) -> None:
        """Takes one range of judged clips."""
        import pyarrow as pa
        import pyarrow.compute as pc

        def places(mask: Any) -> Any:
            return pc.indices_nonzero(mask)

        at = {verdict: places(pc.equal(clips["verdict"], pa.scalar(verdict))) for verdict in KINDS}
        for verdict, some in at.items():
            self.clips[verdict] += len(some)
            self.clip_s[verdict] += pc.sum(clips["duration_s"].take(some)).as_py() or 0.0
            if verdict in self.sheets:
                self.sheets[verdict].add(clips, some)
        self.charts.add(clips, pa.array(range(clips.num_rows), pa.int64()))
        self._add_reasons(clips)
        made = places(clips["caption"].is_valid())
        clips = of_failed(clips)
        self.made += len(made)
        self.pending += clips["caption"].take(at["kept"]).null_count
        self.captions.add(clips, made)
        self.said.add(clips.take(made))
        _count(self.models, clips["caption_model"].take(made))
        _count(self.finishes, clips["finish_reason"].take(made))
        _count(self.caption_errors, clips["error_type"].take(at["failed"]))
        for name, total in self.tokens.items():
            found = pc.sum(clips[name].take(made)).as_py()
            self.tokens[name] = found if total is None else total + (found or 0)

    def _add_reasons(self, clips: pa.Table) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        reasons: Any = clips["reasons"].combine_chunks()
        rules = pc.struct_field(pc.list_flatten(reasons), "rule")
        clip = pc.list_parent_indices(reasons)
        _count(self.broke, rules)
        alone = pc.equal(pc.list_value_length(reasons), pa.scalar(1, pa.int32()))
        _count(self.only, rules.filter(alone.take(clip)))
        for rule in pc.unique(rules).to_pylist():
            self.sheets[rule_key(rule)].add(clips, clip.filter(pc.equal(rules, pa.scalar(rule))))


def _count(totals: Counter[str], values: Any) -> None:
    import pyarrow.compute as pc

    for row in pc.value_counts(values).to_pylist():
        if row["values"] is not None:
            totals[row["values"]] += row["counts"]


class _Videos:
    """What is counted and kept of all videos."""

    def __init__(self) -> None:
        self.status: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.footage_s = 0.0
        self.longest: pa.Table | None = None
        self.failed: pa.Table | None = None

    def add(self, videos: pa.Table) -> None:
        """Takes one range of videos."""
        import pyarrow as pa
        import pyarrow.compute as pc

        _count(self.status, videos["status"])
        done, failed = (videos.filter(pc.equal(videos["status"], pa.scalar(status))) for status in ("done", "failed"))
        _count(self.errors, failed["error_type"])
        self.footage_s += pc.sum(done["footage_s"]).as_py() or 0.0
        by_length: Order = [("footage_s", "descending"), ("uri", "ascending")]
        self.longest = _first(self.longest, done, by_length, STRIPS)
        self.failed = _first(self.failed, failed, [("uri", "ascending")], FAILURES)

    def rows(self) -> list[Row]:
        """The longest videos that were scanned, and the first that failed."""
        return [row for table in (self.longest, self.failed) if table is not None for row in rows_of(table, video_line)]


def _first(have: pa.Table | None, more: pa.Table, order: Order, n: int) -> pa.Table:
    import pyarrow as pa

    both = more if have is None else pa.concat_tables([have, more])
    return both.sort_by(order).slice(0, n).combine_chunks()


def report_data(results: Results) -> ReportData:
    """What the report of a store under a recipe is made from. One range of clips and the samples are in memory."""
    recipe, reader = results.recipe, results.reader
    labels = set(label_names(answer_schema(recipe.captions)))
    charted = [c for c in results.later if c.name in labels or c not in results.fields]
    clips, videos = _Clips(list(recipe.rules), [one.column.name for one in results.compared]), _Videos()
    for table in results.clip_tables(names=(*SHOWN_COLUMNS, *(column.name for column in charted))):
        clips.add(table)
    for prefix in reader.ranges():
        videos.add(reader.videos(prefix))
    rows = videos.rows()
    done = [str(video["video_id"]) for video in rows if video["status"] == "done"]
    strips: dict[str, list[Row]] = {video: [] for video in done}
    for table in results.clip_tables(done, names=("video_id", "start_s", "end_s")) if done else ():
        for row in table.select(["video_id", "start_s", "end_s", "verdict"]).to_pylist():
            strips[row["video_id"]].append(row)
    sheets = {key: sample.rows() for key, sample in clips.sheets.items()}
    totals = Totals(
        clips.clips, clips.clip_s, clips.broke, clips.only, videos.status, videos.footage_s, videos.errors, clips.caption_errors,
        clips.models, clips.finishes, clips.made, clips.pending, clips.tokens["prompt_tokens"], clips.tokens["completion_tokens"],
        clips.said.said(),
    )  # fmt: skip
    return ReportData(
        store=results.store.root,
        run=results.runs()[-1] | {"recipe_toml": as_toml(recipe)},
        totals=totals,
        videos=rows,
        clips=clips.charts.rows(),
        sheets=sheets,
        strips=strips,
        captions=[_caption(row) for row in (*clips.captions.rows(), *sheets["failed"])],
        columns={c.name: c for c in (DURATION, ASPECT, *COLUMNS, *charted)},
        rules=recipe.rules,
        prices=(recipe.captions.price_per_million_prompt_tokens, recipe.captions.price_per_million_completion_tokens),
        frame=lambda video, start, end: _picture(results, video, start, end),
        published=list({row["target"]: row for row in published_rows(results.store)}.values())[::-1],
    )


def _caption(clip: Row) -> Row:
    return dict(clip) | {"text": clip["caption"], "model": clip["caption_model"]}


def _picture(results: Results, video_id: str, start_pts: int, end_pts: int) -> bytes | None:
    """The frame in the middle of a span; None where the recipe keeps none, or there is none."""
    store, fingerprint = results.store, results.prints.get("frames")
    if fingerprint is None:
        return None
    inside = [p for p in store.frame_pts(video_id, fingerprint) if start_pts <= p < end_pts]
    chosen = inside[len(inside) // 2 : len(inside) // 2 + 1]
    return next(iter(store.frames(video_id, fingerprint, chosen).values()), None) if chosen else None
