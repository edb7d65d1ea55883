"""Folders of training data as lists of videos: those of Hugging Face, WebDataset and LeRobot."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rushes.errors import FootageError
from rushes.media.address import inside, local_path, public_uri, range_uri
from rushes.media.error_translation import reason
from rushes.media.listing import MAGIC
from rushes.media.storage import FileStat, Options, listing, matching, open_seekable, ranges, stat
from rushes.sources.rows import FRAMES_TABLE, SPAN_COLUMNS
from rushes.sources.suffixes import is_video

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
"""Names under which `videofolder` of Hugging Face looks for what is known of the files in and below the folder."""
BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
"""A range of numbers in the names of shards, such as {000000..000123}."""
ABOUT_BYTES = 16 << 20
"""A member of a shard that is larger tells nothing about a video."""
EPISODES = "meta/episodes"
OF_EPISODE = ("episode_index", "length", "dataset_from_index", "dataset_to_index")
"""Columns of an episode that travel with its spans."""
OF_CAMERA = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
"""What an episode says of its video of a camera: in which file it is, and where, in seconds."""

Rows = Iterator[Mapping[str, Any]]


def hugging_face(place: str, options: Options) -> tuple[Rows, str]:
    """The files of a folder that `load_dataset("videofolder")` reads: with the columns of its metadata files; without one, by the folders
    that they lie in, which `videofolder` takes for labels.

    Raises:
        FootageError: it cannot be read, or holds Parquet files, in whose columns videos cannot be read in place.
    """
    files = _files(place, options)
    lists = [file for file in files if file.uri.rpartition("/")[2] in METADATA]
    videos = [file.uri for file in files if is_video(file.uri)]
    if not videos:
        what = "the folder holds no video file; videos inside Parquet files cannot be read in place"
        raise FootageError(what, uri=public_uri(place), mend="save it as a folder of video files, with metadata.jsonl")
    root = public_uri(local_path(place) or place).rstrip("/")
    return (_of_metadata(lists, options) if lists else _labelled(videos, root)), _version(lists or files)


def _of_metadata(lists: Sequence[FileStat], options: Options) -> Rows:
    for file in sorted(lists, key=lambda file: file.uri):
        folder = file.uri.rpartition("/")[0]
        for row in _table(file.uri, _bytes(file.uri, options)):
            if not row.get("file_name"):
                raise FootageError("a row has no file_name", uri=file.uri, mend="give each row the name of its file")
            others = {name: value for name, value in row.items() if name != "file_name"}
            yield {"uri": inside(folder, str(row["file_name"])), **_of_source(others)}


def _of_source(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Columns about a file that is a video as a whole: a uri and a span are those of the video that it was cut from, and are named so."""
    spans = {name for _, *pair in SPAN_COLUMNS for name in pair}
    return {f"source_{name}" if name == "uri" or name in spans else name: value for name, value in columns.items()}


def _labelled(videos: Sequence[str], root: str) -> Rows:
    for uri in sorted(videos):
        folders = uri[len(root) + 1 :].split("/")[:-1]
        yield {"uri": uri} | ({"label": folders[-1]} if folders else {})


