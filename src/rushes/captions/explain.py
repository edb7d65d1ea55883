"""Says in words what is wrong with a caption server, and which flag or key mends it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from rushes.captions.reply import MIXED_UP, PAGE, STREAM, FailedTry
from rushes.captions.settings_faults import settings_fault
from rushes.recipe_captions import CaptionSettings

_ADDRESS = "captions.base_url usually ends in /v1"
_SHOWN = 5
"""Most model names quoted from the server's list."""
_VERSIONED = re.compile(r"/v\d+\w*(/|\Z)")
_DOUBLED = re.compile(r"(/v\d+)(/v\d+)+(?=/|\Z)")
_ENDPOINT = re.compile(r"/(chat/)?completions\Z|/models\Z|\A/api(/(chat|generate|tags))?\Z")
_NO_MODEL = re.compile(
    r"model.{0,80}(not (be )?(found|exist|loaded|available)|n't exist|unknown|no such)|(no|unknown|invalid|unrecognized) models?\b",
    re.IGNORECASE,
)
"""Matches the words of servers that do not have a model."""
_UNKNOWN_KEY = re.compile(
    r"unrecogni[sz]ed|unknown|unsupported|not supported|does not support|unexpected|not permitted|extra (inputs|fields)|additional propert",
    re.IGNORECASE,
)
"""Matches the words of servers that do not know a parameter, or not this value of it."""


def explain(
    failure: FailedTry, address: str, settings: CaptionSettings, *, tries: int, images: int, listed: tuple[str, ...] = ()
) -> tuple[str, str]:
    """What went wrong and how to mend it.

    Args:
        failure: the last failed try.
        address: the server's address, without secrets.
        settings: the recipe's captions section.
        tries: number of tries.
        images: pictures in the request.
        listed: the models that the server lists; empty where they are not known.
    """
    server = f"the caption server at {address}"
    if failure.unreadable:
        return _of_no_completion(failure, server, address)
    if failure.unpaid:
        return f"{server} wants payment: {failure.message}", "top up the account, or choose another server with captions.base_url"
    if failure.status in (401, 403):
        return f"{server} refused the key: {failure.message}", "set the variable OPENAI_API_KEY to a key this server accepts"
    if fault := settings_fault(failure):
        what, mend = (words.replace("{images}", str(images)) for words in (fault.what, fault.mend))
        return f"{server} {what}: {failure.message}", mend
    if failure.status is not None and 400 <= failure.status < 500 and not failure.transient:
        return _of_refusal(failure, server, address, settings, listed)
    if failure.status == 429:
        return (
            f"{server} is too busy: {failure.message} (tries: {tries})",
            "lower resources.captions.concurrency, or run the same command again later",
        )
    return (
        f"{server} is not there: {failure.message} (tries: {tries})",
        "start it, or set captions.base_url or OPENAI_BASE_URL to where it is, then run the same command again (with --wait-server 600 "
        'where it is still loading); captions.engine = "facts" needs no server',
    )


def may_be_model(failure: FailedTry) -> bool:
    """Whether a list of the server's models would help to say what is wrong."""
    return failure.status in (400, 404, 405, 422) and not failure.unreadable and settings_fault(failure) is None


def right_address(address: str) -> str | None:
    """The address that was probably meant, where the path of this one lacks /v1, has it twice, or names a single route; else None."""
    parts = urlsplit(address)
    path = parts.path.rstrip("/")
    meant = _DOUBLED.sub(r"\1", _ENDPOINT.sub("", path))
    if not _VERSIONED.search(meant):
        meant += "/v1"
    return None if meant == path else urlunsplit((parts.scheme, parts.netloc, meant, "", ""))


def _of_no_completion(failure: FailedTry, server: str, address: str) -> tuple[str, str]:
    """About an answer with status 200 that is no chat completion, or not that of the request."""
    if failure.code == MIXED_UP:
        return (
            f"{server} mixes up its answers: {failure.message}",
            "ask it directly if a proxy or a gateway stands before it, or take another version of it; then run the same command again",
        )
    if failure.code == STREAM:
        return (
            f"{server} answers only in pieces (streaming), and Rushes asks for whole answers: {failure.message}",
            "set captions.extra_body = { stream = false }, or captions.model to one that answers in one piece",
        )
    right = right_address(address)
    meant = f"set captions.base_url to {right}" if right else f"set captions.base_url to its OpenAI-compatible address; {_ADDRESS}"
    if failure.code == PAGE:
        return (
            f"{server} does not speak the chat completions protocol: {failure.message}",
            f"{meant}; where it is a login page, name the address behind it, and set the variable OPENAI_API_KEY to a key it accepts",
        )
    return f"{server} does not speak the chat completions protocol: {failure.message}", meant


def _of_refusal(failure: FailedTry, server: str, address: str, settings: CaptionSettings, listed: tuple[str, ...]) -> tuple[str, str]:
    """About a refused request (4xx) that says nothing of settings which are known by their words."""
    names = f"; it lists {', '.join(listed[:_SHOWN])}{' ...' if len(listed) > _SHOWN else ''}" if listed else ""
    right = right_address(address)
    if failure.status in (404, 405) and right and "model" not in failure.message.lower():
        return f"{server} has no chat completions at this path: {failure.message}", f"set captions.base_url to {right}"
    if failure.status in (404, 405) and settings.model in listed and not _NO_MODEL.search(failure.message):
        return (
            f"{server} lists the model {settings.model!r} and has no chat completions at this path: {failure.message}",
            f"set captions.base_url to its OpenAI-compatible address; {_ADDRESS}",
        )
    if failure.status == 404 or _NO_MODEL.search(failure.message):
        return (
            f"{server} has no model {settings.model!r}: {failure.message}{names}",
            f"set captions.model to the name the server uses; {_ADDRESS}",
        )
    if key := _names_key(failure, settings):
        return f"{server} does not take captions.{key}: {failure.message}", f"leave out captions.{key}, or set it to what the server takes"
    return (
        f"{server} refused the request: {failure.message}",
        "its words say why; compare the keys of [captions] and [frames] with what the server takes, and look at its log",
    )


def _names_key(failure: FailedTry, settings: CaptionSettings) -> str | None:
    """The key of `[captions]` that a server says it does not know."""
    if not _UNKNOWN_KEY.search(failure.message):
        return None
    keys = [key for key in ("temperature", "top_p", "seed", "repetition_penalty") if getattr(settings, key) is not None]
    named = next((key for key in keys if key in failure.message), None)
    return named or next((f"extra_body.{key}" for key in settings.extra_body if key in failure.message), None)
