"""Distil mini into models that draw in one to four steps.

    turbo   every weight of the UNet, for the Euler ancestral sampler with trailing spacing
    lcm     a LoRA beside mini's own UNet, for the LCM sampler

Both learn to say, from a noised latent at the few timesteps where their sampler will ask, the image that belongs
there. Half of each batch are the teacher's endpoints (`endpoints.py`), so that its guidance is built in and a changed
caption changes an image as the teacher would; half are real images under noise with their captions. The loss is the
distance between the clean latents, one for each image (pseudo-Huber: Song & Dhariwal, 2023, arXiv 2310.14189, eq. 8);
the network goes on predicting epsilon, as its scheduler expects.

    python -m training.distil turbo --minutes 25
    python -m training.distil lcm --minutes 22
"""

import argparse
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import EulerAncestralDiscreteScheduler, LCMScheduler, StableDiffusionPipeline
from peft import LoraConfig

from training import common, loop
from training.parallel import Team
from training.pipeline import generate
from training.text_to_image import PROMPTS, Captions, loss_weights
from training.text_to_image import Settings as CaptionSettings

RANK = 32
ADAPTED = [
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "proj_in",
    "proj_out",
    "ff.net.0.proj",
    "ff.net.2",
    "conv1",
    "conv2",
    "conv_shortcut",
    "time_emb_proj",
    "downsamplers.0.conv",
    "upsamplers.0.conv",
]


@dataclass(frozen=True)
class Student:
    """What is trained and where it will be asked.

    Attributes:
        timesteps: those of the sampler in four steps.
        others: those of fewer steps, or the whole grid that the sampler picks from; a fifth of the draws.
        learning_rate: at the start.
    """

    timesteps: tuple[int, ...]
    others: tuple[int, ...]
    learning_rate: float


STUDENTS = {
    "turbo": Student((999, 749, 499, 249), (999, 666, 499, 332), 2e-4),
    "lcm": Student((999, 759, 499, 259), tuple(range(19, 1000, 20)), 1e-3),
}


@dataclass(frozen=True)
class Settings:
    batch: int = 32
    warm_up: int = 50
    average: float = 0.995
    others_share: float = 0.2
    # Of the pseudo-Huber distance, for each element.
    huber: float = 0.03
    seed: int = 7


def student_scheduler(name: str, config: Any) -> Any:
    """The sampler that the student is made for, on its teacher's noise levels."""
    if name == "lcm":
        return LCMScheduler.from_config(config, timestep_spacing="leading")
    return EulerAncestralDiscreteScheduler.from_config(config, timestep_spacing="trailing")


def prepared(name: str, teacher: Path) -> StableDiffusionPipeline:
    """The teacher's pipeline, with what the student trains set to be trained and its sampler in place."""
    pipeline = StableDiffusionPipeline.from_pretrained(teacher, torch_dtype=torch.float32, local_files_only=True)
    pipeline.scheduler = student_scheduler(name, pipeline.scheduler.config)
    pipeline.text_encoder.requires_grad_(False)
    if name == "lcm":
        pipeline.unet.requires_grad_(False)
        pipeline.unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=ADAPTED))
    return pipeline


def averaged(name: str, work: Path, teacher: Path) -> StableDiffusionPipeline:
    """The student with the averaged weights of its checkpoint."""
    pipeline = prepared(name, teacher)
    state = torch.load(work / f"{name}.pt", map_location="cpu", weights_only=True)
    pipeline.unet.load_state_dict(state["average"]["shadow"]["unet"])
    return pipeline


