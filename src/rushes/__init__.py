"""Rushes turns raw footage into training-ready, captioned clips: one decode, one table.

`run` makes a store, `open` reads one:

    import rushes
    run = rushes.run(["footage/"], out="store/", recipe=rushes.Recipe.load("recipe.toml"))
    df = rushes.open("store/").clips()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rushes.api import open, plan, run
    from rushes.errors import RushesError
    from rushes.export_clips import export
    from rushes.media.file_clock import file_spans
    from rushes.recipe import Recipe

__all__ = ["Recipe", "RushesError", "export", "file_spans", "open", "plan", "run"]

_HOMES = {
    "Recipe": "recipe", "RushesError": "errors", "export": "export_clips", "file_spans": "media.file_clock",
    "open": "api", "plan": "api", "run": "api",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rushes' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(f"rushes.{_HOMES[name]}"), name)
