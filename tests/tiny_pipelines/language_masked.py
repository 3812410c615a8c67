"""Language models of which the hidden layers are heard, and T5's kin: Gemma, GLM, Llama and UMT5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    GlmConfig,
    GlmModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    UMT5Config,
    UMT5EncoderModel,
)

from .language import vocabulary
from .parts import CHARACTERS, enliven, t5_tokenizer

_GEMMA = {
    token: number for number, token in enumerate(("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *CHARACTERS))
}
_GLM = ("<|endoftext|>", "[gMASK]", "<sop>")
_LLAMA = ("<|begin_of_text|>", "<|eot_id|>")


def gemma_tokenizer() -> Any:
    """Make Gemma's tokenizer on a vocabulary of letters, which begins each text with a token."""
    return GemmaTokenizer(vocab=dict(_GEMMA), merges=[], model_max_length=8192, add_bos_token=True)


def glm_tokenizer() -> Any:
    """Make GLM's tokenizer on a vocabulary of bytes, which begins each text with two tokens and pads on the left."""
    return _of_bytes(_GLM, _GLM[1:], pad_token=_GLM[0], eos_token=_GLM[0], padding_side="left")


def llama_tokenizer() -> Any:
    """Make Llama's tokenizer on a vocabulary of bytes."""
    return _of_bytes(_LLAMA, _LLAMA[:1], bos_token=_LLAMA[0], eos_token=_LLAMA[1])


def _of_bytes(special: tuple[str, ...], beginning: tuple[str, ...], **settings: Any) -> Any:
    """Make a tokenizer on the special tokens and all bytes, which begins each text with some of the special ones."""
    words = vocabulary(special)
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    single = [*beginning, "$A"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(token, words[token]) for token in beginning]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        additional_special_tokens=list(special),
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=8192,
        **settings,
    )


def _sizes(width: int, words: Mapping[str, int], layers: int) -> dict[str, Any]:
    return {
        "vocab_size": len(words),
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 8192,
    }


def gemma2_text(width: int) -> Any:
    """Make Gemma 2."""
    return enliven(Gemma2Model(Gemma2Config(**_sizes(width, _GEMMA, 3), query_pre_attn_scalar=8)))


def glm_text(width: int) -> Any:
    """Make GLM 4."""
    special = {"pad_token_id": 0, "eos_token_id": [0]}
    return enliven(GlmModel(GlmConfig(**_sizes(width, vocabulary(_GLM), 3), **special)))


def llama_text(width: int, layers: int) -> Any:
    """Make Llama 3 with its head for the next token, as HiDream takes it."""
    special = {"bos_token_id": 0, "eos_token_id": 1, "tie_word_embeddings": False}
    return enliven(LlamaForCausalLM(LlamaConfig(**_sizes(width, vocabulary(_LLAMA), layers), **special)))


def umt5_text(width: int) -> Any:
    """Make UMT5's encoder, for the tokenizer of T5."""
    config = UMT5Config(
        vocab_size=len(t5_tokenizer()),
        d_model=width,
        d_kv=8,
        d_ff=2 * width,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )
    return enliven(UMT5EncoderModel(config))
