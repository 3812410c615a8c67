"""What an edit rule is, what it is given at a step, and the plainest one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from renoise.errors import Argument, ConfigError
from renoise.ranges import made_for, whole
from renoise.steps import Step


@dataclass(frozen=True, eq=False)
class SourceStep:
    """The source's own walk through one sampler step, as an inversion kept it.

    The walk is exact: the step from `start` with `prediction`, plus `offset` where there is one, leads to `end`.

    Attributes:
        start: z_t, where the source stands before the step, (B, C, h, w).
        end: z_{t-1}, where the step leads it, (B, C, h, w).
        image: z_0, where the walk ends, (B, C, h, w).
        prediction: what the network says at `start` with the source prompt, (B, C, h, w); it takes no pass. It follows
            from the step: where a step was not solved for all the way, it is what the network should have said.
        offset: what the prediction lacks, (B, C, h, w); None where it lacks nothing.
    """

    start: Tensor
    end: Tensor
    image: Tensor
    prediction: Tensor
    offset: Tensor | None = None


@dataclass(frozen=True, eq=False)
class EditStep:
    """What an edit rule is given at one sampler step; B counts images and targets.

    Attributes:
        index: the step's place in sampling order; 0 is the noisiest step.
        num_steps: the number of steps in all.
        step: the sampler's step.
        z: the edit's latent z_t, float32 (B, C, h, w).
        noise: the step's noise, (B, C, h, w); None for a deterministic sampler.
        predict: runs the network with the target prompts, from a latent (B, C, h, w) to its raw output.
        predict_source: runs it with the source prompts.
        source: the source's walk; None where the inversion did not keep it, or was made in another number of steps.
        memory: what rules remember from step to step, by rule: one mapping for all steps of an edit, empty at first.
    """

    index: int
    num_steps: int
    step: Step
    z: Tensor
    noise: Tensor | None
    predict: Callable[[Tensor], Tensor]
    predict_source: Callable[[Tensor], Tensor]
    source: SourceStep | None = None
    memory: dict[Hashable, Tensor] = field(default_factory=dict)

    def required_source(self) -> SourceStep:
        """Return the source's walk, for a rule that cannot do without it.

        Raises:
            ConfigError: if there is none.
        """
        if self.source is None:
            raise ConfigError(
                Argument("rule"),
                " needs the source's latents, which this inversion did not keep or has in another number of steps",
                remedy=("invert with ", Argument("edit_data", "float32"), " and edit in as many steps"),
            )
        return self.source


@runtime_checkable
class EditRule(Protocol):
    """A way to walk one step of an edit: a frozen dataclass whose fields are its settings.

    Where a target is the source's own prompt under the same settings, and the inversion kept the source's walk, a rule
    is not asked: the edit is the source then, to the last bit.

    Attributes:
        max_passes: the most predictions that a step asks for, for progress bars.
    """

    @property
    def max_passes(self) -> int:
        """The most predictions that a step asks for."""

    def advance(self, at: EditStep) -> Tensor:
        """Return the next latent z_{t-1}, float32 (B, C, h, w)."""


def require_rule(rule: Any) -> None:
    """Check that a value is an edit rule.

    Raises:
        ConfigError: if it is none.
    """
    made_for(rule, EditRule, "rule", "a method advance and a number max_passes", "see renoise.edit_rules.EditRule")
    whole(rule.max_passes, "max_passes", 1)


@runtime_checkable
class TellingRule(EditRule, Protocol):
    """An edit rule that can tell where it let the image change, for `Editor.edit(return_masks=True)`."""

    def changed(self, memory: Mapping[Hashable, Tensor]) -> Tensor:
        """Return how far each place could change, in [0, 1], of a shape that broadcasts to (B, 1, h, w).

        Args:
            memory: what the rules remember after the last step (see `EditStep`).
        """


@dataclass(frozen=True)
class PlainSampling:
    """The sampler's step with the target prompt and with all that the inversion found: its noise, and its offsets.

    For an inversion without offsets it is what a diffusers pipeline does.
    """

    @property
    def max_passes(self) -> int:
        """One prediction a step."""
        return 1

    def advance(self, at: EditStep) -> Tensor:
        """Return z_{t-1} = phi z_t + psi (m(z_t) + offset) + rho n.

        Examples:
            >>> import torch
            >>> step, z = Step(phi=2.0, psi=-1.0, rho=0.0, timestep=500.0), torch.ones(1, 1, 1, 1)
            >>> PlainSampling().advance(EditStep(0, 1, step, z, None, lambda z: z, lambda z: z)).item()
            1.0
        """
        prediction = at.predict(at.z)
        if at.source is not None and at.source.offset is not None:
            prediction = prediction + at.source.offset
        return at.step.apply(at.z, prediction, at.noise)

    def changed(self, memory: Mapping[Hashable, Tensor]) -> Tensor:
        """Return 1: every place could change, (1, 1, 1, 1)."""
        return torch.ones(1, 1, 1, 1)
