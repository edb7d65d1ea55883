"""Where weights come from: a local folder or file, or the Hugging Face hub by id and revision. What is missing is said with what to set.

The hub's own variables hold: HF_HOME (where downloads are kept), HF_HUB_OFFLINE=1 (use what is kept, ask nobody), HF_TOKEN, HF_ENDPOINT.
"""

from __future__ import annotations

import importlib
import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rushes.errors import MissingExtra, ModelError

PINNED: dict[str, str] = {
    "openai/clip-vit-large-patch14": "32bd64288804d66eefd0ccbe215aa642df71cc41",
    "ttj/sac-logos-ava1-l14-linearMSE": "1e77fa05081323d99725fc40a9bf9f88180490e7",
    "Falconsai/nsfw_image_detection": "96cb0d0342c7afb80cab76ecc58b265fa44da256",
    "prithivMLmods/Watermark-Detection-SigLIP2": "ce32ed8fe48872dd7d15e1db2602a0d50ddceae0",
}
"""Revision of each model that Rushes names itself, so that a run of next year uses the weights of today."""


def revision_of(model: str, asked: str | None) -> str | None:
    """The revision to load: the one asked for, else the pinned one of a model that Rushes names itself; None for a local folder."""
    return asked or (None if is_local(model) else PINNED.get(model))


def is_local(model: str) -> bool:
    """Whether a model is named by a path, not by an id on the hub. An id is "name" or "owner/name"."""
    return os.path.exists(os.path.expanduser(model)) or model.startswith(("/", "./", "../", "~")) or model.count("/") > 1


def needs(extra: str, *modules: str, step: str = "scores") -> None:
    """Makes sure that packages of an optional extra, which a model of this step needs, are installed.

    Raises:
        MissingExtra: one is not; the message names the line that installs it.
    """
    if missing := [name for name in modules if find_spec(name) is None]:
        what = f"the package {missing[0]} is not installed, which this model needs"
        raise MissingExtra(what, step=step, mend=f"pip install 'rushes[{extra}]'")


@contextmanager
def loading(model: str, key: str, revision: str | None = None) -> Iterator[None]:
    """Around the loading of a model: what goes wrong becomes a ModelError that says what to set.

    Args:
        model: the id or path.
        key: the recipe's key that names it, such as "scores.encoder".
        revision: the revision that is loaded.

    Raises:
        ModelError: the weights are not there, cannot be read, or are not those of such a model.
    """
    try:
        yield
    except OSError as error:
        where = f"{model} at revision {revision}" if revision else model
        what = f"{key}: the model {where} cannot be had: {_first_line(error)}"
        if is_local(model):
            raise ModelError(what, step="scores", mend=f"set {key} to a folder or file that holds the model") from error
        kept = "HF_HUB_OFFLINE is set, so only models that are already in HF_HOME are used. " if _offline() else ""
        mend = f"{kept}let this machine reach huggingface.co (HF_ENDPOINT, HF_TOKEN), or download the model and set {key} to its folder"
        raise ModelError(what, step="scores", mend=mend) from error
    except (ValueError, KeyError, RuntimeError, TypeError, AttributeError, pickle.UnpicklingError) as error:
        what = f"{key}: {model} is not a model that can be used here: {_first_line(error)}"
        raise ModelError(what, step="scores", mend=f"set {key} to such a model; docs/scores.md lists them") from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keeps transformers from printing progress and remarks on weights that are not used.

    Raises:
        MissingExtra: transformers is not installed.
        ModelError: there is a torchvision that does not fit PyTorch, which breaks transformers.
    """
    needs("models", "torch", "transformers", "safetensors", "huggingface_hub", "PIL")
    if find_spec("torchvision") is not None:
        try:
            importlib.import_module("torchvision")
        except (RuntimeError, ImportError) as error:
            what = f"the installed torchvision does not fit PyTorch: {_first_line(error)}"
            raise ModelError(what, step="scores", mend="pip uninstall torchvision; Rushes does not use it") from error
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def weights(model: str, revision: str | None, names: Sequence[str], key: str) -> dict[str, Any]:
    """The tensors of a small model, by name, in float32 on the CPU.

    Args:
        model: a file of weights (.safetensors, or .pth of plain tensors), a folder with one, or an id on the hub.
        revision: of an id on the hub.
        names: what the file may be called in a folder or on the hub.
        key: the recipe's key that names the model.

    Raises:
        MissingExtra: a package is not installed.
        ModelError: there is no such file, or it holds something else.
    """
    needs("models", "torch", "safetensors", "huggingface_hub")
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with loading(model, key, revision):
        path = _file(model, revision, names)
        try:
            held = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
        except SafetensorError as error:
            raise ValueError(f"{path.name} is no file of safetensors: {error}") from error
        if not isinstance(held, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in held.values()):
            raise ValueError(f"{path.name} holds no table of tensors")
        return {name: tensor.float() for name, tensor in held.items()}


def _file(model: str, revision: str | None, names: Sequence[str]) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    if is_local(model):
        path = Path(model).expanduser()
        found = [path] if path.is_file() else [path / name for name in names if (path / name).is_file()]
        if not found:
            raise FileNotFoundError(f"there is no {' or '.join(names)} in {path}" if path.is_dir() else f"there is no file {path}")
        return found[0]
    for name in names[:-1]:
        try:
            return Path(hf_hub_download(model, name, revision=revision))
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            continue
    return Path(hf_hub_download(model, names[-1], revision=revision))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
