"""Footage to captioned clips in Ray Data. Run it again: only what is missing is done.

    python examples/ray_data_pipeline.py 'footage/*.mp4' out
    python examples/ray_data_pipeline.py 'footage/*.mp4' out --ray auto --recipe recipe.toml --scans 32

It writes Parquet: OUT/videos has a row for each video, with its clips and their frames, or the error; OUT/clips has a row for each clip
that passed the rules, with its measures and its caption. On a cluster, footage and OUT lie where all nodes reach them.
"""

from __future__ import annotations

import argparse
import glob
import os

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import ray
from ray.data import ActorPoolStrategy

from rushes import Recipe
from rushes.operators import Caption, Scan


def written(folder: str, key: str) -> set[str]:
    """The keys of the rows in the folder. A row whose error may pass is not among them: it is tried again."""
    if not os.path.isdir(folder):
        return set()
    files = pyarrow.dataset.dataset(folder, exclude_invalid_files=True)  # a killed write leaves a file without its end
    rows = files.to_table(columns=[key, "error"])
    final = pc.or_kleene(pc.is_null(rows["error"]), pc.struct_field(rows["error"], "permanent"))
    return set(rows.filter(final)[key].to_pylist())


def kept_clips(videos: pa.Table, done: set[str]) -> pa.Table:
    """One row for each clip that passed the rules and is not done."""
    lists = videos["clips"].combine_chunks()
    clips = pc.list_flatten(lists)
    rows = pa.table({"uri": videos["uri"].take(pc.list_parent_indices(lists)), "clip": clips})
    is_done = pc.is_in(pc.struct_field(clips, "clip_id"), pa.array(done, pa.string()))
    return rows.filter(pc.and_not(pc.equal(pc.struct_field(clips, "verdict"), "kept"), is_done))


def flat(rows: pa.Table) -> pa.Table:
    """The rows with the fields of `scan`, `clip` and `caption` as columns of their own; frames of single clips are left out."""
    for name in [name for name in ("scan", "clip", "caption") if name in rows.column_names]:
        for field in rows.schema.field(name).type:
            if field.name != "frames":
                rows = rows.append_column(field.name, pc.struct_field(rows[name], field.name))
        rows = rows.drop_columns([name])
    return rows


def main() -> None:
    """Scans what is not scanned, then captions what is not captioned."""
    parser = argparse.ArgumentParser(description="footage to captioned clips, in Ray Data")
    parser.add_argument("footage", help="a pattern, such as 'footage/*.mp4'")
    parser.add_argument("out", help="folder for the Parquet files")
    parser.add_argument("--recipe", help="a recipe in TOML")
    parser.add_argument("--ray", metavar="ADDRESS", default="local", help="the Ray cluster; by default, one of this machine alone")
    parser.add_argument("--scans", type=int, default=os.cpu_count(), help="videos that are decoded at once")
    args = parser.parse_args()
    recipe = Recipe.load(args.recipe) if args.recipe else Recipe()
    videos, clips = os.path.abspath(f"{args.out}/videos"), os.path.abspath(f"{args.out}/clips")
    arrow = {"batch_format": "pyarrow", "fn_constructor_args": [recipe]}
    ray.init(args.ray)

    names = {os.path.abspath(name) for name in glob.glob(args.footage)}
    todo = sorted(names - written(videos, "uri"))
    if todo:
        one_each = ray.data.from_items([{"uri": uri} for uri in todo], override_num_blocks=len(todo))  # a block is one actor's work
        pool = ActorPoolStrategy(min_size=1, max_size=args.scans)
        scanned = one_each.map_batches(Scan, batch_size=1, num_cpus=1, compute=pool, **arrow)
        scanned.map_batches(flat, batch_format="pyarrow").write_parquet(videos)

    kept = ray.data.read_parquet(videos, columns=["uri", "clips"]).map_batches(
        kept_clips, batch_format="pyarrow", fn_kwargs={"done": written(clips, "clip_id")}
    )
    captioned = kept.map_batches(Caption, batch_size=64, num_cpus=0.5, compute=ActorPoolStrategy(size=1), **arrow)
    captioned.map_batches(flat, batch_format="pyarrow").write_parquet(clips)


if __name__ == "__main__":
    main()
