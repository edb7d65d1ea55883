"""Says in words what is wrong with a caption server and how to mend it."""

from __future__ import annotations

from rushes.captions.reply import QUOTA, FailedTry

_ADDRESS = "captions.base_url usually ends in /v1"
_SHOWN = 5
"""Most model names quoted from the server's list."""


def explain(failure: FailedTry, address: str, model: str, *, tries: int, listed: tuple[str, ...] = ()) -> tuple[str, str]:
    """What went wrong and how to mend it.

    Args:
        failure: the last failed try.
        address: the server's address, without secrets.
        model: the model asked for.
        tries: number of tries.
        listed: the models that the server lists; empty where they are not known.
    """
    server = f"the caption server at {address}"
    status = failure.status
    if failure.unreadable:
        return (
            f"{server} does not speak the chat completions protocol: {failure.message}",
            f"set captions.base_url to its OpenAI-compatible address; {_ADDRESS}",
        )
    if status in (401, 403):
        return f"{server} refused the key: {failure.message}", "set the variable OPENAI_API_KEY to a key this server accepts"
    if status == 402 or failure.code == QUOTA:
        return f"{server} wants payment: {failure.message}", "top up the account, or choose another server with captions.base_url"
    if status in (400, 404, 422):
        names = f"; it lists {', '.join(listed[:_SHOWN])}{' ...' if len(listed) > _SHOWN else ''}" if listed else ""
        return f"{server} has no model {model!r}: {failure.message}{names}", f"set captions.model to the name the server uses; {_ADDRESS}"
    if status == 429:
        return (
            f"{server} is too busy: {failure.message} (tries: {tries})",
            "lower resources.captions.concurrency, or run the same command again later",
        )
    return (
        f"{server} is not there: {failure.message} (tries: {tries})",
        "start it, or set captions.base_url or OPENAI_BASE_URL to where it is, then run the same command again; "
        'captions.engine = "facts" needs no server',
    )
