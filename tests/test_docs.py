"""The pages against the program: what can be asked for is described as it is, what is described can be asked for, and examples run."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import typer
from pydantic import BaseModel

import rushes
import rushes.api
import rushes.errors
from rushes.captions.prompts import BUILT_IN
from rushes.captions.request import Fault
from rushes.cli import app
from rushes.engine.fingerprints import fingerprints
from rushes.engine.stages import STAGES
from rushes.measures.clip import COLUMNS as MEASURE_COLUMNS
from rushes.recipe import PROFILES, RESOURCES, RULES, Recipe, Rule, ScanSettings, StageResources
from rushes.recipe_scores import ScoreSettings
from rushes.records import Column
from rushes.results.views import all_views
from rushes.rows.clip_columns import rule_columns
from rushes.scan.meters import all_columns
from rushes.scores.listed import LISTED, columns_of, scorers_of
from rushes.scores.scorer import EmbeddingScorer
from rushes.store.tables import STAMPS, TABLES
from rushes.verdict.checks import check_columns

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")), *sorted((ROOT / "benchmarks").glob("*.md"))]
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]
KINDS = {
    "text": "text", "int": "int64", "double": "float64", "float": "float32", "bool": "bool", "bytes": "bytes", "ints": "list of int64",
    "halfs": "list of float16", "time": "timestamp (µs, UTC)",
}  # fmt: skip
Row = list[str]


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """The text from a heading, such as "## rushes run", to the next heading of its level or above."""
    lines, level = text.splitlines(), heading.index(" ")
    start = lines.index(heading) + 1
    ends = (i for i in range(start, len(lines)) if re.match(rf"#{{1,{level}}} ", lines[i]))
    return "\n".join(lines[start : next(ends, len(lines))])


def rows(text: str) -> list[Row]:
    """The cells of all tables in a text, heads left out; a first cell of code is its first word, as --out of `--out STORE`."""
    found = []
    lines = text.splitlines()
    for i, line in enumerate(lines):
        is_head = i + 1 < len(lines) and lines[i + 1].startswith("|--")
        if line.startswith("| ") and not is_head:
            cells = [cell.strip() for cell in line.strip("|").split(" |")]
            code = re.match(r"`([^` ]+)", cells[0])
            found.append([code[1] if code else cells[0], *cells[1:]])
    return found


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def prose(text: str) -> str:
    """A page without its code: fenced and indented blocks."""
    return re.sub(r"^    .*$", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), flags=re.MULTILINE)


def commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(app)
    found: dict[str, Any] = group.commands
    return found


def options(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts if name.startswith("-")}


# Commands


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_option_has_its_line(name: str) -> None:
    told = {row[0] for row in rows(section(page("commands.md"), f"## rushes {name}"))}
    assert told == options(commands()[name])


def test_every_command_has_its_section() -> None:
    assert set(re.findall(r"^## rushes (\w+)$", page("commands.md"), re.MULTILINE)) == set(commands())
    assert set(re.findall(r"^    rushes (\w+) ", section(page("contract.md"), "## Commands"), re.MULTILINE)) == set(commands())


def test_the_contract_names_every_option() -> None:
    lines = "\n".join(re.findall(r"^    .*", section(page("contract.md"), "## Commands"), re.MULTILINE))
    told = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", lines))
    there = {name for command in commands().values() for name in options(command)}
    assert told == there


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_shell_examples_are_commands_that_exist(path: Path) -> None:
    for line in "\n".join(blocks(path.read_text(encoding="utf-8"), "console")).splitlines():
        if line.startswith("$ rushes "):
            name, *rest = shlex.split(line.removeprefix("$ rushes "))
            args = list(itertools.takewhile(lambda word: word not in (">", "|", "&&"), rest))
            commands()[name].make_context(name, args)  # raises a usage error for what does not exist


def tree(error: type[rushes.errors.RushesError]) -> Iterator[type[rushes.errors.RushesError]]:
    yield error
    for kind in error.__subclasses__():
        yield from tree(kind)


def test_every_error_and_its_exit_code_are_told() -> None:
    text = section(page("commands.md"), "## Exit codes")
    codes = {row[0]: row[1] for row in rows(text) if not row[0].isdigit()}
    assert {row[0] for row in rows(text) if row[0].isdigit()} == {"0", "1", "2", "3", "130"}
    ends_a_run = [e for root in (rushes.errors.UsageError, rushes.errors.CannotGoOn) for e in tree(root)]
    assert codes == {e.__name__: str(e.exit_code) for e in ends_a_run}
    rest = set(tree(rushes.errors.RushesError)) - {*ends_a_run, rushes.errors.RushesError}
    assert {e.__name__.rstrip("_") for e in rest if e.__module__ == "rushes.errors"} <= set(re.findall(r"`(\w+Error|WorkerLost)`", text))


# The recipe


def sections_of_the_recipe() -> dict[str, type[BaseModel]]:
    found = {name: field.annotation for name, field in Recipe.model_fields.items()}
    sections = {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, BaseModel)}
    return sections | {"rules.NAME": Rule, "resources.STAGE": StageResources}


def keys_told(name: str) -> list[Row]:
    """The lines of a section's first table: key, type, default, meaning, recomputed."""
    text = section(page("recipe.md"), f"## `[{name}]`")
    return rows(re.split(r"\n\nDefaults? (?:rules|of each stage)\.", text)[0])


