"""What a storage client's error means: does asking again help, are the credentials at fault; and the one way of asking again."""

from __future__ import annotations

import errno
import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Kind = Literal["passing", "credentials", "refused", "missing", "changed", "other"]
"""passing: asking again may help. credentials: not accepted, expired or none. refused: known, but not allowed. changed: the file is another
one than when it was opened."""

TRIES = 5
"""Tries of one request, each after twice the wait of the one before. The clients' own tries (botocore makes 5) lie inside each."""
WAIT_S = 0.5
PATIENCE_S = 60.0
"""No new try is begun this long after the first one. Waits add up to 7.5 s: a store that is slowed down answers again within seconds."""

FAMILIES = {
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "aiohttp": ("ClientError",),
    "azure.core.exceptions": ("AzureError",),
    "google.auth.exceptions": ("GoogleAuthError",),
    "gcsfs.retry": ("HttpError", "ChecksumError"),
    "httpx": ("HTTPError",),
    "huggingface_hub.errors": ("HfHubHTTPError", "RepositoryNotFoundError"),
}
"""Module -> roots of the errors that its clients raise besides OSError."""
CREDENTIAL_ERRORS = {
    *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError", "NoAuthTokenError"),
    *("UnauthorizedSSOTokenError", "SSOTokenLoadError", "SSOError", "ProfileNotFound", "LoginRefreshRequired"),
    *("DefaultCredentialsError", "RefreshError", "ReauthFailError", "ClientAuthenticationError"),
}
"""Class names of botocore, google.auth and azure."""
CREDENTIAL_CODES = {
    *("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "InvalidAccessKeyId", "InvalidClientTokenId"),
    *("SignatureDoesNotMatch", "RequestTimeTooSkewed", "RequestExpired", "AuthFailure", "SecurityTokenExpired", "InvalidSecurityToken"),
    *("InvalidSecurity", "UnrecognizedClientException", "AuthenticationFailed"),
}
"""Error codes of S3 (docs.aws.amazon.com, "Error responses"), OSS, TOS and Azure that blame the credentials, not the right to a file."""
PASSING_CODES = {
    *("SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "RequestTimeoutException", "OperationAborted"),
    *("Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded", "ServerBusy", "BadDigest", "IncompleteBody"),
    *("XAmzContentSHA256Mismatch", "DownloadTrafficRateLimitExceeded", "QpsLimitExceeded"),
}
PASSING_ERRNOS = {
    *(errno.EBUSY, errno.EIO, errno.EREMOTEIO, errno.EAGAIN, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED),
    *(errno.EPIPE, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ENOTCONN),
}
PASSING_ERRORS = {
    *("HTTPClientError", "ConnectionError", "EndpointConnectionError", "ReadTimeoutError", "ConnectTimeoutError", "ConnectionClosedError"),
    *("IncompleteReadError", "ResponseStreamingError", "ResponseParserError", "ChecksumError", "TransportError", "ServiceRequestError"),
    *("ServiceResponseError", "ClientPayloadError", "ClientConnectionError", "ServerDisconnectedError", "PayloadEncodingError"),
}
"""Class names of the clients for connections that break; of any class in an error's ancestry."""


class RemoteError(OSError):
    """An error of a storage client that is no OSError of its own; the client's error is its cause."""


class ShortRead(OSError):
    """Fewer bytes came than the store said there are."""


def foreign() -> tuple[type[BaseException], ...]:
    """All classes that a storage client may raise: OSError, and the roots of those clients that are loaded."""
    found = [getattr(sys.modules[name], kind, None) for name, kinds in FAMILIES.items() if name in sys.modules for kind in kinds]
    return (OSError, *(kind for kind in found if kind is not None))


def tried(work: Callable[[], T]) -> T:
    """Does one request; asks again while asking again may help.

    Raises:
        OSError: it cannot be had; a client's own kind of error is its cause.
    """
    began = time.monotonic()
    for n in range(1, TRIES + 1):
        try:
            return work()
        except foreign() as error:
            kind, late = kind_of(error), time.monotonic() - began >= PATIENCE_S
            if kind != "passing" or n == TRIES or late:
                masked = isinstance(error, FileNotFoundError) and kind != "missing"  # fsspec says so of any answer of an HTTP server
                if isinstance(error, OSError) and not masked:
                    raise
                raise RemoteError(words_of(error)) from error
        time.sleep(WAIT_S * 2 ** (n - 1) * random.uniform(0.75, 1.25))
    raise AssertionError("the last try returns or raises")


def kind_of(error: BaseException) -> Kind:
    """What an error, or what it comes from, means."""
    for link in _chain(error):
        found = _kind(link)
        if found is not None:
            return found
    return "other"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The causes, the first one first: what the client saw says more than what was made of it."""
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__
    return reversed(links)


def _kind(error: BaseException) -> Kind | None:
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & PASSING_ERRORS or isinstance(error, ConnectionError | TimeoutError | ShortRead):  # some bear a status of their own making
        return "passing"
    code, status = _code(error), _status(error)
    if names & CREDENTIAL_ERRORS or code in CREDENTIAL_CODES or status == 401:
        return "credentials"
    if code in PASSING_CODES or (status is not None and (status in (408, 425, 429) or (status >= 500 and status != 501))):
        return "passing"
    if "FileExpired" in names or code == "PreconditionFailed":
        return "changed"
    if isinstance(error, PermissionError) or status == 403:
        return "refused"
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return "missing"
    if status is not None and 400 <= status < 500:
        return "other"
    if isinstance(error, OSError) and error.errno in PASSING_ERRNOS:
        return "passing"
    return None


def _response(error: BaseException) -> Any:
    return getattr(error, "response", None)


def _code(error: BaseException) -> str | None:
    """The store's own name of the error: botocore's response, azure's error_code."""
    response = _response(error)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else getattr(error, "error_code", None)
    return None if code is None else str(getattr(code, "value", code))


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error carries, where it does: botocore, aiohttp (status), azure and httpx (status_code), gcsfs (code)."""
    response = _response(error)
    if isinstance(response, dict):
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        found = next((v for name in ("status", "status_code", "code") if (v := getattr(error, name, None)) is not None), None)
        found = getattr(response, "status_code", None) if found is None else found
    text = str(found)
    return int(text) if text.isdigit() and 100 <= int(text) < 600 else None


def words_of(error: BaseException) -> str:
    """What the store or the connection said, with the store's own code first, in one line."""
    first = next(_chain(error))
    code = _code(first)
    said = _response(first)
    text = said.get("Error", {}).get("Message") if isinstance(said, dict) else None
    text = text or getattr(first, "strerror", None) or str(first) or type(first).__name__
    line = " ".join(str(text).split())[:300]
    return f"{code}: {line}" if code and code not in line else line
