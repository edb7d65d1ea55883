"""Conditional writes on object stores, by the preconditions that each store offers (see `conditional.Conditional`).

S3: If-None-Match and If-Match on PutObject (docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html); AWS, MinIO and R2 keep
them. Google: ifGenerationMatch (cloud.google.com/storage/docs/request-preconditions). Azure: the same headers as S3
(learn.microsoft.com/rest/api/storageservices/specifying-conditional-headers-for-blob-service-operations).

Some servers that speak S3 accept these headers and ignore them. So the first write is followed by two writes whose condition is false. A
server that keeps the conditions refuses both; one that ignores them writes the same bytes once more, which changes nothing.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from rushes.media.conditional import Version

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")
NO_SUCH_ETAG = '"00000000000000000000000000000000"'


class S3:
    """An object behind s3fs."""

    def __init__(self, fs: AbstractFileSystem, path: str) -> None:
        self.exact = True
        self._fs = fs
        self._bucket, self._key, _ = fs.split_path(path)
        self._path = path
        self._proven = False

    def read(self) -> Version | None:
        """See `Conditional`."""
        try:
            return _now(self._fs, self._get)
        except FileNotFoundError:
            return None

    def create(self, data: bytes) -> str | None:
        """See `Conditional`."""
        token = self._put(data, IfNoneMatch="*") if self.exact else None
        if token is None and not self.exact and self.read() is None:
            token = self._put(data)
        return token

    def replace(self, data: bytes, token: str) -> str | None:
        """See `Conditional`."""
        after = self._put(data, IfMatch=token) if self.exact else None
        if after is None and not self.exact and (found := self.read()) is not None and found.token == token:
            after = self._put(data)
        return after

    def remove(self, token: str) -> None:
        """See `Conditional`."""
        _remove(self._fs, self._path, self.read(), token)

    async def _get(self) -> Version:
        answer = await self._fs._call_s3("get_object", Bucket=self._bucket, Key=self._key)
        async with answer["Body"] as body:
            return Version(await body.read(), answer["ETag"])

    def _put(self, data: bytes, **condition: str) -> str | None:
        """The new ETag; None where the condition was refused, or is not offered (`exact` is then False)."""
        try:
            token = str(self._fs.call_s3("put_object", Bucket=self._bucket, Key=self._key, Body=data, **condition)["ETag"])
        except OSError as error:
            gone = isinstance(error, FileNotFoundError) and "IfMatch" in condition  # on creation it is the bucket that is missing
            if gone or isinstance(error, FileExistsError) or _status(error) in (409, 412):
                return None
            if condition and (error.errno == errno.ENOSYS or _status(error) == 501):
                self.exact = False
                return None
            raise
        if condition and not self._proven:
            self._proven = True
            done = [self._put(data, IfNoneMatch="*"), self._put(data, IfMatch=NO_SUCH_ETAG)]
            self.exact = self.exact and done == [None, None]
            token = next((t for t in reversed(done) if t), token)
        return token


def _status(error: OSError) -> int:
    """The HTTP status behind an error of s3fs, 0 where there was no answer."""
    response: Any = getattr(error.__cause__, "response", None) or {}
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


class Google:
    """An object behind gcsfs. Its token is the object's generation."""

    exact = True

    def __init__(self, fs: AbstractFileSystem, path: str) -> None:
        self._fs = fs
        self._bucket, self._key, _ = fs.split_path(path)
        self._path = path

    def read(self) -> Version | None:
        """See `Conditional`."""
        try:
            headers, data = self._fs.call("GET", "b/{}/o/{}", self._bucket, self._key, alt="media")
        except FileNotFoundError:
            return None
        return Version(bytes(data), str(headers["x-goog-generation"]))

    def create(self, data: bytes) -> str | None:
        """See `Conditional`."""
        return self._put(data, "0")

    def replace(self, data: bytes, token: str) -> str | None:
        """See `Conditional`."""
        return self._put(data, token)

    def remove(self, token: str) -> None:
        """See `Conditional`."""
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            self._fs.call("DELETE", "b/{}/o/{}", self._bucket, self._key, ifGenerationMatch=token)

    def _put(self, data: bytes, generation: str) -> str | None:
        url = f"{self._fs._location}/upload/storage/v1/b/{self._bucket}/o"
        try:
            answer = self._fs.call(
                "POST", url, uploadType="media", name=self._key, ifGenerationMatch=generation, data=data, json_out=True,
                headers={"Content-Type": "application/json"},
            )  # fmt: skip
        except FileExistsError:  # what gcsfs raises for a failed precondition
            return None
        return str(answer["generation"])


class Azure:
    """A blob behind adlfs. Its token is the blob's ETag."""

    exact = True

    def __init__(self, fs: AbstractFileSystem, path: str) -> None:
        self._fs = fs
        self._container, self._blob, _ = fs.split_path(path)
        self._path = path

    def read(self) -> Version | None:
        """See `Conditional`."""
        from azure.core.exceptions import ResourceNotFoundError

        async def get() -> Version:
            async with self._fs.service_client.get_blob_client(self._container, self._blob) as blob:
                stream = await blob.download_blob()
                return Version(await stream.readall(), stream.properties.etag)

        try:
            return _now(self._fs, get)
        except ResourceNotFoundError:
            return None

    def create(self, data: bytes) -> str | None:
        """See `Conditional`."""
        return self._put(data, None)

    def replace(self, data: bytes, token: str) -> str | None:
        """See `Conditional`."""
        return self._put(data, token)

    def remove(self, token: str) -> None:
        """See `Conditional`."""
        _remove(self._fs, self._path, self.read(), token)

    def _put(self, data: bytes, token: str | None) -> str | None:
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceExistsError, ResourceModifiedError

        condition = {} if token is None else {"etag": token, "match_condition": MatchConditions.IfNotModified}

        async def put() -> str:
            async with self._fs.service_client.get_blob_client(self._container, self._blob) as blob:
                answer = await blob.upload_blob(data, overwrite=token is not None, **condition)
                return str(answer["etag"])

        try:
            return _now(self._fs, put)
        except (ResourceExistsError, ResourceModifiedError):
            return None


def _now(fs: AbstractFileSystem, work: Callable[[], Awaitable[T]]) -> T:
    """Runs a coroutine on the filesystem's own event loop, where its connections live."""
    from fsspec.asyn import sync

    found: T = sync(fs.loop, work)
    return found


def _remove(fs: AbstractFileSystem, path: str, found: Version | None, token: str) -> None:
    if found is not None and found.token == token:
        with contextlib.suppress(FileNotFoundError):
            fs.rm_file(path)
