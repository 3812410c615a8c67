"""DDIM inversion as diffusers does it: the reference from outside, in which this library takes no step itself.

DDIM (Song et al., 2021, arXiv 2010.02502, eq. 12) run backwards (Dhariwal and Nichol, 2021, arXiv 2105.05233), with the
prediction at z_{t-1} in the place of that at z_t. In the letters of `renoise.steps`, `DDIMInverseScheduler` (diffusers
0.42.1) and plain reversing here (`ReNoise` with DDIM and K = 0) compare so:

- both walk the same timesteps, tell the network the noisier one of each step, t, and step from the noise level of
  t - 1000 // N to that of t. There is no shift between them;
- for epsilon and sample prediction their step is the same, z_t = (z_{t-1} - psi m) / phi;
- for v prediction it is not. Diffusers reads m as the velocity at the cleaner timestep, which makes it
  z_t = phi z_{t-1} - psi m. Its sampler reads m as the velocity at t, as the network was told, and that step undone is
  (z_{t-1} - psi m) / phi: even where the prediction does not change along the step, diffusers' inversion does not undo
  diffusers' sampler.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from renoise import Editor
from renoise.evaluation.methods import Drawn, Noised
from renoise.evaluation.outside.shared import OneSchedule, network, settle
from renoise.schedulers import exchanged, steps_for
from renoise.steps import Step

# The spacings that DDIMInverseScheduler knows, and DDIM's default, which replaces every other.
SPACINGS = ("leading", "trailing")
DEFAULT_SPACING = "leading"


@dataclass(frozen=True)
class DDIMInverse(OneSchedule):
    """DDIM inversion with diffusers' `DDIMInverseScheduler`, and sampling with its `DDIMScheduler`.

    Both are made from the configuration of the model's scheduler, whatever its class, with clipping off. Its timestep
    spacing is kept if `DDIMInverseScheduler` knows it. "linspace" (Euler's default) becomes "leading", and so does the
    missing spacing of LCM, whose timesteps DDIM does not have.

    Attributes:
        num_steps: length of both schedules.

    Raises:
        ConfigError: for a number of steps below 1, and when it inverts for more steps than the model has timesteps.

    Examples:
        >>> DDIMInverse(50).settings()
        {'num_steps': 50, 'kind': 'ddim-inverse'}
    """

    kind: ClassVar[str] = "ddim-inverse"

    def __post_init__(self) -> None:
        settle(self, "num_steps")

    def invert(self, editor: Editor, z_0: Tensor, prompts: Sequence[str]) -> Noised:
        """Turn images into noise without guidance; see `Method`. `draw` is guided only if it is told to be.

        Raises:
            SchedulerError: if the model is no diffusion model on `alphas_cumprod`, or has no such schedule.
            NumericalError: if the inversion ends in NaN or infinity.
        """
        z = start = editor.model.prepare(None, z_0).latents
        ddim, inverse = self._schedulers(editor)
        with network(editor, prompts, 1.0, start) as net:
            # A surplus timestep of trailing spacing comes first here (see `renoise.schedulers`).
            for t in inverse.timesteps[-self.num_steps :]:
                z = inverse.step(net(z, _at(t)), t, z, return_dict=False)[0]
        editor.model.require_finite(z, "the inverted latent")
        z_T = z

        def draw(targets: Sequence[str] | None, guidance_scale: float | None) -> Drawn:
            z = z_T
            scale = 1.0 if guidance_scale is None else guidance_scale
            with network(editor, prompts if targets is None else targets, scale, z_T) as net:
                for t in ddim.timesteps[: self.num_steps]:
                    z = ddim.step(net(z, _at(t)), t, z, return_dict=False)[0]
            return Drawn(editor.decode(z, "pt").cpu(), net.passes)

        return Noised(z_T, net.passes, draw)

    def _schedulers(self, editor: Editor) -> tuple[Any, Any]:
        """Return diffusers' sampler and its inverse, with their schedules set."""
        from diffusers import DDIMInverseScheduler

        own = editor.pipe.scheduler
        spacing = own.config.get("timestep_spacing")
        spacing = spacing if spacing in SPACINGS else DEFAULT_SPACING
        ddim = exchanged(own, "DDIMScheduler", timestep_spacing=spacing)
        # They check little themselves: this refuses a schedule with timesteps that the model does not have.
        steps_for(ddim, self.num_steps)
        inverse = DDIMInverseScheduler.from_config(ddim.config, clip_sample=False)
        ddim.set_timesteps(self.num_steps)
        inverse.set_timesteps(self.num_steps)
        return ddim, inverse


def _at(timestep: Tensor) -> Step:
    """Return all that the network has to know about a step, its timestep; diffusers keeps the coefficients."""
    return Step(phi=1.0, psi=0.0, rho=0.0, timestep=float(timestep))
