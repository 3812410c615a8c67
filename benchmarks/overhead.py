"""What an inversion costs: the network's passes, and everything beside them.

    python benchmarks/overhead.py [--models mini-turbo mini-lcm mini] [--presets paper balanced] [--batches 1 8]
    python benchmarks/overhead.py --models sd15 --batches 1 --steps 1 --iterations 2 --repeats 3
    python benchmarks/overhead.py --sections growth losses passes [--compile]

With --cpu-time the processor time of a single thread is counted, which hardly depends on what else the machine does.

`sd15` is a pipeline of Stable Diffusion 1.5's shape (860 million weights in the UNet) with random weights, inverted at
64 x 64 latents: it takes 5 GB and tells nothing about images. Every number is a median over repeats in one process,
after a run that is not counted. All tables are Markdown. The sections are

    shares   whole inversions with every feature on, and the share of their time that is not in the network's passes
    batches  the throughput of one call with eight images against that of eight calls
    profile  where the rest of the time goes
    memory   what is held between passes beside the models' weights, and what is left when an inversion has ended
    growth   time and passes against steps, iterations, batch and latent size
    losses   the edit losses for one prediction
    passes   one network pass: memory format of the weights, inference mode, and with --compile compiled as well
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache, partial, wraps
from statistics import median
from typing import Any

import torch
from diffusers import AutoencoderKL, EulerAncestralDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel
from full_size import CLIP_L, VAE, filled
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel

import renoise_mini
from renoise import (
    EditLosses,
    Editor,
    Inversion,
    InversionConfig,
    editability,
    editor,
    enhancement,
    images,
    remarks,
    upwards,
)
from renoise.backbones import Request

SECTIONS = ("shares", "batches", "profile", "memory", "growth", "losses", "passes")
PASSES, TEXT, IMAGE = "the network's passes", "text encoder", "autoencoder"


def sd15() -> StableDiffusionPipeline:
    """A pipeline of Stable Diffusion 1.5's shape with a sampler of a few steps."""
    device, dtype = torch.device("cpu"), torch.float32
    sizes = {"vocab_size": 49408, "max_position_embeddings": 77, "bos_token_id": 0, "eos_token_id": 2}
    pipe = StableDiffusionPipeline(
        vae=filled(lambda: AutoencoderKL(**{**VAE, "scaling_factor": 0.18215, "sample_size": 512}), device, dtype),
        text_encoder=filled(lambda: CLIPTextModel(CLIPTextConfig(**CLIP_L, **sizes)), device, dtype),
        tokenizer=AutoTokenizer.from_pretrained(renoise_mini.path("mini") / "tokenizer"),
        unet=filled(lambda: UNet2DConditionModel(sample_size=64, cross_attention_dim=768), device, dtype),
        scheduler=EulerAncestralDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="trailing",
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


class Timer:
    """Tells the time: the wall's, or that of the processor in this thread."""

    now = staticmethod(time.perf_counter)


class Clock:
    """Seconds by what they were for."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._within = 0.0

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Count a function's time as that of a part, less the time of other parts that it calls."""

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            before, self._within = self._within, 0.0
            begun = Timer.now()
            try:
                return function(*args, **kwargs)
            finally:
                taken = Timer.now() - begun
                self.seconds[part] += taken - self._within
                self._within = before + taken

        return run


@contextmanager
def watched(model: Editor, clock: Clock) -> Iterator[None]:
    """Count the time of the parts of an inversion while it lasts."""
    pipe, kind = model.pipe, type(model.model.backbone)
    parts: list[tuple[str, Any, str]] = [
        (PASSES, pipe.unet, "forward"),
        (TEXT, pipe.text_encoder, "forward"),
        (IMAGE, pipe.vae, "encode"),
        ("prompts, beside the text encoder", type(model.model), "condition"),
        ("images: read, fit, to a tensor", type(model.model), "prepare"),
        ("fingerprint", editor, "fingerprint"),
        ("schedule", type(model.model), "steps"),
        ("edit losses", enhancement, "regularise"),
        ("noise correction", upwards, "correct"),
        ("checks that numbers are finite", type(model.model), "require_finite"),
        ("inputs and outputs of the network", kind, "predict"),
        ("inputs and outputs of the network", kind, "predict_each"),
        ("hooks and modes of the networks", kind, "release"),
        ("settings checked, remarks", remarks, "on_inverting"),
        ("settings checked, remarks", remarks, "on_training"),
    ]
    before = [(owner, name, vars(owner).get(name)) for _, owner, name in parts]
    for part, owner, name in parts:
        setattr(owner, name, clock.timed(part, getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name, function in before:
            if function is None:
                delattr(owner, name)
            else:
                setattr(owner, name, function)


@cache
def held_out() -> list[tuple[Image.Image, str]]:
    """The first held-out images with their captions."""
    folder = renoise_mini.path("heldout")
    entries = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()[:8]]
    return [(images.load(folder / entry["file"]), entry["caption"]) for entry in entries]


def run(model: Editor, config: InversionConfig, numbers: Sequence[int], **options: Any) -> Inversion:
    """Invert some of the held-out images with every feature on."""
    chosen = [held_out()[number % len(held_out())] for number in numbers]
    if "latents" not in options:
        options["image"] = [image for image, _ in chosen] if len(chosen) > 1 else chosen[0][0]
    return model.invert(
        prompt=[caption for _, caption in chosen] if len(chosen) > 1 else chosen[0][1],
        config=config,
        keep_trajectory=True,
        keep_residual_history=True,
        **{"progress": lambda state: None, **options},
    )


def measured(
    model: Editor, config: InversionConfig, count: int, repeats: int, **options: Any
) -> tuple[float, dict[str, float], int]:
    """Return the median seconds of an inversion, those of its parts, and its passes."""
    wholes: list[float] = []
    parts: dict[str, list[float]] = defaultdict(list)
    passes = run(model, config, range(count), **options).network_passes
    for _ in range(repeats):
        clock = Clock()
        with watched(model, clock):
            begun = Timer.now()
            run(model, config, range(count), **options)
            wholes.append(Timer.now() - begun)
        clock.seconds["the rest: solver, walk, generators, progress"] = wholes[-1] - sum(clock.seconds.values())
        for part, seconds in clock.seconds.items():
            parts[part].append(seconds)
    return median(wholes), {part: median(seconds) for part, seconds in parts.items()}, passes


def batches(model: Editor, config: InversionConfig, repeats: int) -> tuple[str, str, str]:
    """Return the milliseconds of eight calls and of one call with eight images, taken in turns, and their quotient."""
    alone: list[float] = []
    together: list[float] = []
    for repeat in range(repeats + 1):
        for seconds, calls in ((alone, [[n] for n in range(8)]), (together, [list(range(8))])):
            begun = Timer.now()
            for numbers in calls:
                run(model, config, numbers)
            if repeat:
                seconds.append(Timer.now() - begun)
    quotient = median(a / b for a, b in zip(alone, together, strict=True))
    return f"{1e3 * median(alone):.0f}", f"{1e3 * median(together):.0f}", f"{quotient:.2f}"


def beyond(whole: float, parts: dict[str, float], *but: str) -> str:
    """The share of the time that is in none of the parts named."""
    return f"{100 * (1 - sum(parts[part] for part in but) / whole):.1f}"


def table(*columns: str) -> None:
    """Print the head of a table."""
    print(f"\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}", flush=True)


def row(*cells: Any) -> None:
    """Print a row of a table."""
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def held() -> dict[int, int]:
    """The bytes of all tensors that are alive, by the addresses of their memory."""
    tensors = [t for t in gc.get_objects() if issubclass(type(t), Tensor) and not t.is_meta]
    return {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}


def kilobytes(now: dict[int, int], before: dict[int, int]) -> float:
    """How much memory is in use now and was not before."""
    return sum(size for place, size in now.items() if place not in before) / 1e3


def memory(model: Editor, config: InversionConfig, count: int) -> tuple[float, float, float]:
    """Return the kilobytes held between passes, left when an inversion has ended, and in its result."""
    run(model, config, range(count))
    gc.collect()
    before, most = held(), 0.0

    def look(_: Any) -> None:
        nonlocal most
        most = max(most, kilobytes(held(), before))

    inversion = run(model, config, range(count), progress=look)
    gc.collect()
    left = kilobytes(held(), before)
    result = [value for value in vars(inversion).values() if isinstance(value, Tensor)]
    own = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in result}
    return most, left, sum(own.values()) / 1e3


def growth(model: Editor, repeats: int) -> None:
    """Print how time and passes grow."""
    table("steps", "iterations", "batch", "latent", "passes", "whole, ms", "ms a pass and image", "beyond, %")
    base = {"num_steps": 4, "iterations": 3, "count": 1, "side": 16}
    changes: list[dict[str, int]] = [
        *({"num_steps": n} for n in (4, 8, 16)),
        *({"iterations": n} for n in (0, 1, 9)),
        *({"count": n} for n in (2, 4, 8)),
        *({"side": n} for n in (24, 32)),
    ]
    for change in changes:
        at = {**base, **change}
        config = model.config("reverse", num_steps=at["num_steps"], iterations=at["iterations"])
        shape = (at["count"], model.model.backbone.latent_channels, at["side"], at["side"])
        latents = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        whole, parts, passes = measured(model, config, at["count"], repeats, latents=latents)
        each = 1e3 * whole / passes / at["count"]
        row(*at.values(), passes, f"{1e3 * whole:.0f}", f"{each:.1f}", beyond(whole, parts, PASSES))


def losses(repeats: int) -> None:
    """Print the time of the edit losses for one prediction."""
    table("latent", "edit losses, ms")
    for shape in ((1, 4, 16, 16), (1, 4, 64, 64), (8, 4, 64, 64), (1, 4, 128, 128)):
        x, y = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))

        def shifts(highest: Sequence[int], draws: int, count: int = shape[0]) -> Tensor:
            drawn = [torch.randint(1, most + 1, (draws, 1), generator=torch.Generator()) for most in highest]
            return torch.stack(drawn, dim=1).expand(-1, -1, count)

        seconds = timed(partial(editability.regularise, x, y, EditLosses(), shifts), 10 * repeats)
        row(shape, f"{1e3 * seconds:.2f}")


