"""What every training script shares: atomic files, averaged weights, progress by the clock, stopping, sample sheets."""

import io
import os
import shutil
import signal
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

P = ParamSpec("P")
R = TypeVar("R")


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def mixed() -> Iterator[None]:
    """Compute in bfloat16 on a GPU, and on a CPU that has instructions for it: others lose by it.

    On a CPU attention is computed step by step: the gradient of PyTorch's fused kernel takes ten times as long there
    for heads as small as ours, a fifth of a training step.
    """
    if torch.cuda.is_available():
        with torch.autocast("cuda", torch.bfloat16):
            yield
        return
    able = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    with torch.autocast("cpu", torch.bfloat16, enabled=able), sdpa_kernel(SDPBackend.MATH):
        yield


def layout() -> torch.memory_format:
    """Return how a UNet's tensors lie in memory where it learns fastest: a CPU loses a twentieth by channels last."""
    return torch.channels_last if torch.cuda.is_available() else torch.contiguous_format


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Fuse the kernels of a function on a GPU; a CPU gains too little for the minute that it takes."""
    return torch.compile(function, dynamic=False) if torch.cuda.is_available() else function


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def beside(target: Path) -> Path:
    """Make an empty directory next to the target, to be written in peace."""
    fresh = target.with_name(target.name + ".tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    return fresh


def exchange(fresh: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


class Average:
    """Exponential moving average of weights; young averages forget faster, so that the start does not linger."""

    def __init__(self, modules: dict[str, nn.Module], decay: float) -> None:
        self.modules, self.decay, self.updates = modules, decay, 0
        self.shadow = {n: {k: v.detach().clone() for k, v in m.state_dict().items()} for n, m in modules.items()}

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, module in self.modules.items():
            values, shadows = module.state_dict(), self.shadow[name]
            moving = [key for key, value in values.items() if value.dtype.is_floating_point]
            torch._foreach_lerp_([shadows[key] for key in moving], [values[key] for key in moving], 1 - decay)
            for key in values.keys() - set(moving):
                shadows[key].copy_(values[key])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averaged weights into the modules while the context lasts."""
        raw = {n: {k: v.detach().clone() for k, v in m.state_dict().items()} for n, m in self.modules.items()}
        for name, module in self.modules.items():
            module.load_state_dict(self.shadow[name])
        try:
            yield
        finally:
            for name, module in self.modules.items():
                module.load_state_dict(raw[name])

    def state_dict(self) -> dict[str, Any]:
        return {"shadow": self.shadow, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.shadow, self.updates = state["shadow"], state["updates"]


class Clock:
    """Progress from 0 to 1 over a budget of minutes, counting only the time spent here and carried over stops.

    Learning rates follow it rather than a step count, so that they are annealed when the time is over however many
    other processes shared the machine. It stands still until `start`, which a loop calls after its first step: on a
    GPU that step compiles the network, which may take a minute in which nothing is learnt.
    """

    def __init__(self, minutes: float, spent: float = 0.0) -> None:
        self.budget, self._before = 60 * minutes, spent
        self._start: float | None = None

    def start(self) -> None:
        """Count from now on; once it counts, this changes nothing."""
        if self._start is None:
            self._start = time.monotonic()

    @property
    def running(self) -> float:
        """Return the seconds since it was started here."""
        return 0.0 if self._start is None else time.monotonic() - self._start

    @property
    def spent(self) -> float:
        return self._before + self.running

    @property
    def progress(self) -> float:
        return min(1.0, self.spent / self.budget)


class Every:
    """True once every so many seconds; the first call starts to count them."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._last: float | None = None

    def __call__(self) -> bool:
        now = time.monotonic()
        if self._last is not None and now - self._last < self.seconds:
            return False
        first, self._last = self._last is None, now
        return not first


class StopRequest:
    """Set by SIGTERM or Ctrl-C: the loop finishes its step, saves and ends."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True


def psnr(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the PSNR of each image (B, 3, H, W) in [0, 1], `a` clamped."""
    return -10 * torch.log10((a.clamp(0, 1) - b).square().mean((1, 2, 3)).clamp_min(1e-10))


def to_tensor(pictures: np.ndarray) -> torch.Tensor:
    """Turn (B, H, W, 3) bytes into (B, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255


def to_bytes(pictures: torch.Tensor) -> np.ndarray:
    """Undo `to_tensor`."""
    scaled = (pictures.clamp(0, 1) * 255).round().to(torch.uint8)
    return np.asarray(scaled.permute(0, 2, 3, 1).cpu().numpy())


def sheet(pictures: np.ndarray, columns: int, labels: list[str] | None = None) -> bytes:
    """Return a PNG of images in rows, each with its label below."""
    count, side = len(pictures), pictures.shape[1]
    strip = 34 if labels else 0
    rows = -(-count // columns)
    page = Image.new("RGB", (columns * side, rows * (side + strip)), "white")
    pen = ImageDraw.Draw(page)
    for i, picture in enumerate(pictures):
        x, y = i % columns * side, i // columns * (side + strip)
        page.paste(Image.fromarray(picture), (x, y))
        if labels:
            pen.multiline_text(
                (x + 2, y + side + 1), wrapped(labels[i], side // 6), fill="black", font_size=9, spacing=1
            )
    buffer = io.BytesIO()
    page.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)[:3])
