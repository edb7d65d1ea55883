"""An error of whatever kind fails one video, or ends a command, in words: no Python type and no line of source in them."""

from __future__ import annotations

import errno
import inspect
import json
import os
import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from click.core import Command

from rushes import cli
from rushes.engine.jobs import FAILURE
from rushes.errors import _CLASSES, CannotGoOn, DecodeError, Failure, RushesError, StorageError, UnforeseenError, VideoError
from rushes.quarantine import quarantined
from variants import variants


def family(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    """A class of errors and all below it."""
    yield kind
    for below in kind.__subclasses__():
        yield from family(below)


OF_OURS = sorted(set(family(RushesError)), key=lambda kind: kind.__name__)
OF_LIBAV = sorted({kind for kind in family(av.error.FFmpegError) if kind.__module__ == "av.error"}, key=lambda kind: kind.__name__)
OF_PYTHON = sorted(
    {kind for kind in family(Exception) if kind.__module__ == "builtins" and not issubclass(kind, Warning)}, key=lambda kind: kind.__name__
)
TYPES = {kind.__name__ for kind in family(BaseException) if re.search(r"[a-z][A-Z]|Error", kind.__name__)}
"""Names of the classes of errors there are in this process, but for those that are usual words."""


def made(kind: type[BaseException]) -> Exception:
    """An error of a class, as the program could meet it."""
    if issubclass(kind, RushesError):
        return kind("it went wrong", uri="/a.mp4", step="scan", mend="mend it")
    if issubclass(kind, av.error.FFmpegError):
        return kind(22, "Invalid argument")  # type: ignore[return-value]
    if issubclass(kind, UnicodeDecodeError):
        return kind("utf-8", b"\xff", 0, 1, "odd byte")
    if issubclass(kind, UnicodeEncodeError):
        return kind("utf-8", "\ud800", 0, 1, "odd sign")
    if issubclass(kind, UnicodeTranslateError):
        return kind("\ud800", 0, 1, "odd sign")
    if issubclass(kind, BaseExceptionGroup):
        return kind("several", [ValueError("one")])  # type: ignore[return-value]
    return kind("could not broadcast input array")  # type: ignore[return-value]


def raised(error: Exception) -> Any:
    raise error


def assert_plain(words: str, kind: type[BaseException]) -> None:
    """No name of an error's class, no line of source, no trace."""
    seen = set(re.findall(r"\w+", words)) & (TYPES | {kind.__name__})
    assert not seen, f"{words!r} names {seen}"
    assert not re.search(r"\bline \d+ of \w+\.py|\.py\b|Traceback|File \"|\bat 0x", words), words


@pytest.mark.parametrize("kind", [*OF_OURS, *OF_LIBAV, *OF_PYTHON], ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_kind_of_error_becomes_plain_words_at_the_one_door(kind: type[BaseException]) -> None:
    found = quarantined(lambda: raised(made(kind)))
    assert isinstance(found, Failure) and found.what
    assert_plain(str(found.error()), kind)
    assert found.error_type in _CLASSES, "the type of an error in a table is one of ours"
    assert found.fatal == issubclass(kind, CannotGoOn)
    if not issubclass(kind, RushesError):
        assert found.mend
        assert found.detail is None or (kind.__name__ in found.detail and "test_quarantine.py" in found.detail)
    if kind in OF_PYTHON and not issubclass(kind, OSError | MemoryError):
        assert found.error_type == "UnforeseenError" and found.detail and "--log" in (found.mend or "")


@pytest.mark.parametrize("number", sorted(errno.errorcode), ids=[errno.errorcode[n] for n in sorted(errno.errorcode)])
def test_every_error_of_the_operating_system_is_said_in_its_words(number: int) -> None:
    found = quarantined(lambda: raised(OSError(number, os.strerror(number), "/footage/a.mp4")))
    assert isinstance(found, Failure) and not found.permanent, "the next run tries again"
    assert_plain(found.what, OSError)
    assert found.error_type == "ProbeError" and found.uri == "/footage/a.mp4" and found.mend


COMMANDS: dict[str, Command] = dict(cli.typer.main.get_command(cli.app).commands)  # type: ignore[attr-defined]
ARGUMENTS = {
    "run": ["x", "--out", "y"],
    "export": ["x", "--to", "y"],
    "caption": ["x", "--try", "1"],
    "plan": ["x", "--out", "y"],
    "explain": ["x", "y"],
    "sql": ["x", "SELECT 1"],
    "publish": ["x", "--to", "parquet:y"],
    "forget": ["x", "y"],
}
BARE = ("demo", "recipe", "doctor")


class Left(BaseException):
    """The process would have ended with this exit code."""


@pytest.mark.parametrize("name", variants(COMMANDS, quick=["run", "plan", "clips", "report", "export"]))
def test_every_command_ends_in_words_whatever_is_raised_in_it(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The command's own function raises; what is around it is real. `run` meets every kind, the others ours and their share of the rest."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def leave(code: int) -> None:
        raise Left(code)

    monkeypatch.setattr(cli, "leave", leave)
    monkeypatch.setattr(sys, "argv", ["rushes", name, *ARGUMENTS.get(name, [] if name in BARE else ["x"])])
    own = next(info.callback for info in cli.app.registered_commands if (info.name or info.callback.__name__) == name)  # type: ignore[union-attr]
    assert own is not None
    foreign = [*OF_LIBAV, *OF_PYTHON]
    share = foreign if name == "run" else foreign[sorted(COMMANDS).index(name) :: len(COMMANDS)]
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))  # the command hides pandas from its process
    for kind in [*OF_OURS, *share]:
        if issubclass(kind, BrokenPipeError):
            continue  # the reader of the output has gone: exit 0, see test_cli
        error = made(kind)
        with monkeypatch.context() as patched:
            patched.setattr(own, "__code__", _raising(own).__code__)
            patched.setattr(own, "__defaults__", own.__defaults__)
            Raise.error = error
            with pytest.raises(Left) as left:
                cli.main()
        said = capfd.readouterr()
        assert said.out == "" and said.err.startswith("rushes: ") and said.err.count("\n") == 1, (kind, said.err)
        assert_plain(re.sub(r"/\S+", "", said.err), kind)
        assert left.value.args == (getattr(error, "exit_code", 3),)
        if kind in OF_PYTHON and not issubclass(kind, OSError | MemoryError):
            (details,) = re.findall(r"/\S+rushes-error-\S+\.txt", said.err)
            assert kind.__name__ in Path(details).read_text()


class Raise:
    """What the commands raise."""

    error: Exception


def _raising(own: Any) -> Any:
    """A function with the same arguments that raises `Raise.error`."""
    names = ", ".join(inspect.signature(own).parameters)
    space: dict[str, Any] = {}
    exec(f"def f({names}):\n    from test_quarantine import Raise\n    raise Raise.error\n", space)
    return space["f"]


@pytest.mark.parametrize(
    ("error", "name", "permanent", "fatal"),
    [
        (ZeroDivisionError("odd file"), "UnforeseenError", True, False),
        (ConnectionResetError(errno.ECONNRESET, "the store hung up"), "ProbeError", False, False),
        (DecodeError("no frame"), "DecodeError", True, False),
        (StorageError("no space left"), "StorageError", False, True),
    ],
)
def test_an_error_becomes_a_message(error: Exception, name: str, permanent: bool, fatal: bool) -> None:
    found = quarantined(lambda: raised(error))
    assert isinstance(found, Failure)
    assert (found.error_type, found.permanent, found.fatal) == (name, permanent, fatal)
    words = found.what if isinstance(error, RushesError | OSError) else found.detail or ""
    assert (error.strerror if isinstance(error, OSError) else str(error)) in words


def test_what_works_is_done() -> None:
    assert quarantined(lambda: {"n": 1}) == {"n": 1}


@pytest.mark.parametrize("kind", [*_CLASSES.values()], ids=[*_CLASSES])
def test_an_error_keeps_its_parts_and_class_on_its_way_to_another_process(kind: type[RushesError]) -> None:
    """By pickle as Ray sends it, and as JSON as a guarded child does; its text is not glued into itself."""
    error = kind("no room", uri="/a.mp4", span_s=(1.5, 2.5), step="scan", mend="make room")
    error.permanent = not kind.permanent
    sent = FAILURE.validate_python(json.loads(json.dumps(FAILURE.dump_python(Failure.of(error), mode="json"))))
    for arrived in (pickle.loads(pickle.dumps(error)), sent.error(), pickle.loads(pickle.dumps(sent)).error()):
        assert type(arrived) is kind and str(arrived) == str(error) and str(arrived).count("Fix:") == 1
        assert vars(arrived) == vars(error)


def test_an_error_that_is_none_of_ours_arrives_as_one_of_a_video_or_of_the_run() -> None:
    assert type(Failure("ZeroDivisionError", "odd").error()) is VideoError
    assert type(Failure("ZeroDivisionError", "odd", fatal=True).error()) is CannotGoOn
    assert UnforeseenError in OF_OURS
