"""The recipe: the whole configuration of a run, one TOML table a stage, and the one source of defaults.

A recipe is frozen; change it by making a new one (`with_overrides`). An unknown key is an error that names the nearest right one.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from rushes.errors import RecipeError
from rushes.recipe_captions import CaptionSettings
from rushes.recipe_publish import PublishSettings
from rushes.recipe_scores import ClassifierSettings, ScoreSettings
from rushes.recipe_scores import Section as _Section

Profile = Literal["web", "inspection"]
DETECTORS = ("combined", "adaptive", "content", "stride")
"""Our own shot detectors; those of PySceneDetect that `scan.detectors` names may be chosen too."""
TRANSNET = "transnet"
"""The detector that is a network, TransNetV2. It runs inside the pass, as PySceneDetect's do, where `scan.detectors` names it."""
SPARSE_DETECTORS = ("stride", "content")
"""Those that find shots without the signals of every frame."""


class ScanSettings(_Section):
    """The one decode of each video."""

    mode: Literal["exact", "fast", "sparse"] = Field("exact", description="exact: every frame; fast: skips non-reference frames where the codec has and allows them; sparse: a few pictures at each key frame")
    sparse_burst: int = Field(3, ge=2, le=64, description="pictures decoded at each key frame in sparse mode; more where they would span less than 0.06 s")
    sparse_s: float = Field(4.0, ge=0.5, description="a video whose key frames are further apart than this is not scanned in sparse mode, but in fast or exact; seconds")
    stream: str | int = Field("film", description='which video stream of a file: film: the film, not a preview; all: each film of a file that has several, as a video of its own; N: the stream with index N')
    grid_per_s: float = Field(1.0, gt=0, le=10, description="samples a second of sharpness, noise, blockiness, texture and letterbox")
    hole_s: float = Field(30.0, ge=0, description="a step between frames longer than this, and than 20 usual steps, is a hole: no clip holds it, and it is no footage; 0: nothing is; seconds")
    attempts: int = Field(3, ge=1, description="attempts at a video whose worker dies or whose bytes cannot be read, over all runs, before it is failed for good")
    hang_s: float = Field(60.0, gt=0, description="seconds without packet progress after which a video is failed")
    memory_gib: float = Field(4.0, gt=0, description="resident memory at which a decoding child is stopped and its video failed")
    detectors: tuple[str, ...] = Field((), description="detectors to run inside the pass: 'transnet', which needs the extra rushes[transnet], and PySceneDetect's, such as 'hash', which need rushes[scenedetect]")

    @property
    def scenedetect(self) -> tuple[str, ...]:
        """Those of `detectors` that are PySceneDetect's."""
        return tuple(name for name in self.detectors if name != TRANSNET)

    @property
    def whole_mode(self) -> Literal["exact", "fast"]:
        """The mode of a video that is decoded from end to end: where sparse mode was asked for and cannot be had, that is fast."""
        return "fast" if self.mode == "sparse" else self.mode

    @property
    def stream_index(self) -> int | None:
        """The index of the stream that `stream` names; None where it names none."""
        return self.stream if isinstance(self.stream, int) else None

    @field_validator("stream", mode="before")
    @classmethod
    def _known_stream(cls, value: Any) -> Any:
        if value in ("film", "all") or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
            return value
        raise ValueError('use "film", "all", or the index of a video stream, such as 1')


class ShotSettings(_Section):
    """Signals to spans."""

    detector: str = Field("combined", description="combined, adaptive, content, stride, transnet, or a name that scan.detectors runs")
    threshold: float | None = Field(None, ge=0, description="the chosen detector's threshold: adaptive and combined a ratio (3.0), content 27.0, transnet a probability (0.5); omit for its default")
    min_s: float = Field(0.3, ge=0, description="cuts closer than this are merged, seconds")
    gradual: bool = Field(True, description="find dissolves and fades; a transition belongs to no clip")
    guard_s: float = Field(0.1, ge=0, description="margin trimmed at each end of a shot that is a cut or a transition, seconds")
    max_s: float = Field(60.0, ge=0, description="longer shots are split into equal parts; 0: no split; seconds")
    trim_idle: float = Field(0.0, ge=0, description="where nothing moves at an end of a shot, so much of it stays, seconds; 0: all of it")
    stride_s: float = Field(10.0, gt=0, description="length of the pieces of the stride detector, seconds")
    within_spans: bool = Field(False, description="whether the spans that a list gives are cut into shots, as if each were a video; else each is one clip")


