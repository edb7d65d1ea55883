"""`rushes export`: clips in one folder, as the target `files:` writes them, without versions: files are made and changed in place.

The clips of one video are cut in one guarded child, so that a broken source costs its own clips alone. A file that is there, complete and
made in the same way of the same clip, is kept as it is, so an export that was killed goes on where it was.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rushes.api import results
from rushes.errors import Failure, UsageError
from rushes.media import storage
from rushes.media.address import local_path
from rushes.media.guard import Stopped
from rushes.publish.chosen import Chosen
from rushes.publish.clip_files import ClipFile, ClipFiles
from rushes.publish.clip_folder import FolderClip
from rushes.publish.clip_names import ID_DIGITS, name_of
from rushes.publish.film_facts import film_facts
from rushes.publish.targets.files import FilesWriter
from rushes.publish.versions import Folder
from rushes.recipe import ClipSettings, Recipe
from rushes.recipe_publish import PublishSettings
from rushes.records import Row

if TYPE_CHECKING:
    from rushes.media.storage import Options
    from rushes.results import Results

Captions = Literal["txt", "jsonl", "none"]
Mode = Literal["encode", "copy"]
OURS = re.compile(rf"_[0-9a-f]{{{ID_DIGITS}}}\.(?:mp4|mov|mkv)$")
"""The end of a name that an export has given."""
UNFINISHED = re.compile(rf"^\..*_[0-9a-f]{{{ID_DIGITS}}}\.(?:mp4|mov|mkv)\.(\d+)\.tmp$")
"""The hidden name of a clip file while a process writes it, with the number of that process."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export came to.

    Attributes:
        folder: where the files are.
        status: "finished" or "interrupted"; the same call goes on.
        made: clip files written now. `present`: those that were there already, and right. `failed`: clips of which none could be made.
        captions: captions written or found beside them.
        bytes: size of all clip files, made and present.
        others: clip files of earlier exports in the folder that are not among the clips chosen now; they are left as they are.
    """

    folder: str
    status: str
    made: int
    present: int
    failed: int
    captions: int
    bytes: int
    others: int


def export(
    store: str | Path,
    *,
    to: str | Path,
    captions: Captions = "txt",
    mode: Mode = "encode",
    codec: str | None = None,
    crf: int | None = None,
    short_side_px: int | None = None,
    fps: float | None = None,
    verdict: str | None = "kept",
    where: str | None = None,
    sample: int | None = None,
    recipe: Recipe | None = None,
    storage: Options | None = None,
    interrupted: threading.Event | None = None,
    watch: Callable[[Row], None] | None = None,
) -> Exported:
    """Writes clips to one folder, as files that players, trainers and people can use at once.

    A file is named by its source, its times and its clip: `cam2_00h01m12s40_00h01m17s20_753018bd.mp4`.

    Args:
        store: folder or URL of the store.
        to: folder or URL that gets the files; made if absent.
        captions: "txt": a text file beside each clip; "jsonl": one `metadata.jsonl`, as Hugging Face reads it; or "none".
        mode: "encode": exactly the clip, upright, with square pixels; "copy": the stream as it is, from the first to the last key frame
            inside the clip.
        codec: of encoded clips: "h264", "hevc", "vp9" or "av1". As for the next three, the default is the recipe's `clips`.
        crf: quality of encoded clips, 0 (best) to 51.
        short_side_px: short side of encoded clips, pixels; a smaller picture is not enlarged; 0: the source's.
        fps: frames a second of encoded clips; 0: the source's own frames.
        verdict: only clips of this verdict; None: all.
        where: only clips for which a SQL expression holds, as `rushes clips --where`.
        sample: so many at most, the same each time.
        recipe: whose verdicts and captions; default: the newest run's.
        storage: options of the filesystems of store, sources and folder, by protocol; default: the recipe's.
        interrupted: set it from another thread to stop within seconds.
        watch: called with a row for each clip: `clip_id`, `uri`, `start_s`, `end_s`, `file` (null where there is none), `made` (bool),
            `n_frames`, `bytes`, `note` (such as that the sound was encoded anew), `error`, `mend`.

    Raises:
        RecipeError: a wrong codec, quality, size or rate. UsageError: a wrong expression, or a folder that is a file; nothing was written.
        StoreError: there is not a store.
        CannotGoOn: the folder cannot be written, such as on a full disk; the same call goes on.
    """
    found = results(store, recipe=recipe, storage=storage)
    options = storage if storage is not None else found.store.options
    settings = clip_settings(found.recipe, mode, codec=codec, crf=crf, short_side_px=short_side_px, fps=fps)
    return export_clips(
        found, str(to), captions=captions, settings=settings, verdict=verdict, where=where, sample=sample, options=options,
        interrupted=interrupted, watch=watch,
    )  # fmt: skip


def clip_settings(recipe: Recipe, mode: Mode, **changed: str | float | None) -> ClipSettings:
    """How clips are made: a recipe's `clips` in another mode, with those of the settings `changed` that are not None.

    Raises:
        RecipeError: a value that there is not.
    """
    over = {"mode": mode} | {name: value for name, value in changed.items() if value is not None}
    return Recipe.parse({"clips": recipe.clips.model_dump() | over}).clips


def export_clips(
    results: Results,
    to: str,
    *,
    captions: Captions,
    settings: ClipSettings,
    verdict: str | None,
    where: str | None,
    sample: int | None,
    options: Options,
    interrupted: threading.Event | None = None,
    watch: Callable[[Row], None] | None = None,
) -> Exported:
    """The same, of a store under a recipe. See `export`."""
    folder = local_path(to) or to.rstrip("/")
    if local_path(to) is not None and Path(folder).exists() and not Path(folder).is_dir():
        raise UsageError(f"{to} is a file", step="export", mend="name a folder with --to")
    stop = interrupted or threading.Event()
    chosen = Chosen(results, PublishSettings.model_validate({"verdict": verdict or "all", "where": where, "sample": sample}))
    tables = (rows for _, rows in chosen.ranges())
    with ExitStack() as stack:
        texts, to_folder = captions == "txt", Folder(folder, options)
        writer = None if captions == "none" else FilesWriter(to_folder, chosen.columns, stack, texts=texts)
        work = _Export(folder, writer, options, watch or (lambda _row: None))
        try:
            of = ClipFiles(results.recipe, folder, options, stop.is_set, name=name_of, always=True, clips=settings, step="export")
            with of as files:
                finished = work.do(files.of(tables))
        finally:
            _sweep(folder)
        if finished and writer is not None and not texts:
            writer.finish()
    return work.result("finished" if finished else "interrupted")


class _Export:
    """One export: counts what became of the clips, in their order, and has their captions put beside them."""

    def __init__(self, folder: str, writer: FilesWriter | None, options: Options, watch: Callable[[Row], None]) -> None:
        self._folder, self._writer, self._options, self._watch = folder, writer, options, watch
        self._names: set[str] = set()
        self.made = self.present = self.failed = self.captions = self.bytes = 0

    def do(self, files: Iterator[list[ClipFile]]) -> bool:
        """Counts the clips, those of one video one after the other; gives False when the export was stopped."""
        try:
            for of_video in files:
                for file in of_video:
                    self._count(file.row, file.made or {}, file.error)
        except Stopped:
            return False
        return True

    def _count(self, clip: Row, cut: Row, failure: Failure | None) -> None:
        row = {name: clip[name] for name in ("clip_id", "uri", "start_s", "end_s")}
        if failure is not None:
            self.failed += 1
            nothing = {"file": None, "made": False, "n_frames": 0, "bytes": 0}
            self._watch(row | nothing | {"note": None, "error": failure.what, "mend": failure.mend})
            return
        name = str(cut["uri"]).rpartition("/")[2]
        self._names.add(name)
        self.made += not cut["reused"]
        self.present += bool(cut["reused"])
        self.bytes += cut["bytes"]
        if self._writer is not None:
            stem, _, suffix = name.rpartition(".")
            if clip["caption"] is None and self._writer.texts:  # an older one would say what the store does not say any more
                storage.remove(f"{self._folder}/{stem}.txt", self._options)
            self._writer.add(FolderClip(clip, name, film_facts(cut["uri"], self._options), False, suffix))
            self.captions += clip["caption"] is not None
        told = {"file": cut["uri"], "made": not cut["reused"], "n_frames": cut["n_frames"], "bytes": cut["bytes"]}
        self._watch(row | told | {"note": cut["note"], "error": None, "mend": None})

    def result(self, status: str) -> Exported:
        """The counts, with what else is in the folder."""
        there = storage.listing(self._folder, self._options)
        others = sum(bool(OURS.search(file.uri)) and file.uri.rpartition("/")[2] not in self._names for file in there)
        return Exported(self._folder, status, self.made, self.present, self.failed, self.captions, self.bytes, others)


def _sweep(folder: str) -> None:
    """Removes what processes of this machine that have ended left half written."""
    path = local_path(folder)
    for file in Path(path).iterdir() if path is not None and Path(path).is_dir() else ():
        left = UNFINISHED.match(file.name)
        if left and not Path(f"/proc/{left[1]}").exists():
            file.unlink(missing_ok=True)
