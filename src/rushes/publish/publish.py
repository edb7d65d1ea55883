"""`rushes publish`: makes a target hold the clips that a recipe's `[publish]` asks for, by writing what has changed; then looks at it."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from rushes.errors import StoreBusy, UsageError
from rushes.log import note
from rushes.media.address import public_uri
from rushes.media.guard import Stopped
from rushes.publish.changes import Changes
from rushes.publish.checks import Checked, check
from rushes.publish.chosen import Chosen
from rushes.publish.clip_media import media_print
from rushes.publish.cut_on_node import Holder
from rushes.publish.listed import split_address, target_class
from rushes.publish.published import is_recorded, record_published, who
from rushes.publish.target import Context, Held, Record, Target, Written
from rushes.store.lease import Lease
from rushes.store.store import now

if TYPE_CHECKING:
    from rushes.media.storage import Options
    from rushes.results import Results

Watch = Callable[[str, int, int], None]
"""Called with what is done now ("compare", "write" or "check"), how many clips of it are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Published:
    """What a publish came to.

    Attributes:
        target: where to, as it is shown: the kind, and the address without secrets.
        status: "published"; "unchanged": nothing was to be done, and nothing was written; "checked": an earlier publish was killed after
            its commit, so only the check was made up for; "dry-run"; or "interrupted", after which the target is as it was.
        version: the target's version now; None where there is none.
        publish_id: of the publish that made it; None likewise.
        counts: clips `added`, `changed`, `removed`, `unchanged`, `failed` (not published; the next publish tries them again), and `rows`.
        bytes: bytes written to the target.
        seconds: what it took.
        failed: clip_id -> why it failed.
        checked: what the check found; None where there was none.
    """

    target: str
    status: str
    version: str | None
    publish_id: str | None
    counts: Mapping[str, int]
    bytes: int
    seconds: float
    failed: Mapping[str, str] = field(default_factory=dict)
    checked: Checked | None = None

    @property
    def right(self) -> bool:
        """Whether all clips are there and the check found nothing wrong."""
        return not self.failed and (self.checked is None or self.checked.verdict == "right")


def publish(
    results: Results,
    to: str,
    *,
    options: Options,
    dry_run: bool = False,
    interrupted: threading.Event | None = None,
    watch: Watch | None = None,
) -> Published:
    """Makes a target hold what the recipe's `[publish]` asks for. It does not disturb a run.

    Args:
        results: the store under the recipe.
        to: the target: a kind and a place, such as "parquet:clips".
        options: options of filesystems by protocol.
        dry_run: only say what would change.
        interrupted: set it from another thread to stop; the target is then as it was.
        watch: called as the publish goes on.

    Raises:
        UsageError: the target or a setting is wrong; nothing was written.
        StoreBusy: another publish to this target is at work.
        CannotGoOn: the target cannot be read or written, or a package is missing; the same call completes it.
    """
    begun, stop = now(), interrupted or threading.Event()
    kind, place = split_address(to)
    lease = Lease(results.store, f"publish-{begun:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}", file=lease_file(kind, place))
    one = _Publish(results, kind, place, options, stop, watch or (lambda _what, _done, _of: None), lease, begun)
    try:
        if dry_run:
            return one.go(dry_run=True)
        with lease.held(wait=False, interrupted=stop):
            return one.go(dry_run=False)
    except Stopped:
        return Published(one.shown, "interrupted", None, None, {}, 0, one.seconds)
    except StoreBusy as error:
        what = f"{one.shown} is being published to by another process: {error.what}"
        raise StoreBusy(what, step="publish", mend="wait for it to end, then publish again") from error
    finally:
        one.close()


def lease_file(kind: str, place: str) -> str:
    """The name of the lease of a target in the store: two publishes of one store to one target exclude each other."""
    return f"publish-{hashlib.sha256(f'{kind}:{public_uri(place)}'.encode()).hexdigest()[:12]}.json"