class FrameSettings(_Section):
    """Frames kept as JPEG for models and people."""

    at: Literal["grid", "key"] = Field("grid", description="grid: on a fixed grid in time; key: at key frames, at most one each grid step")
    per_s: float = Field(1.0, gt=0, le=30, description="frames a second of the grid, anchored at the video's first pts")
    short_side_px: int = Field(480, ge=32, description="short side of the stored frame, pixels; never upscaled")
    quality: int = Field(85, ge=1, le=100, description="JPEG quality, 1 to 100")
    per_clip: int = Field(8, ge=1, le=64, description="frames of a clip sent to a model, evenly spread")
    keep: Literal["all", "kept", "none"] = Field("all", description="which frames are stored: all, those of kept clips, or none")


class Rule(_Section):
    """One bound on one column. Bounds are inclusive: dropped when value < min or value > max. A null never drops."""

    column: str | None = Field(None, description="the column; default: the rule's name")
    min: float | None = Field(None, description="dropped when the value is below")
    max: float | None = Field(None, description="dropped when the value is above")


class ClipSettings(_Section):
    """Clip files."""

    mode: Literal["reference", "copy", "encode"] = Field("reference", description="reference: uri and pts, no bytes; copy: stream copy snapped to key frames; encode: exact")
    codec: Literal["h264", "hevc", "vp9", "av1"] = Field("h264", description="codec of encoded clips")
    crf: int = Field(18, ge=0, le=51, description="quality of encoded clips, 0 (best) to 51, on the encoder's own scale")
    short_side_px: int = Field(0, ge=0, description="short side of encoded clips, pixels; never upscaled; 0: as in the source")
    fps: float = Field(0.0, ge=0, le=240, description="frames a second of encoded clips, evenly spaced; 0: the source's own frames at their own times")


class EngineSettings(_Section):
    """Where jobs are done."""

    runner: Literal["native", "ray"] = Field("native", description="native: jobs are done by processes of this machine; ray: jobs are tasks of a Ray cluster")
    ray_address: str = Field("auto", description="the cluster: auto (the one this process is on), local (a cluster of this machine alone), or host:port")
    metrics_port: int = Field(0, ge=0, le=65535, description="the run answers Prometheus at this port; 0: none; needs the extra rushes[metrics]")
    segment_s: float = Field(60.0, ge=0, description="footage longer than twice this is scanned in segments of about this length, in parallel; 0: never; seconds")


class StageResources(_Section):
    """What one job of a stage takes. On Ray its scheduler is given these numbers; on one machine they bound how many jobs run at once."""

    cpus: float = Field(1.0, ge=0, description="CPUs of one job; with fewer than 1, more jobs than CPUs run at once")
    gpus: float = Field(0.0, ge=0, description="GPUs of one job, a fraction if several share one; only Ray places jobs by it")
    memory_gib: float = Field(1.0, ge=0, description="memory that is set aside for one job; 0: none is")
    concurrency: int = Field(0, ge=0, description="jobs (captions: requests) at work at once, on Ray in the whole cluster; 0: as many as the rest allows")


