"""The verbs, as functions. The commands are thin calls of these, with the same words and the same defaults."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rushes.recipe import Recipe
from rushes.records import Row

if TYPE_CHECKING:
    import daft

    from rushes.counts.tally import Tally
    from rushes.engine.run import RunResult
    from rushes.media.storage import Options
    from rushes.publish.publish import Published, Watch
    from rushes.results import Results
    from rushes.results.source import What


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
    wait_server_s: float = 0.0,
    announce: Callable[[str], None] | None = None,
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
        watch: called a few times a second with the counts of the run.
        wait: wait while another run writes to this store; else refuse.
        wait_server_s: wait so long for a caption server that is still loading, before anything is decoded.
        announce: called with a line for people when the run has to wait, reads new files for long, or is not sure of the caption server.

    Raises:
        UsageError: nothing was written. StoreBusy: another run writes to the store. CannotGoOn: the same call resumes.
    """
    from rushes.engine.run import run as go

    wanted = recipe or Recipe.profile(profile)
    named = [str(f) for f in footage]
    return go(
        named, str(out), wanted, profile=profile, limit=limit, retry_failed=retry_failed, interrupted=interrupted, watch=watch, wait=wait,
        wait_server_s=wait_server_s, announce=announce,
    )  # fmt: skip


def plan(footage: Sequence[str | Path], *, out: str | Path, recipe: Recipe | None = None, limit: int | None = None) -> Row:
    """What a run would do: rows wanted, present and missing by stage, fingerprints, seconds to decode, expected bytes, settings that are
    taken for the model, and how long it may take by the store's own figures. Computes nothing.
    """
    from rushes.captions import filled_in
    from rushes.engine.plan.pace import pace
    from rushes.engine.plan.plan import make_plan
    from rushes.rows.clip_columns import rule_columns
    from rushes.store.store import Store
    from rushes.verdict.checks import check_columns

    wanted = recipe or Recipe()
    check_columns(wanted.rules, rule_columns(wanted))
    store = Store(str(out), wanted.storage)
    there = store if store.marked() else None
    made = make_plan([str(f) for f in footage], there, wanted, limit=limit)
    return made.as_dict() | {"caption_settings": filled_in(wanted.captions) or None} | pace(there, wanted, made).as_dict()


def open(store: str | Path, *, recipe: Recipe | None = None, storage: Options | None = None) -> Opened:
    """A store's rows, under its newest run's recipe or another one.

    Args:
        store: folder or URL.
        recipe: default: the newest run's, which holds no storage options.
        storage: options of the store's filesystem by protocol, as in a recipe's `[storage]`; default: the recipe's.

    Raises:
        StoreError: there is not a store, or it lacks the rows that the recipe needs.
        StorageError: it cannot be read.
    """
    return Opened(results(store, recipe=recipe, storage=storage))


def results(store: str | Path, *, recipe: Recipe | None = None, storage: Options | None = None) -> Results:
    """A store's rows one after the other, in the shapes of the commands' JSON."""
    from rushes.results import Results
    from rushes.store.store import Store

    options = storage if storage is not None else recipe.storage if recipe else {}
    return Results(Store.open(str(store), options), recipe)


