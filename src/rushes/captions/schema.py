"""The JSON schemas of structured captions, ours and those of users, and the check that an answer keeps its schema.

Answers are checked here because some servers accept `response_format` and ignore it (`transformers serve` does), and others enforce a part
of it. The check knows the keywords in `CHECKED`; a schema with others is refused, since nobody would notice that they are not kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from rushes.errors import RecipeError

FOLDER = "prompts"
"""Where the built-in prompts and their schemas lie, inside this package."""
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "number": (int, float), "integer": (int,), "boolean": (bool,),
    "null": (type(None),),
}  # fmt: skip
CHECKED = frozenset(
    [
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "const",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
    ]
)
"""Keywords that the check knows."""
_TELLING = frozenset(["$schema", "$id", "$comment", "title", "description", "default", "examples"])
"""Keywords that say something and demand nothing."""
CAPTION_FIELDS = ("summary", "caption", "description")
"""Fields that become the caption's text, the first that a schema has; else its first text."""


@cache
def record_schema() -> dict[str, Any]:
    """The schema of the built-in prompts that ask for a record: `structured`, `inspection` and `inspection_zh`."""
    schema: dict[str, Any] = json.loads(files("rushes.captions").joinpath(FOLDER, "record.json").read_bytes())
    return schema


def load_schema(path: str, key: str = "captions.json_schema") -> dict[str, Any]:
    """A user's schema of answers.

    Args:
        path: a UTF-8 file with a JSON schema of an object that has a text among its fields.
        key: what named it, for errors.

    Raises:
        RecipeError: it cannot be read, is no such schema, or has keywords that are not checked.
    """
    mend = "name a UTF-8 file with a JSON schema of an object"
    try:
        schema = json.loads(Path(path).expanduser().read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(f"{key} = {path!r} cannot be read as JSON ({error})", step="recipe", mend=mend) from error
    if not isinstance(schema, dict) or schema.get("type") != "object" or not isinstance(schema.get("properties"), dict):
        what = f'{key} = {path!r} is no schema of an object: it needs "type": "object" and "properties"'
        raise RecipeError(what, step="recipe", mend=mend)
    for where, part in _parts(schema, "schema"):
        unknown = sorted(set(part) - CHECKED - _TELLING)
        kinds = part.get("type", [])
        odd = [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind not in _TYPES]
        if unknown or odd:
            said = f"has {', '.join(unknown)}" if unknown else f"has the type {odd[0]!r}"
            mend = f"write it with {', '.join(sorted(CHECKED))} and the types {', '.join(_TYPES)}"
            raise RecipeError(f"{key} = {path!r}: {where} {said}, which answers are not checked for", step="recipe", mend=mend)
    if not text_field(schema):
        mend = f"give it a field of type string, such as {CAPTION_FIELDS[0]!r}"
        raise RecipeError(f"{key} = {path!r} has no text that could be the caption", step="recipe", mend=mend)
    return schema


def _parts(schema: Mapping[str, Any], where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The schema and all schemas in it, each with its place."""
    yield where, schema
    properties, items = schema.get("properties"), schema.get("items")
    for name, inner in properties.items() if isinstance(properties, dict) else ():
        if isinstance(inner, dict):
            yield from _parts(inner, f"{where}.{name}")
    if isinstance(items, dict):
        yield from _parts(items, f"{where}[]")


def text_field(schema: Mapping[str, Any]) -> str:
    """The field of a schema's object that becomes the caption's text; empty where there is none."""
    texts = [name for name, inner in schema["properties"].items() if isinstance(inner, dict) and inner.get("type") == "string"]
    return next((name for name in CAPTION_FIELDS if name in texts), texts[0] if texts else "")


def first_breach(value: object, schema: Mapping[str, Any], path: str = "answer") -> str | None:
    """Where `value` first breaks `schema`, in words; None when it keeps it."""
    kinds = schema.get("type", list(_TYPES))
    wanted = kinds if isinstance(kinds, list) else [kinds]
    if not any(_is_a(value, kind) for kind in wanted):
        return f"{path} is {type(value).__name__}, the schema wants {' or '.join(wanted)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{path} is {value!r}, the schema wants one of {', '.join(map(repr, schema['enum']))}"
    if "const" in schema and value != schema["const"]:
        return f"{path} is {value!r}, the schema wants {schema['const']!r}"
    if isinstance(value, dict):
        return _breach_of_object(value, schema, path)
    if isinstance(value, list):
        inner = schema.get("items", {})
        breaches = (first_breach(item, inner, f"{path}[{i}]") for i, item in enumerate(value))
        return _out_of(len(value), schema, "minItems", "maxItems", f"{path} has", "items") or next((b for b in breaches if b), None)
    if isinstance(value, str):
        return _out_of(len(value), schema, "minLength", "maxLength", f"{path} has", "characters")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _out_of(value, schema, "minimum", "maximum", f"{path} is", "")
    return None


def _is_a(value: object, kind: str) -> bool:
    """Whether a value is of a JSON type; JSON's numbers are no booleans, and 2.0 is an integer."""
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind]) or (kind == "integer" and isinstance(value, float) and value.is_integer())


def _breach_of_object(value: Mapping[str, Any], schema: Mapping[str, Any], path: str) -> str | None:
    properties = schema.get("properties", {})
    missing = [name for name in schema.get("required", ()) if name not in value]
    if missing:
        return f"{path} lacks {', '.join(missing)}"
    foreign = [str(name) for name in value if name not in properties]
    if foreign and schema.get("additionalProperties") is False:
        return f"{path} has fields the schema does not know: {', '.join(foreign)}"
    return next((b for name in properties if name in value and (b := first_breach(value[name], properties[name], f"{path}.{name}"))), None)


def _out_of(number: float, schema: Mapping[str, Any], low: str, high: str, what: str, unit: str) -> str | None:
    """Where a number is below or above the bounds of two keywords."""
    if low in schema and number < schema[low]:
        return f"{what} {number:g} {unit}".rstrip() + f", the schema wants at least {schema[low]:g}"
    if high in schema and number > schema[high]:
        return f"{what} {number:g} {unit}".rstrip() + f", the schema wants at most {schema[high]:g}"
    return None
