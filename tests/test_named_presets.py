"""Models of a few steps by name: sampled as their makers say, by settings that follow from their number of steps."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import diffusers
import pytest
import torch

from parity import FORMS, relative, start
from quick import slow_but
from renoise import ConfigError, Editor, InversionConfig, presets
from renoise.backbones import families_by_name
from renoise.backbones.base import Request
from renoise.config import VARIANTS
from renoise.named_presets import NAMED, NamedPreset, held, split
from renoise.schedulers import SAMPLERS
from renoise.walks import denoise_steps
from written import built

# The tiny pipeline of each family, as it is published: with a scheduler that does not tell of few steps.
TINY = {"sd": "sd15-ddim", "sdxl": "sdxl", "sd3": "sd3", "flux": "flux-dev", "qwen-image": "qwen-image"}
QUICK = ("sdxl-lightning-4", "hyper-sd15-2", "dmd2-4", "flux-turbo-8", "sd3.5-large-turbo")

# How the makers' pages make the scheduler from that of the base, and how they call the pipeline.
Scheduler = Callable[[Mapping[str, Any]], Any]
Card = tuple[Scheduler | None, Mapping[str, Any]]


def by(name: str, **changes: Any) -> Scheduler:
    return lambda config: getattr(diffusers, name).from_config(config, **changes)


TRAILING = {"timestep_spacing": "trailing"}
EULER, DDIM = by("EulerDiscreteScheduler", **TRAILING), by("DDIMScheduler", **TRAILING)
PHASED = by("DDIMScheduler", **TRAILING, clip_sample=False, set_alpha_to_one=False)
UNGUIDED = {"guidance_scale": 0.0}
SHIFTED = {
    "base_image_seq_len": 256,
    "base_shift": math.log(3),
    "invert_sigmas": False,
    "max_image_seq_len": 8192,
    "max_shift": math.log(3),
    "num_train_timesteps": 1000,
    "shift": 1.0,
    "shift_terminal": None,
    "time_shift_type": "exponential",
    "use_dynamic_shifting": True,
}
CARDS: Mapping[str, Card] = {
    "sdxl-lightning-1": (
        by("EulerDiscreteScheduler", **TRAILING, prediction_type="sample"),
        {"num_inference_steps": 1},
    ),
    **{f"sdxl-lightning-{n}": (EULER, {"num_inference_steps": n}) for n in (2, 4, 8)},
    # TCD's pages name no eta for all steps; what is left out in a call is 0 in diffusers, and 0.3 is TCD's own here.
    **{f"hyper-{base}-1": (by("TCDScheduler"), {"num_inference_steps": 1, "eta": 0.3}) for base in ("sdxl", "sd15")},
    "hyper-sdxl-unet-1": (by("LCMScheduler"), {"num_inference_steps": 1, "timesteps": [800]}),
    **{f"hyper-{base}-{n}": (DDIM, {"num_inference_steps": n}) for base in ("sdxl", "sd15") for n in (2, 4, 8, 12)},
    **{f"hyper-sd3-{n}": (None, {"num_inference_steps": n}) for n in (4, 8, 16)},
    **{f"flux-hyper-{n}": (None, {"num_inference_steps": n, "guidance_scale": 3.5}) for n in (8, 16)},
    "flux-turbo-8": (None, {"num_inference_steps": 8, "guidance_scale": 3.5}),
    "dmd2-1": (by("LCMScheduler"), {"num_inference_steps": 1, "timesteps": [399]}),
    "dmd2-4": (by("LCMScheduler"), {"num_inference_steps": 4, "timesteps": [999, 749, 499, 249]}),
    **{f"pcm-{base}-{n}": (PHASED, {"num_inference_steps": n}) for base in ("sdxl", "sd15") for n in (2, 4, 8, 16)},
    "lcm-4": (by("LCMScheduler"), {"num_inference_steps": 4}),
    "tcd-4": (by("TCDScheduler"), {"num_inference_steps": 4, "eta": 0.3}),
    "sd-turbo-4": (by("EulerAncestralDiscreteScheduler", **TRAILING), {"num_inference_steps": 4}),
    "sdxl-turbo-4": (by("EulerAncestralDiscreteScheduler", **TRAILING), {"num_inference_steps": 4}),
    **{
        f"qwen-image-lightning-{n}": (
            lambda config: diffusers.FlowMatchEulerDiscreteScheduler.from_config(SHIFTED),
            {"num_inference_steps": n, "true_cfg_scale": 1.0, "guidance_scale": None},
        )
        for n in (4, 8)
    },
    "sd3.5-large-turbo": (None, {"num_inference_steps": 4}),
}


def base_of(preset: NamedPreset) -> Any:
    """A pipeline of the preset's base, whose networks are shared."""
    return copy.copy(built(TINY[preset.families[0]]))