def default_of(cell: str) -> object:
    return None if cell == "unset" else tomllib.loads(f"value = {cell.strip('`')}")["value"]


@pytest.mark.parametrize("name", sections_of_the_recipe())
def test_every_key_has_its_line_and_its_default(name: str) -> None:
    told = {row[0]: default_of(row[2]) for row in keys_told(name)}
    there = {key: field.get_default() for key, field in sections_of_the_recipe()[name].model_fields.items()}
    assert told == {key: list(value) if isinstance(value, tuple) else value for key, value in there.items()}


def test_every_section_of_the_recipe_is_there() -> None:
    headings = set(re.findall(r"^## `\[([\w.]+)\]`$", page("recipe.md"), re.MULTILINE))
    assert headings == {*sections_of_the_recipe(), "storage.PROTOCOL"}
    assert {name.split(".")[0] for name in headings} == set(Recipe.model_fields)


@pytest.mark.parametrize("name", sections_of_the_recipe())
def test_choices_of_a_key_are_all_named(name: str) -> None:
    types = {row[0]: row[1] for row in keys_told(name)}
    for key, field in sections_of_the_recipe()[name].model_fields.items():
        if get_origin(field.annotation) is Literal:
            assert set(re.findall(r'"([\w-]+)"', types[key])) == set(get_args(field.annotation)), key


def other(key: str, value: Any, annotation: Any) -> Any:
    """Another value that the key takes; None where there is none."""
    if get_origin(annotation) is Literal:
        return next((choice for choice in get_args(annotation) if choice != value), None)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if isinstance(value, int) else value / 2 + 0.1
    words = {
        "detector": "content",
        "prompt": "short",
        "model": "another",
        "base_url": "http://127.0.0.1:1/v1",
        "column": "duration_s",
        "ray_address": "local",
        "system": "Answer in English.",
        "json_schema": str(ROOT / "tests" / "data" / "own.schema.json"),
        "top_p": 0.5,
        "temperature": 0.5,
        "extra_body": {"enable_thinking": False},
        "stream": "all",
        "columns": ["caption"],
        "partition_by": ["codec"],
        "where": "n_frames > 0",
        "order": "clip_id",
        "sample": 5,
        "paimon_python": "/opt/paimon/bin/python",
        "question": "What happens?",
        "video_key": "observation.images.left",
        "buckets": ["length"],
        "use": ["aesthetic"],
        "encoder": "another/encoder",
        "encoder_revision": "0123abc",
        "labels": {"corridor": ["an empty corridor"]},
        "templates": ["{}"],
        "aesthetic_model": "another/head",
        "aesthetic_revision": "0123abc",
        "nsfw_clip_model": "head.pth",
        "faces_model": "faces.onnx",
        "serve": "server --port {port}",
        "serve_python": "/opt/vllm/bin/python",
        "classifiers": {"mine": {"model": "someone/classifier", "label": "mine"}},
    }
    return ["hash"] if key == "detectors" else words.get(key, 5.0)


WANTS_ALL = Recipe.parse(
    {
        "captions": {"engine": "openai", "model": "one"},
        "clips": {"mode": "encode"},
        "scores": {
            "use": ["aesthetic", "nsfw_clip", "subject", "embedding", "faces", "mine"],
            "nsfw_clip_model": "another.pth",
            "faces_model": "another.onnx",
            "classifiers": {"mine": {"model": "someone/classifier", "label": "another"}},
        },
    }
)


