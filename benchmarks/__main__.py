"""`python -m benchmarks [NAME ...] [OPTIONS]`: run the benchmarks named, or all, one after the other, each in its own process.

A benchmark is a module `benchmarks/NAME.py`, or a folder, that prints its figures and exits with 1 when it misses a target. Options go to
the one that is named.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("RUSHES_DATA", ROOT.parent / "shared" / "data"))
BENCHMARKS: dict[str, list[str | Path]] = {
    "startup": [],
    "scan": [],
    "chain": [],
    "workers": [],
    "overlap": [],
    "backpressure": [],
    "captions": [],
    "memory": [],
    "longvideo": [],
    "overhead": [],
    "growth": [],
    "encoder": [],
    "scorers": [],
    "rowwise": [],
    "scale": [],
    "search": [],
    "cuts": [DATA / "cuts"],
    "cuts_in_light": [],
    "slideshow": [],
    "damage": [],
    "agreement_sparse": [],
    "survival": [],
}
"""Name -> arguments. A new benchmark is written here."""
NEEDS_DATA = {"cuts", "cuts_in_light", "damage", "slideshow", "agreement_sparse"}
"""Benchmarks of truth; the others draw their footage where there is no shared one, and say so."""


def main(words: list[str]) -> int:
    """Run them; returns the exit code: 0, 1 when one missed its target or failed, 2 for a name that is none or data that are not there."""
    n_names = next((k for k, word in enumerate(words) if word.startswith("-")), len(words))
    names, options = words[:n_names], words[n_names:]
    if strange := [name for name in names if name not in BENCHMARKS]:
        print(f"no such benchmark: {', '.join(strange)}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    if options and len(names) != 1:
        print(
            f"{options[0]} is an option of one benchmark: name it before, as in python -m benchmarks survival --kills 10", file=sys.stderr
        )
        return 2
    chosen = names or list(BENCHMARKS)
    if not DATA.is_dir() and NEEDS_DATA.intersection(chosen):
        print(f"no shared footage at {DATA}. Fix: set RUSHES_DATA to the folder that holds manifest.tsv", file=sys.stderr)
        return 2
    missed = []
    for name in chosen:
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *BENCHMARKS[name], *options], cwd=ROOT, check=False).returncode:
            missed.append(name)
    print(f"\nmissed a target or failed: {', '.join(missed)}" if missed else "\nall ran; none missed a target")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
