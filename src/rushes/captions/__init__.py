"""Captions of kept clips: prompts, engines, and the check of what a model answers."""

from rushes.captions.engines import answer_schema, filled_in, identity, make_engine, needs, prompt_columns
from rushes.captions.request import Answer, Engine, Fault, Rejection, Request

__all__ = [
    "Answer",
    "Engine",
    "Fault",
    "Rejection",
    "Request",
    "answer_schema",
    "filled_in",
    "identity",
    "make_engine",
    "needs",
    "prompt_columns",
]
