"""What holds of every edit of an inversion that was kept for edits, whatever the sampler, the family and the rule."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDPMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    TCDScheduler,
)
from torch import Tensor

from parity import PROMPTS, relative, start
from quick import slow_but
from renoise import Editor, Inversion, InversionConfig, Progress, StorageError, presets
from renoise.edit_rules import EditRule, KeepNothing, KeepStructure, PlainSampling
from tiny_pipelines import BUILDERS

# By name: the pipeline, its sampler if it is another, and the settings beside those of the preset.
CASES: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "ddim": ("sd15-ddim", None, {}),
    "ddim without noise": ("sd15-ddim", None, {"eta": 0.0}),
    "ddpm": ("sd15-ddim", DDPMScheduler, {}),
    "euler": ("sd15-ddim", EulerDiscreteScheduler, {}),
    "euler ancestral": ("sd15-ddim", EulerAncestralDiscreteScheduler, {}),
    "lcm": ("sd15-ddim", LCMScheduler, {}),
    "tcd": ("sd15-ddim", TCDScheduler, {}),
    "v prediction, guided": ("sd21-v", None, {"guidance_scale": 3.0}),
    "zero terminal SNR": ("sd21-zsnr", None, {}),
    "sdxl, a part of the schedule": ("sdxl", None, {"strength": 0.6}),
    "sd3": ("sd3", None, {}),
    "sd3, stochastic": ("sd3", FlowMatchEulerDiscreteScheduler, {}),
    "flux dev": ("flux-dev", None, {"guidance_scale": 3.5}),
    "flux schnell": ("flux-schnell", None, {}),
}
RULES: tuple[EditRule | None, ...] = (None, PlainSampling(), KeepStructure(0.9), KeepNothing(0.5))
NAMES = slow_but(["ddim", "lcm"], CASES)


def editor_of(case: str) -> Editor:
    name, sampler, _ = CASES[case]
    pipe: Any = BUILDERS[name]()
    if sampler is not None:
        options = {"stochastic_sampling": True} if sampler is FlowMatchEulerDiscreteScheduler else {}
        pipe.scheduler = sampler.from_config(pipe.scheduler.config, **options)
    return Editor(pipe)


def settings_of(case: str, editor: Editor) -> InversionConfig:
    return replace(InversionConfig.for_pipeline(editor.pipe, "edit"), num_steps=4, **CASES[case][2])


def inverted(case: str, editor: Editor, count: int = 2, **options: Any) -> tuple[Tensor, Inversion]:
    z_0 = start(editor, count)
    return z_0, editor.invert(latents=z_0, prompt=list(PROMPTS[:count]), config=settings_of(case, editor), **options)


@pytest.mark.parametrize("case", NAMES)
def test_the_source_prompt_and_strength_0_give_the_reconstruction(case: str) -> None:
    editor = editor_of(case)
    told: list[Progress] = []
    z_0, inversion = inverted(case, editor, progress=told.append)
    cost = 2 if "guided" in case else 1
    assert inversion.network_passes == inversion.num_steps * cost == len(told) * cost
    again = editor.reconstruct(inversion, "latent")
    assert torch.equal(again, z_0)
    own: dict[str, Any] = {"guidance_scale": inversion.config.guidance_scale, "output_type": "latent"}
    for rule in RULES:
        assert torch.equal(editor.edit(inversion, list(PROMPTS[:2]), rule=rule, **own), again)
        # One target of two is the source prompt, beside another one.
        mixed = editor.edit(inversion, [[PROMPTS[0], "a zebra"], [PROMPTS[1]]], rule=rule, **own)
        assert torch.equal(mixed[[0, 2]], again)
        assert not torch.equal(mixed[1], again[0])
    for keep in (None, "auto", "nothing"):
        assert torch.equal(editor.edit(inversion, "a zebra", strength=0.0, keep=keep, **own), again)


@pytest.mark.parametrize("case", NAMES)
def test_the_sources_walk_is_exact_where_the_network_runs(case: str) -> None:
    """The walk takes the source's latents for the source prompt; by its rule it comes to the same."""
    editor = editor_of(case)
    z_0, inversion = inverted(case, editor)
    told = replace(inversion, for_edits=False)  # so that the rule is asked
    own: dict[str, Any] = {"guidance_scale": inversion.config.guidance_scale, "output_type": "latent"}
    for rule in (PlainSampling(), KeepStructure(0.75)):
        drawn = editor.edit(told, list(PROMPTS[:2]), rule=rule, **own)
        assert relative(drawn, z_0) < 1e-3


