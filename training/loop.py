"""The loop that the training of the networks shares: rate by the clock, averaged weights, log, checkpoints, sheets."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from training import common
from training.parallel import Team


@dataclass(frozen=True)
class Pace:
    """How fast to learn and how often to look up.

    Attributes:
        learning_rate: at the start; it falls to 0 along a cosine of the clock.
        warm_up: steps over which it rises first.
        log_seconds, save_seconds, sheet_seconds: how often each is done.
    """

    learning_rate: float
    warm_up: int
    log_seconds: float = 60
    save_seconds: float = 240
    sheet_seconds: float = 600


def pace(learning_rate: float, warm_up: int, device: torch.device) -> Pace:
    """Return the pace for a device: on a GPU, minutes count as hours do elsewhere."""
    if device.type == "cuda":
        return Pace(learning_rate, warm_up, log_seconds=10, save_seconds=60)
    return Pace(learning_rate, warm_up)


def run(
    team: Team,
    optimizer: torch.optim.Optimizer,
    average: common.Average,
    clock: common.Clock,
    pace: Pace,
    *,
    step: int,
    warm: bool,
    spent_before: float,
    log_path: Path,
    save: Callable[[int], None],
    draw_sheet: Callable[[int], None],
) -> None:
    """Train until the clock has run down or someone asks to stop; the clock starts after the first step.

    `step` counts on from earlier runs; a `warm` optimiser's rate need not rise first; `spent_before` are the seconds of
    earlier schedules, for the log. `save` and `draw_sheet` are told the step.
    """
    stop, first_step = common.StopRequest(), step
    log, keep, show = (common.Every(s) for s in (pace.log_seconds, pace.save_seconds, pace.sheet_seconds))
    running = 0.0
    while clock.progress < 1 and not stop.asked:
        rate = pace.learning_rate * 0.5 * (1 + math.cos(math.pi * clock.progress))
        for group in optimizer.param_groups:
            group["lr"] = rate if warm else rate * min(1.0, (step - first_step + 1) / pace.warm_up)
        loss = team.gradients(step)
        torch.nn.utils.clip_grad_norm_(team.parameters, 1.0)
        if math.isfinite(loss):
            optimizer.step()
            average.update()
        step += 1
        clock.start()
        running += (loss - running) / min(200, step - first_step)
        if log():
            seconds = clock.running / max(1, step - first_step - 1)
            minutes = round((spent_before + clock.spent) / 60, 1)
            with log_path.open("a") as file:
                file.write(json.dumps({"step": step, "minutes": minutes, "loss": round(running, 5)}) + "\n")
            print(
                f"step {step} {clock.progress:.0%} loss {running:.4f} rate {rate:.2e} {seconds:.3f} s/step", flush=True
            )
        if keep():
            save(step)
        if show():
            draw_sheet(step)
    save(step)
    draw_sheet(step)
