"""Embeddings of prompts of several lengths, in one tensor with a mask of the tokens that count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# The embeddings of tokens, and the mask of those that count.
TEXT, MASK = "text", "mask"


def padded(texts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return ragged embeddings as one tensor, padded with zeros, and the mask of the tokens that are there.

    Args:
        texts: (tokens, width) each.

    Returns:
        (B, tokens, width), and boolean (B, tokens).

    Examples:
        >>> import torch
        >>> tensor, mask = padded([torch.ones(1, 4), torch.ones(3, 4)])
        >>> tensor.shape, mask.sum(dim=1).tolist()
        (torch.Size([2, 3, 4]), [1, 3])
    """
    import torch

    lengths = torch.tensor([len(text) for text in texts], device=texts[0].device)
    tensor = torch.nn.utils.rnn.pad_sequence(list(texts), batch_first=True)
    return tensor, torch.arange(tensor.shape[1], device=lengths.device) < lengths.unsqueeze(1)


def parted(tensor: Tensor, mask: Tensor) -> list[Tensor]:
    """Return the ragged embeddings of which `padded` made a tensor and a mask."""
    return [text[there.bool()] for text, there in zip(tensor, mask, strict=True)]


def unless_all_count(mask: Tensor) -> Tensor | None:
    """Return a mask, or None if it leaves nothing out: attention without one is faster."""
    return None if bool(mask.all()) else mask


def of_one_length(
    positive: Mapping[str, Tensor], negative: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the embeddings of prompts and of negative prompts, with masked tokens padded to one length.

    A mask hides the padding, so that both can run in one batch. Embeddings without a mask stay as long as they are.

    Args:
        positive: embeddings by name, of which `TEXT` and `MASK` are padded: (B, tokens, ...).
        negative: the same of the negative prompts; empty without guidance.
    """
    if MASK not in positive or MASK not in negative:
        return dict(positive), dict(negative)
    longest = max(positive[MASK].shape[1], negative[MASK].shape[1])
    return _lengthened(positive, longest), _lengthened(negative, longest)


def _lengthened(embeddings: Mapping[str, Tensor], length: int) -> dict[str, Tensor]:
    import torch

    found = dict(embeddings)
    for name in (TEXT, MASK):
        tensor = found[name]
        zeros = tensor.new_zeros(tensor.shape[0], length - tensor.shape[1], *tensor.shape[2:])
        found[name] = torch.cat([tensor, zeros], dim=1)
    return found
