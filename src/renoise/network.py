"""The denoising network under one condition: where it is called, its passes are counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from renoise.steps import Step

# A network: from a latent (B, C, h, w) and the step it stands at to the raw output of the same shape.
PredictAt = Callable[[Tensor, Step], Tensor]
# Is told of each pass: the passes so far, the step, the latent and the residual, if one was measured.
Watch = Callable[[int, Step, Tensor, Tensor | None], None]


@dataclass
class _Count:
    passes: int = 0


class Network:
    """A network that counts its passes and tells of them.

    Walks, solvers and edit rules run the network through this class only, so that the count is true whatever they do.

    Args:
        predict: runs the network once.
        cost: the network passes of one prediction for each image: 2 with classifier-free guidance, else 1.
        watch: is told of each pass; None tells nobody.

    Attributes:
        cost: see the argument.

    Examples:
        >>> import torch
        >>> network = Network(lambda z, step: 0.5 * z, cost=2)
        >>> network(torch.ones(1), Step(1.0, 1.0, 0.0, 500.0)), network.passes
        (tensor([0.5000]), 2)
    """

    def __init__(self, predict: PredictAt, cost: int = 1, watch: Watch | None = None) -> None:
        self._predict = predict
        self.cost = cost
        self._watch = watch
        self._count = _Count()

    @property
    def passes(self) -> int:
        """Network passes so far, for each image of the batch."""
        return self._count.passes

    def beside(self, other: Network) -> Network:
        """Return this network, under its condition, with the count and the watch of another one."""
        joined = Network(self._predict, self.cost, other._watch)
        joined._count = other._count
        return joined

    def __call__(self, latents: Tensor, step: Step) -> Tensor:
        """Run the network once and tell of it.

        Args:
            latents: z, float32 (B, C, h, w).
            step: the sampler step that it stands at.

        Returns:
            The network's raw output, float32 (B, C, h, w).
        """
        prediction = self.run(latents, step)
        self.tell(step, latents)
        return prediction

    def run(self, latents: Tensor, step: Step) -> Tensor:
        """Run the network once and count it, for a caller that tells of it itself."""
        prediction = self._predict(latents, step)
        self._count.passes += self.cost
        return prediction

    def tell(self, step: Step, latents: Tensor, residual: Tensor | None = None) -> None:
        """Tell of the pass that was run last: where it led, (B, C, h, w), and the residual (B,) measured there."""
        if self._watch is not None:
            self._watch(self.passes, step, latents, residual)
