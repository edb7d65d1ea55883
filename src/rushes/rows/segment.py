"""A scanned segment as a row of the table `segments`, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from rushes.media.decode import Seams
from rushes.media.segments import Cuts, Segment
from rushes.media.time_line import Piece
from rushes.records import VideoFacts
from rushes.scan.one_pass import SampledFrame
from rushes.scan.seam_buffer import Strip
from rushes.scan.segment import SegmentScan, Taken
from rushes.scan.sharpness import BLOCK, Edges

COUNTS = (
    "mode", "last_duration", "n_packets", "n_corrupt", "n_repaired_pts", "n_new_clocks", "hole_ticks", "reordering", "n_interlaced",
    "n_frames",
)  # fmt: skip


def cuts_json(cuts: Cuts) -> dict[str, Any]:
    """Cuts as JSON-ready data, for the fingerprint of segments."""
    return {"mode": cuts.mode, "fingerprint": "", "segments": [asdict(s) for s in cuts.segments]}


def segment_row(video_id: str, scan: SegmentScan, cpu_s: float, names: Sequence[str]) -> dict[str, Any]:
    """The row, but for its stamps. `names`: the signals, in the order in which they are stored."""
    view = scan.head or scan.tail
    facts = {
        "facts": scan.facts.as_row(), "seams": asdict(scan.seams), "taken": {k: asdict(v) for k, v in scan.taken.items()},
        "view": view.motion.shape[1:] if view else (0, 0), "cpu_s": cpu_s, **{name: getattr(scan, name) for name in COUNTS},
        "held": (scan.held.width, scan.held.height) if scan.held else None, "mended": scan.mended,
        "pieces": [(piece.start_pts, piece.offset) for piece in scan.pieces],
        "edges": {"t": [one.t for one in scan.edges], "blocks": scan.edges[0].span.shape if scan.edges else (0, 0)},
    }  # fmt: skip
    return {
        "video_id": video_id, "segment": scan.segment.index, "pts": scan.pts,
        "signals": np.stack([scan.signals[name] for name in names]).tobytes(),
        "head": _packed(scan.head), "tail": _packed(scan.tail), "facts": json.dumps(facts),
        "edges": b"".join(part.tobytes() for one in scan.edges for part in (one.span, one.steepest, one.picture)),
        "frame_pts": scan.held.pts if scan.held else None, "frame": scan.held.jpeg if scan.held else None,
    }  # fmt: skip


def segment_scan(row: Mapping[str, Any], segment: Segment, names: Sequence[str]) -> tuple[SegmentScan, float]:
    """The scan of a stored segment, and its CPU-seconds."""
    state = json.loads(row["facts"])
    pts = np.asarray(row["pts"], np.int64)
    table: npt.NDArray[np.float32] = np.frombuffer(row["signals"], np.float32).reshape(len(names), len(pts))
    facts = VideoFacts.of_row(state["facts"])
    held = SampledFrame(row["frame_pts"], row["frame"], *state["held"]) if state["held"] else None
    scan = SegmentScan(
        segment=segment, facts=facts, pts=pts, signals=dict(zip(names, table, strict=True)), seams=Seams(**state["seams"]),
        taken={name: Taken(tuple(t["rows"]), t["first"], t["last"], t["again"]) for name, t in state["taken"].items()}, held=held,
        pieces=tuple(Piece(*piece) for piece in state["pieces"]), mended=tuple(state["mended"]) if state["mended"] else None,
        head=_unpacked(row["head"], *state["view"]), tail=_unpacked(row["tail"], *state["view"]), **{name: state[name] for name in COUNTS},
        edges=_edges(row["edges"], state["edges"]["t"], *state["edges"]["blocks"]),
    )  # fmt: skip
    return scan, float(state["cpu_s"])


def _packed(strip: Strip | None) -> bytes | None:
    return None if strip is None else b"".join(part.tobytes() for part in (strip.t, strip.motion, strip.colour))


def _unpacked(data: bytes | None, height: int, width: int) -> Strip | None:
    if data is None:
        return None
    luma, chroma = height * width, 2 * (height // 2) * (width // 2)
    n = len(data) // (8 + luma + chroma)
    views = np.frombuffer(data, np.uint8, offset=8 * n)
    motion, colour = views[: n * luma], views[n * luma :]
    return Strip(np.frombuffer(data, np.float64, n), motion.reshape(n, height, width), colour.reshape(n, 2, height // 2, width // 2))


def _edges(data: bytes, times: Sequence[float], down: int, across: int) -> tuple[Edges, ...]:
    n, found = down * across, []
    each = (4 + 4 + BLOCK * BLOCK) * n
    for k, t in enumerate(times):
        span, steepest = (np.frombuffer(data, np.float32, n, k * each + 4 * n * i).reshape(down, across) for i in (0, 1))
        picture = np.frombuffer(data, np.uint8, BLOCK * BLOCK * n, k * each + 8 * n).reshape(BLOCK * down, BLOCK * across)
        found.append(Edges(t, picture, span, steepest))
    return tuple(found)
