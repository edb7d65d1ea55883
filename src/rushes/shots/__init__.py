"""Signals to spans: where the shots of a video start and end. Pure functions of what the scan stored."""

from rushes.shots.find import find_shots, needed_signals
from rushes.shots.spans import Shot

__all__ = ["Shot", "find_shots", "needed_signals"]
