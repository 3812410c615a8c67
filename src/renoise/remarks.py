"""Warnings about settings that were given and have no effect, so that none is passed over without a word."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from renoise import modes, prompt_syntax
from renoise.backbones.base import Backbone
from renoise.config import VARIANTS, InversionConfig, NoiseCorrection, Walk
from renoise.errors import Argument, ConvergenceWarning, IgnoredSettingWarning, Part, RenoiseWarning
from renoise.loading.pipelines import load_pipeline
from renoise.schedulers import is_flow
from renoise.solvers import CONVERGED
from renoise.steps import Step

_DEFAULTS = InversionConfig()
# What diffusers' loading takes besides the parts and settings of a pipeline: it passes over other names.
_LOADING = (
    *("cache_dir", "custom_pipeline", "custom_revision", "device_map", "disable_mmap", "force_download"),
    *("load_connected_pipeline", "local_files_only", "low_cpu_mem_usage", "max_memory", "offload_folder"),
    *("offload_state_dict", "proxies", "quantization_config", "revision", "token", "trust_remote_code"),
    *("use_flashpack", "use_onnx", "use_safetensors", "variant", "provider", "provider_options", "sess_options"),
)
# What it takes for single files alone.
_LOADING_FILES = (
    *("config", "original_config", "original_config_file", "scaling_factor", "load_safety_checker"),
    *("scheduler_type", "prediction_type"),
)
# Edits that keep the source's latents blend noises, which have to be of one level. On every tenth held-out image the
# noises of the bundled models' inversions have at most 1.03 times the deviation of their level, but at least 2.15 times
# by the paper's method on samplers that add noise, and of those such edits make garbage.
_LOUD = 1.5
# A flow's timestep is its noise level in thousands; further apart than this they are of different schedules.
_APART = 1e-3

Ignored = Iterator[tuple[Sequence[Part], Part | tuple[Part, ...]]]


@dataclass(frozen=True)
class Given:
    """What a caller gave beside the settings.

    Attributes:
        negative: whether a negative prompt or its embeddings came.
        embeds: whether embeddings came in place of the prompt.
        fit: how images are to be fitted.
        fitted: whether what came needs no fitting.
        generator: whether generators came.
        noise: whether noises came.
        preset: whether the settings are the model's preset, since none came.
    """

    negative: bool = False
    embeds: bool = False
    fit: str = "crop"
    fitted: bool = False
    generator: bool = False
    noise: bool = False
    preset: bool = False


def on_loading(pipe: Any, options: Iterable[str], *, file: bool) -> None:
    """Warn of options that loading a pipeline passes over.

    Args:
        pipe: the loaded pipeline.
        options: the names of the options that were given.
        file: whether it was loaded from a single file.
    """
    known = {*_LOADING, *(_LOADING_FILES if file else ())}
    for function in (load_pipeline, type(pipe).__init__):
        known |= set(inspect.signature(function).parameters)
    for name in options:
        if name not in known:
            why = "is for single files: it" if name in _LOADING_FILES else "is no option of loading this model: it"
            warnings.warn(IgnoredSettingWarning(Argument(name), f" {why} has no effect"), stacklevel=3)


def on_inverting(pipe: Any, backbone: Backbone, config: InversionConfig, steps: Sequence[Step], given: Given) -> None:
    """Warn of what has no effect on an inversion.

    Args:
        pipe: the pipeline.
        backbone: of its family.
        config: the settings.
        steps: the sampler's steps that they lead to.
        given: what came beside them.
    """
    ignored = [*_of_guidance(backbone, config, given)]
    if given.negative and not backbone.guides(config.guidance_scale, config.true_cfg_scale):
        remedy = ("edits of it take it where they are guided: leave ", Argument("negative_prompt"), " to them")
        ignored.append(((Argument("negative_prompt"), " has no effect on an inversion without guidance"), remedy))
    if not given.preset:
        guided = backbone.guides(config.guidance_scale, config.true_cfg_scale)
        presets = [InversionConfig.for_pipeline(pipe, variant) for variant in VARIANTS]
        ignored += _of_config(pipe, config, steps, presets)
        ignored += _of_walk(config, steps, presets, guided=guided)
    ignored += _of_random_numbers(config, steps, given, losses=_losses(backbone, config))
    ignored += _of_fit(given)
    _say(ignored)
    if config.guidance_scale == 1.0 and backbone.unguided == 0.0 and backbone.guides(1.0, 1.0):
        told = (Argument("guidance_scale", 1.0), " is guidance with this model, whose pipelines take 0 for none")
        _warn(*told, remedy=("give ", Argument("guidance_scale", 0.0), " for an inversion without"))
    if config.timesteps is not None and is_flow(pipe.scheduler) and any(_is_apart(step) for step in steps):
        problem = "the sampler shifts its noise levels away from the given timesteps"
        _warn(problem, remedy=("give ", Argument("sigmas"), " instead"))


def on_residuals(config: InversionConfig, residuals: Tensor) -> None:
    """Warn of images that a solver did not bring near their fixed points, whatever it tried.

    The paper's iteration has a fixed number of passes, with which it stays where it is; `Inversion.converged` tells.
    A direct walk solves nothing, and keeps beside the noise what its steps miss.

    Args:
        config: the settings.
        residuals: the residual that each step reached, (num_steps, B).
    """
    worst = residuals.amax(dim=0)
    left = [f"{i + 1}" for i, residual in enumerate(worst.tolist()) if not residual <= CONVERGED]
    if config.solver is None or config.walking.direct or not left:
        return
    *others, last = left
    named = f"images {', '.join(others)} and {last}" if others else f"image {last}"
    which = "the image" if len(worst) == 1 else f"{named} of {len(worst)}"
    warnings.warn(
        ConvergenceWarning(
            f"{which} could not be inverted well: a residual is {float(worst.max()):.2g} where {CONVERGED:g} is near a "
            "fixed point, so that the reconstruction may not be true",
            remedy=("use more steps, a prompt that fits better, or less ", Argument("guidance_scale")),
        ),
        stacklevel=4,  # the caller of Editor.invert, which torch wraps
    )


def on_editing(backbone: Backbone, config: InversionConfig, asked: InversionConfig, given: Given) -> None:
    """Warn of what has no effect on an edit.

    Args:
        backbone: of the pipeline's family.
        config: the settings of the edit.
        asked: default settings with what the edit was given by its caller; the rest is the inversion's.
        given: what came beside them.
    """
    guides = backbone.guides(config.guidance_scale, config.true_cfg_scale)
    mixed = [*_of_guidance(backbone, asked, given, guides=guides)]
    if given.negative and not guides:
        mixed.append(((Argument("negative_prompt"), " has no effect without guidance"), _guidance(backbone, config)))
    _say(mixed)


def on_blending(loudness: float) -> None:
    """Warn of an edit at a strength whose inversion has noise of another level than its first step.

    Args:
        loudness: the deviation of the inversion's noise over that of noise at its first step.
    """
    if loudness > _LOUD:
        _warn(
            f"the inversion's noise has {loudness:.2g} times the deviation of noise at its first step, so that edits "
            "which keep the source's latents come out wrong",
            remedy=(
                "invert with the preset edit, or with ",
                Argument("edit_data", "none"),
                " for an edit by the prompt alone",
            ),
        )


def on_editing_directly(backbone: Backbone, source: InversionConfig, target: InversionConfig, given: Given) -> None:
    """Warn of what has no effect on an edit without an inversion.

    Args:
        backbone: of the pipeline's family.
        source: the settings of the source.
        target: the settings of the target.
        given: what came beside them.
    """
    guides = any(backbone.guides(each.guidance_scale, each.true_cfg_scale) for each in (source, target))
    ignored = [*_of_guidance(backbone, target, given, guides=guides)]
    if given.negative and not guides:
        ignored.append(((Argument("negative_prompt"), " has no effect without guidance"), _guidance(backbone, target)))
    ignored += _of_fit(given)
    _say(ignored)


def on_prompts(backbone: Backbone, prompts: Iterable[str]) -> None:
    """Warn of prompts in the language of another program."""
    remark = prompt_syntax.remark(prompts, embeds=backbone.text_widths is not None)
    if remark is not None:
        _warn(*remark[0], remedy=remark[1])


def on_training(pipe: Any) -> None:
    """Warn of networks in training mode."""
    training = modes.in_training(pipe)
    if training:
        _warn(
            f"{' and '.join(training)} {'is' if len(training) == 1 else 'are'} in training mode, in which no two "
            "inversions are alike: here evaluation mode is used",
            remedy=f"call {', '.join(f'pipe.{name}.eval()' for name in training)}",
        )


def on_noise_correction(scheduler: str) -> IgnoredSettingWarning:
    """Return the warning that a sampler has no noises to correct."""
    return IgnoredSettingWarning(
        Argument("noise_correction"), f" has no effect: {scheduler} adds no noise in its steps"
    )


def _of_guidance(backbone: Backbone, config: InversionConfig, given: Given, *, guides: bool | None = None) -> Ignored:
    if guides is None:
        guides = backbone.guides(config.guidance_scale, config.true_cfg_scale)
    if config.guidance_rescale and not guides and backbone.takes_guidance_rescale:
        yield (Argument("guidance_rescale"), " has no effect without guidance"), _guidance(backbone, config)
    if backbone.takes_true_cfg and config.true_cfg_scale < 1.0:
        scale = Argument("true_cfg_scale", config.true_cfg_scale)
        yield (scale, " has no effect, as 1 has none"), ("use a ", Argument("true_cfg_scale"), " above 1")
    if config.clip_skip is not None and given.embeds and backbone.takes_clip_skip:
        yield (Argument("clip_skip"), " has no effect on embeddings"), "leave layers out where they are made"


def _of_config(
    pipe: Any, config: InversionConfig, steps: Sequence[Step], presets: Sequence[InversionConfig]
) -> Ignored:
    correction, losses = config.noise_correction, config.edit_losses
    if correction is not None and correction not in [preset.noise_correction for preset in presets]:
        if not any(step.stochastic for step in steps):
            yield on_noise_correction(type(pipe.scheduler).__name__).problem, ()
        if correction.moves is None and correction.move_length != NoiseCorrection().move_length:
            yield (Argument("move_length"), " has no effect without ", Argument("moves")), ()
    if losses is not None and not losses.pair and not losses.patch_kl:
        yield (Argument("edit_losses"), " of weight 0 have no effect"), ()
    if config.strength < 1.0 and len(steps) == config.num_steps:
        problem = (Argument("strength", config.strength), f" leaves out none of {config.num_steps} steps: no effect")
        yield problem, ("use a lower ", Argument("strength"), " or more steps")
    if config.renoising_low_noise is None and config.low_noise_below != _DEFAULTS.low_noise_below:
        yield (Argument("low_noise_below"), " has no effect without ", Argument("renoising_low_noise")), ()
    if config.solver is not None:
        if config.renoising not in [p.renoising for p in (_DEFAULTS, *presets)]:
            yield (Argument("renoising"), " has no effect beside ", Argument("solver")), ()
        if config.renoising_low_noise not in [p.renoising_low_noise for p in (_DEFAULTS, *presets)]:
            yield (Argument("renoising_low_noise"), " has no effect beside ", Argument("solver")), ()


def _of_walk(
    config: InversionConfig, steps: Sequence[Step], presets: Sequence[InversionConfig], *, guided: bool
) -> Ignored:
    """Remark on a walk, and on settings of what does not happen on it; the presets' own serve all models."""
    walk = config.walking
    solved = [step for step in steps if not walk.draws(step)]
    given = config.walk is not None and walk not in [preset.walk for preset in presets]
    joins = walk.block > 1 and not guided and sum(not step.stochastic for step in steps) > 2
    if given and not walk.direct and not joins and not any(walk.forward and step.stochastic for step in steps):
        yield (Argument("walk"), " has no effect: there are no noises to solve for, and no blocks of steps"), ()
    elif given and walk.block > 1 and not joins:
        why = "guided predictions change too fast to be interpolated" if guided else "there are too few steps for it"
        yield (Argument("block", walk.block), f" has no effect: {why}"), ()
    elif given and walk.block == 1 and walk.span != Walk().span:
        yield (Argument("span"), " has no effect on single steps"), ("use a ", Argument("block"), " above 1")
    elif given and walk.together != Walk().together and len(steps) - len(solved) < 2:
        yield (Argument("together"), " has no effect: there are no two noises to solve for"), ()
    correction = config.noise_correction
    if correction == NoiseCorrection() and walk.forward and any(step.stochastic for step in steps):
        yield (Argument("noise_correction", 1), " has no effect where noises are solved for, which is all the way"), ()
    alike = [preset for preset in (_DEFAULTS, *presets) if preset.walk == config.walk]
    own = config.edit_losses
    if own is not None and own not in [p.edit_losses for p in alike] and not any(step.invertible for step in solved):
        yield (Argument("edit_losses"), " have no effect: no step has a latent to solve for"), ()
    name = "renoising" if config.solver is None else "solver"
    if not solved and getattr(config, name) not in [getattr(p, name) for p in (_DEFAULTS, *presets)]:
        yield (Argument(name), " has no effect: no step has a latent to solve for"), ()


