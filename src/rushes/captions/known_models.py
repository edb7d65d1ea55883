"""Settings of requests that the makers of common models recommend: one written table, and what a recipe leaves open filled in from it.

What the recipe sets itself counts. Rushes wants a description and no thoughts, so thinking is switched off where a model has a switch. The
filled-in settings are part of the fingerprint. A server that refuses one of the table's keys is asked without the table's keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rushes.recipe_captions import CaptionSettings

MAX_TOKENS, MAX_TOKENS_OF_RECORDS = 512, 1024
"""Longest answers, tokens, where the recipe sets none: of plain text, and of structured answers, which take about 300 to 700."""
_NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}


@dataclass(frozen=True, slots=True)
class KnownModel:
    """Settings for the models of one family.

    Attributes:
        name: of the family.
        names: matches the names of its models.
        source: where the settings come from.
        settings: keys of `[captions]`.
        body: further keys of the request.
        note: what else to know.
    """

    name: str
    names: re.Pattern[str]
    source: str
    settings: Mapping[str, float]
    body: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


def _names(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


KNOWN_MODELS = (
    KnownModel(
        "Qwen3-VL Thinking",
        _names(r"qwen3[-_.]?vl.*thinking"),
        "model card, Generation Hyperparameters, VL, Thinking",
        {"temperature": 1.0, "top_p": 0.95},
        {"top_k": 20},
        "its thinking cannot be switched off: use the Instruct model of the same size, or raise captions.max_tokens",
    ),
    KnownModel(
        "Qwen3-VL",
        _names(r"qwen3[-_.]?vl"),
        "model card, Generation Hyperparameters, VL, Instruct",
        {"temperature": 0.7, "top_p": 0.8},
        {"top_k": 20, "presence_penalty": 1.5},
    ),
    KnownModel(
        "Qwen3.5, Qwen3.6",
        _names(r"qwen3\.[56]"),
        "model card, Best Practices, Instruct (or non-thinking) mode for general tasks",
        {"temperature": 0.7, "top_p": 0.8},
        {"top_k": 20, "presence_penalty": 1.5, **_NO_THINKING},
    ),
    KnownModel(
        "Qwen2.5-VL",
        _names(r"qwen2\.?5[-_.]?vl"),
        "generation_config.json of the Instruct models: temperature 1e-6, repetition_penalty 1.05",
        {"temperature": 0.0, "repetition_penalty": 1.05},
    ),
    KnownModel(
        "InternVL",
        _names(r"intern[-_.]?vl"),
        "temperature 0.0 in OpenGVLab/InternVL, internvl_chat/eval/vqa/evaluate_vqa.py",
        {"temperature": 0.0},
    ),
    KnownModel(
        "SmolVLM, SmolVLM2",
        _names(r"smolvlm"),
        "do_sample=False in the documentation of SmolVLM in transformers",
        {"temperature": 0.0},
    ),
    KnownModel(
        "MiniCPM-V Thinking",
        _names(r"minicpm[-_.]?[vo].*thinking"),
        "llama.cpp, examples/llava/README-minicpmv2.5.md: --temp 0.7 --top-p 0.8 --top-k 100 --repeat-penalty 1.05",
        {"temperature": 0.7, "top_p": 0.8, "repetition_penalty": 1.05},
        {"top_k": 100},
        "its thinking cannot be switched off: use the model without Thinking in its name, or raise captions.max_tokens",
    ),
    KnownModel(
        "MiniCPM-V",
        _names(r"minicpm[-_.]?[vo]"),
        "as MiniCPM-V Thinking; enable_thinking: MiniCPM-V CookBook, vLLM guide of 4.5",
        {"temperature": 0.7, "top_p": 0.8, "repetition_penalty": 1.05},
        {"top_k": 100, **_NO_THINKING},
    ),
    KnownModel(
        "Gemma 3",
        _names(r"gemma[-_.]?3"),
        "the Gemma team's settings for inference, as LM Studio quotes them",
        {"temperature": 1.0, "top_p": 0.95},
        {"top_k": 64},
    ),
)
"""In the order in which they are looked for."""


def known_model(name: str | None) -> KnownModel | None:
    """The family that a model's name belongs to; None where it is not known."""
    return next((one for one in KNOWN_MODELS if name and one.names.search(name)), None)


@dataclass(frozen=True, slots=True)
class Filled:
    """Settings with all that is left open filled in.

    Attributes:
        settings: the recipe's section; `max_tokens` and `temperature` are set.
        model: the family whose settings were taken; None where the model is not known.
        of_table: keys of the request that come from the table and not from the recipe, beside `temperature`: a server may not know them.
    """

    settings: CaptionSettings
    model: KnownModel | None
    of_table: frozenset[str]

    @property
    def words(self) -> str:
        """What was filled in, for people; empty where the table says nothing."""
        if self.model is None:
            return ""
        own, body = self.settings, self.settings.extra_body
        keys = ["temperature", *sorted(self.of_table)]
        values = [f"{key} {_shown(getattr(own, key) if key in type(own).model_fields else body[key])}" for key in keys]
        return f"settings of {self.model.name} ({self.model.source}): {', '.join(values)}" + (
            f"; {self.model.note}" if self.model.note else ""
        )


def filled(settings: CaptionSettings, *, structured: bool) -> Filled:
    """The settings with what the recipe leaves open filled in.

    Args:
        settings: the recipe's section.
        structured: whether answers have a schema.
    """
    known = known_model(settings.model)
    given: dict[str, Any] = dict(known.settings) if known else {}
    taken = {key: value for key, value in given.items() if getattr(settings, key) is None}
    body, own = dict(known.body) if known else {}, settings.extra_body
    of_table = {key for key in (*taken, *body) if key != "temperature" and key not in own}
    update = {
        "temperature": 0.0,
        "max_tokens": settings.max_tokens or (MAX_TOKENS_OF_RECORDS if structured else MAX_TOKENS),
        **({"temperature": settings.temperature} if settings.temperature is not None else {}),
        **taken,
        "extra_body": {**body, **{key: _both(body.get(key), value) for key, value in own.items()}},
    }
    return Filled(settings.model_copy(update=update), known, frozenset(of_table))


def _both(ours: Any, own: Any) -> Any:
    """A value of the recipe; of two tables, ours with all keys of the recipe's over it."""
    return {**ours, **own} if isinstance(ours, Mapping) and isinstance(own, Mapping) else own


def _shown(value: Any) -> str:
    """A value as people read it: `{"enable_thinking": False}` as "enable_thinking false"."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(inner)}" for key, inner in value.items())
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, int | float) else str(value)