@pytest.mark.parametrize("name", sections_of_the_recipe())
def test_what_a_key_makes_rushes_recompute(name: str) -> None:
    """Changes one key after another and compares the stages whose fingerprint changed with the page."""
    before = fingerprints(WANTS_ALL)
    told = {row[0]: row[4] for row in keys_told(name)}
    data = WANTS_ALL.model_dump()
    there = {"rules.NAME": data["rules"]["too_short"], "resources.STAGE": data["resources"]["scan"]}.get(name) or data[name]
    for key, field in sections_of_the_recipe()[name].model_fields.items():
        kept = there[key]
        if (value := other(key, kept, field.annotation)) is None:
            continue
        there[key] = value
        after = fingerprints(Recipe.parse(data))
        there[key] = kept
        changed = [stage.name for stage in STAGES if before.get(stage.name) != after.get(stage.name)]
        assert told[key] == (", ".join(changed) or "nothing"), key


def test_default_rules_and_profiles_are_as_told() -> None:
    def number(cell: str) -> float | None:
        return float(cell) if cell else None

    text = section(page("recipe.md"), "## `[rules.NAME]`")
    told = [[row[0], *(c.strip("`") for c in row[1:3]), *map(number, row[3:])] for row in rows(text) if row[0] in RULES]
    there = [[p, n, r.get("column", n), r.get("min"), r.get("max")] for p, found in RULES.items() for n, r in found.items()]
    assert told == there
    settings = [[row[0], row[1].strip("`"), default_of(row[2])] for row in rows(section(page("recipe.md"), "## Profiles"))]
    assert settings == [[p, f"{s}.{k}", v] for p, table in PROFILES.items() for s, keys in table.items() for k, v in keys.items()]


def test_default_resources_are_as_told() -> None:
    text = section(page("recipe.md"), "## `[resources.STAGE]`")
    told = {row[0]: [float(cell) for cell in row[1:]] for row in rows(text) if row[0] in RESOURCES}
    keys = list(StageResources.model_fields)
    assert told == {stage: [needs[key] for key in keys] for stage, needs in RESOURCES.items()}


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_recipes_shown_are_right(path: Path, tmp_path: Path) -> None:
    for i, block in enumerate(blocks(path.read_text(encoding="utf-8"), "toml")):
        file = tmp_path / f"{i}.toml"
        file.write_text(block, encoding="utf-8")
        recipe = Recipe.load(file)
        check_columns(recipe.rules, rule_columns(recipe))
        fingerprints(recipe)


def test_prompts_and_failures_of_captions_are_all_told() -> None:
    prompts = {row[0] for row in rows(section(page("captions.md"), "## Prompts"))}
    assert prompts == {*BUILT_IN, "a path"}
    assert {row[0] for row in rows(section(page("captions.md"), "## Failures"))} == set(get_args(Fault))
    engines = get_args(Recipe.model_fields["captions"].annotation.model_fields["engine"].annotation)  # type: ignore[union-attr]
    assert {row[0] for row in rows(section(page("captions.md"), "## Engines"))} == set(engines)


def test_every_fingerprint_is_told() -> None:
    told = [row[0] for row in rows(section(page("resume.md"), "## Fingerprints"))[: len(STAGES)]]
    assert told == [stage.name for stage in STAGES]


# Tables and numbers


@pytest.mark.parametrize("name", TABLES)
def test_every_column_has_its_line(name: str) -> None:
    stamps = {column.name for column in STAMPS}
    told = [row[:3] for row in rows(section(page("tables.md"), f"## `{name}`"))]
    assert told == [[c.name, KINDS[c.kind], c.unit] for c in TABLES[name].columns if c.name not in stamps]
    keys = re.search(r"Key:\s+(.*?),\s+fingerprint\.", section(page("tables.md"), f"## `{name}`"), re.DOTALL)
    assert keys and tuple(re.findall(r"`(\w+)`", keys[1])) == TABLES[name].keys


def test_every_table_is_told() -> None:
    text = page("tables.md")
    assert re.findall(r"^## `(\w+)`$", text, re.MULTILINE) == list(TABLES)
    assert [row[:3] for row in rows(text.split("\n## ")[0])] == [[c.name, KINDS[c.kind], c.unit] for c in STAMPS]
    assert {row[0] for row in rows(section(page("architecture.md"), "## 3. The tables"))} == set(TABLES)


