"""The verbs, as functions. The commands are thin calls of these, with the same words and the same defaults."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rushes.recipe import Recipe

if TYPE_CHECKING:
    import daft

    from rushes.engine.run import RunResult
    from rushes.engine.tally import Tally
    from rushes.media.storage import Options
    from rushes.results import Results

Row = dict[str, Any]


def run(
    footage: Sequence[str | Path],
    *,
    out: str | Path,
    recipe: Recipe | None = None,
    profile: str = "web",
    limit: int | None = None,
    retry_failed: bool = False,
    interrupted: threading.Event | None = None,
    watch: Callable[[Tally], None] | None = None,
    wait: bool = False,
    told: Callable[[str], None] | None = None,
) -> RunResult:
    """Turns footage into captioned clips in a store; what is there already is not done again.

    Args:
        footage: files, folders, globs, fsspec URLs or manifests.
        out: the store's folder or URL; made if absent.
        recipe: what is wanted; default: the profile's.
        profile: "web" or "inspection".
        limit: take the first so many uris only.
        retry_failed: try again what failed for good.
        interrupted: set it from another thread to stop within seconds.
        watch: called a few times a second with the books of the run.
        wait: wait while another run writes to this store; else refuse.
        told: called with a line for people when the run has to wait, or reads new files for long.

    Raises:
        UsageError: nothing was written. StoreBusy: another run writes to the store. CannotGoOn: the same call resumes.
    """
    from rushes.engine.run import run as go

    wanted = recipe or Recipe.profile(profile)
    named = [str(f) for f in footage]
    return go(
        named, str(out), wanted, profile=profile, limit=limit, retry_failed=retry_failed, interrupted=interrupted, watch=watch, wait=wait,
        told=told,
    )  # fmt: skip


def plan(footage: Sequence[str | Path], *, out: str | Path, recipe: Recipe | None = None, limit: int | None = None) -> Row:
    """What a run would do: rows wanted, present and missing by stage, fingerprints, seconds to decode, expected bytes. Computes nothing."""
    from rushes.engine.plan import make_plan
    from rushes.engine.wanted import RULE_COLUMNS
    from rushes.store.store import Store
    from rushes.verdict.checks import check_columns

    wanted = recipe or Recipe()
    check_columns(wanted.rules, RULE_COLUMNS)
    store = Store(str(out), wanted.storage)
    return make_plan([str(f) for f in footage], store if store.marked() else None, wanted, limit=limit).as_dict()


def open(store: str | Path, *, recipe: Recipe | None = None, storage: Options | None = None) -> Opened:
    """A store's rows, under its newest run's recipe or another one.

    Args:
        store: folder or URL.
        recipe: default: the newest run's, which holds no storage options.
        storage: options of the store's filesystem by protocol, as in a recipe's `[storage]`; default: the recipe's.

    Raises:
        StoreError: there is no store, or it lacks the rows that the recipe needs.
        StorageError: it cannot be read.
    """
    return Opened(results(store, recipe=recipe, storage=storage))


def results(store: str | Path, *, recipe: Recipe | None = None, storage: Options | None = None) -> Results:
    """A store's rows as plain Python objects, in the shapes of the commands' JSON."""
    from rushes.results import Results
    from rushes.store.store import Store

    options = storage if storage is not None else recipe.storage if recipe else {}
    return Results(Store.open(str(store), options), recipe)


class Opened:
    """A store opened for reading; every method gives a `daft.DataFrame` (`.to_arrow()` for everything else)."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def clips(self) -> daft.DataFrame:
        """All clips, one row each, measures as columns, with verdict and reasons."""
        return frame(flat(self._results.clips()))

    def videos(self) -> daft.DataFrame:
        """The source videos, one row a uri."""
        return frame([{k: v for k, v in row.items() if k != "extra"} | row["extra"] for row in self._results.videos()])

    def captions(self) -> daft.DataFrame:
        """Captions, one row each, failed ones too."""
        return frame(self._results.captions())

    def errors(self) -> daft.DataFrame:
        """Failed attempts."""
        return frame(self._results.errors())

    def report(self) -> str:
        """The run as one self-contained HTML page."""
        from rushes.report.page import render

        return render(report_data(self._results))


