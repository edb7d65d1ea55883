"""What a server's or the recipe's settings can have wrong, recognised by the words of the servers, each with the flag or key that mends it.

The words are those of vLLM, SGLang, Ollama, llama.cpp, LM Studio, OpenAI, DashScope and nginx.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rushes.captions.reply import CERTIFICATE, FailedTry

LARGER_CONTEXT = (
    "give the model a longer context (vLLM --max-model-len, SGLang --context-length, llama.cpp -c, Ollama OLLAMA_CONTEXT_LENGTH, LM Studio "
    "its context length), or lower frames.per_clip, frames.short_side_px or captions.max_tokens"
)
VISION_MODEL = (
    "set captions.model to a model that sees pictures, and have the server load its vision part (llama.cpp --mmproj, LM Studio its vision "
    "adapter)"
)
NO_THINKING = (
    "switch thinking off: captions.extra_body = { chat_template_kwargs = { enable_thinking = false } } (vLLM, SGLang), "
    '{ reasoning_effort = "none" } (Ollama) or { enable_thinking = false } (DashScope); or choose a model that does not think'
)


@dataclass(frozen=True, slots=True)
class SettingsFault:
    """One thing that settings have wrong.

    Attributes:
        name: a word for it.
        words: matches what servers say.
        what: what is wrong, as the end of "the caption server at ADDRESS ...".
        mend: the flags and keys that mend it; `{images}` stands for `frames.per_clip`.
        also_5xx: some servers say it with a status of 500 or above; otherwise such a status means that the server is unwell.
    """

    name: str
    words: re.Pattern[str]
    what: str
    mend: str
    also_5xx: bool = False


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE)


FAULTS = (
    SettingsFault(
        "text_only",
        _words(
            r"is not a multimodal model",
            r"only supports text input",
            r"does not support (images|image input|vision|multimodal)",
            r"missing data required for image",
            r"image input is not supported",
            r"vision model is not loaded",
            r"support image input",
            r"mmproj",
            r"unknown variant `image_url`",
            r"image_url is only supported by certain models",
            r"image_url'? is not supported",
            r"content must be a string",
            r"cannot process images",
        ),
        "has a model that takes no pictures",
        VISION_MODEL,
        also_5xx=True,
    ),
    SettingsFault(
        "image_limit",
        _words(
            r"at most \d+ image",
            r"limit[-_]mm",
            r"image count \d+ exceeds",
            r"too many images",
            r"limit on max data-uri",
            r"contains \d+ images, exceeding",
            r"(maximum|max) (number|num) of images",
        ),
        "takes fewer pictures in one request than frames.per_clip = {images}",
        "start it with --limit-mm-per-prompt '{\"image\": {images}}' (vLLM) or --limit-mm-data-per-request '{\"image\": {images}}' "
        "(SGLang), or lower frames.per_clip",
    ),
    SettingsFault(
        "too_large",
        _words(r"status 413\b", r"(entity|payload|content|request( body)?) (is )?too large", r"maximum request body size"),
        "takes no request as large as this",
        "raise the limit of the server or of the proxy before it (nginx: client_max_body_size 64m), or lower frames.per_clip, "
        "frames.short_side_px or frames.quality",
    ),
    SettingsFault(
        "no_thinking_whole",
        _words(r"enable_thinking must be set to false"),
        "answers in one piece only where the model does not think",
        "set captions.extra_body = { enable_thinking = false }",
    ),
    SettingsFault(
        "stream_only",
        _words(r"only supports? (the )?stream", r"stream(ing)? (mode )?(is required|must be|only)", r"set stream ?(=|to) ?true"),
        "answers only in pieces (streaming), and Rushes asks for whole answers",
        "set captions.model to one that answers in one piece; where only a thinking model streams, set captions.extra_body = "
        "{ enable_thinking = false }",
    ),
    SettingsFault(
        "context",
        _words(
            r"context.{0,12}(length|window|size)",
            r"maximum.{0,20}tokens",
            r"too many tokens",
            r"inputs? tokens",
            r"max_model_len",
            r"maximum model length",
            r"maximum allowed length",
            r"n_keep",
            r"context the overflows",
            r"longer than the model",
        ),
        "has a context that is too short for one clip",
        LARGER_CONTEXT,
    ),
    SettingsFault(
        "response_format",
        _words(r"response_format", r"schema", r"structured", r"guided", r"grammar"),
        "does not take the JSON schema of the answer (response_format)",
        "choose a prompt without a schema (captions.prompt, captions.json_schema), or a server and model with structured output",
    ),
    SettingsFault(
        "plain_http",
        _words(r"plain HTTP request was sent to HTTPS port", r"WRONG_VERSION_NUMBER", r"HTTP request to an HTTPS server"),
        "speaks the other one of http and https",
        "change http:// and https:// in captions.base_url",
        also_5xx=True,
    ),
)
"""In the order in which they are looked for: what is more telling comes first."""
UNTRUSTED = SettingsFault(
    CERTIFICATE,
    _words("CERTIFICATE_VERIFY_FAILED"),
    "has a certificate that is not trusted",
    "set captions.verify to the path of the certificate (PEM) that signed it, or to false, which trusts any certificate",
    also_5xx=True,
)


def settings_fault(failure: FailedTry) -> SettingsFault | None:
    """What the words of a failed try say of settings; None where they say nothing of them."""
    if failure.code == CERTIFICATE:
        return UNTRUSTED
    if failure.unreadable or failure.status in (401, 402, 403, 429) or failure.unpaid:
        return None
    mild = failure.status is not None and failure.status < 500
    return next((f for f in FAULTS if (mild or f.also_5xx) and f.words.search(failure.message)), None)