class Recipe(_Section):
    """The whole configuration. `Recipe()` is the profile `web`; see `Recipe.profile`."""

    scan: ScanSettings = ScanSettings()
    shots: ShotSettings = ShotSettings()
    frames: FrameSettings = FrameSettings()
    rules: dict[str, Rule] = Field(default_factory=lambda: _rules("web"))
    scores: ScoreSettings = ScoreSettings()
    captions: CaptionSettings = CaptionSettings()
    clips: ClipSettings = ClipSettings()
    publish: PublishSettings = PublishSettings()
    resources: dict[str, StageResources] = Field(default_factory=lambda: _resources({}), description="what one job of each stage takes, by stage")
    engine: EngineSettings = EngineSettings()
    storage: dict[str, dict[str, Any]] = Field(default_factory=dict, description="options handed to fsspec, by protocol")

    @model_validator(mode="before")
    @classmethod
    def _with_resources(cls, table: Any) -> Any:
        """Puts keys of version 0.1 where they are now, and gives stages that the table does not name their default resources."""
        if not isinstance(table, Mapping):
            return table
        data = dict(table)
        for section, key, stage, name in MOVED:
            if isinstance(data.get(section), Mapping) and key in data[section]:
                data[section] = {k: v for k, v in data[section].items() if k != key}
                data["resources"] = _merge(data.get("resources", {}), {stage: {name: table[section][key]}})
        if isinstance(data.get("resources", {}), Mapping):
            data["resources"] = _resources(data.get("resources", {}))
        return data

    @model_validator(mode="before")
    @classmethod
    def _with_network(cls, table: Any) -> Any:
        """Has the pass run the network where shots are found by it."""
        if not isinstance(table, Mapping) or _value(table.get("shots"), "detector") != TRANSNET:
            return table
        scan = table.get("scan", {})
        named = _value(scan, "detectors") or ()
        if not isinstance(named, Iterable) or isinstance(named, str) or TRANSNET in named:
            return table
        keys = scan.model_dump() if isinstance(scan, BaseModel) else dict(scan)
        return {**table, "scan": {**keys, "detectors": (*named, TRANSNET)}}

    @model_validator(mode="after")
    def _captions_are_bounded(self) -> Self:
        if self.resources["captions"].concurrency == 0:
            raise ValueError("resources.captions.concurrency = 0: a server must not be asked without bound; use 1 or more")
        return self

    @model_validator(mode="after")
    def _known_detector(self) -> Self:
        chosen, known, threshold = self.shots.detector, (*DETECTORS, TRANSNET, *self.scan.scenedetect), self.shots.threshold
        if chosen not in known:
            raise ValueError(f"shots.detector = {chosen!r}: there is none such; use {_either(known, chosen)}")
        if chosen in self.scan.scenedetect and threshold is not None:
            raise ValueError(f"shots.threshold does not apply to {chosen!r}, which PySceneDetect runs with its own")
        if chosen == TRANSNET and threshold is not None and threshold >= 1:
            raise ValueError(f"shots.threshold = {threshold:g}: that of {TRANSNET!r} is a probability, below 1; its authors use 0.5")
        return self

    @model_validator(mode="after")
    def _fit_for_sparse(self) -> Self:
        if self.scan.mode != "sparse":
            return self
        if self.scan.detectors:
            raise ValueError(f'scan.mode = "sparse", and the detectors that scan.detectors runs need every frame ({", ".join(self.scan.detectors)}): set scan.mode to "exact" or "fast"')
        if self.shots.trim_idle:
            raise ValueError('shots.trim_idle needs every frame: set scan.mode to "exact" or "fast"')
        pieces = {"shots.stride_s": self.shots.stride_s if self.shots.detector == "stride" else 0.0, "shots.max_s": self.shots.max_s}
        for key, length_s in pieces.items():
            if 0 < length_s < 2 * self.scan.sparse_s:
                raise ValueError(
                    f'{key} = {length_s:g} with scan.mode = "sparse": a piece must hold a key frame, and they may be scan.sparse_s = '
                    f"{self.scan.sparse_s:g} s apart; lower scan.sparse_s to {length_s / 2:g} or less, or raise {key}"
                )
        return self

    @model_validator(mode="after")
    def _frames_for_models(self) -> Self:
        asks = f'captions.engine = "{self.captions.engine}"' if self.captions.engine in ("openai", "serve") else "scores.use" if self.scores.use else None
        if asks and self.frames.keep == "none":
            raise ValueError(f"{asks} needs frames: set frames.keep to \"all\" or \"kept\"")
        return self

    @model_validator(mode="after")
    def _frames_for_scores(self) -> Self:
        if self.scores.use and self.frames.keep == "none":
            raise ValueError("scores.use names scorers, which look at stored frames: set frames.keep to \"all\" or \"kept\"")
        return self

    def check_sparse(self) -> None:
        """Makes sure that shots can be found in videos that are scanned in sparse mode, if that is asked for. Spans of a list need no detector.

        Raises:
            RecipeError: the detector needs every frame.
        """
        if self.scan.mode == "sparse" and self.shots.detector not in SPARSE_DETECTORS:
            what = f'scan.mode = "sparse" with shots.detector = "{self.shots.detector}", which needs every frame'
            mend = 'set shots.detector to "stride", or to "content" for cuts, or scan.mode to "exact" or "fast"'
            raise RecipeError(what, step="recipe", mend=mend)

    @classmethod
    def profile(cls, name: str) -> Recipe:
        """The recipe of a profile.

        Raises:
            RecipeError: there is no such profile.
        """
        return cls.parse({}, profile=name)

    @classmethod
    def load(cls, path: str | Path, *, profile: str = "web", overrides: Iterable[str] = ()) -> Recipe:
        """A recipe file over a profile's defaults, and `section.key=value` settings over both.

        Raises:
            RecipeError: it cannot be read, is not TOML, or has a wrong key or value (named, with the nearest right one).
        """
        try:
            table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"the recipe {path} cannot be read: {error}", step="recipe", mend="name a TOML file; `rushes recipe` prints one") from error
        except tomllib.TOMLDecodeError as error:
            raise RecipeError(f"the recipe {path} is not TOML: {error}", step="recipe", mend="see `rushes recipe` for a right one") from error
        return cls.parse(table, profile=profile, overrides=overrides)

    @classmethod
    def parse(cls, table: Mapping[str, Any], *, profile: str = "web", overrides: Iterable[str] = ()) -> Recipe:
        """A recipe from nested tables over a profile's defaults, then `section.key=value` settings.

        Raises:
            RecipeError: a wrong key or value.
        """
        if profile not in get_args(Profile):
            raise RecipeError(f"there is no profile {profile!r}", step="recipe", mend=f"use {_either(get_args(Profile), profile)}")
        data = _merge(_profile_table(profile), table)
        for text in overrides:
            data = _merge(data, _override(text))
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise RecipeError(_explain(cls, error), step="recipe", mend="`rushes recipe` prints every key with its default") from error

    def with_overrides(self, overrides: Iterable[str]) -> Recipe:
        """The same recipe with `section.key=value` settings over it."""
        return Recipe.parse(self.model_dump(), overrides=overrides)


