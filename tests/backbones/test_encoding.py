"""Embeddings in place of prompts, skipped layers and rescaled guidance: what the pipeline's own call makes of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch

from parity import PROMPTS, ours, relative, start, theirs
from renoise import ConfigError, Editor, InversionConfig, ModelError, Renoising
from renoise.backbones.base import Request
from tiny_pipelines import BUILDERS

FAMILIES = ["sd15-ddim", "sdxl", *(pytest.param(name, marks=pytest.mark.slow) for name in ("lcm", "sd3", "flux-dev"))]
FEW = InversionConfig(num_steps=2, renoising=Renoising(1))


def embeds_of(pipe: Any, prompts: list[str], prefix: str = "") -> dict[str, Any]:
    """Return embeddings as a user makes them, by the pipeline's own method."""
    with torch.no_grad():
        if "Flux" in type(pipe).__name__:
            tokens, pooled, _ = pipe.encode_prompt(prompt=prompts, prompt_2=None)
        elif "XL" in type(pipe).__name__ or "3" in type(pipe).__name__:
            more = {"prompt_2": None, "prompt_3": None} if "3" in type(pipe).__name__ else {}
            tokens, _, pooled, _ = pipe.encode_prompt(prompt=prompts, do_classifier_free_guidance=False, **more)
        else:
            tokens, _ = pipe.encode_prompt(prompts, "cpu", 1, False)
            return {f"{prefix}prompt_embeds": tokens}
    return {f"{prefix}prompt_embeds": tokens, f"{prefix}pooled_prompt_embeds": pooled}


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FAMILIES)
def test_embeddings_draw_what_the_pipelines_own_call_draws_of_them(name: str, count: int) -> None:
    editor = Editor(BUILDERS[name]())
    latents, prompts = start(editor, count), list(PROMPTS[:count])
    embeds = embeds_of(editor.pipe, prompts)
    embeds = {key: t.roll(1, -1) for key, t in embeds.items()}  # what no prompt makes
    expected = theirs(editor.pipe, latents, None, guidance_scale=1.0, **embeds)
    drawn = ours(editor, latents, [""] * count, None, guidance_scale=1.0, text_embeds=embeds)
    assert relative(drawn, expected) < 1e-4
    assert relative(ours(editor, latents, prompts, None, guidance_scale=1.0), expected) > 1e-3


