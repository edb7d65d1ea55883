"""`rushes forget`: nothing of a video is left in a store but its id, the rest of the store stays, and no run scans it again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rushes.api import compact, forget
from rushes.errors import UsageError
from rushes.store import forget as taking_out
from rushes.store.forgotten import FINGERPRINT
from rushes.store.store import Store
from rushes.store.tables import PUBLISHED
from stores import Reel, go, inline, rows_of, seen

FILES = "clips.mode=encode"
WORDS = ("cuts.mp4", "second name.mp4")


def texts(value: Any) -> Iterator[bytes]:
    if isinstance(value, str):
        yield value.encode()
    elif isinstance(value, bytes):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def left(out: Path, *words: str) -> list[str]:
    """The files of a store that hold one of the words: in any value of a Parquet file, in its footer, in other files, or in a name."""
    found = []
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        data = [path.read_bytes(), str(path.relative_to(out)).encode()]
        if path.suffix == ".parquet":
            data += [text for row in pq.read_table(path).to_pylist() for value in row.values() for text in texts(value)]
        found += [str(path.relative_to(out))] if any(word.encode() in one for word in words for one in data) else []
    return found


@pytest.fixture(scope="module")
def merged_and_loose(reel: Reel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose parts are in part merged, with clip files. Read only."""
    out = tmp_path_factory.mktemp("forget") / "store"
    go([reel.folder / "cuts.mp4", reel.folder / "uneven.mkv"], out, FILES)
    compact(out)
    go([reel.folder / "second name.mp4", reel.folder / "broken.mp4"], out, FILES)
    go(reel.folder, out, FILES, "frames.per_s=2")
    return out


@pytest.fixture
def store(merged_and_loose: Path, tmp_path: Path) -> Path:
    shutil.copytree(merged_and_loose, tmp_path / "store")
    return tmp_path / "store"


def ids_of(out: Path) -> dict[str, str]:
    return {Path(v["uri"]).name: v["video_id"] for v in seen(out, FILES).videos()}


def test_nothing_of_a_video_is_left_but_its_id_and_no_run_scans_it_again(reel: Reel, store: Path, tmp_path: Path) -> None:
    video, others = ids_of(store)["cuts.mp4"], rows_of(store)
    clips = [clip for clip in seen(store, FILES).clips() if clip["video_id"] == video]
    files = [Path(clip["clip_uri"]) for clip in clips if clip["clip_uri"]]
    assert len(files) == 2 and all(file.is_file() for file in files) and len(left(store, video)) > 10
    done = inline("forget", store, reel.folder / "cuts.mp4", "--json")
    assert done.code == 0, done.err
    [told] = done.lines
    assert (told["videos"], told["uris"], told["clip_files"]) == (1, 2, 2) and told["rows"]["frames"] > 0
    names = [*WORDS, video, *(clip["clip_id"] for clip in clips)]
    [record] = left(store, *names)
    assert record.startswith("forgotten/") and left(store, *WORDS) == []
    now, ours = rows_of(store), ("forgotten", "runs")
    kept = {table: [row for row in rows if video not in row.values()] for table, rows in others.items()}
    assert {t: rows for t, rows in now.items() if t not in ours} == {t: rows for t, rows in kept.items() if t not in ours}

    again = go(reel.folder, store, FILES).counts
    ways = ("found", "scanned", "reused", "failed", "duplicate", "forgotten")
    assert [again[f"videos_{way}"] for way in ways] == [4, 0, 1, 1, 0, 2] and again["decoded_s"] == 0
    third = tmp_path / "a third name.mp4"
    shutil.copyfile(reel.folder / "cuts.mp4", third)
    ran = inline("run", third, "--out", store)
    assert "1 videos = 0 scanned + 0 reused + 0 failed + 0 duplicate + 1 forgotten" in ran.err, ran.err
    assert "+ 1 forgotten" in inline("status", store).err + inline("status", store).out
    (tmp_path / "list.txt").write_text(f"{tmp_path}/cuts.mp4\n{reel.folder}/cuts.mp4\n")
    assert left(store, *names, "a third name") == [record]


