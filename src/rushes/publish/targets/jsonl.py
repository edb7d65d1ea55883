"""`jsonl:DIR`: clip files, and one list in the form that a trainer reads: LLaVA, LLaMA-Factory and ms-swift, VideoX-Fun, or Open-Sora."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from typing import Any

from rushes.publish.changes import Changes
from rushes.publish.clip_folder import ClipFolder, FolderClip, ListWriter
from rushes.publish.media_rows import content_of
from rushes.publish.target import Record
from rushes.publish.versions import Draft
from rushes.records import Row
from rushes.results.lines import json_line

LISTS = {"llava": "train.json", "messages": "train.jsonl", "videox-fun": "train.json", "open-sora": "train.csv"}
"""publish.flavour -> the name of the list."""
OPEN_SORA = ("path", "text", "num_frames", "height", "width", "aspect_ratio", "resolution", "fps")
"""The columns that Open-Sora's loader reads (opensora/datasets); `aspect_ratio` is height / width, `resolution` height x width."""
VIDEO = "<video>"
"""Stands in a conversation for the video."""


class JsonlTarget(ClipFolder):
    """See the module."""

    def form(self) -> Row:
        """The flavour and the question."""
        return {"flavour": self.context.settings.flavour, "question": self.context.settings.question}

    def writer(self, draft: Draft, changes: Changes, record: Record, stack: ExitStack) -> ListWriter:
        """The list."""
        settings = self.context.settings
        if settings.flavour == "open-sora":
            return _Table(draft, changes.columns, stack)
        array = {"head": "[\n", "between": ",\n", "tail": "\n]\n"} if LISTS[settings.flavour].endswith(".json") else {}
        return _Lines(draft, changes.columns, LISTS[settings.flavour], stack, settings.flavour, settings.question, array)

    def reader(self, folder: str, clip_ids: Collection[str]) -> tuple[str, int, None]:
        """Counts the lines of the list. Clips without a caption have no line in it and are counted by the index."""
        name = LISTS[self.context.settings.flavour]
        text = content_of(f"{folder}/{name}", self.context.options).decode()
        if name.endswith(".csv"):
            n = sum(1 for _ in csv.DictReader(io.StringIO(text)))
        else:
            n = len(json.loads(text)) if name.endswith(".json") else sum(bool(json.loads(line)) for line in text.splitlines())
        return name, n + self.n_without_caption, None


class _Lines(ListWriter):
    def __init__(
        self, draft: Draft, columns: Sequence[str], name: str, stack: ExitStack, flavour: str, question: str, array: dict[str, str]
    ) -> None:
        super().__init__(draft, columns, name, stack, **array)
        self._flavour, self._question = flavour, question

    def add(self, clip: FolderClip) -> None:
        """Writes the clip's line. A clip without a caption has nothing to learn from, and has none."""
        if clip.row["caption"] is not None:
            self.line(json_line(self._row(clip)))

    def _row(self, clip: FolderClip) -> Row:
        asked, text = f"{VIDEO}\n{self._question}", clip.row["caption"]
        if self._flavour == "llava":
            talk = [{"from": "human", "value": asked}, {"from": "gpt", "value": text}]
            return {"id": clip.row["clip_id"], "video": clip.file, "conversations": talk}
        if self._flavour == "messages":
            talk = [{"role": "user", "content": asked}, {"role": "assistant", "content": text}]
            return {"id": clip.row["clip_id"], "messages": talk, "videos": [clip.file]}
        size = {"width": clip.facts.width, "height": clip.facts.height}
        return {"file_path": clip.file, "text": text, "type": "video", **size, "clip_id": clip.row["clip_id"]}


class _Table(ListWriter):
    """Open-Sora's table, with the published columns behind it."""

    def __init__(self, draft: Draft, columns: Sequence[str], stack: ExitStack) -> None:
        super().__init__(draft, columns, LISTS["open-sora"], stack)
        self._more = [name for name in columns if name not in OPEN_SORA]
        self.line(_csv([*OPEN_SORA, *self._more]))

    def add(self, clip: FolderClip) -> None:
        """Writes the clip's line, if it has a caption."""
        if clip.row["caption"] is None:
            return
        facts = clip.facts
        shape: list[Any] = [facts.n_frames, facts.height, facts.width, facts.height / facts.width, facts.height * facts.width, facts.fps]
        self.line(_csv([clip.file, clip.row["caption"], *shape, *(clip.row[name] for name in self._more)]))


def _csv(values: Sequence[Any]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(values)
    return out.getvalue()
