"""The denoising network under one condition: where it is called, its passes are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from renoise.steps import Step

# A network: from a latent (B, C, h, w) and the step it stands at to the raw output of the same shape.
PredictAt = Callable[[Tensor, Step], Tensor]
# The same for latents that belong to some images of the batch: each latent has a step, and the index of its image.
PredictEach = Callable[[Tensor, Sequence[Step], Sequence[int]], Tensor]
# Is told of each pass: the passes so far, the step, the latent and the residual, if one was measured.
Watch = Callable[[int, Step, Tensor, Tensor | None], None]


@dataclass
class _Count:
    """Passes of every image, and those that some images took besides."""

    of_all: int = 0
    besides: Counter[int] = field(default_factory=Counter)


class Network:
    """A network that counts its passes and tells of them.

    Walks, solvers and edit rules run the network through this class only, so that the count is true whatever they do.

    Args:
        predict: runs the network once.
        cost: the network passes of one prediction for each image: 2 with classifier-free guidance, else 1.
        watch: is told of each pass; None tells nobody.
        predict_each: runs it for some of the images only; None is for a network without a condition of each image,
            which `predict` can run on any latents.

    Attributes:
        cost: see the argument.

    Examples:
        >>> import torch
        >>> network = Network(lambda z, step: 0.5 * z, cost=2)
        >>> network(torch.ones(1), Step(1.0, 1.0, 0.0, 500.0)), network.passes
        (tensor([0.5000]), 2)
    """

    def __init__(
        self,
        predict: PredictAt,
        cost: int = 1,
        watch: Watch | None = None,
        predict_each: PredictEach | None = None,
    ) -> None:
        self._predict = predict
        self._predict_each = predict_each or self._one_by_one
        self.cost = cost
        self._watch = watch
        self._count = _Count()

    @property
    def passes(self) -> int:
        """Network passes so far, of the image that took most."""
        return self._count.of_all + max(self._count.besides.values(), default=0)

    def passes_of(self, images: Iterable[int]) -> list[int]:
        """Return the network passes so far of some images, given by their places in the batch."""
        return [self._count.of_all + self._count.besides[image] for image in images]

    def beside(self, other: Network) -> Network:
        """Return this network, under its condition, with the count and the watch of another one."""
        joined = Network(self._predict, self.cost, other._watch, self._predict_each)
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

    def run(self, latents: Tensor, step: Step, images: Sequence[int] | None = None) -> Tensor:
        """Run the network once and count it, for a caller that tells of it itself.

        Args:
            latents: z, float32 (B, C, h, w), or those of some images.
            step: the sampler step that they stand at.
            images: which images of the batch these are; None is all of them. The others take no pass.
        """
        if images is not None:
            return self.run_each(latents, [step] * len(images), images)
        prediction = self._predict(latents, step)
        self._count.of_all += self.cost
        return prediction

    def run_each(self, latents: Tensor, steps: Sequence[Step], images: Sequence[int]) -> Tensor:
        """Run the network on latents of different steps in one batch, and count a pass for each of them.

        Args:
            latents: float32 (N, C, h, w).
            steps: the sampler step of each.
            images: the image of the batch to which each belongs.
        """
        prediction = self._predict_each(latents, steps, images)
        for image in images:
            self._count.besides[image] += self.cost
        return prediction

    def _one_by_one(self, latents: Tensor, steps: Sequence[Step], images: Sequence[int]) -> Tensor:
        if all(step is steps[0] for step in steps):
            return self._predict(latents, steps[0])
        return torch.cat([self._predict(z.unsqueeze(0), step) for z, step in zip(latents, steps, strict=True)])

    def tell(self, step: Step, latents: Tensor, residual: Tensor | None = None) -> None:
        """Tell of the pass that was run last: where it led, (B, C, h, w), and the residual (B,) measured there."""
        if self._watch is not None:
            self._watch(self.passes, step, latents, residual)
