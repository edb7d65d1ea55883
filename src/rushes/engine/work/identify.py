"""Identities of files: up to 4 MiB of each are read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from rushes.engine.jobs import File, Identify, Outcome
from rushes.errors import Failure
from rushes.machine import cores
from rushes.media.identity import of_stream, video_id
from rushes.media.storage import Options
from rushes.quarantine import quarantined

THREADS_PER_CORE = 4
"""Files that are read at once: reading is mostly waiting for a disk or a server."""


def identify(job: Identify, options: Options) -> Outcome:
    """Reads the identity of each file of a job. Whatever goes wrong is a failure of that file."""

    def read(file: File) -> str | Failure:
        return quarantined(lambda: of_stream(video_id(file.address, file.size, options), file.stream))

    if len(job.files) == 1:
        return Outcome(identities={job.files[0].place: read(job.files[0])})
    with ThreadPoolExecutor(THREADS_PER_CORE * cores(), thread_name_prefix="identities") as threads:
        return Outcome(identities=dict(zip((f.place for f in job.files), threads.map(read, job.files), strict=True)))
