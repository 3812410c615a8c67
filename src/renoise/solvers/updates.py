"""How an iteration moves from the estimates that it has evaluated to the next one, image by image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from renoise.errors import Argument, ConfigError
from renoise.ranges import number, store, whole

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Weights of a least-squares fit that are larger than this come from differences that hardly differ.
_LARGEST_WEIGHT = 1e4


class Memory(Protocol):
    """What an update remembers of one solve; B counts the images that are still in it."""

    def next(self, z: Tensor, move: Tensor, relaxation: Tensor) -> Tensor:
        """Return the next estimate, (B, C, h, w).

        Args:
            z: the estimate that the next one is built on, (B, C, h, w).
            move: g(z) - z there.
            relaxation: a factor for each image by which the update's own step is shortened, (B,).
        """

    def learn(self, moved: Tensor, change: Tensor) -> None:
        """Remember that z changed by `moved` and g(z) - z by `change`, both (B, C, h, w)."""

    def forget(self, images: Tensor) -> None:
        """Forget what was learnt of some images, boolean (B,)."""

    def keep(self, images: Tensor) -> None:
        """Keep only these images, boolean (B,); the others have left the solve."""


@runtime_checkable
class Update(Protocol):
    """A rule for the next estimate: a frozen dataclass that starts a `Memory` for each solve."""

    def begin(self) -> Memory:
        """Return a memory without contents."""


@dataclass(frozen=True)
class Damped:
    """Moves a share of the way to g(z).

    Attributes:
        relaxation: that share, above 0; 1 is the paper's iteration, and less of it is damped.

    Raises:
        ConfigError: if it is not above 0.
    """

    relaxation: float = 1.0

    def __post_init__(self) -> None:
        store(self, relaxation=_above_0(self.relaxation))

    def begin(self) -> Memory:
        """See `Update.begin`."""
        return _Anderson(0, self.relaxation, 0.0)


@dataclass(frozen=True)
class Anderson:
    """Accelerates the iteration by what its last moves showed (Anderson, 1965; type II, Walker and Ni, 2011, eq. 2.2).

    With f = g(z) - z and the last differences dZ of estimates and dF of f, the next estimate is

        z + beta f - (dZ + beta dF) gamma,      gamma = argmin || f - dF gamma ||

    for each image by itself, in float64. Where the fit is bad, gamma is 0 and the move is damped iteration.

    Attributes:
        depth: the number of differences, at least 1.
        relaxation: beta, above 0.
        tikhonov: the weight of ||gamma||^2 in the fit, relative to the differences' squared lengths.

    Raises:
        ConfigError: for a setting out of its range.
    """

    depth: int = 3
    relaxation: float = 1.5
    tikhonov: float = 1e-6

    def __post_init__(self) -> None:
        store(
            self,
            depth=whole(self.depth, "depth", 1),
            relaxation=_above_0(self.relaxation),
            tikhonov=number(self.tikhonov, "tikhonov", 0.0),
        )

    def begin(self) -> Memory:
        """See `Update.begin`."""
        return _Anderson(self.depth, self.relaxation, self.tikhonov)


def _above_0(relaxation: Any) -> float:
    found = number(relaxation, "relaxation", 0.0)
    if found == 0.0:
        raise ConfigError(Argument("relaxation"), " must be above 0: with 0 no estimate would move")
    return found


class _Anderson:
    """The memory of Anderson's update; without depth it is that of damped iteration."""

    def __init__(self, depth: int, relaxation: float, tikhonov: float) -> None:
        self._depth = depth
        self._relaxation = relaxation
        self._tikhonov = tikhonov
        self._moved: list[Tensor] = []
        self._changes: list[Tensor] = []

    def next(self, z: Tensor, move: Tensor, relaxation: Tensor) -> Tensor:
        """See `Memory.next`."""
        import torch

        beta = (self._relaxation * relaxation).view(-1, 1)
        move_flat = move.flatten(1)
        step = beta * move_flat
        if self._moved:
            moved, changes = torch.stack(self._moved, dim=2), torch.stack(self._changes, dim=2)
            gamma = self._fit(changes, move_flat)
            step = step - ((moved + beta.unsqueeze(2) * changes) @ gamma).squeeze(2)
        return z + step.view_as(z)

    def learn(self, moved: Tensor, change: Tensor) -> None:
        """See `Memory.learn`."""
        if self._depth:
            self._moved = [*self._moved, moved.flatten(1)][-self._depth :]
            self._changes = [*self._changes, change.flatten(1)][-self._depth :]

    def forget(self, images: Tensor) -> None:
        """See `Memory.forget`; a difference of 0 gets no weight."""
        for differences in (self._moved, self._changes):
            differences[:] = [d.masked_fill(images.view(-1, 1), 0.0) for d in differences]

    def keep(self, images: Tensor) -> None:
        """See `Memory.keep`."""
        for differences in (self._moved, self._changes):
            differences[:] = [d[images] for d in differences]

    def _fit(self, changes: Tensor, move: Tensor) -> Tensor:
        """Return gamma, (B, depth, 1), computed in float64: 0 for images whose fit is bad."""
        import torch

        where = _exact_device(changes.device)
        columns, moves = changes.to(where).double(), move.to(where).double().unsqueeze(2)
        gram = columns.mT @ columns
        lengths = gram.diagonal(dim1=1, dim2=2)
        ridge = self._tikhonov * lengths.amax(dim=1, keepdim=True) + torch.finfo(torch.float64).tiny
        gram = gram + torch.diag_embed(ridge.expand_as(lengths))
        gamma, failed = torch.linalg.solve_ex(gram, columns.mT @ moves)
        bad = (failed != 0) | ~torch.isfinite(gamma).all(dim=1).view(-1) | (gamma.abs().amax((1, 2)) > _LARGEST_WEIGHT)
        fitted: Tensor = gamma.masked_fill(bad.view(-1, 1, 1), 0.0)
        return fitted.to(move.dtype).to(move.device)


def _exact_device(device: torch.device) -> torch.device:
    """Return where float64 can be computed: Apple's GPUs have none."""
    import torch

    return torch.device("cpu") if device.type == "mps" else device
