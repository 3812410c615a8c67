"""Train the UNet and the text encoder together on cached latents.

Epsilon prediction on Stable Diffusion's noise schedule. Two things decide whether 16 x 16 latents are learnt at all:
the noisiest levels, where shape and colour are settled, get more than their share of the loss (weight SNR^-1/2, at most
8, where SNR < 1; min(SNR, 5) / SNR elsewhere) and more than their share of the draws (t = 1000 u^0.7).

The learning rate follows the clock, so that it reaches zero when the time is over. Run again to continue;
`--extend` starts a further schedule from the averaged weights of a finished run.

    python -m training.text_to_image --work training/output --minutes 360 [--init DIRECTORY]
"""

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from training import common, loop
from training.data import BACKGROUNDS, STYLES, Words, load_drawings, load_splits, sentence
from training.parallel import Team
from training.pipeline import assemble, generate
from training.text_encoder import POSITIONS, WIDTH, learn_tokenizer, new_text_encoder

UNET = dict(
    sample_size=16,
    in_channels=4,
    out_channels=4,
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
    drop_part: float = 0.1
    drop_caption: float = 0.1
    alias: float = 0.2
    draw_power: float = 0.7
    seed: int = 2


@dataclass(frozen=True)
class Picture:
    """Where its latent lies, and what is in it."""

    row: int
    column: int
    concept: str
    style: str
    background: str


class Captions:
    """The trained images and what is said of them, as token ids."""

    def __init__(self, work: Path, tokenizer: CLIPTokenizer, settings: Settings) -> None:
        self.words, self.settings, self.tokenizer = Words(), settings, tokenizer
        _, rows = load_drawings(work)
        splits = load_splits(work)
        self.pictures = [
            Picture(row, column, drawing.concept, drawing.style, background)
            for drawing, row in rows.items()
            for column, background in enumerate(BACKGROUNDS)
            if splits.split(drawing.concept, drawing.style, background) == "seen"
        ]
        self._ids: dict[str, list[int]] = {}

    def draw(self, count: int, rng: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the latents lie (count, 2), and the captions' token ids (count, 24)."""
        chosen = rng.choices(self.pictures, k=count)
        places = torch.tensor([(p.row, p.column) for p in chosen])
        return places, torch.tensor([self._tokens(self._caption(p, rng)) for p in chosen])

    def _caption(self, picture: Picture, rng: random.Random) -> str:
        if rng.random() < self.settings.drop_caption:
            return ""
        phrase = self.words.phrase(picture.concept)
        if picture.concept in self.words.aliases and rng.random() < self.settings.alias:
            phrase = self.words.aliases[picture.concept]
        return sentence(
            phrase,
            None if rng.random() < self.settings.drop_part else picture.style,
            None if rng.random() < self.settings.drop_part else picture.background,
        )

    def _tokens(self, caption: str) -> list[int]:
        if caption not in self._ids:
            self._ids[caption] = self.tokenizer(
                caption, padding="max_length", max_length=POSITIONS, truncation=True
            ).input_ids
        return self._ids[caption]


def loss_weights() -> tuple[torch.Tensor, torch.Tensor]:
    """alphas_cumprod and the weight of the squared error at each of the 1,000 timesteps."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1 - betas, 0)
    snr = alphas / (1 - alphas)
    weights = torch.where(snr < 1, snr.rsqrt().clamp_max(8), snr.clamp_max(5) / snr)
    return alphas.float(), weights.float()


def load_parts(init: Path | None) -> tuple[UNet2DConditionModel, CLIPTextModel, CLIPTokenizer]:
    if init:
        return (
            UNet2DConditionModel.from_pretrained(init / "unet", torch_dtype=torch.float32),
            CLIPTextModel.from_pretrained(init / "text_encoder", dtype=torch.float32),
            CLIPTokenizer.from_pretrained(init / "tokenizer"),
        )
    words = Words()
    captions = [
        words.caption(c, s, b)
        for names in words.categories.values()
        for c in names
        for s in STYLES
        for b in BACKGROUNDS
    ]
    tokenizer = learn_tokenizer(captions + list(words.aliases.values()))
    return UNet2DConditionModel(**UNET), new_text_encoder(tokenizer), tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("training/output"))
    parser.add_argument("--minutes", type=float, default=360, help="time for the whole run, over all its restarts")
    parser.add_argument("--init", type=Path, help="a pipeline's directory to start from")
    parser.add_argument("--extend", type=float, help="a new schedule of so many minutes, from the averaged weights")
    parser.add_argument("--processes", type=int, default=1 if torch.cuda.is_available() else 2)
    parser.add_argument("--learning-rate", type=float, default=Settings.learning_rate)
    arguments = parser.parse_args()
    settings, work = Settings(learning_rate=arguments.learning_rate), arguments.work
    torch.set_num_threads(max(1, 2 // arguments.processes))
    torch.manual_seed(settings.seed)
    device = common.device()

    unet, text_encoder, tokenizer = load_parts(arguments.init)
    shapes = work / "text_to_image"
    unet.save_config(shapes / "unet")
    text_encoder.config.save_pretrained(shapes / "text_encoder")
    tokenizer.save_pretrained(shapes / "tokenizer")
    unet = unet.to(device, memory_format=torch.channels_last).train()
    text_encoder = text_encoder.to(device).train()
    modules = {"unet": unet, "text_encoder": text_encoder}
    alphas, weights = loss_weights()
    latents = torch.from_numpy(np.load(work / "latents.npy"))
    captions = Captions(work, tokenizer, settings)

    def backward(step: int, rank: int) -> float:
        """Add the gradients of one process's part of a batch; the step and the rank are all that chance depends on."""
        rng = random.Random(f"{settings.seed} {step} {rank}")
        generator = torch.Generator().manual_seed(rng.getrandbits(62))
        count = settings.batch // arguments.processes
        places, ids = captions.draw(count, rng)
        x0 = latents[places[:, 0], places[:, 1]].float()
        noise = torch.randn(x0.shape, generator=generator)
        t = (1000 * torch.rand(count, generator=generator) ** settings.draw_power).long().clamp_max(999)
        a = alphas[t].view(-1, 1, 1, 1)
        z = (a.sqrt() * x0 + (1 - a).sqrt() * noise).to(device, memory_format=torch.channels_last)
        context = text_encoder(ids.to(device)).last_hidden_state
        error = (unet(z, t.to(device), context).sample - noise.to(device)).square().mean((1, 2, 3))
        loss = (weights[t].to(device) * error).mean()
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

    print(f"{len(captions.pictures)} images, {sum(p.numel() for p in team.parameters):,} parameters", flush=True)
    loop.run(
        team,
        optimizer,
        average,
        clock,
        loop.Pace(settings.learning_rate, settings.warm_up),
        step=step,
        warm=step > 0 and not arguments.extend,
        spent_before=total,
        log_path=work / "text_to_image_log.jsonl",
        save=save,
        draw_sheet=draw_sheet,
    )


if __name__ == "__main__":
    main()
