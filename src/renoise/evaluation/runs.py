"""The named runs: which rows each of them measures, as data made from the model's presets.

table1, table2, figure7 and figure8 are those of Garibi et al. (2024, arXiv 2403.14602). A run's rows follow from the
model alone, so that one name means one configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType

from renoise import ConfigError, EditLosses, InversionConfig, NoiseCorrection, Renoising
from renoise.evaluation.editing import editing_rows
from renoise.evaluation.frontier import frontier_rows
from renoise.evaluation.methods import ReNoise
from renoise.evaluation.outside import DDIMInverse, EditFriendly, NegativePrompt, NullPrompt
from renoise.evaluation.rows import Presets, Row

__all__ = ["ABOUT_OWN", "RUNS", "SAMPLERS", "STOCHASTIC", "Plots", "Presets", "Row", "Run", "ablation", "named"]


class Plots(Enum):
    """How the reconstructions of a run are drawn (`renoise.evaluation.plots`)."""

    distributions = "the distribution of each row's PSNR"
    residuals = "residuals against network passes"
    curves = "PSNR against network passes, by sampler"
    frontier = "PSNR and the statistics of z_T against the network passes of the inversion, by series"


@dataclass(frozen=True)
class Run:
    """A comparison.

    Attributes:
        about: what it shows, in a sentence.
        rows: returns the rows for a model with the given presets.
        edits: whether the images are drawn with their targets, and not again as they were.
        plots: how its reconstructions are drawn.
        details: whether its tables also tell what noise the inversions end in, and more about passes.
    """

    about: str
    rows: Callable[[Presets], tuple[Row, ...]]
    edits: bool = False
    plots: Plots = Plots.distributions
    details: bool = False


# What a run shows that has rows of its user.
ABOUT_OWN = "a comparison of methods"

# The paper's ablation averages over the window of the presets for SDXL Turbo. Passes without a weight are left out.
_AVERAGED = Renoising(9, average=(7, 10))
_AVERAGED_LOW_NOISE = Renoising(3, average=(0, 4))


def _table1(preset: InversionConfig) -> tuple[Row, ...]:
    """Return rows by DDIM for every model, because schedules of unequal lengths share no timesteps with noises."""
    settings = ((50, 50, 0), (75, 25, 0), (80, 20, 0), (90, 10, 0), (25, 25, 2), (20, 20, 3), (10, 10, 8))
    rows: list[Row] = []
    for inversion, denoising, iterations in settings:
        config = replace(preset.reversing(), num_steps=inversion, renoising=Renoising(iterations))
        method = ReNoise(config, denoising, scheduler="DDIMScheduler")
        rows.append(Row(f"{inversion} / {denoising} / {iterations}", method))
    return tuple(rows)


def ablation(preset: InversionConfig) -> tuple[tuple[str, InversionConfig], ...]:
    """Return the paper's seven settings of Table 2 in its order, each of which adds one thing to the last."""
    plain = preset.reversing()
    averaged = replace(plain, renoising=_AVERAGED, renoising_low_noise=_AVERAGED_LOW_NOISE)
    with_losses = replace(averaged, edit_losses=preset.edit_losses or EditLosses())
    return (
        ("sampler reversing", plain),
        ("+ 1 renoising iteration", replace(plain, renoising=Renoising(1))),
        ("+ 4 renoising iterations", replace(plain, renoising=Renoising(4))),
        ("+ 9 renoising iterations", replace(plain, renoising=Renoising(9))),
        ("+ averaging", averaged),
        ("+ edit losses", with_losses),
        ("+ noise correction", replace(with_losses, noise_correction=NoiseCorrection())),
    )


def _table2(preset: InversionConfig) -> tuple[Row, ...]:
    """Return the paper's rows, and then what its table leaves out."""
    paper, plain, steps = ablation(preset), preset.reversing(), preset.num_steps
    without_losses = replace(dict(paper)["+ noise correction"], edit_losses=None)
    ours = (("averaging and noise correction, no edit losses", without_losses), ("this model's preset", preset))
    return (
        *(Row(label, ReNoise(config)) for label, config in (*paper, *ours)),
        # A stochastic sampler's noises belong to timesteps, and drawing cannot use those between the preset's steps:
        # the row shows what that costs.
        Row("sampler reversing, twice the inversion steps", ReNoise(replace(plain, num_steps=2 * steps), steps)),
        Row("DDIM inversion of diffusers", DDIMInverse(steps)),
        Row("edit-friendly DDPM inversion", EditFriendly(steps, scheduler=None, seed=preset.seed)),
        Row("negative-prompt inversion", NegativePrompt(plain)),
        Row("null-prompt inversion", NullPrompt(plain)),
    )


