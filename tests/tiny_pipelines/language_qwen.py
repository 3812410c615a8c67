"""Qwen's models of texts and images, as text encoders with random weights."""

from __future__ import annotations

from typing import Any

from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLModel,
)

from .language import vocabulary
from .parts import enliven


def _text(width: int, layers: int) -> dict[str, Any]:
    return {
        "vocab_size": len(vocabulary()),
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": width // 2,
        "max_position_embeddings": 4096,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            # Rotary pairs for time, height and width.
            "mrope_section": [width // 4 - 2, 1, 1],
        },
    }


def qwen25_vl(width: int, layers: int = 2) -> Any:
    """Make Qwen 2.5 VL with its head for the next token."""
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "out_hidden_size": width,
        "intermediate_size": 16,
        "num_heads": 2,
        "fullatt_block_indexes": [0],
    }
    config = Qwen2_5_VLConfig(text_config=_text(width, layers), vision_config=vision)
    return enliven(Qwen2_5_VLForConditionalGeneration(config))


def qwen3_vl(width: int, layers: int, *, causal: bool = False) -> Any:
    """Make Qwen 3 VL: the model alone, or with its head for the next token."""
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "out_hidden_size": width,
        "intermediate_size": 16,
        "num_heads": 2,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0],
    }
    config = Qwen3VLConfig(text_config=_text(width, layers), vision_config=vision)
    return enliven((Qwen3VLForConditionalGeneration if causal else Qwen3VLModel)(config))


class TextProcessor:
    """Reads texts as Qwen's processor of texts, images and videos does, which wants torchvision."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, text: list[str], **options: Any) -> Any:
        """Return the tokens of texts, padded on the side that is asked for."""
        return self.tokenizer(text, **options)

    def apply_chat_template(self, messages: list[dict[str, Any]], **options: Any) -> list[list[int]]:
        """Return the tokens of one conversation, of which messages are lists of parts."""
        told = [{**message, "content": message["content"][0]["text"]} for message in messages]
        text = self.tokenizer.apply_chat_template(told, tokenize=False)
        return [self.tokenizer(text)["input_ids"]]
