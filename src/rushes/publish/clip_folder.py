"""Folders of clip files: what the targets `files:`, `hf:` and `jsonl:` have in common.

    DIR/vNNN/clips/NAME.mp4      a file a clip, named by its source, its times and its clip
    DIR/vNNN/_index.parquet      which clip is which file, and what it holds
    DIR/vNNN/...                 what each format has besides

A file whose clip and settings stay the same is linked from the version before, also where the clip's caption has changed.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, BinaryIO

from rushes.errors import RecipeError
from rushes.media import storage
from rushes.media.address import protocol_of
from rushes.media.guard import Stopped
from rushes.publish.changes import Changes
from rushes.publish.chosen import KEYS
from rushes.publish.clip_files import ClipFile, ClipFiles
from rushes.publish.clip_media import file_print
from rushes.publish.clip_names import name_of
from rushes.publish.film_facts import FilmFacts, film_facts
from rushes.publish.row_hash import ROW_HASH
from rushes.publish.target import Context, Film, Held, ReadBack, Record, Target, Written
from rushes.publish.versions import Draft, Folder, Version, Versions, link_or_copy, opened_file
from rushes.records import Row
from rushes.results.lines import rows_of

if TYPE_CHECKING:
    import pyarrow as pa

INDEX = "_index.parquet"
"""Readers of folders pass over names that begin so."""
COPY_BYTES = 8 << 20
INDEX_ROWS = 1 << 14
FACTS = [one.name for one in fields(FilmFacts)]


@dataclass(frozen=True, slots=True)
class FolderClip:
    """A clip in a folder.

    Attributes:
        row: its columns, as `Changes.rows` gives them.
        file: its file, inside the version.
        facts: what the file holds.
        same: nothing of the clip differs from the version before, whose files about it can be linked.
        suffix: of the film: mp4, mov or mkv.
    """

    row: Row
    file: str
    facts: FilmFacts
    same: bool
    suffix: str

    def line(self, columns: Sequence[str], file: str) -> Row:
        """The clip as a line of a list of files: the file, the caption as `text`, the published columns, and what the file holds."""
        about_file = {f"file_{name}": value for name, value in asdict(self.facts).items()}
        return {"file_name": file, "text": self.row["caption"], **{name: self.row[name] for name in columns}, **about_file}


class ClipVersions(Target):
    """A folder of versions with an index of the clips of each."""

    takes = "all"

    def __init__(self, place: str, context: Context) -> None:
        super().__init__(place, context)
        self._versions = Versions(place, context.options)

    def form(self) -> Row:
        """What makes all files but those of clips be written anew when it changes."""
        return {}

    def layout(self, schema: pa.Schema) -> str:
        """How clip files are made, and the format's own settings.

        Raises:
            RecipeError: the caption, which every format writes, is not among the published columns.
        """
        if "caption" not in schema.names:
            what = "publish.columns leaves out caption, which this target writes beside each clip"
            raise RecipeError(what, step="publish", mend="name caption in publish.columns, too")
        return json.dumps({"files": file_print(self.context.results.recipe), "form": self.form()}, sort_keys=True)

    def held(self) -> Held | None:
        """The version that LATEST names."""
        latest = self._versions.latest()
        return Held(latest.name, latest.record) if latest else None

    def held_rows(self) -> Iterator[pa.Table]:
        """Reads three columns of the version's index."""
        yield self._index(self._latest()).select([*KEYS, ROW_HASH])

    @property
    def n_without_caption(self) -> int:
        """Clips of the version that have no caption."""
        import pyarrow.compute as pc

        index = self._index(self._latest())
        return index.num_rows - int(pc.sum(index["captioned"]).as_py() or 0)

    def _latest(self) -> Version:
        latest = self._versions.latest()
        assert latest is not None
        return latest

    def _known(self, before: Version | None, record: Record) -> Known:
        """What the version before has that a publish can use again."""
        if before is None or json.loads(before.record.layout)["files"] != json.loads(record.layout)["files"]:
            return Known(FolderIndex.empty(), False)
        same_form = (before.record.layout, before.record.columns) == (record.layout, record.columns)
        return Known(self._index(before), same_form)

    def _index(self, version: Version) -> pa.Table:
        import pyarrow.parquet as pq

        with opened_file(f"{version.uri}/{INDEX}", self.context.options) as file:
            return pq.read_table(file)


