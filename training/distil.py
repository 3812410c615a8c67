"""Distil mini into models that draw in one to four steps.

    turbo   every weight of the UNet, for the Euler ancestral sampler with trailing spacing
    lcm     a LoRA beside mini's own UNet, for the LCM sampler

Both learn to say, from a noised latent at the few timesteps where their sampler will ask, the image that belongs
there. Most of each batch are the teacher's endpoints (`endpoints.py`), so that its guidance is built in and a changed
caption changes an image as the teacher would; the rest are real images under noise with their captions. The loss is the
distance between the clean latents, one for each image (pseudo-Huber: Song & Dhariwal, 2023, arXiv 2310.14189, eq. 8);
the network goes on predicting epsilon, as its scheduler expects. With `--critic`, a critic that learns to tell the
student's images from the teacher's pulls as well (`critic.py`), half as hard as that distance.

    python -m training.distil turbo --minutes 25
    python -m training.distil turbo --extend 10 --critic
    python -m training.distil lcm --minutes 22
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    EulerAncestralDiscreteScheduler,
    LCMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from peft import LoraConfig

from training import common, loop
from training.critic import Critic, critic_loss
from training.latents import Pool
from training.parallel import Team
from training.pipeline import generate
from training.text_to_image import PROMPTS, loss_weights

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
    """How it is trained.

    Attributes:
        real_share: of the batch, real images instead of endpoints.
        others_share: of the real ones, at other timesteps than those of four steps.
        huber: of the pseudo-Huber distance, for each element.
        pull: the critic's gradient for an image, as a share of the distance's.
        critic_timesteps: how much noise the critic's view has.
    """

    batch: int = 32
    warm_up: int = 50
    average: float = 0.995
    real_share: float = 0.25
    others_share: float = 0.2
    huber: float = 0.03
    pull: float = 0.5
    critic_learning_rate: float = 5e-4
    critic_timesteps: tuple[int, int] = (20, 600)
    seed: int = 7


ON_A_GPU = Settings(batch=512, warm_up=100, average=0.998)


def student_scheduler(name: str, config: Any) -> Any:
    """Return the sampler that the student is made for, on its teacher's noise levels."""
    if name == "lcm":
        return LCMScheduler.from_config(config, timestep_spacing="leading")
    return EulerAncestralDiscreteScheduler.from_config(config, timestep_spacing="trailing")


def prepared(name: str, teacher: Path) -> StableDiffusionPipeline:
    """Load the teacher's pipeline, with what the student trains set to be trained and its sampler in place."""
    pipeline = StableDiffusionPipeline.from_pretrained(teacher, torch_dtype=torch.float32, local_files_only=True)
    pipeline.scheduler = student_scheduler(name, pipeline.scheduler.config)
    pipeline.text_encoder.requires_grad_(False)
    if name == "lcm":
        pipeline.unet.requires_grad_(False)
        pipeline.unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=ADAPTED))
    return pipeline


def averaged(name: str, work: Path, teacher: Path) -> StableDiffusionPipeline:
    """Load the student with the averaged weights of its checkpoint."""
    pipeline = prepared(name, teacher)
    state = torch.load(work / f"{name}.pt", map_location="cpu", weights_only=True)
    pipeline.unet.load_state_dict(state["average"]["shadow"]["unet"])
    return pipeline


