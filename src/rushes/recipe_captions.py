"""The section `[captions]` of the recipe: which engine makes captions, and how a server is asked. `recipe.py` has the other sections."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rushes.recipe_scores import Section


class CaptionSettings(Section):
    """Words for kept clips."""

    engine: Literal["facts", "openai", "serve", "none"] = Field("facts", description="facts: sentences from measures; openai: any OpenAI-compatible server; serve: such servers, which the run starts and ends; none")
    base_url: str | tuple[str, ...] | None = Field(None, description="the server's address, such as http://127.0.0.1:8000/v1, or a list of several; default: the variable OPENAI_BASE_URL")
    model: str | None = Field(None, description="the model's name as the server knows it")
    prompt: str = Field("dense", description="inspection, inspection_zh, short, dense, structured, or the path of a text file; {duration_s} and other columns are filled in")
    system: str | None = Field(None, description="a system message that is sent before the prompt")
    json_schema: str | None = Field(None, description="the path of a JSON schema that answers to a prompt of your own must keep")
    window_s: float = Field(0.0, ge=0, description="clips longer than this are captioned in windows of this length at most, whose captions are merged by one call without frames; 0: none; seconds")
    facts_suffix: bool = Field(False, description="append the facts sentence to the model's caption")
    max_tokens: int | None = Field(None, ge=1, description="longest answer, tokens; default: 512, of structured answers 1024")
    temperature: float | None = Field(None, ge=0, le=2, description="sampling temperature; default: that of the model's makers where the model is known, else 0")
    top_p: float | None = Field(None, gt=0, le=1, description="nucleus sampling: the share of probability that tokens are drawn from")
    seed: int | None = Field(None, description="seed of the sampling")
    repetition_penalty: float | None = Field(None, gt=0, description="above 1 makes loops rarer (vLLM, SGLang)")
    extra_body: dict[str, Any] = Field({}, description="further keys of the request, such as chat_template_kwargs")
    frames_as: Literal["images", "video"] = Field("images", description="images: each frame as a JPEG; video: all in one small mp4, or as images where the server takes no video")
    timeout_s: float = Field(120.0, gt=0, description="one request's time limit, seconds")
    tries: int = Field(5, ge=5, description="attempts at a request on 5xx, 429 and resets, at least 5")
    deadline_s: float = Field(600.0, gt=0, description="the time limit of one clip, all tries and waits together, seconds: later ones are not begun")
    patience_s: float = Field(300.0, ge=0, description="how long captions wait for a server that went away, seconds from its first failure; then exit 3 with the rest pending")
    serve: str = Field("vllm serve {model} --port {port}", description="serve: the command that starts a server; {model}, {port}, {host} and {python} are filled in")
    serve_python: str | None = Field(None, description="serve: the Python of the environment that the command is in, where that is another one than Rushes'")
    servers: int = Field(0, ge=0, description="serve: how many servers; 0: one for each share of the GPUs, or one where there is none")
    restarts: int = Field(3, ge=0, description="serve: how often each server is started again when it dies, one that was never up at most once; then the run goes on without it")
    load_s: float = Field(1800.0, gt=0, description="serve: how long a server may take to load, seconds")
    price_per_million_prompt_tokens: float = Field(0.0, ge=0, description="price of a million tokens that the model reads, in a currency of yours, for the costs that plan and report state; 0: none")
    price_per_million_completion_tokens: float = Field(0.0, ge=0, description="price of a million tokens that the model writes, likewise")
    verify: bool | str = Field(True, description="TLS: true trusts the usual authorities, a path those of a PEM file, false any certificate")

    @model_validator(mode="after")
    def _own_keys_stay_own(self) -> Self:
        if taken := [key for key in ("model", "messages") if key in self.extra_body]:
            raise ValueError(f"captions.extra_body holds {taken[0]!r}, which Rushes sends itself")
        return self
