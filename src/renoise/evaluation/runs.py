"""The named runs: which rows each of them measures, as data made from the model's own preset.

table1, table2, figure7 and figure8 are those of Garibi et al. (2024, arXiv 2403.14602). A run's rows follow from the
model alone, so that one name means one configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from renoise.config import FEW_STEPS, EditLosses, InversionConfig, NoiseCorrection, Renoising
from renoise.defaults import EDIT_GUIDANCE, edit_guidance
from renoise.editor import Editor
from renoise.errors import ConfigError
from renoise.evaluation.methods import Method, ReNoise
from renoise.evaluation.outside import DDIMInverse, EditFriendly, NegativePrompt, NullPrompt


@dataclass(frozen=True)
class Row:
    """One row of a run.

    Attributes:
        label: what the tables call it.
        method: how it inverts.
        prompt: in place of every image's caption; None is the captions.
        guidance: guidance scale of edits; None is the method's own.
    """

    label: str
    method: Method
    prompt: str | None = None
    guidance: float | None = None


@dataclass(frozen=True)
class Run:
    """A named comparison.

    Attributes:
        about: what it shows, in a sentence.
        rows: the rows for a model whose preset is given.
        edits: draw the images with their targets, and not again as they were.
    """

    about: str
    rows: Callable[[InversionConfig], tuple[Row, ...]]
    edits: bool = False


# Of the paper's ablation: the window of the presets for SDXL Turbo. Passes without a weight are left out.
_AVERAGED = Renoising(9, average=(7, 10))
_AVERAGED_LOW_NOISE = Renoising(3, average=(0, 4))


def _table1(preset: InversionConfig) -> tuple[Row, ...]:
    """By DDIM on every model: noises belong to timesteps, so that unequal schedules need a sampler without any."""
    settings = ((50, 50, 0), (75, 25, 0), (80, 20, 0), (90, 10, 0), (25, 25, 2), (20, 20, 3), (10, 10, 8))
    plain = preset.reversing()
    return tuple(
        Row(
            f"{inversion} / {denoising} / {iterations}",
            ReNoise(
                replace(plain, num_steps=inversion, renoising=Renoising(iterations)),
                denoising,
                scheduler="DDIMScheduler",
            ),
        )
        for inversion, denoising, iterations in settings
    )


def ablation(preset: InversionConfig) -> tuple[tuple[str, InversionConfig], ...]:
    """The paper's seven settings of Table 2 in its order, each adding one thing to the last."""
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
    """The paper's rows, and then what its table leaves out."""
    paper = ablation(preset)
    without_losses = replace(dict(paper)["+ noise correction"], edit_losses=None)
    ours = (
        ("averaging and noise correction, no edit losses", without_losses),
        ("this model's preset", preset),
    )
    steps = preset.num_steps
    # A stochastic sampler's noises belong to timesteps, and those between the preset's are of no use in drawing: the
    # row shows what that costs.
    twice = ReNoise(replace(preset.reversing(), num_steps=2 * steps), steps)
    others = (
        Row("sampler reversing, twice the inversion steps", twice),
        Row("DDIM inversion of diffusers", DDIMInverse(steps)),
        Row("edit-friendly DDPM inversion", EditFriendly(steps, scheduler=None, seed=preset.seed)),
        Row("negative-prompt inversion", NegativePrompt(preset.reversing())),
        Row("null-prompt inversion", NullPrompt(preset.reversing())),
    )
    return (*(Row(label, ReNoise(config)) for label, config in (*paper, *ours)), *others)


def _figure7(preset: InversionConfig) -> tuple[Row, ...]:
    iterations = 12
    config = replace(preset.reversing(), renoising=Renoising(iterations))
    return (Row(f"{iterations} renoising iterations", ReNoise(config, keep_residuals=True)),)


def _empty_prompt(preset: InversionConfig) -> tuple[Row, ...]:
    rows: list[Row] = []
    for prompt, suffix in ((None, "with the captions"), ("", "with an empty prompt")):
        for label, config in ablation(preset)[:4]:
            rows.append(Row(f"{label}, {suffix}", ReNoise(config), prompt))
    return tuple(rows)


