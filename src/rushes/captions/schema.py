"""The JSON schema of structured captions, and the check that an answer keeps it.

Answers are checked here because some servers accept `response_format` and ignore it (`transformers serve` does), and others enforce a part
of it. The check knows only the keywords that SCHEMA uses. All fields are required and no others are allowed, as the strict modes of servers
demand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEXT: dict[str, Any] = {"type": "string"}
_TEXTS: dict[str, Any] = {"type": "array", "items": _TEXT}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


SCHEMA: dict[str, Any] = _object(
    {
        "environment": _TEXT,
        "objects": {"type": "array", "items": _object({"name": _TEXT, "state": _TEXT, "position": _TEXT})},
        "signs": _TEXTS,
        "anomalies": _TEXTS,
        "light": _TEXT,
        "ground": _TEXT,
        "changes": _TEXTS,
        "risks": _TEXTS,
        "camera": _TEXT,
        "summary": _TEXT,
    }
)
_TYPES: dict[str, type] = {"object": dict, "array": list, "string": str}


def first_breach(value: object, schema: Mapping[str, Any], path: str = "answer") -> str | None:
    """Where `value` first breaks `schema`, in words; None when it keeps it."""
    wanted = _TYPES[schema["type"]]
    if not isinstance(value, wanted):
        return f"{path} is {type(value).__name__}, the schema wants {schema['type']}"
    if isinstance(value, dict):
        missing = [name for name in schema["required"] if name not in value]
        if missing:
            return f"{path} lacks {', '.join(missing)}"
        foreign = [str(name) for name in value if name not in schema["properties"]]
        if foreign:
            return f"{path} has fields the schema does not know: {', '.join(foreign)}"
        breaches = (first_breach(value[name], inner, f"{path}.{name}") for name, inner in schema["properties"].items())
    elif isinstance(value, list):
        breaches = (first_breach(item, schema["items"], f"{path}[{i}]") for i, item in enumerate(value))
    else:
        return None
    return next((breach for breach in breaches if breach), None)
