"""Latents as the sequences of tokens that transformers take, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def pack(latents: Tensor, side: int = 2) -> Tensor:
    """Pack latents (B, C, h, w) into a sequence of patches, (B, h / side * w / side, side^2 C), row by row.

    Examples:
        >>> import torch
        >>> pack(torch.zeros(1, 16, 8, 6)).shape
        torch.Size([1, 12, 64])
    """
    import torch

    return torch.nn.functional.pixel_unshuffle(latents, side).flatten(2).transpose(1, 2)


def unpack(sequence: Tensor, height: int, width: int, side: int = 2) -> Tensor:
    """Unpack a sequence of patches (B, h / side * w / side, side^2 C) into latents (B, C, h, w), as `pack` made it."""
    import torch

    grid = sequence.transpose(1, 2).reshape(len(sequence), -1, height // side, width // side)
    return torch.nn.functional.pixel_shuffle(grid, side)


def positions(height: int, width: int, *more: int) -> Tensor:
    """Return the place of each token of an image in a network's axes, float32 (rows * columns, 3 + len(more)).

    Args:
        height: the number of rows of tokens.
        width: the number of columns.
        more: the sizes of further axes.

    Returns:
        (0, row, column), with a further number for each axis more.

    Examples:
        >>> positions(1, 2).tolist(), positions(1, 2, 1).tolist()
        ([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    """
    import torch

    axes = (torch.arange(count, dtype=torch.float32) for count in (1, height, width, *more))
    return torch.cartesian_prod(*axes)
