"""Addresses of files: which are local paths, which are URLs, and under which name a file may be shown and stored."""

from __future__ import annotations

import os
import re
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

_PROTOCOL = re.compile(r"^([A-Za-z][A-Za-z0-9+.\-]*)://")
_CONTAINER_BEFORE_AT = {"abfs", "abfss", "wasb", "wasbs"}
"""Protocols of Azure, whose URLs have container@account where others have user@host."""
_QUERY_PROTOCOLS = {"http", "https", "ftp", "ftps"}
"""Protocols in whose URLs "?" begins a query; in a bucket's URL it is part of a name."""
_SIGNING = re.compile(
    r"^x-(amz|goog|oss|tos|ms|cos)-|sig|token|secret|passw|credential|auth(?!or)|expir|policy|key(\b|_)|access_?key|security|session",
    re.IGNORECASE,
)
"""Query parameters that hold a signature, a key or its conditions: those of AWS, Google, Alibaba, Volcano, Tencent and CloudFront, and
usual names."""
_AZURE_SAS = {"sv", "st", "se", "sr", "sp", "sig", "spr", "sip", "ss", "srt", "skoid", "sktid", "skt", "ske", "sks", "skv"}
"""Parameters of an Azure shared access signature (learn.microsoft.com, "Create a service SAS"), recognised when `sig` is among them."""


STREAM = "#stream="
"""Stands between the uri of a file and the index of its stream, where `scan.stream` makes that a video of its own."""


_RANGE = re.compile(r"#bytes=(\d+)-(\d+)$")
"""The end of the uri of a piece of a file: its first byte, and its length."""


def protocol_of(uri: str) -> str | None:
    """The protocol of a URL in lower case, such as "s3"; None for a local path."""
    match = _PROTOCOL.match(uri)
    return match[1].lower() if match else None


def local_path(uri: str) -> str | None:
    """The absolute path of a local file (also from file://, percent-encoded or not); None for any other URL."""
    if os.path.isabs(uri):
        return os.path.normpath(uri)
    protocol = protocol_of(uri)
    if protocol in ("file", "local"):
        path = uri.split("://", 1)[1].removeprefix("localhost")
        return os.path.abspath(path if os.path.lexists(path) else unquote(path))
    return None if protocol else os.path.abspath(uri)


def public_uri(uri: str) -> str:
    """The name of a file in tables, logs and reports.

    Of a local file it is the absolute path, of a URL the URL without user, password and the parameters of signed queries. Bytes of a local
    name that are not UTF-8 are written as backslash escapes, since a table holds text only.
    """
    file, piece = split_range(uri)
    if piece is not None:
        return range_uri(public_uri(file), *piece)
    path = local_path(uri)
    if path is not None:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    parts = urlsplit(uri)
    protocol = parts.scheme.lower()
    netloc = parts.netloc if protocol in _CONTAINER_BEFORE_AT else parts.netloc.rpartition("@")[2]
    if protocol not in _QUERY_PROTOCOLS:
        head, rest = uri.split("://", 1)
        return f"{head}://{netloc}{rest[len(parts.netloc) :]}"
    return urlunsplit(SplitResult(parts.scheme, netloc, parts.path, _unsigned(parts.query), ""))


def _unsigned(query: str) -> str:
    fields = [field for field in query.split("&") if field]
    names = {field.split("=", 1)[0].lower() for field in fields}
    azure = _AZURE_SAS if "sig" in names else set()
    kept = [f for f in fields if not _SIGNING.search(name := f.split("=", 1)[0].lower()) and name not in azure]
    return "&".join(kept)


def directory_of(folder: str) -> str:
    """A folder's address ending in one slash."""
    return folder.rstrip("/") + "/"


def inside(folder: str, name: str) -> str:
    """The address of `name` in `folder`; `name` itself where it is an absolute path or a URL."""
    if protocol_of(name) or os.path.isabs(name):
        return name
    return os.path.join(folder, name) if protocol_of(folder) is None else directory_of(folder) + name.removeprefix("./")


def stream_uri(uri: str, stream: int) -> str:
    """The name of one stream of a file that is a video of its own."""
    return f"{uri}{STREAM}{stream}"


def split_stream(uri: str) -> tuple[str, int | None]:
    """A file's uri and the index of its stream, of a name that `stream_uri` gave; of any other name itself and None."""
    file, mark, index = uri.rpartition(STREAM)
    return (file, int(index)) if mark and index.isdecimal() else (uri, None)


def range_uri(uri: str, start: int, length: int) -> str:
    """The name of `length` bytes of a file from the byte `start` on, such as a video inside a tar."""
    return f"{uri}#bytes={start}-{length}"


def split_range(uri: str) -> tuple[str, tuple[int, int] | None]:
    """A file's uri, and the first byte and the length of a piece of it, of a name that `range_uri` gave; of any other name itself and
    None.
    """
    found = _RANGE.search(uri)
    return (uri[: found.start()], (int(found[1]), int(found[2]))) if found else (uri, None)
