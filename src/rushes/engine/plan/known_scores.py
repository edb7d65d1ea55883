"""What a store knows of the scores of some videos' clips. Each scorer has rows and failures under a fingerprint of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rushes.rows.scored import Scores, WantedScore, scores_of

if TYPE_CHECKING:
    import pyarrow as pa


class KnownScores:
    """The scores that are there, and those that failed for good.

    Args:
        wanted: the scorers.
        rows: the newest rows of the table `scores` of the videos, under the scorers' fingerprints.
        failures: video_id, clip_id and fingerprint of each score that failed for good.
    """

    def __init__(self, wanted: Sequence[WantedScore], rows: pa.Table, failures: Iterable[tuple[str, str, str]]) -> None:
        self._wanted = wanted
        self._rows = rows
        self._failures = list(failures)

    def of(self, clip_ids: Any) -> Scores:
        """The scores of clips, in their order."""
        return scores_of(self._rows, clip_ids, self._wanted)

    def failed(self, videos: Iterable[str]) -> dict[str, list[str]]:
        """Clips by video on which a scorer failed for good, and that have no row of it."""
        some = set(videos)
        failures = [failure for failure in self._failures if failure[0] in some]
        have = {(clip, fingerprint) for _, clip, fingerprint in self._pairs({video for video, _, _ in failures})} if failures else set()
        found: dict[str, set[str]] = {}
        for video, clip, fingerprint in failures:
            if (clip, fingerprint) not in have:
                found.setdefault(video, set()).add(clip)
        return {video: sorted(clips) for video, clips in found.items()}

    def scored(self, videos: Iterable[str]) -> dict[str, dict[str, tuple[str, ...]]]:
        """Video -> scorer -> clips that have its row, under whatever shots they were cut."""
        names = {one.fingerprint: one.name for one in self._wanted}
        found: dict[str, dict[str, list[str]]] = {}
        for video, clip, fingerprint in self._pairs(set(videos)):
            found.setdefault(video, {}).setdefault(names[fingerprint], []).append(clip)
        return {video: {name: tuple(clips) for name, clips in scored.items()} for video, scored in found.items()}

    def _pairs(self, videos: set[str]) -> Iterable[tuple[str, str, str]]:
        """video_id, clip_id and fingerprint of the rows of some videos."""
        import pyarrow as pa
        import pyarrow.compute as pc

        rows = self._rows.filter(pc.is_in(self._rows["video_id"], value_set=pa.array(sorted(videos), pa.string())))
        columns: Any = [rows[name].to_pylist() for name in ("video_id", "clip_id", "fingerprint")]
        return zip(*columns, strict=True)
