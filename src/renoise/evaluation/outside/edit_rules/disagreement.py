"""Where the target's and the source's predictions disagree, as a mask."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from renoise.edit_rules import EditStep
from renoise.edit_rules.structure import enlarged, windowed
from renoise.errors import Argument, ConfigError
from renoise.escaping import seen
from renoise.ranges import number, store, truth

# What keeps a flat map from being divided by nothing.
_FLAT = 1e-7
Limit = Literal["otsu", "quantile"]


@dataclass(frozen=True)
class Disagreement:
    """A mask of where the clean latents that two predictions imply differ.

    The difference d is the channel mean of |x0_target - x0_source| or its root mean square, smoothed by a box that
    covers 3 x 3 latents of 16 x 16, and as much of the image in larger latents. With the limit L of each image, Otsu's
    threshold or a quantile of d, the mask is

        M = clamp((d / max(share L, floor) - 1) / softness + 1/2, 0, 1)

    so that M = 1/2 where d is at the limit. A softness of 0 makes a hard mask.

    Attributes:
        limit: "otsu" or "quantile".
        quantile: which quantile, in [0, 1]; Otsu's threshold has no use for it.
        share: the share of the limit that counts, at least 0.
        softness: how wide the mask's edge is, in shares of the limit, in [0, 2].
        floor: the smallest difference that counts, in units of the clean latents, above 0: equal predictions have an
            empty mask.
        squared: take the root mean square over the channels, and not the mean.
        mean: average d over the steps so far.

    Raises:
        ConfigError: for a setting out of its range.
    """

    limit: Limit = "otsu"
    quantile: float = 0.8
    share: float = 1.0
    softness: float = 0.0
    floor: float = 0.1
    squared: bool = False
    mean: bool = True

    def __post_init__(self) -> None:
        if self.limit not in get_args(Limit):
            raise ConfigError(
                f"limit {seen(self.limit)} is unknown",
                argument="limit",
                remedy=f"use one of {', '.join(get_args(Limit))}",
            )
        store(
            self,
            quantile=number(self.quantile, "quantile", 0.0, 1.0),
            share=number(self.share, "share", 0.0),
            softness=number(self.softness, "softness", 0.0, 2.0),
            floor=number(self.floor, "floor", 0.0),
            squared=truth(self.squared, "squared"),
            mean=truth(self.mean, "mean"),
        )
        if self.floor == 0.0:
            raise ConfigError(Argument("floor"), " must be above 0, so that equal predictions have an empty mask")

    def mask(self, at: EditStep, prediction: Tensor, owner: Hashable) -> Tensor:
        """Return the mask of a step, (B, 1, h, w) in [0, 1].

        Args:
            at: the edit's step.
            prediction: the target's, (B, C, h, w).
            owner: the rule that asks, which remembers the differences of the steps before.

        Raises:
            ConfigError: if the source's walk is not known.
        """
        source, step = at.required_source(), at.step
        apart = step.x0_z * (at.z - source.start) + step.x0_m * (prediction - source.prediction)
        over = apart.square().mean(1, keepdim=True).sqrt() if self.squared else apart.abs().mean(1, keepdim=True)
        found = enlarged(windowed(over), over)
        if self.mean:
            before = at.memory.get((owner, self))
            found = at.memory[owner, self] = found if before is None else before + (found - before) / (at.index + 1)
        return self.of(found)

    def of(self, difference: Tensor) -> Tensor:
        """Return the mask of differences d, (B, 1, h, w), each image by its own limit.

        Examples:
            >>> Disagreement().of(torch.tensor([[[[0.0, 0.1, 2.0, 2.1]]]]))
            tensor([[[[0., 0., 1., 1.]]]])
        """
        flat = difference.flatten(1)
        limit = otsu(flat) if self.limit == "otsu" else flat.quantile(self.quantile, dim=1)
        limit = (self.share * limit).clamp_min(self.floor)[:, None, None, None]
        if self.softness == 0.0:
            return (difference >= limit).to(difference.dtype)
        return ((difference / limit - 1.0) / self.softness + 0.5).clamp(0.0, 1.0)


def require_disagreement(where: Any) -> None:
    """Raise a `ConfigError` for what is no `Disagreement`."""
    if not isinstance(where, Disagreement):
        raise ConfigError(Argument("where"), f" must be a Disagreement, not {seen(where)}")


def otsu(values: Tensor) -> Tensor:
    """Return for each row of (B, N) the threshold that parts its values into the two most distinct groups.

    Otsu (1979): the variance between the groups, w (1 - w) (mean_0 - mean_1)^2, is largest there. The threshold lies
    halfway between the groups; equal values are all at it.

    Examples:
        >>> otsu(torch.tensor([[0.0, 3.0, 1.0, 4.0]]))
        tensor([2.])
    """
    ordered, count = values.sort(dim=1).values, values.shape[1]
    if count == 1:
        return ordered[:, 0]
    below = torch.arange(1, count, device=values.device)
    sums = ordered.cumsum(dim=1)
    low, all_of_it = sums[:, :-1], sums[:, -1:]
    apart = low / below - (all_of_it - low) / (count - below)
    place = (below * (count - below) * apart.square()).argmax(dim=1, keepdim=True)
    return ((ordered.gather(1, place) + ordered.gather(1, place + 1)) / 2.0)[:, 0]


def rescaled(values: Tensor, low: float, high: float) -> Tensor:
    """Return each image's map (B, 1, h, w) from one of its quantiles to another, clamped to [0, 1]; 0 for a flat one.

    Examples:
        >>> rescaled(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 0.0, 1.0)
        tensor([[[[0.0000, 0.5000, 1.0000]]]])
    """
    ends = torch.tensor([low, high], device=values.device, dtype=values.dtype)
    least, most = values.flatten(1).quantile(ends, dim=1)[:, :, None, None, None]
    share: Tensor = (values - least) / (most - least).clamp_min(_FLAT)
    return share.clamp(0.0, 1.0)