def _table(name: str, data: bytes) -> Iterator[dict[str, Any]]:
    """The rows of a metadata file.

    Raises:
        FootageError: it is none.
    """
    import csv

    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if name.endswith(".parquet"):
            yield from pq.read_table(pa.BufferReader(data)).to_pylist()
        elif name.endswith(".csv"):
            yield from csv.DictReader(io.StringIO(data.decode("utf-8-sig")))
        else:
            for number, line in enumerate(data.decode().splitlines(), 1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError(f"line {number} is no JSON object")
                    yield row
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        raise FootageError(f"the file cannot be read: {error}", uri=public_uri(name), mend="write it again") from error


def web_dataset(place: str, options: Options) -> tuple[Rows, str]:
    """The videos inside tar shards, by reference to their bytes there, with the JSON and the text that share their name.

    Args:
        place: a folder of .tar files, a pattern, or names with a range of numbers such as data/{000..010}.tar.
        options: storage options by protocol.

    Raises:
        FootageError: there is no shard, or one cannot be read.
    """
    shards = _shards(place, options)
    if not shards:
        raise FootageError("there is no tar shard", uri=public_uri(place), mend="name a folder of .tar files, or DIR/{000..010}.tar")
    return (row for shard in shards for row in _samples(shard.uri, options)), _version(shards)


def _shards(place: str, options: Options) -> list[FileStat]:
    if (found := BRACES.search(place)) is not None:
        width, numbers = len(found[1]), range(int(found[1]), int(found[2]) + 1)
        return [shard for n in numbers for shard in _shards(f"{place[: found.start()]}{n:0{width}d}{place[found.end() :]}", options)]
    if MAGIC & set(place):
        if (path := local_path(place)) is not None:
            import glob

            return [stat(name, options) for name in sorted(glob.glob(path, recursive=True))]
        return sorted(matching(place, options), key=lambda file: file.uri)
    if place.endswith(".tar"):
        try:
            return [stat(place, options)]
        except OSError as error:
            what, mend, _ = reason(error)
            raise FootageError(what, uri=public_uri(place), mend=mend) from error
    return sorted((file for file in _files(place, options) if file.uri.endswith(".tar")), key=lambda file: file.uri)


def _samples(shard: str, options: Options) -> Rows:
    """The samples of a shard that have a video. Of other members only the small ones that tell of it are read."""
    source = open_seekable(shard, options)
    about: dict[str, dict[str, Any]] = {}
    videos: list[tuple[str, str]] = []
    try:
        with tarfile.open(source, "r:") if isinstance(source, str) else tarfile.open(fileobj=source, mode="r:") as tar:
            for member in tar:
                folder, _, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                key = f"{folder}/{stem}".lstrip("/")
                if not member.isfile():
                    continue
                if is_video(member.name):
                    videos.append((key, range_uri(shard, member.offset_data, member.size)))
                elif suffix in ("json", "txt") and member.size <= ABOUT_BYTES:
                    text = _content(tar, member).decode("utf-8", "replace")
                    about.setdefault(key, {}).update(_object(text) if suffix == "json" else {"text": text.strip()})
    except (tarfile.TarError, OSError) as error:
        raise FootageError(f"the shard cannot be read: {error}", uri=public_uri(shard), mend="see whether it is complete") from error
    finally:
        if not isinstance(source, str):
            source.close()
    for key, uri in videos:
        yield {"uri": uri, "key": key, **_of_source(about.get(key, {}))}


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file is not None else b""


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def lerobot(place: str, options: Options) -> tuple[Rows, str]:
    """The episodes of a LeRobot data set of version 3: spans of its mp4 files, one for each camera, with their tasks and where their
    rows of states are.

    Raises:
        FootageError: it is none of that version, or cannot be read.
    """
    folder = (local_path(place) or place).rstrip("/")
    info = _object(_bytes(f"{folder}/meta/info.json", options).decode())
    if not str(info.get("codebase_version", "")).startswith("v3."):
        what = f"its codebase_version is {info.get('codebase_version')!r}"
        raise FootageError(what, uri=public_uri(place), mend="convert it to v3.0 with lerobot's own script")
    cameras = [name for name, feature in info.get("features", {}).items() if feature.get("dtype") == "video"]
    files = sorted((file for file in _files(f"{folder}/{EPISODES}", options) if file.uri.endswith(".parquet")), key=lambda file: file.uri)
    return _episodes(folder, files, cameras, info, options), _version(files)


def _episodes(folder: str, files: Sequence[FileStat], cameras: Sequence[str], info: Mapping[str, Any], options: Options) -> Rows:
    for file in files:
        for row in _table(file.uri, _bytes(file.uri, options)):
            about: dict[str, Any] = {name: row[name] for name in OF_EPISODE if name in row}
            about["tasks"] = "; ".join(row.get("tasks") or ())
            about["robot_type"] = info.get("robot_type")
            for camera in cameras:
                names = [f"videos/{camera}/{name}" for name in OF_CAMERA]
                if lacking := [name for name in names if name not in row]:
                    what = f"an episode has no {', '.join(lacking)}"
                    raise FootageError(what, uri=public_uri(file.uri), mend="convert it to v3.0 with lerobot's own script")
                chunk, number, start_s, end_s = (row[name] for name in names)
                path = str(info["video_path"]).format(video_key=camera, chunk_index=chunk, file_index=number)
                yield {
                    "uri": f"{folder}/{path}",
                    "start_s": start_s,
                    "end_s": end_s,
                    "camera": camera,
                    **about,
                    **_states(row, info, start_s),
                }


def _states(episode: Mapping[str, Any], info: Mapping[str, Any], start_s: float) -> dict[str, Any]:
    """Where an episode's rows of states are, and at which second of its video their times begin."""
    chunk, number = episode.get("data/chunk_index"), episode.get("data/file_index")
    if chunk is None or number is None:
        return {}
    path = str(info["data_path"]).format(chunk_index=chunk, file_index=number)
    return {FRAMES_TABLE: f"{path}#episode_index={episode['episode_index']}", "frames_start_s": start_s}


def _files(folder: str, options: Options) -> list[FileStat]:
    """All files of a folder.

    Raises:
        FootageError: there is none, or it cannot be listed.
    """
    try:
        found = list(listing(local_path(folder) or folder, options))
    except OSError as error:
        what, mend, _ = reason(error)
        raise FootageError(what, uri=public_uri(folder), mend=mend) from error
    if not found:
        raise FootageError("there is no such folder, or it is empty", uri=public_uri(folder), mend="check the name")
    return found


def _bytes(uri: str, options: Options) -> bytes:
    try:
        with ranges(uri, options) as read:
            return read(0, stat(uri, options).size or 0)
    except OSError as error:
        what, mend, _ = reason(error)
        raise FootageError(what, uri=public_uri(uri), mend=mend) from error


def _version(files: Sequence[FileStat]) -> str:
    """What changes when one of the files does: the beginning of a hash of their names, sizes and stamps."""
    told = "\n".join(f"{file.uri} {file.size} {file.stamp}" for file in sorted(files, key=lambda file: file.uri))
    return hashlib.sha256(told.encode()).hexdigest()[:16]
