"""The lease of a store: one run writes at a time. Readers need none.

The file `lease.json` in the store says who holds it: run, host, process, since when, and the time of its last heartbeat. It is written
only under conditions (`media.conditional`), so of several takers one wins. See docs/decisions/0009-a-lease-with-heartbeat.md.

A lease whose process is dead on this boot of this machine is taken at once. Any other is taken when it has not changed for `EXPIRY_S` by
our own clock, while we watched: clocks of two machines are never compared to take a lease. Its holder gives up one heartbeat earlier, by
its own clock, which it reads when it *begins* to write; so it stops before another may start.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

from rushes.errors import Failure, StoreBusy
from rushes.log import note
from rushes.media.conditional import Version, conditional
from rushes.media.error_translation import write_error
from rushes.media.faults import with_retries
from rushes.media.guard import Stopped
from rushes.quarantine import quarantined
from rushes.store.process import dead, myself
from rushes.store.store import Store, now

T = TypeVar("T")
FILE = "lease.json"
BEAT_S = 10.0
"""A heartbeat is written so often."""
EXPIRY_S = 60.0
"""A lease that stayed the same for so long is taken: six heartbeats."""
LOOK_EVERY_S = 0.5
"""How often a waiting run looks: one small read."""
RACE_S = 0.05
"""How long to wait after another was quicker, before looking again."""
OWNER_S = 1.0
"""How long a worker believes what it read of the lease when it is about to write."""
SETTLE_S = 2.0
"""Where the store keeps no conditions: how long to wait before looking whether another wrote at the same moment."""


class Lease:
    """The right to write to one store. Use `held` around everything that writes; `check` before each write.

    Args:
        store: the store; it must exist before `held`.
        run_id: the run that wants it.
        beat_s: seconds between heartbeats.
        expiry_s: seconds without a change after which the lease of another is taken; more than two heartbeats, the same for all.
        announce: called with a line for people when the lease is waited for.
        file: its name in the store; another one than `lease.json` is the right to do something else than write to the tables.
    """

    def __init__(
        self,
        store: Store,
        run_id: str,
        *,
        beat_s: float = BEAT_S,
        expiry_s: float = EXPIRY_S,
        announce: Callable[[str], None] | None = None,
        file: str = FILE,
    ) -> None:
        assert expiry_s > 2 * beat_s
        self._root = store.root
        self._run_id = run_id
        self._beat_s = beat_s
        self._expiry_s = expiry_s
        self._announce = announce or (lambda _line: None)
        self._file = conditional(store.path(file), store.options)
        self.owner = secrets.token_hex(8)
        """Names the holder in `lease.json`; see `OwnerCheck`."""
        self._owner = {"owner": self.owner, "run_id": run_id, **myself()}
        self._beats = 0
        self._token = ""
        self._good_until = 0.0
        self._claimed_at = 0.0
        self.replaced = False
        """Whether the lease was taken from a run that had not freed it."""
        self._taken_by: dict[str, Any] | None = None
        self._released = threading.Event()

    def refuse(self) -> None:
        """Raises StoreBusy if the store is held now by a run that seems alive: the quick look, before anything costly is done."""
        found = self._read()
        if found is not None and not self._claimable(found) and not self._stale(_row(found)):
            raise self._busy(_row(found))

    @contextmanager
    def held(self, *, wait: bool, interrupted: threading.Event) -> Iterator[None]:
        """Holds the lease: taken on entry, kept by a thread, freed on exit.

        Args:
            wait: wait as long as another run holds it; else refuse at once. One that seems long dead is watched in either case.
            interrupted: set it to give up waiting.

        Raises:
            StoreBusy: another run holds the store.
            Stopped: `interrupted` was set.
            StorageError: the store cannot be read or written.
        """
        self._acquire(wait, interrupted)
        note("lease taken", run_id=self._run_id, stage="lease")
        thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._released.set()
            thread.join(BEAT_S)  # a heartbeat under way comes first
            if self.lost is None:
                quarantined(self._remove)  # failing that, it expires
                note("lease freed", run_id=self._run_id, stage="lease")

    @property
    def lost(self) -> StoreBusy | None:
        """Why the store must not be written any more, or None. Costs nothing; compares clocks, so it is right even in a run that slept."""
        if self._taken_by is not None:
            return self._busy(self._taken_by, "was taken over by")
        if _clock() < self._good_until:
            return None
        what = f"the lease of {self._root} could not be renewed for {self._expiry_s - self._beat_s:.0f} s, so another run may have begun"
        return StoreBusy(what, step="lease", mend="check the disk or the connection, then run the same command again: it resumes")

    def check(self) -> None:
        """Raises StoreBusy if the lease is lost. Called before each write of the driver."""
        error = self.lost
        if error is not None:
            raise error

    def _acquire(self, wait: bool, interrupted: threading.Event) -> None:
        watched, since, said = "", _clock(), False
        while not interrupted.is_set():
            found = self._read()
            if found is not None and _row(found).get("owner") == self.owner:  # the answer to our claim was lost, and a further try refused
                self._token, self._good_until = found.token, self._claimed_at + self._expiry_s - self._beat_s
                return
            if found is None or self._claimable(found):
                if self._claim(found):
                    return
                interrupted.wait(RACE_S)
                continue
            if found.token != watched:
                if not wait and (watched or not self._stale(_row(found))):
                    raise self._busy(_row(found))
                watched, since = found.token, _clock()
            elif _clock() - since >= self._expiry_s:
                note("lease expired", run_id=self._run_id, stage="lease", holder=_row(found).get("run_id"))
                if self._claim(found):
                    return
                continue
            if not said:
                self._announce(f"waiting for the store: {_holder_words(_row(found))}")
                note("lease awaited", run_id=self._run_id, stage="lease", holder=_row(found).get("run_id"))
                said = True
            interrupted.wait(min(LOOK_EVERY_S, self._beat_s / 2))
        raise Stopped

    def _claimable(self, found: Version) -> bool:
        """Whether a lease may be taken at once: its process is dead on this boot."""
        return dead(_row(found))

    def _stale(self, row: Mapping[str, Any]) -> bool:
        """Whether a lease looks abandoned by its time. A hint whether watching is worth while, since clocks differ; it takes nothing."""
        age_s = _age_s(row, "at")
        return age_s is None or not -self._expiry_s < age_s < self._expiry_s

    def _claim(self, found: Version | None) -> bool:
        """Tries to take a lease in place of what was found; whether this run holds it now."""
        began = self._claimed_at = _clock()
        data = self._row_now()
        token = self._write(data, found)
        if token is None:
            return False
        if not self._file.exact:
            time.sleep(SETTLE_S)
            after = self._read()
            if after is None or _row(after).get("owner") != self._owner["owner"]:
                return False
            token = after.token
        self._token, self._good_until, self.replaced = token, began + self._expiry_s - self._beat_s, found is not None
        return True

    def _keep(self) -> None:
        """Writes the heartbeat until the lease is freed or lost."""
        pause = self._beat_s
        while not self._released.wait(pause) and self._taken_by is None:
            began = _clock()
            kept = quarantined(self._beat)
            if isinstance(kept, Failure):
                note("heartbeat failed", run_id=self._run_id, stage="lease", level="warning", error=kept.what)
            elif kept:
                self._good_until = began + self._expiry_s - self._beat_s
            pause = self._beat_s if kept is True else self._beat_s / 5
        if self._taken_by is not None:
            note("lease lost", run_id=self._run_id, stage="lease", level="error", holder=self._taken_by.get("run_id"))

    def _beat(self) -> bool:
        """One heartbeat; whether it was kept. An answer that was lost on the way looks like another's write; so the file is read before it
        is believed.
        """
        token = self._file.replace(self._row_now(), self._token)
        if token is not None:
            self._token = token
            return True
        found = self._file.read()
        row = _row(found) if found is not None else {}
        if found is not None and row.get("owner") == self._owner["owner"]:
            self._token = found.token
            return False
        self._taken_by = row
        return False

    def _remove(self) -> None:
        found = self._file.read()
        if found is not None and _row(found).get("owner") == self._owner["owner"]:
            self._file.remove(found.token)

    def _read(self) -> Version | None:
        return _asked(self._root, self._file.read)

    def _write(self, data: bytes, found: Version | None) -> str | None:
        return _asked(self._root, lambda: self._file.create(data) if found is None else self._file.replace(data, found.token))

    def _row_now(self) -> bytes:
        """The lease's content; no two are equal."""
        self._beats += 1
        at = now().isoformat()
        self._owner.setdefault("since", at)
        return json.dumps({**self._owner, "beat": self._beats, "at": at}, indent=1).encode() + b"\n"

    def _busy(self, row: Mapping[str, Any], verb: str = "is held by") -> StoreBusy:
        mend = "wait for it to end, or add --wait" if verb == "is held by" else "run the same command again, with --wait: it resumes"
        if self._stale(row):
            mend += "; if its machine is gone, --wait takes the store over " + f"after {self._expiry_s:.0f} s of silence"
        return StoreBusy(f"the store {self._root} {verb} {_holder_words(row)}", step="lease", mend=mend)


