"""Train the autoencoder: 128 x 128 images to 16 x 16 x 8 latents and back.

The loss leans on the squared error, which is what PSNR counts, with absolute errors of the pixels and of their
gradients beside it to keep edges crisp, and a KL term just large enough to keep the latents bounded. Half of the
batches are 64 px crops (more edges for the time), half whole images: the group normalisation sees a whole image's
statistics only there.

Run again to continue; `--extend` adds minutes to a finished run, `--decoder-only` freezes the encoder so that latents
made before stay valid.

    python -m training.vae --work training/output --minutes 60 --channels 4
    python -m training.vae --work training/output --extend 60

The first command learns four channels, which carry shapes and colours. The second one adds four, which carry the detail
that is left, and goes on with all of them.

`--init DIRECTORY` starts from a finished autoencoder, which is given new channels where it has fewer. `--keep-latents`
holds the channels that it had near to what they were, so that a UNet that was trained on them loses little. Where a
checkpoint exists, that goes on instead.
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL

from training import common
from training.augment import Composer, photograph_bank
from training.data import BACKGROUNDS, Drawing, lay, load_drawings, load_splits, save_array
from training.widen import widen_autoencoder

# Channels of the latents: the first carry shapes and colours, and the others, which are added to a trained autoencoder,
# the detail that is left.
COARSE, CHANNELS = 4, 8
CONFIG = dict(
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
    block_out_channels=(24, 48, 96, 160),
    layers_per_block=1,
    norm_num_groups=8,
    mid_block_add_attention=False,
    sample_size=128,
)


@dataclass(frozen=True)
class Settings:
    learning_rate: float = 1.5e-3
    last_learning_rate: float = 1e-5
    warm_up: int = 100
    crops: tuple[int, int] = (16, 64)
    wholes: tuple[int, int] = (4, 128)
    squared: float = 8.0
    gradient: float = 0.25
    kl: float = 1e-6
    keep: float = 1.0
    average: float = 0.998
    seed: int = 1
    log_seconds: float = 60
    measure_seconds: float = 300
    save_seconds: float = 180


# A GPU wants large batches, and all of one size, so that its kernels are compiled once.
ON_A_GPU = Settings(
    crops=(96, 128), wholes=(96, 128), average=0.999, log_seconds=10, measure_seconds=60, save_seconds=60
)


def pictures_of(work: Path, pairs: Sequence[tuple[str, str]], every_background: bool = False) -> np.ndarray:
    """Lay drawings by concept and style on one background each in turn, or on all: (N, 128, 128, 3) bytes."""
    drawings, rows = load_drawings(work)
    backgrounds = list(BACKGROUNDS)
    return np.stack(
        [
            lay(drawings[rows[Drawing(concept, style)]], background)
            for i, (concept, style) in enumerate(pairs)
            for background in (backgrounds if every_background else [backgrounds[i % len(backgrounds)]])
        ]
    )


def gradient_error(result: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
    """Return each image's PSNR of the differences between neighbouring pixels, which tells how sharp edges are."""
    error = result.clamp(0, 1) - picture
    across, down = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    square = (across.square().mean((1, 2, 3)) + down.square().mean((1, 2, 3))) / 2
    return -10 * torch.log10(square.clamp_min(1e-10))


