"""Language models as text encoders: their tokenizers on a vocabulary of bytes, and networks with random weights."""

from __future__ import annotations

from typing import Any

from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
)

from .parts import enliven

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# A turn of each speaker, and then the beginning of the answer, as the real templates have it.
_TEMPLATE = (
    "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{%- endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{%- endif %}"
)


def vocabulary(special: tuple[str, ...] = _SPECIAL) -> dict[str, int]:
    """Return a vocabulary of the special tokens and of all bytes, so that no text has an unknown token."""
    return {token: number for number, token in enumerate((*special, *sorted(ByteLevel.alphabet())))}


def qwen_tokenizer(length: int = 32768) -> Any:
    """Make Qwen's tokenizer on a vocabulary of bytes, with a template for conversations."""
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary(),
        merges=[],
        extra_special_tokens=list(_SPECIAL[1:]),
        model_max_length=length,
    )
    tokenizer.chat_template = _TEMPLATE
    return tokenizer


def qwen3_text(width: int, *, layers: int = 3, causal: bool = False) -> Any:
    """Make Qwen 3: the model alone, or with its head for the next token."""
    config = Qwen3Config(
        vocab_size=len(vocabulary()),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
    )
    return enliven((Qwen3ForCausalLM if causal else Qwen3Model)(config))