class OwnerCheck:
    """Lets a process write for a run only while the lease file names that run. The gate of the stores of workers.

    Its driver holds the lease and renews it; a worker on another machine that has lost its driver finds another owner, or none.

    Args:
        store: the store.
        owner: the holder's name, `Lease.owner`.
        period_s: how long what was read of the lease is believed.
        file: the name of the lease's file in the store, as in `Lease`.
    """

    def __init__(self, store: Store, owner: str, period_s: float = OWNER_S, file: str = FILE) -> None:
        self._root = store.root
        self._owner = owner
        self._period_s = period_s
        self._file = conditional(store.path(file), store.options)
        self._looked: float | None = None

    def __call__(self) -> None:
        """Reads the file, unless it was read within the last `period_s` seconds.

        Raises:
            StoreBusy: the lease has another owner, or none.
            StorageError: it cannot be read.
        """
        began = _clock()
        if self._looked is not None and began - self._looked < self._period_s:
            return
        found = _asked(self._root, self._file.read)
        if found is None or _row(found).get("owner") != self._owner:
            whom = "freed by its run" if found is None else f"taken over by {_holder_words(_row(found))}"
            raise StoreBusy(f"the store {self._root} was {whom}", step="lease", mend="run the same command again, with --wait: it resumes")
        self._looked = began


