"""When the solve of a step ends, image by image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from renoise.ranges import number, store, whole

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Stop(Protocol):
    """A rule for the end of a solve.

    Attributes:
        most: the most passes of one image.
    """

    @property
    def most(self) -> int:
        """The most passes of one image."""

    def reached(self, passes: int, left: Tensor) -> Tensor:
        """Return which images are done, boolean (B,).

        Args:
            passes: the passes so far.
            left: the residual that each image's next estimate has at most, (B,): that of the last pass, shrunk by
                `Problem.contraction`.
        """


@dataclass(frozen=True)
class Passes:
    """Ends after a fixed number of passes.

    Attributes:
        most: that number, at least 1.
    """

    most: int

    def __post_init__(self) -> None:
        store(self, most=whole(self.most, "most", 1))

    def reached(self, passes: int, left: Tensor) -> Tensor:
        """See `Stop.reached`."""
        import torch

        return torch.full_like(left, passes >= self.most, dtype=torch.bool)


@dataclass(frozen=True)
class Residual:
    """Ends for each image by itself when the residual that is left is small enough.

    Attributes:
        tolerance: an image is done when its next estimate has at most this residual. A pass measures the estimate
            before; how much a pass shrinks an error at most is known from the schedule.
        most: the most passes of one image, at least 1.
    """

    tolerance: float
    most: int

    def __post_init__(self) -> None:
        store(self, tolerance=number(self.tolerance, "tolerance", 0.0), most=whole(self.most, "most", 1))

    def reached(self, passes: int, left: Tensor) -> Tensor:
        """See `Stop.reached`."""
        return (left <= self.tolerance) | (passes >= self.most)
