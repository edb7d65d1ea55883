"""The process that holds models and scores clips. Runs as `python -m rushes.engine.work.score_child`; it opens no video.

A message from its parent is `{"setup": ...}`, once, or `{"score": job}`; the last line of each answer is `{"done": outcome}` or
`{"error": failure}`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rushes.engine.jobs import FAILURE, OUTCOME, SCORE, SETUP, Outcome
from rushes.engine.work.scores import Scoring
from rushes.errors import Failure
from rushes.log import collect
from rushes.media.guard import serve
from rushes.quarantine import quarantined


class Jobs:
    """Takes messages off the pipe; the first one sets up what scores."""

    def __init__(self) -> None:
        self.scoring: Scoring | None = None
        self._collector = collect()

    def do(self, message: dict[str, Any], progress: Callable[[float], None]) -> dict[str, Any]:
        """Answers one message."""
        found = quarantined(lambda: self._do(message, progress))
        if isinstance(found, Failure):
            return {"error": FAILURE.dump_python(found, mode="json")}
        return {"done": OUTCOME.dump_python(found, mode="json")}

    def _do(self, message: dict[str, Any], progress: Callable[[float], None]) -> Outcome:
        if "setup" in message:
            self.scoring = Scoring(SETUP.validate_python(message["setup"]))
            return Outcome()
        assert self.scoring is not None
        outcome = self.scoring.do(SCORE.validate_python(message["score"]), lambda: progress(0.0))
        return replace(outcome, events=self._collector.take())


if __name__ == "__main__":
    serve(Jobs().do, without_pandas=False)
