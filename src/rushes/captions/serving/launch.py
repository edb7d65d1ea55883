"""The command by which a caption server is started, and what is missing for it on this machine."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from rushes.errors import RecipeError
from rushes.recipe_captions import CaptionSettings

PORTS = range(20000, 32000)
"""Below the ports that Linux gives to connections (32768 and up, net.ipv4.ip_local_port_range), so that none takes a server's port before
it listens."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
KEYS = ("VLLM_API_KEY", "LLAMA_API_KEY")
"""Variables by which vLLM and llama.cpp are told the key that they ask for: vLLM listens on all addresses unless it is told otherwise, and
nobody else is to be served. Other servers are sent the key and do not look at it."""
OF_OTHER_PYTHON = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""Variables of Rushes' own environment that lead another Python astray."""
_MEND = 'captions.serve, such as "vllm serve {model} --port {port}"'


@dataclass(frozen=True, slots=True)
class Launch:
    """A command and its environment."""

    words: tuple[str, ...]
    env: dict[str, str]


def launch(settings: CaptionSettings, *, host: str, port: int, key: str, devices: str | None) -> Launch:
    """How a server is started.

    Args:
        settings: the recipe's captions section.
        host: the address on which it is to listen, for commands that name {host}.
        port: its port.
        key: what it is to ask for, where it can be told by a variable.
        devices: its share of the GPUs, as CUDA_VISIBLE_DEVICES; None: what the environment says.

    Raises:
        RecipeError: the command cannot be used, or its program is not there.
    """
    python = _python(settings)
    values = {"model": os.path.expanduser(settings.model or ""), "port": str(port), "host": host, "python": python}
    words = [_filled(word, values) for word in _words(settings)]
    path = os.pathsep.join([str(Path(python).parent), os.environ.get("PATH", os.defpath)])
    program = shutil.which(words[0], path=path)
    if program is None:
        what = f"captions.serve begins with {words[0]!r}, and there is no such program on this machine"
        mend = f"install it ({words[0]}), or name the Python of the environment that it is in with captions.serve_python, or change {_MEND}"
        raise RecipeError(what, step="captions", mend=mend)
    env = {**os.environ, "PATH": path, **dict.fromkeys(KEYS, key)}
    if settings.serve_python:
        env = {name: value for name, value in env.items() if name not in OF_OTHER_PYTHON}
    if devices is not None:
        env[VISIBLE] = devices
    return Launch((program, *words[1:]), env)


def check_serve(settings: CaptionSettings) -> None:
    """Makes sure that what the recipe says of servers can be used on any machine, before one is started.

    Raises:
        RecipeError: it cannot, or the model is a folder that is not there.
    """
    if not any("{port}" in word for word in _words(settings)):
        what = f"captions.serve = {settings.serve!r} does not say {{port}}, so that the server's port is not known"
        raise RecipeError(what, step="captions", mend=f"write {{port}} where the command takes the port in {_MEND}")
    model = settings.model or ""
    if model.startswith(("/", "./", "../", "~")) and not Path(model).expanduser().exists():
        raise RecipeError(f"captions.model = {model!r} is a path, and there is nothing", step="captions", mend="name the folder of a model")
    _python(settings)


def gpu_shares(devices: list[str], gpus: float, servers: int) -> list[str | None]:
    """CUDA_VISIBLE_DEVICES of each server of this machine.

    Args:
        devices: the GPUs that this process may use.
        gpus: those of one server, `resources.captions.gpus`: a fraction where several share one; 0: one each.
        servers: `captions.servers`; 0: as many as there are shares.

    Raises:
        RecipeError: one server takes more GPUs than there are.
    """
    if not devices:
        return [None] * max(1, servers)
    each = gpus or 1.0
    if each < 1.0:
        shares = [device for device in devices for _ in range(int(1.0 / each))]
    else:
        size = int(each)
        shares = [",".join(devices[k : k + size]) for k in range(0, len(devices) - size + 1, size)]
    if not shares:
        what = f"resources.captions.gpus = {gpus:g}, and this process may use {len(devices)} GPUs ({', '.join(devices)})"
        raise RecipeError(what, step="captions", mend="lower it, or run where there are more")
    n = servers or len(shares)
    return [shares[k % len(shares)] for k in range(n)]


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    while True:
        port = PORTS[secrets.randbelow(len(PORTS))]
        with socket.socket() as trial:
            try:
                trial.bind(("", port))
            except OSError:
                continue
            return port


def _words(settings: CaptionSettings) -> list[str]:
    try:
        words = shlex.split(settings.serve)
    except ValueError as error:
        raise RecipeError(f"captions.serve = {settings.serve!r}: {error}", step="captions", mend=f"close its quotes: {_MEND}") from error
    if not words:
        raise RecipeError("captions.serve is empty", step="captions", mend=f"set {_MEND}")
    return words


def _filled(word: str, values: dict[str, str]) -> str:
    """A word with the values of {model} and the like; other braces, as in JSON, stay."""
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word


def _python(settings: CaptionSettings) -> str:
    if settings.serve_python is None:
        return sys.executable
    python = Path(settings.serve_python).expanduser()
    if not os.access(python, os.X_OK) or python.is_dir():
        what = f"captions.serve_python = {settings.serve_python!r} is no program"
        raise RecipeError(what, step="captions", mend="name the Python of an environment, such as /opt/vllm/bin/python")
    return str(python)
