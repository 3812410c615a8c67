"""The tokenizer, learnt from the captions, and a text encoder of a size that fits them."""

import json

from tokenizers import Tokenizer, models, trainers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

VOCABULARY, POSITIONS, WIDTH, LAYERS, HEADS = 3072, 32, 192, 4, 4
START, END = "<|startoftext|>", "<|endoftext|>"
SUFFIX = "</w>"


def learn_tokenizer(captions: list[str]) -> CLIPTokenizer:
    """Learn merges for CLIP's byte pair encoding from the captions; start and end are the last two tokens."""
    clip = CLIPTokenizer().backend_tokenizer
    learner = Tokenizer(models.BPE(end_of_word_suffix=SUFFIX))
    learner.normalizer, learner.pre_tokenizer = clip.normalizer, clip.pre_tokenizer
    letters = sorted(ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2 - len(letters),
        initial_alphabet=letters,
        end_of_word_suffix=SUFFIX,
        show_progress=False,
    )
    learner.train_from_iterator(captions, trainer)
    learnt = json.loads(learner.to_str())["model"]
    vocabulary: dict[str, int] = learnt["vocab"]
    for token in (*(letter + SUFFIX for letter in letters), START, END):
        vocabulary.setdefault(token, len(vocabulary))
    merges = [tuple(merge) for merge in learnt["merges"]]
    return CLIPTokenizer(
        vocab=vocabulary, merges=merges, bos_token=START, eos_token=END, pad_token=END, model_max_length=POSITIONS
    )


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            max_position_embeddings=POSITIONS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
