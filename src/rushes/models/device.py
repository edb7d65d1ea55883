"""On which device models of this process run, and in which number format."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

from rushes import machine
from rushes.errors import ModelError
from rushes.models.hub import needs

Number = Literal["bfloat16", "float32"]


@dataclass(frozen=True, slots=True)
class Device:
    """Where models of this process run.

    Attributes:
        name: as PyTorch has it: "cpu", "cuda:0".
        number: the format in which a model computes. Vectors and scores are float32 in any case.
        words: the device as a person reads it.
        why: why this number format, in words.
    """

    name: str
    number: Number
    words: str
    why: str

    @property
    def on_gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.name.startswith("cuda")

    def __str__(self) -> str:
        return f"{self.words}, {self.number} ({self.why})"


def choose(asked: str = "auto") -> Device:
    """The device to use: the first GPU that PyTorch sees, else the CPU. bfloat16 where the hardware computes in it, else float32.

    On a CPU PyTorch is given as many threads as this process may keep busy, unless OMP_NUM_THREADS says how many.

    Args:
        asked: "auto", or a device of PyTorch, such as "cpu" or "cuda:1".

    Without PyTorch it is the CPU, for models that do without it.

    Raises:
        MissingExtra: another device than the CPU is asked for, and PyTorch is not installed.
        ModelError: there is no such device.
    """
    if asked in ("auto", "cpu") and find_spec("torch") is None:
        return Device("cpu", "float32", f"CPU, {machine.cores()} threads", "PyTorch is not installed")
    needs("models", "torch")
    import torch

    name = ("cuda:0" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        what = f"there is no device {asked!r} for models: {str(error).splitlines()[0]}"
        raise ModelError(what, step="scores", mend="use auto or cpu, or see whether `nvidia-smi` and PyTorch agree on the GPUs") from error
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device)[0] >= 8  # NVIDIA's Ampere (8.0) was the first to compute in bfloat16
        why = "the GPU computes in bfloat16" if fast else "the GPU is older than Ampere and does not compute in bfloat16"
        return Device(name, "bfloat16" if fast else "float32", torch.cuda.get_device_name(device), why)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(machine.cores())
    fast = cpu_has_bfloat16(torch)
    why = "the CPU multiplies in bfloat16" if fast else "the CPU has no instructions for bfloat16"
    return Device(name, "bfloat16" if fast else "float32", f"CPU, {torch.get_num_threads()} threads", why)


def cpu_has_bfloat16(torch: Any) -> bool:
    """Whether the CPU has AVX512-BF16 or AMX-BF16. Without them bfloat16 is slower than float32: each number is converted.

    PyTorch's functions for it have no public name, so they may be missing.
    """
    asks = (getattr(torch.cpu, "_is_avx512_bf16_supported", None), getattr(torch.cpu, "_is_amx_tile_supported", None))
    return any(ask() for ask in asks if ask is not None)


def dtype_of(device: Device) -> Any:
    """The device's number format as PyTorch's dtype."""
    import torch

    return torch.bfloat16 if device.number == "bfloat16" else torch.float32


def healthy(device: Device) -> bool:
    """Whether the device still works. After some faults of a GPU every later call on it fails, in this process."""
    if not device.on_gpu:
        return True
    import torch

    try:
        torch.cuda.synchronize(device.name)
    except RuntimeError:
        return False
    return True
