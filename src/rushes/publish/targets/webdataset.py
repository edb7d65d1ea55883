"""`webdataset:DIR`: tar shards with film, columns, caption and a picture of each clip.

A shard of which no clip has changed is linked from the version before. The clips of the others, and new ones, go to new shards; films whose
settings stay the same are taken out of the old shard and not cut again.
"""

from __future__ import annotations

import importlib.util
import io
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from rushes.media import storage
from rushes.media.guard import Stopped
from rushes.publish.changes import Changes
from rushes.publish.clip_files import ClipFiles
from rushes.publish.clip_folder import INDEX, ClipVersions, FolderClip, FolderIndex, Known, facts_in, sample_of, texts
from rushes.publish.film_facts import FilmFacts, film_facts
from rushes.publish.media_rows import ClipFrames, content_of
from rushes.publish.shards import Shards, bucket_of
from rushes.publish.target import Context, Film, ReadBack, Record, Written
from rushes.publish.versions import Draft, opened_file
from rushes.records import Row
from rushes.results.lines import json_line, rows_of

if TYPE_CHECKING:
    import pyarrow as pa

WIDS = "index.json"
"""The list of shards, in the form of the library's `wids`."""


class WebDatasetTarget(ClipVersions):
    """See the module."""

    def __init__(self, place: str, context: Context) -> None:
        super().__init__(place, context)
        self._middles = ClipFrames(context, 1)

    def form(self) -> Row:
        """How clips are put into shards."""
        return {"buckets": list(self.context.settings.buckets), "shard_mb": self.context.settings.shard_mb}

    def write(self, changes: Changes, record: Record) -> Written:
        """Links the shards that stay, and writes the others."""
        draft, failed = self._versions.begin(), dict[str, str]()
        old = _Old(self._known(draft.before, record), changes)
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rushes-publish-"))
            files = stack.enter_context(ClipFiles.of_target(self.context, folder))
            shards = stack.enter_context(Shards(draft, self.context.settings.shard_mb, old.first))
            index = stack.enter_context(FolderIndex())
            for name in sorted(old.kept):
                draft.keep(name)
            for table in changes.rows():
                for row, there in zip(rows_of(table, dict), old.rows(table).to_pylist(), strict=True):
                    if there["file"] in old.kept:
                        shards.counts[there["file"]] = shards.counts.get(there["file"], 0) + 1
                        index.add(FolderClip(row, there["file"], facts_in(there), True, there["suffix"]), there["at"])
                for clip, at in self._new(draft, table, old, files, shards, changes.columns, failed):
                    index.add(clip, at)
                    if clip.row["state"] != "unchanged":
                        self.context.tell(1)
            shards.finish()
            listed = [{"url": name, "nsamples": n} for name, n in sorted(shards.counts.items())]
            draft.put(WIDS, json.dumps({"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": listed}, indent=1).encode())
            draft.put(INDEX, index.written)
        self.context.check()
        draft.commit(record, self.context.settings.versions)
        return Written(draft.name, draft.bytes, failed)

    def _new(
        self, draft: Draft, table: pa.Table, old: _Old, files: ClipFiles, shards: Shards, columns: Sequence[str], failed: dict[str, str]
    ) -> Iterator[tuple[FolderClip, int]]:
        """The clips of a table that go to new shards, each with where its film begins: first those whose film lies in an old shard."""
        import pyarrow.compute as pc

        there = old.rows(table)
        moved: Any = pc.and_(pc.is_valid(there["file"]), pc.invert(pc.is_in(there["file"], value_set=texts(sorted(old.kept)))))
        new: Any = pc.is_null(there["file"])
        for row, was in zip(rows_of(table.filter(moved), dict), there.filter(moved).to_pylist(), strict=True):
            assert draft.before is not None
            with storage.ranges(f"{draft.before.uri}/{was['file']}", self.context.options) as read:
                yield self._added(shards, row, facts_in(was), read(was["at"], was["bytes"]), was["suffix"], columns)
        for one in files.made([table.filter(new)], failed, self.context.tell):
            facts, data = film_facts(one.uri, self.context.options), content_of(one.uri, self.context.options)
            if one.made is not None:
                Path(one.uri).unlink()
            yield self._added(shards, one.row, facts, data, one.uri.rpartition(".")[2], columns)

    def _added(
        self, shards: Shards, row: Row, facts: FilmFacts, film: bytes, suffix: str, columns: Sequence[str]
    ) -> tuple[FolderClip, int]:
        """Puts a clip into a shard; gives it, and where its film begins there."""
        if self.context.stop():
            raise Stopped
        clip, key = FolderClip(row, "", facts, False, suffix), str(row["clip_id"])
        parts = {suffix: film, "json": json_line(clip.line(columns, f"{key}.{suffix}")).encode()}
        if row["caption"] is not None:
            parts["txt"] = row["caption"].encode()
        if pictures := self._middles.of(row):
            (parts["jpg"],) = pictures.values()
        name, at = shards.add(bucket_of(facts, self.context.settings.buckets), key, parts)
        return FolderClip(row, name, facts, False, suffix), at

    def read_back(self, clip_ids: Sequence[str], schema: pa.Schema) -> ReadBack:
        """Counts by the heads of the tar files, which are read without the films; reads the shards of the sample by the library."""
        import tarfile

        latest = self._latest()
        index, there = self._index(latest), {file.uri: file.size or 0 for file in storage.listing(latest.uri, self.context.options)}
        n = 0
        for uri in (uri for uri in there if uri.endswith(".tar")):
            with opened_file(uri, self.context.options) as file, tarfile.open(fileobj=file, mode="r:") as tar:
                n += sum(member.name.endswith(".json") for member in tar)
        rows, films, wanted = [], {}, set(clip_ids)
        chosen = [row for row in index.select(["clip_id", "file", "n_frames"]).to_pylist() if row["clip_id"] in wanted]
        frames = {row["clip_id"]: row["n_frames"] for row in chosen}
        reader, samples = self._library(latest.uri, sorted({row["file"] for row in chosen}))
        for sample in samples:
            if (key := str(sample["__key__"]).rpartition("/")[2]) in wanted:
                rows.append(json.loads(sample["json"]))
                film = next(sample[suffix] for suffix in ("mp4", "mov", "mkv") if suffix in sample)
                films[key] = Film(io.BytesIO(film), frames[key])
        return ReadBack(reader, n, sum(there.values()), sample_of(rows, schema), films)

    def _library(self, folder: str, names: Sequence[str]) -> tuple[str, Iterator[Row]]:
        """The samples of some shards, by the webdataset library where it is installed."""
        here = importlib.util.find_spec("webdataset") is not None
        grouped = _by_library if here else _by_tarfile

        def samples() -> Iterator[Row]:
            for name in names:
                with opened_file(f"{folder}/{name}", self.context.options) as shard:
                    yield from grouped(shard)

        return f"webdataset {version('webdataset')}" if here else "tarfile", samples()


