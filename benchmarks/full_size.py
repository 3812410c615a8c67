"""Time and memory of SDXL at its real size, with random weights: no download, and nothing to look at.

    python benchmarks/full_size.py [--device cuda] [--dtype float16] [--sides 512 1024] [--steps 4] [--iterations 1]

Networks of the shapes of stabilityai/stable-diffusion-xl-base-1.0 (2.6 billion weights in the UNet, 0.8 in the text
encoders) are filled with small random numbers and run as an editor runs them: encode, invert, edit. That tells what a
network pass costs on a machine and whether the memory suffices, and nothing about images. In float32 it takes about
14 GB for the weights alone.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import renoise_mini
from renoise import Editor, InversionConfig, Renoising

# Facts of the published configurations.
UNET = {
    "sample_size": 128,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "cross_attention_dim": 2048,
    "attention_head_dim": [5, 10, 20],
    "transformer_layers_per_block": [1, 2, 10],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "scaling_factor": 0.13025,
    "sample_size": 1024,
}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
OPENCLIP_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
}


def filled(make: Callable[[], Any], device: torch.device, dtype: torch.dtype) -> Any:
    """A network whose weights are small random numbers, made where they stay and in the precision that they keep."""
    with torch.device("meta"):
        network = make()
    network = network.to(dtype).to_empty(device=device).eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        parameter.normal_(std=0.02) if parameter.ndim > 1 else parameter.fill_(float(name.endswith("weight")))
    for buffer in network.buffers():  # positions, which no checkpoint holds
        buffer.copy_(torch.arange(buffer.numel()).view_as(buffer))
    return network


def pipeline(device: torch.device, dtype: torch.dtype) -> StableDiffusionXLPipeline:
    """SDXL base 1.0 in shape."""
    tokenizer = AutoTokenizer.from_pretrained(renoise_mini.path("mini") / "tokenizer")
    sizes = {"vocab_size": 49408, "max_position_embeddings": 77, "bos_token_id": 0, "eos_token_id": 2}
    pipe = StableDiffusionXLPipeline(
        vae=filled(lambda: AutoencoderKL(**VAE), device, torch.float32),
        text_encoder=filled(lambda: CLIPTextModel(CLIPTextConfig(**CLIP_L, **sizes)), device, dtype),
        text_encoder_2=filled(
            lambda: CLIPTextModelWithProjection(CLIPTextConfig(**OPENCLIP_G, **sizes)), device, dtype
        ),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=filled(lambda: UNet2DConditionModel(**UNET), device, dtype),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def gigabytes(device: torch.device) -> float:
    """The most memory that was in use so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def main() -> None:
    """Print a row for each size of image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"))
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024], help="of the images, in pixels")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=1, help="renoising iterations of each step")
    options = parser.parse_args()
    device = torch.device(options.device)
    dtype = getattr(torch, options.dtype or ("float32" if device.type == "cpu" else "float16"))

    begun = time.perf_counter()
    editor = Editor(pipeline(device, dtype))
    weights = sum(
        p.numel() for c in editor.pipe.components.values() if isinstance(c, torch.nn.Module) for p in c.parameters()
    )
    print(f"{weights / 1e9:.2f} billion weights, {dtype}, on {device}: made in {time.perf_counter() - begun:.0f} s\n")
    print("| side | encode, s | invert, s | passes | s a pass | edit, s | most memory, GB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    config = InversionConfig(num_steps=options.steps, renoising=Renoising(options.iterations))
    for side in options.sides:
        picture = torch.rand(3, side, side, generator=torch.Generator().manual_seed(0))
        times = [time.perf_counter()]
        z_0 = editor.encode(picture, fit="keep")
        times.append(time.perf_counter())
        inversion = editor.invert(latents=z_0, prompt="a lion", config=config)
        times.append(time.perf_counter())
        editor.edit(inversion, "a tiger", guidance_scale=1.0)
        times.append(time.perf_counter())
        encode, invert, edit = (b - a for a, b in itertools.pairwise(times))
        passes = inversion.network_passes
        print(
            f"| {side} | {encode:.1f} | {invert:.1f} | {passes} | {invert / passes:.2f} | {edit:.1f} | "
            f"{gigabytes(device):.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
