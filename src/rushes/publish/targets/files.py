"""`files:DIR`: clips as flat files with readable names, a text file with the caption beside each, and a list of all."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack

from rushes.media.storage import Options
from rushes.publish.changes import Changes
from rushes.publish.clip_folder import ClipFolder, FolderClip, ListWriter, lines_of
from rushes.publish.clip_names import METADATA
from rushes.publish.target import Record
from rushes.publish.versions import Draft
from rushes.records import Row
from rushes.results.lines import json_line


class FilesTarget(ClipFolder):
    """See the module."""

    def writer(self, draft: Draft, changes: Changes, record: Record, stack: ExitStack) -> ListWriter:
        """The captions and the list."""
        return _Files(draft, changes.columns, f"{self.folder}/{METADATA}", stack)

    def reader(self, folder: str, clip_ids: Collection[str]) -> tuple[str, int, list[Row]]:
        """Reads the list."""
        return of_list(f"{folder}/{self.folder}/{METADATA}", self.context.options, clip_ids)


class _Files(ListWriter):
    def add(self, clip: FolderClip) -> None:
        """Writes the caption, or links it, and the clip's line."""
        name = f"{clip.file.rpartition('.')[0]}.txt"
        if clip.row["caption"] is not None:
            if clip.same:
                self.draft.keep(name)
            else:
                self.draft.put(name, clip.row["caption"].encode() + b"\n")
        self.line(json_line(clip.line(self.columns, clip.file.rpartition("/")[2])))


def of_list(uri: str, options: Options, clip_ids: Collection[str]) -> tuple[str, int, list[Row]]:
    """What a list of JSON lines says: its name, the number of clips, and the rows of some of them."""
    n, some = 0, []
    for row in lines_of(uri, options):
        n += 1
        some += [row] if row["clip_id"] in clip_ids else []
    return METADATA, n, some
