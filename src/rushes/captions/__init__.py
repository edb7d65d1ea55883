"""Captions of kept clips: prompts, engines, and the check of what a model answers."""

from rushes.captions.engines import identity, make_engine, needs
from rushes.captions.request import Answer, Engine, Fault, Request

__all__ = ["Answer", "Engine", "Fault", "Request", "identity", "make_engine", "needs"]
