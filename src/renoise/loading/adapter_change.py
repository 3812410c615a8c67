"""The change of one layer as its file holds it, and its channels' factors: kept, and computed whenever it is needed.

A LoKr of whole factors is as large as the weight once it is multiplied out, and a LoHa has the rank of its two halves
multiplied. What a layer makes of its input is therefore computed with the factors where that takes fewer operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from renoise.loading.adapter_forms import Form, whole


class Change(torch.nn.Module):
    """The change of one layer, at full strength."""

    def __init__(self, form: Form, rows: Sequence[slice], dtype: torch.dtype, base: Any) -> None:
        """Keep the factors in a precision.

        Args:
            form: the form of the file.
            rows: the rows of it that are the layer's, in the layer's order.
            dtype: the precision in which the factors are kept.
            base: the layer, linear or a convolution.
        """
        super().__init__()
        self.shape = tuple(base.weight.shape)
        is_convolution = isinstance(base, torch.nn.Conv2d)
        self.options: Any = (base.stride, base.padding, base.dilation, base.groups) if is_convolution else None
        self.kind, self.scale, self.outputs = form.kind, form.scale, form.outputs
        self.rows = None if tuple(rows) == (slice(0, form.outputs),) else tuple(rows)
        # As its own parameters, which are there when it runs, even if the weights are kept elsewhere until then.
        for name, factor in form.factors.items():
            self.register_parameter(name, torch.nn.Parameter(factor.to(dtype), requires_grad=False))

    def _as_float(self) -> dict[str, Tensor]:
        # The products of small factors leave the range of float16.
        return {name: factor.float() for name, factor in self.named_parameters()}

    def weight(self) -> Tensor:
        """Return the change in float32, of the shape of the layer's weight (out, in, ...)."""
        made = self.scale * whole(self.kind, self._as_float(), (self.outputs, *self.shape[1:]))
        return made if self.rows is None else torch.cat([made[rows] for rows in self.rows])

    def forward(self, x: Tensor) -> Tensor:
        """Return what the change alone makes of the layer's input."""
        if self.options is not None:
            convolved: Tensor = torch.nn.functional.conv2d(x, self.weight().to(x.dtype), None, *self.options)
            return convolved
        by_factors = _BY_FACTORS.get(self.kind)
        size = self.outputs * self.shape[1]
        made = None if by_factors is None else by_factors(x, self._as_float(), self.scale, size)
        if made is None:
            return torch.nn.functional.linear(x, self.weight().to(x.dtype))
        return made if self.rows is None else torch.cat([made[..., rows] for rows in self.rows], dim=-1)


class Channels(torch.nn.Module):
    """The factors of a DoRA's channels."""

    def __init__(self, factors: Tensor) -> None:
        """Keep the factors, of shape (1, in, ...) or (out, 1, ...)."""
        super().__init__()
        self.factors = torch.nn.Parameter(factors, requires_grad=False)

    def forward(self) -> Tensor:
        """Return the factors."""
        return self.factors


def _by_kronecker(x: Tensor, factors: Mapping[str, Tensor], scale: float, _: int) -> Tensor:
    """Return (W1 (x) W2) x: W2 for each block of the input, and W1 over the blocks."""
    first, second = (_half(factors, name) for name in ("lokr_w1", "lokr_w2"))
    blocks = x.reshape(*x.shape[:-1], first.shape[1], second.shape[1]) @ second.T.to(x.dtype)
    return ((scale * first).to(x.dtype) @ blocks).flatten(-2)


def _half(factors: Mapping[str, Tensor], name: str) -> Tensor:
    # Files may hold linear layers as convolutions of one pixel.
    return factors[name].flatten(1) if name in factors else factors[f"{name}_a"] @ factors[f"{name}_b"]


def _by_hadamard(x: Tensor, factors: Mapping[str, Tensor], scale: float, size: int) -> Tensor | None:
    """Return ((B1 A1) * (B2 A2)) x, as B (A x) with all products of two columns and of two rows; None if that is more.

    B has the columns B1[:, p] * B2[:, q] and A the rows A1[p] * A2[q].
    """
    b1, a1, b2, a2 = (factors[f"hada_{name}"] for name in ("w1_a", "w1_b", "w2_a", "w2_b"))
    if a1.shape[0] * a2.shape[0] * (a1.shape[1] + b1.shape[0]) >= size:
        return None
    a = (a1[:, None] * a2[None]).flatten(0, 1)
    b = (b1[:, :, None] * b2[:, None, :]).flatten(1)
    return torch.nn.functional.linear(torch.nn.functional.linear(x, a.to(x.dtype)), (scale * b).to(x.dtype))


# How linear layers compute with the factors; the last number is that of the weight's entries.
_BY_FACTORS: Mapping[str, Callable[[Tensor, Mapping[str, Tensor], float, int], Tensor | None]] = {
    "lokr": _by_kronecker,
    "hada": _by_hadamard,
}
