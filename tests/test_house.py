"""The house numbers and manners, counted over the source itself. See docs/architecture.md, "The house"."""

from __future__ import annotations

import ast
import json
import re
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parent.parent / "src"
FILES = sorted((SRC / "rushes").rglob("*.py"))
QUARANTINE = SRC / "rushes" / "quarantine.py"
BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "base", "misc", "core"}
HEAVY = {"daft", "av", "cv2", "numpy", "pyarrow", "openai", "jinja2", "scenedetect", "torch", "ray"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def trees() -> dict[Path, ast.Module]:
    """The source, parsed once, by the process that runs these tests."""
    return {path: ast.parse(path.read_text()) for path in FILES}


def named(path: Path, node: ast.AST | None = None) -> str:
    where = path.relative_to(SRC).as_posix()
    return where if node is None else f"{where}:{getattr(node, 'lineno', 0)} {getattr(node, 'name', '')}".strip()


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def public(tree: ast.Module) -> Iterator[Function | ast.ClassDef]:
    """Public functions and classes of a module, and public methods of its public classes."""
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (m for m in node.body if isinstance(m, Function) and not m.name.startswith("_"))


def too_long_functions(tree: ast.AST) -> list[Function]:
    return [f for f in functions(tree) if (f.end_lineno or f.lineno) - f.lineno + 1 > 60]


def broad_handlers(tree: ast.AST) -> list[ast.ExceptHandler]:
    def broad(kind: ast.expr | None) -> bool:
        if isinstance(kind, ast.Tuple):
            return any(broad(part) for part in kind.elts)
        return kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException"))

    return [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and broad(node.type)]


def unannotated(function: Function) -> list[str]:
    """Arguments (and "return") without annotation; a method's self and cls need none."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    arguments += [a for a in (function.args.vararg, function.args.kwarg) if a]
    missing = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
    return missing if function.returns is not None else [*missing, "return"]


def test_files_are_small() -> None:
    assert {named(p): lines(p) for p in FILES if lines(p) > 400} == {}
    assert statistics.median(lines(p) for p in FILES if p.name != "__init__.py") <= 150


def test_functions_are_short() -> None:
    assert [named(p, f) for p, tree in trees().items() for f in too_long_functions(tree)] == []


def test_files_are_named_after_what_they_give() -> None:
    assert [named(p) for p in (SRC / "rushes").rglob("*") if p.stem in BANNED_NAMES] == []


def test_one_quarantine_door() -> None:
    assert [named(p, h) for p, tree in trees().items() if p != QUARANTINE for h in broad_handlers(tree)] == []
    if QUARANTINE in trees():
        assert len(broad_handlers(trees()[QUARANTINE])) == 1


def test_nothing_is_global() -> None:
    assert [named(p, n) for p, tree in trees().items() for n in ast.walk(tree) if isinstance(n, ast.Global)] == []


def test_public_names_have_docstrings() -> None:
    bare = [named(p, n) for p, tree in trees().items() for n in public(tree) if not ast.get_docstring(n)]
    assert bare == []
    assert [named(p) for p, tree in trees().items() if p.name != "__init__.py" and not ast.get_docstring(tree)] == []


def test_functions_are_annotated() -> None:
    assert {named(p, f): unannotated(f) for p, tree in trees().items() for f in functions(tree) if unannotated(f)} == {}


def test_no_loose_ends_and_no_machine_paths() -> None:
    words = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|/(home|Users|root|work)/\w")
    assert [f"{named(p)}:{k}" for p in FILES for k, line in enumerate(p.read_text().splitlines(), 1) if words.search(line)] == []


def test_the_ruler_itself() -> None:
    """Each count finds what it is for."""
    bad = ast.parse(
        "def f(a, *b, c: int = 1):\n" + "    x = 1\n" * 60 + "    try:\n        x\n    except (ValueError, Exception):\n        x\n"
    )
    (function,) = functions(bad)
    assert too_long_functions(bad) == [function]
    assert unannotated(function) == ["a", "b", "return"]
    assert len(broad_handlers(bad)) == 1
    assert broad_handlers(ast.parse("try:\n    x\nexcept ValueError:\n    x\n")) == []
    assert [n.name for n in public(ast.parse("class A:\n    def b(self): ...\n    def _c(self): ...\ndef _d(): ..."))] == ["A", "b"]


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_importing_is_cheap_and_changes_nothing() -> None:
    code = """
import json, logging, os, signal, sys, warnings
def state():
    handlers = [len(logging.root.handlers), str(signal.getsignal(signal.SIGINT)), len(warnings.filters)]
    return [dict(os.environ), logging.root.level, sys.path[:], handlers]
before, known = state(), set(sys.modules)
import rushes
print(json.dumps([before == state(), sorted({name.partition(".")[0] for name in set(sys.modules) - known})]))
"""
    unchanged, loaded = json.loads(python(code))
    assert unchanged
    assert HEAVY & set(loaded) == set()


def test_every_public_name_can_be_had() -> None:
    import rushes

    assert list(rushes.__all__) == sorted(rushes.__all__)
    assert all(getattr(rushes, name) is not None for name in rushes.__all__)


def cpu_s(code: str) -> float:
    """CPU-seconds, user and system, of a fresh interpreter that runs `code`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    python(code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


HELP = "import sys; sys.argv = ['rushes', {!r}]; from rushes.cli import main; main()"


def test_help_takes_half_a_second() -> None:
    """The best of three: a busy machine may slow one of them."""
    assert min(cpu_s(HELP.format("--help")) for _ in range(3)) <= 0.5


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, atexit; atexit.register(lambda: print('LOADED', *sorted({m.partition('.')[0] for m in sys.modules})));"
        + HELP.format("--help")
    )
    loaded = set(python(code).rpartition("LOADED")[2].split())
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("name", ["recipe", "records", "errors"])
def test_the_vocabulary_loads_no_engine(name: str) -> None:
    loaded = set(python(f"import sys, rushes.{name}; print(*sorted(m.partition('.')[0] for m in sys.modules))").split())
    assert loaded & HEAVY == set()
