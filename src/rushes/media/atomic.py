"""Local files that appear complete or not at all: a hidden name, fsync, rename."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def put_local(path: str, data: bytes | Callable[[BinaryIO], None]) -> int:
    """Writes a file under a hidden name, makes it durable (fsync), and renames it over an older one. Returns its size in bytes."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with open(temporary, "wb") as file:
            if isinstance(data, bytes):
                file.write(data)
            else:
                data(file)
            file.flush()
            os.fsync(file.fileno())
            size = file.seek(0, io.SEEK_END)
        rename(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return size


def rename(temporary: str, path: str) -> None:
    """Renames a file that is durable, and makes the rename durable too (fsync of the folder)."""
    os.replace(temporary, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def temporary_beside(path: str) -> str:
    """A hidden name in the folder of `path` that no other process uses (it holds the process id) and that ends in .tmp."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.{os.getpid()}.tmp")
