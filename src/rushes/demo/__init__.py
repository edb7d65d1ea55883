"""Sample footage, rendered by script: what `rushes demo` curates. Nothing is downloaded."""

from rushes.demo.films import render_footage

__all__ = ["render_footage"]
