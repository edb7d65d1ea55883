"""A recipe as commented TOML: every key with its value and what it means."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from rushes.recipe import Recipe


def as_toml(recipe: Recipe) -> str:
    """TOML that `Recipe.load` reads back to the same recipe. Keys without a value are shown as comments."""
    lines = ["# A Rushes recipe. Every key is optional; what is left out has the profile's default.", ""]
    for name, section in recipe:
        if isinstance(section, BaseModel):
            lines += [f"[{name}]", *_section(section), ""]
    for name, needs in recipe.resources.items():
        lines += [f"[resources.{name}]", *_section(needs), ""]
    for name, rule in recipe.rules.items():
        values = [f"{key} = {_value(value)}" for key, value in rule if value is not None]
        lines += [f"[rules.{json.dumps(name) if not name.isidentifier() else name}]", *values, ""]
    for protocol, options in recipe.storage.items():
        lines += [f"[storage.{protocol}]", *(f"{key} = {_value(value)}" for key, value in options.items()), ""]
    return "\n".join(lines)


def _section(section: BaseModel) -> list[str]:
    lines = []
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        setting = f"# {key} =" if value is None else f"{key} = {_value(value)}"
        lines.append(f"{setting:<27} # {field.description}")
    return lines


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    if isinstance(value, BaseModel):
        value = {key: part for key, part in value if part is not None}
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_value(v)}" for key, v in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
