"""What was taken out of a store for good: read by every run, so that it is not scanned again. `forget.py` takes it out.

Only ids are kept: the `video_id` of each content, and of each uri the SHA-256 of its name. A uri counts where its bytes cannot be read, so
that a list which still names a file that is gone does not bring its name back into the store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from rushes.media.identity import of_stream
from rushes.store.parts import digits_of
from rushes.store.store import Store
from rushes.store.tables import FORGOTTEN

FINGERPRINT = hashlib.sha256(b"forgotten").hexdigest()[:32]
"""That of all rows of the table `forgotten`: they hang on no setting, and no compaction drops them."""
STREAMS = 32
"""A stream of a forgotten file is forgotten too, where its index is below this; recorders have up to about ten streams."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The ids that were taken out of a store."""

    ids: frozenset[str] = frozenset()

    @classmethod
    def of(cls, store: Store | None) -> Forgotten:
        """Those of a store; none where there is no store yet.

        Raises:
            StorageError: the store cannot be read.
        """
        if store is None:
            return cls()
        return cls(frozenset(str(one) for one in store.read(FORGOTTEN, columns=[])["video_id"].to_pylist()))

    def holds(self, video_id: str | None, uri: str) -> bool:
        """Whether a content was taken out or, where it is not known, what was seen under this uri."""
        return digits_of(video_id, uri) in self.ids

    def with_streams(self) -> Forgotten:
        """These, and the streams of these where each is a video of its own."""
        return Forgotten(self.ids | streams_of(self.ids))


def streams_of(ids: Collection[str]) -> frozenset[str]:
    """The identities of the streams of some files."""
    return frozenset(of_stream(file, stream) for file in ids for stream in range(STREAMS))
