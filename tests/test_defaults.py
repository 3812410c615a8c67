"""What an inversion and an edit do without being told: the preset and the guidance scale that suit the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from PIL import Image

from renoise import Editor, InversionConfig, Renoising, presets
from renoise.defaults import preset_for, preset_name

MakeEditor = Callable[..., Editor]
FEW = InversionConfig(num_steps=3, renoising=Renoising(2))


def test_the_default_guidance_of_an_edit_is_what_suits_the_model(make_editor: MakeEditor, picture: Image.Image) -> None:
    def guidance_of(editor: Editor, config: InversionConfig) -> float:
        inversion = editor.invert(picture, "a lion", config=config)
        default = editor.edit(inversion, "a cat", output_type="latent")
        scale = editor.edit_guidance(inversion.config)
        assert torch.equal(default, editor.edit(inversion, "a cat", guidance_scale=scale, output_type="latent"))
        return scale

    assert guidance_of(make_editor(), FEW) == 1.5
    # a guided inversion is edited with its own guidance, and a model of few steps without any
    assert guidance_of(make_editor(), replace(FEW, guidance_scale=2.5)) == 2.5
    turbo = make_editor(scheduler="EulerAncestralDiscreteScheduler", timestep_spacing="trailing")
    assert guidance_of(turbo, FEW) == 1.0


def test_the_default_settings_are_the_pipelines_preset(make_editor: MakeEditor, picture: Image.Image) -> None:
    inversion = make_editor(scheduler="LCMScheduler").invert(picture)
    assert inversion.config == InversionConfig.for_pipeline(make_editor(scheduler="LCMScheduler").pipe)
    assert inversion.prompt == ""


def test_a_presets_name_and_its_settings_go_together(make_editor: MakeEditor) -> None:
    for scheduler in ("DDIMScheduler", "LCMScheduler"):
        pipe = make_editor(scheduler=scheduler).pipe
        assert preset_for(pipe, "paper") == presets[preset_name(pipe)]
        assert preset_for(pipe, "balanced") == presets[preset_name(pipe)].variant("balanced")
        assert replace(preset_for(pipe), eta=None) == replace(presets[preset_name(pipe)].variant("edit"), eta=None)
        assert preset_for(pipe, "reverse") == presets[preset_name(pipe)].reversing()
