"""What a run's counts say about its speed: busy share by stage, the bottleneck, the time left. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rushes.engine.stages import clip_stages

IN_CHILDREN = {"scan", "shots", *(stage.name for stage in clip_stages() if stage.work)}
"""Stages that the decoding children do; they share the workers."""


def busy_shares(row: Mapping[str, Any]) -> dict[str, float]:
    """Stage -> share of its capacity that was busy, from 0 to about 1.

    Busy seconds are CPU time in children and time in flight of captions; the share is busy_s / (wall_s x capacity).

    Args:
        row: counts as in `runs --json`.
    """
    wall_s = max(1e-9, float(row["wall_s"]))
    return {stage: seconds / wall_s / row["capacity"].get(stage, 1) for stage, seconds in row["busy_s"].items()}


def bottleneck(row: Mapping[str, Any]) -> str | None:
    """The stage with the largest busy share, which holds the run up: children (their stages together) or captions; None before any work."""
    shares = busy_shares(row)
    inside = {stage: share for stage, share in shares.items() if stage in IN_CHILDREN}
    groups = {stage: share for stage, share in shares.items() if stage not in IN_CHILDREN}
    if inside:
        groups[max(inside, key=inside.__getitem__)] = sum(inside.values())
    return max(groups, key=groups.__getitem__) if any(groups.values()) else None


def left_s(row: Mapping[str, Any]) -> float | None:
    """Seconds until the footage is decoded, at the pace so far; None where there is no pace or nothing to decode.

    By seconds of footage where the plan knew enough of them, else by videos.
    """
    done, todo = float(row["decoded_now_s"]), float(row["footage_todo_s"])
    if todo <= done:
        done, todo = float(row["videos_scanned"]), float(row["videos_todo"])
    if done <= 0 or todo <= done:
        return None
    return float(row["wall_s"]) * (todo - done) / done
