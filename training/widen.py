"""Give a trained autoencoder or UNet more latent channels and keep what it knows.

The channels that are there keep their weights. The new ones start small, so that images and predictions change little
at first, and they then carry what did not fit into the old ones.
"""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

# What a new channel's posterior starts with: a deviation of 8 %, as trained autoencoders have.
LOG_VARIANCE = -5.0
# The new latents enter the UNet at this share of an ordinary layer's scale, so that its predictions change little.
SHARE = 0.3


def widen_autoencoder(vae: AutoencoderKL, channels: int) -> AutoencoderKL:
    """Return a copy in float32 whose latents have so many channels.

    The first channels are as before, and the new ones do not change an image.

    Raises:
        ValueError: if the autoencoder has more channels than that.
    """
    known = vae.config.latent_channels
    _must_grow(known, channels)
    wide = AutoencoderKL.from_config({**vae.config, "latent_channels": channels})
    # Rows of the means lie before rows of the logarithms of the variances.
    moments = [*range(known), *range(channels, channels + known)]
    means = list(range(known))
    with torch.no_grad():
        for conv in (wide.quant_conv, wide.post_quant_conv):
            nn.init.dirac_(conv.weight)
            conv.bias.zero_()
        wide.quant_conv.weight[channels + known :] = 0
        wide.quant_conv.bias[channels + known :] = LOG_VARIANCE
        wide.decoder.conv_in.weight.zero_()
    _copy(vae, wide, {"encoder.conv_out": (moments, None), "quant_conv": (moments, moments)})
    _copy(vae, wide, {"post_quant_conv": (means, means), "decoder.conv_in": (None, means)})
    done = ("encoder.conv_out", "quant_conv", "post_quant_conv", "decoder.conv_in")
    rest = {name: value for name, value in vae.state_dict().items() if name.rpartition(".")[0] not in done}
    wide.load_state_dict(rest, strict=False)
    return wide


def widen_unet(unet: UNet2DConditionModel, channels: int) -> UNet2DConditionModel:
    """Return a copy in float32 for latents of so many channels.

    The first channels mean what they did, and the new ones are predicted as 0.

    Raises:
        ValueError: if the UNet takes more channels than that.
    """
    known = unet.config.in_channels
    _must_grow(known, channels)
    wide = UNet2DConditionModel.from_config({**unet.config, "in_channels": channels, "out_channels": channels})
    means = list(range(known))
    with torch.no_grad():
        wide.conv_in.weight *= SHARE
        wide.conv_out.weight.zero_()
        wide.conv_out.bias.zero_()
    _copy(unet, wide, {"conv_in": (None, means), "conv_out": (means, None)})
    rest = {
        name: value for name, value in unet.state_dict().items() if name.split(".")[0] not in ("conv_in", "conv_out")
    }
    wide.load_state_dict(rest, strict=False)
    return wide


def _must_grow(known: int, channels: int) -> None:
    if channels < known:
        raise ValueError(f"Expected at least the {known} latent channels that the network has, got {channels}.")


@torch.no_grad()
def _copy(source: nn.Module, target: nn.Module, places: dict[str, tuple[list[int] | None, list[int] | None]]) -> None:
    """Copy convolutions into the given output and input channels of larger ones; None stands for all."""
    for name, (outputs, inputs) in places.items():
        old, new = source.get_submodule(name), target.get_submodule(name)
        assert isinstance(old, nn.Conv2d)
        assert isinstance(new, nn.Conv2d)
        rows = torch.tensor(range(new.out_channels) if outputs is None else outputs)
        columns = torch.tensor(range(new.in_channels) if inputs is None else inputs)
        new.weight[rows] = new.weight[rows].index_copy(1, columns, old.weight)
        if old.bias is not None and new.bias is not None:
            new.bias[rows] = old.bias
