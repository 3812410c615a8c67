"""The parts put together: one place that knows the scheduler, and how images are drawn from prompts."""

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import logging
from transformers import CLIPTextModel, CLIPTokenizer

logging.disable_progress_bar()


def assemble(
    vae: AutoencoderKL, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer
) -> StableDiffusionPipeline:
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )
    return StableDiffusionPipeline(
        vae=vae,
        unet=unet,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@torch.no_grad()
def generate(
    pipeline: StableDiffusionPipeline,
    prompts: list[str],
    *,
    steps: int = 50,
    guidance: float = 4.0,
    seed: int = 0,
    batch: int = 16,
) -> np.ndarray:
    """Draw images as (N, 128, 128, 3) bytes, each from a noise of its own, whatever the batch."""
    pipeline.set_progress_bar_config(disable=True)
    pictures = []
    for start in range(0, len(prompts), batch):
        some = prompts[start : start + batch]
        result = pipeline(
            some,
            height=128,
            width=128,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(seed + start + i) for i in range(len(some))],
            output_type="np",
        )
        pictures.append(np.rint(255 * result.images).astype(np.uint8))
    return np.concatenate(pictures)