def noised(x0: torch.Tensor, t: torch.Tensor, alphas: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    a = alphas[t].view(-1, 1, 1, 1)
    return a.sqrt() * x0 + (1 - a).sqrt() * torch.randn(x0.shape, generator=generator)


def distances(x0: torch.Tensor, target: torch.Tensor, huber: float) -> torch.Tensor:
    """Pseudo-Huber distance of each image, in units of an element's deviation."""
    square = (x0 - target).square().mean((1, 2, 3))
    return (square + huber**2).sqrt() - huber


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", choices=STUDENTS)
    parser.add_argument("--work", type=Path, default=Path("training/output"))
    parser.add_argument("--teacher", type=Path, default=Path("packages/renoise-mini/src/renoise_mini/mini"))
    parser.add_argument("--minutes", type=float, default=30, help="time for the whole run, over all its restarts")
    parser.add_argument("--processes", type=int, default=1 if torch.cuda.is_available() else 2)
    arguments = parser.parse_args()
    name, student, settings, work = arguments.student, STUDENTS[arguments.student], Settings(), arguments.work
    torch.set_num_threads(max(1, 2 // arguments.processes))
    torch.manual_seed(settings.seed)
    device = common.device()

    pipeline = prepared(name, arguments.teacher).to(device)
    unet = pipeline.unet.to(memory_format=torch.channels_last).train()
    alphas = loss_weights()[0]
    latents = torch.from_numpy(np.load(work / "latents.npy"))
    known = torch.load(work / "endpoints.pt", weights_only=True)
    if known["done"] < len(known["t"]):
        raise SystemExit("The endpoints are not all there: run python -m training.endpoints again.")
    captions = Captions(work, pipeline.tokenizer, CaptionSettings(drop_caption=0.05))

    def backward(step: int, rank: int) -> float:
        """Add the gradients of one process's part of a batch; the step and the rank are all that chance depends on."""
        rng = random.Random(f"{settings.seed} {step} {rank}")
        generator = torch.Generator().manual_seed(rng.getrandbits(62))
        count = settings.batch // arguments.processes // 2
        places, ids = captions.draw(count, rng)
        real = latents[places[:, 0], places[:, 1]].float()
        t = torch.tensor(
            [
                rng.choice(student.others if rng.random() < settings.others_share else student.timesteps)
                for _ in range(count)
            ]
        )
        taught = torch.randint(len(known["t"]), (count,), generator=generator)
        z = torch.cat([noised(real, t, alphas, generator), known["z"][taught].float()])
        target = torch.cat([real, known["endpoints"][taught].float()]).to(device)
        t = torch.cat([t, known["t"][taught]])
        with torch.no_grad():
            context = pipeline.text_encoder(torch.cat([ids, known["ids"][taught]]).to(device)).last_hidden_state
        z, a = z.to(device, memory_format=torch.channels_last), alphas[t].view(-1, 1, 1, 1).to(device)
        x0 = (z - (1 - a).sqrt() * unet(z, t.to(device), context).sample) / a.sqrt()
        loss = distances(x0, target, settings.huber).mean()
        torch.autograd.backward(loss)
        return float(loss.detach())

    team = Team([unet], backward, arguments.processes)
    optimizer = torch.optim.AdamW(
        team.parameters, lr=student.learning_rate, betas=(0.9, 0.99), weight_decay=1e-3, fused=True
    )
    average = common.Average({"unet": unet}, settings.average)
    path, step, clock = work / f"{name}.pt", 0, common.Clock(arguments.minutes)
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        unet.load_state_dict(state["unet"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, clock = state["step"], common.Clock(state["minutes"], state["spent"])
        print(f"continuing at step {step}, {clock.progress:.0%} of the time spent", flush=True)

    def save(step: int) -> None:
        state = {"unet": unet.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
        state |= {"step": step, "minutes": clock.budget / 60, "spent": clock.spent}
        common.save_checkpoint(path, state)

    def draw_sheet(step: int) -> None:
        with average.applied():
            pictures = generate(pipeline, list(PROMPTS), steps=4, guidance=1.0)
        unet.train()
        (work / "sheets").mkdir(exist_ok=True)
        common.write_atomically(work / "sheets" / f"{name}-{step:06d}.png", common.sheet(pictures, 8, list(PROMPTS)))

    print(f"{sum(p.numel() for p in team.parameters):,} weights are trained", flush=True)
    loop.run(
        team,
        optimizer,
        average,
        clock,
        loop.Pace(student.learning_rate, settings.warm_up),
        step=step,
        warm=step > 0,
        spent_before=0.0,
        log_path=work / f"{name}_log.jsonl",
        save=save,
        draw_sheet=draw_sheet,
    )


if __name__ == "__main__":
    main()
