"""What is unforeseen fails one video, and for good only where trying again would give the same."""

from __future__ import annotations

from typing import Any

import pytest

from rushes.engine.quarantine import quarantined
from rushes.errors import DecodeError, StorageError


@pytest.mark.parametrize(
    ("error", "name", "permanent", "fatal"),
    [
        (ZeroDivisionError("odd file"), "ZeroDivisionError", True, False),
        (ConnectionResetError("the store hung up"), "ConnectionResetError", False, False),
        (DecodeError("no frame"), "DecodeError", True, False),
        (StorageError("no space left"), "StorageError", False, True),
    ],
)
def test_an_error_becomes_a_message(error: Exception, name: str, permanent: bool, fatal: bool) -> None:
    def work() -> dict[str, Any]:
        raise error

    told = quarantined(work)["error"]
    assert (told["type"], told["permanent"], told["fatal"]) == (name, permanent, fatal)
    assert str(error) in told["message"]


def test_what_works_is_done() -> None:
    assert quarantined(lambda: {"n": 1}) == {"done": {"n": 1}}
