"""The section `[publish]` of the recipe: which clips go to a target, and what of them. `recipe.py` has the other sections."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rushes.recipe_scores import Section


class PublishSettings(Section):
    """What `rushes publish` publishes."""

    verdict: Literal["kept", "dropped", "failed", "all"] = Field("kept", description="clips of this verdict")
    columns: tuple[str, ...] = Field((), description="columns, besides clip_id, video_id and row_hash; none: those of rushes.open(store).clips(), without reasons and errors where verdict is kept")
    where: str | None = Field(None, description="only clips for which this SQL expression holds, as in rushes clips --where")
    order: str | None = Field(None, description="column by which new rows are sorted, - before it: the largest first; clip_id mixes them as at random; omit: as the store has them")
    sample: int | None = Field(None, ge=1, description="so many clips at most, the same each time")
    partition_by: tuple[str, ...] = Field((), description="columns by whose values parquet files lie in folders, such as codec=h264")
    bytes: bool = Field(False, description="lance and paimon hold the bytes of clip files; false: where each clip lies in its source")
    frames: int = Field(0, ge=0, le=64, description="sampled frames of each clip that lance holds as JPEG, evenly spread")
    paimon_python: str | None = Field(None, description="Python that has pypaimon; omit: this one, or ~/.rushes-paimon/bin/python")
    flavour: Literal["llava", "messages", "videox-fun", "open-sora"] = Field("llava", description="which list jsonl writes: llava: conversations; messages: those of LLaMA-Factory and ms-swift; videox-fun; open-sora: a table, csv")
    question: str = Field("Describe this video.", description="what the person says in the conversations of jsonl")
    shard_mb: int = Field(1000, ge=1, description="size of a shard of webdataset, MB; a clip more than that at most")
    buckets: tuple[Literal["resolution", "aspect", "length"], ...] = Field((), description="webdataset: shards hold clips of one resolution, aspect ratio and length only, in folders named so")
    video_key: str | None = Field(None, description="lerobot: name of the video among the features; omit: the camera that all clips have in their list, else observation.images.video")
    tolerance_s: float = Field(0.0, ge=0, description="lerobot: how far in time the row of states of a frame may be from it, seconds; 0: half the time between two frames")
    versions: int = Field(2, ge=1, description="versions that stay readable in a target, the newest among them; 1: what is taken out is gone at once")
