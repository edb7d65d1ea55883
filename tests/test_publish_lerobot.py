"""The target `lerobot:`, read as its written format says, and by LeRobot's own `LeRobotDataset` in a Python of its own.

`make test-targets` makes that Python and names it in RUSHES_LEROBOT_PYTHON; without it those tests are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pictures import read_frame_number
from publishing import (
    changes_a_caption_and_a_threshold,
    copied,
    go,
    is_completed_after_a_kill,
    numbers,
    recaption,
    takes_all_out_and_brings_it_back,
)
from rushes.errors import RecipeError
from rushes.publish import lerobot_before, lerobot_format
from rushes.records import Row
from stores import Reel
from stores import go as run

PYTHON = os.environ.get("RUSHES_LEROBOT_PYTHON")
needs_lerobot = pytest.mark.skipif(PYTHON is None, reason="RUSHES_LEROBOT_PYTHON names no Python with lerobot: make test-targets does")
EVEN = "clips.fps=25"
KEY = "observation.images.video"
LOADER = """
import json, sys
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
root, into = sys.argv[1:]
try:
    from torchcodec.decoders import VideoDecoder
    backend = "torchcodec"
except (ImportError, RuntimeError):  # it needs FFmpeg's libraries
    backend = "pyav"
data = LeRobotDataset("rushes/clips", root=root, video_backend=backend)
found, pictures = [], {}
for episode in data.meta.episodes:
    [key], rows = data.meta.video_keys, range(episode["dataset_from_index"], episode["dataset_to_index"])
    items = [data[k] for k in rows]
    assert [i["episode_index"].item() for i in items] == [episode["episode_index"]] * episode["length"]
    states = [[*i["observation.state"].tolist(), i["action"].item()] for i in items]
    tasks = {i["task"] for i in items}
    assert len(tasks) == 1
    names = ("clip_id", "caption", "start_pts", "end_pts", "sharpness", "row_hash", "start_s", "uri")
    found.append({**{n: episode[n] for n in names}, "task": tasks.pop(), "states": states, "key": key})
    pictures[episode["clip_id"]] = np.stack([(i[key].mean(0) * 255).round().byte().numpy() for i in items])
