"""Token ids of many captions, quickly.

Captions share their parts, and the tokens of a caption are those of its parts in a row. So each part is tokenised once.
"""

import numpy as np
from transformers import CLIPTokenizer


def token_ids(tokenizer: CLIPTokenizer, captions: list[str], positions: int) -> np.ndarray:
    """Tokenise captions as `tokenizer(..., padding="max_length", truncation=True)` does.

    Args:
        tokenizer: from `text_encoder.learn_tokenizer`.
        captions: any number of them.
        positions: how many tokens each one gets, with start and end.

    Returns:
        The ids (N, positions), padded with the end token.
    """
    split = [[part.split(" and ") for part in caption.split(", ")] for caption in captions]
    known = sorted({piece for caption in split for part in caption for piece in part} - {""})
    pieces = dict(zip(known, tokenizer(known, add_special_tokens=False).input_ids, strict=True)) if known else {}
    pieces[""] = []
    (comma, link) = tokenizer([",", "and"], add_special_tokens=False).input_ids
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    ids = np.full((len(captions), positions), tokenizer.pad_token_id, np.int64)
    for row, caption in zip(ids, split, strict=True):
        found = [start]
        for i, part in enumerate(caption):
            found += comma if i else []
            for j, piece in enumerate(part):
                found += link if j else []
                found += pieces[piece]
        found = [*found[: positions - 1], end]
        row[: len(found)] = found
    return ids
