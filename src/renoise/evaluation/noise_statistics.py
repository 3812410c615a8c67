"""How far z_T looks like the white noise from which a sampler draws images.

An inversion that ends in another distribution than that noise has stored the image in it, and edits suffer from that.
Four numbers tell it, each of which is right for white noise of the same size:

- the mean over all values, which is 0;
- the standard deviation over all values, which is 1;
- the whiteness, which is 1: the root mean square of the autocorrelations at all lags of up to 3 in both directions, in
  units of what white noise of that size has. The autocorrelation r of n pairs of independent values has the variance
  1 / n, so that the sum of n r^2 over m lags is the statistic of Box and Pierce (1970, JASA 65, 1509), with the mean m;
- KL, which is 0: the divergence of a Gaussian fitted to each channel from N(0, 1), 0.5 (s^2 + m^2 - 1 - ln s^2) for a
  channel with the mean m and the variance s^2, averaged over the channels. White noise of n values a channel has 1 / n.
"""

from __future__ import annotations

import torch
from torch import Tensor

from renoise.evaluation.measurement import finite

# Convolutions of a network and of an autoencoder leave traces at short lags.
LONGEST_LAG = 3


def noise_statistics(noise: Tensor) -> dict[str, float | None]:
    """Return what is measured of z_T, by the names of a `Measurement`'s fields.

    Args:
        noise: z_T of one image, (C, h, w), in the scale in which white noise has a deviation of 1.

    Examples:
        >>> found = noise_statistics(torch.randn(4, 64, 64, generator=torch.Generator().manual_seed(0)))
        >>> round(found["noise_deviation"], 1), round(found["noise_whiteness"], 1)
        (1.0, 1.0)
    """
    return {
        "noise_mean": finite(noise.double().mean()),
        "noise_deviation": finite(noise.double().std(correction=0)),
        "noise_whiteness": finite(whiteness(noise)),
        "noise_kl": finite(gaussian_kl(noise)),
    }


def whiteness(noise: Tensor) -> Tensor:
    """Return the root mean square autocorrelation over short lags and channels, where 1 is right for white noise.

    The same correlation counts the more, the more pixels show it: twice as much in a map of four times as many.

    Args:
        noise: a map (C, h, w).

    Returns:
        A scalar; NaN for a map of one pixel, or with a channel whose values are all the same.
    """
    _, height, width = noise.shape
    centred = noise.double() - noise.double().mean(dim=(1, 2), keepdim=True)
    variance = centred.square().mean(dim=(1, 2))
    down, across = min(LONGEST_LAG, height - 1), min(LONGEST_LAG, width - 1)
    terms = []
    for dy in range(down + 1):
        # The autocorrelation at the opposite lag is the same.
        for dx in range(-across if dy else 1, across + 1):
            here = centred[:, dy:, max(dx, 0) : width + min(dx, 0)]
            there = centred[:, : height - dy, max(-dx, 0) : width - max(dx, 0)]
            correlation = (here * there).mean(dim=(1, 2)) / variance
            terms.append(correlation.square() * here[0].numel())
    return torch.stack(terms).mean().sqrt() if terms else noise.new_tensor(float("nan"))


def gaussian_kl(noise: Tensor) -> Tensor:
    """Return KL(N(m, s^2) || N(0, 1)) of a Gaussian fitted to each channel, averaged over the channels.

    Args:
        noise: a map (C, h, w).

    Returns:
        A scalar; infinite for a map with a channel whose values are all the same.
    """
    values = noise.double().flatten(1)
    mean, variance = values.mean(dim=1), values.var(dim=1, correction=0)
    return (0.5 * (variance + mean.square() - 1.0 - variance.log())).mean()