class Opened:
    """A store opened for reading. Each method gives a lazy `daft.DataFrame`: nothing is read before a query runs (`.to_arrow()` ...).

    The columns are declared: they are the same for every store, an empty one too (docs/tables.md). A data frame reads the store range by
    range, on Daft's native runner, or on Ray where `daft.set_runner_ray` was called before. A filter on `uri`, `video_id` or `clip_id`
    leaves only the parts and row groups of the videos that it names.
    """

    def __init__(self, results: Results) -> None:
        self._results = results

    def clips(self) -> daft.DataFrame:
        """All clips, one row each: container facts, measures, verdict and reasons, scores, caption, file."""
        from rushes.results.judged import judged_frame

        return judged_frame(self._frame("clips"), self._results.checks, self._results.later)

    def videos(self) -> daft.DataFrame:
        """The source videos, one row a uri."""
        return self._frame("videos")

    def captions(self) -> daft.DataFrame:
        """Captions of the clips that are not dropped, one row each, failed ones too."""
        from rushes.results.judged import captions_frame

        return captions_frame(self._frame("clips"), self._results.checks)

    def errors(self) -> daft.DataFrame:
        """Failed attempts."""
        return self._frame("errors")

    def _frame(self, what: What) -> daft.DataFrame:
        from rushes.results.daft_runner import start_daft

        start_daft()
        from rushes.results.source import Place, Source

        store = self._results.store
        found = self._results
        return Source(Place(store.root, store.options, found.prints, found.scorers, found.fields, found.compared), what).read()

    def search(
        self, text: str | None = None, *, like: str | Path | None = None, n: int = 20, verdict: str | None = "kept",
        where: str | None = None, exact: bool = False,
    ) -> list[Row]:  # fmt: skip
        """The clips nearest to a text, a clip or a picture, the nearest first: rows of `search --json`, which have a `score`, the cosine.

        Args:
            text: what is to be seen; the encoder of the recipe makes its vector.
            like: instead of a text: a clip_id or the beginning of one, which needs no model; or the path or URL of a picture.
            n: so many clips at most.
            verdict: only kept, dropped or failed clips; None: all.
            where: only clips for which a SQL expression holds, as `rushes clips --where`.
            exact: compare the vectors as they are stored, even where there is an index.

        Raises:
            UsageError: neither or both of text and `like` are given; there is no such clip or picture; the expression cannot be used.
            StoreError: the recipe wants no embeddings, or those of the store do not fit the encoder.
            MissingExtra, ModelError: the encoder cannot be had; the message says what to set.
        """
        from rushes.search.nearest import search

        named = None if like is None else str(like)
        return search(self._results, text, like=named, n=n, verdict=verdict, where=where, exact=exact).rows

    def publish(
        self, to: str, *, dry_run: bool = False, interrupted: threading.Event | None = None, watch: Watch | None = None
    ) -> Published:  # fmt: skip
        """Makes a target hold the clips that the recipe's `[publish]` asks for, by writing what has changed since the last publish there.
        Clips whose files are not in the store are cut where the recipe's `[engine]` says: by this machine, or by the nodes of a cluster.

        Args:
            to: the target: its kind and its place, such as "parquet:clips" (docs/publish.md).
            dry_run: only say what would change.
            interrupted: set it from another thread to stop; the target is then as it was.
            watch: called as it goes on, with "compare", "write" or "check", how many clips of it are done, and of how many.

        Raises:
            UsageError: the target or a setting is wrong; nothing was written.
            CannotGoOn: the target cannot be read or written, or a package is missing; the same call completes it.
        """
        from rushes.publish.publish import publish

        options = self._results.store.options
        return publish(self._results, to, options=options, dry_run=dry_run, interrupted=interrupted, watch=watch)

    def report(self) -> str:
        """The run as one self-contained HTML page."""
        from rushes.report.gather import report_data
        from rushes.report.page import render

        return render(report_data(self._results))


def index(store: str | Path, *, recipe: Recipe | None = None, storage: Options | None = None) -> Row:
    """Makes the index that `search` uses, unless there is one that covers all embeddings: one row with `uri`, `vectors`, `bytes`,
    `seconds` and `made`. It does not disturb a run.

    Args:
        store: the store.
        recipe: whose embeddings; default: the newest run's.
        storage: options of the store's filesystem, as in `open`.

    Raises:
        StoreError: there is not a store, or it holds no embeddings of the recipe.
        StorageError: the store cannot be read or written.
    """
    from rushes.search.index import make_index
    from rushes.search.vectors import Vectors

    return asdict(make_index(Vectors(results(store, recipe=recipe, storage=storage))))


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
        StoreError: there is not a store, or it holds no rows of the recipe.
        StoreBusy: a run, or another `compact`, is writing to it.
    """
    from rushes.engine.fingerprints import identity_fingerprint
    from rushes.engine.stages import embeddings_fingerprint
    from rushes.search.index import remove_others
    from rushes.store import compact as merging
    from rushes.store.forgotten import FINGERPRINT
    from rushes.store.lease import Lease
    from rushes.store.store import now

    found = results(store, recipe=recipe, storage=storage)
    of_scores = {embeddings_fingerprint(found.recipe) or "", *(one.fingerprint for one in found.scorers)}
    keep = {*found.prints.values(), *of_scores, identity_fingerprint(), FINGERPRINT} if drop_other_fingerprints else None
    lease = Lease(found.store, f"compact-{now():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}")
    with lease.held(wait=False, interrupted=threading.Event()):
        found.store.gate = lease.check
        rows = [asdict(done) for done in merging.compact(found.store, keep=keep)]
        merging.sweep(found.store)
        if keep is not None:
            remove_others(found.store, keep)
    return rows


def forget(store: str | Path, names: Sequence[str | Path], *, storage: Options | None = None) -> Row:
    """Takes videos out of a store for good, with all that came of them; no later run scans them again.

    Args:
        store: the store; reading it meanwhile is safe.
        names: uris or paths, or `video_id`s, which the store need not know.
        storage: options of the store's filesystem, as in `open`.

    Returns:
        `videos` (contents that were not forgotten before), `uris`, `rows` (table -> rows that went), `clip_files` and `bytes`.

    Raises:
        StoreError: there is not a store. UsageError: the store knows nothing of a uri; nothing was changed.
        StoreBusy: a run, or a `compact`, is writing to it. StorageError: it cannot be written; the same call goes on.
    """
    from rushes.search.index import remove_others
    from rushes.store import forget as taking_out
    from rushes.store.lease import Lease
    from rushes.store.store import Store, now

    found = Store.open(str(store), storage or {})
    run_id = f"forget-{now():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    lease = Lease(found, run_id)
    with lease.held(wait=False, interrupted=threading.Event()):
        found.gate = lease.check
        done = taking_out.forget(found, [str(name) for name in names], run_id)
        remove_others(found, ())
    return asdict(done)
