"""What a user waits for before any footage is looked at: `rushes --help`, and a run over a video of ten tiny frames.

    python -m benchmarks.startup [--rounds 5]

CPU-seconds, children included. The run is whole: driver, Daft, one decoding child, every table written, the facts captions.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import render
from benchmarks.clock import Cost, medians
from benchmarks.targets import Targets

RUSHES = Path(sys.executable).with_name("rushes")
HELP_S = 0.5
RUN_S = 2.5


def costs(video: Path, rounds: int) -> Mapping[str, Cost]:
    """Median costs of the help text and of a run over one video."""
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as folder:
        stores = iter(range(10_000))
        works: dict[str, Callable[[], object]] = {
            "help": lambda: quiet("--help"),
            "run": lambda: quiet("run", video, "--out", Path(folder) / f"store{next(stores)}"),
        }
        return medians(works, rounds)


def quiet(*arguments: str | Path) -> None:
    """The command, its output thrown away."""
    subprocess.run([RUSHES, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    video = render.tiny()
    rounds = parser.parse_args().rounds
    targets = Targets()
    found = costs(video, rounds)
    targets.at_most("rushes --help", found["help"].cpu_s, HELP_S, "CPU-s")
    targets.at_most("rushes run, ten tiny frames", found["run"].cpu_s, RUN_S, "CPU-s")
    print(f"wall: help {found['help'].wall_s:.2f} s, run {found['run'].wall_s:.2f} s")
    return targets.close()


if __name__ == "__main__":
    sys.exit(main())
