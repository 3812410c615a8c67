"""Edit enhancement: losses that keep a predicted noise looking like noise, so that what is inverted can be edited.

Reconstruction alone may hide the image in the noise, where a changed prompt cannot reach it. ReNoise (Garibi et al.,
2024, arXiv 2403.14602, section 4.3) takes a few gradient steps on the predicted noise eps against

    lambda_pair L_pair + lambda_kl L_patchKL

    L_pair     sum over levels and axes of (mean of eps * shifted eps)^2: noise is uncorrelated with a shifted copy of
               itself, on a pyramid of 2x2 average pools (Parmar et al., 2023, arXiv 2302.03027, eq. 5)
    L_patchKL  sum over 4x4 patches of |log(v1/v0) + (v0 + (m0 - m1)^2)/v1 - 1|, the divergence between the normal
               distributions fitted to a patch of eps (m0, v0) and of a reference (m1, v1): the prediction at the clean
               latent noised to the same level

Both are sums over channels, both gradients are written out: nothing here runs autograd.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from renoise.method_settings import EditLosses

PATCH = 4
# Coarser levels have too few elements for a correlation to mean anything.
COARSEST_SIDE = 8
VARIANCE_FLOOR = 1e-6
# The paper's lambda_pair was tuned on latents of this many elements a channel (64 x 64).
REFERENCE_ELEMENTS = 4096
# The published implementation clips the gradient of the divergence here.
RELEASED_CLIP = 100.0

Shifts = Callable[[int], Tensor]


def pyramid_sides(side: int) -> list[int]:
    """Return the sides of the levels of the average-pool pyramid, the finest first."""
    sides = [side]
    while sides[-1] > COARSEST_SIDE:
        sides.append(sides[-1] // 2)
    return sides


def pair_loss(x: Tensor, shifts: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the pair-correlation loss and its gradient.

    Args:
        x: (B, C, h, w).
        shifts: by how many elements each level is shifted for each image, whole numbers (levels, B).

    Returns:
        The loss (B,) and its gradient with respect to x (B, C, h, w).

    Examples:
        >>> loss, gradient = pair_loss(torch.ones(1, 1, 8, 8), torch.ones(1, 1, dtype=torch.long))
        >>> float(loss)  # (mean of 1 * 1)^2, along rows and along columns
        2.0
    """
    levels = [x]
    for _ in range(len(shifts) - 1):
        levels.append(functional.avg_pool2d(levels[-1], 2))
    loss, gradient = x.new_zeros(x.shape[0]), torch.zeros_like(levels[-1])
    for depth in reversed(range(len(levels))):
        level = levels[depth]
        if depth + 1 < len(levels):
            gradient = _unpool(gradient, level)
        for axis in (-2, -1):
            ahead, behind = _rolled(level, shifts[depth], axis), _rolled(level, -shifts[depth], axis)
            correlation = (level * ahead).mean(dim=(-2, -1), keepdim=True)
            loss = loss + correlation.square().sum(dim=(1, 2, 3))
            gradient = gradient + 2.0 * correlation * (ahead + behind) / (level.shape[-2] * level.shape[-1])
    return loss, gradient


def patch_kl_loss(x: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the patch divergence and its gradient.

    Args:
        x: (B, C, h, w); rows and columns beyond a multiple of four take no part.
        reference: of the same shape.

    Returns:
        The loss (B,) and its gradient with respect to x (B, C, h, w).

    Examples:
        >>> x = torch.randn(1, 1, 8, 8)
        >>> loss, gradient = patch_kl_loss(x, x)
        >>> float(loss), float(gradient.abs().max())
        (0.0, 0.0)
    """
    patches, m0, v0 = _patch_statistics(x)
    _, m1, v1 = _patch_statistics(reference)
    divergence = torch.log(v1 / v0) + (v0 + (m0 - m1).square()) / v1 - 1.0
    count = PATCH * PATCH
    by_variance = (1.0 / v1 - 1.0 / v0) * 2.0 * (patches - m0) / (count - 1)
    by_mean = 2.0 * (m0 - m1) / v1 / count
    inner = (divergence.sign() * (by_variance + by_mean)).flatten(-2).flatten(-3, -2)
    gradient = functional.pad(inner, (0, x.shape[-1] - inner.shape[-1], 0, x.shape[-2] - inner.shape[-2]))
    return divergence.abs().flatten(1).sum(dim=1), gradient


def regularise(eps: Tensor, reference: Tensor | None, losses: EditLosses, draw_shifts: Shifts) -> Tensor:
    """Take some gradient steps on the predicted noise against both losses.

    Args:
        eps: the predicted noise, float32 (B, C, h, w).
        reference: the prediction at the noised clean latent, of the same shape; None leaves the divergence out.
        losses: the weights, the number of gradient steps and of shifts in each.
        draw_shifts: from a highest shift to one random shift in [1, highest] for each image, (B,).

    Returns:
        The regularised noise, of the same shape.
    """
    elements = eps.shape[-2] * eps.shape[-1]
    # L_pair is a mean over elements: its gradient for each of them grows as the latent shrinks. Scaled so, a setting
    # means the same at every size.
    pair = losses.pair * (1.0 if losses.released_procedure else elements / REFERENCE_ELEMENTS)
    sides = pyramid_sides(min(eps.shape[-2:]))
    for _ in range(losses.steps):
        if losses.patch_kl and reference is not None:
            gradient = patch_kl_loss(eps, reference)[1]
            if losses.released_procedure:
                gradient = gradient.clamp(-RELEASED_CLIP, RELEASED_CLIP)
            eps = eps - losses.patch_kl * gradient
        for _ in range(losses.shifts if pair else 0):
            shifts = torch.stack([draw_shifts(max(side // 2, 1)) for side in sides])
            eps = eps - pair / losses.shifts * pair_loss(eps, shifts)[1]
    return eps


def _rolled(x: Tensor, shifts: Tensor, axis: int) -> Tensor:
    """Roll `x` (B, C, h, w) along an axis, each image by its own shift (B,)."""
    if bool((shifts == shifts[0]).all()):
        return x.roll(int(shifts[0]), axis)
    return torch.stack([image.roll(int(shift), axis) for image, shift in zip(x, shifts, strict=True)])


def _unpool(gradient: Tensor, like: Tensor) -> Tensor:
    """Return the gradient of a 2x2 average pool; an odd last row or column took no part in it."""
    up = gradient.repeat_interleave(2, -2).repeat_interleave(2, -1) / 4.0
    return functional.pad(up, (0, like.shape[-1] - up.shape[-1], 0, like.shape[-2] - up.shape[-2]))


def _patch_statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the patches (B, C, rows, 4, columns, 4), their means and unbiased variances (.., rows, 1, columns, 1)."""
    height, width = (side // PATCH * PATCH for side in x.shape[-2:])
    patches = x[..., :height, :width].reshape(*x.shape[:-2], height // PATCH, PATCH, width // PATCH, PATCH)
    mean = patches.mean(dim=(-3, -1), keepdim=True)
    return patches, mean, patches.var(dim=(-3, -1), keepdim=True) + VARIANCE_FLOOR
