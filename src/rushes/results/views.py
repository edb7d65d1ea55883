"""The view `curated`: clips as readers of Rushes see them under a recipe, verdicts and reasons among them, in DuckDB's SQL alone."""

from __future__ import annotations

from rushes.measures.clip import COLUMNS as MEASURE_COLUMNS
from rushes.results.agreed_sql import agreed_sql
from rushes.results.columns import JOINED, OF_ERROR, clips_seen
from rushes.results.judged import HIDDEN
from rushes.results.results import Results
from rushes.rows.scored import WantedScore, all_columns, shown_columns
from rushes.scan.one_pass import signal_columns
from rushes.store.tables import AGREEMENT
from rushes.store.views import TYPES, Extra, duckdb_views
from rushes.verdict import sql

NEWEST = "ORDER BY written_at DESC, run_id DESC) = 1"


def all_views(results: Results) -> str:
    """SQL that creates one view a table, and `curated`."""
    return f"{duckdb_views(results.store, declared(results))}\n{curated_view(results, 'curated')}"


def declared(results: Results) -> Extra:
    """The declared columns of open-ended tables under the recipe."""
    of_scorers = all_columns(results.scorers)
    return {
        "measures": MEASURE_COLUMNS,
        "scores": of_scorers,
        "captions": results.fields,
        "windows": results.fields,
        "signals": signal_columns(results.recipe),
    }


def curated_view(results: Results, name: str, *, clips: str = "clips") -> str:
    """SQL that creates the view of judged clips, over the views of the tables.

    Args:
        results: the store under the recipe whose fingerprints and rules the view carries.
        name: of the view.
        clips: name of the view of the table `clips`.
    """
    prints = results.prints
    of = {stage: sql.text(prints.get(stage, "")) for stage in ("scan", "shots", "measures", "captions", "alignment", "files")}
    columns = _joined_columns(results)
    agreements = "".join(f", {agreed_sql(one)} AS {sql.name(one.column.name)}" for one in results.compared)
    failed = f"(s.key IS NOT NULL OR {FAILED})"
    errors = "CASE WHEN s.key IS NOT NULL THEN s.{0} WHEN {1} THEN e.{0} WHEN f.clip_uri IS NULL THEN x.{0} END AS {0}"
    columns += [errors.format(name, FAILED) for name in OF_ERROR]
    shown = [_shown(column) for column in clips_seen(results.later)]
    scorers = ", ".join(sql.text(one.fingerprint) for one in results.scorers) or "''"
    sides = ["CAST(v.width AS DOUBLE)", "CAST(v.height AS DOUBLE)"]
    return f"""CREATE OR REPLACE VIEW {sql.name(name)} AS
WITH current AS (
  SELECT * FROM videos WHERE fingerprint = {of["scan"]} QUALIFY row_number() OVER (PARTITION BY uri {NEWEST}
), source AS (
  SELECT * FROM current WHERE status = 'done' QUALIFY row_number() OVER (PARTITION BY video_id {NEWEST}
), failure AS (
  SELECT * FROM errors WHERE permanent AND (stage, fingerprint) IN (('captions', {of["captions"]}), ('files', {of["files"]}))
  QUALIFY row_number() OVER (PARTITION BY stage, key {NEWEST}
), score_failure AS (
  SELECT * FROM errors e WHERE permanent AND stage = 'scores' AND fingerprint IN ({scorers})
    AND NOT EXISTS (SELECT 1 FROM scores r WHERE r.clip_id = e.key AND r.fingerprint = e.fingerprint)
  QUALIFY row_number() OVER (PARTITION BY key {NEWEST}
), joined AS (
  SELECT {", ".join(columns)},
    CASE WHEN v.width * v.height <> 0 THEN {sides[0]} / {sides[1]} END AS aspect,
    {failed} AS clip_failed
  FROM {sql.name(clips)} c
  JOIN measures m ON m.clip_id = c.clip_id AND m.fingerprint = {of["measures"]}
  JOIN source v ON v.video_id = c.video_id AND v.spans IS NOT DISTINCT FROM c.spans
  LEFT JOIN captions t ON t.clip_id = c.clip_id AND t.fingerprint = {of["captions"]}
  LEFT JOIN alignment g ON g.clip_id = c.clip_id AND g.fingerprint = {of["alignment"]}
  LEFT JOIN files f ON f.clip_id = c.clip_id AND f.fingerprint = {of["files"]}
  {
        " ".join(
            f"LEFT JOIN scores {alias} ON {alias}.clip_id = c.clip_id AND {alias}.fingerprint = {sql.text(one.fingerprint)}"
            for alias, one in _by_alias(results)
        )
    }
  LEFT JOIN score_failure s ON s.key = c.clip_id
  LEFT JOIN failure e ON e.key = c.clip_id AND e.stage = 'captions'
  LEFT JOIN failure x ON x.key = c.clip_id AND x.stage = 'files'
  WHERE c.fingerprint = {of["shots"]}
), compared AS (
  SELECT *{agreements} FROM joined
), reasoned AS (
  SELECT *, {sql.reasons(results.checks)} AS reasons FROM compared
), judged AS (
  SELECT *, {sql.verdict("reasons", "clip_failed")} AS verdict FROM reasoned
)
SELECT {", ".join(shown)} FROM judged;"""


SHORT = {"clips": "c", "videos": "v", "measures": "m", "captions": "t", "files": "f"}
"""What a joined table is called inside the view; `s`, `e` and `x` are the errors of scores, of captions and of files."""
FAILED = "(e.key IS NOT NULL AND t.clip_id IS NULL)"
"""Whether the caption of a clip failed for good."""


def _joined_columns(results: Results) -> list[str]:
    """The columns of joined tables, but for errors."""
    columns = [f"{short}.{sql.name(own)} AS {sql.name(seen)}" for table, short in SHORT.items() for seen, own in JOINED[table][1]]
    columns = [column for column in columns if not column.endswith(' AS "extra"')] + ["coalesce(c.extra, v.extra) AS extra"]
    columns += [f"{alias}.{sql.name(column.name)}" for alias, one in _by_alias(results) for column in shown_columns([one])]
    columns += [f"TRY_CAST(t.{sql.name(c.name)} AS {TYPES[c.kind]}) AS {sql.name(c.name)}" for c in results.fields]
    return columns + ([f"g.{AGREEMENT.name} AS {AGREEMENT.name}"] if AGREEMENT in results.later else [])


def _by_alias(results: Results) -> list[tuple[str, WantedScore]]:
    """What the rows of each scorer are called inside the view."""
    return [(f"s{k}", one) for k, one in enumerate(results.scorers)]


def _shown(column: str) -> str:
    name = sql.name(column)
    return f"CASE WHEN verdict <> 'dropped' THEN {name} END AS {name}" if column in HIDDEN else name
