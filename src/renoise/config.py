"""The settings of an inversion: frozen values, checked when they are made. Nothing here imports torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any

from renoise.errors import ConfigError

# No setting means anything beyond; it also keeps sums and products of settings finite.
LARGEST = 1e12


def _whole(value: Any, name: str, least: int) -> int:
    """A whole number, of Python's or numpy's."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return int(value)


def _number(value: Any, name: str, least: float, most: float = LARGEST) -> float:
    """A finite number, of Python's or numpy's."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigError(f"{name} must be a number, not {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not least <= number <= most:
        bounds = f"in [{least:g}, {most:g}]" if most < LARGEST else f"a finite number of at least {least:g}"
        raise ConfigError(f"{name} must be {bounds}, not {value!r}")
    return number


def _set(settings: Any, **values: Any) -> None:
    """Store checked values in a frozen dataclass that is being made."""
    for name, value in values.items():
        object.__setattr__(settings, name, value)


@dataclass(frozen=True)
class Renoising:
    """How often the network is rerun within one inverted step, and which estimates are averaged.

    Attributes:
        iterations: K >= 0, the renoising iterations; the network runs K + 1 times. 0 is plain sampler reversing.
        average: the half-open, 0-based range of predictions that are averaged with equal weights: (7, 10) with K = 9
            averages the last three of ten.
        weights: K + 1 numbers >= 0 in place of a range; they are normalised to sum to one.

    With neither `average` nor `weights` the last prediction alone is used.

    Raises:
        ConfigError: if both are given, or they do not fit the iterations.

    Example:
        >>> Renoising(iterations=2, average=(1, 3)).resolved_weights()
        (0.0, 0.5, 0.5)
    """

    iterations: int
    average: tuple[int, int] | None = None
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        _set(self, iterations=_whole(self.iterations, "iterations", 0))
        if self.average is not None and self.weights is not None:
            raise ConfigError("Renoising takes either average or weights, not both; leave one of them out")
        if self.average is not None:
            _set(self, average=self._checked_average(self.average))
        if self.weights is not None:
            _set(self, weights=self._checked_weights(self.weights))

    def _checked_average(self, average: Any) -> tuple[int, int]:
        if not isinstance(average, (tuple, list)) or len(average) != 2:
            raise ConfigError(f"average must be a pair (first, end) of prediction indices, not {average!r}")
        first, end = (_whole(x, "average", 0) for x in average)
        if not first < end <= self.passes:
            raise ConfigError(
                f"average=({first}, {end}) does not fit {self.iterations} iterations, which make the predictions 0 to "
                f"{self.iterations}; use a range within (0, {self.passes}) or at least {end - 1} iterations"
            )
        return first, end

    def _checked_weights(self, weights: Any) -> tuple[float, ...]:
        if not isinstance(weights, (tuple, list)) or len(weights) != self.passes:
            raise ConfigError(
                f"weights must be {self.passes} numbers, one for each of the {self.iterations} + 1 predictions, "
                f"not {weights!r}"
            )
        numbers = tuple(_number(w, "weights", 0.0) for w in weights)
        if sum(numbers) <= 0.0:
            raise ConfigError("weights must not all be zero; give weight to at least one prediction")
        return numbers

    @property
    def passes(self) -> int:
        """How often the network runs in one step, K + 1."""
        return self.iterations + 1

    def resolved_weights(self) -> tuple[float, ...]:
        """w_1 .. w_{K+1}, summing to one."""
        if self.weights is not None:
            return tuple(w / sum(self.weights) for w in self.weights)
        first, end = self.average if self.average is not None else (self.passes - 1, self.passes)
        return tuple(1.0 / (end - first) if first <= k < end else 0.0 for k in range(self.passes))

    def with_iterations(self, iterations: int) -> Renoising:
        """The same with another K: the weights where they fit it, the last prediction alone where they do not."""
        if self.average is not None and self.average[1] <= iterations + 1:
            return Renoising(iterations, average=self.average)
        if self.weights is not None and len(self.weights) == iterations + 1:
            return Renoising(iterations, weights=self.weights)
        return Renoising(iterations)


@dataclass(frozen=True)
class EditLosses:
    """Edit enhancement: gradient steps that keep each averaged prediction looking like noise (`renoise.editability`).

    Attributes:
        pair: weight lambda of the pair-correlation loss, at a latent of 64 x 64; scaled so that it means the same at
            every size.
        patch_kl: weight lambda of the patch divergence from the prediction at the noised clean latent.
        steps: gradient steps on each prediction.
        shifts: random shifts of the pair loss in each of them.
        released_procedure: do as the published code does instead of the paper: regularise every prediction from the
            averaging window's start on, average the unregularised ones, regularise that average once more, clip the
            divergence's gradient and leave the pair loss unscaled. Its random shifts may also be 0 and differ from
            channel to channel; here they are at least 1 and the same for all channels of an image.

    Raises:
        ConfigError: for a setting out of its range.

    Example:
        >>> EditLosses.released().pair
        20.0
    """

    pair: float = 10.0
    patch_kl: float = 0.055
    steps: int = 4
    shifts: int = 5
    released_procedure: bool = False

    def __post_init__(self) -> None:
        _set(
            self,
            pair=_number(self.pair, "pair", 0.0),
            patch_kl=_number(self.patch_kl, "patch_kl", 0.0),
            steps=_whole(self.steps, "steps", 1),
            shifts=_whole(self.shifts, "shifts", 1),
        )

    @classmethod
    def released(cls) -> EditLosses:
        """The settings and the procedure of the published code for SDXL Turbo."""
        return cls(pair=20.0, patch_kl=0.065, released_procedure=True)


@dataclass(frozen=True)
class NoiseCorrection:
    """How far the noise of a stochastic step moves towards the one with which the step is exact.

    Attributes:
        amount: the share of the way, in [0, 1].
        limit: the largest move, in root mean square for each element; None is no limit.
        moves: make so many moves of a fixed length instead, as the published code does; nearer to the exact noise than
            one of them, they step over it and back.
        move_length: the L2 length of each of them.

    Raises:
        ConfigError: for a setting out of its range.

    Example:
        >>> NoiseCorrection.released().moves
        10
    """

    amount: float = 1.0
    limit: float | None = None
    moves: int | None = None
    move_length: float = 1.8

    def __post_init__(self) -> None:
        _set(
            self,
            amount=_number(self.amount, "amount", 0.0, 1.0),
            limit=None if self.limit is None else _number(self.limit, "limit", 0.0),
            moves=None if self.moves is None else _whole(self.moves, "moves", 1),
            move_length=_number(self.move_length, "move_length", 0.0),
        )
        if self.limit == 0.0:
            raise ConfigError("limit must be above 0, or None for no limit; amount=0 moves nothing")
        if self.moves is not None and (self.amount != 1.0 or self.limit is not None):
            raise ConfigError("moves of a fixed length take neither amount nor limit; leave them out")

    @classmethod
    def released(cls) -> NoiseCorrection:
        """The published code's ten moves of L2 length 1.8, whatever the latent's size."""
        return cls(moves=10)


@dataclass(frozen=True)
class InversionConfig:
    """Everything that decides an inversion but the image, the prompt and the model.

    Attributes:
        num_steps: length of the sampler's schedule.
        strength: the share of the schedule that is inverted, in (0, 1]; below 1 the noisiest steps are left out and
            the edit stays nearer to the image.
        guidance_scale: guidance during inversion, as the model's pipeline takes it: classifier-free guidance, of which
            1 (or less) is none, or the value that networks with guidance built in (LCM, Flux dev) are told.
        seed: of the sampler's noises; every image of a batch draws from a generator of its own with this seed.
        eta: DDIM's eta or TCD's gamma, in [0, 1]; None is 0 and 0.3.
        renoising: the iterations and weights of every step.
        renoising_low_noise: what replaces `renoising` at timesteps below `low_noise_below`; None is the same.
        low_noise_below: that timestep, as the scheduler counts them (with 1000 in all, as every supported family has).
        edit_losses: edit enhancement, or None for none.
        noise_correction: correct the noises of stochastic steps, or None to keep them as drawn.
        true_cfg_scale: classifier-free guidance during inversion of models that have another kind of guidance built in
            (Flux); 1 is none.

    Raises:
        ConfigError: for a setting out of its range.

    Example:
        >>> InversionConfig(num_steps=50, renoising=Renoising(1)).passes_at(500)
        2
    """

    num_steps: int = 4
    strength: float = 1.0
    guidance_scale: float = 1.0
    seed: int = 0
    eta: float | None = None
    renoising: Renoising = Renoising(iterations=9, average=(7, 10))
    renoising_low_noise: Renoising | None = None
    low_noise_below: float = 250
    edit_losses: EditLosses | None = None
    noise_correction: NoiseCorrection | None = None
    true_cfg_scale: float = 1.0

    def __post_init__(self) -> None:
        _set(
            self,
            num_steps=_whole(self.num_steps, "num_steps", 1),
            strength=_number(self.strength, "strength", 0.0, 1.0),
            guidance_scale=_number(self.guidance_scale, "guidance_scale", 0.0),
            seed=_whole(self.seed, "seed", 0),
            eta=None if self.eta is None else _number(self.eta, "eta", 0.0, 1.0),
            low_noise_below=_number(self.low_noise_below, "low_noise_below", 0.0),
            true_cfg_scale=_number(self.true_cfg_scale, "true_cfg_scale", 0.0),
        )
        if self.seed >= 2**63:
            raise ConfigError(f"seed must be below 2**63, not {self.seed}")
        if self.strength == 0.0:
            raise ConfigError("strength must be above 0 and at most 1, not 0")
        if not isinstance(self.renoising, Renoising):
            raise ConfigError(f"renoising must be a Renoising, not {self.renoising!r}")
        if self.renoising_low_noise is not None and not isinstance(self.renoising_low_noise, Renoising):
            raise ConfigError(f"renoising_low_noise must be a Renoising or None, not {self.renoising_low_noise!r}")
        if self.edit_losses is not None and not isinstance(self.edit_losses, EditLosses):
            raise ConfigError(f"edit_losses must be an EditLosses or None, not {self.edit_losses!r}")
        if self.noise_correction is not None and not isinstance(self.noise_correction, NoiseCorrection):
            raise ConfigError(f"noise_correction must be a NoiseCorrection or None, not {self.noise_correction!r}")

    def renoising_at(self, timestep: float) -> Renoising:
        """The renoising that serves a timestep."""
        low = self.renoising_low_noise is not None and timestep < self.low_noise_below
        return self.renoising_low_noise if low and self.renoising_low_noise is not None else self.renoising

    def passes_at(self, timestep: float, *, stochastic: bool = False) -> int:
        """How often the network runs in the step at `timestep`, guidance not counted."""
        reference = self.edit_losses is not None and self.edit_losses.patch_kl > 0.0
        correction = self.noise_correction is not None and self.noise_correction.amount > 0.0 and stochastic
        return self.renoising_at(timestep).passes + int(reference) + int(correction)

    def with_iterations(self, iterations: int) -> InversionConfig:
        """The same with another number of renoising iterations at every timestep (see `Renoising.with_iterations`)."""
        low = self.renoising_low_noise
        return replace(
            self,
            renoising=self.renoising.with_iterations(iterations),
            renoising_low_noise=None if low is None else low.with_iterations(iterations),
        )

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> InversionConfig:
        """The settings that `dataclasses.asdict` made a record of.

        Raises:
            ConfigError: if one of them is out of its range.
            LookupError, TypeError: if it is no such record.
        """
        values = dict(record)
        for name, part in _PARTS.items():
            if values[name] is not None:
                values[name] = part(**values[name])
        return cls(**values)

    def reversing(self) -> InversionConfig:
        """The same schedule with plain sampler reversing: no renoising, no edit losses, no noise correction.

        Example:
            >>> InversionConfig(renoising=Renoising(9)).reversing().passes_at(999)
            1
        """
        return replace(self, renoising=Renoising(0), renoising_low_noise=None, edit_losses=None, noise_correction=None)

    @classmethod
    def for_pipeline(cls, pipe: Any, variant: str = "paper") -> InversionConfig:
        """The preset for a diffusers pipeline, chosen from its class, its scheduler and its adapters.

        Args:
            pipe: a diffusers pipeline.
            variant: one of `renoise.defaults.VARIANTS`: "paper", its settings (how far the noise correction moves,
                which it does not tell, is this project's, as are all of flow models); "released", those of its
                published code (for models of many steps without the edit losses that it applies below timestep 250);
                or "reverse", plain sampler reversing with the same number of steps.

        Raises:
            ConfigError: if the variant is unknown.
        """
        from renoise.defaults import preset_for  # which is made of these settings

        return preset_for(pipe, variant)


_PARTS: Mapping[str, Any] = MappingProxyType(
    {
        "renoising": Renoising,
        "renoising_low_noise": Renoising,
        "edit_losses": EditLosses,
        "noise_correction": NoiseCorrection,
    }
)
