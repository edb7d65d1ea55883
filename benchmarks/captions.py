"""Are caption servers kept busy: one, several, several of which one dies, and one that the run starts itself?

    python -m benchmarks.captions [--videos 60] [--dies-after 10]

The servers are those of the tests (tests/caption_server.py): each makes so many captions at once, each in a fixed time, so that its
capacity is known. A store without captions is made once; each case is a whole run of the command over a copy of it. The rate is that of
all captions from the first request that a server was sent to the last answer, so that it holds the time in which the number of requests is
found, and the end, when servers have nothing left to do.

With `captions.engine = "serve"`: seconds from the start of the command to the first caption in the store, on footage that was not scanned
before, and how long of these the server took to load; by `transformers serve` and the tiny model of the tests, too, where it is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import render
from benchmarks.targets import Targets
from rushes.store.store import Store
from rushes.store.tables import CAPTIONS

sys.path.insert(0, str(render.ROOT / "tests"))
from caption_server import Running, start_server
from stores import command, settings_of

TESTS = render.ROOT / "tests"
LEAST = 0.95
AFTER_S = 6.0
"""The first caption may come so long after its server is loaded and a clip is there: it is asked about test pictures between."""
VIDEO_S = 10
SETTINGS = ("rules.too_short.min=0", "shots.detector=stride", "shots.stride_s=0.5", "frames.per_clip=2", "scan.workers=0")
ASKING = ("captions.engine=openai", "captions.model=tiny-vlm", "captions.prompt=short")


def run(footage: Path, store: Path, *settings: str, **env: str) -> None:
    """One run by the command."""
    log = str(store.with_suffix(".log"))
    done = command("run", footage, "--out", store, "--log", log, *settings_of(*SETTINGS, *settings), timeout_s=900, **env)
    if done.code:
        raise RuntimeError(f"the run ended with {done.code}: {done.err}")


def requests(servers: Sequence[Running]) -> list[dict[str, Any]]:
    """What living servers were asked about clips."""
    return [seen for server in servers if server.process.poll() is None for seen in server.stats()["requests"] if seen["images"]]


def rate(servers: Sequence[Running], store: Path) -> tuple[int, float, float]:
    """Captions of a store, when the first request was sent, and when the last answer was, in seconds since 1970."""
    asked = requests(servers)
    n = Store.open(str(store), {}).read(CAPTIONS, columns=["clip_id"]).num_rows
    return n, min(seen["at"] for seen in asked), max(seen["answered"] or 0.0 for seen in asked)


def busy(plain: Path, name: str, *, n: int, parallel: int, service_s: float, dies_after_s: float = 0.0) -> float:
    """Captions of a run, as a share of what the servers could make; the first may die some time after its first request."""
    with ExitStack() as held:
        servers = [held.enter_context(start_server(parallel=parallel, service_s=service_s)) for _ in range(n)]
        store, died = plain.with_name(name), [0.0]
        shutil.copytree(plain, store)

        def kill() -> None:
            while not requests(servers[:1]):
                time.sleep(0.1)
            time.sleep(dies_after_s)
            servers[0].stop()
            died[0] = time.time()

        if dies_after_s:
            killer = threading.Thread(target=kill)
            killer.start()
            held.callback(killer.join)
        urls = json.dumps([server.base_url for server in servers])
        run(plain.with_name("footage"), store, *ASKING, f"captions.base_url={urls}", f"captions.concurrency={2 * n * parallel}")
        captions, first, last = rate(servers, store)
        whole, seconds = n * parallel / service_s, last - first
        possible = whole * seconds - (whole / n * (last - died[0]) if died[0] else 0.0)
        print(f"{name}: {captions} captions in {seconds:.1f} s, {captions / seconds:.1f}/s; {possible:.0f} possible", flush=True)
        return captions / possible


def first_caption(footage: Path, store: Path, serve: str, model: str, **env: str) -> tuple[float, float, float]:
    """Seconds from the start of the command to the first caption, to the loaded server, and to the first scanned video."""
    began = time.time()
    settings = ("captions.engine=serve", f"captions.serve={serve}", f"captions.model={model}", "captions.prompt=short")
    run(footage, store, *settings, "captions.max_tokens=64", **env)
    first = min(Store.open(str(store), {}).read(CAPTIONS, columns=["written_at"])["written_at"].to_pylist()).timestamp()
    events = [json.loads(line) for line in store.with_suffix(".log").read_text().splitlines()]
    return first - began, _first(events, "caption server up") - began, _first(events, "video done") - began


def _first(events: list[dict[str, Any]], name: str) -> float:
    """When something first happened, by the log, in seconds since 1970."""
    return min(datetime.fromisoformat(event["at"]).timestamp() for event in events if event["event"] == name)


def serving(footage: Path, targets: Targets) -> None:
    """Times to the first caption."""
    folder = footage.parent
    cases = {"the server of the tests": (f"{{python}} {TESTS / 'caption_server.py'} --port {{port}} --model {{model}}", "tiny-vlm", {})}
    if find_spec("uvicorn") and find_spec("transformers"):
        subprocess.run([sys.executable, TESTS / "tiny_vlm.py", folder / "tiny-vlm"], check=True, capture_output=True)
        (folder / "home" / "hub").mkdir(parents=True)
        env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
        program = "{python} -c 'from transformers.cli.transformers import main; main()'"
        cases["transformers serve"] = (
            f"{program} serve {{model}} --host {{host}} --port {{port}} --device cpu",
            str(folder / "tiny-vlm"),
            env,
        )
    else:
        print("transformers serve is not installed (pip install 'transformers[serving]'): left out")
    for k, (name, (serve, model, env)) in enumerate(cases.items()):
        first, up, scanned = first_caption(footage, folder / f"serve{k}", serve, model, **env)
        print(f"{name}: first caption after {first:.1f} s; server loaded {up:.1f} s, first video scanned {scanned:.1f} s", flush=True)
        targets.at_most(f"first caption after both, {name}", first - max(up, scanned), AFTER_S, "s")


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=60, help="of 20 clips each")
    parser.add_argument("--dies-after", type=float, default=10.0, help="seconds after which one of four servers is killed")
    args = parser.parse_args()
    os.environ.setdefault("OPENAI_API_KEY", "none")
    source = render.tiny(VIDEO_S * render.FPS, 192, 108)
    targets = Targets()
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as name:
        footage, few, plain = (Path(name) / part for part in ("footage", "few", "plain"))
        render.copies(source, footage, args.videos)
        render.copies(source, few, 4)
        run(footage, plain, "captions.engine=none")
        one = busy(plain, "one server of 16 at once", n=1, parallel=16, service_s=0.5)
        targets.at_least("one server, of its capacity", one, LEAST, "x")
        four = busy(plain, "four servers of 8 at once", n=4, parallel=8, service_s=1.0)
        targets.at_least("four servers, of their capacity", four, LEAST, "x")
        dying = busy(plain, "four servers, one dies", n=4, parallel=8, service_s=1.0, dies_after_s=args.dies_after)
        targets.at_least("four servers of which one dies", dying, LEAST, "x")
        serving(few, targets)
    return targets.close()


if __name__ == "__main__":
    sys.exit(main())
