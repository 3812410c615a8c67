"""Train the UNet and the text encoder together on cached latents.

Epsilon prediction on Stable Diffusion's noise schedule. Two things decide whether 16 x 16 latents are learnt at all:
the noisiest levels, where shape and colour are settled, get more than their share of the loss (weight SNR^-1/2, at most
8, where SNR < 1; min(SNR, 5) / SNR elsewhere) and more than their share of the draws (t = 1000 u^0.7).

The learning rate follows the clock, so that it reaches zero when the time is over. Run again to continue;
`--extend` starts a further schedule from the averaged weights of a finished run.

    python -m training.text_to_image --work training/output --minutes 360 [--init DIRECTORY]

`--init` starts from a pipeline. Where a checkpoint exists, that goes on instead.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from training import common, loop
from training.latents import Pool
from training.parallel import Team
from training.pipeline import assemble, generate
from training.text_encoder import WIDTH, new_text_encoder
from training.vae import CHANNELS
from training.widen import widen_unet

UNET = dict(
    sample_size=16,
    in_channels=CHANNELS,
    out_channels=CHANNELS,
    block_out_channels=(96, 160, 224),
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    layers_per_block=1,
    attention_head_dim=4,
    norm_num_groups=16,
    cross_attention_dim=WIDTH,
)
PROMPTS = (
    "a cat face, noto style, on a white background",
    "a dog face, twemoji style, on a blue background",
    "a red apple, fluent style, on a yellow background",
    "a grinning face, fluent flat style, on a pink background",
    "a rocket, noto style, on a black background",
    "a house, twemoji style, on a green background",
    "a sunflower, fluent style, on a white background",
    "a red heart, fluent flat style, on a blue background",
    "a panda, noto style, on a green background",
    "an automobile, twemoji style, on a white background",
    "a hamburger, fluent style, on a black background",
    "a fish, fluent flat style, on a white background",
    "a bird, noto style, on a yellow background",
    "a deciduous tree, twemoji style, on a pink background",
    "a crying face, fluent style, on a blue background",
    "a unicorn, fluent flat style, on a green background",
)


@dataclass(frozen=True)
class Settings:
    batch: int = 32
    learning_rate: float = 8e-4
    warm_up: int = 200
    average: float = 0.998
    draw_power: float = 0.7
    seed: int = 2


ON_A_GPU = Settings(batch=512, learning_rate=1.2e-3, warm_up=500, average=0.9995)


def loss_weights() -> tuple[torch.Tensor, torch.Tensor]:
    """Return alphas_cumprod and the weight of the squared error at each of the 1,000 timesteps."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1 - betas, 0)
    snr = alphas / (1 - alphas)
    weights = torch.where(snr < 1, snr.rsqrt().clamp_max(8), snr.clamp_max(5) / snr)
    return alphas.float(), weights.float()