class ClipFileVersions(ClipVersions):
    """A folder of versions in which each clip has a file of its own."""

    @abstractmethod
    def reader(self, folder: str, clip_ids: Collection[str]) -> tuple[str, int, list[Row] | None]:
        """The reader, how many clips it finds in a version, and the rows of some; None where the format does not hold all columns."""

    def read_back(self, clip_ids: Sequence[str], schema: pa.Schema) -> ReadBack:
        """Reads the version by the consumer's reader, and looks whether all clip files are there, as large as they were."""
        import pyarrow.compute as pc

        latest = self._latest()
        index, there = self._index(latest), {file.uri: file.size or 0 for file in storage.listing(latest.uri, self.context.options)}
        whole = [there.get(f"{latest.uri}/{row['file']}") == row["bytes"] for row in index.select(["file", "bytes"]).to_pylist()]
        name, n_rows, rows = self.reader(latest.uri, frozenset(clip_ids))
        wanted: Any = pc.is_in(index["clip_id"], value_set=texts(clip_ids))
        films = {
            row["clip_id"]: Film(storage.open_seekable(f"{latest.uri}/{row['file']}", self.context.options), row["n_frames"])
            for row in index.filter(wanted).to_pylist()
        }
        sample = sample_of(rows, schema) if rows is not None else None
        return ReadBack(name, min(n_rows, sum(whole)), sum(there.values()), sample, films)


class ClipFolder(ClipFileVersions):
    """A folder of clip files; a format says what lies beside them.

    Attributes:
        folder: where clip files lie, inside the version.
    """

    folder = "clips"

    @abstractmethod
    def writer(self, draft: Draft, changes: Changes, record: Record, stack: ExitStack) -> FolderWriter:
        """What writes the files of the format; `stack` is left when the version has been written, or given up."""

    def write(self, changes: Changes, record: Record) -> Written:
        """Cuts the files of new clips, links the others, and has the format write its own."""
        draft, failed = self._versions.begin(), dict[str, str]()
        with ExitStack() as stack:
            index = stack.enter_context(FolderIndex())
            files = stack.enter_context(ClipFiles.of_target(self.context, f"{draft.uri}/{self.folder}", name_of))
            writer = self.writer(draft, changes, record, stack)
            known = self._known(draft.before, record)
            for table in changes.rows():
                for clip in self._clips(draft, table, known, files, failed):
                    writer.add(clip)
                    index.add(clip)
                    if clip.row["state"] != "unchanged":
                        self.context.tell(1)
            writer.finish()
            draft.put(INDEX, index.written)
        self.context.check()
        draft.commit(record, self.context.settings.versions)
        return Written(draft.name, draft.bytes, failed)

    def _clips(self, draft: Draft, table: pa.Table, known: Known, files: ClipFiles, failed: dict[str, str]) -> Iterator[FolderClip]:
        """The clips of a table, in its order, whose files are in the version now."""
        import pyarrow.compute as pc

        there = known.files(table)
        new: Any = pc.is_null(there["file"])
        made = {one.row["clip_id"]: self._placed(draft, one) for one in files.made([table.filter(new)], failed, self.context.tell)}
        for row, old in zip(rows_of(table, dict), there.to_pylist(), strict=True):
            if self.context.stop():
                raise Stopped
            if old["file"] is not None:
                assert draft.before is not None
                suffix = old["suffix"]
                file = f"{self.folder}/{name_of(row)}.{suffix}"
                same = row["state"] == "unchanged" and known.same_form and old["file"] == file
                link_or_copy(f"{draft.before.uri}/{old['file']}", f"{draft.uri}/{file}", self.context.options)
                yield FolderClip(row, file, facts_in(old), same, suffix)
            elif row["clip_id"] in made:
                yield made.pop(row["clip_id"])

    def _placed(self, draft: Draft, one: ClipFile) -> FolderClip:
        """A file that was made: where it was cut, or linked from where the store has it."""
        facts = film_facts(one.uri, self.context.options)
        file = f"{self.folder}/{name_of(one.row)}.{one.uri.rpartition('.')[2]}"
        if one.made is not None:
            draft.bytes += facts.bytes
        else:
            put_film(draft, one.uri, file, facts, self.context.options)
        return FolderClip(one.row, file, facts, False, one.uri.rpartition(".")[2])


def put_film(draft: Draft, uri: str, file: str, facts: FilmFacts, options: storage.Options, *, is_scratch: bool = False) -> None:
    """Gives a version a clip file that lies elsewhere: a link, or a copy that the store makes, where both are in one store, else its bytes.
    A scratch file is always copied.
    """
    if protocol_of(uri) == protocol_of(draft.uri) and not is_scratch:
        link_or_copy(uri, f"{draft.uri}/{file}", options)
    else:
        draft.put(file, _copier(uri, facts.bytes, options))


