"""Pictures through a model, batch by batch: threads decode and prepare the next batches while the model works on this one.

The threads write straight into a few reused buffers (page-locked where the model is on a GPU, so that the copy to it runs beside its work).
The results stay on the device until the end. So a GPU waits only where the threads cannot keep up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rushes import machine
from rushes.models.device import Device
from rushes.models.pixels import Preparation, decoded

if TYPE_CHECKING:
    import torch

ON_CPU, ON_GPU = 8, 256
"""Pictures in one pass where nobody says how many. On a CPU more are no faster; on a GPU it is halved when its memory does not suffice."""
BUFFERS = 3
"""One that the model works on, and two that the threads fill."""


@dataclass(frozen=True, slots=True)
class Passed:
    """What came out of a model.

    Attributes:
        rows: (n, k) float32, a row a picture; NaN for one that cannot be decoded.
        faults: why not, by index.
    """

    rows: npt.NDArray[np.float32]
    faults: dict[int, str]


class Passes:
    """Takes pictures through one model.

    Args:
        device: where the model is.
        preparation: what the model's image processor does.
        forward: from normalised pictures (n, 3, h, w) float32 on the device to (n, k).
        batch: pictures in one pass; 0: as many as suits the device.
        decode: from what is given for a picture to (h, w, 3) uint8 RGB.
    """

    def __init__(
        self,
        device: Device,
        preparation: Preparation,
        forward: Callable[[torch.Tensor], torch.Tensor],
        batch: int = 0,
        decode: Callable[[Any], npt.NDArray[np.uint8]] = decoded,
    ) -> None:
        self.batch = batch or (ON_GPU if device.on_gpu else ON_CPU)
        self._device, self._preparation, self._forward, self._decode = device, preparation, forward, decode
        self._threads = ThreadPoolExecutor(machine.cores(), thread_name_prefix="rushes-pictures")
        self._buffers: list[torch.Tensor] = []
        self._free: list[Any] = []

    def run(self, pictures: Sequence[Any]) -> Passed:
        """Takes all pictures through the model, in their order."""
        import torch

        filling: list[list[Future[str | None]]] = []
        self._ready()
        try:
            with torch.inference_mode():
                return self._run(pictures, filling)
        finally:  # where the model failed, threads may still write to the buffers, which the next call uses again
            wait([one for some in filling for one in some])

    def _run(self, pictures: Sequence[Any], filling: list[list[Future[str | None]]]) -> Passed:
        """Takes all pictures through the model; `filling` gets what the threads were given to do, batch by batch."""
        import torch

        faults: dict[int, str] = {}
        found: list[torch.Tensor] = []
        step = self.batch
        spans = [(at, min(at + step, len(pictures))) for at in range(0, len(pictures), step)]
        for k in range(min(BUFFERS - 1, len(spans))):
            filling.append(self._fill(k, pictures, spans[k]))
        for k, (at, end) in enumerate(spans):
            for i, one in enumerate(filling[k]):
                if (fault := one.result()) is not None:
                    faults[at + i] = fault
            sent = self._buffers[k % BUFFERS][: end - at].to(self._device.name, non_blocking=True)
            if self._device.on_gpu:
                self._free[k % BUFFERS].record(torch.cuda.current_stream(self._device.name))
            if k + BUFFERS - 1 < len(spans):  # while the model works on this one, the threads fill the one after the next
                filling.append(self._fill(k + BUFFERS - 1, pictures, spans[k + BUFFERS - 1]))
            found += self._passed(sent)
        rows = torch.cat(found).float().cpu().numpy() if found else np.zeros((0, 0), np.float32)
        rows[list(faults)] = np.nan
        return Passed(rows, faults)

    def _ready(self) -> None:
        """Makes the buffers, or larger ones."""
        import torch

        if self._buffers and len(self._buffers[0]) == self.batch:
            return
        shape = (self.batch, 3, self._preparation.height, self._preparation.width)
        self._buffers = [torch.empty(shape, dtype=torch.uint8, pin_memory=self._device.on_gpu) for _ in range(BUFFERS)]
        self._free = [torch.cuda.Event() for _ in range(BUFFERS)] if self._device.on_gpu else []

    def _fill(self, k: int, pictures: Sequence[Any], span: tuple[int, int]) -> list[Future[str | None]]:
        """Has the threads prepare a batch, once the buffer has been copied to the device."""
        if self._device.on_gpu:
            self._free[k % BUFFERS].synchronize()
        buffer = self._buffers[k % BUFFERS]
        return [self._threads.submit(self._prepare, buffer[i], pictures[span[0] + i]) for i in range(span[1] - span[0])]

    def _prepare(self, place: torch.Tensor, picture: Any) -> str | None:
        """Writes one picture to its place in a buffer; why not, where it cannot be decoded."""
        try:
            place.copy_(self._preparation.sized(self._decode(picture)))
        except ValueError as error:
            return str(error)
        return None

    def _passed(self, batch: torch.Tensor) -> list[torch.Tensor]:
        """What the model makes of a batch. Where the memory of the device does not suffice, it and all later ones are taken in halves."""
        import torch

        out: list[torch.Tensor] = []
        at, step = 0, min(self.batch, len(batch))
        while at < len(batch):
            try:
                out.append(self._forward(self._preparation.normalised(batch[at : at + step])))
            except torch.OutOfMemoryError:
                if step == 1:
                    raise
                step = self.batch = step // 2
                torch.cuda.empty_cache()
                continue
            at += step
        return out