def bounds(column: Column) -> str:
    low, high = (None if v is None else f"{v:g}" for v in (column.low, column.high))
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"from {low}" if low is not None else f"to {high}" if high is not None else ""


@pytest.mark.parametrize(("heading", "columns"), [("## Measures", MEASURE_COLUMNS), ("## Signals", all_columns(ScanSettings()))])
def test_every_measure_and_signal_has_its_line(heading: str, columns: tuple[Column, ...]) -> None:
    told = [row[:3] for row in rows(section(page("measures.md"), heading))]
    assert told == [[c.name, c.unit, bounds(c)] for c in columns]


def test_every_scorer_of_the_list_and_its_columns_have_their_line() -> None:
    table = ScoreSettings(use=tuple(LISTED), nsfw_clip_model="a.pth", faces_model="b.onnx")
    scorers = scorers_of(table)
    told = [[row[0], row[1], row[3]] for row in rows(section(page("scores.md"), "## The list"))]
    assert told == [[s.name, "embeddings" if isinstance(s, EmbeddingScorer) else "frames", s.licence] for s in scorers]
    weights = {row[0]: row[2] for row in rows(section(page("scores.md"), "## The list"))}
    assert all(s.model in weights[s.name] for s in scorers if "/" in s.model and s.name not in ("subject", "embedding"))
    columns = [row[:3] for row in rows(section(page("scores.md"), "## Columns"))]
    assert columns == [[c.name, c.unit, bounds(c)] for c in columns_of(table)]


def test_the_readme_counts_the_measures() -> None:
    assert f" {len(MEASURE_COLUMNS)} measures" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_version_is_the_newest_in_the_changelog() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    heads = re.findall(r"^## (\S+), \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert heads[0] == version
    assert f"Version {version}," in (ROOT / "README.md").read_text(encoding="utf-8")


# Pages


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", prose(path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def too_wide(text: str) -> list[str]:
    """The lines of text that go beyond 100 columns and have a place where they could end earlier.

    Tables, code blocks and headings may be wider. So may a line that cannot be broken: its code spans and the targets of its links, taken
    as whole words, leave one word beside the mark of a list.
    """
    found = []
    for line in re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE).splitlines():
        words = re.sub(r"^[-*>\d.\s]+", "", re.sub(r"(`+)[^`]*\1", "code", line)).split()
        if len(line) > 100 and not line.startswith(("|", "    ", "#")) and len(words) > 1:
            found.append(line)
    return found