def _asked(root: str, request: Callable[[], T]) -> T:
    """Makes a request about the lease file, again where that may help.

    Raises:
        StorageError: it failed.
    """
    try:
        return with_retries(request)
    except OSError as error:
        raise write_error(error, f"{root}/{FILE}") from error


def _holder_words(row: Mapping[str, Any]) -> str:
    """Who holds a lease, in words."""
    if not row:
        return f"somebody unknown: {FILE} is gone, or is no lease"
    age_s = _age_s(row, "at")
    seen = "" if age_s is None else f", last heartbeat {max(0.0, age_s):.0f} s ago by its clock"
    return f"run {row.get('run_id')} (process {row.get('pid')} on {row.get('host')}, since {row.get('since')}{seen})"


def _row(found: Version) -> dict[str, Any]:
    """The lease as it was read; empty where it is no lease."""
    try:
        row = json.loads(found.data)
    except ValueError:
        return {}
    return row if isinstance(row, dict) and {"owner", "pid", "at"} <= row.keys() else {}


def _age_s(row: Mapping[str, Any], name: str) -> float | None:
    """Seconds since a time of the lease, by two clocks that may differ; None where there is none."""
    try:
        return (now() - datetime.fromisoformat(row[name])).total_seconds()
    except (KeyError, TypeError, ValueError):
        return None


def _clock() -> float:
    """Seconds that go on while the machine sleeps (CLOCK_BOOTTIME), where the system has such a clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def holder(store: Store) -> dict[str, Any] | None:
    """Who holds a store now: the lease's row, and `dead`: whether its process has ended for certain. None where nobody does."""
    found = _asked(store.root, conditional(store.path(FILE), store.options).read)
    if found is None:
        return None
    row = _row(found)
    return {**row, "dead": dead(row)}
