"""Edit enhancement in a whole inversion: what it costs, and that images of a batch do not see each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from renoise import EditLosses, Editor, InversionConfig, Renoising
from renoise.enhancement import Enhancement
from renoise.network import Network
from renoise.noise import separate_streams

MakeEditor = Callable[..., Editor]


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerAncestralDiscreteScheduler", "LCMScheduler"])
@pytest.mark.parametrize(
    "losses", [EditLosses(), EditLosses.released(), EditLosses(pair=0.0), EditLosses(patch_kl=0.0)]
)
@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_edit_losses_in_a_batch(
    make_editor: MakeEditor, scheduler: str, losses: EditLosses, guidance_scale: float
) -> None:
    editor = make_editor(scheduler=scheduler)
    z_0 = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    config = InversionConfig(
        num_steps=4,
        strength=0.5,
        renoising=Renoising(2, average=(1, 3)),
        edit_losses=losses,
        guidance_scale=guidance_scale,
    )
    rows: list[int] = []
    hook = editor.pipe.unet.register_forward_pre_hook(lambda _, args: rows.append(args[0].shape[0]))
    together = editor.invert(latents=z_0, prompt=["a lion", "a cat"], config=config)
    hook.remove()
    assert together.network_passes == sum(rows) / 2
    alone = editor.invert(latents=z_0[1:], prompt="a cat", config=config)
    assert relative(together.latents[1:], alone.latents) < 1e-3
    again = editor.invert(latents=z_0, prompt=["a lion", "a cat"], config=config, noise=together.noise)
    assert torch.equal(again.latents, together.latents)
    other = editor.invert(latents=z_0, prompt=["a lion", "a cat"], config=replace(config, edit_losses=None))
    # guided predictions are no unit noise, so that the losses are left out; the published procedure is what it is
    applied = guidance_scale == 1.0 or losses.released_procedure
    assert torch.allclose(other.latents, together.latents, rtol=1e-4) != applied


def test_the_reference_of_the_divergence_is_the_noised_picture(make_editor: MakeEditor) -> None:
    editor = make_editor(scheduler="EulerAncestralDiscreteScheduler")
    z_0 = torch.zeros(1, 4, 16, 16)
    seen: list[float] = []
    hook = editor.pipe.unet.register_forward_pre_hook(lambda _, args: seen.append(float(args[0].std())))
    config = InversionConfig(num_steps=4, renoising=Renoising(0), edit_losses=EditLosses())
    editor.invert(latents=z_0, config=config)
    hook.remove()
    # the first pass of a step is the reference: at the noisiest of four it is noise of deviation nearly 1
    assert seen[-2] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("highest", [(32, 16, 8, 4), (45, 22, 11, 5, 2)])
def test_shifts_are_drawn_for_each_image_from_its_own_stream(highest: tuple[int, ...]) -> None:
    seeds = (3, 4)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    network = Network(lambda z, step: z)
    drawn = Enhancement(EditLosses(), torch.zeros(2, 4, 8, 8), network, generators)._shifts(highest, 7)
    assert drawn.shape == (7, len(highest), 2)
    for i, stream in enumerate(separate_streams(generators)):
        # the numbers that a draw for each shift by itself gives
        alone = [[int(torch.randint(1, most + 1, (), generator=stream)) for most in highest] for _ in range(7)]
        assert drawn[..., i].tolist() == alone