@pytest.mark.parametrize("case", NAMES)
def test_images_of_a_batch_are_edited_as_they_are_alone(case: str, tmp_path: Path) -> None:
    editor = editor_of(case)
    z_0, inversion = inverted(case, editor)
    edits = editor.edit(inversion, "a zebra", output_type="latent")
    assert relative(edits, z_0) > 1e-3
    for i in range(2):
        alone = editor.invert(latents=z_0[i : i + 1], prompt=PROMPTS[i], config=inversion.config)
        assert relative(editor.edit(alone, "a zebra", output_type="latent"), edits[i : i + 1]) < 1e-3
    # From a file they are the same to the last bit.
    for kept, data in ((inversion, None), (inverted(case, editor, edit_data="float16")[1], torch.float16)):
        kept.save(tmp_path / "i.safetensors")
        loaded = Inversion.load(tmp_path / "i.safetensors")
        assert loaded.for_edits
        assert loaded.trajectory is not None
        assert loaded.trajectory.dtype == (data or torch.float32)
        assert loaded.nbytes == kept.nbytes < (tmp_path / "i.safetensors").stat().st_size
        drawn = editor.edit(kept, "a zebra", output_type="latent")
        assert torch.equal(editor.edit(loaded, "a zebra", output_type="latent"), drawn)
        assert relative(drawn, edits) < (0.05 if data else 1e-6)
        assert torch.equal(editor.reconstruct(loaded, "latent"), editor.reconstruct(kept, "latent"))


@pytest.mark.parametrize("case", ["ddim", "lcm"])
def test_the_noise_alone_draws_by_itself(case: str) -> None:
    editor = editor_of(case)
    z_0, inversion = inverted(case, editor)
    alone = inversion.alone()
    assert (alone.trajectory, alone.offsets, alone.images, alone.for_edits) == (None, None, None, False)
    told: list[Progress] = []
    again = editor.reconstruct(alone, "latent", progress=told.append)
    assert len(told) == 4
    # The last step of LCM has no noise, and what it misses is not in the noise.
    assert (relative(again, z_0) < 1e-3) == (inversion.offsets is None)
    plain = editor.edit(alone, "a zebra", output_type="latent")
    assert torch.equal(plain, editor.edit(alone, "a zebra", rule=PlainSampling(), output_type="latent"))


def test_the_knobs_own_rules_are_the_source_at_0() -> None:
    editor = editor_of("lcm")
    z_0, inversion = inverted("lcm", editor)
    for rule in (KeepStructure(0.0), KeepNothing(0.0)):
        assert torch.equal(editor.edit(inversion, "a zebra", rule=rule, output_type="latent"), z_0)


def test_scales_without_guidance_are_all_the_same() -> None:
    editor = editor_of("ddim")
    z_0, inversion = inverted("ddim", editor)
    drawn = editor.edit(inversion, list(PROMPTS[:2]), guidance_scale=0.0, output_type="latent")
    assert torch.equal(drawn, z_0)


@pytest.mark.parametrize("case", ["euler", "flux schnell", "ddim"])
def test_few_steps_of_a_deterministic_sampler_take_its_stochastic_twin(case: str) -> None:
    editor = editor_of(case)
    config = presets["edit-few-step"]
    inversion = editor.invert(latents=start(editor, 1), prompt=PROMPTS[0], config=config)
    # So (z_T, noises) alone know of the image: the last step at most has an offset.
    assert inversion.noise is not None
    assert inversion.offsets is None or len(inversion.offsets) == 1


def test_progress_of_an_edit_ends_at_its_total() -> None:
    editor = editor_of("lcm")
    _, inversion = inverted("lcm", editor)
    told: list[Progress] = []
    editor.edit(inversion, "a zebra", progress=told.append)
    assert [(at.done, at.total) for at in told] == [(i, 4) for i in range(1, 5)]


def test_a_seed_decides_a_direct_walk_of_any_sampler() -> None:
    editor = editor_of("ddim without noise")
    config = settings_of("ddim without noise", editor)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ends = [
            editor.invert(latents=start(editor, 1), prompt=PROMPTS[0], config=replace(config, seed=seed)).latents
            for seed in (0, 3)
        ]
    assert not torch.equal(*ends)


def test_a_file_with_pixels_of_another_size_is_refused(tmp_path: Path) -> None:
    editor = editor_of("lcm")
    _, inversion = inverted("lcm", editor)
    other = replace(inversion, images=(torch.zeros(3, 5, 7, dtype=torch.uint8),) * 2)
    with pytest.raises(StorageError, match="its images make no sense"):
        other.save(tmp_path / "i.safetensors")
