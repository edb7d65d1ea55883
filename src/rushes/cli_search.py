"""The commands that find clips by what is to be seen in them: search, and the index of large stores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rushes.cli_options import Json, ProfileName, RecipeFile, Settings, StoreArg, opened, print_lines
from rushes.errors import UsageError


def search(
    store: StoreArg, text: Annotated[str | None, typer.Argument(help="what is to be seen, in words", metavar="TEXT")] = None,
    like: Annotated[str | None, typer.Option(help="instead of a text: a clip, or a file with a picture", metavar="CLIP_ID|IMAGE")] = None,
    n: Annotated[int, typer.Option("-n", help="so many clips", metavar="N", min=1)] = 20,
    as_json: Json = False,
    verdict: Annotated[str, typer.Option(help="kept, dropped, failed or all")] = "kept",
    where: Annotated[str | None, typer.Option(help="SQL over the columns, such as \"sharpness > 0.3\"", metavar="EXPR")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="compare the vectors as they are stored, even where there is an index")] = False,
    recipe: RecipeFile = None, set_: Settings = None, profile: ProfileName = None,
) -> None:  # fmt: skip
    """The clips nearest to a text, a clip or a picture, by the store's own embeddings."""
    from rushes.progress import say, table
    from rushes.search.nearest import LARGE
    from rushes.search.nearest import search as find

    if verdict not in ("kept", "dropped", "failed", "all"):
        raise UsageError(f"--verdict {verdict!r}", step="search", mend="use kept, dropped, failed or all")
    results = opened(store, recipe, set_, profile)
    found = find(results, text, like=like, n=n, verdict=None if verdict == "all" else verdict, where=where, exact=exact)
    if as_json:
        print_lines(found.rows)
    else:
        short = (
            {
                **row, "clip": row["clip_id"][:8], "score": f"{row['score']:.4f}", "video": Path(row["uri"]).name,
                "from": f"{row['start_s']:.2f}", "to": f"{row['end_s']:.2f}", "caption": row["caption"] or "",
            }
            for row in found.rows
        )  # fmt: skip
        table(short, ("clip", "score", "video", "from", "to", "caption"), words="caption", most=80)
    if not found.rows:
        say("no clip that counts has an embedding")
    if found.compared - found.indexed >= LARGE and not exact:
        say(f"{found.compared - found.indexed} of {found.compared} vectors are in no index; with one this is quicker: rushes index {store}")


def index(
    store: StoreArg, as_json: Json = False, recipe: RecipeFile = None, set_: Settings = None, profile: ProfileName = None,
) -> None:  # fmt: skip
    """Make or renew the index that `rushes search` uses, for stores from a million clips on."""
    from rushes import api
    from rushes.progress import say

    results = opened(store, recipe, set_, profile)
    made = api.index(store, recipe=results.recipe, storage=results.store.options)
    if as_json:
        print_lines([made])
    else:
        did = f"made in {made['seconds']:.0f} s" if made["made"] else "there already, and covers all vectors"
        say(f"index {did}: {made['vectors']} vectors, {made['bytes'] / 1e6:.0f} MB, {made['uri']}")
