"""Networks that are given more latent channels do with the first ones what they did."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from training.widen import widen_autoencoder, widen_unet


@pytest.fixture
def vae() -> AutoencoderKL:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = {"block_out_channels": (8,), "norm_num_groups": 4, "latent_channels": 3}
        return AutoencoderKL(**shape).eval()


@pytest.fixture
def unet() -> UNet2DConditionModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet2DConditionModel(
            sample_size=4,
            in_channels=3,
            out_channels=3,
            block_out_channels=(8,),
            down_block_types=("CrossAttnDownBlock2D",),
            up_block_types=("CrossAttnUpBlock2D",),
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=2,
            cross_attention_dim=8,
        ).eval()


@torch.no_grad()
def test_a_wider_autoencoder_has_the_latents_that_were_there_and_draws_the_same_images(vae: AutoencoderKL) -> None:
    wide = widen_autoencoder(vae, 5).eval()
    picture = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    before, after = vae.encode(picture).latent_dist, wide.encode(picture).latent_dist
    torch.testing.assert_close(after.mean[:, :3], before.mean)
    torch.testing.assert_close(after.logvar[:, :3], before.logvar)
    # The new latents are there to learn from, and the decoder does not hear them yet.
    assert after.mean[:, 3:].std() > 0.01
    torch.testing.assert_close(wide.decode(after.mean).sample, vae.decode(before.mean).sample)


def test_the_new_latents_of_an_autoencoder_can_be_learnt(vae: AutoencoderKL) -> None:
    wide = widen_autoencoder(vae, 5)
    picture = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    wide.decode(wide.encode(picture).latent_dist.mean).sample.square().mean().backward()
    assert (wide.decoder.conv_in.weight.grad[:, 3:] != 0).any()


@torch.no_grad()
def test_a_wider_unet_predicts_what_it_did_where_the_new_latents_are_zero(unet: UNet2DConditionModel) -> None:
    wide = widen_unet(unet, 5).eval()
    generator = torch.Generator().manual_seed(1)
    z, context = torch.randn(2, 5, 4, 4, generator=generator), torch.randn(2, 6, 8, generator=generator)
    z[:, 3:] = 0
    predicted = wide(z, 500, context).sample
    torch.testing.assert_close(predicted[:, :3], unet(z[:, :3], 500, context).sample)
    assert not predicted[:, 3:].any()


@torch.no_grad()
def test_as_many_channels_as_before_change_nothing(vae: AutoencoderKL, unet: UNet2DConditionModel) -> None:
    for network, same in ((vae, widen_autoencoder(vae, 3)), (unet, widen_unet(unet, 3))):
        for name, value in network.state_dict().items():
            assert torch.equal(same.state_dict()[name], value)


def test_channels_are_never_taken_away(vae: AutoencoderKL, unet: UNet2DConditionModel) -> None:
    with pytest.raises(ValueError, match="3 latent channels"):
        widen_autoencoder(vae, 2)
    with pytest.raises(ValueError, match="3 latent channels"):
        widen_unet(unet, 2)
