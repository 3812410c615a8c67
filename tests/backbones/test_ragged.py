"""Prompts of several lengths in one tensor: nothing is lost, and nothing is added that counts."""

from __future__ import annotations

import torch

from renoise.backbones.ragged import of_one_length, padded, parted

TEXTS = [torch.randn(length, 4, generator=torch.Generator().manual_seed(length)) for length in (3, 1, 5)]


def test_what_is_padded_can_be_parted() -> None:
    tensor, mask = padded(TEXTS)
    assert tensor.shape == (3, 5, 4)
    assert mask.dtype == torch.bool
    assert all(torch.equal(a, b) for a, b in zip(parted(tensor, mask), TEXTS, strict=True))


def test_prompts_and_negative_prompts_get_one_length() -> None:
    positive, negative = (dict(zip(("text", "mask"), padded(texts), strict=True)) for texts in (TEXTS, TEXTS[:1] * 3))
    pooled = torch.ones(3, 2)
    longer, other = of_one_length({**positive, "pooled": pooled}, {**negative, "pooled": pooled})
    assert longer["text"].shape == other["text"].shape == (3, 5, 4)
    assert longer["pooled"] is pooled
    assert all(torch.equal(a, TEXTS[0]) for a in parted(other["text"], other["mask"]))


def test_what_has_no_mask_is_left_alone() -> None:
    positive, negative = {"text": torch.zeros(1, 7, 4)}, {"text": torch.zeros(1, 3, 4)}
    assert of_one_length(positive, negative) == (positive, negative)
    assert of_one_length({"text": TEXTS[0], "mask": TEXTS[0]}, {})[1] == {}
