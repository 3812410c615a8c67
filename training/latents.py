"""Give every channel of the latents mean 0 and its deviation, then encode the scenes whose captions are written.

The autoencoder's 1x1 convolutions around the latent are linear, so the normalisation folds into them exactly and a
single `scaling_factor` is left, as Stable Diffusion's format wants it:

    mean' = (mean - mu) / (s f)        z = s f z' + mu        f = scaling_factor

The first four channels have deviation 1. The others carry detail and have half of it: the noise hides them for longer,
so that the UNet settles detail after the shape that it belongs to.

    python -m training.latents --work training/output

`--from DIRECTORY` encodes with the autoencoder of a finished pipeline, as training that goes on from it needs.
`--decoder-only` writes the autoencoder after its decoder alone has learnt more, and keeps the latents.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from training import common
from training.captions import SEED
from training.data import save_array
from training.scenes import Sampler, Scenes, compose
from training.vae import CHANNELS, COARSE, averaged

BATCH = 32
# The deviation of each channel of the latents.
DEVIATIONS = (1.0,) * COARSE + (0.5,) * (CHANNELS - COARSE)


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: np.ndarray) -> torch.Tensor:
    """Return the posteriors' modes of images (N, 128, 128, 3) in bytes: (N, 8, 16, 16), unscaled."""
    device = next(vae.parameters()).device
    parts = []
    for start in range(0, len(pictures), BATCH):
        picture = common.to_tensor(pictures[start : start + BATCH]).to(device, memory_format=torch.channels_last)
        parts.append(vae.encode(2 * picture - 1).latent_dist.mode().cpu())
    return torch.cat(parts)


@torch.no_grad()
def encode_scenes(vae: AutoencoderKL, scenes: Scenes, drawings: torch.Tensor, batch: int) -> torch.Tensor:
    """Return the modes of scenes, composed where `drawings` lie: (N, 8, 16, 16) in half precision, unscaled."""
    network = common.compiled(lambda picture: vae.quant_conv(vae.encoder(picture)))
    parts = []
    for start in range(0, len(scenes), batch):
        picture = compose(drawings, scenes[start : start + batch])
        # A compiled network takes batches of one size.
        missing = batch - len(picture)
        full = torch.cat([picture, picture.new_zeros(missing, *picture.shape[1:])])
        with common.mixed():
            moments = network((2 * full - 1).contiguous(memory_format=torch.channels_last))
        parts.append(moments[: len(picture), : vae.config.latent_channels].half())
    return torch.cat(parts)


@torch.no_grad()
def fold(vae: AutoencoderKL, mean: torch.Tensor, deviation: torch.Tensor) -> None:
    """Change the 1x1 convolutions so that latents times `scaling_factor` lose this mean and deviation; images stay."""
    mean, scale = mean.to(vae.device), (deviation * vae.config.scaling_factor).to(vae.device)
    before, after = vae.quant_conv, vae.post_quant_conv
    channels = len(mean)
    before.weight[:channels] /= scale.view(-1, 1, 1, 1)
    before.bias[:channels] = (before.bias[:channels] - mean) / scale
    before.bias[channels:] -= 2 * scale.log()
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= scale.view(1, -1, 1, 1)


@dataclass(frozen=True)
class Pool:
    """Scenes as latents (N, 8, 16, 16), the numbers of their captions and edits (N, 2), the token ids (U, 32)."""

    latents: torch.Tensor
    captions: torch.Tensor
    ids: torch.Tensor

    @classmethod
    def load(cls, work: Path, device: torch.device) -> "Pool":
        return cls(*(torch.from_numpy(np.load(work / f"{name}.npy")).to(device) for name in cls.__annotations__))

    def draw(self, count: int, generator: torch.Generator, edited: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw latents (count, 8, 16, 16) and token ids (count, 32); the first share `edited` has captions of edits."""
        rows = torch.randint(len(self.latents), (count,), generator=generator, device=self.latents.device)
        said = self.captions[rows, 0]
        changed = round(count * edited)
        said[:changed] = self.captions[rows[:changed], 1]
        return self.latents[rows].float(), self.ids[said.long()].long()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("training/output"))
    parser.add_argument(
        "--decoder-only", action="store_true", help="the encoder has not changed: keep the latents and their scale"
    )
    parser.add_argument("--from", dest="source", type=Path, help="a pipeline whose latents are normalised already")
    arguments = parser.parse_args()
    work, device = arguments.work, common.device()
    if arguments.source:
        vae = AutoencoderKL.from_pretrained(arguments.source / "vae", torch_dtype=torch.float32)
    else:
        vae = averaged(torch.load(work / "vae.pt", map_location="cpu", weights_only=True))
    vae = vae.to(device, memory_format=torch.channels_last).eval()

    scenes = Sampler(work).sample(len(np.load(work / "captions.npy")), SEED)
    drawings = torch.from_numpy(np.load(work / "drawings.npy")).to(device)
    if arguments.decoder_only:
        statistics = torch.load(work / "latent_statistics.pt", map_location=device, weights_only=True)
        fold(vae, statistics["mean"], statistics["deviation"])
        known = np.load(work / "latents.npy", mmap_mode="r")[:BATCH].copy()
        check(vae, scenes, drawings, torch.from_numpy(known).to(device))
        vae.save_pretrained(work / "vae")
        return

    latents = encode_scenes(vae, scenes, drawings, 512 if device.type == "cuda" else BATCH)
    if arguments.source:
        # Normalised already: folding these statistics in changes nothing.
        mean = torch.zeros(latents.shape[1], device=device)
        deviation = torch.full_like(mean, 1 / vae.config.scaling_factor)
    else:
        sample = latents[: 1 << 15].float()
        mean, deviation = sample.mean((0, 2, 3)), sample.std((0, 2, 3))
        print(f"before: mean {mean.tolist()}, deviation {deviation.tolist()}")
        deviation /= torch.tensor(DEVIATIONS[: len(deviation)], device=device)
    fold(vae, mean, deviation)
    latents = ((latents - mean.view(-1, 1, 1)) / deviation.view(-1, 1, 1)).half()
    check(vae, scenes, drawings, latents)
    vae.save_pretrained(work / "vae")
    torch.save({"mean": mean.cpu(), "deviation": deviation.cpu()}, work / "latent_statistics.pt")
    save_array(work / "latents.npy", latents.cpu().numpy())


def check(vae: AutoencoderKL, scenes: Scenes, drawings: torch.Tensor, latents: torch.Tensor) -> None:
    """Stop where the folded autoencoder disagrees with the normalised latents: all that follows would be poisoned."""
    picture = compose(drawings, scenes[:BATCH])
    with torch.no_grad():
        example = vae.encode(2 * picture - 1).latent_dist.mode() * vae.config.scaling_factor
    error = (example - latents[:BATCH].float()).abs().mean().item()
    print(f"{tuple(latents.shape)} latents; mean difference after folding {error:.1e}")
    if not math.isfinite(error) or error > 0.01:
        raise SystemExit("The folded autoencoder disagrees with the normalised latents; nothing was written.")


if __name__ == "__main__":
    main()
