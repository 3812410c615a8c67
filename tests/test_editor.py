"""The user's object: what it promises about results, arguments, and the pipeline that it was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from renoise import (
    ConfigError,
    Editor,
    ImageError,
    InversionConfig,
    ModelError,
    NumericalError,
    Renoising,
    SchedulerError,
)

MakeEditor = Callable[..., Editor]
FEW = InversionConfig(num_steps=3, renoising=Renoising(2))
SAMPLERS = [
    "DDIMScheduler",
    "DDPMScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "LCMScheduler",
    "TCDScheduler",
]


# A network with random weights magnifies every error enormously at the noisiest levels, as no trained one does: laws of
# whole walks are tested on the lower half of the schedule, where it is tame.
HALF = InversionConfig(num_steps=8, strength=0.5, renoising=Renoising(25))


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.fixture
def pictures(picture: Image.Image) -> list[Image.Image]:
    return [picture, picture.rotate(90, expand=True), Image.new("RGB", (30, 30), "teal")]


@pytest.fixture
def z_0() -> torch.Tensor:
    """Latents of the size that an autoencoder makes of images."""
    return torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("model", ["tiny-sd", "tiny-sdxl"])
@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_enough_iterations_reconstruct(make_editor: MakeEditor, z_0: torch.Tensor, scheduler: str, model: str) -> None:
    editor = make_editor(model, scheduler)
    inversion = editor.invert(latents=z_0, prompt="a lion", config=HALF)
    assert inversion.num_steps == 4
    assert relative(editor.reconstruct(inversion, "latent"), z_0) < 1e-3
    reversing = editor.invert(latents=z_0, prompt="a lion", config=HALF.with_iterations(0))
    assert relative(editor.reconstruct(reversing, "latent"), z_0) > 0.01


@pytest.mark.parametrize("scheduler", SAMPLERS)
@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_a_batch_gives_what_its_pictures_give_alone(
    make_editor: MakeEditor, pictures: list[Image.Image], scheduler: str, guidance_scale: float
) -> None:
    editor = make_editor(scheduler=scheduler)
    config = InversionConfig(num_steps=3, renoising=Renoising(2, average=(1, 3)), guidance_scale=guidance_scale)
    prompts = ["a lion", "", "a very long prompt about a teal wall in the rain"]
    together = editor.invert(pictures, prompts, config=config)
    edits = editor.edit(together, ["x", "y", "z"], output_type="latent")
    for i, (picture, prompt) in enumerate(zip(pictures, prompts, strict=True)):
        alone = editor.invert(picture, prompt, config=config)
        assert relative(together.latents[i : i + 1], alone.latents) < 1e-4
        torch.testing.assert_close(together.residuals[:, i : i + 1], alone.residuals, rtol=1e-3, atol=1e-5)
        if alone.noise is not None and together.noise is not None:
            assert torch.equal(together.noise[:, i : i + 1], alone.noise)
        assert relative(edits[i : i + 1], editor.edit(alone, "xyz"[i], output_type="latent")) < 1e-3
    assert together.network_passes == alone.network_passes == 9 * (2 if guidance_scale > 1 else 1)


@pytest.mark.parametrize("model", ["tiny-sd", "tiny-sdxl"])
def test_the_pipeline_is_left_as_it_was(make_editor: MakeEditor, picture: Image.Image, model: str) -> None:
    editor = make_editor(model, "EulerAncestralDiscreteScheduler")
    pipe = editor.pipe
    pipe.scheduler.set_timesteps(9)
    components = dict(pipe.components)
    weights = {n: p.clone() for m in ("unet", "vae", "text_encoder") for n, p in components[m].state_dict().items()}
    scheduler = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in vars(pipe.scheduler).items()}
    random_state = torch.get_rng_state()
    inversion = editor.invert(picture, "a lion", config=FEW)
    editor.edit(inversion, ["a cat", "a dog"], guidance_scale=3.0)
    assert all(pipe.components[name] is component for name, component in components.items())
    for name, value in scheduler.items():
        now = vars(pipe.scheduler)[name]
        assert torch.equal(now, value) if isinstance(value, torch.Tensor) else now == value, name
    for module in ("unet", "vae", "text_encoder"):
        for name, value in components[module].state_dict().items():
            assert torch.equal(value, weights[name]), name
    assert torch.equal(torch.get_rng_state(), random_state)


def test_latents_take_the_place_of_a_picture(editor: Editor, picture: Image.Image) -> None:
    z_0 = editor.encode(picture)
    from_picture = editor.invert(picture, "a lion", config=FEW)
    from_latents = editor.invert(latents=z_0, prompt="a lion", config=FEW)
    assert torch.equal(from_latents.latents, from_picture.latents)
    assert from_latents.size == from_picture.size == editor.size
    small = editor.invert(latents=z_0[..., :8, :4], prompt="a lion", config=FEW)
    scale = editor.pipe.vae_scale_factor
    assert small.size == (8 * scale, 4 * scale)
    assert editor.reconstruct(small).size == (4 * scale, 8 * scale)


def test_results_are_shaped_as_the_prompts_are(editor: Editor, pictures: list[Image.Image]) -> None:
    one = editor.invert(pictures[0], "a lion", config=FEW)
    assert isinstance(editor.reconstruct(one), Image.Image)
    assert isinstance(editor.edit(one, "a cat"), Image.Image)
    assert len(editor.edit(one, ["a cat", "a dog"])) == 2
    assert len(editor.edit(one, ["a cat"])) == 1
    batch = editor.invert(pictures, "a lion", config=FEW)
    assert len(editor.reconstruct(batch)) == 3
    assert len(editor.edit(batch, "a cat")) == 3
    assert len(editor.edit(batch, ["a", "b", "c"])) == 3
    nested = editor.edit(batch, [["a", "b"], ["c"], ["d", "e", "f"]])
    assert [len(row) for row in nested] == [2, 1, 3]
    single = editor.invert([pictures[0]], "a lion", config=FEW)
    assert len(editor.edit(single, "a cat")) == 1


def test_targets_of_one_call_are_what_they_are_alone(editor: Editor, picture: Image.Image) -> None:
    inversion = editor.invert(picture, "a lion", config=FEW)
    both = editor.edit(inversion, ["a cat", "a dog"], output_type="latent", guidance_scale=2.0)
    for i, target in enumerate(["a cat", "a dog"]):
        alone = editor.edit(inversion, target, output_type="latent", guidance_scale=2.0)
        assert relative(both[i : i + 1], alone) < 1e-4


def test_output_types(editor: Editor, picture: Image.Image) -> None:
    inversion = editor.invert(picture, "a lion", config=FEW)
    height, width = editor.size
    pixels = editor.reconstruct(inversion, "pt")
    assert pixels.shape == (1, 3, height, width)
    assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1
    array = editor.reconstruct(inversion, "np")
    np.testing.assert_allclose(array, pixels.permute(0, 2, 3, 1).numpy())
    drawn = np.asarray(editor.reconstruct(inversion))
    assert np.abs(drawn - array[0] * 255).max() <= 0.5 + 1e-3
    assert editor.reconstruct(inversion, "latent").shape == inversion.latents.shape
    with pytest.raises(ConfigError, match="output_type"):
        editor.reconstruct(inversion, "jpeg")


def test_the_source_prompt_is_an_edit_that_reconstructs(editor: Editor, picture: Image.Image) -> None:
    inversion = editor.invert(picture, "a lion", config=FEW, negative_prompt="blurry")
    again = editor.reconstruct(inversion, "latent")
    same = editor.edit(inversion, "a lion", guidance_scale=1.0, output_type="latent")
    assert torch.equal(same, again)
    assert not torch.equal(editor.edit(inversion, "a tree", guidance_scale=1.0, output_type="latent"), again)


def test_guidance_and_negative_prompts_change_the_edit(editor: Editor, picture: Image.Image) -> None:
    inversion = editor.invert(picture, "a lion", config=FEW)
    results = [
        editor.edit(inversion, "a cat", guidance_scale=scale, negative_prompt=negative, output_type="latent")
        for scale, negative in [(1.0, None), (3.0, None), (3.0, "a lion"), (5.0, "a lion")]
    ]
    for i, a in enumerate(results):
        for b in results[i + 1 :]:
            assert not torch.allclose(a, b, rtol=1e-4)
    # without guidance a negative prompt has nothing to act on
    same = editor.edit(inversion, "a cat", guidance_scale=1.0, negative_prompt="a lion", output_type="latent")
    assert torch.equal(same, results[0])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ConfigError, "exactly one"),
        ({"image": "PICTURE", "latents": torch.zeros(1, 4, 8, 8)}, ConfigError, "exactly one"),
        ({"latents": torch.zeros(4, 8, 8)}, ConfigError, r"latents must be a tensor \(B, 4, h, w\)"),
        ({"latents": torch.zeros(1, 3, 8, 8)}, ConfigError, "latents must be"),
        ({"latents": torch.zeros(0, 4, 8, 8)}, ConfigError, "latents must be"),
        ({"latents": np.zeros((1, 4, 8, 8))}, ConfigError, "not ndarray"),
        ({"latents": torch.full((1, 4, 8, 8), torch.nan)}, NumericalError, "NaN"),
        ({"image": "PICTURE", "prompt": ["a", "b"]}, ConfigError, "1 images but 2 entries in prompt"),
        ({"image": "PICTURE", "prompt": 7}, ConfigError, "prompt must be"),
        ({"image": "PICTURE", "prompt": None}, ConfigError, "prompt must be"),
        ({"image": "PICTURE", "negative_prompt": ["a", "b"]}, ConfigError, "negative_prompt"),
        ({"image": "PICTURE", "config": 4}, ConfigError, "InversionConfig"),
        ({"image": "PICTURE", "noise": torch.zeros(2, 1, 4, 16, 16)}, ConfigError, "noise must be"),
        ({"image": "PICTURE", "generator": []}, ConfigError, "0 generators"),
        ({"image": "PICTURE", "generator": 5}, ConfigError, "generator must be"),
        ({"image": "PICTURE", "generator": ["x"]}, ConfigError, "generator must be"),
        ({"image": "PICTURE", "prompt": "\ud800"}, ConfigError, "surrogate"),
        ({"image": "missing.png"}, ImageError, "no file"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    make_editor: MakeEditor, picture: Image.Image, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    given: dict[str, Any] = {
        "config": FEW,
        **{k: picture if isinstance(v, str) and v == "PICTURE" else v for k, v in arguments.items()},
    }
    with pytest.raises(error, match=message):
        make_editor(scheduler="EulerAncestralDiscreteScheduler").invert(**given)


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        (None, {}, "target prompt"),
        ([], {}, "target prompt"),
        (["a", 3], {}, "strings"),
        ("a", {"guidance_scale": float("nan")}, "guidance_scale"),
        ("a", {"guidance_scale": -1}, "guidance_scale"),
        ("a", {"num_steps": 0}, "num_steps"),
        ("a", {"negative_prompt": ["a", "b"]}, "negative_prompt"),
        ("a", {"output_type": "gif"}, "output_type"),
    ],
)
def test_edits_that_make_no_sense_are_refused(
    editor: Editor, picture: Image.Image, prompt: Any, options: dict[str, Any], message: str
) -> None:
    inversion = editor.invert(picture, config=FEW)
    with pytest.raises(ConfigError, match=message):
        editor.edit(inversion, prompt, **options)


@pytest.mark.parametrize("prompt", [["a", "b"], [["a"], ["b"], []], [["a"], "b", "c"]])
def test_prompts_that_do_not_fit_a_batch_are_refused(editor: Editor, pictures: list[Image.Image], prompt: Any) -> None:
    inversion = editor.invert(pictures, config=FEW)
    with pytest.raises(ConfigError):
        editor.edit(inversion, prompt)


def test_a_foreign_object_is_no_inversion(editor: Editor) -> None:
    not_an_inversion: Any = {"latents": torch.zeros(1, 4, 8, 8)}
    for use in (editor.reconstruct, lambda value: editor.edit(value, "a")):
        with pytest.raises(ConfigError, match="expected an Inversion"):
            use(not_an_inversion)


def test_a_sampler_that_cannot_be_inverted_is_refused(make_editor: MakeEditor, picture: Image.Image) -> None:
    editor = make_editor()
    import diffusers

    editor.pipe.scheduler = diffusers.PNDMScheduler.from_config(editor.pipe.scheduler.config)
    with pytest.raises(SchedulerError, match="PNDMScheduler does not take single affine steps"):
        editor.invert(picture, config=FEW)
    editor.pipe.scheduler = diffusers.DDIMScheduler.from_config(
        editor.pipe.scheduler.config,
        prediction_type="v_prediction",
        set_alpha_to_one=True,
        clip_sample=False,
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
    with pytest.raises(SchedulerError, match=r"cannot be inverted.*more sampler steps"):
        editor.invert(picture, config=InversionConfig(num_steps=1))


def test_nan_is_an_error_that_names_step_and_dtype(editor: Editor, picture: Image.Image) -> None:
    with torch.no_grad():
        editor.pipe.unet.conv_out.weight.fill_(torch.inf)
    with pytest.raises(NumericalError, match=r"timestep \d+ \(network in float32\)"):
        editor.invert(picture, config=FEW)


def test_a_foreign_pipeline_is_refused() -> None:
    with pytest.raises(ModelError, match="not supported"):
        Editor(object())
