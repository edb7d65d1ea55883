"""`hf:DIR`: a data set that Hugging Face's `load_dataset` opens: clips, `metadata.jsonl`, and a card filled from the store's runs."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Collection
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any

from rushes.media.address import local_path
from rushes.no_pandas import let_pandas_in
from rushes.publish.changes import Changes
from rushes.publish.clip_folder import ClipFolder, FolderClip, ListWriter
from rushes.publish.clip_names import METADATA
from rushes.publish.target import Record
from rushes.publish.targets.files import of_list
from rushes.publish.versions import Draft
from rushes.records import Row
from rushes.results import Results
from rushes.results.lines import json_line
from rushes.scores.listed import scorers_of

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))
"""Numbers of rows below which the hub's cards use these words."""
FUNNEL = (
    *("videos_found", "videos_scanned", "videos_reused", "videos_failed", "videos_duplicate"),
    *("clips_kept", "clips_dropped", "clips_failed"),
)


class HfTarget(ClipFolder):
    """See the module."""

    folder = "train"

    def writer(self, draft: Draft, changes: Changes, record: Record, stack: ExitStack) -> ListWriter:
        """The list and the card."""
        return _Hf(draft, changes, self.context.results, record, stack)

    def reader(self, folder: str, clip_ids: Collection[str]) -> tuple[str, int, list[Row]]:
        """`datasets.load_dataset` where it is installed and the folder is local; else the list as it stands."""
        path = local_path(folder)
        if path is None or importlib.util.find_spec("datasets") is None:
            return of_list(f"{folder}/{self.folder}/{METADATA}", self.context.options, clip_ids)
        import tempfile

        import pyarrow as pa
        import pyarrow.compute as pc

        let_pandas_in()
        from datasets import Video, load_dataset

        with tempfile.TemporaryDirectory(prefix="rushes-publish-") as cache:
            found: Any = load_dataset(path, split="train", cache_dir=cache)
            rows: pa.Table = found.cast_column("video", Video(decode=False)).remove_columns("video").data.table
            asked: Any = pc.is_in(rows["clip_id"], value_set=pa.array(sorted(clip_ids), rows["clip_id"].type))
            return f"datasets {version('datasets')}", rows.num_rows, rows.filter(asked).to_pylist()


class _Hf(ListWriter):
    def __init__(self, draft: Draft, changes: Changes, results: Results, record: Record, stack: ExitStack) -> None:
        super().__init__(draft, changes.columns, f"{HfTarget.folder}/{METADATA}", stack)
        self._results, self._record = results, record
        self._n, self._seconds, self._captioned = 0, 0.0, 0
        self._models: dict[str, int] = {}

    def add(self, clip: FolderClip) -> None:
        """Writes the clip's line."""
        self.line(json_line(clip.line(self.columns, clip.file.rpartition("/")[2])))
        self._n += 1
        self._seconds += clip.facts.n_frames / clip.facts.fps if clip.facts.fps else 0.0
        if clip.row["caption"] is not None:
            self._captioned += 1
            model = clip.row.get("caption_model") or "not published"
            self._models[model] = self._models.get(model, 0) + 1

    def finish(self) -> None:
        """Writes the list and the card."""
        super().finish()
        counts = {"clips": self._n, "hours": self._seconds / 3600, "captions": self._captioned}
        self.draft.put("README.md", card(self._results, self._record, counts, self._models).encode())


def card(results: Results, record: Record, counts: Row, captioners: Row) -> str:
    """The data set's card: what is in it, how clips were chosen, and which models took part.

    Args:
        results: the store.
        record: of the publish.
        counts: `clips`, `hours` and `captions` of the data set.
        captioners: model -> captions that it wrote.
    """
    size = next((words for below, words in SIZES if counts["clips"] < below), "n>10M")
    head = {
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "train/*"}]}],
        "size_categories": [size], "task_categories": ["text-to-video", "video-text-to-text"], "tags": ["video"],
    }  # fmt: skip
    parts = ["---", *(f"{name}: {json.dumps(value)}" for name, value in head.items()), "---", "", "# Video clips", ""]
    parts += [f"{counts['clips']} clips, {counts['hours']:.2f} hours, {counts['captions']} with a caption. Published by Rushes"]
    parts[-1] += f" {record.versions['rushes']} on {record.at[:10]} as `{record.publish_id}`."
    newest = next(iter(results.runs()), {})
    parts += ["", "## From footage to clips", "", f"Counts of the newest of {len(record.run_ids)} runs.", "", "| | |", "|---|---|"]
    parts += [f"| {name.replace('_', ' ')} | {newest.get(name, 0)} |" for name in FUNNEL]
    parts += ["", "Clips dropped by each rule:", "", "| rule | column | least | most | clips dropped |", "|---|---|---|---|---|"]
    dropped = newest.get("reasons") or {}
    for name, rule in record.rules.items():
        bounds = " | ".join(str(rule.get(bound, "")) for bound in ("min", "max"))
        parts.append(f"| {name} | {rule.get('column', name)} | {bounds} | {dropped.get(name, 0)} |")
    if record.settings.get("where"):
        parts += ["", f"Of the clips kept, those for which `{record.settings['where']}` holds."]
    parts += ["", "## Models", "", "| what | model | licence of the weights |", "|---|---|---|"]
    parts += [f"| captions ({n}) | {model} | see the model |" for model, n in sorted(captioners.items())]
    for scorer in scorers_of(results.recipe.scores):
        parts.append(f"| score {scorer.name} | {scorer.model} | {scorer.licence} |")
    parts += ["", "The licence of the footage is not known to Rushes: state it here.", ""]
    return "\n".join(parts)