def noised(x0: torch.Tensor, t: torch.Tensor, alphas: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    a = alphas[t].view(-1, 1, 1, 1)
    return a.sqrt() * x0 + (1 - a).sqrt() * torch.randn(x0.shape, generator=generator, device=x0.device)


class Opponent:
    """The critic, trained on what the student makes now."""

    def __init__(self, teacher: Path, settings: Settings, alphas: torch.Tensor, device: torch.device) -> None:
        own = UNet2DConditionModel.from_pretrained(teacher / "unet", torch_dtype=torch.float32)
        self.critic = Critic(own).to(device)
        self.critic.to(memory_format=common.layout())  # type: ignore[call-overload]
        self.judge = common.compiled(self.critic)
        self.settings, self.alphas = settings, alphas
        self.optimizer = torch.optim.AdamW(
            self.critic.heads.parameters(), lr=settings.critic_learning_rate, betas=(0.5, 0.99), fused=True
        )

    def pull(
        self, made: torch.Tensor, real: torch.Tensor, context: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Train the critic on latents made by the student and real ones; return its verdict's gradient at `made`."""
        least, most = self.settings.critic_timesteps
        t = torch.randint(least, most, (len(made),), generator=generator, device=made.device)
        made = made.requires_grad_(True)
        views = torch.cat([noised(real, t, self.alphas, generator), noised(made, t, self.alphas, generator)])
        with common.mixed():
            logits = self.judge(views.contiguous(memory_format=common.layout()), t.repeat(2), context.repeat(2, 1, 1))
        says_real, says_made = logits.float().chunk(2)
        (gradient,) = torch.autograd.grad(-says_made.mean(), made, retain_graph=True)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(critic_loss(says_real, says_made), inputs=list(self.critic.heads.parameters()))
        self.optimizer.step()
        return gradient


def distances(x0: torch.Tensor, target: torch.Tensor, huber: float) -> torch.Tensor:
    """Return the pseudo-Huber distance of each image, in units of an element's deviation."""
    square = (x0 - target).square().mean((1, 2, 3))
    return (square + huber**2).sqrt() - huber


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", choices=STUDENTS)
    parser.add_argument("--work", type=Path, default=Path("training/output"))
    parser.add_argument("--teacher", type=Path, default=Path("training/output/models/mini"))
    parser.add_argument("--minutes", type=float, default=30, help="time for the whole run, over all its restarts")
    parser.add_argument("--extend", type=float, help="a new schedule of so many minutes, from the averaged weights")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--critic", action="store_true", help="add the pull of a critic; in one process only")
    parser.add_argument("--processes", type=int, default=1 if torch.cuda.is_available() else 2)
    arguments = parser.parse_args()
    if arguments.critic and arguments.processes > 1:
        parser.error("--critic needs --processes 1: its critic is trained beside the student.")
    name, student, work, device = arguments.student, STUDENTS[arguments.student], arguments.work, common.device()
    settings = ON_A_GPU if device.type == "cuda" else Settings()
    learning_rate = arguments.learning_rate or student.learning_rate
    if arguments.processes > 1:
        torch.set_num_threads(1)
    torch.manual_seed(settings.seed)

    pipeline = prepared(name, arguments.teacher).to(device)
    unet = pipeline.unet.to(memory_format=common.layout()).train()
    alphas = loss_weights()[0].to(device)
    pool, network = Pool.load(work, device), common.compiled(unet)
    known = torch.load(work / "endpoints.pt", map_location=device, weights_only=True)
    if known["done"] < len(known["t"]):
        raise SystemExit("The endpoints are not all there: run python -m training.endpoints again.")
    usual, others = (torch.tensor(table, device=device) for table in (student.timesteps, student.others))
    opponent = Opponent(arguments.teacher, settings, alphas, device) if arguments.critic else None

    def backward(step: int, rank: int) -> float:
        """Add the gradients of one process's part of a batch; the step and the rank are all that chance depends on."""
        generator = torch.Generator(device).manual_seed(arguments.processes * step + rank + (settings.seed << 40))
        count = settings.batch // arguments.processes
        some = round(count * settings.real_share)

        def pick(table: torch.Tensor, number: int) -> torch.Tensor:
            return table[torch.randint(len(table), (number,), generator=generator, device=device)]

        real, ids = pool.draw(some, generator)
        rare = torch.rand(some, generator=generator, device=device) < settings.others_share
        t = torch.where(rare, pick(others, some), pick(usual, some))
        taught = torch.randint(len(known["t"]), (count - some,), generator=generator, device=device)
        z = torch.cat([noised(real, t, alphas, generator), known["z"][taught].float()])
        target = torch.cat([real, known["endpoints"][taught].float()])
        t, ids = torch.cat([t, known["t"][taught]]), torch.cat([ids, known["ids"][taught]])
        z, a = z.contiguous(memory_format=common.layout()), alphas[t].view(-1, 1, 1, 1)
        with common.mixed():
            with torch.no_grad():
                context = pipeline.text_encoder(ids).last_hidden_state
            prediction = network(z, t, context).sample.float()
        x0 = (z - (1 - a).sqrt() * prediction) / a.sqrt()
        loss = distances(x0, target, settings.huber).mean()
        if opponent is None:
            torch.autograd.backward(loss)
        else:
            (gradient,) = torch.autograd.grad(loss, x0, retain_graph=True)
            pull = opponent.pull(x0[some:].detach(), target[some:], context[some:], generator)
            strength = settings.pull * gradient[some:].flatten(1).norm(dim=1) / pull.flatten(1).norm(dim=1)
            gradient[some:] += strength.nan_to_num(0, 0, 0).view(-1, 1, 1, 1) * pull
            torch.autograd.backward(x0, gradient)
        return float(loss.detach())

    team = Team([unet], backward, arguments.processes)
    optimizer = torch.optim.AdamW(team.parameters, lr=learning_rate, betas=(0.9, 0.99), weight_decay=1e-3, fused=True)
    average = common.Average({"unet": unet}, settings.average)
    path, step, clock = work / f"{name}.pt", 0, common.Clock(arguments.minutes)
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        unet.load_state_dict(state["unet"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, clock = state["step"], common.Clock(state["minutes"], state["spent"])
        if arguments.extend:
            unet.load_state_dict(average.shadow["unet"])
            clock = common.Clock(arguments.extend)
        print(f"continuing at step {step}, {clock.progress:.0%} of the time spent", flush=True)
    elif arguments.extend:
        parser.error(f"--extend goes on from {path}, which is not there: use --minutes.")

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
        loop.pace(learning_rate, settings.warm_up, device),
        step=step,
        warm=step > 0 and not arguments.extend,
        spent_before=0.0,
        log_path=work / f"{name}_log.jsonl",
        save=save,
        draw_sheet=draw_sheet,
    )


if __name__ == "__main__":
    main()