def _figure7(preset: InversionConfig) -> tuple[Row, ...]:
    iterations = 12
    config = replace(preset.reversing(), renoising=Renoising(iterations))
    return (Row(f"{iterations} renoising iterations", ReNoise(config, keep_residuals=True)),)


def _empty_prompt(preset: InversionConfig) -> tuple[Row, ...]:
    return tuple(
        Row(f"{label}, {suffix}", ReNoise(config), prompt)
        for prompt, suffix in ((None, "with the captions"), ("", "with an empty prompt"))
        for label, config in ablation(preset)[:4]
    )


def _figure8(preset: InversionConfig) -> tuple[Row, ...]:
    """Return rows of four denoising steps with every sampler, whose inversions spend passes on steps or iterations."""
    return tuple(
        Row(f"{sampler}, {spent}", ReNoise(config, 4, scheduler, changes))
        for sampler, (scheduler, changes) in SAMPLERS.items()
        for spent, config in _spendings(preset, 4, stochastic=sampler in STOCHASTIC)
    )


def _spendings(preset: InversionConfig, steps: int, *, stochastic: bool) -> Iterator[tuple[str, InversionConfig]]:
    plain = replace(preset.reversing(), num_steps=steps)
    for factor in (1, 2, 3, 5, 7, 10):
        yield f"reversing, {factor * steps} steps", replace(plain, num_steps=factor * steps)
    for iterations in (1, 2, 4, 6, 9):
        yield f"renoising, K = {iterations}", replace(plain, renoising=Renoising(iterations))
    for iterations in (1, 4, 9):
        again = replace(plain, renoising=Renoising(iterations))
        yield f"edit losses, K = {iterations}", replace(again, edit_losses=preset.edit_losses or EditLosses())
        if stochastic:
            yield f"noise correction, K = {iterations}", replace(again, noise_correction=NoiseCorrection())


def _of_paper(rows: Callable[[InversionConfig], tuple[Row, ...]]) -> Callable[[Presets], tuple[Row, ...]]:
    """Return what makes the rows that follow from the paper's preset for a model, whatever other presets it has."""
    return lambda presets: rows(presets["paper"])


_TRAILING = (("timestep_spacing", "trailing"),)
SAMPLERS: Mapping[str, tuple[str, tuple[tuple[str, object], ...]]] = MappingProxyType(
    {
        "DDIM": ("DDIMScheduler", _TRAILING),
        "Euler": ("EulerDiscreteScheduler", _TRAILING),
        "Euler ancestral": ("EulerAncestralDiscreteScheduler", _TRAILING),
        "DDPM": ("DDPMScheduler", _TRAILING),
        "LCM": ("LCMScheduler", ()),
    }
)
STOCHASTIC = ("Euler ancestral", "DDPM", "LCM")

RUNS: Mapping[str, Run] = MappingProxyType(
    {
        "table1": Run(
            "reconstruction for 100 network passes, spent on inversion steps, denoising steps and iterations; by DDIM "
            "on every model, since unequal numbers of steps need a sampler without noises, and LCM's has no 75 steps",
            _of_paper(_table1),
        ),
        "table2": Run("what each part of the method adds to the reconstruction", _of_paper(_table2)),
        "figure7": Run(
            "how the residual of each step falls from iteration to iteration",
            _of_paper(_figure7),
            plots=Plots.residuals,
        ),
        "figure8": Run(
            "reconstruction against network passes for each sampler", _of_paper(_figure8), plots=Plots.curves
        ),
        "frontier": Run(
            "reconstruction, and the noise that it is drawn from, against the network passes of the inversion: sampler "
            "reversing, the paper's iteration, this project's presets, and other methods",
            frontier_rows,
            plots=Plots.frontier,
            details=True,
        ),
        "empty-prompt": Run("reconstruction with the captions and with an empty prompt", _of_paper(_empty_prompt)),
        "editing": Run(
            "what edits change and keep of an image, and how well they fit their prompts", editing_rows, edits=True
        ),
    }
)


def named(run: str) -> Run:
    """Return the run of this name.

    Raises:
        ConfigError: if `RUNS` has none.
    """
    if run not in RUNS:
        raise ConfigError(
            f"the run {run!r} is unknown",
            argument="run",
            remedy=f"use one of {', '.join(RUNS)}, or give rows of your own",
        )
    return RUNS[run]
