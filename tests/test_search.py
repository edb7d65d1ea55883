"""Search: the nearest clips by numpy's reckoning, of those that count, with an index and without; and what is missing, in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

import rushes
from embedded import NOON, Embedded, Vectors, clustered
from rushes.errors import StoreError
from rushes.models import hub
from rushes.results import Results
from rushes.search import index as indexing
from rushes.search.index import make_index
from rushes.search.nearest import nearest_clips
from rushes.search.vectors import Vectors as StoredVectors
from rushes.search.vectors import ranked
from rushes.store.compact import compact
from rushes.store.remote_parts import WHOLE_BYTES
from rushes.store.store import Store
from rushes.store.tables import CLIPS, MEASURES, RUNS, SCORES
from stores import Done, inline

LENGTH = 24


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Embedded:
    """300 clips. Read only."""
    return Embedded(tmp_path_factory.mktemp("search") / "store", clustered(300, LENGTH))


@pytest.fixture
def many(tmp_path: Path) -> Embedded:
    """3,600 clips, of which an index has 60 cells."""
    return Embedded(tmp_path / "store", clustered(3600, LENGTH, seed=5), a_part=1200)


def near(found: Sequence[dict[str, Any]]) -> list[tuple[str, Any]]:
    return [(row["clip_id"], pytest.approx(row["score"], abs=1e-6)) for row in found]


def query(seed: int) -> Vectors:
    return clustered(80, LENGTH, seed)[0]


@pytest.mark.parametrize("verdict", ["kept", "dropped", "failed", None])
def test_the_nearest_are_those_that_numpy_finds(made: Embedded, verdict: str | None) -> None:
    for seed in range(4):
        found = nearest_clips(made.results, query(seed), n=15, verdict=verdict)
        assert made.truth(query(seed), 15, verdict) == near(found.rows)
        assert (found.compared, found.indexed) == (300, 0)
        assert {row["verdict"] for row in found.rows} <= ({verdict} if verdict else {"kept", "dropped", "failed"})


def test_all_that_count_can_be_had(made: Embedded) -> None:
    found = nearest_clips(made.results, query(9), n=1000)
    assert made.truth(query(9), 1000) == near(found.rows) and 200 < len(found.rows) < 300


def test_an_expression_chooses_the_clips(made: Embedded) -> None:
    found = nearest_clips(made.results, query(2), n=10, where="sharpness > 0.9 and uri < '/footage/0040.mp4'")
    right = [(clip, score) for clip, score in made.truth(query(2), 300) if made.clip_ids.index(clip) % 10 == 9]
    right = [(clip, score) for clip, score in right if made.clip_ids.index(clip) < 200]
    assert right[:10] == near(found.rows) and len(found.rows) == 10


def test_only_clips_of_the_recipes_cuts_count_and_each_once(tmp_path: Path) -> None:
    """Clips of other cuts have vectors too; a vector that was written twice is one clip; a clip may have none."""
    made = Embedded(tmp_path / "store", clustered(60, LENGTH))
    vector = made.vectors[3]
    names = {"video_id": made.video_ids[0], "scorer": "embedding", "model": "m"}
    older = [{"clip_id": f"{k:032x}", "embedding": vector.tolist(), **names} for k in range(5)]
    nothing = {"clip_id": f"{9:032x}", "embedding": None, **names}
    made.put(SCORES, made.scorer.fingerprint, [*older, nothing], made.scorer.columns)
    span = {"video_id": made.video_ids[0], "start_pts": 7, "end_pts": 8, "start_s": 0.07, "end_s": 9.0, "duration_s": 9.0}
    for stage in ("shots", "e" * 32):  # of this recipe's cuts only the clip that has no vector
        clips = [nothing] if stage == "shots" else older
        made.put(CLIPS, stage, [{"clip_id": clip["clip_id"], **span} for clip in clips])
    made.put(MEASURES, "measures", [{"clip_id": clip["clip_id"], "video_id": made.video_ids[0]} for clip in [*older, nothing]])
    again = [{"clip_id": made.clip_ids[3], "embedding": vector.tolist(), **names, "written_at": NOON.replace(hour=13)}]
    made.put(SCORES, made.scorer.fingerprint, again * 2, made.scorer.columns)
    assert made.truth(vector, 60) == near(nearest_clips(made.results, vector, n=60).rows)


def test_a_clip_with_many_rows_takes_the_place_of_one() -> None:
    clips = pa.table({"clip_id": [*"aaaaaaaaa", "b", "c"], "video_id": ["v"] * 11})
    best = ranked(clips, np.array([0.9] * 9 + [0.1, 0.5], np.float32), 2)
    assert best["clip_id"].to_pylist() == ["a", "c"]


# The command


def command(made: Embedded, *args: str) -> Done:
    return inline("search", made.root, *args)


def test_a_clip_needs_no_model(made: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages of models are hidden. The clip itself is not among what is like it."""
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    lines = command(made, "--like", made.clip_ids[8][:10], "-n", "7", "--json").lines
    assert made.truth(made.vectors[8], 7, but=8) == near(lines)
    clips = {clip["clip_id"]: clip for clip in made.results.clips()}
    assert all(clips[line["clip_id"]] == {name: value for name, value in line.items() if name != "score"} for line in lines)
    told = command(made, "--like", made.clip_ids[8], "-n", "7").out.splitlines()
    assert told[0].split() == ["clip", "score", "video", "from", "to", "caption"]
    assert [line.split()[:2] for line in told[1:]] == [[line["clip_id"][:8], f"{line['score']:.4f}"] for line in lines]
    rows = rushes.open(made.root).search(like=made.clip_ids[8], n=7)
    assert rows == lines
    own = rushes.open(made.root).search(like=made.clip_ids[8], n=7, where="uri = '/footage/0001.mp4'")
    assert [(clip, score) for clip, score in made.truth(made.vectors[8], 300, but=8) if 5 <= made.clip_ids.index(clip) < 10] == near(own)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "either a text or a clip"),
        (("a door", "--like", "00"), "either a text or a clip"),
        (("  ",), "the text is empty"),
        (("--like", ""), "there is no clip and no picture"),
        (("--like", "nothing.jpg"), "there is no clip and no picture"),
        (("--like", "0123456789abcdef"), "there is no clip and no picture"),
        (("a door", "--verdict", "good"), "use kept, dropped, failed or all"),
        (("a door", "--set", "scores.use=[]"), "--set 'scores.use=[\"embedding\"]'"),
        (("--like", "00", "--set", "scores.use=[]"), "scores.use does not name the scorer embedding"),
        (("--like", "00", "--set", "scores.encoder=another/encoder"), "holds no rows of the scorer embedding"),
    ],
)
def test_what_is_wrong_is_said(made: Embedded, args: Sequence[str], words: str) -> None:
    done = command(made, *args)
    assert done.code == 2 and words in done.err and "Fix:" in done.err and not done.out


