"""Edit-friendly DDPM inversion (Huberman-Spiegelglas, Kulikov and Michaeli, 2024, arXiv 2304.06140, alg. 1).

Every z_t is drawn from z_0 with an independent noise, so that neighbours are further apart than along a sampler's path.
Then the noise of each step of a stochastic sampler is solved for, from the noisiest step to the cleanest:

    z_t     = alpha_t z_0 + sigma_t eps_t,    eps_t independent for each t                 (draw)
    n_t     = (z_{t-1} - phi_t z_t - psi_t m(z_t, t, c)) / rho_t                           (solve)
    z_{t-1} <- phi_t z_t + psi_t m(z_t, t, c) + rho_t n_t                                  (no error builds up)

The solved noises carry the image and are larger than a sampler's; z_T and all n_t are the inversion. It costs one
prediction for each step, and none for a last step without noise. Every step with noise is exact. Where the last step
has none (Euler ancestral, LCM, DDPM, TCD, and DDIM with set_alpha_to_one), there is nothing to solve for, and the image
comes back only as well as the network sees it in z_1, the least noisy of the drawn latents. With a few steps z_1 is
very noisy, and the reconstruction is far off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from renoise import ConfigError, Editor, InversionConfig, SchedulerError
from renoise.evaluation.methods import Drawn, Noised, noise_scale
from renoise.evaluation.outside.shared import OneSchedule, network, settle
from renoise.network import PredictAt
from renoise.noise import draw_noise, generators_for
from renoise.schedulers import SUPPORTED, exchanged, steps_for
from renoise.steps import Step
from renoise.walks import denoise_steps

DDIM = "DDIMScheduler"


@dataclass(frozen=True)
class EditFriendly(OneSchedule):
    """Edit-friendly DDPM inversion, on any stochastic sampler.

    The paper's settings are 100 steps, of which the 36 noisiest are left out (strength 0.64), and guidance scales of
    3.5 for the inversion and 15 for the edit. Without guidance it takes half the passes.

    Attributes:
        num_steps: length of the whole schedule.
        eta: the eta of DDIM, above 0 and at most 1; 1 is the paper's DDPM. Other samplers take no eta.
        strength: the share of the schedule that is used, in (0, 1]; the paper's T_skip is what is left out.
        guidance_scale: guidance scale of the inversion and of the reconstruction, which must agree; 1 or less is none.
        edit_guidance_scale: guidance scale of drawing with another prompt.
        scheduler: the sampler's class in diffusers; None is the model's own if it adds noise, and else DDIM.
        seed: seed of the drawn noises; every image draws from a separate generator with this seed.

    Raises:
        ConfigError: for a setting out of its range; eta = 0 leaves no noise to solve for.

    Examples:
        >>> EditFriendly(num_steps=100, strength=0.64, guidance_scale=3.5, edit_guidance_scale=15.0).eta
        1.0
    """

    kind: ClassVar[str] = "edit-friendly"

    eta: float = 1.0
    strength: float = 1.0
    guidance_scale: float = 1.0
    edit_guidance_scale: float = 1.0
    scheduler: str | None = DDIM
    seed: int = 0

    def __post_init__(self) -> None:
        settle(self, "num_steps", "eta", "strength", "guidance_scale", "seed")
        edit = InversionConfig(guidance_scale=self.edit_guidance_scale).guidance_scale
        object.__setattr__(self, "edit_guidance_scale", edit)
        if not self.eta:
            raise ConfigError(
                f"eta must be above 0 and at most 1, not {self.eta}: without noise in the sampler's steps there is "
                "none to solve for",
                argument="eta",
                remedy="use eta=1, or the method ddim-inverse for the deterministic sampler",
            )

    def invert(self, editor: Editor, z_0: Tensor, prompts: Sequence[str]) -> Noised:
        """Turn images into noise; see `Method`.

        Raises:
            SchedulerError: if the sampler is unknown, adds no noise, or is made for another sort of model.
            NumericalError: if a prediction or a solved noise is NaN or infinite.
        """
        clean = editor.model.prepare(None, z_0).latents
        steps = self.steps(editor)
        drawn = draw_noise(len(steps), clean.shape, generators_for(None, self.seed, len(clean)), clean.device)
        with network(editor, prompts, self.guidance_scale, clean) as net:
            solved = solve(steps, net, clean, drawn)
        editor.model.require_finite(solved.noise, "the solved noises")

        def draw(targets: Sequence[str] | None, guidance_scale: float | None) -> Drawn:
            own = self.guidance_scale if targets is None else self.edit_guidance_scale
            scale, z = own if guidance_scale is None else guidance_scale, solved.latents
            with network(editor, prompts if targets is None else targets, scale, z) as net:
                for walked in denoise_steps(steps, net, z, solved.noise):
                    z = walked.latents
            return Drawn(editor.decode(z, "pt").cpu(), net.passes)

        return Noised(solved.latents, net.passes, draw, noise_scale(steps[0]))

    def steps(self, editor: Editor) -> tuple[Step, ...]:
        """Return the sampler's steps that are used, in sampling order, of which at least one adds noise."""
        own = editor.pipe.scheduler
        name = self.scheduler or _own_or_ddim(own, self.num_steps)
        scheduler = own if self.scheduler is None and name != DDIM else exchanged(own, name)
        steps = steps_for(scheduler, self.num_steps, eta=self.eta if name == DDIM else None, strength=self.strength)
        if not any(step.stochastic for step in steps):
            raise SchedulerError(
                f"none of the {len(steps)} steps of {name} adds noise, so there is none to solve for",
                argument="scheduler",
                remedy="use more of them, DDIMScheduler with eta=1, or another stochastic sampler",
            )
        return steps


@dataclass(frozen=True, eq=False)
class Solved:
    """Images as edit-friendly noise."""

    # z_T, (B, C, h, w), and (num_steps, B, C, h, w) in sampling order; zero for a step that adds no noise.
    latents: Tensor
    noise: Tensor


def solve(steps: Sequence[Step], predict: PredictAt, z_0: Tensor, drawn: Tensor) -> Solved:
    """Solve for the noises that take the sampler from one independently drawn latent to the next, and last to z_0.

    A step that adds no noise leads wherever its prediction leads, and the next step starts from there. The latents z_0
    are float32 (B, C, h, w), and `drawn` has the noise eps_t of each step, (len(steps), B, C, h, w).

    Examples:
        >>> step = Step(phi=1.0, psi=-1.0, rho=0.5, timestep=500.0, alpha=1.0, sigma=2.0)
        >>> solve([step], lambda z, step: z, torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1, 1)).noise.item()
        0.0
    """
    noised = [step.add_noise(z_0, eps) for step, eps in zip(steps, drawn, strict=True)]
    z, noises = noised[0], []
    for index, (step, z_prev) in enumerate(zip(steps, [*noised[1:], z_0], strict=True)):
        if not step.stochastic and index + 1 == len(steps):
            # Nothing depends on where the last step leads.
            noises.append(torch.zeros_like(z))
            break
        prediction = predict(z, step)
        noises.append(step.noise_for(z_prev, z, prediction) if step.stochastic else torch.zeros_like(z))
        z = step.apply(z, prediction, noises[-1])
    return Solved(noised[0], torch.stack(noises))


def _own_or_ddim(scheduler: Any, num_steps: int) -> str:
    """Return the class of the model's own sampler if it adds noise, and else DDIM's."""
    name = type(scheduler).__name__
    if name == DDIM or name not in SUPPORTED:
        return DDIM
    return name if any(step.stochastic for step in steps_for(scheduler, num_steps)) else DDIM
