"""What is unforeseen fails one video, and for good only where trying again would give the same."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from rushes.engine.jobs import FAILURE
from rushes.errors import _CLASSES, CannotGoOn, DecodeError, Failure, RushesError, StorageError, VideoError
from rushes.quarantine import quarantined


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

    found = quarantined(work)
    assert isinstance(found, Failure)
    assert (found.error_type, found.permanent, found.fatal) == (name, permanent, fatal)
    assert str(error) in found.what


def test_what_works_is_done() -> None:
    assert quarantined(lambda: {"n": 1}) == {"n": 1}


@pytest.mark.parametrize("kind", [*_CLASSES.values()], ids=[*_CLASSES])
def test_an_error_keeps_its_parts_and_class_on_its_way_to_another_process(kind: type[RushesError]) -> None:
    """By pickle as Ray sends it, and as JSON as a guarded child does; its text is not glued into itself."""
    error = kind("no room", uri="/a.mp4", span_s=(1.5, 2.5), step="scan", mend="make room")
    error.permanent = not kind.permanent
    sent = FAILURE.validate_python(json.loads(json.dumps(FAILURE.dump_python(Failure.of(error), mode="json"))))
    for arrived in (pickle.loads(pickle.dumps(error)), sent.error(), pickle.loads(pickle.dumps(sent)).error()):
        assert type(arrived) is kind and str(arrived) == str(error) and str(arrived).count("Mend:") == 1
        assert vars(arrived) == vars(error)


def test_an_error_that_is_none_of_ours_arrives_as_one_of_a_video_or_of_the_run() -> None:
    assert type(Failure("ZeroDivisionError", "odd").error()) is VideoError
    assert type(Failure("ZeroDivisionError", "odd", fatal=True).error()) is CannotGoOn
