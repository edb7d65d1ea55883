"""The vectors of frames that the store holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rushes.store.store import Store
from rushes.store.tables import EMBEDDINGS


def frame_vectors(store: Store, fingerprint: str, videos: Sequence[str]) -> dict[str, dict[int, npt.NDArray[np.float16]]]:
    """video_id -> pts -> the vector of a frame, as the encoder of this fingerprint made it; nothing is read for no video.

    Raises:
        StorageError: they cannot be read.
    """
    found: dict[str, dict[int, npt.NDArray[np.float16]]] = {}
    if not videos:
        return found
    rows = store.read(EMBEDDINGS, columns=["vector"], fingerprints=[fingerprint], only={"video_id": videos})
    each: Any = zip(rows["video_id"].to_pylist(), rows["pts"].to_pylist(), rows["vector"], strict=True)
    for video, pts, vector in each:
        found.setdefault(video, {})[pts] = vector.values.to_numpy(zero_copy_only=False)
    return found
