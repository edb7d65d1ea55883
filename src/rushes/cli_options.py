"""What the options of commands mean, for the files that have commands: a store, a recipe, and rows as JSON lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from rushes.errors import RushesError

if TYPE_CHECKING:
    from rushes.recipe import Recipe
    from rushes.results import Results

StoreArg = Annotated[str, typer.Argument(help="the store", metavar="STORE")]
RecipeFile = Annotated[str | None, typer.Option("--recipe", help="a recipe file, TOML")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="section.key=value, over the recipe; may be repeated", metavar="KEY=VALUE")
]
ProfileName = Annotated[str | None, typer.Option("--profile", help="web or inspection: the defaults to start from")]
Json = Annotated[bool, typer.Option("--json", help="JSON lines on stdout")]


def make_recipe(file: str | None, profile: str | None, settings: Sequence[str] | None) -> Recipe:
    """The recipe that a command's options name."""
    from rushes.recipe import Recipe

    if file is not None:
        return Recipe.load(file, profile=profile or "web", overrides=settings or ())
    return Recipe.parse({}, profile=profile or "web", overrides=settings or ())


def opened(store: str, file: str | None = None, settings: Sequence[str] | None = None, profile: str | None = None) -> Results:
    """A store under the recipe that a command's options name; settings alone change the newest run's. `[storage]` opens it either way."""
    from rushes.api import results
    from rushes.recipe import Recipe

    if file is not None or profile is not None:
        return results(store, recipe=make_recipe(file, profile, settings))
    storage = Recipe.parse({}, overrides=[text for text in settings or () if text.startswith("storage.")]).storage
    newest = results(store, storage=storage)
    return results(store, recipe=newest.recipe.with_overrides(settings), storage=storage) if settings else newest


def print_lines(rows: Iterable[dict[str, Any]]) -> None:
    """Rows as lines of strict JSON on stdout."""
    from rushes.results.lines import json_line

    for row in rows:
        sys.stdout.write(json_line(row) + "\n")


def leave(code: int) -> NoReturn:
    """Ends the process at once: Daft's threads may not end by themselves when a run was stopped."""
    if "ray" in sys.modules and code != RushesError.exit_code:  # saying goodbye to a dead cluster ends the process with exit 1
        from rushes import ray_cluster

        ray_cluster.leave()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def tell_kept(results: Results) -> None:
    """Where a recipe gives other verdicts than the newest run's, says on stderr how many clips each keeps."""
    from rushes.progress import say
    from rushes.results.choose import count_kept

    if (before := results.of_newest_run()) is not None:
        say(f"kept {count_kept(results)} (was {count_kept(before)})")
