"""What the version before of a LeRobot data set has that a publish can use again: films, rows of states, and statistics."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rushes.media.storage import Options
from rushes.publish.clip_folder import Known
from rushes.publish.lerobot_format import BLOCK, DATA, EPISODES, INFO, Feature, own_features, placed
from rushes.publish.media_rows import content_of
from rushes.publish.versions import Version, opened_file
from rushes.records import Row

if TYPE_CHECKING:
    import pyarrow as pa


class Before:
    """The version before. The rows of its index are in the order of its episodes.

    Args:
        version: None where there is none.
        known: its clips whose films can be used again.
        options: of its filesystem.

    Attributes:
        known: as given.
        fps, size: of its films, (width, height); None where none can be used.
        key: name of its video.
        features: of its states.
    """

    def __init__(self, version: Version | None, known: Known, options: Options) -> None:
        self._version, self._options = version, options
        self.known = known
        self.fps: Fraction | None = None
        self.size: tuple[int, int] | None = None
        self.key, self.has_audio = "", False
        self.features: dict[str, Feature] = {}
        self._episodes: tuple[int, list[Row]] = (-1, [])
        self._frames: tuple[int, Any] = (-1, None)
        if version is not None and known.index.num_rows:
            info = json.loads(content_of(f"{version.uri}/{INFO}", options))
            features = info["features"]
            self.key, video = next((name, one) for name, one in features.items() if one["dtype"] == "video")
            self.fps = Fraction(info["fps"]).limit_denominator(1001)
            self.size = video["shape"][1], video["shape"][0]
            self.has_audio = video["info"]["has_audio"]
            self.features = {name: one for name, one in features.items() if name != self.key and name not in own_features()}

    @property
    def uri(self) -> str:
        """Its folder."""
        assert self._version is not None
        return self._version.uri

    def numbers(self, rows: pa.Table) -> Any:
        """The episode that each clip was; null where it was none."""
        import pyarrow.compute as pc

        return pc.index_in(rows["clip_id"], value_set=self.known.index["clip_id"].combine_chunks())

    def n_in(self, block: int) -> int:
        """Episodes of a block."""
        return max(0, min(BLOCK, self.known.index.num_rows - block * BLOCK))

    def episode(self, number: int) -> Row:
        """A row of its table of episodes."""
        import pyarrow.parquet as pq

        block = number // BLOCK
        if self._episodes[0] != block:
            with opened_file(f"{self.uri}/{placed(EPISODES, block)}", self._options) as file:
                self._episodes = block, pq.read_table(file).to_pylist()
        return self._episodes[1][number % BLOCK]

    def frames(self, number: int) -> pa.Table:
        """The rows of states of an episode."""
        import pyarrow.parquet as pq

        block = number // BLOCK
        if self._frames[0] != block:
            with opened_file(f"{self.uri}/{placed(DATA, block)}", self._options) as file:
                self._frames = block, pq.read_table(file, columns=list(self.features))
        first = self.episode(block * BLOCK)["dataset_from_index"]
        row = self.episode(number)
        found: pa.Table = self._frames[1].slice(row["dataset_from_index"] - first, row["length"])
        return found
