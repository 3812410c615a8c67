"""One inversion: its passes are counted, and noises come from the seed, from generators or as they are given."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from PIL import Image

from renoise import EditLosses, Editor, InversionConfig, Progress, Renoising
from renoise.errors import IgnoredSettingWarning, RenoiseWarning

MakeEditor = Callable[..., Editor]
FEW = InversionConfig(num_steps=3, renoising=Renoising(2))


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_network_passes_are_counted_honestly(editor: Editor, picture: Image.Image, guidance_scale: float) -> None:
    rows: list[int] = []
    hook = editor.pipe.unet.register_forward_pre_hook(lambda _, args: rows.append(args[0].shape[0]))
    config = InversionConfig(
        num_steps=4, guidance_scale=guidance_scale, renoising=Renoising(3), renoising_low_noise=Renoising(0)
    )
    told: list[Progress] = []
    inversion = editor.invert([picture, picture], "a lion", config=config, progress=told.append)
    hook.remove()
    assert inversion.network_passes == sum(rows) / 2
    assert [p.done for p in told][-1] == told[-1].total == inversion.network_passes
    assert [p.timestep for p in told] == sorted(p.timestep for p in told)


def test_given_noise_and_generators_replace_the_seed(make_editor: MakeEditor, picture: Image.Image) -> None:
    editor = make_editor(scheduler="LCMScheduler")
    seeded = editor.invert([picture, picture], config=FEW)
    assert seeded.noise is not None
    given = editor.invert([picture, picture], config=FEW, noise=seeded.noise)
    assert torch.equal(given.latents, seeded.latents)
    assert given.seed is None
    each = editor.invert([picture] * 2, config=FEW, generator=[torch.Generator().manual_seed(0) for _ in range(2)])
    assert torch.equal(each.latents, seeded.latents)
    one = editor.invert([picture, picture], config=FEW, generator=torch.Generator().manual_seed(0))
    assert one.noise is not None
    assert torch.equal(one.noise[:, 0], seeded.noise[:, 0])
    assert not torch.equal(one.noise[:, 1], seeded.noise[:, 1])


def test_a_guided_inversion_leaves_the_edit_losses_out_and_says_so(editor: Editor, picture: Image.Image) -> None:
    guided = replace(FEW, guidance_scale=3.0)
    with pytest.warns(IgnoredSettingWarning, match="edit losses are left out") as caught:
        inversion = editor.invert(picture, "a lion", config=replace(guided, edit_losses=EditLosses()))
    assert caught[0].filename == __file__
    plain = editor.invert(picture, "a lion", config=guided)
    assert torch.equal(inversion.latents, plain.latents)
    assert inversion.network_passes == plain.network_passes == 3 * 3 * 2
    assert inversion.config == guided


@pytest.mark.parametrize("config", [replace(FEW, edit_losses=EditLosses()), replace(FEW, guidance_scale=3.0)])
def test_edit_losses_or_guidance_alone_are_not_remarked_on(
    editor: Editor, picture: Image.Image, config: InversionConfig
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RenoiseWarning)
        assert editor.invert(picture, "a lion", config=config).config == config


def test_the_published_procedure_stays_what_it_is_under_guidance(editor: Editor, picture: Image.Image) -> None:
    config = replace(FEW, guidance_scale=3.0, edit_losses=EditLosses.released())
    with warnings.catch_warnings():
        warnings.simplefilter("error", RenoiseWarning)
        inversion = editor.invert(picture, "a lion", config=config)
    assert inversion.config == config
    assert not torch.equal(inversion.latents, editor.invert(picture, config=replace(config, edit_losses=None)).latents)