def _by_library(shard: BinaryIO) -> Iterator[Row]:
    """The samples of a shard, as the library's own readers of tar files group them."""
    from webdataset.tariterators import group_by_keys, tar_file_iterator

    files = ({**file, "__url__": ""} for file in tar_file_iterator(shard))
    yield from group_by_keys(files)


class _Old:
    """What the version before holds, and which of its shards can stay."""

    def __init__(self, known: Known, changes: Changes) -> None:
        import pyarrow.compute as pc

        self._known = known
        self.kept: set[str] = set()
        if not known.same_form:
            return
        same: Counter[str] = Counter()
        for table in changes.rows("unchanged"):
            same.update(name for name in known.files(table)["file"].to_pylist() if name is not None)
        held: Any = pc.value_counts(known.index["file"])
        self.kept = {one["values"] for one in held.to_pylist() if same[one["values"]] == one["counts"]}

    def rows(self, table: pa.Table) -> pa.Table:
        """What is known of the film of each row; nulls where there is none that can be used."""
        return self._known.files(table)

    def first(self, bucket: str) -> int:
        """The number of a bucket's first new shard: after all that the version before has."""
        folder = f"{bucket}/".lstrip("/")
        names = {str(name) for name in self._known.index["file"].unique().to_pylist()}
        numbers = [int(name[len(folder) : -len(".tar")]) for name in names if name.startswith(folder) and "/" not in name[len(folder) :]]
        return max(numbers, default=-1) + 1


def _by_tarfile(shard: BinaryIO) -> Iterator[Row]:
    """The samples of a shard, whose files follow each other."""
    import tarfile

    with tarfile.open(fileobj=shard) as tar:
        for key, members in groupby(tar, key=lambda member: member.name.partition(".")[0]):
            sample: Row = {"__key__": key}
            for member in members:
                file = tar.extractfile(member)
                assert file is not None
                sample[member.name.partition(".")[2]] = file.read()
            yield sample