assert set(data.meta.stats) >= {key, "observation.state", "action"}
batch = next(iter(__import__("torch").utils.data.DataLoader(data, batch_size=4)))
assert batch[key].shape[0] == 4
np.savez(into, **pictures)
print("FOUND" + json.dumps(found))
"""


def by_lerobot(place: Path) -> list[Row]:
    """The episodes as LeRobot's own loader gives them, each with the numbers drawn in its frames."""
    assert PYTHON is not None
    into = place.parent / "pictures.npz"
    command = [PYTHON, "-W", "ignore", "-c", LOADER, str(place / "LATEST"), str(into)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    rows: list[Row] = json.loads(done.stdout.rpartition("FOUND")[2])
    with np.load(into) as pictures:
        for row in rows:
            row["numbers"] = [read_frame_number(picture) for picture in pictures[row["clip_id"]]]
    return sorted(rows, key=lambda row: str(row["clip_id"]))


def by_format(place: Path) -> list[Row]:
    """The same from the files, as LeRobot 0.4.4 reads them: by info.json, by rows' indices, and tasks by pandas' index."""
    root = place / "LATEST"
    info = json.loads((root / "meta" / "info.json").read_text())
    tasks = pd.read_parquet(root / "meta" / "tasks.parquet")
    files = sorted((root / "meta" / "episodes").glob("*/*.parquet"))
    episodes: list[Row] = [row for file in files for row in pq.read_table(file).to_pylist()]
    data = ds.dataset(sorted(str(file) for file in (root / "data").glob("*/*.parquet"))).to_table() if episodes else pa.table({"index": []})
    assert data["index"].to_pylist() == list(range(info["total_frames"])) and len(episodes) == info["total_episodes"]
    assert sorted(data.column_names) == sorted(name for name, one in info["features"].items() if one["dtype"] != "video") or not episodes
    for number, row in enumerate(episodes):
        rows = data.slice(row["dataset_from_index"], row["length"])
        assert rows["episode_index"].unique().to_pylist() == [row["episode_index"]] == [number]
        assert (
            rows["frame_index"].to_pylist() == list(range(row["length"]))
            and row["dataset_to_index"] - row["dataset_from_index"] == row["length"]
        )
        assert np.allclose(rows["timestamp"].to_numpy(), np.arange(row["length"]) / info["fps"], atol=1e-5)
        [task] = rows["task_index"].unique().to_pylist()
        [row["key"]] = [name for name, one in info["features"].items() if one["dtype"] == "video"]
        row["task"] = tasks.iloc[task].name
        row["states"] = [
            [*state, action] for state, action in zip(rows["observation.state"].to_pylist(), rows["action"].to_pylist(), strict=True)
        ]
        names = {name: row[f"videos/{row['key']}/{name}"] for name in ("chunk_index", "file_index")}
        assert row[f"videos/{row['key']}/from_timestamp"] == 0 and row["tasks"] == [row["task"]]
        row["film"] = root / info["video_path"].format(video_key=row["key"], **names)
        row["numbers"] = numbers(row["film"])
    return sorted(episodes, key=lambda row: str(row["clip_id"]))


def states_of(times: Any) -> pa.Table:
    """Rows of states from which the time can be read."""
    state = [[float(t), 2 * float(t)] for t in times]
    columns = {"timestamp": times, "observation.state": pa.array(state, pa.list_(pa.float32())), "action": pa.array(times, pa.float32())}
    return pa.table({**columns, "done": [False] * len(times), "picture": [b"not taken"] * len(times)})


@pytest.fixture(scope="module")
def states_store(reel: Reel, reel_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reel's store after a run whose list names a table of states, at 50 Hz, for each film. Read only."""
    folder = tmp_path_factory.mktemp("states")
    lines = ["uri,frames_table"]
    for k, path in enumerate(reel.clips):
        pq.write_table(states_of(np.arange(0, 12, 0.02)), folder / f"{k}.parquet")
        lines.append(f"{path},{k}.parquet")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    shutil.copytree(reel_store, folder / "store")
    run([folder / "list.csv"], folder / "store")
    return folder / "store"


READERS = [by_format, pytest.param(by_lerobot, marks=needs_lerobot)]


def has_its_states(row: Row) -> None:
    """Each frame has the row that is nearest in time, of those 20 ms apart; its task is the caption."""
    at = np.array(row["states"])
    assert row["task"] == row["caption"] and row["key"] == KEY
    assert np.allclose(at[:, 0], row["start_s"] + np.arange(len(at)) / 25, atol=0.011)
    assert np.allclose(at[:, 1], 2 * at[:, 0]) and np.allclose(at[:, 2], at[:, 0])
    assert len(row["numbers"]) == len(at) and row["numbers"] == sorted(row["numbers"])


def films_in(place: Path) -> set[int]:
    return {film.stat().st_ino for film in (place / "LATEST").rglob("*.mp4")}


def test_a_clip_is_an_episode(states_store: Path, tmp_path: Path) -> None:
    store, out = copied(states_store, tmp_path / "store"), tmp_path / "out"
    one = (EVEN, "publish.sample=1")
    assert go(store, f"lerobot:{out}", *one).right
    [row], films = by_format(out), films_in(out)
    has_its_states(row)
    recaption(store, row["clip_id"], "a caption that was written later")
    done = go(store, f"lerobot:{out}", *one)
    [after] = by_format(out)
    assert (done.right, done.counts["changed"], after["task"]) == (True, 1, "a caption that was written later")
    assert (after["states"], films_in(out)) == (row["states"], films), "the film is a link"
    stats = json.loads((out / "LATEST" / "meta" / "stats.json").read_text())
    actions = np.array(row["states"])[:, 2]
    for name, value in (("min", actions.min()), ("max", actions.max()), ("mean", actions.mean()), ("std", actions.std())):
        assert stats["action"][name] == pytest.approx([value], rel=1e-6), name
    assert stats["action"]["count"] == [len(actions)] and np.shape(stats[KEY]["mean"]) == (3, 1, 1) and "done" in stats
    for setting, words in (("clips.mode=copy", "clips.mode is copy"), ('publish.columns=["caption"]', "leaves out extra")):
        with pytest.raises(RecipeError, match=words):
            go(store, f"lerobot:{out}", setting)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_a_caption_and_a_threshold_change_what_they_are_about(
    states_store: Path, tmp_path: Path, reader: Callable[[Path], list[Row]]
) -> None:
    store, out = copied(states_store, tmp_path / "store"), tmp_path / "out"
    looks: list[set[int]] = []

    def read() -> list[Row]:
        rows = reader(out)
        looks.append(films_in(out))
        for row in rows:
            has_its_states(row)
        return rows

    changes_a_caption_and_a_threshold(store, f"lerobot:{out}", read, EVEN)
    before, after = looks
    assert after < before, "films are links"
    stats = json.loads((out / "LATEST" / "meta" / "stats.json").read_text())
    actions = ds.dataset(str(out / "LATEST" / "data")).to_table()["action"].to_numpy().astype(float)
    for name, value in (("min", actions.min()), ("max", actions.max()), ("mean", actions.mean()), ("std", actions.std())):
        assert stats["action"][name] == pytest.approx([value], rel=1e-6), name
    assert stats["action"]["count"] == [len(actions)]


@pytest.mark.slow
def test_clips_that_do_not_fit_are_told_with_what_mends_them(reel: Reel, states_store: Path, reel_store: Path, tmp_path: Path) -> None:
    """Frames that are not evenly spaced, no table, and no row near a frame."""
    store = copied(states_store, tmp_path / "store")
    done = go(store, f"lerobot:{tmp_path / 'out'}")
    assert (done.right, done.counts["rows"], done.counts["failed"]) == (False, 2, 2)
    assert all("set clips.fps" in why for why in done.failed.values()), done.failed
    again = go(store, f"lerobot:{tmp_path / 'out'}", EVEN)
    assert again.right and again.counts["rows"] == 4 and len(by_format(tmp_path / "out")) == 4
    tight = go(store, f"lerobot:{tmp_path / 'tight'}", EVEN, "publish.tolerance_s=0.0005", "publish.where=contains(uri, 'uneven')")
    why = min(tight.failed.values())
    assert "no row within 0.0005 s of the frame at " in why and "publish.tolerance_s" in why
    none = go(copied(reel_store, tmp_path / "plain"), f"lerobot:{tmp_path / 'none'}", EVEN, "publish.sample=1")
    assert none.counts["rows"] == 0 and all("frames_table" in why for why in none.failed.values())


@pytest.mark.slow
@pytest.mark.parametrize("where", ["put", "commit", "look"])
def test_killed_anywhere_the_data_set_is_old_or_new(states_store: Path, tmp_path: Path, where: str) -> None:
    store, out = copied(states_store, tmp_path / "store"), tmp_path / "out"
    patches = {
        "put": "import rushes.publish.versions as v; v.Draft.put = die",
        "commit": "import rushes.publish.versions as v; v.Versions.commit = die",
        "look": "import rushes.publish.targets.lerobot as t; t.look_at = die",
    }
    is_completed_after_a_kill(store, f"lerobot:{out}", lambda: by_format(out), patches[where], EVEN, clips="publish.sample=2")
    assert sorted(os.listdir(out)) == ["LATEST", "v001", "v002"]


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_a_data_set_of_lerobot_comes_in_and_goes_out(states_store: Path, tmp_path: Path, reader: Callable[[Path], list[Row]]) -> None:
    """Episodes of a published data set are footage, with their states; files of rows of which nothing changes are links."""
    first = tmp_path / "first"
    assert go(copied(states_store, tmp_path / "store"), f"lerobot:{first}", EVEN, "publish.video_key=observation.images.left").right
    again, out = tmp_path / "again", tmp_path / "out"
    run([f"lerobot:{first}/LATEST"], again, "captions.engine=none", "rules.too_short.min=0")
    keep = ("captions.engine=none", "rules.too_short.min=0", EVEN)
    assert go(again, f"lerobot:{out}", *keep).right
    before, rows = {(row["states"][0][0], len(row["states"])): row for row in by_format(first)}, reader(out)
    assert len(rows) == len(before) == 4
    for row in rows:
        old = before[row["states"][0][0], len(row["states"])]
        assert row["states"] == old["states"] and row["task"] == old["task"] and row["numbers"] == old["numbers"]
        assert row["key"] == "observation.images.left"


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_all_clips_go_and_come_back_at_a_rate_of_television(
    states_store: Path, tmp_path: Path, reader: Callable[[Path], list[Row]]
) -> None:
    store, out = copied(states_store, tmp_path / "store"), tmp_path / "out"
    takes_all_out_and_brings_it_back(store, f"lerobot:{out}", lambda: by_format(out), "clips.fps=29.97")
    info = json.loads((out / "LATEST" / "meta" / "info.json").read_text())
    assert info["fps"] == pytest.approx(30000 / 1001, rel=1e-12)
    rows = reader(out)
    assert len(rows) == 4
    for row in rows:
        assert np.allclose(np.array(row["states"])[:, 0], row["start_s"] + np.arange(len(row["states"])) * 1001 / 30000, atol=0.011)
        assert row["numbers"] == sorted(row["numbers"])


@pytest.mark.slow
def test_files_of_which_no_episode_changes_are_links(states_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one episode a file: a caption changes one; where the first episode goes, the others move up, and their states with them."""
    for module in (lerobot_format, lerobot_before):
        monkeypatch.setattr(module, "BLOCK", 1)
    store, out = copied(states_store, tmp_path / "store"), tmp_path / "out"

    def inodes(pattern: str) -> list[int]:
        return [file.stat().st_ino for file in sorted((out / "LATEST").glob(pattern))]

    go(store, f"lerobot:{out}", EVEN)
    first = sorted(by_format(out), key=lambda row: int(row["episode_index"]))
    data, episodes, films = (inodes(f"{folder}/*/*") for folder in ("data", "meta/episodes", f"videos/{KEY}"))
    assert len(data) == len(episodes) == len(films) == 4
    recaption(store, first[2]["clip_id"], "another caption")
    assert go(store, f"lerobot:{out}", EVEN).counts["changed"] == 1
    for before, folder in ((data, "data"), (episodes, "meta/episodes")):
        assert [old == new for old, new in zip(before, inodes(f"{folder}/*/*"), strict=True)] == [True, True, False, True]
    assert inodes(f"videos/{KEY}/*/*") == films
    recaption(store, first[1]["clip_id"], first[0]["caption"])
    assert go(store, f"lerobot:{out}", EVEN).counts["changed"] == 1
    assert all(row["task"] == row["caption"] for row in by_format(out)), "two clips of one task: later ones have other indices"
    stats = json.loads((out / "LATEST" / "meta" / "stats.json").read_text())
    where = f"publish.where=clip_id != '{first[0]['clip_id']}'"
    assert go(store, f"lerobot:{out}", EVEN, where).right
    rows = sorted(by_format(out), key=lambda row: int(row["episode_index"]))
    assert [row["clip_id"] for row in rows] == [row["clip_id"] for row in first[1:]] and inodes(f"videos/{KEY}/*/*") == films[1:]
    for row, old in zip(rows, first[1:], strict=True):
        assert (row["states"], row["numbers"]) == (old["states"], old["numbers"])
    left = json.loads((out / "LATEST" / "meta" / "stats.json").read_text())
    assert left["action"]["count"] == [sum(len(row["states"]) for row in rows)] and left[KEY]["mean"] != stats[KEY]["mean"]
    assert go(store, f"lerobot:{out}", EVEN).counts["added"] == 1
    assert {row["clip_id"] for row in by_format(out) if row["episode_index"] == 3} == {first[0]["clip_id"]}


WRITER = """
import sys
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
sys.path.insert(0, sys.argv[2])
from pictures import draw_frame_number, texture
features = {
    "observation.state": {"dtype": "float32", "shape": (2,), "names": ["shoulder", "wrist"]},
    "action": {"dtype": "float32", "shape": (1,), "names": None},
    "observation.images.front": {"dtype": "video", "shape": (96, 192, 3), "names": ["height", "width", "channels"]},
}
data = LeRobotDataset.create("them/robot", 10, features, root=sys.argv[1], robot_type="so101", vcodec="h264")
background = texture(192, 96, 7)
for episode, n in enumerate((30, 45)):
    for k in range(n):
        picture = draw_frame_number(background.copy(), 100 * episode + k)
        state = np.array([episode + k / 100, k], np.float32)
        frame = {"observation.state": state, "action": state[:1], "observation.images.front": picture, "task": f"task {episode}"}
        data.add_frame(frame)
    data.save_episode()
data.finalize()
"""


@needs_lerobot
@pytest.mark.slow
def test_what_lerobot_has_written_comes_out_as_it_was(tmp_path: Path) -> None:
    """Its own files: two episodes in one film and one table, whose times begin anew in each."""
    first, store, out = tmp_path / "first", tmp_path / "store", tmp_path / "out"
    command = [str(PYTHON), "-W", "ignore", "-c", WRITER, str(first), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    settings = ("captions.engine=none", "rules.too_short.min=0")
    assert run([f"lerobot:{first}"], store, *settings).counts["clips_kept"] == 2
    assert go(store, f"lerobot:{out}", *settings).right
    info = json.loads((out / "LATEST" / "meta" / "info.json").read_text())
    old = json.loads((first / "meta" / "info.json").read_text())
    for name in ("fps", "robot_type", "total_episodes", "total_frames", "total_tasks"):
        assert info[name] == old[name], name
    for name in ("observation.state", "action"):
        assert info["features"][name] == old["features"][name], name
    rows = sorted(by_lerobot(out), key=lambda row: str(row["task"]))
    for episode, (row, n) in enumerate(zip(rows, (30, 45), strict=True)):
        assert (row["task"], row["key"]) == (f"task {episode}", "observation.images.front")
        assert row["numbers"] == [100 * episode + k for k in range(n)]
        assert np.allclose(row["states"], [[episode + k / 100, k, episode + k / 100] for k in range(n)])
