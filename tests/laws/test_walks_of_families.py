"""The presets' walks on a tiny pipeline of every family: images of a batch, passes, files, and the user's pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LCMScheduler, TCDScheduler
from PIL import Image
from torch import Tensor

from parity import PROMPTS, relative, start
from quick import slow_but
from renoise import Editor, Inversion, InversionConfig
from renoise.solvers import Anderson, Extrapolated, FixedPoint, NoisedImage, Residual
from tiny_pipelines import BUILDERS
from written import network_of, with_ip_adapter

# By name: the pipeline, its sampler if it is another, and the settings beside those of the preset.
CASES: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "ddim": ("sd15-ddim", None, {}),
    "ddim, eta": ("sd15-ddim", None, {"eta": 1.0}),
    "guided": ("sdxl", None, {"guidance_scale": 3.0}),
    "a part of the schedule": ("sdxl", None, {"strength": 0.6}),
    "lcm in one step": ("lcm", None, {"num_steps": 1}),
    "lcm": ("sd15-ddim", LCMScheduler, {}),
    "tcd in one step": ("sd15-ddim", TCDScheduler, {"num_steps": 1}),
    "sd3": ("sd3", None, {}),
    "sd3, stochastic": ("sd3", FlowMatchEulerDiscreteScheduler, {}),
    "flux dev": ("flux-dev", None, {"guidance_scale": 3.5}),
    "flux dev, guided": ("flux-dev", None, {"true_cfg_scale": 3.0}),
    "flux schnell": ("flux-schnell", None, {}),
    "sdxl shown an image": ("sdxl", None, {}),
    "sd3 shown an image": ("sd3", None, {}),
    "flux shown an image": ("flux-dev", None, {"guidance_scale": 3.5}),
}
NAMES = slow_but(["ddim"], CASES)


def editor_of(case: str, folder: Path) -> Editor:
    name, sampler, _ = CASES[case]
    pipe: Any = with_ip_adapter(name, folder) if "image" in case else BUILDERS[name]()
    if sampler is not None:
        options = {"stochastic_sampling": True} if sampler is FlowMatchEulerDiscreteScheduler else {}
        pipe.scheduler = sampler.from_config(pipe.scheduler.config, **options)
    return Editor(pipe)


def settings_of(case: str, editor: Editor) -> InversionConfig:
    """The walk of the preset, and a solver that stops early where an image is easy."""
    config = replace(InversionConfig.for_pipeline(editor.pipe, "balanced"), num_steps=4)
    solver = FixedPoint(Extrapolated(2, NoisedImage()), Anderson(2, 1.0), Residual(0.02, 4))
    return replace(config, solver=solver, **CASES[case][2])


def given(shown: tuple[Tensor, ...] | None, images: Sequence[int]) -> dict[str, Any]:
    """What an IP-Adapter is shown, weaker from image to image: its first half belongs to no image."""
    if shown is None:
        return {}
    embeds = [torch.cat([t[:1].repeat_interleave(len(images), 0), *(t[1:] / (1 + i) for i in images)]) for t in shown]
    return {"ip_adapter_image_embeds": embeds}


@pytest.mark.filterwarnings("ignore::renoise.errors.ConvergenceWarning")  # untrained networks are hard to invert
@pytest.mark.parametrize("case", NAMES)
def test_images_of_a_batch_are_inverted_as_they_are_alone(case: str, tmp_path: Path, picture: Image.Image) -> None:
    editor = editor_of(case, tmp_path)
    config, count = settings_of(case, editor), 3
    latents = start(editor, count) * torch.tensor([1.0, 0.05, 0.5]).view(-1, 1, 1, 1)
    shown = editor.model.image_embeds(picture, None) if "image" in case else None
    network = network_of(editor.pipe)
    sizes: list[int] = []
    hook = network.register_forward_hook(lambda _, args, output: sizes.append(len(output[0])))
    scheduler = {name: str(value) for name, value in vars(editor.pipe.scheduler).items()}

    together = editor.invert(latents=latents, prompt=list(PROMPTS), config=config, **given(shown, range(count)))
    hook.remove()
    assert int(together.passes.sum()) == sum(sizes)
    assert {name: str(value) for name, value in vars(editor.pipe.scheduler).items()} == scheduler
    for i in range(count):
        alone = editor.invert(latents=latents[i : i + 1], prompt=PROMPTS[i], config=config, **given(shown, [i]))
        assert alone.network_passes == int(together.passes[i])
        assert relative(together.latents[i : i + 1], alone.latents) < 1e-3
        if alone.noise is not None and together.noise is not None:
            assert relative(together.noise[:, i : i + 1], alone.noise) < 1e-3

    together.save(tmp_path / "i.safetensors")
    loaded = Inversion.load(tmp_path / "i.safetensors")
    assert loaded.config == config
    assert loaded.passes.tolist() == together.passes.tolist()
    again, first = (torch.stack([*editor.reconstruct(one, "latent")]) for one in (loaded, together))
    assert torch.equal(again, first)
    # What the residuals say of the steps holds for the image.
    for i in range(count):
        if bool((together.residuals[:, i] < 1e-4).all()):
            assert relative(first[i], latents[i]) < 1e-2
