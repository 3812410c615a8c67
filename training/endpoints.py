"""Where mini ends: noised images with captions, and what mini's guided sampler makes of each of them.

Distillation (`distil.py`) teaches a few-step model to jump where the many steps of its teacher lead (Luhman & Luhman,
2021, arXiv 2101.02388, from any noise level). A third of the images carry their own caption, a third their own with a
part left out, and a third that of an image with another concept, background or style: an edit, which is what the
few-step models are for. Every endpoint is computed once, since a teacher's pass is what costs.

    python -m training.endpoints --work training/output --teacher packages/renoise-mini/src/renoise_mini/mini
"""

import argparse
import math
import random
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from training import common
from training.data import STYLES, Words, sentence
from training.text_encoder import POSITIONS
from training.text_to_image import Captions, Picture, loss_weights
from training.text_to_image import Settings as CaptionSettings


@dataclass(frozen=True)
class Settings:
    count: int = 9600
    guidance: float = 3.0
    timesteps_a_step: int = 100
    least_steps: int = 2
    noisiest_share: float = 0.3
    lowest_timestep: int = 100
    batch: int = 32
    seed: int = 5


class Edits:
    """Captions for an image: its own, its own with a part left out, or that of a neighbour."""

    def __init__(self, pictures: list[Picture]) -> None:
        self.words = Words()
        self._pictures = pictures
        self._trained = {(p.concept, p.style, p.background) for p in pictures}

    def caption(self, picture: Picture, kind: int, rng: random.Random) -> str:
        concept, style, background = picture.concept, picture.style, picture.background
        if kind == 0:
            return self.words.caption(concept, style, background)
        if kind == 1:
            without_style = rng.random() < 0.5
            return sentence(
                self.words.phrase(concept), None if without_style else style, background if without_style else None
            )
        while True:
            other = rng.choice(self._pictures)
            target = rng.choice(
                (
                    (other.concept, style, background),
                    (concept, other.style, background),
                    (concept, style, other.background),
                )
            )
            if target in self._trained and target != (concept, style, background):
                return self.words.caption(*target)


@torch.no_grad()
def endpoints(
    teacher: StableDiffusionPipeline, z: torch.Tensor, t: torch.Tensor, ids: torch.Tensor, settings: Settings
) -> torch.Tensor:
    """z_0 of the guided deterministic sampler from latents `z` (B, 4, h, w) at timesteps `t` (B,)."""
    alphas = torch.cat([torch.ones(1), teacher.scheduler.alphas_cumprod]).view(-1, 1, 1, 1)
    empty = teacher.tokenizer("", padding="max_length", max_length=POSITIONS, return_tensors="pt").input_ids
    context = teacher.text_encoder(torch.cat([empty.expand(len(ids), -1), ids])).last_hidden_state
    steps = max(settings.least_steps, math.ceil(int(t.max()) / settings.timesteps_a_step))
    # Timestep t lies at t + 1 of `alphas`, whose first entry is the clean image.
    levels = [((t + 1) * (steps - i) / steps).round().long() for i in range(steps + 1)]
    z = z.to(memory_format=torch.channels_last)
    for now, later in pairwise(levels):
        without, with_prompt = teacher.unet(torch.cat([z, z]), (now - 1).repeat(2), context).sample.chunk(2)
        eps = without + settings.guidance * (with_prompt - without)
        x0 = (z - (1 - alphas[now]).sqrt() * eps) / alphas[now].sqrt()
        z = alphas[later].sqrt() * x0 + (1 - alphas[later]).sqrt() * eps
    return z


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("training/output"))
    parser.add_argument("--teacher", type=Path, default=Path("packages/renoise-mini/src/renoise_mini/mini"))
    arguments = parser.parse_args()
    settings, work = Settings(), arguments.work
    torch.set_num_threads(2)
    stop = common.StopRequest()
    teacher = StableDiffusionPipeline.from_pretrained(arguments.teacher, torch_dtype=torch.float32)
    teacher.unet.to(memory_format=torch.channels_last)

    rng, generator = random.Random(settings.seed), torch.Generator().manual_seed(settings.seed)
    pictures = Captions(work, teacher.tokenizer, CaptionSettings()).pictures
    edits = Edits(pictures)
    chosen = rng.choices(pictures, k=settings.count)
    captions = [edits.caption(picture, i % 3, rng) for i, picture in enumerate(chosen)]
    ids = torch.tensor(
        teacher.tokenizer(captions, padding="max_length", max_length=POSITIONS, truncation=True).input_ids
    )
    t = torch.randint(settings.lowest_timestep, 1000, (settings.count,), generator=generator)
    t[torch.rand(settings.count, generator=generator) < settings.noisiest_share] = 999
    latents = torch.from_numpy(np.load(work / "latents.npy"))
    x0 = latents[[p.row for p in chosen], [p.column for p in chosen]].float()
    a = loss_weights()[0][t].view(-1, 1, 1, 1)
    z = a.sqrt() * x0 + (1 - a).sqrt() * torch.randn(x0.shape, generator=generator)

    path, done, found = work / "endpoints.pt", 0, torch.zeros_like(z)
    if path.exists():
        state = torch.load(path, weights_only=True)
        done, found = state["done"], state["endpoints"].float()
    # Images at like levels take like numbers of steps.
    order = t.argsort(descending=True, stable=True)
    log, keep = common.Every(30), common.Every(120)

    def save() -> None:
        state = {"done": done, "z": z.half(), "t": t, "ids": ids, "endpoints": found.half()}
        common.save_checkpoint(path, state)

    print(f"{settings.count} endpoints over {len(STYLES)} styles, {done} known", flush=True)
    while done < settings.count and not stop.asked:
        some = order[done : done + settings.batch]
        found[some] = endpoints(teacher, z[some], t[some], ids[some], settings)
        done += len(some)
        if log():
            print(f"{done}/{settings.count}", flush=True)
        if keep():
            save()
    save()


if __name__ == "__main__":
    main()
