"""The fields of a structured answer as columns of a clip: which columns a schema gives, and their values in an answer. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rushes.errors import RecipeError
from rushes.records import Column

PREFIX = "caption_"
"""Begins the name of each column."""
TAKEN = ("caption_fields", "caption_model")
"""Columns of clips that are no fields of an answer."""
KINDS = {"string": "text", "boolean": "bool", "integer": "int", "number": "double"}
"""Type in a JSON schema -> kind of column; all others, such as arrays, become JSON text."""


def field_columns(schema: Mapping[str, Any] | None) -> tuple[Column, ...]:
    """The columns of the fields of a schema, in its order: `caption_NAME`, and `caption_n_NAME`, the number of items, for an array.

    Raises:
        RecipeError: two columns would have one name, or a field the name of another column.
    """
    found: list[Column] = []
    for name, inner in (schema or {}).get("properties", {}).items():
        kind = _kind(inner)
        listed = f"; one of {', '.join(map(str, inner['enum']))}" if isinstance(inner, dict) and "enum" in inner else ""
        as_json = ", as JSON" if kind == "json" else ""
        doc = f"the model's field {name}{listed}{as_json}"
        found.append(Column(PREFIX + name, KINDS.get(kind, "text"), "", doc))
        if _is_array(inner):
            found.append(Column(f"{PREFIX}n_{name}", "int", "", f"items in the model's field {name}", 0.0))
    names = [column.name for column in found]
    if taken := next((name for name in names if names.count(name) > 1 or name in TAKEN), None):
        what = f"the schema's fields give the column {taken!r}, and clips have another column of that name"
        raise RecipeError(what, step="recipe", mend="rename the field in the schema")
    return tuple(found)


def label_names(schema: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The columns whose values can be counted: truth values, numbers, and texts of a given list."""
    fields = (schema or {}).get("properties", {})
    free = {PREFIX + name for name, inner in fields.items() if _kind(inner) in ("string", "json") and "enum" not in inner}
    return tuple(column.name for column in field_columns(schema) if column.name not in free)


def field_values(fields: Mapping[str, Any] | None, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Column -> value, of an answer that keeps the schema; null for a field that it leaves out."""
    values: dict[str, Any] = {}
    for name, inner in (schema or {}).get("properties", {}).items():
        value, kind = (fields or {}).get(name), _kind(inner)
        if _is_array(inner):
            values[f"{PREFIX}n_{name}"] = len(value) if isinstance(value, list) else None
        if kind == "json" and value is not None:
            value = json.dumps(value, ensure_ascii=False)
        elif kind in ("integer", "number") and value is not None:
            value = int(value) if kind == "integer" else float(value)
        values[PREFIX + name] = value
    return values


def _types(inner: Any) -> list[str]:
    """The types that a field may have, but null."""
    kinds = inner.get("type") if isinstance(inner, dict) else None
    return [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind not in (None, "null")]


def _kind(inner: Any) -> str:
    """The one JSON type of a field that has a kind of column of its own; "json" for all others."""
    types = _types(inner)
    return types[0] if len(types) == 1 and types[0] in KINDS else "json"


def _is_array(inner: Any) -> bool:
    return _types(inner) == ["array"]
