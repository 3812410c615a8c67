"""Noise correction: move a stochastic step's noise towards the one with which the step is exact.

For a step with rho > 0 there is, for any estimate of z_t, a noise n* = (z_{t-1} - phi z_t - psi m(z_t)) / rho with
which the sampler arrives at z_{t-1} exactly (Garibi et al., 2024, arXiv 2403.14602, section 4.4). Moving all the way
makes the step exact; moving less keeps the noise nearer to the one that was drawn, and so more like noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from renoise.method_settings import NoiseCorrection


def correct(noise: Tensor, exact: Tensor, correction: NoiseCorrection) -> Tensor:
    """Move a noise towards the one with which the step is exact.

    Args:
        noise: the noise that was drawn, (B, C, h, w).
        exact: n*, of the same shape.
        correction: how far to move, for each image by itself.

    Returns:
        The noise after its move, of the same shape.

    Examples:
        >>> correct(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2), NoiseCorrection(0.5)).mean()
        tensor(0.5000)
    """
    for _ in range(correction.moves or 0):
        move = exact - noise
        length = torch.linalg.vector_norm(move.flatten(1), dim=1).clamp_min(torch.finfo(noise.dtype).tiny)
        noise = noise + move * (correction.move_length / length).view(-1, 1, 1, 1)
    if correction.moves is not None:
        return noise
    if correction.amount == 1.0 and correction.limit is None:
        return exact
    move = correction.amount * (exact - noise)
    if correction.limit is not None:
        size = move.flatten(1).square().mean(dim=1).sqrt()
        move = move * (correction.limit / size.clamp_min(correction.limit)).view(-1, 1, 1, 1)
    return noise + move
