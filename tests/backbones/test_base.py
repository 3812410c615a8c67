"""Classifier-free guidance in one doubled batch."""

from __future__ import annotations

import torch
from torch import Tensor

from renoise.backbones import Condition, Embeddings, guided

Z = torch.arange(2.0).view(2, 1, 1, 1)


def network(z: Tensor, embeddings: Embeddings) -> Tensor:
    return z + embeddings["text"].view(-1, 1, 1, 1)


def test_without_guidance_the_network_runs_on_the_prompts_alone() -> None:
    condition = Condition({"text": torch.tensor([10.0, 20.0])})
    assert condition.passes == 1
    assert guided(network, Z, condition).flatten().tolist() == [10.0, 21.0]


def test_guidance_leads_away_from_the_negative_prediction() -> None:
    condition = Condition({"text": torch.tensor([10.0, 20.0])}, {"text": torch.tensor([1.0, 2.0])}, 3.0)
    assert condition.passes == 2
    # negative + scale (positive - negative), each image with its own prompts
    assert guided(network, Z, condition).flatten().tolist() == [1.0 + 3.0 * 9.0, 3.0 + 3.0 * 18.0]