@pytest.mark.parametrize("negative", ["embeddings", "text", pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["sd15-ddim", "sdxl", "sd3", "flux-dev"])
def test_guidance_takes_embeddings_on_either_side(name: str, negative: str | None) -> None:
    editor = Editor(BUILDERS[name]())
    latents = start(editor, 1)
    scale: dict[str, float] = {"guidance_scale": 4.0}
    if name == "flux-dev":
        scale = {"guidance_scale": 3.5, "true_cfg_scale": 4.0}
    embeds = {key: t.roll(1, -1) for key, t in embeds_of(editor.pipe, ["a cat"]).items()}
    against: dict[str, Any] = {}
    if negative == "embeddings":
        embeds |= {key: t.roll(2, -1) for key, t in embeds_of(editor.pipe, ["a dog"], "negative_").items()}
    elif negative == "text" or name == "flux-dev":  # Flux does nothing without a negative prompt, ours takes ""
        against = {"negative_prompt": "blurry" if negative else ""}
    expected = theirs(editor.pipe, latents, None, **scale, **embeds, **against)
    negatives = list(against.values()) or None
    assert relative(ours(editor, latents, [""], negatives, text_embeds=embeds, **scale), expected) < 1e-4


@pytest.mark.parametrize("name", ["sd3", "flux-dev"])
def test_negative_prompts_are_read_in_the_length_of_the_embeddings(name: str) -> None:
    editor = Editor(BUILDERS[name]())
    embeds = {key: t[:, :150] if t.ndim == 3 else t for key, t in embeds_of(editor.pipe, ["a cat"]).items()}
    request = Request([""], ["blurry"], 4.0, (64, 64), 4.0 if name == "flux-dev" else 1.0, None, embeds)
    with torch.no_grad():
        condition = editor.model.condition(request)
    assert condition.negative is not None
    assert condition.negative["text"].shape == condition.positive["text"].shape == embeds["prompt_embeds"].shape


class Wrapper:
    """A text encoder as transformers 4 had it, with its layers one name further down."""

    def __init__(self, encoder: Any) -> None:
        self.text_model = SimpleNamespace(final_layer_norm=encoder.final_layer_norm)
        self.config, self.dtype, self._encoder = encoder.config, encoder.dtype, encoder

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        return self._encoder(*inputs, **options)


@pytest.mark.parametrize("clip_skip", [0, 1, 2])
def test_stable_diffusion_skips_layers_as_its_pipeline_does(clip_skip: int) -> None:
    pipe: Any = BUILDERS["sd15-ddim"]()
    with torch.no_grad():
        mine = Editor(pipe).model.condition(Request(["a cat"], None, 1.0, (64, 64), clip_skip=clip_skip))
        plain = Editor(pipe).model.condition(Request(["a cat"], None, 1.0, (64, 64)))
        encoder = pipe.text_encoder
        object.__setattr__(pipe, "text_encoder", Wrapper(encoder))
        expected, _ = pipe.encode_prompt(["a cat"], "cpu", 1, False, clip_skip=clip_skip)
    torch.testing.assert_close(mine.positive["text"], expected)
    assert torch.allclose(mine.positive["text"], plain.positive["text"]) == (clip_skip == 0)


@pytest.mark.parametrize("name", ["sdxl", "sd3"])
def test_others_skip_layers_as_their_own_call_does(name: str) -> None:
    editor = Editor(BUILDERS[name]())
    latents = start(editor, 1)
    expected = theirs(editor.pipe, latents, PROMPTS[:1], guidance_scale=3.0, clip_skip=1)
    assert relative(ours(editor, latents, PROMPTS[:1], None, guidance_scale=3.0, clip_skip=1), expected) < 1e-4
    assert relative(ours(editor, latents, PROMPTS[:1], None, guidance_scale=3.0), expected) > 1e-3


@pytest.mark.parametrize("name", ["sd15-ddim", "sdxl", "sd3"])
@pytest.mark.parametrize("clip_skip", [9, 10**6])
def test_more_layers_than_there_are_cannot_be_skipped(name: str, clip_skip: int) -> None:
    editor = Editor(BUILDERS[name]())
    with pytest.raises(ConfigError, match="more layers than the text encoder has"):
        editor.invert(latents=start(editor, 1), prompt="a", config=FEW, clip_skip=clip_skip)


@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["sd15-ddim", "sd21-zsnr", "sdxl"])
def test_guidance_is_rescaled_as_the_pipeline_does(name: str, count: int, share: float) -> None:
    editor = Editor(BUILDERS[name]())
    latents, prompts = start(editor, count), PROMPTS[:count]
    expected = theirs(editor.pipe, latents, prompts, guidance_scale=6.0, guidance_rescale=share)
    drawn = ours(editor, latents, prompts, None, guidance_scale=6.0, guidance_rescale=share)
    assert relative(drawn, expected) < 1e-4
    assert relative(ours(editor, latents, prompts, None, guidance_scale=6.0), expected) > 1e-3


ENCODERS = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "text_encoder_3", "tokenizer_3")


def without_encoders(name: str) -> tuple[Any, dict[str, Any]]:
    """Return a pipeline whose text encoders were dropped, and embeddings that they made before."""
    pipe: Any = BUILDERS[name]()
    embeds = embeds_of(pipe, ["a cat"])
    pipe.register_modules(**{part: None for part in ENCODERS if hasattr(pipe, part)})
    return pipe, embeds


@pytest.mark.parametrize("name", FAMILIES)
def test_a_pipeline_without_text_encoders_works_with_embeddings(name: str) -> None:
    pipe, embeds = without_encoders(name)
    editor, whole = Editor(pipe), Editor(BUILDERS[name]())
    z_0 = start(editor, 1)
    inversion = editor.invert(latents=z_0, config=FEW, **embeds)
    expected = whole.invert(latents=z_0, prompt="a cat", config=FEW)
    torch.testing.assert_close(inversion.latents, expected.latents)
    assert editor.reconstruct(inversion, "latent").isfinite().all()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_prompt_then_names_what_is_missing(name: str) -> None:
    pipe, _ = without_encoders(name)
    editor = Editor(pipe)
    with pytest.raises(ConfigError, match="no text_encoder and no tokenizer") as caught:
        editor.invert(latents=start(editor, 1), prompt="a cat", config=FEW)
    assert "prompt_embeds" in str(caught.value)
    assert ("pooled_prompt_embeds" in str(caught.value)) == (name not in ("sd15-ddim", "lcm"))


