"""The target `paimon:`, read back by pypaimon in its own Python: `to_arrow(splits)`, Blob streams, `pypaimon.daft`.

`make test-targets` makes that Python and names it in RUSHES_PAIMON_PYTHON; without it these tests are skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest

from conftest import ours
from consumers import PAIMON as PYTHON
from consumers import in_paimon
from consumers import paimon_rows as loaded
from pictures import read_frame_number
from publishing import (
    changes_a_caption_and_a_threshold,
    copied,
    drawn,
    go,
    is_completed_after_a_kill,
    numbers,
    recaption,
    same,
    takes_all_out_and_brings_it_back,
    wanted,
)
from ray_runs import until
from rushes.errors import MissingExtra, UsageError
from stores import SRC, Reel

needs_paimon = pytest.mark.skipif(PYTHON is None, reason="RUSHES_PAIMON_PYTHON names no Python with pypaimon: make test-targets does")
SETTING = f"publish.paimon_python={PYTHON}"
DAFT = """
import daft
from pypaimon.daft import read_paimon
daft.set_runner_native()
show(read_paimon("videos.clips", {"warehouse": WAREHOUSE}).select("clip_id", "caption").to_pylist())
"""
STREAMS = """
from pypaimon.common.uri_reader import UriReader
from pypaimon.table.row.blob import Blob, BlobDescriptor
described = table.copy({"blob-as-descriptor": "true"})
builder = described.new_read_builder().with_projection(["clip_id", "video"])
found = builder.new_read().to_arrow(builder.new_scan().plan().splits())
files = {}
for clip, raw in zip(found["clip_id"].to_pylist(), found["video"].to_pylist()):
    blob = Blob.from_descriptor(UriReader.from_file(table.file_io), BlobDescriptor.deserialize(raw))
    files[clip] = os.path.join(INTO, clip + ".mp4")
    with blob.new_input_stream() as stream, open(files[clip], "wb") as file:
        stream.seek(0)
        file.write(stream.read(-1))
show(files)
"""


def numbers_inside(path: str, row: dict[str, Any]) -> list[int]:
    """The numbers drawn in the frames of a file that are in a clip's span."""
    with av.open(path) as container:
        frames = list(container.decode(video=0))
    inside = [f for f in frames if f.pts is not None and row["start_pts"] <= f.pts < row["end_pts"]]
    return [read_frame_number(frame.to_ndarray(format="gray")) for frame in inside]


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@needs_paimon
def test_descriptors_lead_to_the_footage_and_no_byte_of_it_is_copied(reel: Reel, reel_store: Path, tmp_path: Path) -> None:
    store, lake = copied(reel_store, tmp_path / "store"), tmp_path / "lake"
    done = changes_a_caption_and_a_threshold(store, f"paimon:{lake}#videos.clips", lambda: loaded(lake), SETTING)
    footage = sum(Path(uri).stat().st_size for uri in reel.clips)
    assert done.bytes < 80_000 and size(lake) < 200_000 < footage, "no video was copied"
    truth = {row["clip_id"]: row for row in loaded(lake)}
    files = in_paimon(lake, STREAMS, tmp_path)
    assert files.keys() == truth.keys()
    for clip, path in files.items():
        assert Path(path).read_bytes() == Path(truth[clip]["uri"]).read_bytes()
        assert numbers_inside(path, truth[clip]) == drawn(reel, truth[clip])
    found = {row["clip_id"]: row["caption"] for row in in_paimon(lake, DAFT)}
    assert found == {clip: row["caption"] for clip, row in truth.items()}


@needs_paimon
def test_bytes_are_those_of_clip_files_and_a_late_caption_leaves_them(reel: Reel, reel_store: Path, tmp_path: Path) -> None:
    store, lake = copied(reel_store, tmp_path / "store"), tmp_path / "lake"
    to, by_bytes = f"paimon:{lake}#videos.clips", (SETTING, "publish.bytes=true")
    columns = 'publish.columns=["caption", "uri", "start_pts", "end_pts"'
    assert go(store, to, *by_bytes, f"{columns}]").right
    whole = size(lake)
    blobs = {path: path.stat().st_mtime_ns for path in lake.rglob("*.blob")}
    recaption(store, wanted(store)[0]["clip_id"], "late")
    done = go(store, to, *by_bytes, f'{columns}, "sharpness"]')
    assert done.right and done.checked is not None and done.checked.frames > 50, done
    assert done.bytes < whole / 3 and blobs and blobs.items() <= {path: path.stat().st_mtime_ns for path in lake.rglob("*.blob")}.items()
    rows = {row["clip_id"]: row for row in loaded(lake)}
    assert same([rows[clip] for clip in sorted(rows)], wanted(store))
    files = in_paimon(lake, STREAMS, tmp_path)
    assert {clip: numbers(Path(path)) for clip, path in files.items()} == {clip: drawn(reel, row) for clip, row in rows.items()}
    with pytest.raises(UsageError, match="holds bytes"):
        go(store, to, SETTING)


@needs_paimon
@pytest.mark.parametrize("where", ["prepare", "commit", "record_published"])
def test_killed_anywhere_it_is_old_or_new_and_publishing_again_completes_it(reel_store: Path, tmp_path: Path, where: str) -> None:
    lake = tmp_path / "lake"
    ask = "import rushes.media.paimon_client as c; ask = c.PaimonProcess.ask"
    patches = {
        "prepare": f"{ask}\nc.PaimonProcess.ask = lambda self, do, **more: (die() if do == 'prepare' else ask(self, do, **more))",
        "commit": f"{ask}\nc.PaimonProcess.ask = lambda self, do, **more: (die() if do == 'commit' else ask(self, do, **more))",
        "record_published": "import rushes.publish.publish as p; p.record_published = die",
    }
    store, after = copied(reel_store, tmp_path / "store"), where == "record_published"
    is_completed_after_a_kill(store, f"paimon:{lake}#videos.clips", lambda: loaded(lake), patches[where], SETTING, committed=after)


def test_its_process_ends_with_a_publish_that_is_killed_while_it_starts(tmp_path: Path) -> None:
    """It imports for seconds before it can look at its input: here pypaimon stands still."""
    (tmp_path / "pypaimon.py").write_text("import time; time.sleep(60)")
    code = "import sys; from rushes.media.paimon_client import PaimonProcess; PaimonProcess(sys.executable, 'paimon:x', {}, 'videos.clips')"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(SRC)])}
    with subprocess.Popen([sys.executable, "-c", code], env=env) as publish:
        until(lambda: any("paimon_process" in command for command in ours().values()))
        publish.kill()
    until(lambda: not any("paimon_process" in command for command in ours().values()), within_s=2.0)


@needs_paimon
def test_a_table_may_be_emptied_and_filled_again(reel_store: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    store = copied(reel_store, tmp_path / "store")
    takes_all_out_and_brings_it_back(store, f"paimon:{lake}#videos.clips", lambda: loaded(lake), SETTING)


def test_it_says_how_to_get_its_python(reel_store: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'pypaimon==2\.1\.\*'"):
        go(reel_store, f"paimon:{tmp_path}#videos.clips", f"publish.paimon_python={tmp_path / 'python'}")
    with pytest.raises(UsageError, match="names no table"):
        go(reel_store, f"paimon:{tmp_path}", SETTING)