def as_the_card_draws(pipe: Any, card: Card, latents: torch.Tensor) -> torch.Tensor:
    """Return the latents that the pipeline's own call ends with, with the scheduler and the call of a page."""
    make, call = card
    pipe = copy.copy(pipe)
    if make is not None:
        pipe.scheduler = make(pipe.scheduler.config)
    if hasattr(pipe.scheduler.config, "clip_sample"):
        pipe.scheduler.register_to_config(clip_sample=False)  # as the bases' own configurations have it
    given, taken = FORMS.get(type(pipe).__name__, (lambda pipe, z: z.clone(), lambda pipe, z, grid: z))
    height, width = (side * pipe.vae_scale_factor for side in latents.shape[-2:])
    drawn = pipe(
        "a lion",
        latents=given(pipe, latents),
        height=height,
        width=width,
        generator=torch.Generator().manual_seed(1),
        output_type="latent",
        **{**UNGUIDED, **call},
    ).images
    result: torch.Tensor = taken(pipe, drawn, tuple(latents.shape[-2:]))
    return result


def as_the_preset_draws(
    editor: Editor, config: InversionConfig, latents: torch.Tensor, guidance_scale: float
) -> torch.Tensor:
    """Return the latents that our denoising ends with, from the same noises."""
    size = editor.model.pixels(latents)
    steps = editor.model.steps(editor.pipe.scheduler, config, size)
    generator = torch.Generator().manual_seed(1)
    noise = torch.stack([torch.randn(latents.shape, generator=generator) for _ in steps])
    made = type(editor.pipe.scheduler).from_config(editor.pipe.scheduler.config)
    scaled = hasattr(made, "init_noise_sigma") and type(made).__name__.startswith("Euler")
    if scaled:
        made.set_timesteps(config.num_steps)
    z = latents * (made.init_noise_sigma if scaled else 1.0)
    with torch.no_grad():
        condition = editor.model.backbone.condition(Request(["a lion"], None, guidance_scale, size))
        for walked in denoise_steps(steps, editor.model.network(condition), z, noise):
            z = walked.latents
    return z


def test_every_preset_has_its_page() -> None:
    assert set(CARDS) == set(NAMED)


@pytest.mark.parametrize("name", slow_but(QUICK, NAMED))
def test_a_preset_draws_as_its_makers_say(name: str) -> None:
    preset, card = NAMED[name], CARDS[name]
    editor = Editor(base_of(preset)).with_preset(name)
    config = editor.config("reverse")
    assert config.num_steps == preset.steps == card[1]["num_inference_steps"]
    latents = start(editor, 1)
    ours = as_the_preset_draws(editor, config, latents, guidance_scale=card[1].get("guidance_scale") or 1.0)
    assert relative(ours, as_the_card_draws(base_of(preset), card, latents)) < 1e-4


@pytest.mark.parametrize("name", NAMED)
def test_facts_refer_to_what_there_is(name: str) -> None:
    preset = NAMED[name]
    families = families_by_name()
    assert preset.name == name
    assert preset.settings in presets
    assert preset.source.startswith("https://")
    for family in preset.families:
        assert preset.sampler is None or preset.sampler in families[family].samplers
    assert preset.timesteps is None or len(preset.timesteps) == preset.steps
    assert not set(preset.words) & set(preset.never)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", slow_but(QUICK, NAMED))
def test_every_variant_has_the_models_steps(name: str, variant: str) -> None:
    preset = NAMED[name]
    editor = Editor(base_of(preset)).with_preset(name)
    config = editor.config(variant)
    assert (config.num_steps, config.timesteps) == (preset.steps, preset.timesteps)
    assert len(editor.timesteps(config)) == preset.steps
    # Its name says the same, and the default is the default.
    assert editor.config(f"{name}:{variant}") == config
    assert editor.config(name) == editor.config() == editor.config("edit")
    assert config.few_steps == (preset.steps <= 8)


def test_settings_may_be_changed() -> None:
    editor = Editor(base_of(NAMED["dmd2-4"])).with_preset("dmd2-4")
    assert editor.config(num_steps=2).timesteps is None
    assert editor.config("dmd2-4:exact", strength=0.5).timesteps == (999, 749, 499, 249)
    solved = editor.config("dmd2-4", iterations=3)
    assert solved.renoising.iterations == 3
    assert solved.edit_losses == editor.config(iterations=3).edit_losses


