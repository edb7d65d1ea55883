"""Footage to captioned clips in plain Daft, on one machine or on Ray. Run it again: only what is missing is done.

    python examples/daft_pipeline.py 'footage/*.mp4' out
    python examples/daft_pipeline.py 's3://bucket/footage/**/*.mp4' s3://bucket/out --ray auto --recipe recipe.toml

It writes Parquet: OUT/videos has a row for each video, with its clips and their frames, or the error; OUT/clips has a row for each clip
that passed the rules, with its measures and its caption. On a cluster, footage and OUT lie where all nodes reach them.
"""

from __future__ import annotations

import argparse

import daft
import pyarrow as pa
from daft import DataType, col
from daft.functions import unnest

from rushes import Recipe
from rushes.operators import Caption, Scan

PARTITIONS = 64
"""Tasks into which a cluster's work is divided: Daft gives a glob one task, which would be done by one node."""


@daft.cls
class ScanVideos:
    """Holds one operator in each process of Daft; the threads of that process call it together."""

    def __init__(self, recipe: Recipe) -> None:
        self.scan = Scan(recipe)

    @daft.method.batch(return_dtype=DataType.from_arrow_type(Scan.returns), batch_size=1)
    def __call__(self, uri: daft.Series) -> pa.Array:
        """One video a batch: by default, a batch is 131,072 rows, and one thread would do them all."""
        return self.scan.column(uri)


@daft.cls
class CaptionClips:
    """Holds one operator in each process of Daft; it keeps to `resources.captions.concurrency` there."""

    def __init__(self, recipe: Recipe) -> None:
        self.caption = Caption(recipe)

    @daft.method.batch(return_dtype=DataType.from_arrow_type(Caption.returns), batch_size=1)
    async def __call__(self, uri: daft.Series, clip: daft.Series) -> pa.Array:
        """One clip a batch; Daft awaits up to 64 of them at once."""
        return await self.caption.column_async(uri, clip)


def missing(rows: daft.DataFrame, folder: str, key: str) -> daft.DataFrame:
    """The rows whose key was not written to the folder. A row whose error may pass is tried again."""
    try:
        written = daft.read_parquet(f"{folder}/*.parquet", ignore_corrupt_files=True)  # a killed write leaves a file without its end
    except FileNotFoundError:
        return rows
    written = written.where(col("error").is_null() | col("error")["permanent"])
    return rows.join(written.select(key).distinct(), on=key, how="anti")


def main() -> None:
    """Scans what is not scanned, then captions what is not captioned."""
    parser = argparse.ArgumentParser(description="footage to captioned clips, in plain Daft")
    parser.add_argument("footage", help="a pattern, such as 'footage/*.mp4'")
    parser.add_argument("out", help="folder or URL for the Parquet files")
    parser.add_argument("--recipe", help="a recipe in TOML")
    parser.add_argument("--ray", metavar="ADDRESS", help="run on this Ray cluster")
    args = parser.parse_args()
    recipe = Recipe.load(args.recipe) if args.recipe else Recipe()
    if args.ray:
        daft.set_runner_ray(args.ray)
    daft.set_execution_config(parquet_target_filesize=64 << 20)  # a file is safe when it is complete: small files lose little

    videos = daft.from_glob_path(args.footage).select(col("path").alias("uri"))
    todo = missing(videos, f"{args.out}/videos", "uri")
    if args.ray:
        todo = todo.into_partitions(PARTITIONS)
    scanned = todo.select("uri", ScanVideos(recipe)(col("uri")).alias("scan")).select("uri", unnest(col("scan")))
    scanned.write_parquet(f"{args.out}/videos")

    clips = daft.read_parquet(f"{args.out}/videos/*.parquet", ignore_corrupt_files=True)
    clips = clips.select("uri", col("clips").alias("clip")).explode("clip", ignore_empty_and_null=True)
    kept = clips.where(col("clip")["verdict"] == "kept").with_column("clip_id", col("clip")["clip_id"])
    todo = missing(kept, f"{args.out}/clips", "clip_id").exclude("clip_id")
    captioned = todo.with_column("caption", CaptionClips(recipe)(col("uri"), col("clip")))
    captioned.select("uri", unnest(col("clip")), unnest(col("caption"))).exclude("frames").write_parquet(f"{args.out}/clips")


if __name__ == "__main__":
    main()
