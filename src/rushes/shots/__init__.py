"""Finds where the shots of a video start and end, from the signals that the scan stored. Pure functions; no video is opened."""

from rushes.shots.find import cuts_inside, find_shots, needed_signals
from rushes.shots.spans import Shot

__all__ = ["Shot", "cuts_inside", "find_shots", "needed_signals"]