@pytest.mark.parametrize("name", ["sd15-ddim", "sd3"])
def test_guidance_then_wants_negative_embeddings(name: str) -> None:
    pipe, embeds = without_encoders(name)
    editor, z_0 = Editor(pipe), start(Editor(pipe), 1)
    inversion = editor.invert(latents=z_0, config=FEW, **embeds)
    with pytest.raises(ConfigError, match="to read a negative prompt with; give negative_prompt_embeds"):
        editor.edit(inversion, guidance_scale=3.0, **embeds)
    negative = {f"negative_{key}": 0.0 * t for key, t in embeds.items()}
    editor.edit(inversion, guidance_scale=3.0, **embeds, **negative)


def test_the_zeros_of_sdxl_are_read_by_no_encoder() -> None:
    pipe, embeds = without_encoders("sdxl")
    editor = Editor(pipe)
    inversion = editor.invert(latents=start(editor, 1), config=FEW, **embeds)
    editor.edit(inversion, guidance_scale=3.0, **embeds)


@pytest.mark.parametrize("change", ["requires_aesthetics_score", "time ids"])
@pytest.mark.parametrize("cls", ["StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"])
def test_a_refiner_is_refused_by_its_facts(change: str, cls: str) -> None:
    parts = dict(BUILDERS["sdxl"]().components)
    options: dict[str, Any] = {"text_encoder": None, "tokenizer": None}
    if change == "requires_aesthetics_score":
        options["requires_aesthetics_score"] = True
    else:
        config = parts["unet"].config
        width = config.projection_class_embeddings_input_dim - config.addition_time_embed_dim
        parts["unet"].register_to_config(projection_class_embeddings_input_dim=width)
    pipe = getattr(diffusers, cls)(**{**parts, **options})
    with pytest.raises(ModelError, match="SDXL refiner, which only finishes images"):
        Editor(pipe)


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        pytest.param("sd15-ddim", "StableDiffusionImg2ImgPipeline", marks=pytest.mark.slow),
        ("sd15-ddim", "StableDiffusionInpaintPipeline"),
        ("lcm", "LatentConsistencyModelImg2ImgPipeline"),
        pytest.param("sdxl", "StableDiffusionXLImg2ImgPipeline", marks=pytest.mark.slow),
        ("sdxl", "StableDiffusionXLInpaintPipeline"),
        pytest.param("sd3", "StableDiffusion3Img2ImgPipeline", marks=pytest.mark.slow),
        pytest.param("sd3", "StableDiffusion3InpaintPipeline", marks=pytest.mark.slow),
        pytest.param("flux-dev", "FluxImg2ImgPipeline", marks=pytest.mark.slow),
        pytest.param("flux-dev", "FluxInpaintPipeline", marks=pytest.mark.slow),
    ],
)
def test_pipelines_for_other_tasks_invert_and_edit_as_the_familys_first(name: str, cls: str) -> None:
    one: Any = BUILDERS[name]()
    parts = {**one.components}
    if hasattr(one, "safety_checker"):
        parts["requires_safety_checker"] = False
    first, other = Editor(one), Editor(getattr(diffusers, cls)(**parts))
    z_0 = start(first, 1)
    inversions = [editor.invert(latents=z_0, prompt="a cat", config=FEW) for editor in (first, other)]
    assert torch.equal(inversions[0].latents, inversions[1].latents)
    edits = [
        editor.edit(inversion, "a dog", guidance_scale=2.0, output_type="latent")
        for editor, inversion in zip((first, other), inversions, strict=True)
    ]
    assert torch.equal(*edits)


def test_an_inpainting_network_is_refused_in_every_pipeline() -> None:
    pipe: Any = BUILDERS["sd15-ddim"]()
    pipe.unet.register_to_config(in_channels=9)
    inpaint = diffusers.StableDiffusionInpaintPipeline(**pipe.components, requires_safety_checker=False)
    with pytest.raises(ModelError, match="inpainting"):
        Editor(inpaint)
