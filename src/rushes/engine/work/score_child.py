"""The process that holds models and scores clips. Runs as `python -m rushes.engine.work.score_child`; it opens no video."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rushes.engine.jobs import SETUP, Outcome, Score
from rushes.engine.pipe import Jobs, Progress, Work
from rushes.engine.work.scores import Scoring
from rushes.log import collect
from rushes.media.guard import serve


def begin(setup: dict[str, Any]) -> Work:
    """Makes what scores; gives what does the jobs."""
    collector, scoring = collect(), Scoring(SETUP.validate_python(setup))

    def work(job: Score, progress: Progress) -> Outcome:
        return replace(scoring.do(job, lambda: progress(0.0)), events=collector.take())

    return work


if __name__ == "__main__":
    serve(Jobs(begin).do, without_pandas=False)
