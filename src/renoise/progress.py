"""What a `progress` callable is told after every network pass.

diffusers' pipelines call `callback_on_step_end(pipe, step, timestep, callback_kwargs)` after every sampler step. Here
one object comes after every network pass, and it uses the same names for the same things: `step`, `timestep` and
`latents`. Two things differ. The callable gets no pipeline and returns nothing, because it does not exchange latents on
the way (an edit rule does that, see `renoise.edit_rules`). And raising an exception in it is the way to stop: the work
ends within one pass, and the editor and its pipeline stay usable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from renoise.errors import Argument, ConfigError
from renoise.escaping import seen

if TYPE_CHECKING:
    from torch import Tensor

    from renoise.steps import Step

Stage = Literal["invert", "edit"]


@dataclass(frozen=True, eq=False)
class Progress:
    """The state of an inversion or edit after a network pass.

    Attributes:
        stage: "invert" or "edit".
        done: network passes so far, for each image.
        total: the most network passes that the whole work can take, for each image. It is an upper bound, which falls
            whenever a step took fewer passes than it could have, so that `done` reaches it in the end. It rises only
            where an image does not converge and is solved again.
        timestep: the timestep of the sampler step that is worked on.
        step: how many sampler steps were finished before this one, as in diffusers' callback.
        num_steps: the number of sampler steps in all.
        latents: the latent so far, float32 (B, C, h, w): during an inversion the estimate of z_t, of the images alone
            that took part in the pass, during an edit the latent at which the network was run.
        residual: during an inversion how far the estimate before missed the fixed point, (B,) (see
            `renoise.Inversion.residuals`); None where nothing was solved for.
    """

    stage: Stage
    done: int
    total: int
    timestep: float
    step: int
    num_steps: int
    latents: Tensor
    residual: Tensor | None = None


# What `Editor.invert` and `Editor.edit` take as `progress`.
Callback = Callable[[Progress], None]


class Reporter:
    """Turns the network passes of one walk into `Progress` for a callback.

    Args:
        callback: the user's callable; None reports to nobody.
        stage: what the walk is for.
        steps: the sampler steps in the order in which they are walked.
        bounds: the most network passes that each of these steps can take, for each image.

    Raises:
        ConfigError: if the callback cannot be called.
    """

    def __init__(self, callback: Callback | None, stage: Stage, steps: Sequence[Step], bounds: Sequence[int]) -> None:
        if callback is not None and not callable(callback):
            raise ConfigError(Argument("progress"), f" must be callable, not {seen(callback)}")
        self._callback = callback
        self._stage = stage
        # By identity: a schedule may hold equal steps.
        self._places = {id(step): place for place, step in enumerate(steps)}
        self._steps = steps
        self._bounds = bounds
        self._total = sum(bounds)
        # The step that is worked on, and the passes before it.
        self._place, self._before = 0, 0
        self._done = 0

    def __call__(self, done: int, step: Step, latents: Tensor, residual: Tensor | None) -> None:
        """Tell the callback of one network pass."""
        if self._callback is None:
            return
        place = self._places[id(step)]
        if place != self._place:
            self._place, self._before = place, self._done
        self._done = done
        left = max(self._bounds[place] - (done - self._before), 0) + sum(self._bounds[place + 1 :])
        self._total = max(min(self._total, done + left), done)
        self._callback(
            Progress(
                self._stage,
                done,
                self._total,
                step.timestep,
                place,
                len(self._steps),
                latents,
                residual,
            )
        )
