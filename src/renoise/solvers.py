"""Solvers of the implicit equation z = g(z) that one inverted sampler step poses.

Given z_{t-1}, the noisier latent z_t satisfies z_t = g(z_t) with

    g(z) = (z_{t-1} - psi m(z, t, c) - rho n) / phi

ReNoise (Garibi et al., 2024, arXiv 2403.14602, section 4.1) iterates g from z^(0) = z_{t-1}. The first pass is plain
sampler reversing; each further one is a renoising iteration. Where the estimates circle the solution instead of
closing in on it, their average lies nearer to it than the last (section 4.2), so the result is

    z_t = sum_k w_k z^(k),      z^(k) = g(z^(k-1)),      k = 1 .. K + 1

The iteration converges where g contracts, that is where |psi/phi| times the network's Lipschitz constant is below one.
With few sampler steps or strong guidance that can fail: read the residuals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from renoise.steps import Step

# Of a latent that a residual is taken relative to: an image's is far above, and zeros shall not make it infinite.
SMALLEST_LENGTH = 1e-12

Predict = Callable[[Tensor], Tensor]
# From a latent and the prediction at it to a better prediction.
Refine = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Solution:
    """The result of one solve.

    Attributes:
        value: the estimate of z_t, shape (B, C, h, w).
        residuals: |phi| ||g(z^(k-1)) - z^(k-1)|| / ||z_{t-1}|| for k = 1 .. K + 1, shape (K + 1, B): how far the
            forward step from z^(k-1) misses z_{t-1}, relative to its length.
    """

    value: Tensor
    residuals: Tensor


def renoise(
    step: Step,
    predict: Predict,
    z_prev: Tensor,
    noise: Tensor | None,
    weights: Sequence[float],
    refine: Refine | None = None,
    *,
    refine_as_released: bool = False,
) -> Solution:
    """Solve one inverted step by the paper's iteration with weighted averaging.

    Args:
        step: the sampler step to invert.
        predict: the network at this step, from a latent (B, C, h, w) to its raw output of the same shape.
        z_prev: the cleaner latent z_{t-1}, float32 (B, C, h, w).
        noise: the step's noise, of the same shape, or None for a deterministic step.
        weights: w_1 .. w_{K+1}, summing to one; the network runs once for each.
        refine: edit enhancement of a prediction; the paper's way is to refine those that have a weight.
        refine_as_released: do as the published code does instead: refine every prediction from the first one with a
            weight on (from the second where the last alone has one), average the predictions as they were before, and
            refine their average.

    Raises:
        SchedulerError: if the step cannot be inverted.

    Example:
        >>> step = Step(phi=1.0, psi=0.5, rho=0.0, timestep=500.0)
        >>> solution = renoise(step, lambda z: 0.5 * z, torch.ones(1, 1, 1, 1), None, [0.0] * 20 + [1.0])
        >>> round(float(solution.value), 4)  # z = 1 - 0.25 z
        0.8
    """
    step.require_invertible()
    length = _norm(z_prev).clamp_min(SMALLEST_LENGTH)
    weighted = [k for k, weight in enumerate(weights) if weight]
    refined = set(weighted)
    if refine_as_released:
        refined = set(range(weighted[0] if len(weighted) > 1 else 1, len(weights)))
    z, value, mean, residuals = z_prev, torch.zeros_like(z_prev), torch.zeros_like(z_prev), []
    for k, weight in enumerate(weights):
        prediction = predict(z)
        z_next = step.invert(z_prev, prediction, noise)
        residuals.append(abs(step.phi) * _norm(z_next - z) / length)
        if refine is not None and k in refined:
            z_next = step.invert(z_prev, refine(z, prediction), noise)
        if weight:
            value = value + weight * z_next
            mean = mean + weight * prediction
        z = z_next
    if refine is not None and refine_as_released:
        value = step.invert(z_prev, refine(z, mean), noise)
    return Solution(value, torch.stack(residuals))


def _norm(z: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(z.flatten(1), dim=1)
    return length