def load_parts(init: Path) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """Load the networks of a pipeline; a UNet for fewer latent channels is given new ones."""
    return (
        widen_unet(UNet2DConditionModel.from_pretrained(init / "unet", torch_dtype=torch.float32), CHANNELS),
        CLIPTextModel.from_pretrained(init / "text_encoder", dtype=torch.float32),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("training/output"))
    parser.add_argument("--minutes", type=float, default=360, help="time for the whole run, over all its restarts")
    parser.add_argument("--init", type=Path, help="a pipeline's directory to start from")
    parser.add_argument("--extend", type=float, help="a new schedule of so many minutes, from the averaged weights")
    parser.add_argument("--processes", type=int, default=1 if torch.cuda.is_available() else 2)
    parser.add_argument("--learning-rate", type=float)
    arguments = parser.parse_args()
    device, work = common.device(), arguments.work
    settings = ON_A_GPU if device.type == "cuda" else Settings()
    settings = replace(settings, learning_rate=arguments.learning_rate or settings.learning_rate)
    if arguments.processes > 1:
        torch.set_num_threads(1)
    torch.manual_seed(settings.seed)

    shapes, tokenizer = work / "text_to_image", CLIPTokenizer.from_pretrained(work / "tokenizer")
    if arguments.init:
        if CLIPTokenizer.from_pretrained(arguments.init / "tokenizer").get_vocab() != tokenizer.get_vocab():
            raise SystemExit(f"The captions have other tokens: run python -m training.captions --from {arguments.init}")
        unet, text_encoder = load_parts(arguments.init)
    else:
        unet, text_encoder = UNet2DConditionModel(**UNET), new_text_encoder(tokenizer)
    unet.save_config(shapes / "unet")
    text_encoder.config.save_pretrained(shapes / "text_encoder")
    tokenizer.save_pretrained(shapes / "tokenizer")
    unet = unet.to(device, memory_format=common.layout()).train()
    text_encoder = text_encoder.to(device).train()
    modules = {"unet": unet, "text_encoder": text_encoder}
    alphas, weights = (table.to(device) for table in loss_weights())
    pool, network = Pool.load(work, device), common.compiled(unet)

    def backward(step: int, rank: int) -> float:
        """Add the gradients of one process's part of a batch; the step and the rank are all that chance depends on."""
        generator = torch.Generator(device).manual_seed(arguments.processes * step + rank + (settings.seed << 40))
        count = settings.batch // arguments.processes
        x0, ids = pool.draw(count, generator)
        noise = torch.randn(x0.shape, generator=generator, device=device)
        u = torch.rand(count, generator=generator, device=device)
        t = (1000 * u**settings.draw_power).long().clamp_max(999)
        a = alphas[t].view(-1, 1, 1, 1)
        z = (a.sqrt() * x0 + (1 - a).sqrt() * noise).contiguous(memory_format=common.layout())
        with common.mixed():
            context = text_encoder(ids).last_hidden_state
            prediction = network(z, t, context).sample.float()
        loss = (weights[t] * (prediction - noise).square().mean((1, 2, 3))).mean()
        torch.autograd.backward(loss)
        return float(loss.detach())

    team = Team([unet, text_encoder], backward, arguments.processes)
    optimizer = torch.optim.AdamW(
        team.parameters, lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=1e-3, fused=True
    )
    average = common.Average(modules, settings.average)
    path, step, clock, total = work / "text_to_image.pt", 0, common.Clock(arguments.minutes), 0.0
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        for name, module in modules.items():
            module.load_state_dict(state[name])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, total = state["step"], state["total_seconds"]
        clock = common.Clock(state["minutes"], state["spent"])
        if arguments.extend:
            for name, module in modules.items():
                module.load_state_dict(average.shadow[name])
            clock = common.Clock(arguments.extend)
        print(f"continuing at step {step}, {clock.progress:.0%} of the time spent", flush=True)
    elif arguments.extend:
        parser.error(f"--extend goes on from {path}, which is not there: use --minutes.")
    total -= clock.spent

    def save(step: int) -> None:
        common.save_checkpoint(
            path,
            {
                **{name: module.state_dict() for name, module in modules.items()},
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
                "minutes": clock.budget / 60,
                "spent": clock.spent,
                "total_seconds": total + clock.spent,
            },
        )

    vae = AutoencoderKL.from_pretrained(work / "vae").to(device).eval()

    def draw_sheet(step: int) -> None:
        with average.applied():
            pictures = generate(assemble(vae, unet.eval(), text_encoder.eval(), tokenizer), list(PROMPTS), steps=25)
        unet.train()
        text_encoder.train()
        data = common.sheet(pictures, 8, list(PROMPTS))
        (work / "sheets").mkdir(exist_ok=True)
        common.write_atomically(work / "sheets" / f"{step:06d}.png", data)

    print(f"{len(pool.latents)} latents, {sum(p.numel() for p in team.parameters):,} parameters", flush=True)
    loop.run(
        team,
        optimizer,
        average,
        clock,
        loop.pace(settings.learning_rate, settings.warm_up, device),
        step=step,
        warm=step > 0 and not arguments.extend,
        spent_before=total,
        log_path=work / "text_to_image_log.jsonl",
        save=save,
        draw_sheet=draw_sheet,
    )


if __name__ == "__main__":
    main()