def _value(section: Any, key: str) -> Any:
    """A key of a section, which is a table or has been read already; None where it is not there."""
    return section.get(key) if isinstance(section, Mapping) else getattr(section, key, None)


def _resources(table: Mapping[str, Any]) -> dict[str, Any]:
    return {**_merge(RESOURCES, table)}


def _rules(profile: str) -> dict[str, Rule]:
    return {name: Rule(**bounds) for name, bounds in RULES[profile].items()}


def _profile_table(profile: str) -> dict[str, Any]:
    return _merge(PROFILES[profile], {"rules": RULES[profile]})


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = _merge(out[key], value) if both else value
    return out


def _override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or len(path) < 2 or not all(path):
        raise RecipeError(f"--set {text!r} is not section.key=value", step="recipe", mend="such as --set shots.min_s=0.5")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    for part in reversed(path):
        parsed = {part: parsed}
    return dict(parsed)


def _either(names: Iterable[str], wrong: str) -> str:
    near = difflib.get_close_matches(wrong, list(names), n=1, cutoff=0.5)
    return repr(near[0]) if near else "one of " + ", ".join(names)


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    """Every wrong key with its value, and the nearest right one."""
    lines = []
    for item in error.errors():
        path = [str(p) for p in item["loc"]]
        where = ".".join(path)
        if item["type"] == "extra_forbidden":
            keys = _keys_at(model, path[:-1])
            near = difflib.get_close_matches(path[-1], keys, n=1, cutoff=0.5)
            hint = f"did you mean {'.'.join([*path[:-1], near[0]])}?" if near else f"the keys there are {', '.join(keys)}"
            lines.append(f"there is no key {where} (value {item['input']!r}); {hint}")
        elif item["type"] == "literal_error":
            expected = str(item.get("ctx", {}).get("expected", ""))
            choices = [c.strip(" '") for c in expected.replace(" or ", ", ").split(",")]
            near = difflib.get_close_matches(str(item["input"]), choices, n=1, cutoff=0.5)
            lines.append(f"{where} = {item['input']!r}: must be {expected}" + (f"; did you mean {near[0]!r}?" if near else ""))
        else:
            said = item["msg"].removeprefix("Value error, ")
            value = "" if isinstance(item["input"], Mapping) else f" = {item['input']!r}"
            lines.append(f"{where}{value}: {said}" if where else said)
    return "; ".join(lines)