def compact(
    store: str | Path, *, drop_other_fingerprints: bool = False, recipe: Recipe | None = None, storage: Options | None = None
) -> list[Row]:
    """Merges a store's parts and drops superseded rows: one row a table with parts, bytes and rows that went.

    Args:
        store: the store; reading it meanwhile is safe.
        drop_other_fingerprints: also remove the rows that the recipe does not want: those of other scans, prompts, models ...
        recipe: whose rows stay then; default: the newest run's.
        storage: options of the store's filesystem, as in `open`.

    Raises:
        StoreError: there is no store, or it holds no rows of the recipe.
        StoreBusy: a run, or another `compact`, is writing to it.
    """
    from rushes.engine.fingerprints import identity_fingerprint
    from rushes.engine.lease import Lease
    from rushes.store import compact as merging
    from rushes.store.store import now

    found = results(store, recipe=recipe, storage=storage)
    keep = {*found.prints.as_dict().values(), identity_fingerprint()} if drop_other_fingerprints else None
    lease = Lease(found.store, f"compact-{now():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}")
    with lease.held(wait=False, interrupted=threading.Event()):
        found.store.gate = lease.check
        rows = [asdict(done) for done in merging.compact(found.store, keep=keep)]
        merging.sweep(found.store)
    return rows


def flat(clips: Iterable[Row]) -> list[Row]:
    """Rows of clips with measures, scores and manifest columns beside the rest; what the clip has already wins."""
    nested = ("measures", "scores", "extra")
    return [row["extra"] | row["scores"] | row["measures"] | {k: v for k, v in row.items() if k not in nested} for row in clips]


def frame(rows: Sequence[Row]) -> daft.DataFrame:
    """Rows as a Daft data frame."""
    import pyarrow as pa

    from rushes.engine.stages import start_engine

    start_engine(Recipe())
    import daft

    return daft.from_arrow(pa.Table.from_pylist(list(rows)))


def where(clips: Sequence[Row], expression: str) -> list[Row]:
    """The clips for which a SQL expression over their columns holds, such as "sharpness > 0.3 and verdict = 'kept'".

    Raises:
        UsageError: the expression cannot be read, or names a column that is not there.
    """
    from rushes.engine.quarantine import quarantined
    from rushes.errors import UsageError

    if not clips:
        return []
    data = frame([row | {"row_": i} for i, row in enumerate(flat(clips))])
    import daft

    answer = quarantined(lambda: data.where(daft.sql_expr(expression)).select("row_").to_pydict())  # Daft hides its class of SQL errors
    if "error" in answer:
        words = " ".join(answer["error"]["message"].split())[:300]
        raise UsageError(
            f"--where {expression!r} cannot be used: {words}", step="clips", mend="use SQL over the columns of `rushes clips --json`"
        )
    return [clips[i] for i in sorted(answer["done"]["row_"])]


def report_data(found: Results) -> Any:
    """What the report is made from."""
    from rushes.engine.wanted import ASPECT, DURATION
    from rushes.measures.clip import COLUMNS
    from rushes.recipe_text import as_toml
    from rushes.report.data import ReportData

    recipe, store, prints = found.recipe, found.store, found.prints

    def picture(video_id: str, start_pts: int, end_pts: int) -> bytes | None:
        if prints.frames is None:
            return None
        inside = [p for p in store.frame_pts(video_id, prints.frames) if start_pts <= p < end_pts]
        chosen = inside[len(inside) // 2 : len(inside) // 2 + 1]
        return next(iter(store.frames(video_id, prints.frames, chosen).values()), None) if chosen else None

    runs = found.runs()
    row = runs[-1] | {"recipe_toml": as_toml(recipe)}
    columns = {c.name: c for c in (DURATION, ASPECT, *COLUMNS)}
    return ReportData(
        store=store.root,
        run=row,
        videos=found.videos(),
        clips=found.clips(),
        captions=found.captions(),
        columns=columns,
        rules=recipe.rules,
        frame=picture,
    )
