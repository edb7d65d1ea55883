"""`lerobot:DIR`: a LeRobotDataset of version 3.0. A clip is an episode: film, a row of states for each frame, and the caption as its task.

Episodes that were there before keep their order, and new ones follow them. Films are linked; rows of states are taken from the version
before where nothing of the clip has changed, and files of rows linked where none of their episodes has.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator, MutableMapping
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rushes.errors import FootageError, RecipeError
from rushes.media import storage
from rushes.media.encoding import encoding_of
from rushes.media.guard import Stopped
from rushes.publish import lerobot_format as form
from rushes.publish.changes import Changes
from rushes.publish.clip_files import ClipFile, ClipFiles
from rushes.publish.clip_folder import INDEX, ClipFileVersions, FolderClip, FolderIndex, facts_in, put_film, texts
from rushes.publish.clip_media import cutting_recipe
from rushes.publish.film_facts import FilmFacts, film_facts
from rushes.publish.frame_tables import FrameTable, source_names
from rushes.publish.lerobot_before import Before
from rushes.publish.lerobot_book import Book, Episode
from rushes.publish.lerobot_films import Look, look_at
from rushes.publish.media_rows import content_of
from rushes.publish.sorted_rows import sorted_rows
from rushes.publish.target import Record, Written
from rushes.publish.versions import opened_file
from rushes.records import Row
from rushes.results.lines import rows_of

if TYPE_CHECKING:
    import pyarrow as pa

KEY = "observation.images.video"
BEFORE = "episode_before"
SUFFIX = "mp4"
FIX_RATE = "set clips.fps to a rate, so that clips are encoded with evenly spaced frames"


class LerobotTarget(ClipFileVersions):
    """See the module."""

    def form(self) -> Row:
        """How rows are found, and the name of the video."""
        return {"video_key": self.context.settings.video_key, "tolerance_s": self.context.settings.tolerance_s}

    def layout(self, schema: pa.Schema) -> str:
        """How films and rows are made.

        Raises:
            RecipeError: columns are missing that tell of captions and of tables of states, or have a name that LeRobot uses; or films are
                stream copies, which do not begin with the clip.
        """
        text = super().layout(schema)
        if "extra" not in schema.names:
            what = "publish.columns leaves out extra, which names the tables of states"
            raise RecipeError(what, step="publish", mend="name extra in publish.columns, too")
        if twice := sorted(set(form.OF_EPISODE) & set(schema.names)):
            raise RecipeError(f"LeRobot has a column {twice[0]} of its own", step="publish", mend="leave it out of publish.columns")
        if cutting_recipe(self.context.results.recipe).clips.mode == "copy":
            what = "clips.mode is copy, and a copied file begins before its clip, so its frames and the rows of states do not agree"
            raise RecipeError(what, step="publish", mend='set clips.mode = "encode"')
        return text

    def write(self, changes: Changes, record: Record) -> Written:
        """Links the films that are there, cuts new ones, and writes the tables."""
        draft, failed, of = self._versions.begin(), dict[str, str](), self.context
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rushes-publish-"))
            files = stack.enter_context(ClipFiles.of_target(of, folder))
            index = stack.enter_context(FolderIndex())
            before = Before(draft.before, self._known(draft.before, record), of.options)
            key, robot_type = self._named(changes)
            maker = _Maker(self, before, Book(draft, before, changes.schema, key), failed)
            if changes.counts["unchanged"] and before.known.same_form and before.key == key:
                maker.book.features = before.features or None
            for episode in chain(maker.old(changes), maker.new(changes, files)):
                if of.stop():
                    raise Stopped
                assert maker.fps is not None
                file = maker.book.add(episode, maker.fps)
                put_film(draft, episode.film, file, episode.facts, of.options, is_scratch=episode.is_cut)
                index.add(FolderClip(episode.row, file, episode.facts, episode.frames is None, SUFFIX))
                if episode.row["state"] != "unchanged":
                    of.tell(1)
            maker.finish(robot_type)
            draft.put(INDEX, index.written)
        of.check()
        draft.commit(record, of.settings.versions)
        return Written(draft.name, draft.bytes, failed)

    def _named(self, changes: Changes) -> tuple[str, str | None]:
        """The name of the video, and the robot, if all clips have one."""
        cameras, robots = set(), set()
        for table in changes.rows():
            for extra in table["extra"].to_pylist():
                columns = json.loads(extra) if extra else {}
                cameras.add(columns.get("camera"))
                robots.add(columns.get("robot_type"))
        camera = cameras.pop() if len(cameras) == 1 else None
        key = self.context.settings.video_key or str(camera or KEY)
        if "/" in key:
            raise RecipeError(f"the video is named {key!r}, and LeRobot takes no slash", step="publish", mend="set publish.video_key")
        return key, robots.pop() if len(robots) == 1 else None

    def reader(self, folder: str, clip_ids: Collection[str]) -> tuple[str, int, list[Row]]:
        """Reads the tables as they are written: LeRobot's own reader needs another PyAV than Rushes. An episode counts where `info.json`
        counts it and all of its rows are there.
        """
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        options, some, n, n_rows = self.context.options, [], 0, 0
        info = json.loads(content_of(f"{folder}/{form.INFO}", options))
        for file in sorted(storage.listing(f"{folder}/data", options, ".parquet"), key=lambda one: one.uri):
            with opened_file(file.uri, options) as opened:
                n_rows += pq.read_metadata(opened).num_rows
        for file in sorted(storage.listing(f"{folder}/meta/episodes", options, ".parquet"), key=lambda one: one.uri):
            with opened_file(file.uri, options) as opened:
                rows = pq.read_table(opened)
            whole: Any = pc.less_equal(rows["dataset_to_index"], pa.scalar(min(n_rows, info["total_frames"])))
            n += pc.sum(whole).as_py() or 0
            some += rows.filter(pc.is_in(rows["clip_id"], value_set=texts(sorted(clip_ids)))).to_pylist()
        return f"pyarrow {pa.__version__}", min(n, info["total_episodes"]), some


class _Maker:
    """Makes episodes of clips.

    Attributes:
        book: where they are written.
        fps: of all films; None until there is one.
    """

    def __init__(self, target: LerobotTarget, before: Before, book: Book, failed: MutableMapping[str, str]) -> None:
        self._target, self._before, self._failed, self.book = target, before, failed, book
        self._options, self._settings = target.context.options, target.context.settings
        self._clips = cutting_recipe(target.context.results.recipe).clips
        encoding = encoding_of(self._clips)
        self.fps = (encoding.rate if encoding else None) or before.fps
        self._size, self._has_audio = before.size, before.has_audio
        self._names: dict[str, Any] | None = None

    def old(self, changes: Changes) -> Iterator[Episode]:
        """Clips whose films are there, in the order of their episodes."""
        import pyarrow.compute as pc

        known, key_stays = self._before.known, self.book.features is not None
        numbered = (table.append_column(BEFORE, self._before.numbers(table)) for table in changes.rows("changed", "unchanged"))
        for table in sorted_rows((table.filter(pc.is_valid(table[BEFORE])) for table in numbered), BEFORE):
            for row, there in zip(rows_of(table, dict), known.files(table).to_pylist(), strict=True):
                number, facts = row.pop(BEFORE), facts_in(there)
                same = row["state"] == "unchanged" and known.same_form and key_stays
                frames = None if same else self._frames(row, facts)
                if same or frames is not None:
                    yield Episode(row, f"{self._before.uri}/{there['file']}", False, facts, _task(row), frames, None, number)

    def new(self, changes: Changes, files: ClipFiles) -> Iterator[Episode]:
        """Clips of which there is no film, or none that can be used."""
        import pyarrow.compute as pc

        tables = (table.filter(pc.is_null(self._before.numbers(table))) for table in changes.rows())
        for one in files.made(tables, self._failed, self._target.context.tell):
            facts, look = film_facts(one.uri, self._options), look_at(one.uri, self._options)
            if self._fits(one, facts, look) and (frames := self._frames(one.row, facts)) is not None:
                self._size = self._size or (facts.width, facts.height)
                self._has_audio |= look.has_audio
                yield Episode(one.row, one.uri, one.made is not None, facts, _task(one.row), frames, look.pictures, None)
            if one.made is not None:
                Path(one.uri).unlink()

    def _fits(self, one: ClipFile, facts: FilmFacts, look: Look) -> bool:
        """Whether a film is of one kind with the others; what is not is noted. The first whose frames are evenly spaced says the rate."""
        suffix, size, known, fps = one.uri.rpartition(".")[2], (facts.width, facts.height), self._size, self.fps or look.rate
        if suffix != SUFFIX:
            what = f"its file is {suffix}, since mp4 does not take its sound, and LeRobot reads mp4 alone"
            self._fail(one.row, what, "publish clips with other sound, by publish.where")
        elif (k := look.unlike(fps)) is not None:
            self._fail(one.row, f"frame {k} of its file is not at {k}/{form.number(fps):.6g} s, so frames are not evenly spaced", FIX_RATE)
        elif known is not None and size != known:
            what = f"its picture is {size[0]}x{size[1]}, and that of the data set {known[0]}x{known[1]}"
            self._fail(one.row, what, "publish clips of one size, by publish.where")
        else:
            self.fps = fps
            return True
        return False

    def _frames(self, row: Row, facts: FilmFacts) -> pa.Table | None:
        """The rows of states of a clip; None where there are none, which is noted."""
        assert self.fps is not None
        tolerance_s = self._settings.tolerance_s or float(1 / (2 * self.fps))
        try:
            table = FrameTable.of(row["extra"])
            rows = table.rows(row["start_s"], facts.n_frames, self.fps, tolerance_s, self._options)
            if self._names is None:
                self._names = source_names(table.uri, self._options)
            return self.book.shaped(rows, self._names)
        except FootageError as error:
            self._fail(row, error.what, error.mend or "")
            return None

    def _fail(self, row: Row, what: str, mend: str) -> None:
        self._failed[row["clip_id"]] = f"{what}; {mend}"
        self._target.context.tell(1)

    def finish(self, robot_type: str | None) -> None:
        """Writes what is left of the tables."""
        fps = self.fps or Fraction(1)
        video = None
        if self._size is not None:
            facts = FilmFacts(0, *self._size, float(fps), 0)
            video = form.video_feature(facts, fps, self._clips.codec, self._has_audio)
        self.book.finish(video, fps, robot_type)


def _task(row: Row) -> str:
    """What is done in a clip: its caption, else the task of its LeRobot episode, else nothing."""
    extra = json.loads(row["extra"]) if row["extra"] else {}
    return str(row["caption"] or extra.get("tasks") or "")