def test_a_name_whose_file_is_gone_does_not_come_back(reel: Reel, store: Path, tmp_path: Path) -> None:
    film = shutil.copyfile(reel.folder / "cuts.mp4", tmp_path / "withdrawn.mp4")
    go([film], store, FILES)
    forget(store, [film])
    film.unlink()
    (tmp_path / "list.txt").write_text(f"{film}\n{reel.folder}/uneven.mkv\n")
    counts = go([tmp_path / "list.txt"], store, FILES).counts
    assert [counts[f"videos_{way}"] for way in ("found", "reused", "failed", "forgotten")] == [2, 1, 0, 1]
    assert left(store, "withdrawn") == []


def test_killed_before_any_write_it_is_completed_by_the_same_call_or_another(reel: Reel, store: Path, tmp_path: Path) -> None:
    """Before its first write or removal, its fourth, its seventh, and so on."""
    uri, calm = str(reel.folder / "cuts.mp4"), tmp_path / "calm"
    shutil.copytree(store, calm)
    taking_out.forget(Store.open(str(calm), {}), [uri], "calm")

    def tree(out: Path) -> set[str]:
        return {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file() and p.parent.name != "forgotten"}

    for n in range(0, 200, 3):
        rough = tmp_path / f"rough{n}"
        shutil.copytree(store, rough)
        opened, calls = Store.open(str(rough), {}), [0]

        def gate(calls: list[int] = calls, n: int = n) -> None:
            calls[0] += 1
            if calls[0] > n:
                raise KeyboardInterrupt

        opened.gate = gate
        try:
            taking_out.forget(opened, [uri], "killed")
        except KeyboardInterrupt:
            opened.gate = None
            taking_out.forget(opened, ["0" * 64 if n % 2 else uri], "again")
            assert tree(rough) == tree(calm), f"killed before write {n + 1}"
            shutil.rmtree(rough)
        else:
            break
    assert 24 < n < 199
    assert left(calm, *WORDS) == []


def test_a_video_is_named_by_its_id_and_need_not_be_known(reel: Reel, store: Path, tmp_path: Path) -> None:
    uneven = ids_of(store)["uneven.mkv"]
    assert forget(tmp_path / "store", [uneven])["videos"] == 1
    assert left(store, "uneven.mkv") == []
    fresh = tmp_path / "fresh"
    go([reel.folder / "cuts.mp4"], fresh)
    assert forget(fresh, [uneven])["rows"]["videos"] == 0
    counts = go([reel.folder / "cuts.mp4", reel.folder / "uneven.mkv"], fresh).counts
    assert (counts["videos_reused"], counts["videos_forgotten"]) == (1, 1)
    assert left(fresh, "uneven.mkv") == []
    before = {path: path.stat().st_mtime_ns for path in fresh.rglob("*.parquet")}
    with pytest.raises(UsageError, match=r"knows no video 'nosuch\.mp4'.*Fix"):
        forget(fresh, ["nosuch.mp4"])
    assert {path: path.stat().st_mtime_ns for path in fresh.rglob("*.parquet")} == before
    compact(fresh, drop_other_fingerprints=True)
    [row] = Store.open(str(fresh), {}).read(taking_out.FORGOTTEN).select(["video_id", "fingerprint"]).to_pylist()
    assert row == {"video_id": uneven, "fingerprint": FINGERPRINT}


def test_what_runs_said_of_it_the_index_and_half_written_files_go_too(store: Path, reel: Reel) -> None:
    opened, uri = Store.open(str(store), {}), str(reel.folder / "cuts.mp4")
    [part, *_] = opened.parts(taking_out.RUNS)
    row = pq.read_table(part.uri).to_pylist()[0] | {"message": f"{uri} cannot be read"}
    opened.write_rows(taking_out.RUNS, [row], name=Path(part.uri).stem)
    problems = {"publish_id": "p", "problems": f'["the source {uri} is gone"]', "fingerprint": "f" * 16, "run_id": "r"}
    opened.write_rows(PUBLISHED, [problems], name="p")
    (store / "index").mkdir()
    (store / "index" / "embedding-00.parquet").write_bytes(b"x")
    half = store / "clips" / ".part-1.tmp"
    half.write_bytes(uri.encode())
    os.utime(half, (0, half.stat().st_mtime - 2 * taking_out.LEFT_BEHIND_S))
    forget(store, [uri])
    assert pq.read_table(part.uri)["message"].to_pylist() == ["(forgotten) cannot be read"]
    assert pq.read_table(store / "published" / "p.parquet")["problems"].to_pylist() == ['["the source (forgotten) is gone"]']
    assert left(store, "cuts.mp4") == [] and not list((store / "index").iterdir())