@torch.no_grad()
def round_trip(vae: AutoencoderKL, pictures: np.ndarray, batch: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Return the PSNR of images and of their gradients (2, N), and the images encoded (the mode) and decoded."""
    device = next(vae.parameters()).device
    values, decoded = [], []
    for start in range(0, len(pictures), batch):
        picture = common.to_tensor(pictures[start : start + batch]).to(device)
        result = vae.decode(vae.encode(2 * picture - 1).latent_dist.mode()).sample / 2 + 0.5
        values.append(torch.stack([common.psnr(result, picture), gradient_error(result, picture)]).cpu().numpy())
        decoded.append(common.to_bytes(result))
    return np.concatenate(values, 1), np.concatenate(decoded)


def loss_of(
    vae: AutoencoderKL,
    picture: torch.Tensor,
    noise: torch.Tensor,
    settings: Settings,
    former: AutoencoderKL | None = None,
) -> torch.Tensor:
    """Return the loss of images (B, 3, H, W) in [0, 1]; `noise` has the shape of their latents.

    With a `former` autoencoder, the first channels of the latents are to be what that one makes of the images.
    """
    target = 2 * picture - 1
    mean, log_variance = vae.quant_conv(vae.encoder(target)).float().chunk(2, 1)
    log_variance = log_variance.clamp(-30, 20)
    result = vae.decoder(vae.post_quant_conv(mean + (0.5 * log_variance).exp() * noise)).float()
    error = result - target
    across, down = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum((1, 2, 3))
    loss: torch.Tensor = (
        error.abs().mean()
        + settings.squared * error.square().mean()
        + settings.gradient * (across.abs().mean() + down.abs().mean())
        + settings.kl * divergence.mean()
    )
    if former is not None:
        with torch.no_grad():
            known = former.quant_conv(former.encoder(target)).float().chunk(2, 1)[0]
        moved = (mean[:, : known.shape[1]] - known) * former.config.scaling_factor
        loss = loss + settings.keep * moved.square().mean()
    return loss


def untrained(channels: int) -> AutoencoderKL:
    """Make an autoencoder with so many latent channels."""
    return AutoencoderKL(**{**CONFIG, "latent_channels": channels})


def averaged(state: dict[str, Any]) -> AutoencoderKL:
    """Return the averaged autoencoder of a checkpoint, with as many latent channels as it has."""
    weights = state["average"]["shadow"]["vae"]
    vae = untrained(len(weights["post_quant_conv.bias"]))
    vae.load_state_dict(weights)
    return vae


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("training/output"))
    parser.add_argument("--minutes", type=float, default=60, help="time for the whole run, over all its restarts")
    parser.add_argument("--init", type=Path, help="an autoencoder's directory to start from")
    parser.add_argument("--keep-latents", action="store_true", help="hold the latents of --init near to what they were")
    parser.add_argument("--extend", type=float, help="a new schedule of so many minutes, from the averaged weights")
    parser.add_argument("--channels", type=int, default=CHANNELS, help="channels of the latents, in a new schedule")
    parser.add_argument("--decoder-only", action="store_true")
    parser.add_argument("--learning-rate", type=float, default=Settings.learning_rate)
    arguments = parser.parse_args()
    device, work = common.device(), arguments.work
    settings = replace(ON_A_GPU if device.type == "cuda" else Settings(), learning_rate=arguments.learning_rate)
    torch.manual_seed(settings.seed)
    stop = common.StopRequest()

    if arguments.keep_latents and not arguments.init:
        parser.error("--keep-latents holds the latents of --init, which is missing.")
    former = None
    if arguments.init:
        start = AutoencoderKL.from_pretrained(arguments.init, torch_dtype=torch.float32)
        vae = widen_autoencoder(start, arguments.channels)
        if arguments.keep_latents:
            former = start.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
    else:
        vae = untrained(arguments.channels)
    path, state = work / "vae.pt", None
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        if arguments.extend:
            vae = widen_autoencoder(averaged(state), arguments.channels)
        else:
            vae = averaged(state)
            vae.load_state_dict(state["vae"])
    elif arguments.extend:
        parser.error(f"--extend goes on from {path}, which is not there: use --minutes.")
    vae = vae.float().to(device, memory_format=torch.channels_last).train()
    generator = torch.Generator(device).manual_seed(settings.seed)
    optimizer = torch.optim.AdamW(
        vae.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=True
    )
    average = common.Average({"vae": vae}, settings.average)
    step, clock, total = 0, common.Clock(arguments.extend or arguments.minutes), 0.0
    if state is not None:
        generator.set_state(state["generator"].cpu())
        step, total = state["step"], state["total_seconds"]
        if not arguments.extend:
            average.load_state_dict(state["average"])
            optimizer.load_state_dict(state["optimizer"])
            clock = common.Clock(state["minutes"], state["spent"])
        print(f"continuing at step {step}, {clock.progress:.0%} of the time spent", flush=True)
    total -= clock.spent
    if arguments.decoder_only:
        for part in (vae.encoder, vae.quant_conv):
            part.requires_grad_(False)
    first_step = step

    def save() -> None:
        common.save_checkpoint(
            path,
            {
                "vae": vae.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "generator": generator.get_state(),
                "step": step,
                "minutes": clock.budget / 60,
                "spent": clock.spent,
                "total_seconds": total + clock.spent,
            },
        )

    splits = load_splits(work)
    sets = {"pairs": pictures_of(work, splits.held_out_pairs), "style": np.load(work / "held_out_style.npy")}
    choose = np.random.default_rng(0)
    probes = {n: p[np.sort(choose.choice(len(p), 64, replace=False))] for n, p in sets.items()}

    def measure() -> None:
        vae.eval()
        with average.applied():
            results = {n: round_trip(vae, p) for n, p in probes.items()}
        vae.train()
        means = {n: r[0].mean(1).round(3).tolist() for n, r in results.items()}
        with (work / "vae_log.jsonl").open("a") as log:
            log.write(json.dumps({"step": step, "minutes": round((total + clock.spent) / 60, 1), **means}) + "\n")
        print(f"step {step}: PSNR of images and gradients, held out: {means}", flush=True)
        pairs = [q for n, p in probes.items() for i in range(8) for q in (p[i], results[n][1][i])]
        common.write_atomically(work / "vae_sheet.png", common.sheet(np.stack(pairs), 8))

    if not (work / "photographs.npy").exists():
        save_array(work / "photographs.npy", photograph_bank(settings.seed))
    corpus, photographs = (
        torch.from_numpy(np.load(work / f"{name}.npy")).to(device) for name in ("autoencoder_corpus", "photographs")
    )
    composer, loss_function = Composer(corpus, photographs, generator), common.compiled(loss_of)
    log, probe, keep = (
        common.Every(s) for s in (settings.log_seconds, settings.measure_seconds, settings.save_seconds)
    )
    running = 0.0
    while clock.progress < 1 and not stop.asked:
        cosine = 0.5 * (1 + math.cos(math.pi * clock.progress))
        rate = settings.last_learning_rate + (settings.learning_rate - settings.last_learning_rate) * cosine
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step - first_step + 1) / settings.warm_up)
        picture = composer.batch(*(settings.wholes if step % 2 else settings.crops))
        side = picture.shape[-1] // 8
        noise = torch.randn(len(picture), vae.config.latent_channels, side, side, generator=generator, device=device)
        with common.mixed():
            loss = loss_function(vae, picture.contiguous(memory_format=torch.channels_last), noise, settings, former)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        average.update()
        step += 1
        clock.start()
        running += (float(loss.detach()) - running) / min(100, step - first_step)
        if log():
            pace = clock.running / max(1, step - first_step - 1)
            print(f"step {step} {clock.progress:.0%} loss {running:.4f} rate {rate:.2e} {pace:.3f} s/step", flush=True)
        if probe():
            measure()
        if keep():
            save()
    measure()
    save()


if __name__ == "__main__":
    main()
