"""How real servers refuse, word for word, by the mode of the tests' caption server: status, kind of the body, and the body.

The words are those of public issues: vLLM 13513, 9739 and 17757, Glyph 9, dots.ocr 61, Qwen3 1321 and SGLang 15418, LM Studio's tracker
169, 237, 362, 546 and 618, llm-vision 691 (Ollama), opencode 11141 (LM Studio), ragflow 5912 (DashScope). Standard library only.
"""

from __future__ import annotations

import json
from typing import Any

JSON, HTML, SSE, TEXT = "application/json", "text/html", "text/event-stream", "text/plain"


def vllm(words: str, status: int = 400, kind: str = "BadRequestError") -> tuple[int, str, bytes]:
    return as_json(status, {"object": "error", "message": words, "type": kind, "param": None, "code": status})


def openai(words: str, status: int = 400, code: str | None = None) -> tuple[int, str, bytes]:
    return as_json(status, {"error": {"message": words, "type": "invalid_request_error", "param": None, "code": code}})


def lm_studio(words: str, status: int = 400) -> tuple[int, str, bytes]:
    return as_json(status, {"error": words})


def as_json(status: int, value: Any) -> tuple[int, str, bytes]:
    return status, JSON, json.dumps(value).encode()


REFUSALS = {
    "vllm_text_only": vllm("facebook/opt-125m is not a multimodal model None"),
    "lm_studio_text_only": lm_studio("Model does not support images. Please use a model that does."),
    "lm_studio_no_adapter": lm_studio(
        "<LM Studio error> Vision model is not loaded. Cannot process images. Suggestion: Make sure to load both the primary and "
        "the Vision Adapter models. Error Data: n/a, Additional Data: n/a"
    ),
    "ollama_text_only": openai(
        "Failed to create new sequence: failed to process inputs: this model is missing data required for image input", 500
    ),
    "llama_cpp_text_only": openai("image input is not supported - hint: if this is unexpected, you may need to provide the mmproj", 500),
    "vllm_image_limit": vllm("At most 1 image(s) may be provided in one request."),
    "sglang_image_limit": vllm("Image count 3 exceeds limit 1 per request."),
    "sglang_text_only": vllm("Model only supports text input; received unsupported content type 'image_url'."),
    "deepinfra_image_limit": openai("Too many images in request: 3 > 1"),
    "xinference_image_limit": openai(
        "You set image=2 (or defaulted to 1) in `--limit-mm-per-prompt`, but passed 3 image items in the same prompt."
    ),
    "nginx_413": (
        413,
        HTML,
        b"<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>\r\n"
        b"<center><h1>413 Request Entity Too Large</h1></center>\r\n<hr><center>nginx/1.25.5</center>\r\n</body>\r\n</html>\r\n",
    ),
    "vllm_context": openai(
        "The decoder prompt (length 21535) is longer than the maximum model length of 16384. Make sure that `max_model_len` is no "
        "smaller than the number of text tokens plus multimodal tokens."
    ),
    "sglang_context": vllm("The input (61709 tokens) is longer than the model's context length (40960 tokens)."),
    "lm_studio_context": lm_studio(
        "Trying to keep the first 15857 tokens when context the overflows. However, the model is loaded with context length of only 4096 "
        "tokens, which is not enough. Try to load the model with a larger context length, or provide a shorter input"
    ),
    "lm_studio_n_keep": lm_studio("Cannot truncate prompt with n_keep (15028) >= n_ctx (7424)"),
    "dashscope_stream": openai("This model only support stream mode, please enable the stream parameter to access the model. "),
    "dashscope_thinking": openai("parameter.enable_thinking must be set to false for non-streaming calls"),
    "lm_studio_route": lm_studio("Unexpected endpoint or method. (POST /chat/completions)", 200),
    "lm_studio_200": lm_studio("The model has crashed without additional information. (Exit code: 18446744072635810000)", 200),
    "lm_studio_format": lm_studio("'response_format.type' must be 'json_schema' or 'text'"),
    "login_page": (200, HTML, b"<!DOCTYPE html><html><head><title>Sign in to Acme</title></head><body><form>...</form></body></html>"),
    "sse": (200, SSE, b'data: {"id": "1", "choices": [{"delta": {"content": "A"}}]}\n\ndata: [DONE]\n\n'),
    "ollama_no_model": openai('model "qwen9-vl" not found, try pulling it first', 404),
    "vllm_no_model": vllm("The model `qwen9-vl` does not exist.", 404, "NotFoundError"),
    "lm_studio_no_model": openai(
        "No models loaded. Please load a model in the developer page or use the 'lms load' command.", 404, "model_not_found"
    ),
    "openai_temperature": openai(
        "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."
    ),
    "openai_unknown_key": openai("Unrecognized request argument supplied: repetition_penalty"),
    "nginx_plain_http": (
        400, HTML, b"<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>",
    ),
    "deepseek_unpaid": as_json(402, {"error": {"message": "Insufficient Balance", "type": "unknown_error", "param": None}}),
    "dashscope_unpaid": openai("The free tier of the model has been exhausted.", 403, "AllocationQuota.FreeTierOnly"),
    "numbered": openai("request 5f0c1d2e-0000-4000-8000-000000000000 was refused by policy 17"),
}  # fmt: skip
"""Mode -> answer to each completion."""
NO_ROUTE = {
    "openai": openai("Invalid URL (POST /chat/completions)", 404),
    "ollama": (404, TEXT, b"404 page not found"),
    "fastapi": as_json(404, {"detail": "Not Found"}),
    "not_allowed": as_json(405, {"detail": "Method Not Allowed"}),
    "lm_studio": lm_studio("Unexpected endpoint or method. (POST PATH)", 200),
    "web_app": (200, HTML, b"<!doctype html>\n<html lang=en><head><title>Open WebUI</title></head><body></body></html>"),
}
"""Answers to a path that a server does not have, by kind of server."""
