"""One uri of a run, and what there is to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from rushes.errors import Failure
from rushes.records import Row, Video, spans_id
from rushes.rows.scanned import manifest_columns
from rushes.sources.found import Footage


@dataclass(slots=True)
class Source:
    """One uri of a run: its file, its `video_id`, and what there is to do about it.

    `status` is "todo" (some stage lacks rows), "reused", "duplicate", "failed" or "forgotten" (`rushes forget` took it out of the store);
    `failure` is why it failed, and `known` that an earlier run found so.
    """

    footage: Footage
    video_id: str | None = None
    status: str = "todo"
    failure: Failure | None = None
    known: bool = False
    attempts: int = 0
    """Failed attempts at it by earlier runs."""
    video: Row | None = None
    """The row of `videos` of its content, when it was scanned before or failed for good, and the store does not say so of this uri yet."""
    recorded: Row | None = None
    """What `videos` says of this uri: `identity` and status of its newest row under the recipe's scan."""

    def identity(self) -> Row:
        """What a row of `videos` says of the file."""
        item = self.footage
        extra = manifest_columns(item.extra)
        return {
            "uri": item.uri, "video_id": self.video_id, "size_bytes": item.size, "stamp": item.stamp, "extra": extra,
            "spans": spans_id(item.spans),
        }  # fmt: skip

    def is_recorded(self, status: str) -> bool:
        """Whether the newest row of this uri says the same already."""
        return self.recorded == {**self.identity(), "status": status}

    def as_video(self) -> Video:
        """The video as its jobs know it."""
        item = self.footage
        assert self.video_id is not None
        return Video(
            uri=item.uri, source=item.address, video_id=self.video_id, size=item.size, stamp=item.stamp,
            extra=manifest_columns(item.extra), stream=item.stream, spans=item.spans,
        )  # fmt: skip
