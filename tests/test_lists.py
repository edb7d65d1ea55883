"""Lists of videos as people bring them: each kind is read, or refused in words; nothing of a list is lost in silence."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from rushes.errors import FootageError
from rushes.sources.footage import find_footage
from rushes.sources.found import Found


def put(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def read(path: Path) -> Found:
    return find_footage([str(path)], {})


def extras(path: Path) -> dict[str, dict[str, Any]]:
    return {Path(item.uri).name: item.extra for item in read(path).items}


def refusal(path: Path) -> str:
    with pytest.raises(FootageError) as caught:
        read(path)
    assert caught.value.exit_code == 2 and caught.value.mend
    return str(caught.value)


ROWS = [{"uri": "a.mp4", "camera": "007", "prompt": 'a cup, a saucer; a 5" pipe'}, {"uri": "b.mp4", "camera": "rear", "prompt": "狗 | x"}]
COLUMNS = {"a.mp4": {"camera": "007", "prompt": 'a cup, a saucer; a 5" pipe'}, "b.mp4": {"camera": "rear", "prompt": "狗 | x"}}


def as_table(separator: str, ends: str = "\r\n") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(ROWS[0]), delimiter=separator, lineterminator=ends)
    writer.writeheader()
    writer.writerows(ROWS)
    return out.getvalue()


LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
KINDS: dict[str, bytes] = {
    "comma.csv": as_table(",").encode(),
    "LIST.CSV": as_table(",").encode(),
    "semicolons.csv": as_table(";").encode(),
    "bars.csv": as_table("|").encode(),
    "tabs.csv": as_table("\t").encode(),
    "excel_sep.csv": ("sep=;\r\n" + as_table(";")).encode(),
    "bom.csv": as_table(",").encode("utf-8-sig"),
    "excel.csv": as_table("\t").encode("utf-16"),
    "utf16be.csv": "\ufeff".encode("utf-16-be") + as_table(",").encode("utf-16-be"),
    "no_mark.csv": as_table(",").encode("utf-16-le"),
    "utf32.csv": as_table(",").encode("utf-32"),
    "mac.csv": as_table(",", "\r").encode(),
    "list.tsv": as_table("\t").encode(),
    "list.csv.gz": gzip.compress(as_table(",").encode()),
    "list.tsv.gz": gzip.compress(as_table("\t").encode()),
    "list.jsonl": LINES.encode(),
    "list.ndjson": LINES.encode(),
    "bom.jsonl": LINES.encode("utf-8-sig"),
    "utf16.jsonl": LINES.encode("utf-16"),
    "list.jsonl.gz": gzip.compress(LINES.encode()),
    "list.json": json.dumps(ROWS, indent=1).encode(),
    "list.json.gz": gzip.compress(json.dumps(ROWS).encode()),
    "lines.json": LINES.encode(),
}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_list_gives_its_rows(tmp_path: Path, name: str) -> None:
    put(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / name).write_bytes(KINDS[name])
    assert extras(tmp_path / name) == COLUMNS
    assert {item.size for item in read(tmp_path / name).items} == {1}


@pytest.mark.parametrize("name", ["list.parquet", "parts", "list.csv", "list.jsonl"])
def test_a_folder_of_parts_is_one_list(tmp_path: Path, name: str) -> None:
    """As Spark, NeMo Curator and datasets write them; entries are relative to the folder that holds the list."""
    put(tmp_path, "a.mp4", "b.mp4", "c.mp4", f"{name}/_SUCCESS", f"{name}/.part.crc")
    folder, kind = tmp_path / name, name.partition(".")[2] or "parquet"
    parts: list[list[dict[str, Any]]] = [[{"uri": "a.mp4", "k": 1}], [{"uri": "b.mp4", "k": 2, "later": "x"}, {"uri": "c.mp4", "k": None}]]
    for number, rows in enumerate(parts):
        path = folder / f"part-0000{number}.{kind}"
        if kind == "parquet":
            parquet.write_table(pa.Table.from_pylist(rows, schema=None), path)
        elif kind == "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            names = list(rows[0])
            path.write_text("\n".join([",".join(names), *(",".join(str(row.get(n) or "") for n in names) for row in rows)]))
    found = extras(folder)
    one: Any = "1" if kind == "csv" else 1
    assert list(found) == ["a.mp4", "b.mp4", "c.mp4"] and found["a.mp4"] == {"k": one} and found["c.mp4"]["k"] is None
    assert found["b.mp4"]["later"] == "x"


def test_what_the_names_of_folders_say_is_a_column(tmp_path: Path) -> None:
    """Parts that Spark or Hive has partitioned."""
    put(tmp_path, "a.mp4", "b.mp4")
    for day, uri in (("mon", "a.mp4"), ("tue%2Fwed", "b.mp4")):
        part = tmp_path / "list.parquet" / f"day={day}" / "part-0.parquet"
        part.parent.mkdir(parents=True)
        parquet.write_table(pa.table({"uri": [uri], "k": [1]}), part)
    assert extras(tmp_path / "list.parquet") == {"a.mp4": {"day": "mon", "k": 1}, "b.mp4": {"day": "tue/wed", "k": 1}}


def test_columns_that_only_later_rows_have(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "l.jsonl").write_text('{"uri": "a.mp4"}\n{"uri": "b.mp4", "camera": "rear"}\n')
    assert extras(tmp_path / "l.jsonl") == {"a.mp4": {}, "b.mp4": {"camera": "rear"}}


def test_names_that_begin_with_a_hash_or_hold_separators_are_files_where_they_are_files(tmp_path: Path) -> None:
    odd = ["#1 take.mp4", "# b.mp4", "line\u2028sep.mp4", "para\u2029.mp4", "next\x85.mp4", "form\x0c.mp4", " lead.mp4", "trail.mp4 "]
    put(tmp_path, *odd, "plain.mp4", "c.mp4")
    text = "# day 1\n#\n" + "".join(f"{name}\n" for name in odd) + "  plain.mp4\t\n#c.mp4\n#gone.mp4\n"
    (tmp_path / "l.txt").write_text(text, encoding="utf-8")
    found = read(tmp_path / "l.txt")
    assert sorted(Path(item.uri).name for item in found.items) == sorted([*odd, "plain.mp4"]) and not found.missing
    (note,) = found.notes
    assert "comments" in note and "#c.mp4" in note and "#gone.mp4" in note and "day 1" not in note
    rows = [{"uri": name, "n": k} for k, name in enumerate(odd)]
    (tmp_path / "l.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    assert extras(tmp_path / "l.jsonl") == {row["uri"]: {"n": row["n"]} for row in rows}


def test_nothing_that_strict_json_lacks_comes_out_of_a_list(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    rows = (
        '{"uri": "a.mp4", "speed": NaN, "ceiling": Infinity, "floor": -Infinity, "deep": {"x": [NaN, 1e999, 2]}}\n'
        '{"uri": "b.mp4", "big": 1e999, "half": "x\\ud800y", "huge": ' + "9" * 30 + ', "ok": true}\n'
    )
    (tmp_path / "l.jsonl").write_text(rows)
    found = extras(tmp_path / "l.jsonl")
    assert found["a.mp4"] == {"speed": None, "ceiling": None, "floor": None, "deep": '{"x": [null, null, 2]}'}
    assert found["b.mp4"] == {"big": None, "half": "x?y", "huge": "9" * 30, "ok": True}
    table = pa.table({
        "uri": ["a.mp4", "b.mp4"], "speed": [float("nan"), 1.5], "nested": [[float("inf"), 1.0], None],
        "at": pa.array([1_700_000_000_123_456_789, None], pa.timestamp("ns")), "raw": [b"\xff", None],
    })  # fmt: skip
    parquet.write_table(table, tmp_path / "l.parquet")
    found = extras(tmp_path / "l.parquet")
    day = datetime.fromtimestamp(1_700_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    assert found["a.mp4"] == {"speed": None, "nested": "[null, 1.0]", "at": f"{day}.123456", "raw": "b'\\xff'"}
    assert found["b.mp4"]["speed"] == 1.5


REFUSED = {
    "four fields": ("l.csv", "uri,prompt,camera\na.mp4,a cup, a saucer,front\n", "line 2 has 4 fields under 3 columns"),
    "how to quote": ("l.csv", "uri,prompt,camera\na.mp4,a cup, a saucer,front\n", "into quotes"),
    "two fields": ("l.csv", "uri,prompt,camera\na.mp4,x,y\nb.mp4,y\n", "line 3 has 2 fields under 3 columns"),
    "semicolons": ("l.csv", "uri;prompt\na.mp4;x;y\n", "line 2 has 3 fields under 2 columns"),
    "tabs": ("l.tsv", "uri\tprompt\na.mp4\tx\ty\n", "line 2 has 3 fields"),
    "open quote": ("l.csv", 'uri,prompt\na.mp4,"never closed\nb.mp4,x\n', "line 2 is no row of a table"),
    "lines inside quotes are counted": ("l.csv", 'uri,prompt\na.mp4,"two\nlines"\nb.mp4,x,y\n', "line 4 has 3 fields"),
    "one name twice": ("l.csv", "uri,prompt,prompt\na.mp4,x,y\n", "two columns are called 'prompt'"),
    "no uri in a line": ("l.csv", "uri,prompt\n,x\n", "line 2 has no uri"),
    "no column": ("l.csv", "file_name,text\na.mp4,x\n", 'rename the column "file_name" to uri'),
    "no column, semicolons": ("l.csv", "video;text\na.mp4;x\n", 'rename the column "video" to uri'),
    "comma in a tsv": ("l.tsv", "uri,camera\na.mp4,x\n", "no column uri"),
    "json of columns": ("l.json", '{"videos": {"0": "a.mp4"}}', "no list of objects but an object of videos"),
    "broken json": ("l.json", '[{"uri": "a.mp4"},]', "line 1 is no JSON"),
    "number in json": ("l.json", "[3]", "entry 1 is no JSON object but a number"),
    "uri is a number": ("l.jsonl", '{"uri": 7}\n', "line 1: uri is 7"),
    "uri with a zero": ("l.jsonl", '{"uri": "a\\u0000.mp4"}\n', "line 1: uri is"),
    "half a character": ("l.jsonl", '{"uri": "\\ud800.mp4"}\n', "half a character"),
    "digits": ("l.jsonl", '{"uri": "a.mp4", "n": ' + "1" * 5000 + "}\n", "line 1 is no JSON: a number of too many digits"),
    "deep": ("l.jsonl", '{"uri": "a.mp4", "n": ' + "[" * 200_000 + "}\n", "line 1 is no JSON"),
    "not gzip": ("l.csv.gz", "uri\na.mp4\n", "no gzip file"),
    "half a gzip": ("l.jsonl.gz", gzip.compress(b'{"uri": "a.mp4"}\n' * 99)[:-9], "no gzip file"),
    "latin 1": ("l.csv", "uri,place\na.mp4,Köln\n".encode("latin-1"), "not text in UTF-8 or UTF-16"),
    "only comments": ("l.txt", "# a.mp4\n#b.mp4\n", "names no video"),
    "only a header": ("l.csv", "uri,camera\n", "names no video"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_in_words(tmp_path: Path, case: str) -> None:
    put(tmp_path, "a.mp4", "b.mp4")
    name, content, words = REFUSED[case]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert words in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["l.xlsx", "l.ods", "l.feather", "l.yaml", "l.m3u8", "l.csv.zip", "l.jsonl.zst", "l.parquet.gz", "l.XML"])
def test_a_list_of_another_kind_is_refused_with_those_that_are_read(tmp_path: Path, name: str) -> None:
    put(tmp_path, name, "a.mp4")
    said = refusal(tmp_path / name)
    assert "lists of this kind are not read" in said
    assert all(f".{kind}" in said for kind in ("txt", "csv", "tsv", "json", "jsonl", "ndjson", "parquet", "gz")) and "folder" in said


def test_surplus_fields_without_a_value_and_a_column_without_a_name_lose_nothing(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4")
    (tmp_path / "l.csv").write_text(",uri,camera,\n0,a.mp4,front,,\n")  # as pandas writes its index, and Excel empty columns
    assert extras(tmp_path / "l.csv") == {"a.mp4": {"column 1": "0", "camera": "front", "column 4": None}}


def test_long_fields_are_read(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4")
    (tmp_path / "l.csv").write_text(f'uri,text\na.mp4,"{"x" * 300_000}"\n')
    assert len(extras(tmp_path / "l.csv")["a.mp4"]["text"]) == 300_000


def test_rows_of_one_video_that_contradict_each_other_are_refused_by_name(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4", "b.mp4")
    listed = tmp_path / "l.csv"
    listed.write_text("uri,start,end,prompt\na.mp4,0,2,first words\nb.mp4,0,5,third\na.mp4,2,5,second words\n")
    said = refusal(listed)
    assert "line 2 of l.csv" in said and "line 4 of l.csv" in said and "a.mp4" in said
    assert "rename start and end to start_s and end_s" in said
    listed.write_text("uri,prompt,day\na.mp4,x,\na.mp4,x,1\nb.mp4,z,\n")
    assert extras(listed) == {"a.mp4": {"prompt": "x", "day": "1"}, "b.mp4": {"prompt": "z", "day": None}}
    other = tmp_path / "other.jsonl"
    other.write_text('{"uri": "a.mp4", "prompt": "y"}\n')
    with pytest.raises(FootageError, match=r"line 2 of l\.csv has prompt 'x', and line 1 of other\.jsonl has 'y'"):
        find_footage([str(listed), str(other)], {})


def test_columns_that_look_like_spans_are_told_of(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "l.csv").write_text("uri,start,end\na.mp4,0,2\nb.mp4,0,5\n")
    found = read(tmp_path / "l.csv")
    assert [item.extra for item in found.items] == [{"start": "0", "end": "2"}, {"start": "0", "end": "5"}]
    assert len(found.notes) == 1 and "start_s and end_s" in found.notes[0]


def test_tables_written_by_a_csv_writer_come_back_whole(tmp_path: Path) -> None:
    """Any text in any dialect of Python's csv writer."""
    rng = random.Random(9)
    signs = "ab ,;\t|\"'\n#é狗\u2028"
    put(tmp_path, *(f"{k}.mp4" for k in range(40)))
    for separator in (",", ";", "\t", "|"):
        rows = [{"uri": f"{k}.mp4", "text": "x" + "".join(rng.choices(signs, k=12)).strip() + "x"} for k in range(40)]
        with (tmp_path / "l.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["uri", "text"], delimiter=separator)
            writer.writeheader()
            writer.writerows(rows)
        assert extras(tmp_path / "l.csv") == {row["uri"]: {"text": row["text"]} for row in rows}


def test_the_lists_of_the_field(data_dir: Path, tmp_path: Path) -> None:
    field = data_dir / "field"
    said = refusal(field / "09_manifest_commas" / "list.csv")
    assert "line 2 has 4 fields under 3 columns" in said and "quotes" in said
    nan = extras(field / "10_manifest_nan" / "list.jsonl")
    assert nan == {"a.mp4": {"speed": None, "ceiling": None}, "b.mp4": {"speed": 1.5}}
    said = refusal(field / "11_one_row_per_clip" / "list.csv")
    assert "line 2 of list.csv" in said and "line 3 of list.csv" in said
    kinds = field / "12_manifest_kinds"
    for name in ("list.parquet", "list.jsonl.gz", "list.tsv", "list.json", "semicolons.csv", "excel_utf16.csv"):
        found = read(kinds / name)
        assert "a.mp4" in {Path(item.uri).name for item in found.items}, name
        assert name == "list.parquet" or not found.missing  # that one names files by absolute paths of another machine
        if name in ("list.tsv", "semicolons.csv", "excel_utf16.csv"):
            assert extras(kinds / name)["a.mp4"] == {"camera": "front"}
    assert [Path(item.uri).name for item in read(kinds / "takes" / "hash.txt").items] == ["#1 take.mp4"]
    shutil.copytree(kinds, tmp_path / "kinds")
    os.chmod(tmp_path / "kinds" / "takes", 0o755)
    (tmp_path / "kinds" / "takes" / "line_sep.mp4").rename(tmp_path / "kinds" / "takes" / "line\u2028sep.mp4")
    found = read(tmp_path / "kinds" / "hash.txt")
    names = {Path(item.uri).name: item.size for item in found.items}
    assert names["line\u2028sep.mp4"] and names["#1 take.mp4"] and any("#1 take.mp4" in note for note in found.notes)
