"""Text encoders and tokenizers of families other than CLIP and T5, with random weights: BERT and ChatGLM."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
from transformers import BertConfig, BertModel, BertTokenizer

from .parts import enliven

# A vocabulary of single characters by sentencepiece, made by `spm_train --model_type=char`.
CHATGLM_VOCABULARY = Path(__file__).parents[1] / "data" / "tiny-kolors" / "tokenizer.model"
# What BERT reads: it has no capital letters.
_CHARACTERS = string.ascii_lowercase + string.digits + string.punctuation


def bert_tokenizer() -> Any:
    """Make BERT's tokenizer on a vocabulary of letters, which differ at the beginning of a word and within it."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_CHARACTERS, *(f"##{one}" for one in _CHARACTERS)]
    return BertTokenizer(vocab={word: number for number, word in enumerate(words)}, model_max_length=77)


def bert_text(width: int) -> Any:
    """Make BERT's encoder."""
    config = BertConfig(
        vocab_size=len(bert_tokenizer()),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
    )
    return enliven(BertModel(config))


def chatglm_tokenizer() -> Any:
    """Make ChatGLM's tokenizer on a vocabulary of letters; a test that asks for it without sentencepiece is skipped."""
    pytest.importorskip("sentencepiece")
    from diffusers.pipelines.kolors import ChatGLMTokenizer

    return ChatGLMTokenizer(str(CHATGLM_VOCABULARY))


def chatglm_text(width: int) -> Any:
    """Make ChatGLM's decoder, with the settings of the third version."""
    from diffusers.pipelines.kolors import ChatGLMModel

    config = ChatGLMModel.config_class(
        padded_vocab_size=128,
        num_layers=2,
        hidden_size=width,
        ffn_hidden_size=2 * width,
        kv_channels=width // 2,
        num_attention_heads=2,
        multi_query_attention=True,
        multi_query_group_num=1,
        add_qkv_bias=True,
        original_rope=True,
        seq_length=512,
    )
    return enliven(ChatGLMModel(config))
