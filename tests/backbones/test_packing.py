"""Latents as tokens: packed and unpacked as the pipelines do it, with the places that they give their tokens."""

from __future__ import annotations

import pytest
import torch
from diffusers import Flux2Pipeline, FluxPipeline, QwenImagePipeline

from renoise.backbones.packing import pack, positions, unpack

LATENTS = torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("pipeline", [FluxPipeline, QwenImagePipeline])
def test_packing_is_the_pipelines_own(pipeline: type[FluxPipeline] | type[QwenImagePipeline]) -> None:
    packed = pack(LATENTS)
    assert torch.equal(packed, pipeline._pack_latents(LATENTS, 2, 5, 4, 6))
    assert torch.equal(unpack(packed, 4, 6), LATENTS)


def test_patches_of_flux_2_are_the_same_tokens() -> None:
    theirs = Flux2Pipeline._pack_latents(Flux2Pipeline._patchify_latents(LATENTS))
    assert torch.equal(pack(LATENTS), theirs)


def test_elements_can_be_tokens_by_themselves() -> None:
    packed = pack(LATENTS, side=1)
    assert packed.shape == (2, 24, 5)
    assert torch.equal(unpack(packed, 4, 6, side=1), LATENTS)


def test_positions_are_the_pipelines_own() -> None:
    theirs = FluxPipeline._prepare_latent_image_ids(1, 2, 3, torch.device("cpu"), torch.float32)
    assert torch.equal(positions(2, 3), theirs)
    assert torch.equal(positions(2, 3, 1), Flux2Pipeline._prepare_latent_ids(torch.zeros(1, 8, 2, 3))[0].float())
    assert torch.equal(positions(1, 1, 7), Flux2Pipeline._prepare_text_ids(torch.zeros(1, 7, 4))[0].float())
