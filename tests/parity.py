"""What a pipeline's own call draws from given latents, and what our walk draws from the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from renoise import Editor, InversionConfig
from renoise.backbones.base import Request
from renoise.backbones.packing import pack, unpack
from renoise.schedulers import kind_of
from renoise.walks import denoise_steps
from tiny_pipelines import own_size

NUM_STEPS = 3
PROMPTS = ("a lion in the field", "a cat", "")


def start(editor: Editor, count: int, size: tuple[int, int] = (16, 24)) -> torch.Tensor:
    """Draw standard normal latents of a shape that is not square, so that height and width cannot be mixed up."""
    shape = (count, editor.model.backbone.latent_channels, *size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def theirs(pipe: Any, latents: torch.Tensor, prompts: Sequence[str] | None, **options: Any) -> torch.Tensor:
    """Return the latents that the pipeline's own call ends with; without prompts the options hold their embeddings."""
    height, width = (side * pipe.vae_scale_factor for side in latents.shape[-2:])
    _keep_size(pipe, latents)
    given, taken = FORMS.get(type(pipe).__name__, (lambda pipe, z: z.clone(), lambda pipe, z, grid: z))
    # Defaults of pipelines are not always None, and some would draw in another size that they know better.
    asked = {name: value for name, value in options.items() if value is not None or name != "negative_prompt"}
    options = {"output_type": "latent", **own_size(pipe), **asked}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)  # for pipelines that do not hand the generator on to their scheduler
        result: torch.Tensor = pipe(
            prompt=None if prompts is None else list(prompts),
            num_inference_steps=NUM_STEPS,
            height=height,
            width=width,
            latents=given(pipe, latents),
            generator=torch.Generator().manual_seed(1),
            **options,
        ).images
    return result if options["output_type"] != "latent" else taken(pipe, result, tuple(latents.shape[-2:]))


def _keep_size(pipe: Any, latents: Tensor) -> None:
    """Make the images of a size be those that a pipeline draws which scales all images to one number of pixels."""
    if type(pipe).__name__ == "HiDreamImagePipeline":
        # A little more, because the pipeline rounds down.
        pipe.default_sample_size = (1.0 + 1e-9) * math.sqrt(latents.shape[-2] * latents.shape[-1])


def _packed(pipe: Any, latents: Tensor) -> Tensor:
    return pack(latents)


def _unpacked(pipe: Any, result: Tensor, grid: tuple[int, int]) -> Tensor:
    return unpack(result, *grid)


def _deviation(pipe: Any) -> float:
    """Return the deviation of the data in the scale of TrigFlow's scheduler, in which its latents are here."""
    return float(pipe.scheduler.config.sigma_data) if kind_of(pipe.scheduler) == "trigflow" else 1.0


def _patched(pipe: Any, latents: Tensor) -> Tensor:
    patches: Tensor = pipe._patchify_latents(latents)
    return patches


def _standardised(pipe: Any, result: Tensor, grid: tuple[int, int]) -> Tensor:
    norm = pipe.vae.bn
    mean, variance = (t.view(1, -1, 1, 1) for t in (norm.running_mean, norm.running_var))
    patches = (pipe._patchify_latents(result) - mean) / torch.sqrt(variance + pipe.vae.config.batch_norm_eps)
    latents: Tensor = pipe._unpatchify_latents(patches)
    return latents


# What pipelines take for latents that are a grid here, and how what they return becomes one again.
FORMS: dict[str, tuple[Callable[[Any, Tensor], Tensor], Callable[[Any, Tensor, tuple[int, int]], Tensor]]] = {
    "FluxPipeline": (_packed, _unpacked),
    "Krea2Pipeline": (_packed, _unpacked),
    "QwenImagePipeline": (_packed, _unpacked),
    "QwenImage21Pipeline": (lambda pipe, z: pack(z, 1), lambda pipe, z, grid: unpack(z, *grid, 1)),
    "SanaSprintPipeline": (lambda pipe, z: z.clone(), lambda pipe, z, grid: z * _deviation(pipe)),
    "ChromaPipeline": (_packed, _unpacked),
    "Flux2Pipeline": (_patched, _unpacked),
    "Flux2KleinPipeline": (_patched, _standardised),
}


def ours(
    editor: Editor, latents: torch.Tensor, prompts: Sequence[str], negatives: Sequence[str] | None, **request: Any
) -> torch.Tensor:
    """Return the latents that our denoising ends with, from the noises that the pipeline's call draws."""
    size = editor.model.pixels(latents)
    scheduler = editor.pipe.scheduler
    steps = editor.model.steps(scheduler, InversionConfig(num_steps=NUM_STEPS), size)
    generator = torch.Generator().manual_seed(1)
    noise = torch.stack([torch.randn(latents.shape, generator=generator) for _ in steps])
    made = type(scheduler).from_config(scheduler.config)
    if kind_of(scheduler) not in ("flow", "trigflow"):
        made.set_timesteps(NUM_STEPS)
    z = latents * getattr(made, "init_noise_sigma", 1.0) * _deviation(editor.pipe)
    with torch.no_grad():
        condition = editor.model.backbone.condition(Request(prompts, negatives, size=size, **request))
        for walked in denoise_steps(steps, editor.model.network(condition), z, noise):
            z = walked.latents
    return z


def through_the_autoencoder(pipe: Any, picture: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the latents of an image, and the image that comes of them, by the pipeline's own parts."""
    vae = pipe.vae
    shift, scale = getattr(vae.config, "shift_factor", None) or 0.0, vae.config.scaling_factor
    with torch.no_grad():
        latents = (vae.encode(pipe.image_processor.preprocess(picture)).latent_dist.mode() - shift) * scale
        decoded = vae.decode(latents / scale + shift).sample
    return latents, (decoded / 2 + 0.5).clamp(0, 1)


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the length of the difference, as a share of b's."""
    return float((a - b).norm() / b.norm())