class _Publish:
    """One publish."""

    def __init__(
        self, results: Results, kind: str, place: str, options: Options, stop: threading.Event, watch: Watch, lease: Lease, begun: datetime
    ) -> None:
        self._results, self._kind, self._options, self._stop, self._watch = results, kind, options, stop, watch
        self._lease, self._begun = lease, begun
        self._settings = results.recipe.publish
        self._done = self._of = 0
        self._lease_file = lease_file(kind, place)
        self.shown = f"{kind}:{public_uri(place)}"
        self._chosen = Chosen(results, self._settings, vectors=target_class(kind).vectors)
        self._target = self._made(place)
        self._layout = ""
        self._media = media_print(results, self._settings)

    @property
    def seconds(self) -> float:
        """Since the publish began."""
        return (now() - self._begun).total_seconds()

    def close(self) -> None:
        """Closes the target."""
        self._target.close()

    def _made(self, place: str) -> Target:
        kind = target_class(self._kind)
        for name, asked in (("bytes", self._settings.bytes), ("frames", self._settings.frames > 0)):
            if asked and name not in kind.media:
                what = f"publish.{name} is set, and a target {self._kind}: holds no {name}"
                raise UsageError(what, step="publish", mend=f"leave publish.{name} out, or publish to another kind of target")
        store = self._results.store
        holder = Holder(store.root, store.options, self._lease_file, self._lease.owner)
        context = Context(self._results, self._settings, self._options, self._stop.is_set, self._tell, self._lease.check, holder)
        return kind(place, context)

    def _tell(self, clips: int) -> None:
        self._done += clips
        self._watch("write", self._done, self._of)

    def _compared(self, clips: int) -> None:
        if self._stop.is_set():
            raise Stopped
        self._watch("compare", clips, 0)

    def go(self, *, dry_run: bool) -> Published:
        """Compares, writes, checks."""
        self._layout = self._target.layout(self._chosen.empty().select(list(self._chosen.columns)).schema)
        held = self._target.held()
        if held is not None:
            self._demand_own(held)
        anew = held is not None and (held.record.layout, held.record.media) != (self._layout, self._media)
        rows = self._target.held_rows() if held is not None else ()
        with Changes(self._chosen, rows, self._target.takes, anew=anew, tell=self._compared) as changes:
            counts = {**changes.counts, "failed": 0, "rows": changes.n_rows}
            if dry_run:
                version = held.version if held else None
                return Published(self.shown, "dry-run", version, held.record.publish_id if held else None, counts, 0, self.seconds)
            if not changes.any:
                return self._unchanged(held, changes, counts)
            return self._write(changes, counts)

    def _unchanged(self, held: Held | None, changes: Changes, counts: Mapping[str, int]) -> Published:
        if held is None:
            return Published(self.shown, "unchanged", None, None, counts, 0, self.seconds)
        publish_id = held.record.publish_id
        if is_recorded(self._results.store, publish_id):
            return Published(self.shown, "unchanged", held.version, publish_id, counts, 0, self.seconds)
        self._target.settle(held.record)
        checked = self._check(changes, Written(held.version, 0))
        record_published(self._results, self.shown, held.record, Written(held.version, 0), checked, self._begun)
        return Published(self.shown, "checked", held.version, publish_id, counts, 0, self.seconds, {}, checked)

    def _write(self, changes: Changes, counts: Mapping[str, int]) -> Published:
        self._done, self._of = 0, counts["added"] + counts["changed"]
        record = self._record(counts)
        note("publish started", run_id=record.publish_id, stage="publish", target=self.shown, counts=dict(counts))
        written = self._target.write(changes, record)
        self._target.settle(record)
        counts = {**counts, "failed": len(written.failed), "rows": counts["rows"] - len(written.failed)}
        checked = self._check(changes, written)
        record_published(self._results, self.shown, record, written, checked, self._begun)
        note("publish ended", run_id=record.publish_id, stage="publish", target=self.shown, verdict=checked.verdict, counts=counts)
        return Published(
            self.shown, "published", written.version, record.publish_id, counts, written.bytes, self.seconds, written.failed, checked
        )

    def _check(self, changes: Changes, written: Written) -> Checked:
        self._watch("check", 0, changes.sample.num_rows)
        return check(self._target, changes, written, self._options)

    def _record(self, counts: Mapping[str, int]) -> Record:
        results = self._results
        return Record(
            publish_id=f"{self._begun:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}",
            at=self._begun.isoformat(),
            by=who(),
            store=results.store.root,
            run_ids=tuple(row["run_id"] for row in results.runs()),
            fingerprints={**results.prints, **{f"scores.{one.name}": one.fingerprint for one in results.scorers}},
            rules={name: rule.model_dump(exclude_none=True) for name, rule in results.recipe.rules.items()},
            settings=self._settings.model_dump(mode="json"),
            layout=self._layout,
            media=self._media,
            columns=self._chosen.columns,
            counts=counts,
            versions={name: version(name) for name in ("rushes", "pyarrow", "av")},
        )

    def _demand_own(self, held: Held) -> None:
        """Makes sure that the target holds this store's clips: those of another one would all be taken out.

        Raises:
            UsageError: they are another store's.
        """
        own = {row["run_id"] for row in self._results.runs()}
        if not own.intersection(held.record.run_ids):
            what = f"{self.shown} holds clips of another store, {held.record.store}"
            raise UsageError(what, step="publish", mend="name another target; each holds the clips of one store")