def _editing(preset: InversionConfig) -> tuple[Row, ...]:
    """Edits with the guidance that suits the model, and methods that are about guidance with their own."""
    guidance = edit_guidance(preset)
    ours = (
        ("sampler reversing", preset.reversing()),
        ("ReNoise (this model's preset)", preset),
        ("ReNoise without edit losses", replace(preset, edit_losses=None)),
    )
    friendly = EditFriendly(preset.num_steps, scheduler=None, seed=preset.seed)
    # Theirs is 7.5, which burns the edits of a distilled model, whose guidance is built in (seen on mini-turbo).
    own = EDIT_GUIDANCE if preset.num_steps <= FEW_STEPS else 7.5
    return (
        *(Row(label, ReNoise(config), guidance=guidance) for label, config in ours),
        Row("edit-friendly DDPM inversion", friendly, guidance=guidance),
        Row("negative-prompt inversion", NegativePrompt(preset.reversing(), own)),
        Row("null-prompt inversion", NullPrompt(preset.reversing(), own)),
    )


def _figure8(preset: InversionConfig) -> tuple[Row, ...]:
    """Four denoising steps with every sampler; the inversion gets its passes as steps or as renoising iterations."""
    steps = 4
    rows: list[Row] = []
    for sampler, (scheduler, changes) in SAMPLERS.items():
        plain = replace(preset.reversing(), num_steps=steps)
        for factor in (1, 2, 3, 5, 7, 10):
            more = replace(plain, num_steps=factor * steps)
            rows.append(_sampled(f"{sampler}, reversing, {factor * steps} steps", more, steps, scheduler, changes))
        for iterations in (1, 2, 4, 6, 9):
            again = replace(plain, renoising=Renoising(iterations))
            rows.append(_sampled(f"{sampler}, renoising, K = {iterations}", again, steps, scheduler, changes))
        for iterations in (1, 4, 9):
            again = replace(plain, renoising=Renoising(iterations), edit_losses=preset.edit_losses or EditLosses())
            rows.append(_sampled(f"{sampler}, edit losses, K = {iterations}", again, steps, scheduler, changes))
            if sampler in STOCHASTIC:
                mended = replace(again, edit_losses=None, noise_correction=NoiseCorrection())
                rows.append(
                    _sampled(f"{sampler}, noise correction, K = {iterations}", mended, steps, scheduler, changes)
                )
    return tuple(rows)


def _sampled(
    label: str, config: InversionConfig, steps: int, scheduler: str, changes: Iterable[tuple[str, object]]
) -> Row:
    return Row(label, ReNoise(config, steps, scheduler, tuple(changes)))


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
            _table1,
        ),
        "table2": Run("what each part of the method adds to the reconstruction", _table2),
        "figure7": Run("how the residual of each step falls from iteration to iteration", _figure7),
        "figure8": Run("reconstruction against network passes for each sampler", _figure8),
        "empty-prompt": Run("reconstruction with the captions and with an empty prompt", _empty_prompt),
        "editing": Run("what edits keep of an image, and how well they fit their prompts", _editing, edits=True),
    }
)


def rows_of(run: str, editor: Editor, seed: int) -> tuple[Row, ...]:
    """The rows of a run for a model.

    Args:
        run: a name out of `RUNS`.
        editor: the model.
        seed: of the sampler's noises.
    """
    return RUNS[run].rows(replace(InversionConfig.for_pipeline(editor.pipe), seed=seed))


def require_known(run: str) -> None:
    """Raise a `ConfigError` unless `run` is a name out of `RUNS`."""
    if run not in RUNS:
        raise ConfigError(f"the run {run!r} is unknown; use one of {', '.join(RUNS)}, or give rows of your own")


def about(run: str) -> str:
    """What a run shows, in a sentence; also of one that has rows of its user's own."""
    return RUNS[run].about if run in RUNS else "a comparison of methods"


def draws_edits(run: str) -> bool:
    """Whether a run draws the images with their targets."""
    return run in RUNS and RUNS[run].edits