def _keys_at(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = model.model_fields.get(part)
        if field is None:
            return sorted(_NAMED[path[0]].model_fields)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
    return sorted((_NAMED.get(path[0], model) if path and path != ["scores"] else model).model_fields)


_NAMED: dict[str, type[BaseModel]] = {"rules": Rule, "resources": StageResources, "scores": ClassifierSettings}
"""Sections whose tables have names of the user's choice, and what such a table holds."""
RESOURCES: dict[str, dict[str, float]] = {
    "scan": {"cpus": 1.0, "gpus": 0.0, "memory_gib": 1.0, "concurrency": 0},
    "shots": {"cpus": 1.0, "gpus": 0.0, "memory_gib": 1.0, "concurrency": 0},
    "scores": {"cpus": 1.0, "gpus": 0.0, "memory_gib": 4.0, "concurrency": 0},
    "captions": {"cpus": 0.0, "gpus": 0.0, "memory_gib": 0.0, "concurrency": 8},
    "alignment": {"cpus": 1.0, "gpus": 0.0, "memory_gib": 4.0, "concurrency": 1},
    "files": {"cpus": 1.0, "gpus": 0.0, "memory_gib": 1.0, "concurrency": 0},
}
"""Default resources by stage. A decoding child is single-threaded and stays under 1 GiB; a process that scores has as many threads as CPUs and
holds models; the captioner waits for its server; what compares captions with frames holds an encoder of its own, so it is one process unless you
ask for more."""
MOVED = (("scan", "workers", "scan", "concurrency"), ("captions", "concurrency", "captions", "concurrency"))
"""Keys of version 0.1: (section, key) and the stage and key of `[resources]` that they are now. Recipes and stores that have them still work."""

PROFILES: dict[str, dict[str, Any]] = {
    "web": {},
    "inspection": {"shots": {"detector": "stride", "gradual": False}, "frames": {"short_side_px": 720}},
}
"""What a profile changes besides rules. inspection: a robot on its round films without cuts; signs and gauges must stay readable."""

_DAMAGE: dict[str, dict[str, Any]] = {
    "blurred": {"column": "sharpness", "min": 0.43},
    "dark": {"column": "dark_share", "max": 0.9},
    "overexposed": {"column": "clipped_share", "max": 0.25},
    "noisy": {"column": "noise", "max": 6.0},
    "blocky": {"column": "blockiness", "max": 0.006},
    "frozen": {"column": "freeze_share", "max": 0.8},
}
RULES: dict[str, dict[str, dict[str, Any]]] = {
    "web": {
        "too_short": {"column": "duration_s", "min": 4.0},
        **_DAMAGE,
        "static": {"column": "static_share", "max": 0.99},
        "shaky": {"column": "shake", "max": 0.02},
        "empty": {"column": "texture", "min": 0.02},
    },
    # A robot on its round: its gait shakes, it stops at what it inspects, and a blank wall or a night shift is part of the round.
    "inspection": {"too_short": {"column": "duration_s", "min": 4.0}, **{k: v for k, v in _DAMAGE.items() if k != "dark"}},
}
"""Default rules by profile, calibrated as docs/calibration.md shows; a clip of the inspection profile is not dropped for being dark."""
