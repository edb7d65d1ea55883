"""A tiny vision model of a real architecture (Idefics3, the class of SmolVLM) that answers what it was made to, for `transformers serve`.

Taken over from `make_vlm` of the project's shared reference: most weights are zero, and the others are set so that after each word of the
answer the next one follows; where two words are given, the brightness of the pictures chooses. The same on every machine.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import GenerationConfig, Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor, PreTrainedTokenizerFast
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

CHAT = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}{% if message['content'][0]['type'] == 'image' %}{{':'}}"
    "{% else %}{{': '}}{% endif %}{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""The chat template of SmolVLM-Instruct."""
ANSWER = ("A ", ("bright", "dark"), " hall", " with", " grey", " walls.")
WIDE, SIDE, PATCH, SCALE = 128, 64, 16, 2


def tiny_vlm(folder: Path, answer: Sequence[str | tuple[str, str]] = ANSWER) -> Path:
    """Writes the model.

    Args:
        folder: where.
        answer: its words, each once; of a pair the first is said of bright pictures and the second of dark ones.
    """
    steps = [word if isinstance(word, tuple) else (word,) for word in answer]
    words = [word for step in steps for word in step]
    tokens = _tokenizer(words)
    net = Idefics3ForConditionalGeneration(_config(tokens))
    for name, weights in net.named_parameters():
        if not ("norm" in name and name.endswith("weight")):
            weights.data.zero_()
    of_patch = net.model.vision_model.embeddings.patch_embedding.weight
    of_patch.data[0], of_patch.data[1] = 1 / of_patch[0].numel(), -1 / of_patch[0].numel()
    net.model.connector.modality_projection.proj.weight.data[WIDE - 1, 0::32] = 1
    attention = net.model.text_model.layers[0].self_attn  # uniform: the mean brightness over the tokens of the pictures
    attention.v_proj.weight.data[0, WIDE - 1], attention.o_proj.weight.data[WIDE - 1, 0] = 1, 0.05
    _chain(net, tokens, steps)
    net.generation_config = GenerationConfig(
        bos_token_id=tokens.bos_token_id, eos_token_id=tokens.eos_token_id, pad_token_id=tokens.pad_token_id
    )
    net.eval().save_pretrained(folder)
    pictures = Idefics3ImageProcessorPil(do_image_splitting=False, size={"longest_edge": SIDE}, max_image_size={"longest_edge": SIDE})
    Idefics3Processor(pictures, tokens, image_seq_len=(SIDE // PATCH) ** 2 // SCALE**2, chat_template=CHAT).save_pretrained(folder)
    return folder


def _tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """One token a byte, and one for each word of the answer."""
    plain = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(sorted(ByteLevel.alphabet()))}, merges=[]))
    plain.pre_tokenizer, plain.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), decoders.ByteLevel()
    marks = {"bos_token": "<|im_start|>", "eos_token": "<end_of_utterance>", "pad_token": "<|im_end|>"}
    more = ["<fake_token_around_image>", "<image>", "<global-img>"]
    tokens = PreTrainedTokenizerFast(tokenizer_object=plain, additional_special_tokens=more, model_max_length=8192, **marks)
    tokens.add_tokens([AddedToken(word, normalized=False) for word in words])
    return tokens


def _config(tokens: PreTrainedTokenizerFast) -> Idefics3Config:
    small = {"intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    ids = {"bos_token_id": tokens.bos_token_id, "eos_token_id": tokens.eos_token_id, "pad_token_id": tokens.pad_token_id}
    vision = {"hidden_size": 32, "image_size": SIDE, "patch_size": PATCH, "layer_norm_eps": 1.0, **small}
    text = {"model_type": "llama", "vocab_size": len(tokens), "hidden_size": WIDE, "num_key_value_heads": 2, **ids, **small}
    text["max_position_embeddings"] = 8192
    image = tokens.convert_tokens_to_ids("<image>")
    return Idefics3Config(scale_factor=SCALE, image_token_id=image, vision_config=vision, text_config=text)


def _chain(net: Idefics3ForConditionalGeneration, tokens: PreTrainedTokenizerFast, steps: list[tuple[str, ...]]) -> None:
    """Sets the weights by which each word follows on the one before; ":" ends the prompt, "Assistant:"."""
    inside, outside = net.get_input_embeddings().weight.data, net.get_output_embeddings().weight.data
    number = tokens.convert_tokens_to_ids
    place = {word: k for k, word in enumerate([":", *(word for step in steps for word in step)])}
    for word, k in place.items():
        inside[number(word), k] = 1
    before: tuple[str, ...] = (":",)
    for step in [*steps, (tokens.eos_token,)]:
        for sign, word in zip((1, -1), step, strict=False):
            for earlier in before:
                outside[number(word), place[earlier]] = 1
            if len(step) == 2:
                outside[number(word), WIDE - 1] = sign
        before = step


if __name__ == "__main__":
    torch.set_num_threads(1)
    tiny_vlm(Path(sys.argv[1]))
