"""One vision encoder, CLIP or SigLIP: frames and texts -> vectors of unit length in one space. All heads share its one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rushes.errors import ModelError
from rushes.models.device import Device, dtype_of
from rushes.models.hub import loading, quiet_transformers, revision_of
from rushes.models.passes import Passed, Passes
from rushes.models.pixels import Preparation, decoded

if TYPE_CHECKING:
    import torch

VERSION = 1
"""Raise when the vectors of the same pictures change by more than rounding."""
KEY = "scores.encoder"
SIGLIP_TOKENS = 64
"""Length to which SigLIP's texts are padded: it was trained so, and gives other vectors for other lengths (arXiv 2303.15343)."""


def identity(model: str, revision: str | None) -> dict[str, object]:
    """What a vector depends on: code, model, revision. The device and its number format are not in it: they change it by rounding only."""
    return {"encoder_version": VERSION, "model": model, "revision": revision_of(model, revision)}


class Encoder:
    """A loaded CLIP or SigLIP. Made once in a process.

    Attributes:
        device: where it runs.
        dimensions: length of a vector.
        logit_scale: by which the model multiplies cosines before the softmax.
    """

    def __init__(
        self, net: Any, preparation: Preparation, tokens: Any, device: Device, batch: int = 0,
        decode: Callable[[Any], npt.NDArray[np.uint8]] = decoded,
    ) -> None:  # fmt: skip
        self._net, self._tokens, self.device = net, tokens, device
        self.logit_scale = float(net.logit_scale.detach().float().exp())  # before the weights are rounded to the device's format
        net.eval().to(device.name, dtype_of(device))
        self._passes = Passes(device, preparation, self._vectors, batch, decode)
        self._dtype = dtype_of(device)
        self.dimensions = int(getattr(net.config, "projection_dim", None) or net.config.vision_config.hidden_size)

    @classmethod
    def load(cls, model: str, revision: str | None, device: Device, batch: int = 0) -> Encoder:
        """Loads an encoder, once.

        Args:
            model: id on the hub, or a local folder.
            revision: revision on the hub; None: the pinned one of a model that Rushes names.
            device: where it runs.
            batch: pictures in one pass; 0: found.

        Raises:
            MissingExtra: `rushes[models]` is not installed.
            ModelError: it cannot be had, or is neither CLIP nor SigLIP.
        """
        pinned = revision_of(model, revision)
        with quiet_transformers(), loading(model, KEY, pinned):
            from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

            net = AutoModel.from_pretrained(model, revision=pinned, dtype="float32")
            if not (hasattr(net, "get_image_features") and hasattr(net, "get_text_features")):
                raise ValueError(f"it is a {type(net).__name__}, which gives no vectors of pictures and texts as CLIP and SigLIP do")
            tokens = AutoTokenizer.from_pretrained(model, revision=pinned)
            preparation = Preparation.of(AutoImageProcessor.from_pretrained(model, revision=pinned))
            return cls(net, preparation, tokens, device, batch)

    @property
    def batch(self) -> int:
        """Pictures in one pass, as it is now: it is halved where the memory of the device does not suffice."""
        return self._passes.batch

    @property
    def _siglip(self) -> bool:
        return str(self._net.config.model_type).startswith("siglip")

    @property
    def longest(self) -> int:
        """Tokens of the longest text that it takes."""
        return SIGLIP_TOKENS if self._siglip else int(self._net.config.text_config.max_position_embeddings)

    def tokens(self, text: str) -> int:
        """Tokens of a text."""
        return len(self._tokens(text)["input_ids"])

    def pictures(self, jpegs: Sequence[bytes]) -> Passed:
        """The vectors of pictures: a row of `dimensions` float32 each, of unit length; NaN for one that cannot be decoded."""
        return self._passes.run(jpegs)

    def texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The vectors of texts: (n, dimensions) float32, of unit length.

        Raises:
            ModelError: a text is longer than the model takes.
        """
        import torch

        longest = self.longest
        for text in texts:
            if (n := self.tokens(text)) > longest:
                what = f"the text {text!r} has {n} tokens, and the encoder takes {longest}"
                raise ModelError(what, step="scores", mend="shorten it; texts of the recipe are in scores.labels and scores.templates")
        padding: dict[str, Any] = {"padding": "max_length", "max_length": longest} if self._siglip else {"padding": True}
        batch = self._tokens(list(texts), return_tensors="pt", **padding).to(self.device.name)
        with torch.inference_mode():
            found = _pooled(self._net.get_text_features(**batch)).float()
            unit: npt.NDArray[np.float32] = torch.nn.functional.normalize(found).cpu().numpy()
        return unit

    def _vectors(self, batch: torch.Tensor) -> torch.Tensor:
        import torch

        found = _pooled(self._net.get_image_features(pixel_values=batch.to(self._dtype)))
        return torch.nn.functional.normalize(found.float())


def _pooled(found: Any) -> Any:
    """The projected vectors: transformers 5 gives them inside an output, transformers 4 as they are."""
    return getattr(found, "pooler_output", found)
