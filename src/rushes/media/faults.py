"""What a storage client's error means (may a retry help, are the credentials at fault), and the one way in which requests are retried."""

from __future__ import annotations

import errno
import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Kind = Literal["transient", "credentials", "refused", "missing", "changed", "other"]
"""transient: a retry may help. credentials: the store does not accept them, they have expired, or there are none. refused: the store knows
this user, who has no right to the file. missing: there is no such file. changed: the file is another one than when it was opened."""

TRIES = 5
"""Most tries of one request. Within each, the client itself may retry too (botocore makes 5 tries)."""
WAIT_S = 0.5
"""Wait after the first failed try, seconds; it doubles after each further one, so that four waits add up to 7.5 s."""
PATIENCE_S = 60.0
"""No new try begins this long after the first one began, seconds. A store that limits the rate of requests answers again much sooner."""

FAMILIES = {
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "aiohttp": ("ClientError",),
    "azure.core.exceptions": ("AzureError",),
    "google.auth.exceptions": ("GoogleAuthError",),
    "gcsfs.retry": ("HttpError", "ChecksumError"),
    "httpx": ("HTTPError",),
    "huggingface_hub.errors": ("HfHubHTTPError", "RepositoryNotFoundError"),
}
"""Module -> base classes of the errors, other than OSError, that the clients of this module raise."""
CREDENTIAL_ERRORS = {
    *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError", "NoAuthTokenError"),
    *("UnauthorizedSSOTokenError", "SSOTokenLoadError", "SSOError", "ProfileNotFound", "LoginRefreshRequired"),
    *("DefaultCredentialsError", "RefreshError", "ReauthFailError", "ClientAuthenticationError"),
}
"""Errors of botocore, google.auth and azure, by class name, that say that the credentials are at fault."""
CREDENTIAL_CODES = {
    *("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "InvalidAccessKeyId", "InvalidClientTokenId"),
    *("SignatureDoesNotMatch", "RequestTimeTooSkewed", "RequestExpired", "AuthFailure", "SecurityTokenExpired", "InvalidSecurityToken"),
    *("InvalidSecurity", "UnrecognizedClientException", "AuthenticationFailed"),
}
"""Error codes of S3 (docs.aws.amazon.com, "Error responses"), OSS, TOS and Azure that say that the credentials are at fault."""
TRANSIENT_CODES = {
    *("SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "RequestTimeoutException", "OperationAborted"),
    *("Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded", "ServerBusy", "BadDigest", "IncompleteBody"),
    *("XAmzContentSHA256Mismatch", "DownloadTrafficRateLimitExceeded", "QpsLimitExceeded"),
}
"""Error codes of the same stores after which a retry may help: too many requests, an outage, a body that came damaged."""
TRANSIENT_ERRNOS = {
    *(errno.EBUSY, errno.EIO, errno.EREMOTEIO, errno.EAGAIN, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED),
    *(errno.EPIPE, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ENOTCONN),
}
"""Errors of the operating system after which a retry may help: a busy or flaky device, a broken connection, an unreachable network."""
TRANSIENT_ERRORS = {
    *("HTTPClientError", "ConnectionError", "EndpointConnectionError", "ReadTimeoutError", "ConnectTimeoutError", "ConnectionClosedError"),
    *("IncompleteReadError", "ResponseStreamingError", "ResponseParserError", "ChecksumError", "TransportError", "ServiceRequestError"),
    *("ServiceResponseError", "ClientPayloadError", "ClientConnectionError", "ServerDisconnectedError", "PayloadEncodingError"),
}
"""Errors of the clients for connections that break, by class name. An error counts when its class or one of its base classes has such a
name."""


class RemoteError(OSError):
    """An error of a storage client that is no OSError of its own; the client's error is its cause."""


class NoRangedReads(OSError):
    """The server answers a request for a range of bytes with something else."""


class ShortRead(OSError):
    """Fewer bytes came than the store said there are."""


def client_errors() -> tuple[type[BaseException], ...]:
    """All classes that a storage client may raise: OSError, and those of `FAMILIES` whose module is loaded (others cannot be raised)."""
    found = [getattr(sys.modules[name], kind, None) for name, kinds in FAMILIES.items() if name in sys.modules for kind in kinds]
    return (OSError, *(kind for kind in found if kind is not None))


def with_retries(work: Callable[[], T]) -> T:
    """Makes one request, and makes it again, up to `TRIES` times, while its error is a transient one.

    Raises:
        OSError: the last error, where it is an OSError; else a RemoteError whose cause is the client's own error.
    """
    began = time.monotonic()
    for n in range(1, TRIES + 1):
        try:
            return work()
        except client_errors() as error:
            kind, late = kind_of(error), time.monotonic() - began >= PATIENCE_S
            if kind != "transient" or n == TRIES or late:
                masked = isinstance(error, FileNotFoundError) and kind != "missing"  # fsspec raises it for any error status of HTTP
                if isinstance(error, OSError) and not masked:
                    raise
                raise RemoteError(message_of(error)) from error
        time.sleep(WAIT_S * 2 ** (n - 1) * random.uniform(0.75, 1.25))
    raise AssertionError("the last try returns or raises")


def kind_of(error: BaseException) -> Kind:
    """What an error means. Its causes are looked at first, from the earliest on; "other" where none says anything."""
    for link in _causes(error):
        found = _kind(link)
        if found is not None:
            return found
    return "other"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes, the earliest cause first: what the client saw says more than the errors raised from it."""
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__
    return reversed(links)


def _kind(error: BaseException) -> Kind | None:
    names = {kind.__name__ for kind in type(error).__mro__}
    # The class comes before the status, since some of these errors carry a status that no server sent.
    if names & TRANSIENT_ERRORS or isinstance(error, ConnectionError | TimeoutError | ShortRead):
        return "transient"
    code, status = _code(error), _status(error)
    if names & CREDENTIAL_ERRORS or code in CREDENTIAL_CODES or status == 401:
        return "credentials"
    if code in TRANSIENT_CODES or (status is not None and (status in (408, 425, 429) or (status >= 500 and status != 501))):
        return "transient"
    if "FileExpired" in names or code == "PreconditionFailed":
        return "changed"
    if isinstance(error, PermissionError) or status == 403:
        return "refused"
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return "missing"
    if status is not None and 400 <= status < 500:
        return "other"
    if isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS:
        return "transient"
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


def message_of(error: BaseException) -> str:
    """What the store or the connection said, with the store's own code first, in one line."""
    first = next(_causes(error))
    code = _code(first)
    said = _response(first)
    text = said.get("Error", {}).get("Message") if isinstance(said, dict) else None
    text = text or getattr(first, "strerror", None) or str(first) or "no further words"
    line = " ".join(str(text).split())[:300]
    return f"{code}: {line}" if code and code not in line else line
