"""On which device models run, and in which number format."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Device:
    """Where models of this process run: `name` as PyTorch has it ("cpu", "cuda:0"), `number` "float32" or "bfloat16"."""

    name: str
    number: str
