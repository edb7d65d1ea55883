"""What a store shows its readers, in a form that two stores can be compared by; and what must be true of a store at any moment."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.render import ROOT
from rushes.engine.fingerprints import fingerprints
from rushes.engine.worker import MAY_PASS
from rushes.measures.clip import COLUMNS
from rushes.recipe import Recipe
from rushes.results import Results
from rushes.scan.one_pass import signal_columns
from rushes.store.store import Store
from rushes.store.tables import TABLES

sys.path.insert(0, str(ROOT / "tests"))
from stores import UNLIKE

APART = {*UNLIKE, "tries", "attempt", "server"}
"""Columns in which two runs of the same work may differ: seconds, attempts, run ids, times, and which of several servers answered."""
COMPARED = tuple(name for name in TABLES if name not in ("runs", "errors", "segments", "identities"))
"""`runs` tells of each run and `errors` of each failed attempt: both truly differ after a kill. `identities` has what a run read of its
footage every 10 s, and how far it came by then differs, too."""
COUNTED = {"scan": "signals", "frames": "frames", "shots": "clips", "measures": "measures", "files": "files"}
"""The table whose rows a mark counts, by stage."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class View:
    """The rows of a store by table, as readers see them: key and fingerprint -> the other columns as text."""

    rows: Mapping[str, Mapping[tuple[str, ...], str]]

    def unlike(self, other: View) -> list[str]:
        """In which rows two views differ; empty when they are equal."""
        found = []
        for table in COMPARED:
            mine, theirs = self.rows[table], other.rows[table]
            for words, keys in (("lacks", theirs.keys() - mine.keys()), ("has besides", mine.keys() - theirs.keys())):
                if keys:
                    found.append(f"{table} {words} {len(keys)} rows, such as {min(keys)}")
            differ = [key for key in mine.keys() & theirs.keys() if mine[key] != theirs[key]]
            if differ:
                found.append(f"{table}: {len(differ)} rows differ, such as {mine[min(differ)]} for {theirs[min(differ)]}")
        return found

    def beyond(self, other: View) -> list[str]:
        """Rows that `other`, a finished store, has not: what an unfinished one must never show. Failures that pass are let by."""
        found = []
        for table in COMPARED:
            theirs = other.rows[table]
            strange = [k for k, v in self.rows[table].items() if theirs.get(k) != v and '"status": "failed"' not in v]
            if strange:
                found.append(f"{table} shows {len(strange)} rows that no undisturbed run makes, such as {min(strange)}")
        return found


def view(out: Path) -> View:
    """What readers see in a store. Pictures and the store's own place are replaced by what names them."""
    store = Store.open(str(out), {})
    extra = {"measures": COLUMNS, "signals": signal_columns(Recipe())}
    rows: dict[str, dict[tuple[str, ...], str]] = {}
    for name in COMPARED:
        table = TABLES[name]
        rows[name] = {}
        for row in store.read(table, extra=extra.get(name, ())).to_pylist():
            key = tuple(str(row[k]) for k in (*table.keys, "fingerprint"))
            if key in rows[name]:
                raise AssertionError(f"{name} shows {key} twice")
            rows[name][key] = _text({k: v for k, v in row.items() if k not in APART}, out)
    return View(rows)


def _text(value: Any, out: Path) -> str:
    def plain(v: Any) -> str:
        return hashlib.sha256(v).hexdigest() if isinstance(v, bytes) else str(v)

    return json.dumps(value, sort_keys=True, default=plain).replace(str(out), "STORE")


def listed(out: Path, recipe: Recipe) -> list[str]:
    """`clips --json` and `videos --json` of a store under a recipe, as lines."""
    seen = Results(Store.open(str(out), {}), recipe)
    return [_text(row, out) for row in (*seen.clips(), *seen.videos())]


def broken_promises(out: Path) -> list[str]:
    """What is wrong with a store, finished or not: marks that count rows that are not there, clip files that are not as recorded."""
    store, found = Store.open(str(out), {}), []
    counts = {stage: _counts(store, stage) for stage in COUNTED}
    for mark in store.read(TABLES["marks"]).to_pylist():
        have = counts[mark["stage"]][mark["video_id"], mark["fingerprint"]]
        if mark["stage"] in COUNTED and have != mark["rows"]:
            found.append(f"the mark of {mark['video_id'][:8]} counts {mark['rows']} rows of {mark['stage']}, there are {have}")
    for row in store.read(TABLES["files"]).to_pylist():
        path = Path(row["clip_uri"])
        if not path.is_file() or path.stat().st_size != row["bytes"]:
            found.append(f"{path} is not the file of {row['bytes']} bytes that is recorded")
    return found


def _counts(store: Store, stage: str) -> Counter[tuple[str, str]]:
    """Rows of a stage by (video_id, fingerprint)."""
    if stage == "scan":
        rows = store.read(TABLES["signals"], columns=["pts"]).to_pylist()
        return Counter({(row["video_id"], row["fingerprint"]): len(row["pts"]) for row in rows})
    rows = store.read(TABLES[COUNTED[stage]], columns=["video_id"]).to_pylist()
    return Counter((row["video_id"], row["fingerprint"]) for row in rows)


def scanned_in_vain(out: Path, since: float) -> int:
    """Videos whose scan, begun since a time (seconds since the epoch), had come to its end, so that their signals are there, and is to be
    done again, since its mark is not.
    """
    store = Store.open(str(out), {})
    signals, marks = (store.read(TABLES[name], columns=[]).to_pylist() for name in ("signals", "marks"))
    ended = {(r["video_id"], r["fingerprint"]) for r in signals if r["written_at"].timestamp() > since}
    return len(ended - {(r["video_id"], r["fingerprint"]) for r in marks if r["stage"] == "scan"})


def lost_workers(out: Path) -> int:
    """Attempts that were recorded since a child or a worker process died."""
    rows = Store.open(str(out), {}).read(TABLES["errors"], columns=["error_type"]).to_pylist()
    return sum(row["error_type"] in MAY_PASS for row in rows)


def captions_of(out: Path, recipe: Recipe) -> Counter[str]:
    """Stored captions of a recipe, as texts, with how many clips have each."""
    fingerprint = fingerprints(recipe).get("captions")
    rows = Store.open(str(out), {}).read(TABLES["captions"], columns=["text"], fingerprints=[str(fingerprint)]).to_pylist()
    return Counter(row["text"] for row in rows)


def files_of(out: Path) -> dict[str, tuple[int, int]]:
    """Every file of a store: path -> (time of change in ns, size)."""
    found = {}
    for path in out.rglob("*"):
        try:
            if path.is_file():
                found[str(path.relative_to(out))] = (path.stat().st_mtime_ns, path.stat().st_size)
        except FileNotFoundError:
            continue
    return found


def litter(out: Path) -> int:
    """Temporary files that processes left when they were killed. No reader sees them."""
    return sum(name.endswith(".tmp") for name in files_of(out))