def test_a_clip_must_be_the_only_one_of_its_name_and_have_a_vector(made: Embedded, tmp_path: Path) -> None:
    first = next(clip[0] for clip in made.clip_ids if sum(other[0] == clip[0] for other in made.clip_ids) > 1)
    assert "clips begin with" in command(made, "--like", first).err
    bare = Embedded(tmp_path / "store", clustered(10, LENGTH))
    for part in bare.store.parts(SCORES):
        Path(part.uri).unlink()
    assert "has no embedding" in command(bare, "--like", bare.clip_ids[2]).err
    assert "no clip has been scored" in inline("index", bare.root).err
    assert nearest_clips(bare.results, query(0)).rows == []


def test_vectors_of_another_length_are_an_error(made: Embedded) -> None:
    with pytest.raises(StoreError, match=f"have {LENGTH} numbers, and the vector that is looked for has 7"):
        nearest_clips(made.results, np.ones(7, np.float32))


def test_a_text_needs_the_extra(made: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    for args in (("a red door",), ("--like", str(_picture(Path(made.root).parent / "picture.png")))):
        done = command(made, *args)
        assert done.code == 3 and "pip install 'rushes[models]'" in done.err


def _picture(path: Path) -> Path:
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    return path


# The index


def test_an_index_finds_nearly_all(many: Embedded) -> None:
    """Recall is the share of the 10 nearest by numpy that a search finds; its cosines are numpy's, but for 8 bits a number."""
    done = make_index(StoredVectors(many.results))
    assert done.made and done.vectors == 3600 and done.bytes == Path(done.uri).stat().st_size
    found = 0
    for seed in range(10):
        search = nearest_clips(many.results, query(seed), n=10)
        assert (search.compared, search.indexed, len(search.rows)) == (3600, 3600, 10)
        cosines, scores = dict(many.truth(query(seed), 3600)), [row["score"] for row in search.rows]
        assert scores == pytest.approx([cosines[row["clip_id"]] for row in search.rows], abs=0.005)
        assert scores == sorted(scores, reverse=True) != [cosines[row["clip_id"]] for row in search.rows]
        found += len({row["clip_id"] for row in search.rows} & {clip for clip, _ in many.truth(query(seed), 10)})
    assert found / 100 > 0.9
    exact = nearest_clips(many.results, query(1), n=10, exact=True)
    assert many.truth(query(1), 10) == near(exact.rows) and (exact.compared, exact.indexed) == (3600, 0)


def test_every_clip_is_in_an_index(many: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "FEW_ROWS", 700)
    assert make_index(StoredVectors(many.results)).vectors == 3600
    rows = nearest_clips(many.results, query(0), n=3600, verdict=None).rows
    cosines = dict(many.truth(query(0), 3600, None))
    assert sorted(row["clip_id"] for row in rows) == sorted(many.clip_ids)
    assert [row["score"] for row in rows] == pytest.approx([cosines[row["clip_id"]] for row in rows], abs=0.005)


def test_new_clips_are_found_beside_an_index_and_it_is_made_anew_when_asked(tmp_path: Path) -> None:
    made = Embedded(tmp_path / "store", clustered(500, LENGTH))
    first = make_index(StoredVectors(made.results))
    assert not make_index(StoredVectors(made.results)).made
    vector = -made.vectors[0]
    more = Embedded(tmp_path / "more", np.vstack([made.vectors, vector[None], clustered(4, LENGTH, 8)]))
    more.store = made.store
    more.of_footage(range(500, 505))
    more.of_scores(range(500, 505))
    found = nearest_clips(more.results, vector, n=5)
    assert found.rows[0]["clip_id"] == more.clip_ids[500] and (found.compared, found.indexed) == (505, 500)
    compact(made.store)  # the parts that the index covers are merged
    after = nearest_clips(more.results, vector, n=5)
    assert [row["clip_id"] for row in after.rows] == [row["clip_id"] for row in found.rows] and after.compared == 1005
    lines = inline("index", made.root, "--json").lines
    assert lines[0] | {"seconds": 0, "bytes": 0} == {"uri": first.uri, "vectors": 505, "bytes": 0, "seconds": 0, "made": True}
    last = nearest_clips(more.results, vector, n=5)
    assert (last.compared, last.indexed) == (505, 505)
    assert "there already, and covers all vectors: 505 vectors" in inline("index", made.root).err


def test_a_store_and_its_index_may_lie_elsewhere() -> None:
    """Through fsspec, as on an object store, with an index larger than what is read at once."""
    made = Embedded("memory://search/store", clustered(9000, LENGTH), a_part=3000)
    assert make_index(StoredVectors(made.results)).bytes > WHOLE_BYTES
    found = nearest_clips(made.results, made.vectors[1], n=3)
    assert found.indexed == 9000 and [row["clip_id"] for row in found.rows] == [clip for clip, _ in made.truth(made.vectors[1], 3)]


def test_a_narrow_expression_is_answered_in_full(many: Embedded) -> None:
    """None of the nearest clips counts, so that those that count are looked for."""
    make_index(StoredVectors(many.results))
    found = nearest_clips(many.results, query(3), n=10, where="uri < '/footage/0005.mp4'")
    right = [clip for clip, _ in many.truth(query(3), 3600) if many.clip_ids.index(clip) < 25]
    assert len(right) > 10 and {row["clip_id"] for row in found.rows} >= set(right[:8]) and len(found.rows) == 10


def test_compaction_drops_the_index_of_rows_that_it_drops(tmp_path: Path) -> None:
    made = Embedded(tmp_path / "store", clustered(50, LENGTH))
    uri = Path(make_index(StoredVectors(made.results)).uri)
    inline("compact", made.root)
    inline("compact", made.root, "--drop-other-fingerprints")
    assert uri.exists()
    row = Store.open(made.root, {}).read(RUNS).to_pylist()[0]
    other = made.recipe.with_overrides(["scores.use=[]"])
    made.store.write_rows(RUNS, [row | {"run_id": "s", "started_at": NOON.replace(hour=14), "recipe": other.model_dump_json()}])
    assert Results(made.store).scorers == ()
    assert inline("compact", made.root, "--drop-other-fingerprints").code == 0
    assert not uri.exists()
