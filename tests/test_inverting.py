"""One inversion: its passes are counted, and noises come from the seed, from generators or as they are given."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from PIL import Image

from renoise import Editor, InversionConfig, Progress, Renoising

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
