"""The settings of an inversion: frozen values, checked when they are made. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

from renoise.backbones import PipelineBackbone, family_of
from renoise.errors import Argument, ConfigError
from renoise.escaping import seen
from renoise.levels import descending, require_one_length, steps_in
from renoise.method_settings import PAPER, EditLosses, NoiseCorrection, Walk
from renoise.named_presets import NamedPreset, held, require_sampled, split
from renoise.preset_records import PRESET_RECORDS
from renoise.ranges import LARGEST_SEED, number, store, truth, whole
from renoise.records import read_settings
from renoise.schedulers import is_deterministic
from renoise.solvers import Renoising, Solver, require_solver, solver_from, solver_record

__all__ = [
    "DEFAULT_VARIANT",
    "FEW_STEPS",
    "VARIANTS",
    "EditLosses",
    "InversionConfig",
    "NoiseCorrection",
    "Renoising",
    "Walk",
    "presets",
]


@dataclass(frozen=True)
class InversionConfig:
    """Everything that decides an inversion but the image, the prompt and the model.

    Attributes:
        num_steps: the length of the sampler's schedule.
        strength: the share of the schedule that is inverted, in (0, 1]. Below 1 the noisiest steps are left out, and
            the edit stays nearer to the image.
        guidance_scale: the guidance during inversion, as the model's pipeline takes it: classifier-free guidance, of
            which 1 (or less) is none for most models and 0 for some (Z-Image, Krea 2), whose presets have it so; or the
            value that networks with guidance built in (LCM, Flux dev) are told.
        seed: seeds the sampler's noises; every image of a batch draws from a separate generator with this seed.
        eta: how much of the noise a deterministic sampler renews in each step, in [0, 1], as DDIM's eta does (see
            `renoise.steps.Step.renewing`), or TCD's gamma; None is 0, and 0.3 for TCD.
        renoising: the iterations and weights of every step.
        renoising_low_noise: replaces `renoising` at timesteps below `low_noise_below`; None replaces nothing.
        low_noise_below: this timestep, as the scheduler counts them, up to 1000; steps of samplers that count in
            another way (EDM) are placed at the timestep of Stable Diffusion with their noise level.
        edit_losses: edit enhancement, or None for none.
        noise_correction: corrects the noises of stochastic steps; None keeps them as drawn.
        true_cfg_scale: classifier-free guidance during inversion of models that have another form of guidance built in
            (Flux); 1 is none.
        solver: solves every step in place of the paper's iteration, which `renoising` and `renoising_low_noise`
            describe; None is the paper's iteration. See `renoise.solvers.Solver`.
        timesteps: the timesteps of the steps, the noisiest first, for samplers whose `set_timesteps` takes them; None
            is the sampler's own schedule. `num_steps` is their number, whatever is given for it.
        sigmas: the noise levels of the steps instead, before any shift. A 0 at the end is no step.
        clip_skip: so many of the last layers of the CLIP text encoders are left out, as diffusers counts them (one less
            than other programs do); None leaves out none.
        guidance_rescale: how far guided predictions are brought back to the deviation of unguided ones (Lin et al.,
            2023, arXiv 2305.08891, section 3.4), in [0, 1].
        walk: how the steps are walked up; None is the paper's way, one by one with the noises as drawn.

    Raises:
        ConfigError: for a setting out of its range.

    Examples:
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
    solver: Solver | None = None
    timesteps: Sequence[int | float] | None = None
    sigmas: Sequence[int | float] | None = None
    clip_skip: int | None = None
    guidance_rescale: float = 0.0
    walk: Walk | None = None

    def __post_init__(self) -> None:
        timesteps, sigmas = descending(self.timesteps, "timesteps"), descending(self.sigmas, "sigmas")
        listed = steps_in(timesteps, sigmas)
        store(
            self,
            num_steps=whole(self.num_steps if listed is None else listed, "num_steps", 1),
            timesteps=timesteps,
            sigmas=sigmas,
            clip_skip=None if self.clip_skip is None else whole(self.clip_skip, "clip_skip", 0),
            guidance_rescale=number(self.guidance_rescale, "guidance_rescale", 0.0, 1.0),
            strength=number(self.strength, Argument("strength", of="schedule"), 0.0, 1.0),
            guidance_scale=number(self.guidance_scale, "guidance_scale", 0.0),
            seed=whole(self.seed, "seed", 0, LARGEST_SEED),
            eta=None if self.eta is None else number(self.eta, "eta", 0.0, 1.0),
            low_noise_below=number(self.low_noise_below, "low_noise_below", 0.0),
            true_cfg_scale=number(self.true_cfg_scale, "true_cfg_scale", 0.0),
        )
        if self.strength == 0.0:
            raise ConfigError(Argument("strength", of="schedule"), " must be above 0 and at most 1, not 0")
        if self.renoising is None:
            raise ConfigError(Argument("renoising"), " must be a Renoising, not None")
        for name, part in _PARTS.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, part):
                raise ConfigError(
                    Argument(name), f" must be of class {part.__name__}, or None for none, not {seen(value)}"
                )
        if self.solver is not None:
            require_solver(self.solver)
            whole(self.solver.max_passes, "max_passes", 1)

    @property
    def walking(self) -> Walk:
        """How the steps are walked up: `walk`, or the paper's way."""
        return PAPER if self.walk is None else self.walk

    def solver_at(self, timestep: float) -> Solver:
        """Return what solves the step at a timestep."""
        return self.renoising_at(timestep) if self.solver is None else self.solver

    def renoising_at(self, timestep: float) -> Renoising:
        """Return the renoising that serves a timestep."""
        if self.renoising_low_noise is not None and timestep < self.low_noise_below:
            return self.renoising_low_noise
        return self.renoising

    def passes_at(self, timestep: float, *, stochastic: bool = False) -> int:
        """Return the most predictions of the network in the step at `timestep`; guidance doubles their passes.

        It is an upper bound, for progress bars and for lists of what settings cost. What an inversion took is counted:
        see `renoise.Inversion.network_passes`.
        """
        reference = self.edit_losses is not None and self.edit_losses.patch_kl > 0.0
        correction = self.noise_correction is not None and self.noise_correction.amount > 0.0 and stochastic
        return self.solver_at(timestep).max_passes + int(reference) + int(correction)

    def with_iterations(self, iterations: int) -> InversionConfig:
        """Return the same with another number of renoising iterations at every timestep, by the paper's iteration.

        See `Renoising.with_iterations` for what happens to the weights.
        """
        low = self.renoising_low_noise
        return replace(
            self,
            renoising=self.renoising.with_iterations(iterations),
            renoising_low_noise=None if low is None else low.with_iterations(iterations),
            solver=None,
            walk=None,
            eta=self._own_eta,
        )

    def reversing(self) -> InversionConfig:
        """Return the same schedule with plain sampler reversing: no renoising, edit losses and noise correction.

        Examples:
            >>> InversionConfig(renoising=Renoising(9)).reversing().passes_at(999)
            1
        """
        return replace(
            self,
            renoising=Renoising(0),
            renoising_low_noise=None,
            edit_losses=None,
            noise_correction=None,
            solver=None,
            walk=None,
            eta=self._own_eta,
        )

    @property
    def _own_eta(self) -> float | None:
        """The eta of these settings on a walk of solved steps: that of a direct walk belongs to the walk."""
        return None if self.walking.direct else self.eta

    def overridden(
        self,
        *,
        num_steps: int | None = None,
        iterations: int | None = None,
        strength: float | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
        edit_losses: bool | None = None,
        noise_correction: float | None = None,
        losses: EditLosses | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        clip_skip: int | None = None,
        guidance_rescale: float | None = None,
    ) -> InversionConfig:
        """Return the same with settings as people give them: None leaves a setting as it is.

        Args:
            num_steps: see the attribute.
            iterations: the renoising iterations at every timestep. 0 is plain sampler reversing, without edit losses
                and noise correction unless they are asked for here.
            strength: see the attribute.
            guidance_scale: see the attribute.
            seed: see the attribute.
            edit_losses: whether to keep the predictions looking like noise.
            noise_correction: how far noises move, in [0, 1]; 0 switches the correction off.
            losses: the edit losses to take where these settings have none; None takes the defaults of `EditLosses`.
            timesteps: see the attribute.
            sigmas: see the attribute.
            clip_skip: see the attribute.
            guidance_rescale: see the attribute.

        Raises:
            ConfigError: for a setting out of its range.

        Examples:
            >>> InversionConfig(num_steps=50).overridden(iterations=0, noise_correction=0.5).noise_correction.amount
            0.5
        """
        config = self
        if iterations is not None:
            iterations = whole(iterations, "iterations", 0)
            config = config.with_iterations(iterations) if iterations else config.reversing()
        if edit_losses is not None:
            chosen = self.edit_losses or losses or EditLosses()
            config = replace(config, edit_losses=chosen if truth(edit_losses, "edit_losses") else None)
        if noise_correction is not None:
            amount = number(noise_correction, "noise_correction", 0.0, 1.0)
            # A forward walk solves for noises: there None is all the way, and 0 leaves them as the chain drew them.
            kept = amount > 0.0 or config.walking.forward
            config = replace(config, noise_correction=NoiseCorrection(amount) if kept else None)
        if any(setting is not None for setting in (num_steps, timesteps, sigmas)):
            require_one_length(num_steps, timesteps, sigmas)
            config = replace(config, timesteps=timesteps, sigmas=sigmas)
        others: dict[str, Any] = {"num_steps": num_steps, "strength": strength, "guidance_scale": guidance_scale}
        others |= {"seed": seed, "clip_skip": clip_skip, "guidance_rescale": guidance_rescale}
        return replace(config, **{name: value for name, value in others.items() if value is not None})

    def to_record(self) -> dict[str, Any]:
        """Return the settings as JSON-able data, from which `from_record` makes equal ones.

        Raises:
            ConfigError: if the solver has no name in records (see `renoise.solvers.SOLVERS`).
        """
        record = asdict(replace(self, solver=None))
        del record["solver"]
        # What came later is recorded only where it is used: other records are those of earlier versions.
        record = {name: value for name, value in record.items() if name not in _LATER or value != _LATER[name]}
        return record if self.solver is None else {**record, "solver": solver_record(self.solver)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> InversionConfig:
        """Return the settings that `to_record` made a record of.

        Raises:
            ConfigError: if it is no such record, a setting is out of its range, or its solver is unknown.
        """
        held = record if isinstance(record, Mapping) else {}
        parts = {name: part for name, part in _PARTS.items() if name in held or name not in _LATER}
        return read_settings(record, cls, parts, lambda kind, solver: solver_from(solver))

    @classmethod
    def _from_settings(cls, record: Mapping[str, Any]) -> InversionConfig:
        """Return the settings of a record; what it leaves out has its default."""
        values = dict(record)
        for name, part in _PARTS.items():
            if values.get(name) is not None:
                values[name] = part(**values[name])
        if values.get("solver") is not None:
            values["solver"] = solver_from(values["solver"])
        return cls(**values)

    @classmethod
    def for_pipeline(cls, pipe: Any, variant: str | None = None) -> InversionConfig:
        """Return the preset for a diffusers pipeline, chosen from its class, its scheduler and its adapters.

        Args:
            pipe: a diffusers pipeline.
            variant: "edit" for what edits are best with, one pass a step, with what the noise alone misses kept beside
                it; "fast", "balanced" or "exact" for noise that draws the image again by itself, from the fewest passes
                to the truest reconstruction; "paper" for the paper's settings (it does not tell how far the noise
                correction moves, so that this is the project's choice, as are all settings of flow models); "released"
                for those of its published code (for models of many steps without the edit losses that it applies below
                timestep 250); or "reverse" for plain sampler reversing. The number of steps is the same, but for
                "edit", which takes at most 20. None is `DEFAULT_VARIANT`. The name of a model of a few steps
                (`renoise.named_presets.NAMED`), alone or with one of these after a colon, stands for its settings:
                "sdxl-lightning-4", "sdxl-lightning-4:exact". A pipeline that `Editor.from_pretrained` loaded as such a
                model has that model's settings anyway.

        Raises:
            ConfigError: if the variant is unknown, or is of a model that the pipeline is not sampled as.

        Examples:
            >>> config = InversionConfig.for_pipeline(pipe, "fast")  # doctest: +SKIP
        """
        model, variant = split(variant, VARIANTS)
        if getattr(pipe, "scheduler", None) is None:
            raise ConfigError(Argument("pipe"), f" must be a diffusers pipeline with a scheduler, not {seen(pipe)}")
        family = family_of(pipe) or PipelineBackbone
        if model is not None:
            require_sampled(model, pipe)
        settings = _of_pipeline(pipe, family, held(pipe) if model is None else model)
        own = settings.variant(DEFAULT_VARIANT if variant is None else variant, flow=family.flow)
        if own.eta is not None and not is_deterministic(pipe.scheduler):
            own = replace(own, eta=None)  # the sampler is stochastic already
        guidance = family.inversion_guidance(pipe)
        return own if guidance is None else replace(own, guidance_scale=guidance)

    def variant(self, name: str, *, flow: bool = False) -> InversionConfig:
        """Return what a model's settings of the paper become under another preset, with as many steps.

        Args:
            name: one of `VARIANTS`.
            flow: whether the model is one of flow matching.

        Examples:
            >>> presets["sdxl-turbo"].variant("reverse").passes_at(999)
            1
        """
        if name == "paper":
            return self
        if name == "reverse":
            return self.reversing()
        kind = "few-step" if self.few_steps else "flow" if flow else "many-step"
        if name == "released":
            own = presets["released" if self.few_steps else "released-many-step"]
        else:
            own = presets[f"{name}-{kind}"]
        if name == DEFAULT_VARIANT and own.num_steps < self.num_steps and not self.few_steps:
            return own
        steps: dict[str, Any] = {"num_steps": self.num_steps, "timesteps": self.timesteps, "sigmas": self.sigmas}
        return own if all(getattr(own, key) == value for key, value in steps.items()) else replace(own, **steps)

    @property
    def few_steps(self) -> bool:
        """Whether the schedule is one of a distilled model, whose guidance is built in."""
        return self.num_steps <= FEW_STEPS


def _of_pipeline(pipe: Any, family: type[PipelineBackbone], model: NamedPreset | None) -> InversionConfig:
    """Return the settings of the paper for a pipeline, or for the model of a few steps that it is said to be."""
    if model is not None:
        # Timesteps are those of the model's own sampler, in place of which another may have been asked for.
        timesteps = model.timesteps if model.required_of(pipe.scheduler) is None else None
        return replace(presets[model.settings], num_steps=model.steps, timesteps=timesteps)
    name = family.preset_for(pipe)
    if name not in presets:
        raise ConfigError(
            f"the family of {type(pipe).__name__} asks for the preset {name!r}, which there is not",
            argument="config",
            remedy=f"let its preset_for return one of {', '.join(presets)}, or give a config",
        )
    return presets[name]


_PARTS: Mapping[str, Any] = MappingProxyType(
    {
        "renoising": Renoising,
        "renoising_low_noise": Renoising,
        "edit_losses": EditLosses,
        "noise_correction": NoiseCorrection,
        "walk": Walk,
    }
)

# Settings that came after the first files were written, with the values that change nothing.
_LATER: Mapping[str, Any] = MappingProxyType(
    {"timesteps": None, "sigmas": None, "clip_skip": None, "guidance_rescale": 0.0, "walk": None}
)
# The settings that a preset can have (see `InversionConfig.for_pipeline`), the project's own first, and those that it
# has without being asked.
OWN_VARIANTS = ("edit", "fast", "balanced", "exact")
VARIANTS = (*OWN_VARIANTS, "paper", "released", "reverse")
DEFAULT_VARIANT = "edit"
# The one to begin with where parts of the method are asked for that no direct walk has.
SOLVED_VARIANT = "balanced"
# Schedules that are no longer than this belong to distilled models.
FEW_STEPS = 8

# The settings that suit models, by name: presets.toml says where each comes from.
presets: Mapping[str, InversionConfig] = MappingProxyType(
    {name: InversionConfig._from_settings(record) for name, record in PRESET_RECORDS.items()}
)
