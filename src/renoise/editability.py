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

A regularised prediction takes some thousand operations on small arrays, so that what an operation costs before it does
anything decides the time. For tensors on a CPU the same lines therefore run in numpy, which is about twice as quick
here as torch; on other devices they run in torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from renoise.method_settings import EditLosses

PATCH = 4
# Coarser levels have too few elements for a correlation to mean anything.
COARSEST_SIDE = 8
VARIANCE_FLOOR = 1e-6
# The paper's lambda_pair was tuned on latents of this many elements a channel (64 x 64).
REFERENCE_ELEMENTS = 4096
# The published implementation clips the gradient of the divergence here.
RELEASED_CLIP = 100.0

# Draws shifts: from the highest shift at each level and a number of draws to whole numbers in [1, highest],
# (draws, levels, B).
DrawShifts = Callable[[Sequence[int], int], Tensor]
# A numpy array or a tensor: what is done with them here has the same name in both libraries.
Array = Any
# Whoever takes the results checks that they are finite; torch does not warn on the way, and so numpy shall not.
_silently = np.errstate(all="ignore")


def pyramid_sides(side: int) -> list[int]:
    """Return the sides of the levels of the average-pool pyramid, the finest first."""
    sides = [side]
    while sides[-1] > COARSEST_SIDE:
        sides.append(sides[-1] // 2)
    return sides


@_silently
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
    xp, array = _opened(x)
    correlations, gradient = _pair(xp, array, _as_numbers(shifts))
    loss = sum((c * c).sum((1, 2, 3)) for c in correlations)
    return _tensor(loss, x), _tensor(gradient, x)


@_silently
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
    xp, array = _opened(x)
    divergence, inner = _patch_kl(xp, array, _statistics(xp, _opened(reference)[1])[1:])
    gradient = xp.zeros_like(array)
    gradient[..., : inner.shape[-2], : inner.shape[-1]] = inner
    return _tensor(abs(divergence).sum((1, 2, 3)), x), _tensor(gradient, x)


@_silently
def regularise(eps: Tensor, reference: Tensor | None, losses: EditLosses, draw_shifts: DrawShifts) -> Tensor:
    """Take some gradient steps on the predicted noise against both losses.

    Args:
        eps: the predicted noise, float32 (B, C, h, w).
        reference: the prediction at the noised clean latent, of the same shape; None leaves the divergence out.
        losses: the weights, the number of gradient steps and of shifts in each.
        draw_shifts: draws the random shifts of the pair loss. It is called once, and not at all without that loss.

    Returns:
        The regularised noise, of the same shape.
    """
    elements = eps.shape[-2] * eps.shape[-1]
    # L_pair is a mean over elements: its gradient for each of them grows as the latent shrinks. Scaled so, a setting
    # means the same at every size.
    pair = losses.pair * (1.0 if losses.released_procedure else elements / REFERENCE_ELEMENTS)
    divergence = losses.patch_kl if reference is not None else 0.0
    draws = losses.steps * losses.shifts if pair else 0
    if not draws and not divergence:
        return eps
    xp, array = _opened(eps)
    aim = None if reference is None or not divergence else _statistics(xp, _opened(reference)[1])[1:]
    highest = [max(side // 2, 1) for side in pyramid_sides(min(eps.shape[-2:]))]
    shifts = iter(_as_numbers(draw_shifts(highest, draws)) if draws else ())
    for _ in range(losses.steps):
        if aim is not None:
            gradient = _patch_kl(xp, array, aim)[1]
            if losses.released_procedure:
                gradient = xp.clip(gradient, -RELEASED_CLIP, RELEASED_CLIP)
            array[..., : gradient.shape[-2], : gradient.shape[-1]] -= divergence * gradient
        for _ in range(losses.shifts if draws else 0):
            array -= _pair(xp, array, next(shifts), pair / losses.shifts)[1]
    return _tensor(array, eps)


def _opened(x: Tensor) -> tuple[Any, Array]:
    """Return the library that works on a tensor, and a copy of its values as that library has them."""
    copy = x.detach().clone(memory_format=torch.contiguous_format)
    return (np, copy.numpy()) if copy.device.type == "cpu" else (torch, copy)


def _tensor(array: Array, like: Tensor) -> Tensor:
    """Return a result as a tensor of the type of `like`."""
    return torch.as_tensor(array).to(like.dtype)


def _pair(xp: Any, x: Array, shifts: Sequence[Sequence[int]], weight: float = 1.0) -> tuple[list[Array], Array]:
    """Return the correlations of the pair loss, (B, C, 1, 1) each, and its gradient times a weight, (B, C, h, w).

    A level holds sums of what it covers and not their mean: the factors of the means are taken with the correlations.
    """
    levels = [x]
    for _ in shifts[1:]:
        levels.append(_pooled(levels[-1]))
    correlations: list[Array] = []
    gradient: Array = None
    for depth in reversed(range(len(levels))):
        level = levels[depth]
        # The means over the level's elements and, in both factors, over those of `x` that an element covers.
        mean = 1.0 / (level.shape[-2] * level.shape[-1] * 16.0**depth)
        parts = []
        for axis in (-2, -1):
            # The neighbours ahead correlate with a level as those behind do, so that their sum counts both.
            part = _neighbours(xp, level, shifts[depth], axis)
            correlation = (level * part).sum((-2, -1), keepdims=True)
            correlation *= 0.5 * mean
            correlations.append(correlation)
            part *= correlation * (2.0 * mean * weight)
            parts.append(part)
        parts[0] += parts[1]
        if gradient is not None:
            _add_unpooled(xp, parts[0], gradient)
        gradient = parts[0]
    return correlations, gradient


def _pooled(x: Array) -> Array:
    """Return the sums of squares of 2 x 2 elements; an odd last row or column takes no part."""
    height, width = (side // 2 * 2 for side in x.shape[-2:])
    rows = x[..., 0:height:2, :] + x[..., 1:height:2, :]
    return rows[..., 0:width:2] + rows[..., 1:width:2]


def _add_unpooled(xp: Any, fine: Array, coarse: Array) -> None:
    """Add to each element of `fine` the element of `coarse` that sums it: the gradient of `_pooled`."""
    height, width = (2 * side for side in coarse.shape[-2:])
    wide = xp.concatenate((coarse, coarse), -1)
    wide[..., 0::2], wide[..., 1::2] = coarse, coarse
    fine[..., 0:height:2, :width] += wide
    fine[..., 1:height:2, :width] += wide


def _neighbours(xp: Any, x: Array, shifts: Sequence[int], axis: int) -> Array:
    """Return, for each element, the sum of those a shift away along an axis; images share a shift or have one each."""
    if len(shifts) > 1:
        return xp.concatenate([_neighbours(xp, x[i : i + 1], (shift,), axis) for i, shift in enumerate(shifts)], 0)
    side, shift = x.shape[axis], shifts[0] % x.shape[axis]
    twice = xp.concatenate((x, x), axis)
    if axis == -1:
        return twice[..., side - shift : 2 * side - shift] + twice[..., shift : shift + side]
    return twice[..., side - shift : 2 * side - shift, :] + twice[..., shift : shift + side, :]


def _as_numbers(shifts: Tensor) -> list[Any]:
    """Return shifts (.., B) as nested lists of numbers, those of images that all have the same as one."""
    return (shifts[..., :1] if bool((shifts == shifts[..., :1]).all()) else shifts).tolist()


def _statistics(xp: Any, x: Array) -> tuple[Array, Array, Array]:
    """Return the patches of an array less their means, (16, B, C, rows, columns), their means and unbiased variances.

    The elements of a patch come first, so that numbers of neighbouring patches lie side by side in memory.
    """
    rows, columns = (side // PATCH for side in x.shape[-2:])
    split = x[..., : rows * PATCH, : columns * PATCH].reshape(*x.shape[:2], rows, PATCH, columns, PATCH)
    patches = xp.moveaxis(split, (3, 5), (0, 1)).reshape(PATCH * PATCH, *x.shape[:2], rows, columns)
    mean = patches.sum(0) / len(patches)
    patches = patches - mean
    return patches, mean, (patches * patches).sum(0) / (len(patches) - 1) + VARIANCE_FLOOR


def _patch_kl(xp: Any, x: Array, aim: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return the divergence of each patch from means and variances, (B, C, rows, columns), and the gradient of its sum.

    The gradient is of the part of `x` that patches cover, (B, C, 4 rows, 4 columns).
    """
    patches, m0, v0 = _statistics(xp, x)
    m1, v1 = aim
    divergence = xp.log(v1 / v0) + (v0 + (m0 - m1) ** 2) / v1 - 1.0
    sign, count = xp.sign(divergence), len(patches)
    patches *= sign * (1.0 / v1 - 1.0 / v0) * (2.0 / (count - 1))
    patches += sign * (m0 - m1) / v1 * (2.0 / count)
    split = patches.reshape(PATCH, PATCH, *patches.shape[1:])
    rows, columns = patches.shape[-2:]
    return divergence, xp.moveaxis(split, (0, 1), (3, 5)).reshape(*x.shape[:2], rows * PATCH, columns * PATCH)