def sample_of(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Rows that were read from JSON, in the types of the published columns."""
    import pyarrow as pa

    return pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema)


def lines_of(uri: str, options: storage.Options) -> Iterator[Row]:
    """The rows of a file of JSON lines."""
    with opened_file(uri, options) as file:
        for line in file:
            yield json.loads(line)


class FolderWriter:
    """Writes what a format has besides clip files. This one writes nothing.

    Args:
        draft: the version, or another folder, that is being written.
        columns: the published columns.
    """

    def __init__(self, draft: Folder, columns: Sequence[str]) -> None:
        self.draft, self.columns = draft, columns

    def add(self, clip: FolderClip) -> None:
        """Takes a clip whose file is in the version."""

    def finish(self) -> None:
        """Writes what is left, when all clips have come."""


class ListWriter(FolderWriter):
    """Writes one list of all clips, through a scratch file.

    Args:
        draft: the version that is being written.
        columns: the published columns.
        name: the list's name in the version.
        stack: is left when the scratch file may go.
        head, between, tail: what comes before the lines, between two of them and after them, such as the brackets of a JSON array.
    """

    def __init__(
        self, draft: Folder, columns: Sequence[str], name: str, stack: ExitStack, *, head: str = "", between: str = "\n", tail: str = "\n"
    ) -> None:
        super().__init__(draft, columns)
        self._name, self._between, self._tail = name, between.encode(), tail.encode()
        self._file: Any = stack.enter_context(tempfile.TemporaryFile(prefix="rushes-publish-"))  # noqa: SIM115
        self._file.write(head.encode())
        self._any = False

    def line(self, text: str) -> None:
        """Adds one line."""
        self._file.write((self._between if self._any else b"") + text.encode())
        self._any = True

    def finish(self) -> None:
        """Puts the list in its place."""
        if self._any or self._tail != b"\n":  # a list of lines that has none is an empty file
            self._file.write(self._tail)
        self._file.seek(0)
        self.draft.put(self._name, lambda out: shutil.copyfileobj(self._file, out))


class FolderIndex:
    """The index of a version, written through a scratch file. Use it as a context manager."""

    def __init__(self) -> None:
        self._schema = FolderIndex.empty().schema
        self._rows: list[Row] = []
        self._stack = ExitStack()

    @staticmethod
    def empty() -> pa.Table:
        """An index without a clip: its file; where in that the film begins, where other things lie there too; and what it holds."""
        import pyarrow as pa

        texts, numbers = [*KEYS, ROW_HASH, "file", "suffix"], ["at", "n_frames", "width", "height", "bytes"]
        fields = [pa.field(name, pa.string()) for name in texts] + [pa.field(name, pa.int64()) for name in numbers]
        return pa.schema([*fields, pa.field("fps", pa.float64()), pa.field("captioned", pa.bool_())]).empty_table()

    def __enter__(self) -> FolderIndex:
        import pyarrow.parquet as pq

        self._file: Any = self._stack.enter_context(tempfile.TemporaryFile(prefix="rushes-publish-"))
        self._writer = self._stack.enter_context(pq.ParquetWriter(self._file, self._schema, compression="zstd"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, clip: FolderClip, at: int = 0) -> None:
        """Takes a clip. `at`: where its film begins in its file, bytes."""
        row = {**{name: clip.row[name] for name in (*KEYS, ROW_HASH)}, "file": clip.file, "suffix": clip.suffix, "at": at}
        self._rows.append({**row, **asdict(clip.facts), "captioned": clip.row["caption"] is not None})
        if len(self._rows) >= INDEX_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._rows = []

    def written(self, out: BinaryIO) -> None:
        """Writes the whole index into a file."""
        self._flush()
        self._writer.close()
        self._file.seek(0)
        shutil.copyfileobj(self._file, out)


@dataclass(frozen=True, slots=True)
class Known:
    """What the version before has that can be used again.

    Attributes:
        index: of its clips; without a row where clip files are made in another way now.
        same_form: whether the files about a clip have the same form now.
    """

    index: pa.Table
    same_form: bool

    def files(self, rows: pa.Table) -> pa.Table:
        """`file`, `at`, `suffix` and what the film holds, for each row; nulls where there is none that can be used."""
        import pyarrow.compute as pc

        names = ["file", "at", "suffix", *FACTS]
        return self.index.select(names).take(pc.index_in(rows["clip_id"], value_set=self.index["clip_id"].combine_chunks()))


def facts_in(row: Row) -> FilmFacts:
    """What a row of `Known.files` says of the film."""
    return FilmFacts(**{name: row[name] for name in FACTS})


def _copier(uri: str, size: int, options: storage.Options) -> Callable[[BinaryIO], None]:
    """Writes the bytes of a file into another one, piece by piece."""

    def copy(out: BinaryIO) -> None:
        with storage.ranges(uri, options, size) as read:
            for start in range(0, size, COPY_BYTES):
                out.write(read(start, min(COPY_BYTES, size - start)))

    return copy


def texts(values: Sequence[str]) -> Any:
    """An Arrow array of texts, which knows its type when it is empty."""
    import pyarrow as pa

    return pa.array(values, pa.string())