def test_the_ruler_of_lines() -> None:
    """It finds a paragraph and an item of a list that are too wide, and nothing that may be wide."""
    words, code = "word " * 20, "`" + "long code " * 11 + "`"
    wide = [words + "end", f"- {words}end", f"  {words}end"]
    fine = [words.strip(), f"| {words * 2}|", f"    {words * 2}", f"# {words * 2}", f"- {code}.", f"[page](https://{'a' * 100})"]
    assert too_wide("\n".join([*wide, *fine, "```", words * 2, "```", "  ```", words * 2, "  ```"])) == wide


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_text_ends_at_100_columns(path: Path) -> None:
    assert too_wide(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text(encoding="utf-8"))):
        if re.match(r"\w+://|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file) if file else path
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_pages_that_the_source_names_are_there() -> None:
    sources = [p for folder in ("src", "tests", "benchmarks") for p in sorted((ROOT / folder).rglob("*.py")) if p != Path(__file__)]
    named = {(m, p.name) for p in sources for m in re.findall(r"\b((?:docs|benchmarks)/[\w/-]+\.md)\b", p.read_text(encoding="utf-8"))}
    assert {(name, by) for name, by in named if not (ROOT / name).is_file()} == set()


def test_every_page_is_on_the_list() -> None:
    listed = {(DOCS / target).resolve() for target in re.findall(r"\]\(([\w./-]+\.md)\)", page("README.md"))}
    assert {p for p in DOCS.glob("*.md") if p.name != "README.md"} <= listed


def test_decisions_are_dated_numbered_and_listed() -> None:
    found = sorted((DOCS / "decisions").glob("0*.md"))
    listed = {row[0]: row[1] for row in rows(page("decisions/README.md"))}
    links = re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", page("decisions/README.md"))
    assert links == [p.name for p in found]
    for i, path in enumerate(found, 1):
        text = path.read_text(encoding="utf-8")
        date = re.search(r"^Date: (\d{4}-\d\d-\d\d)$", text, re.MULTILINE)
        assert text.startswith(f"# {i:04d}: ") and path.name.startswith(f"{i:04d}-"), path.name
        assert date and listed[f"[{i:04d}]({path.name})"] == date[1], path.name
        assert all(f"\n## {part}\n" in text for part in ("Choice", "Why", "Rejected")), path.name


def test_the_tree_of_the_house_is_as_drawn() -> None:
    src = ROOT / "src" / "rushes"
    drawn = re.findall(r"^      ([a-z_][a-z_./ ]*?)(?:  |$)", section(page("architecture.md"), "## 6. The house"), re.MULTILINE)
    names = {name for entry in drawn for name in entry.split() if name.endswith((".py", "/"))}
    there = {p.name + "/" * p.is_dir() for p in src.iterdir() if p.suffix == ".py" or (p.is_dir() and p.name != "__pycache__")}
    assert names == there


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_no_machine_paths(path: Path) -> None:
    assert re.findall(r"(?<![\w.])/(?:home|Users|root|work|tmp)/\w+", path.read_text(encoding="utf-8")) == []


# A store made by the README's own example


@pytest.fixture(scope="module")
def store(demo_footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs the README's Python example, with its recipe, on three films of the demo: one kept, one dropped, one broken."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "footage").mkdir()
    for name in ("inspection_round.mp4", "night_and_noon.mp4", "upload_stopped_half_way.mp4"):
        shutil.copyfile(demo_footage / name, folder / "footage" / name)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (folder / "recipe.toml").write_text("\n".join(blocks(text, "toml")), encoding="utf-8")
    example = blocks(text, "python")[0]
    done = subprocess.run([sys.executable, "-c", example], cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.match(r"finished [1-9]\d* kept\n", done.stdout), done.stdout
    assert all(column in done.stdout for column in ("uri", "start_s", "caption")), done.stdout
    return folder / "store"


@pytest.mark.slow
@pytest.mark.parametrize(("nth", "needs", "word"), [(1, ("pandas", "duckdb"), "inspection_round_00h"), (2, ("datasets",), "Measured")])
def test_the_readme_reads_exported_clips(store: Path, nth: int, needs: tuple[str, ...], word: str) -> None:
    for module in needs:
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    made = rushes.export(store, to=store.parent / "clips", captions="jsonl")
    assert made.failed == 0 and made.made + made.present > 0
    example = blocks((ROOT / "README.md").read_text(encoding="utf-8"), "python")[nth]
    done = subprocess.run([sys.executable, "-c", example], cwd=store.parent, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert word in done.stdout


def named(text: str, start: str) -> set[str]:
    """The names in backticks of the paragraph that begins so."""
    paragraph = text[text.index(start) + len(start) :].split("\n\n")[0]
    return set(re.findall(r"`(\w+)`", paragraph))


def test_the_contract_has_every_field_of_json(store: Path) -> None:
    found, text = rushes.api.results(store), section(page("contract.md"), "## JSON Lines")
    clips, captions = list(found.clips()), list(found.captions())
    kinds = {"clips": clips, "videos": list(found.videos()), "runs": found.runs(), "errors": list(found.errors()), "captions": captions}
    kinds["explain"] = found.explain(clips[0]["clip_id"])
    for name, lines in kinds.items():
        assert lines, name
        assert named(text, f"`{name} --json`") == set(lines[0]), name
    plan = rushes.plan([store.parent / "footage"], out=store)
    assert named(text, "`plan --json`") == {key for key, value in plan.items() if not isinstance(value, dict)}
    assert "{wanted, present, missing, fingerprint}" in text and set(plan["scan"]) == {"wanted", "present", "missing", "fingerprint"}


def test_queries_run(store: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as db:
        db.execute(all_views(rushes.api.results(store)))
        queries = blocks(page("duckdb.md"), "sql")
        assert len(queries) >= 8
        for query in queries:
            answer = db.execute(query).fetchall()
            assert answer or query.startswith("CREATE"), query
        (balances,) = db.execute(queries[-1]).fetchall()
        assert balances[1:] == ("finished", True)