def _losses(backbone: Backbone, config: InversionConfig) -> bool:
    """Tell whether edit losses draw random numbers: a guided inversion leaves those of the paper out."""
    if config.edit_losses is None:
        return False
    guides = backbone.guides(config.guidance_scale, config.true_cfg_scale)
    return config.edit_losses.released_procedure or not guides


def _of_random_numbers(config: InversionConfig, steps: Sequence[Step], given: Given, *, losses: bool) -> Ignored:
    stochastic = config.walking.direct or any(step.stochastic for step in steps)
    if given.noise and not stochastic:
        yield (Argument("noise"), " has no effect: the sampler adds none in its steps"), ()
    draws = (stochastic and not given.noise) or losses
    seeded = config.seed != _DEFAULTS.seed
    if given.generator and not draws:
        yield (Argument("generator"), " has no effect: these settings draw no random numbers"), ()
    if seeded and (given.generator or not draws):
        why = "generators came beside it" if given.generator else "these settings draw no random numbers"
        yield (Argument("seed", config.seed), f" has no effect: {why}"), ()


def _of_fit(given: Given) -> Ignored:
    if given.fitted and given.fit != "crop":
        yield (Argument("fit", given.fit), " has no effect on what is encoded already"), ()


def _guidance(backbone: Backbone, config: InversionConfig) -> Part | tuple[Part, ...]:
    """Return how to have guidance, if the model can."""
    scale = "true_cfg_scale" if backbone.takes_true_cfg else "guidance_scale"
    if not backbone.guides(2.0, 2.0):
        return "this model's guidance is built into its network"
    least = 1.0 if backbone.takes_true_cfg else backbone.unguided
    return "use a ", Argument(scale), f" above {least:g}"


def _is_apart(step: Step) -> bool:
    return abs(step.timestep / 1000 - step.sigma) > _APART


def _say(ignored: Iterable[tuple[Sequence[Part], Part | tuple[Part, ...]]]) -> None:
    for problem, remedy in ignored:
        # The caller of Editor's methods, which torch wraps.
        warnings.warn(IgnoredSettingWarning(*problem, remedy=remedy), stacklevel=5)


def _warn(*problem: Part, remedy: Part | tuple[Part, ...]) -> None:
    warnings.warn(RenoiseWarning(*problem, remedy=remedy), stacklevel=5)
