"""The counts of a run as Prometheus metrics over HTTP, off by default (`engine.metrics_port`). Read from the tally at each scrape; no
second set of counters. Names and labels: docs/observability.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rushes.errors import CannotGoOn, MissingExtra

if TYPE_CHECKING:
    from prometheus_client import Metric

    from rushes.counts.tally import Tally

VIDEOS = ("scanned", "reused", "failed", "duplicate", "forgotten")
CLIPS = ("kept", "dropped", "failed")


@contextmanager
def served(run_id: str, tally: Tally, port: int) -> Iterator[None]:
    """Answers `http://HOST:port/metrics` while the block runs, on all addresses of the machine. Port 0: nothing happens.

    Raises:
        MissingExtra: prometheus-client is not installed.
        CannotGoOn: the port cannot be listened on.
    """
    if port == 0:
        yield
        return
    try:
        from prometheus_client import CollectorRegistry, start_http_server
    except ImportError as error:
        raise MissingExtra("engine.metrics_port needs prometheus-client", step="run", mend="pip install 'rushes[metrics]'") from error
    registry = CollectorRegistry()
    registry.register(Counts(run_id, tally))
    try:
        server, thread = start_http_server(port, registry=registry)
    except OSError as error:
        what = f"engine.metrics_port = {port} cannot be listened on: {error.strerror or error}"
        raise CannotGoOn(what, step="run", mend="choose a free port, or 0 for none") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Counts:
    """A collector as prometheus-client knows it: asked at each scrape."""

    def __init__(self, run_id: str, tally: Tally) -> None:
        self._run_id = run_id
        self._tally = tally

    def describe(self) -> list[Metric]:
        """Nothing: what there is depends on the run."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The run's present counts."""
        c = self._tally.as_dict()
        yield self._gauge("videos", "uris by what became of them", "status", {s: c[f"videos_{s}"] for s in VIDEOS})
        yield self._gauge("videos_found", "uris found", None, c["videos_found"])
        yield self._gauge("videos_todo", "videos that this run has to scan", None, c["videos_todo"])
        yield self._gauge("videos_in_flight", "videos being decoded", None, c["in_flight"])
        yield self._gauge("clips", "clips by verdict", "verdict", {v: c[f"clips_{v}"] for v in CLIPS})
        yield self._counter("scores", "scores made", None, c["scores_made"])
        yield self._gauge("scores_pending", "kept clips that wait for a score", None, c["scores_pending"])
        yield self._counter("frames_encoded", "frames that the encoder of the scorers has encoded", None, c["frames_encoded"])
        yield self._counter("captions", "captions made", None, c["captions_made"])
        yield self._counter("caption_requests", "requests to the caption server", None, c["caption_requests"])
        yield self._gauge("captions_pending", "clips left without a caption while the server was away", None, c["captions_pending"])
        yield self._counter("footage_seconds", "footage scanned", None, c["footage_s"])
        yield self._gauge("footage_todo_seconds", "footage that this run has to scan, where known", None, c["footage_todo_s"])
        yield self._counter("decoded_seconds", "footage that passed a decoder, in ended videos", None, c["decoded_s"])
        yield self._gauge("decoded_now_seconds", "the same with videos under way", None, c["decoded_now_s"])
        yield self._counter("bytes_read", "bytes of ended videos", None, c["bytes_read"])
        yield self._counter(
            "busy_seconds",
            "busy seconds: CPU time in children, time of scoring, time in flight of captions",
            "stage",
            c["busy_s"],
        )
        yield self._gauge("stage_capacity", "rows of a stage that can be under way at once", "stage", c["capacity"])
        yield self._counter("errors", "failed videos and captions", "type", c["errors"])
        yield self._gauge("run_seconds", "wall time of the run", None, c["wall_s"])

    def _gauge(self, name: str, words: str, label: str | None, value: Any) -> Metric:
        from prometheus_client.core import GaugeMetricFamily

        return self._filled(GaugeMetricFamily, name, words, label, value)

    def _counter(self, name: str, words: str, label: str | None, value: Any) -> Metric:
        from prometheus_client.core import CounterMetricFamily

        return self._filled(CounterMetricFamily, name, words, label, value)

    def _filled(self, family: Any, name: str, words: str, label: str | None, value: Any) -> Metric:
        found: Metric = family(f"rushes_{name}", words, labels=["run_id", *([label] if label else [])])
        for key, number in value.items() if label else [(None, value)]:
            found.add_metric([self._run_id, *([key] if label else [])], number)  # type: ignore[attr-defined]
        return found
