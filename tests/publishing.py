"""What tests of published targets share: a small store that may be changed, and changes of one caption and of one threshold."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import av
import pyarrow as pa

from pictures import read_frame_number
from rushes.media.storage import Options
from rushes.publish.publish import Published, publish
from rushes.records import Row
from rushes.results import Results
from rushes.results.lines import rows_of
from rushes.results.reader import Reader
from rushes.results.runs import published_rows
from rushes.store.store import Store, now
from rushes.store.tables import CAPTIONS
from stores import SRC, Reel, recipe

DIGITS = 1
"""Ranges by one digit of video_id, so that the two films of the reel lie in two of them."""


def copied(store: Path, to: Path) -> Path:
    """A store of its own for one test."""
    shutil.copytree(store, to)
    return to


def results(store: Path, *settings: str) -> Results:
    """A store under the tests' recipe, divided into ranges as a large one is."""
    found = Results(Store.open(str(store), {}), recipe(*settings))
    found.reader = Reader(found.store, found.prints, found.scorers, found.fields, found.compared, digits=DIGITS)
    return found


def go(store: Path, to: str, *settings: str, options: Options | None = None, **more: Any) -> Published:
    """Publishes in this process."""
    return publish(results(store, *settings), to, options=options or {}, **more)


def wanted(store: Path, *settings: str) -> list[Row]:
    """The kept clips as readers of the store see them, by clip_id: the truth that a target is compared with."""
    rows = [row for table in results(store, *settings).clip_tables() for row in rows_of(table, dict)]
    return sorted((row for row in rows if row["verdict"] == "kept"), key=lambda row: str(row["clip_id"]))


def recaption(store: Path, clip_id: str, text: str) -> None:
    """Gives one clip another caption, as a run would: by a newer row of the same key and fingerprint."""
    opened = Store.open(str(store), {})
    (row,) = opened.read(CAPTIONS, only={"clip_id": [clip_id]}).to_pylist()
    opened.write_rows(CAPTIONS, [{**row, "text": text, "written_at": now()}], name=f"again-{clip_id[:8]}")


def killed(store: Path, to: str, patch: str, *settings: str) -> None:
    """Publishes in a process of its own in which `patch`, Python text, makes it end by SIGKILL at some place; `die()` does it."""
    code = f"""
import os, signal, sys
sys.path[:0] = [{str(SRC)!r}, {str(Path(__file__).parent)!r}]
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
{patch}
from pathlib import Path
from publishing import go
go(Path({str(store)!r}), {to!r}, *{list(settings)!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -9, done.stderr[-3000:]


def is_completed_after_a_kill(
    store: Path, to: str, read: Callable[[], list[Row]], patch: str, *settings: str, committed: bool = False, clips: str | None = None
) -> None:
    """Publishes; changes a caption; publishes in a process that `patch` kills, after the commit if `committed`; publishes again.

    Killed before the commit the target is as it was, and after it as it is to be; the next publish completes it either way. `clips`: a
    setting by which the first publish has fewer clips.
    """
    go(store, to, *settings, *([clips] if clips else []))
    old = read()
    recaption(store, old[0]["clip_id"], "a new caption")
    killed(store, to, patch, *settings)
    now = read()
    assert same(now, wanted(store)) if committed else now == old
    done = go(store, to, *settings)
    assert (done.right, done.status) == (True, "checked" if committed else "published"), done
    assert same(read(), wanted(store))
    assert len(published_rows(Store.open(str(store), {}))) == 2
    assert go(store, to, *settings).status == "unchanged"


def numbers(film: Path | BinaryIO) -> list[int]:
    """The numbers drawn in the frames of a film."""
    with av.open(str(film) if isinstance(film, Path) else film) as container:
        return [read_frame_number(frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]


def drawn(reel: Reel, clip: Row) -> list[int]:
    """The numbers of the frames of a clip, by the truth of the footage."""
    source = reel.clips[clip["uri"]]
    assert source.pts is not None
    return [n for n, pts in zip(source.numbers, source.pts, strict=True) if clip["start_pts"] <= pts < clip["end_pts"]]


def as_rows(table: pa.Table) -> list[Row]:
    """Rows of a target by clip_id."""
    rows: list[Row] = table.to_pylist()
    return sorted(rows, key=lambda row: str(row["clip_id"]))


def same(found: list[Row], truth: list[Row], names: tuple[str, ...] = ("clip_id", "caption", "start_pts", "end_pts", "sharpness")) -> bool:
    """Whether some columns are the same, row by row."""
    return [[row[name] for name in names] for row in found] == [[row[name] for name in names] for row in truth]


def takes_all_out_and_brings_it_back(store: Path, to: str, read: Callable[[], list[Row]], *settings: str) -> None:
    """Publishes; publishes none of the clips; publishes all again."""
    go(store, to, *settings)
    none = go(store, to, *settings, "publish.where=n_frames < 0")
    assert (none.right, none.counts["rows"], none.counts["removed"], read()) == (True, 0, len(wanted(store)), []), none
    back = go(store, to, *settings)
    assert back.right and same(read(), wanted(store)), back


def changes_a_caption_and_a_threshold(store: Path, to: str, read: Callable[[], list[Row]], *settings: str) -> Published:
    """Publishes; changes one caption and one threshold, which drops clips; publishes again; gives what that came to.

    What is read back by the consumer's own loader is compared with the store's own readers each time, and other rows keep their hashes.
    """
    first = go(store, to, *settings)
    truth = wanted(store, *settings)
    assert (first.status, first.right, first.counts["added"]) == ("published", True, len(truth)), first
    before = read()
    assert same(before, truth)
    assert go(store, to, *settings).status == "unchanged"
    shortest = min(truth, key=lambda row: float(row["duration_s"]))
    changed = max(truth, key=lambda row: float(row["duration_s"]))
    recaption(store, changed["clip_id"], "a caption that was written later")
    stricter = (*settings, f"rules.too_short.min={shortest['duration_s'] + 0.1}")
    second = go(store, to, *stricter)
    after, left = read(), wanted(store, *stricter)
    assert 0 < len(left) < len(truth) and same(after, left)
    assert (second.right, second.counts["changed"], second.counts["removed"]) == (True, 1, len(truth) - len(left)), second
    old = {row["clip_id"]: row["row_hash"] for row in before}
    assert [row["clip_id"] for row in after if row["row_hash"] != old[row["clip_id"]]] == [changed["clip_id"]]
    assert go(store, to, *stricter).status == "unchanged"
    return second