def timed(function: Callable[[], Any], repeats: int) -> float:
    """Return the median seconds of a call."""
    function()
    seconds = []
    for _ in range(repeats):
        begun = Timer.now()
        function()
        seconds.append(Timer.now() - begun)
    return median(seconds)


def passes(name: str, model: Editor, counts: Sequence[int], repeats: int, *, compiled: bool) -> None:
    """Print the time of one network pass in several ways, in turns, so that the machine's load falls on all alike."""
    backbone = model.model.backbone
    step = model.model.steps(model.pipe.scheduler, model.config("reverse", num_steps=4), model.size)[0]
    networks = {
        "rows first": copy.deepcopy(model.pipe.unet).to(memory_format=torch.contiguous_format),
        "channels last": copy.deepcopy(model.pipe.unet).to(memory_format=torch.channels_last),
    }
    networks["channels last, inference mode"] = networks["channels last"]
    if compiled:
        networks["channels last, compiled"] = copy.deepcopy(networks["channels last"])
        networks["channels last, compiled"].compile()
    own = model.pipe.unet
    for count in counts:
        shape = (count, backbone.latent_channels, *(side // backbone.latent_scale for side in model.size))
        latents = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        seconds: dict[str, list[float]] = defaultdict(list)
        for repeat in range(repeats + 1):
            for way, network in networks.items():
                model.pipe.unet = network
                mode = torch.inference_mode() if "inference" in way else nullcontext()
                with torch.no_grad(), mode:
                    if repeat == 0:
                        condition = model.model.condition(Request(["a cat"] * count, None, 1.0, model.size))
                    begun = Timer.now()
                    backbone.predict(latents, step, condition)
                    if repeat:
                        seconds[way].append(Timer.now() - begun)
        for way, taken in seconds.items():
            row(name, count, way, f"{1e3 * median(taken):.1f}", f"{median(taken) / median(seconds['rows first']):.2f}")
    model.pipe.unet = own


def main() -> None:
    """Print the sections that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["mini-turbo", "mini-lcm", "mini"])
    parser.add_argument("--presets", nargs="+", default=["paper", "balanced"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--steps", type=int, help="in place of the preset's; for mini, 10 in place of 50")
    parser.add_argument("--iterations", type=int, help="renoising iterations in place of the preset's")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=["shares", "batches", "profile", "memory"])
    parser.add_argument("--compile", action="store_true", help="time a compiled network, too")
    parser.add_argument("--cpu-time", action="store_true", help="processor time of one thread, whatever else runs here")
    options = parser.parse_args()
    if options.cpu_time:
        torch.set_num_threads(1)
        Timer.now = staticmethod(time.thread_time)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, median of {options.repeats}")

    models = {
        name: Editor(sd15()) if name == "sd15" else Editor.from_pretrained(name, device="cpu")
        for name in options.models
    }
    found: dict[tuple[str, str, int], tuple[float, dict[str, float], int]] = {}

    def config_of(name: str, preset: str) -> InversionConfig:
        steps = options.steps or (10 if name == "mini" else None)
        return models[name].config(preset, num_steps=steps, iterations=options.iterations)

    if {"shares", "profile"} & set(options.sections):
        table("model", "preset", "images", "passes", "whole, ms", "beyond the passes, %", "beyond all networks, %")
        for name in models:
            for preset in options.presets:
                for count in options.batches:
                    whole, parts, taken = measured(models[name], config_of(name, preset), count, options.repeats)
                    found[name, preset, count] = whole, parts, taken
                    own = beyond(whole, parts, PASSES, TEXT, IMAGE)
                    row(name, preset, count, taken, f"{1e3 * whole:.0f}", beyond(whole, parts, PASSES), own)
    if "batches" in options.sections:
        table("model", "preset", "eight calls, ms", "one call with eight images, ms", "times the throughput")
        for name, model in models.items():
            for preset in options.presets:
                row(name, preset, *batches(model, config_of(name, preset), options.repeats))
    if "profile" in options.sections:
        for (name, preset, count), (whole, parts, _) in found.items():
            table(f"{name}, {preset}, {count} image{'s' if count > 1 else ''}", "ms", "%")
            for part, seconds in sorted(parts.items(), key=lambda item: -item[1]):
                row(part, f"{1e3 * seconds:.2f}", f"{100 * seconds / whole:.1f}")
    if "memory" in options.sections:
        table("model", "preset", "images", "held between passes, kB", "left afterwards, kB", "in the result, kB")
        for name in models:
            for preset in options.presets:
                for count in options.batches:
                    numbers = memory(models[name], config_of(name, preset), count)
                    row(name, preset, count, *(f"{number:.0f}" for number in numbers))
    if "growth" in options.sections:
        growth(next(iter(models.values())), options.repeats)
    if "losses" in options.sections:
        losses(options.repeats)
    if "passes" in options.sections:
        table("model", "images", "weights", "ms", "against rows first")
        for name, model in models.items():
            passes(name, model, options.batches, options.repeats, compiled=options.compile)


if __name__ == "__main__":
    main()