def test_the_users_pipeline_is_never_changed() -> None:
    pipe = base_of(NAMED["sdxl-lightning-4"])
    before, attributes = pipe.scheduler, set(vars(pipe))
    lightning = Editor(pipe).with_preset("sdxl-lightning-4")
    assert pipe.scheduler is before
    assert set(vars(pipe)) == attributes
    assert held(pipe) is None
    assert lightning.pipe.unet is pipe.unet
    # Another sampler of the copy keeps the steps, and what is asked of the pipeline itself is refused.
    assert lightning.with_scheduler("DDIMScheduler").config().num_steps == 4
    assert Editor(pipe).config().num_steps == 20
    for asked in ("sdxl-lightning-4", "sdxl-lightning-4:exact"):
        with pytest.raises(ConfigError, match=r"wants another sampling .* take Editor\(pipe\).with_preset\("):
            InversionConfig.for_pipeline(pipe, asked)
    pipe.scheduler = EULER(pipe.scheduler.config)
    assert InversionConfig.for_pipeline(pipe, "sdxl-lightning-8:fast").num_steps == 8


def test_nothing_of_a_preset_is_left_in_the_next() -> None:
    own = Editor(base_of(NAMED["sdxl-lightning-1"]))
    for first in ("sdxl-lightning-1", "pcm-sdxl-4", "dmd2-4"):
        for then in ("sdxl-lightning-4", "hyper-sdxl-4", "lcm-4"):
            again = own.with_preset(first).with_preset("sdxl-turbo-4").with_preset(then).pipe.scheduler
            fresh = own.with_preset(then).pipe.scheduler
            assert type(again) is type(fresh)
            assert dict(again.config) == dict(fresh.config)


def test_timesteps_belong_to_the_presets_own_sampler() -> None:
    dmd2 = Editor(base_of(NAMED["dmd2-4"])).with_preset("dmd2-4")
    other = dmd2.with_scheduler("DDIMScheduler", timestep_spacing="trailing")
    assert (other.config().num_steps, other.config().timesteps) == (4, None)


@pytest.mark.parametrize("name", ["flux-hyper-8", "hyper-sd15-4"])
def test_another_family_is_refused(name: str) -> None:
    pipe = built("sdxl")
    for ask in (Editor(pipe).with_preset, Editor(pipe).config):
        with pytest.raises(
            ConfigError, match=f"the preset {name} is for models of .*, and not for a StableDiffusionXL"
        ):
            ask(name)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("sdxl-lightning-5", "such as sdxl-lightning-"),
        ("SDXL-Lightning-4", "such as sdxl-lightning-4 or"),
        (" sdxl-lightning-4 ", "such as sdxl-lightning-4 or"),
        ("sdxl-lightning-4:best", "'sdxl-lightning-4:best' is unknown; give sdxl-lightning-4 alone, or with one of"),
        ("sdxl-lightning-4:", "'sdxl-lightning-4:' is unknown; give sdxl-lightning-4 alone, or with one of"),
        ("sdxl", "'sdxl' cannot be given: it is what models of that kind have by themselves; leave it out"),
        ("sdxl-turbo", "a few steps that does not tell use sdxl-turbo-4"),
        ("krea2-turbo", "leave it out, or use one of edit"),
        ("edit-flow", "'edit-flow' is unknown"),
        (":exact", "':exact' is unknown"),
        ("exact:sdxl-lightning-4", "is unknown"),
        ("\x1b[31m", r"'\x1b[31m' is unknown"),
        ("x" * 10_000, "is unknown"),
        (7, "7 is unknown"),
        (["edit"], "is unknown"),
    ],
)
def test_what_there_is_not_is_refused_in_one_line(asked: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        split(asked, VARIANTS)
    told = str(caught.value)
    assert words in told
    assert "edit, fast, balanced, exact, paper, released, reverse" in told
    assert "\n" not in told
    assert "\x1b" not in told
    assert len(told) < 2000


@pytest.mark.parametrize("name", ["edit", "sdxl-lightning-4:exact", None, "nothing"])
def test_a_model_is_named_alone_where_its_sampler_is_chosen(name: Any) -> None:
    with pytest.raises(ConfigError):
        Editor(built("sdxl")).with_preset(name)


def test_edits_of_a_model_of_few_steps_are_not_guided() -> None:
    editor = Editor(base_of(NAMED["hyper-sdxl-4"]))
    config = replace(editor.config("exact"), num_steps=4)
    assert editor.edit_guidance(config) == 1.5
    assert editor.with_preset("hyper-sdxl-4").edit_guidance(config) == 1.0


def test_samplers_have_short_names() -> None:
    assert {preset.sampler for preset in NAMED.values()} <= {None, *SAMPLERS}
