"""The same networks with another sampler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler

from parity import PROMPTS, ours, relative, start, theirs
from renoise import Editor, Inversion, InversionConfig, Renoising, SchedulerError
from renoise.schedulers import SUPPORTED, exchanged, kind_of
from tiny_pipelines import BUILDERS

CONFIG = InversionConfig(num_steps=3, renoising=Renoising(1))


@pytest.mark.parametrize("name", [n for n in SUPPORTED if kind_of(n) == "diffusion"])
def test_the_editor_stays_as_it_is(editor: Editor, name: str) -> None:
    before, config = editor.pipe.scheduler, dict(editor.pipe.scheduler.config)
    other = editor.with_scheduler(name)
    assert type(other.pipe.scheduler).__name__ == name
    assert other.pipe.scheduler.config.beta_end == config["beta_end"]
    assert other.pipe.unet is editor.pipe.unet
    assert editor.pipe.scheduler is before
    assert dict(editor.pipe.scheduler.config) == config
    inversion = other.invert(latents=torch.randn(1, 4, 8, 8), prompt="a lion", config=CONFIG)
    assert inversion.scheduler["class"] == name
    # drawn with the sampler that inverted it, by either
    assert torch.equal(editor.reconstruct(inversion, "latent"), other.reconstruct(inversion, "latent"))


def test_settings_of_the_sampler_can_differ(editor: Editor) -> None:
    other = editor.with_scheduler("DDIMScheduler", timestep_spacing="trailing")
    assert other.timesteps(CONFIG) == (999.0, 666.0, 332.0)
    assert editor.timesteps(CONFIG) == (667.0, 334.0, 1.0)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("PNDMScheduler", {}, "use one of DDIMScheduler"),
        ("nonsense", {}, "not supported"),
        (["DDIMScheduler"], {}, "not supported"),
        ("FlowMatchEulerDiscreteScheduler", {}, "two kinds of models, diffusion .* and flow matching"),
        ("EDMEulerScheduler", {}, "two kinds of models, diffusion .* and EDM"),
        ("DDIMScheduler", {"clip_sample": True}, "impossible to invert"),
        ("DDPMScheduler", {"thresholding": True}, "impossible to invert"),
        ("LCMScheduler", {"karras": True}, "no setting karras"),
    ],
)
def test_what_cannot_be_is_refused(editor: Editor, name: Any, changes: dict[str, bool], message: str) -> None:
    with pytest.raises(SchedulerError, match=message):
        editor.with_scheduler(name, **changes)


def test_settings_that_were_never_chosen_are_the_other_samplers_own(editor: Editor) -> None:
    lcm = editor.with_scheduler("LCMScheduler")
    again = lcm.with_scheduler("DDIMScheduler")
    assert again.timesteps(CONFIG) == editor.timesteps(CONFIG)
    assert again.pipe.scheduler.config.set_alpha_to_one == editor.pipe.scheduler.config.set_alpha_to_one


def test_an_exchange_is_silent(
    editor: Editor, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    editor.with_scheduler("LCMScheduler").with_scheduler("EulerDiscreteScheduler").with_scheduler("DDIMScheduler")
    assert capfd.readouterr().err == ""


def test_settings_that_were_never_chosen_can_be(tmp_path: Path) -> None:
    # As SD 1.5's own configuration, which names no spacing.
    pipe: Any = BUILDERS["sd15-ddim"]()
    pipe.scheduler = DDIMScheduler.from_config({"beta_schedule": "scaled_linear", "clip_sample": False})
    editor = Editor(pipe)
    assert "timestep_spacing" in editor.pipe.scheduler.config["_use_default_values"]
    assert editor.with_scheduler("DDIMScheduler", timestep_spacing="trailing").timesteps(CONFIG) == (999, 666, 332)
    flow = Editor(BUILDERS["sd3"]()).with_scheduler("FlowMatchEulerDiscreteScheduler", stochastic_sampling=True)
    assert flow.pipe.scheduler.config.stochastic_sampling is True


def test_clipping_that_was_never_chosen_goes_as_well() -> None:
    pipe: Any = BUILDERS["sd15-ddim"]()
    pipe.scheduler = DDIMScheduler()
    assert len(Editor(pipe).with_scheduler("DDPMScheduler").timesteps(CONFIG)) == 3


def test_a_shift_that_was_set_later_is_kept(tmp_path: Path) -> None:
    pipe: Any = BUILDERS["sd3"]()
    pipe.scheduler.set_shift(7.0)
    editor = Editor(pipe)
    same = editor.with_scheduler("FlowMatchEulerDiscreteScheduler")
    assert same.timesteps(CONFIG) == editor.timesteps(CONFIG)
    assert editor.with_scheduler("FlowMatchEulerDiscreteScheduler", shift=1.0).timesteps(CONFIG) != same.timesteps(
        CONFIG
    )
    z_0 = start(editor, 1)
    inversion = editor.invert(latents=z_0, config=InversionConfig(num_steps=4, renoising=Renoising(12)))
    inversion.save(tmp_path / "i.safetensors")
    pipe.scheduler.set_shift(1.0)
    loaded = Inversion.load(tmp_path / "i.safetensors")
    assert relative(editor.reconstruct(loaded, "latent"), z_0) < 1e-3


@pytest.mark.parametrize(
    ("name", "scheduler", "message"),
    [
        ("sd3", diffusers.DDIMScheduler, "another kind of model.*FlowMatchEulerDiscreteScheduler.from_config"),
        ("flux-dev", diffusers.EulerDiscreteScheduler, "another kind of model.*FlowMatchEuler"),
        ("sd3", diffusers.FlowMatchHeunDiscreteScheduler, "single affine steps.*FlowMatchEuler"),
        ("flux-dev", diffusers.DPMSolverMultistepScheduler, "single affine steps.*FlowMatchEuler"),
        ("sdxl", diffusers.FlowMatchEulerDiscreteScheduler, "another kind of model.*DDIMScheduler.from_config"),
        ("sd15-ddim", diffusers.PNDMScheduler, "single affine steps.*DDIMScheduler.from_config"),
    ],
)
def test_samplers_of_another_kind_are_refused_with_the_line_that_mends_it(
    name: str, scheduler: Any, message: str
) -> None:
    pipe: Any = BUILDERS[name]()
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    with pytest.raises(SchedulerError, match=message):
        Editor(pipe).invert(latents=start(Editor(pipe), 1), config=CONFIG)


@pytest.mark.parametrize("name", ["flux-dev", "flux2-dev", "z-image", "sd3"])
def test_a_setting_that_pipelines_ask_for_stays_with_the_scheduler(name: str, tmp_path: Path) -> None:
    pipe: Any = BUILDERS[name]()
    unipc = diffusers.UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction")
    pipe.scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(unipc.config, shift=3.0)
    editor = Editor(pipe)
    z_0 = start(editor, 1)
    own = {"guidance_scale": editor.model.backbone.unguided}
    expected = theirs(pipe, z_0, PROMPTS[:1], **own)
    assert relative(ours(editor, z_0, PROMPTS[:1], None, **own), expected) < 1e-4
    inversion = editor.invert(latents=z_0, config=InversionConfig(num_steps=4, renoising=Renoising(12)))
    inversion.save(tmp_path / "i.safetensors")
    assert relative(editor.reconstruct(Inversion.load(tmp_path / "i.safetensors"), "latent"), z_0) < 1e-3


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_a_stochastic_flow_is_the_pipelines_own(scale: float) -> None:
    editor = Editor(BUILDERS["sd3"]()).with_scheduler("FlowMatchEulerDiscreteScheduler", stochastic_sampling=True)
    latents = start(editor, 1)
    torch.manual_seed(1)  # diffusers draws the noises of a flow from the global generator
    expected = theirs(editor.pipe, latents, PROMPTS[:1], guidance_scale=scale)
    assert relative(ours(editor, latents, PROMPTS[:1], None, guidance_scale=scale), expected) < 1e-4


TABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SEVERAL_STEPS = (
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "UniPCMultistepScheduler",
)


@pytest.mark.parametrize("name", SEVERAL_STEPS)
def test_samplers_of_several_steps_keep_betas_prediction_and_spacing(name: str) -> None:
    cls = getattr(diffusers, name)
    spacing = {"timestep_spacing": "trailing"} if "Singlestep" not in name else {}
    own = cls(**TABLE, prediction_type="v_prediction", **spacing)
    for into in ("DDIMScheduler", "EulerDiscreteScheduler"):
        other = exchanged(own, into)
        assert torch.allclose(other.alphas_cumprod, own.alphas_cumprod, atol=1e-7)
        assert other.config.prediction_type == "v_prediction"
        assert not spacing or other.config.timestep_spacing == "trailing"
    # Betas that were never chosen are those of its class, which differ from one class to the next.
    own = cls()
    assert torch.allclose(exchanged(own, "DDIMScheduler").alphas_cumprod, own.alphas_cumprod, atol=1e-7)


def test_noise_levels_that_another_scheduler_cannot_have_are_refused() -> None:
    own = diffusers.CogVideoXDDIMScheduler(snr_shift_scale=3.0)
    with pytest.raises(SchedulerError, match="does not have the noise levels of CogVideoXDDIMScheduler"):
        exchanged(own, "DDIMScheduler")


def test_a_sampler_of_an_unknown_kind_is_not_exchanged() -> None:
    with pytest.raises(SchedulerError, match="not known which kind of models"):
        exchanged(diffusers.CMStochasticIterativeScheduler(), "DDIMScheduler")
