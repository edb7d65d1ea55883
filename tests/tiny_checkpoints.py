"""Tiny checkpoints of real architectures, made in the test and loaded through `from_pretrained`, with no network.

Taken over from `tiny_models.py` of the project's shared reference, as far as scores need it:
the byte-level tokenizer, and weights set by hand so that the first coordinate of a CLIP embedding, and P(nsfw) of a ViT, rise with the
brightness of the picture. The other checkpoints have random weights, for comparing with plain transformers code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTokenizerFast,
    SiglipConfig,
    SiglipModel,
    ViTConfig,
    ViTForImageClassification,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

SMALL: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}


def tokenizer(longest: int = 77) -> CLIPTokenizerFast:
    """One token a byte, so that every text has its own tokens."""
    alphabet = sorted(ByteLevel.alphabet())
    words = [*alphabet, *(c + "</w>" for c in alphabet), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizerFast(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=longest)


def clip_config() -> CLIPConfig:
    tokens = tokenizer()
    ids = {"bos_token_id": tokens.bos_token_id, "eos_token_id": tokens.eos_token_id, "pad_token_id": tokens.pad_token_id}
    text = {"vocab_size": len(tokens), "max_position_embeddings": 77, **ids, **SMALL, "projection_dim": 768}
    vision = {"image_size": 224, "patch_size": 32, "layer_norm_eps": 1.0, **SMALL, "projection_dim": 768}
    return CLIPConfig(projection_dim=768, text_config=text, vision_config=vision)


def random_clip(folder: Path) -> Path:
    """A CLIP of 768 dimensions with random weights, its vision's large enough that pictures differ by more than rounding."""
    torch.manual_seed(1)
    net = CLIPModel(clip_config())
    with torch.no_grad():
        for name, weights in net.vision_model.named_parameters():
            if "embedding" in name:
                weights.mul_(8.0)
    return _saved(net, folder, tokenizer(), CLIPImageProcessorPil(size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}))


def bright_clip(folder: Path) -> Path:
    """The first coordinate of an embedding rises with the picture's brightness; the text tower is random."""
    torch.manual_seed(2)
    net = CLIPModel(clip_config())
    vision = net.vision_model
    _clear(net, keep={name for name, _ in net.named_parameters() if name.startswith("text") or name == "logit_scale"})
    _see_brightness(vision.embeddings.patch_embedding)
    vision.embeddings.class_embedding.data[2:4] = torch.tensor([1.0, -1.0])
    attention = vision.encoder.layers[0].self_attn  # q = k = 0: the class token takes the mean over patches
    attention.v_proj.weight.data[:2, :2] = attention.out_proj.weight.data[:2, :2] = torch.eye(2)
    net.visual_projection.weight.data[0, 0] = net.visual_projection.weight.data[1, 2] = 1
    return _saved(net, folder, tokenizer(), CLIPImageProcessorPil(size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}))


def random_siglip(folder: Path) -> Path:
    """A SigLIP with random weights."""
    torch.manual_seed(3)
    tokens = tokenizer(64)
    text = {"vocab_size": len(tokens), "max_position_embeddings": 64, **SMALL}
    net = SiglipModel(SiglipConfig(text_config=text, vision_config={"image_size": 64, "patch_size": 16, **SMALL}))
    return _saved(net, folder, tokens, SiglipImageProcessorPil(size={"height": 64, "width": 64}))


def bright_vit(folder: Path, labels: tuple[str, str] = ("normal", "nsfw")) -> Path:
    """A classifier: P(nsfw) = sigmoid(12 b) of the brightness b in [-1, 1], at whichever index the labels put it."""
    names = dict(enumerate(labels))
    net = ViTForImageClassification(
        ViTConfig(image_size=224, patch_size=16, layer_norm_eps=1.0, id2label=names, label2id={v: k for k, v in names.items()}, **SMALL)
    )
    _clear(net)
    _see_brightness(net.vit.embeddings.patch_embeddings.projection)
    through = ("v_proj.weight", "value.weight", "attention.output.dense.weight", "o_proj.weight", "out_proj.weight")  # by version
    for name, weights in net.named_parameters():
        if name.endswith(through):
            weights.data[:2, :2] = torch.eye(2)
    at = labels.index("nsfw")
    net.classifier.weight.data[at, 0], net.classifier.weight.data[1 - at, 0] = 6, -6
    processor = ViTImageProcessorPil(size={"height": 224, "width": 224}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return _saved(net, folder, None, processor)


def aesthetic_head(path: Path, seed: int) -> dict[str, torch.Tensor]:
    """Random weights in the shape of LAION's aesthetic head v2, as a file of safetensors; returns them."""
    torch.manual_seed(seed)
    sizes, keys = [768, 1024, 128, 64, 16, 1], [0, 2, 4, 6, 7]
    found = {}
    for key, wide, narrow in zip(keys, sizes, sizes[1:], strict=False):
        found[f"layers.{key}.weight"] = torch.randn(narrow, wide) / wide**0.5
        found[f"layers.{key}.bias"] = torch.randn(narrow)
    save_file(found, path)
    return found


def nsfw_head(path: Path, seed: int) -> None:
    """Random weights in the shape of LAION's NSFW head, as a file of PyTorch, with variances that are not 1."""
    torch.manual_seed(seed)
    found = {"norm.mean": 0.02 * torch.randn(768), "norm.variance": 0.0005 + 0.002 * torch.rand(768)}
    for k, (wide, narrow) in enumerate([(768, 64), (64, 512), (512, 256), (256, 1)], 1):
        found[f"linear_{k}.weight"] = torch.randn(narrow, wide) / wide**0.5
        found[f"linear_{k}.bias"] = 0.1 * torch.randn(narrow)
    torch.save(found, path)


def _clear(net: Any, keep: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    for name, weights in net.named_parameters():
        if not ("norm" in name and name.endswith("weight")) and name not in keep:
            weights.data.zero_()


def _see_brightness(convolution: Any) -> None:
    """Of each patch, dimension 0 is the mean pixel, dimension 1 is minus it."""
    convolution.weight.data[0] = 1 / convolution.weight[0].numel()
    convolution.weight.data[1] = -1 / convolution.weight[1].numel()


def _saved(net: Any, folder: Path, tokens: Any, processor: Any) -> Path:
    net.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    if tokens is not None:
        tokens.save_pretrained(folder)
    return folder
