"""Compile what a later stage needs on a GPU, so that it finds its kernels in the cache; run it beside an earlier stage.

    python -m training.warm unet encoder teacher        # while the autoencoder learns
    python -m training.warm turbo lora critic           # while the UNet and the text encoder learn

Compiling takes one or two minutes of a CPU for each; a stage then begins within seconds. The networks have random
weights: only their shapes, and those of what they are given, decide what is compiled.
"""

import argparse
import time

import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig

from training import common, distil, endpoints, text_to_image
from training.critic import Critic
from training.data import SIDE
from training.text_encoder import POSITIONS, WIDTH
from training.vae import CHANNELS, untrained

NAMES = ("unet", "encoder", "teacher", "turbo", "lora", "critic")
BATCH = text_to_image.ON_A_GPU.batch


def noise(*shape: int) -> torch.Tensor:
    made = torch.randn(*shape, device=common.device())
    return made.contiguous(memory_format=torch.channels_last)


def warm_encoder() -> None:
    """Compile what `training.latents` encodes scenes with."""
    vae = untrained(CHANNELS).to(common.device(), memory_format=torch.channels_last).eval()
    with torch.no_grad():
        common.compiled(lambda picture: vae.quant_conv(vae.encoder(picture)))(noise(BATCH, 3, SIDE, SIDE))


def warm_network(name: str) -> None:
    """Compile a UNet forwards and, but for the teacher, backwards, as the stage of that name uses it."""
    device = common.device()
    unet = UNet2DConditionModel(**text_to_image.UNET).to(device, memory_format=torch.channels_last).train()
    count, network = BATCH, unet
    if name == "teacher":
        count = 2 * endpoints.ON_A_GPU.batch
        unet.eval()
    elif name == "lora":
        unet.requires_grad_(False)
        unet.add_adapter(LoraConfig(r=distil.RANK, lora_alpha=distil.RANK, target_modules=distil.ADAPTED))
        unet.to(device)
    elif name == "critic":
        count = 2 * (BATCH - round(BATCH * distil.ON_A_GPU.real_share))
        network = Critic(unet).to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    z = noise(count, CHANNELS, 16, 16).requires_grad_(name == "critic")
    t = torch.randint(0, 1000, (count,), device=device)
    context = torch.randn(count, POSITIONS, WIDTH, device=device)
    with torch.set_grad_enabled(name != "teacher"), common.mixed():
        # A layer's output, in the precision that the text encoder's has.
        context = torch.nn.functional.layer_norm(context, (WIDTH,)).detach().requires_grad_(name == "unet")
        result = common.compiled(network)(z, t, context)
    if name != "teacher":
        torch.autograd.backward((result if name == "critic" else result.sample).float().square().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=NAMES)
    names = parser.parse_args().names
    if common.device().type == "cpu":
        raise SystemExit("Only a GPU compiles, so there is nothing to do here.")
    for name in names:
        began = time.monotonic()
        if name == "encoder":
            warm_encoder()
        else:
            warm_network(name)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
