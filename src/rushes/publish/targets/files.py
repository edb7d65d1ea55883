"""`files:DIR`: clips as flat files with readable names, a text file with the caption beside each, and a list of all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack

from rushes.media.storage import Options
from rushes.publish.changes import Changes
from rushes.publish.clip_folder import ClipFolder, FolderClip, ListWriter, lines_of
from rushes.publish.clip_names import METADATA
from rushes.publish.target import Record
from rushes.publish.versions import Draft, Folder
from rushes.records import Row
from rushes.results.lines import json_line


class FilesTarget(ClipFolder):
    """See the module."""

    def writer(self, draft: Draft, changes: Changes, record: Record, stack: ExitStack) -> FilesWriter:
        """The captions and the list."""
        return FilesWriter(draft, changes.columns, stack, folder=f"{self.folder}/")

    def reader(self, folder: str, clip_ids: Collection[str]) -> tuple[str, int, list[Row]]:
        """Reads the list."""
        return of_list(f"{folder}/{self.folder}/{METADATA}", self.context.options, clip_ids)


class FilesWriter(ListWriter):
    """Writes captions as text files beside the clips, unless `texts` is false, and `metadata.jsonl`, the list of all, in `folder`."""

    def __init__(self, draft: Folder, columns: Sequence[str], stack: ExitStack, *, folder: str = "", texts: bool = True) -> None:
        super().__init__(draft, columns, f"{folder}{METADATA}", stack)
        self.texts = texts

    def add(self, clip: FolderClip) -> None:
        """Writes the caption and the clip's line."""
        if self.texts and clip.row["caption"] is not None:
            self.draft.put(f"{clip.file.rpartition('.')[0]}.txt", clip.row["caption"].encode() + b"\n", same=clip.same)
        self.line(json_line(clip.line(self.columns, clip.file.rpartition("/")[2])))


def of_list(uri: str, options: Options, clip_ids: Collection[str]) -> tuple[str, int, list[Row]]:
    """What a list of JSON lines says: its name, the number of clips, and the rows of some of them."""
    n, some = 0, []
    for row in lines_of(uri, options):
        n += 1
        some += [row] if row["clip_id"] in clip_ids else []
    return METADATA, n, some
