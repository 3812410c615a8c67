"""Embeddings in place of prompts: what is taken, refused, kept in a file, and drawn again from it."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from parity import start
from renoise import ConfigError, Editor, Inversion, InversionConfig, NumericalError, Renoising
from renoise.embeddings import for_images, for_targets, require_sense, wording
from renoise.errors import IgnoredSettingWarning
from tiny_pipelines import BUILDERS

FEW = InversionConfig(num_steps=2, renoising=Renoising(2))


@cache
def editor_of(name: str) -> Editor:
    return Editor(BUILDERS[name]())


def drawn(rows: int, tokens: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, tokens, width, generator=torch.Generator().manual_seed(seed))


def of(name: str, rows: int = 1, tokens: int = 20, seed: int = 0, prefix: str = "") -> dict[str, Any]:
    """Return random embeddings that fit a tiny pipeline."""
    widths = editor_of(name).model.backbone.text_widths
    assert widths is not None
    made: dict[str, Any] = {f"{prefix}prompt_embeds": drawn(rows, tokens, widths[0] or 0, seed)}
    if widths[1] is not None:
        made[f"{prefix}pooled_prompt_embeds"] = drawn(rows, 1, widths[1], seed + 1)[:, 0]
    return made


@pytest.mark.parametrize("guidance", [pytest.param(1.0, marks=pytest.mark.slow), 1.5])
@pytest.mark.parametrize("rows", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("name", ["sd15-ddim", "sdxl", "sd3", "flux-dev"])
def test_a_file_keeps_them_and_reconstructs(name: str, rows: int, guidance: float, tmp_path: Path) -> None:
    editor, z_0 = editor_of(name), 0.5 * start(editor_of(name), 2)
    flux = name == "flux-dev"
    config = InversionConfig(
        num_steps=8,
        strength=0.25,
        renoising=Renoising(10),
        guidance_scale=1.0 if flux else guidance,
        true_cfg_scale=guidance if flux else 1.0,
    )
    given = of(name, rows)
    if guidance > 1.0:
        given = {**given, **of(name, rows, seed=5, prefix="negative_")}
    inversion = editor.invert(latents=z_0, config=config, **given)
    inversion.save(tmp_path / "i.safetensors")
    loaded = Inversion.load(tmp_path / "i.safetensors")
    assert set(loaded.text_embeds) == set(given)
    again = editor.reconstruct(loaded, "latent")
    assert torch.equal(again, editor.reconstruct(inversion, "latent"))
    assert float((again - z_0).norm() / z_0.norm()) < 0.05
    options: dict[str, Any] = {} if flux else {"guidance_scale": guidance}
    other = editor.edit(loaded, **options, **of(name, rows, seed=9), output_type="latent")
    assert float((other - z_0).norm() / z_0.norm()) > 1e-3


def test_a_file_without_them_holds_what_it_held(tmp_path: Path) -> None:
    editor = editor_of("sd15-ddim")
    editor.invert(latents=start(editor, 1), prompt="a", config=FEW).save(tmp_path / "i.safetensors")
    with safe_open(tmp_path / "i.safetensors", framework="pt") as file:
        assert sorted(file.keys()) == ["latents", "residuals"]
        record = str(file.metadata())
    assert not any(name in record for name in ("timesteps\\", "sigmas", "clip_skip", "guidance_rescale"))


def test_rows_are_images_and_targets() -> None:
    editor = editor_of("sd15-ddim")
    one, two = start(editor, 1), start(editor, 2)
    single = editor.invert(latents=one, prompt="a", config=FEW)
    assert isinstance(editor.edit(single, **of("sd15-ddim", 3)), list)
    assert not isinstance(editor.edit(single, **of("sd15-ddim", 1)), list)
    batch = editor.invert(latents=two, config=FEW, **of("sd15-ddim", 2))
    both = editor.edit(batch, **of("sd15-ddim", 2, seed=3), output_type="latent")
    embeds = of("sd15-ddim", 2, seed=3)["prompt_embeds"]
    alone = editor.edit(batch, prompt_embeds=embeds[1:], output_type="latent")
    torch.testing.assert_close(both[1], alone[1])
    assert not torch.allclose(both[0], alone[0], atol=1e-3)
    with pytest.raises(ConfigError, match="3 target prompts"):
        editor.edit(batch, **of("sd15-ddim", 3))
    with pytest.raises(ConfigError, match="must have 1 or 2 rows for these images, not 3"):
        editor.invert(latents=two, config=FEW, **of("sd15-ddim", 3))


def test_an_edit_takes_the_negative_ones_of_the_inversion() -> None:
    editor = editor_of("sdxl")
    guided = InversionConfig(num_steps=2, renoising=Renoising(0), guidance_scale=2.0)
    negative = of("sdxl", seed=4, prefix="negative_")
    inversion = editor.invert(latents=start(editor, 1), config=guided, **of("sdxl"), **negative)
    target = of("sdxl", seed=8)
    inherited = editor.edit(inversion, **target, output_type="latent")
    assert torch.equal(inherited, editor.edit(inversion, **target, **negative, output_type="latent"))
    other = editor.edit(inversion, **target, **of("sdxl", seed=6, prefix="negative_"), output_type="latent")
    assert not torch.allclose(inherited, other)
    with pytest.raises(ConfigError, match="the embeddings of the prompts have 77 tokens, those of the negative"):
        editor.edit(inversion, "a dog")
    editor.edit(inversion, "a dog", negative_prompt="a cat")


Z = torch.zeros


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("sd15-ddim", {"prompt_embeds": Z(1, 24, 8)}, r"prompt_embeds must be a tensor \(rows, tokens, 16\)"),
        ("sd15-ddim", {"prompt_embeds": Z(24, 16)}, r"not \(24, 16\)"),
        ("sd15-ddim", {"prompt_embeds": Z(1, 0, 16)}, r"not \(1, 0, 16\)"),
        ("sd15-ddim", {"prompt_embeds": Z(0, 20, 16)}, r"not \(0, 20, 16\)"),
        (
            "sd15-ddim",
            {"prompt_embeds": Z(1, 20, 16, dtype=torch.int64)},
            "floating-point tensor .* not of torch.int64",
        ),
        ("sd15-ddim", {"prompt_embeds": Z(1, 20, 16).to_sparse()}, "with values, not a sparse one"),
        ("sd15-ddim", {"prompt_embeds": Z(1, 20, 16, device="meta")}, "not a meta one"),
        ("sd15-ddim", {"prompt_embeds": "a cat"}, "not str"),
        ("sd15-ddim", {"prompt_embeds": [[[0.0] * 16]]}, "not list"),
        ("sd15-ddim", {"prompt_embeds": Z(1, 20, 16), "pooled_prompt_embeds": Z(1, 16)}, "takes no pooled embedding"),
        ("sd15-ddim", {"prompt_embeds": Z(1, 20, 16), "prompt": "a cat"}, "prompt and prompt_embeds were both given"),
        (
            "sd15-ddim",
            {"negative_prompt_embeds": Z(1, 20, 16), "negative_prompt": ""},
            "negative_prompt and negative_prompt_embeds were both given",
        ),
        (
            "sd15-ddim",
            {"prompt_embeds": Z(1, 154, 16), "negative_prompt_embeds": Z(1, 77, 16)},
            "prompt_embeds has 154 tokens, and negative_prompt_embeds 77; .*pad_conditioning_tensors_to_same_length",
        ),
        ("sdxl", {"prompt_embeds": Z(1, 20, 40)}, "pooled_prompt_embeds is missing beside prompt_embeds"),
        ("sdxl", {"pooled_prompt_embeds": Z(1, 24)}, "prompt_embeds is missing beside pooled_prompt_embeds"),
        ("sdxl", {"prompt_embeds": Z(1, 20, 40), "pooled_prompt_embeds": Z(1, 25)}, r"\(rows, 24\) for this model"),
        ("sdxl", {"prompt_embeds": Z(2, 20, 40), "pooled_prompt_embeds": Z(1, 24)}, "has 1 rows, and prompt_embeds 2"),
        ("sdxl", {"negative_prompt_embeds": Z(1, 20, 40)}, "negative_pooled_prompt_embeds is missing"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(name: str, given: dict[str, Any], message: str) -> None:
    editor, passes = editor_of(name), list[Any]()
    with pytest.raises(ConfigError, match=message):
        editor.invert(latents=start(editor, 1), config=FEW, progress=passes.append, **given)
    inversion = editor.invert(latents=start(editor, 1), config=FEW)
    with pytest.raises(ConfigError, match=message):
        editor.edit(inversion, **{"prompt": None if "prompt_embeds" in given else "a", **given})
    assert not passes


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_embeddings_that_are_not_finite_are_refused(value: float) -> None:
    editor = editor_of("sd15-ddim")
    with pytest.raises(NumericalError, match="NaN or infinity in prompt_embeds"):
        editor.invert(latents=start(editor, 1), config=FEW, prompt_embeds=torch.full((1, 20, 16), value))


def test_a_name_that_is_none_of_them_is_pythons_error() -> None:
    editor = editor_of("sd15-ddim")
    with pytest.raises(TypeError, match="unexpected keyword argument 'prompt_embed'"):
        editor.invert(latents=start(editor, 1), prompt_embed=Z(1, 20, 16))  # type: ignore[call-arg]


def test_negative_prompts_beside_long_embeddings_say_what_is_wanted() -> None:
    editor = editor_of("sd15-ddim")
    inversion = editor.invert(latents=start(editor, 1), config=FEW, **of("sd15-ddim", tokens=154))
    with pytest.raises(ConfigError, match="give negative_prompt_embeds"):
        editor.edit(inversion, **of("sd15-ddim", tokens=154), guidance_scale=3.0)
    negative = of("sd15-ddim", tokens=154, prefix="negative_")
    editor.edit(inversion, **of("sd15-ddim", tokens=154), guidance_scale=3.0, **negative)


def test_types_and_gradients_of_embeddings_do_not_matter() -> None:
    editor = editor_of("sd15-ddim")
    embeds = of("sd15-ddim")["prompt_embeds"]
    plain = editor.invert(latents=start(editor, 1), config=FEW, prompt_embeds=embeds.bfloat16().float())
    others = [embeds.bfloat16(), embeds.bfloat16().double().requires_grad_()]
    for other in others:
        inversion = editor.invert(latents=start(editor, 1), config=FEW, prompt_embeds=other)
        assert torch.equal(inversion.latents, plain.latents)
        assert inversion.prompt_embeds is not None
        assert not inversion.prompt_embeds.requires_grad


def test_skipped_layers_are_remarked_on_beside_embeddings() -> None:
    editor = editor_of("sd15-ddim")
    with pytest.warns(IgnoredSettingWarning, match="clip_skip has no effect on embeddings"):
        inversion = editor.invert(latents=start(editor, 1), config=FEW, clip_skip=1, **of("sd15-ddim"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", IgnoredSettingWarning)
        editor.reconstruct(inversion)


def test_an_edit_rule_asks_the_source_by_its_embeddings() -> None:
    from dataclasses import dataclass

    from renoise.edit_rules import EditStep

    @dataclass(frozen=True)
    class Source:
        max_passes: int = 1

        def advance(self, at: EditStep) -> torch.Tensor:
            return at.step.apply(at.z, at.predict_source(at.z), at.noise)

    editor = editor_of("sd15-ddim")
    inversion = editor.invert(latents=start(editor, 2), config=FEW, **of("sd15-ddim", 2))
    drawn = editor.edit(inversion, "a dog", rule=Source(), output_type="latent")
    torch.testing.assert_close(drawn, editor.reconstruct(inversion, "latent"))


def test_rows_of_targets() -> None:
    positive, negative = {"prompt_embeds": drawn(3, 2, 4)}, {"negative_prompt_embeds": drawn(2, 2, 4)}
    found = for_targets(positive, negative, [0, 0, 1], 2)
    assert torch.equal(found["negative_prompt_embeds"], negative["negative_prompt_embeds"][[0, 0, 1]])
    with pytest.raises(ConfigError, match="must have 1 or 2 or 3 rows"):
        for_targets(positive, {"negative_prompt_embeds": drawn(4, 2, 4)}, [0, 0, 1], 2)
    with pytest.raises(ConfigError, match="rows"):
        for_images(positive, 2)


def test_an_edit_wants_a_prompt_or_embeddings() -> None:
    with pytest.raises(ConfigError, match="give prompt_embeds"):
        wording(None, {})


@pytest.mark.parametrize(
    "embeds",
    [
        {"prompt_embeds": Z(3, 2, 4)},
        {"prompt_embeds": Z(1, 4)},
        {"prompt_embeds": Z(1, 2, 4, dtype=torch.int32)},
        {"prompt_embeds": torch.full((1, 2, 4), float("nan"))},
        {"prompt_embeds": Z(1, 0, 4)},
        {"pooled_prompt_embeds": Z(1, 4)},
    ],
)
def test_a_file_with_others_makes_no_sense(embeds: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ConfigError, match="make no sense"):
        require_sense(embeds, 2)


def test_compel_weighs_words_and_reads_long_prompts() -> None:
    """The way of docs/coming-from-diffusers.md, on the bundled model."""
    from compel import Compel  # type: ignore[import-untyped, unused-ignore]

    editor = Editor.from_pretrained("mini", device="cpu")
    pipe: Any = editor.pipe
    compel = Compel(tokenizer=pipe.tokenizer, text_encoder=pipe.text_encoder, truncate_long_prompts=False)
    x = torch.rand(3, *editor.size, generator=torch.Generator().manual_seed(0))
    config = InversionConfig(num_steps=4, strength=0.5, renoising=Renoising(0))
    with torch.no_grad():
        plain, heavy, long = (compel(text) for text in ("a cat", "a (cat)1.8", "a cat, " * 40))
        empty = compel("")
        long, unshown = compel.pad_conditioning_tensors_to_same_length([long, empty])
    inversion = editor.invert(x, prompt_embeds=plain, config=config)
    drawn = [editor.edit(inversion, prompt_embeds=e, guidance_scale=1.0, output_type="latent") for e in (plain, heavy)]
    assert float((drawn[0] - drawn[1]).norm() / drawn[0].norm()) > 1e-3
    assert long.shape[1] > pipe.tokenizer.model_max_length
    editor.edit(inversion, prompt_embeds=long, negative_prompt_embeds=unshown, guidance_scale=2.0)
    with pytest.raises(ConfigError, match="pad_conditioning_tensors_to_same_length"):
        editor.edit(inversion, prompt_embeds=long, negative_prompt_embeds=empty, guidance_scale=2.0)
