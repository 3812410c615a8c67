"""Language models as text encoders: their tokenizers on a vocabulary of bytes, and networks with random weights."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PreTrainedTokenizerFast,
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
_MISTRAL_SPECIAL = ("<unk>", "<s>", "</s>", "<pad>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]")
_MISTRAL_TEMPLATE = (
    "{{- bos_token }}{%- for message in messages %}{%- for part in message.content %}"
    "{%- if message.role == 'system' %}[SYSTEM_PROMPT]{{ part.text }}[/SYSTEM_PROMPT]"
    "{%- else %}[INST]{{ part.text }}[/INST]{%- endif %}{%- endfor %}{%- endfor %}"
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


def mistral_tokenizer() -> Any:
    """Make Mistral's tokenizer on a vocabulary of bytes, which takes the parts of a message apart and pads on the left.

    The real one is part of a processor of images, which wants torchvision.
    """
    tokenizer = Tokenizer(BPE(vocab=vocabulary(_MISTRAL_SPECIAL), merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in _MISTRAL_SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
        model_max_length=2048,
        chat_template=_MISTRAL_TEMPLATE,
    )


def mistral_text(width: int, layers: int) -> Any:
    """Make Mistral Small 3, a language model that is shown images as well."""
    shared = {"hidden_size": width, "intermediate_size": 2 * width, "num_attention_heads": 2, "head_dim": 8}
    text = {
        **shared,
        "model_type": "mistral",
        "vocab_size": len(vocabulary(_MISTRAL_SPECIAL)),
        "num_hidden_layers": layers,
        "num_key_value_heads": 1,
        "max_position_embeddings": 2048,
    }
    vision = {**shared, "model_type": "pixtral", "num_hidden_layers": 1, "image_size": 28, "patch_size": 14}
    return enliven(Mistral3ForConditionalGeneration(Mistral3Config(text_config=text, vision_config=vision)))
