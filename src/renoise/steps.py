"""One step of a single-step sampler, as a value.

Every such sampler maps the latent z_t, the raw network output m and, where it is stochastic, a noise n affinely to the
next, cleaner latent:

    z_{t-1} = phi z_t + psi m + rho n                     (apply)
    z_t     = (z_{t-1} - psi m - rho n) / phi             (invert)
    n       = (z_{t-1} - phi z_t - psi m) / rho           (noise_for)

Since m = m(z_t, t, c) depends on z_t, the inverse is implicit: `renoise.solvers` solves it. The coefficients come
from `renoise.schedulers`; this module knows nothing but tensors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from renoise.errors import SchedulerError

# Below this |phi| the inverse amplifies every error more than a thousandfold: float32 has nothing left to say.
SMALLEST_INVERTIBLE_PHI = 1e-3

# A deterministic step that forgets the latent can be inverted by what the network makes of the image in it. From this
# noise level on (sigma / alpha) there is no image left in it to find.
FAINTEST_IMAGE = 100.0


def noise_level(alpha: float, sigma: float) -> float:
    """Return sigma / alpha, by which latents alpha z_0 + sigma eps of different samplers' scales can be compared."""
    return sigma / alpha if alpha else math.inf


@dataclass(frozen=True)
class Step:
    """The coefficients of one sampler step.

    Attributes:
        phi: factor of the latent z_t.
        psi: factor of the raw network output m (epsilon, v, x0 or a flow velocity).
        rho: factor of the noise n; 0 for a deterministic step.
        timestep: the timestep that the network is told, in the scheduler's own units.
        input_scale: factor of the latent at the network's input; 1 / sqrt(sigma^2 + 1) for Euler-type samplers, else 1.
        alpha: factor of the clean latent z_0 in z_t = alpha z_0 + sigma eps, in the sampler's own scale.
        sigma: factor of the noise eps there.
        x0_z, x0_m: the clean latent that a prediction implies is x0 = x0_z z_t + x0_m m.
        eps_z, eps_m: the noise that it implies is eps = eps_z z_t + eps_m m.
        stage: the timestep by which settings place the step, counted up to 1000 as Stable Diffusion counts them; None
            where the network's own timestep is such a number.
        leads_to: the timestep at which the step ends, which networks of flow maps are told as well; None for others.

    Examples:
        >>> import torch
        >>> step = Step(phi=2.0, psi=-1.0, rho=0.0, timestep=500.0)
        >>> z = step.apply(torch.ones(1), torch.ones(1))
        >>> step.invert(z, torch.ones(1))
        tensor([1.])
    """

    phi: float
    psi: float
    rho: float
    timestep: float
    input_scale: float = 1.0
    alpha: float = 1.0
    sigma: float = 1.0
    x0_z: float = 1.0
    x0_m: float = -1.0
    eps_z: float = 0.0
    eps_m: float = 1.0
    stage: float | None = None
    leads_to: float | None = None

    @property
    def placed_at(self) -> float:
        """The timestep by which settings such as `InversionConfig.low_noise_below` place the step."""
        return self.timestep if self.stage is None else self.stage

    @property
    def stochastic(self) -> bool:
        """Whether the step adds noise."""
        return self.rho > 0.0

    @property
    def invertible(self) -> bool:
        """Whether z_t can be recovered from z_{t-1}: phi is far enough from 0."""
        return abs(self.phi) >= SMALLEST_INVERTIBLE_PHI

    @property
    def solvable(self) -> bool:
        """Whether z_t can be found for which the step leads to z_{t-1}, if only by what the network makes of z_t."""
        return self.invertible or (not self.stochastic and self.noise_level < FAINTEST_IMAGE and self.arrival[0] > 0.0)

    @property
    def forgets(self) -> bool:
        """Whether the step's noise has to be solved for, because z_{t-1} says nothing about z_t."""
        return self.stochastic and not self.invertible

    def apply(self, z: Tensor, prediction: Tensor, noise: Tensor | None = None) -> Tensor:
        """Take the sampler's step, from z_t to z_{t-1}.

        Args:
            z: the latent z_t, any shape.
            prediction: the network's raw output at z_t, of the same shape.
            noise: standard normal noise of the same shape; needed only by a stochastic step.
        """
        return self.phi * z + self._drift(prediction, noise)

    def invert(self, z_prev: Tensor, prediction: Tensor, noise: Tensor | None = None) -> Tensor:
        """Undo the step, from z_{t-1} to z_t, taking `prediction` for the network's output at z_t.

        Raises:
            SchedulerError: if phi is (nearly) 0, so that z_{t-1} says nothing about z_t.
        """
        self.require_invertible()
        return (z_prev - self._drift(prediction, noise)) / self.phi

    def noise_for(self, z_prev: Tensor, z: Tensor, prediction: Tensor) -> Tensor:
        """Return the noise with which the step leads from z_t to z_{t-1} exactly.

        Raises:
            SchedulerError: if the step is deterministic.
        """
        if not self.stochastic:
            raise SchedulerError(f"the step at timestep {self.timestep:g} adds no noise, so none can be solved for")
        return (z_prev - self.phi * z - self.psi * prediction) / self.rho

    def needed(self, z_prev: Tensor, z: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the prediction with which the step leads from z_t to z_{t-1} exactly.

        Args:
            z_prev: z_{t-1}, any shape.
            z: z_t, of the same shape.
            noise: the step's noise; needed only by a stochastic step.

        Raises:
            SchedulerError: if the step does not depend on the prediction.
        """
        if self.psi == 0.0:
            raise SchedulerError(f"the step at timestep {self.timestep:g} does not depend on the network's prediction")
        rest = z_prev - self.phi * z
        return (rest - self.rho * noise if self.stochastic and noise is not None else rest) / self.psi

    @property
    def noise_level(self) -> float:
        """The noise level of the latents at which the step starts."""
        return noise_level(self.alpha, self.sigma)

    @property
    def noise_share(self) -> float:
        """The share of noise in the latents at which the step starts, sigma / (alpha + sigma), in [0, 1]."""
        return self.sigma / (self.alpha + self.sigma)

    @property
    def arrival(self) -> tuple[float, float]:
        """Where the step leads without its noise, as (alpha, sigma): z_{t-1} = alpha x0 + sigma eps + rho n."""
        determinant = self.x0_z * self.eps_m - self.x0_m * self.eps_z
        return (
            (self.phi * self.eps_m - self.psi * self.eps_z) / determinant,
            (self.psi * self.x0_z - self.phi * self.x0_m) / determinant,
        )

    def towards(self, alpha: float, sigma: float) -> Step:
        """Return the deterministic step (DDIM's, Euler's) from this noise level to another, alpha x0 + sigma eps."""
        return replace(
            self,
            phi=alpha * self.x0_z + sigma * self.eps_z,
            psi=alpha * self.x0_m + sigma * self.eps_m,
            rho=0.0,
        )

    def renewing(self, eta: float) -> Step:
        """Return the stochastic twin of a deterministic step: it leads to the same noise level, partly with new noise.

        With l and l' for the noise levels sigma / alpha before and after the step, the deviation of the new noise is

            rho = eta alpha' l' sqrt(1 - (l' / l)^2)

        which is DDIM's eta (Song et al., 2021, arXiv 2010.02502, eq. 16) for every sampler's scale. Euler's step with
        eta = 1 is that of Euler ancestral.

        Args:
            eta: the share of the deviation that a step of ancestral sampling has, in [0, 1].

        Examples:
            >>> step = Step(phi=1.0, psi=-1.0, rho=0.0, timestep=500.0, sigma=2.0, x0_m=-2.0)  # from level 2 to level 1
            >>> twin = step.renewing(1.0)
            >>> round(twin.rho, 3), round(twin.arrival[1], 3), step.arrival[1]
            (0.866, 0.5, 1.0)
        """
        alpha, sigma = self.arrival
        if sigma <= 0.0 or eta == 0.0:
            return self
        ratio = noise_level(alpha, sigma) / self.noise_level
        rho = eta * sigma * math.sqrt(max(1.0 - ratio**2, 0.0))
        return replace(self.towards(alpha, math.sqrt(sigma**2 - rho**2)), rho=rho)

    def restated(self, of_latent: float, of_output: float) -> Step:
        """Return the same step for a network whose output F stands for the prediction m = of_latent z + of_output F.

        Args:
            of_latent: the factor of the latent z_t.
            of_output: the factor of the network's output.

        Examples:
            >>> step = Step(phi=1.0, psi=-0.5, rho=0.0, timestep=500.0)
            >>> other = step.restated(0.5, 2.0)
            >>> other.phi, other.psi
            (0.75, -1.0)
        """
        return replace(
            self,
            phi=self.phi + self.psi * of_latent,
            psi=self.psi * of_output,
            x0_z=self.x0_z + self.x0_m * of_latent,
            x0_m=self.x0_m * of_output,
            eps_z=self.eps_z + self.eps_m * of_latent,
            eps_m=self.eps_m * of_output,
        )

    def add_noise(self, z_0: Tensor, noise: Tensor) -> Tensor:
        """Add noise to the clean latent up to this step's level, in the sampler's own scale."""
        return self.alpha * z_0 + self.sigma * noise

    def implied_noise(self, z: Tensor, prediction: Tensor) -> Tensor:
        """Return the noise that a prediction at z_t implies: itself for epsilon prediction, else a mix with z_t."""
        return self.eps_z * z + self.eps_m * prediction

    def prediction_from(self, z: Tensor, implied: Tensor) -> Tensor:
        """Return the prediction at z_t that implies a noise: the inverse of `implied_noise`."""
        return (implied - self.eps_z * z) / self.eps_m

    def require_solvable(self) -> None:
        """Raise a `SchedulerError` if neither z_{t-1} nor the network says anything about z_t (see `solvable`)."""
        if not self.solvable:
            self.require_invertible()

    def require_invertible(self) -> None:
        """Raise a `SchedulerError` if the step cannot be inverted."""
        if not self.invertible:
            raise SchedulerError(
                f"the sampler step at timestep {self.timestep:g} cannot be inverted: it multiplies the latent by "
                f"{self.phi:.2g}, so the cleaner latent says nothing about the noisier one",
                remedy="use more sampler steps",
            )

    def _drift(self, prediction: Tensor, noise: Tensor | None) -> Tensor:
        drift = self.psi * prediction
        if not self.stochastic:
            return drift
        if noise is None:
            raise SchedulerError(f"the step at timestep {self.timestep:g} is stochastic and needs a noise tensor")
        return drift + self.rho * noise
