"""Whether a file is still the one that was identified: rows of new bytes must not be stored under the name of the old ones."""

from __future__ import annotations

from rushes.errors import ProbeError
from rushes.media import storage
from rushes.media.error_translation import read_error
from rushes.media.identity import of_stream, video_id
from rushes.records import Video


class SameFile:
    """Watches one source while it is read.

    A check costs one stat, or one request of an object store. If a later check finds size and stamp (time of change, or ETag) unchanged,
    all bytes read before it are the identified ones.

    Args:
        video: the video, with the size and stamp at which it was identified.
        options: storage options.

    Raises:
        ProbeError: it changed since it was identified, or is gone; not permanent.
    """

    def __init__(self, video: Video, options: storage.Options) -> None:
        self._source, self._uri, self._options = video.source, video.uri, options
        self._seen = self._look()
        if self._seen != (video.size, video.stamp):
            now = of_stream(video_id(self._source, self._seen[0] or 0, options), video.stream)
            if now != video.video_id:
                raise self._changed()

    def check(self) -> None:
        """Raises ProbeError, not permanent, when the file is not as it was at first."""
        if self._look() != self._seen:
            raise self._changed()

    def _look(self) -> tuple[int | None, str]:
        try:
            found = storage.stat(self._source, self._options)
        except OSError as error:
            gone = read_error(error, self._source, "scan")
            gone.permanent = False
            raise gone from error
        return found.size, found.stamp

    def _changed(self) -> ProbeError:
        changed = ProbeError("it changed while it was read", uri=self._uri, step="scan", mend="wait until it is complete, then run again")
        changed.permanent = False
        return changed
