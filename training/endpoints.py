"""Where mini ends: noised images with captions, and what mini's guided sampler makes of each of them.

Distillation (`distil.py`) teaches a few-step model to jump where the many steps of its teacher lead (Luhman & Luhman,
2021, arXiv 2101.02388, from any noise level). Two thirds of the images carry their own captions, a third one that
changes the concept, the style or the background: an edit, which is what the few-step models are for. Every endpoint is
computed once, since a teacher's pass is what costs.

    python -m training.endpoints --work training/output --teacher training/output/models/mini
"""

import argparse
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

from training import common
from training.captions import token_ids
from training.latents import Pool
from training.text_to_image import loss_weights


@dataclass(frozen=True)
class Settings:
    count: int = 9600
    guidance: float = 3.0
    timesteps_a_step: int = 100
    least_steps: int = 2
    noisiest_share: float = 0.3
    edited_share: float = 0.33
    lowest_timestep: int = 100
    batch: int = 32
    seed: int = 5


ON_A_GPU = Settings(count=61_440, timesteps_a_step=50, batch=512)


class Teacher:
    """The guided deterministic sampler of a pipeline, from any timesteps to the end."""

    def __init__(self, pipeline: StableDiffusionPipeline, settings: Settings) -> None:
        device = pipeline.unet.device
        self.settings, self.text_encoder = settings, pipeline.text_encoder
        self.network = common.compiled(pipeline.unet)
        levels = torch.cat([torch.ones(1), pipeline.scheduler.alphas_cumprod])
        self.alphas = levels.to(device).view(-1, 1, 1, 1)
        self.empty = torch.from_numpy(token_ids(pipeline.tokenizer, [""])).long().to(device)

    @torch.no_grad()
    def endpoints(self, z: torch.Tensor, t: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Draw z_0 from latents `z` (B, 8, h, w) at timesteps `t` (B,), under captions `ids` (B, 32)."""
        alphas = self.alphas
        with common.mixed():
            context = self.text_encoder(torch.cat([self.empty.expand(len(ids), -1), ids])).last_hidden_state
        steps = max(self.settings.least_steps, math.ceil(int(t.max()) / self.settings.timesteps_a_step))
        # Timestep t lies at t + 1 of `alphas`, whose first entry is the clean image.
        levels = [((t + 1) * (steps - i) / steps).round().long() for i in range(steps + 1)]
        for now, later in pairwise(levels):
            both = torch.cat([z, z]).contiguous(memory_format=torch.channels_last)
            with common.mixed():
                without, with_prompt = self.network(both, (now - 1).repeat(2), context).sample.float().chunk(2)
            eps = without + self.settings.guidance * (with_prompt - without)
            x0 = (z - (1 - alphas[now]).sqrt() * eps) / alphas[now].sqrt()
            z = alphas[later].sqrt() * x0 + (1 - alphas[later]).sqrt() * eps
        return z


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("training/output"))
    parser.add_argument("--teacher", type=Path, default=Path("training/output/models/mini"))
    arguments = parser.parse_args()
    work, device = arguments.work, common.device()
    settings = ON_A_GPU if device.type == "cuda" else Settings()
    stop = common.StopRequest()
    pipeline = StableDiffusionPipeline.from_pretrained(arguments.teacher, torch_dtype=torch.float32).to(device)
    pipeline.unet.to(memory_format=torch.channels_last)
    teacher = Teacher(pipeline, settings)

    generator = torch.Generator(device).manual_seed(settings.seed)
    pool = Pool.load(work, device)
    x0, ids = pool.draw(settings.count, generator, settings.edited_share)
    t = torch.randint(settings.lowest_timestep, 1000, (settings.count,), generator=generator, device=device)
    t[torch.rand(settings.count, generator=generator, device=device) < settings.noisiest_share] = 999
    a = loss_weights()[0].to(device)[t].view(-1, 1, 1, 1)
    z = a.sqrt() * x0 + (1 - a).sqrt() * torch.randn(x0.shape, generator=generator, device=device)

    path, done, found = work / "endpoints.pt", 0, torch.zeros_like(z)
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        done, found = state["done"], state["endpoints"].float()
    # Images at like levels take like numbers of steps.
    order = t.argsort(descending=True, stable=True)
    log, keep = common.Every(30), common.Every(120)

    def save() -> None:
        state = {"done": done, "z": z.half(), "t": t, "ids": ids, "endpoints": found.half()}
        common.save_checkpoint(path, state)

    print(f"{settings.count} endpoints, {done} known", flush=True)
    while done < settings.count and not stop.asked:
        some = order[done : done + settings.batch]
        found[some] = teacher.endpoints(z[some], t[some], ids[some])
        done += len(some)
        if log():
            print(f"{done}/{settings.count}", flush=True)
        if keep():
            save()
    save()


if __name__ == "__main__":
    main()
