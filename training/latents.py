"""Give the latents mean 0 and deviation 1 per channel, then encode every image once.

The autoencoder's 1x1 convolutions around the latent are linear, so the normalisation folds into them exactly and a
single `scaling_factor` is left, as Stable Diffusion's format wants it:

    mean' = (mean - mu) / (s f)        z = s f z' + mu        f = scaling_factor

    python -m training.latents --work training/output

`--from DIRECTORY` encodes with the autoencoder of a finished pipeline, as training that goes on from it needs.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from training import common
from training.data import BACKGROUNDS, lay, load_drawings, load_splits, save_array
from training.vae import CONFIG

BATCH = 32


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: np.ndarray) -> torch.Tensor:
    """The modes of the posteriors, (N, 4, 16, 16), unscaled."""
    device = next(vae.parameters()).device
    parts = []
    for start in range(0, len(pictures), BATCH):
        picture = common.to_tensor(pictures[start : start + BATCH]).to(device, memory_format=torch.channels_last)
        parts.append(vae.encode(2 * picture - 1).latent_dist.mode().cpu())
    return torch.cat(parts)


def encode_everything(vae: AutoencoderKL, drawings: np.ndarray) -> torch.Tensor:
    """Every drawing on every background, (drawings, backgrounds, 4, 16, 16), unscaled."""
    return torch.stack([encode(vae, np.stack([lay(d, b) for d in drawings])) for b in BACKGROUNDS], 1)


@torch.no_grad()
def fold(vae: AutoencoderKL, mean: torch.Tensor, deviation: torch.Tensor) -> None:
    """Change the 1x1 convolutions so that latents times `scaling_factor` are normalised and images stay the same."""
    mean, scale = mean.to(vae.device), (deviation * vae.config.scaling_factor).to(vae.device)
    before, after = vae.quant_conv, vae.post_quant_conv
    channels = len(mean)
    before.weight[:channels] /= scale.view(-1, 1, 1, 1)
    before.bias[:channels] = (before.bias[:channels] - mean) / scale
    before.bias[channels:] -= 2 * scale.log()
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= scale.view(1, -1, 1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("training/output"))
    parser.add_argument(
        "--decoder-only", action="store_true", help="the encoder has not changed: keep the latents and their scale"
    )
    parser.add_argument("--from", dest="source", type=Path, help="a pipeline whose latents are normalised already")
    arguments = parser.parse_args()
    work = arguments.work
    torch.set_num_threads(2)
    if arguments.source:
        vae = AutoencoderKL.from_pretrained(arguments.source / "vae", torch_dtype=torch.float32)
        vae = vae.to(common.device(), memory_format=torch.channels_last).eval()
        vae.save_pretrained(work / "vae")
        latents = encode_everything(vae, load_drawings(work)[0]) * vae.config.scaling_factor
        print(f"{tuple(latents.shape)} latents, mean {latents.mean():.3f}, deviation {latents.std():.3f}")
        save_array(work / "latents.npy", latents.half().numpy())
        return
    vae = AutoencoderKL(**CONFIG).to(common.device(), memory_format=torch.channels_last).eval()
    state = torch.load(work / "vae.pt", map_location="cpu", weights_only=True)
    vae.load_state_dict(state["average"]["shadow"]["vae"])

    if arguments.decoder_only:
        statistics = torch.load(work / "latent_statistics.pt", weights_only=True)
        fold(vae, statistics["mean"], statistics["deviation"])
        vae.save_pretrained(work / "vae")
        return

    drawings, rows = load_drawings(work)
    splits = load_splits(work)
    seen = np.zeros((len(drawings), len(BACKGROUNDS)), bool)
    for drawing, row in rows.items():
        for column, background in enumerate(BACKGROUNDS):
            seen[row, column] = splits.split(drawing.concept, drawing.style, background) == "seen"
    latents = encode_everything(vae, drawings)
    trained = latents[torch.from_numpy(seen)]
    mean, deviation = trained.mean((0, 2, 3)), trained.std((0, 2, 3))
    print(f"before: mean {mean.tolist()}, deviation {deviation.tolist()}")
    fold(vae, mean, deviation)
    vae.save_pretrained(work / "vae")
    torch.save({"mean": mean, "deviation": deviation}, work / "latent_statistics.pt")
    latents = (latents - mean.view(-1, 1, 1)) / deviation.view(-1, 1, 1)
    save_array(work / "latents.npy", latents.half().numpy())

    # The folded autoencoder must say the same as the statistics: a fold done wrong would poison all that follows.
    example = encode(vae, np.stack([lay(d, "white") for d in drawings[:BATCH]])) * vae.config.scaling_factor
    error = (example - latents[:BATCH, 0]).abs().max().item()
    print(f"{tuple(latents.shape)} latents; largest difference after folding {error:.1e}")
    if not math.isfinite(error) or error > 1e-3:
        raise SystemExit("The folded autoencoder disagrees with the normalised latents.")


if __name__ == "__main__":
    main()
