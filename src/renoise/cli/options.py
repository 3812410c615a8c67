"""The options that commands share: their names, ranges, help and panels in one place.

Only typer and light modules are imported here, so that `renoise --help` answers at once.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from renoise.cli import values
from renoise.cli.failures import UsageError
from renoise.cli.lists import checked_list, numbers_in
from renoise.cli.panels import GUIDANCE_RESCALE, NEGATIVE_PROMPT, inverting, model, output, part
from renoise.cli.preset_options import PRESET, VARIANTS
from renoise.ranges import LARGEST_SEED

if TYPE_CHECKING:
    from renoise.config import InversionConfig
    from renoise.editor import Editor

DEFAULT_MODEL = "mini"
# Far beyond use; a typing error should not run until the memory is full.
_MOST_STEPS, _MOST_ITERATIONS = 100_000, 1000

# The floating-point types of the networks.
Precision = Literal["float32", "float16", "bfloat16"]
# `renoise.loading.sampling.SPACINGS`: how the timesteps or the noise levels of a schedule are spaced.
SpacingName = Literal["leading", "trailing", "linspace", "karras", "exponential", "beta"]
# `renoise.images.FITS`: how an image is brought to the model's size.
FitMode = Literal["crop", "pad", "stretch", "keep"]
# `renoise.edit_settings.EDIT_DATA`: what an inversion keeps for edits.
EditDataName = Literal["float32", "float16", "none"]


def _moved(text: str | None) -> str | None:
    """Refuse the name that an option had before."""
    if text is not None:
        raise UsageError(f"--strength is --depth now: --depth {shlex.quote(text)}; --strength is for renoise edit")
    return text


Image = Annotated[Path, typer.Argument(metavar="IMAGE", parser=values.path, help="An image file.")]
InversionFile = Annotated[
    Path, typer.Argument(metavar="INVERSION", parser=values.path, help="A file that renoise invert wrote.")
]
Source = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE", parser=values.path, help="An image, or a .safetensors file that renoise invert wrote."
    ),
]
ModelName = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="A model to tell all about; its last part is enough."),
]
NegativePrompt = Annotated[str | None, inverting("--negative-prompt", **NEGATIVE_PROMPT)]
GuidanceRescale = Annotated[float | None, inverting("--guidance-rescale", **GUIDANCE_RESCALE)]
Original = Annotated[
    Path | None,
    output(
        "--source",
        metavar="IMAGE",
        parser=values.path,
        help="The image that was inverted, to measure and compare with.",
    ),
]
Sampler = Annotated[
    str | None,
    model(
        "--sampler",
        metavar="NAME",
        parser=values.readable,
        help="The sampler for images, in place of the model's own: ddim, ddpm, euler, euler-ancestral, lcm, tcd, "
        "flow-euler, flow-lcm, flow-map, scm, edm-euler. An inversion is drawn with the one that inverted it.",
    ),
]
Spacing = Annotated[
    SpacingName | None,
    model(
        "--spacing",
        metavar="NAME",
        help="How the schedule is spaced, in place of the model's own way: its timesteps by leading, trailing or "
        "linspace, or the noise levels of euler and of flows by karras, exponential or beta. Models of a few steps "
        "(Turbo, Lightning) want trailing.",
    ),
]
EditData = Annotated[
    EditDataName | None,
    inverting(
        "--edit-data",
        metavar="TYPE",
        help="What is kept beside the noise, for edits that keep the rest of the image: float32, float16 (half as "
        "large) or none. By default float32 with the preset edit, and none with the others.",
    ),
]
SaveMask = Annotated[
    Path | None,
    output(
        "--save-mask",
        metavar="FILE",
        parser=values.path,
        help="Write an image that is white where the edit could change its image; of several edits numbered ones.",
    ),
]
MovedStrength = Annotated[str | None, typer.Option("--strength", hidden=True, callback=_moved)]
Force = Annotated[
    bool,
    model("--force", help="Use another model than the one that inverted the image."),
]
Seed = Annotated[
    int | None,
    inverting(
        "--seed",
        metavar="N",
        **values.whole(0, LARGEST_SEED),
        help="Seeds the noises of stochastic samplers; 0 is the default.",
    ),
]


@dataclass(frozen=True)
class Settings:
    """What the command line says about an inversion; None leaves it to the model and its preset."""

    prompt: Annotated[
        str | None,
        inverting(
            "--prompt",
            "-p",
            metavar="TEXT",
            parser=values.readable,
            help="What the image shows. Needed for images; may be empty.",
        ),
    ] = None
    steps: Annotated[
        int | None,
        inverting(
            "--steps",
            metavar="N",
            **values.whole(1, _MOST_STEPS),
            help="Sampler steps; by default what suits the model and the preset: up to 20, or as many as a few-step "
            "model draws in, and with other presets than edit the model's own, such as 50, or 28 for SD3 and Flux.",
        ),
    ] = None
    renoise: Annotated[
        int | None,
        inverting(
            "--renoise",
            metavar="K",
            **values.whole(0, _MOST_ITERATIONS),
            help="Renoising iterations of each step; 0 is plain sampler reversing, without edit losses and noise "
            "correction unless asked for. The preset paper has 1, or 4 to 9 for few-step models.",
        ),
    ] = None
    depth: Annotated[
        float | None,
        inverting(
            "--depth",
            metavar="D",
            **values.decimal(0.0, 1.0, above=True),
            help="How deep into the noise an image is inverted: the share of the schedule, above 0 and at most 1 (the "
            "default). Less leaves out the noisiest steps.",
        ),
    ] = None
    inversion_guidance: Annotated[
        float | None,
        inverting(
            "--inversion-guidance",
            metavar="G",
            **values.decimal(0.0),
            help="Guidance scale of the inversion; 1 is none, and 0 for Z-Image and Krea 2. None is the default.",
        ),
    ] = None
    seed: Seed = None
    preset: Annotated[
        str | None,
        inverting("--preset", **PRESET),
    ] = None
    edit_losses: Annotated[
        bool | None,
        part(
            "--edit-losses/--no-edit-losses",
            help="Keep the noise editable, at some cost in reconstruction. By default as the preset has it.",
        ),
    ] = None
    noise_correction: Annotated[
        float | None,
        part(
            "--noise-correction",
            metavar="A",
            **values.decimal(0.0, 1.0),
            help="How far the noises of a stochastic sampler move to the ones that make its steps exact: 0 not at all, "
            "1 all the way. By default as the preset has it.",
        ),
    ] = None
    fit: Annotated[
        FitMode | None,
        inverting(
            "--fit",
            metavar="MODE",
            help="How an image comes to the model's size: crop (the default) takes the middle of it, pad the whole of "
            "it and continues its edges, stretch the whole of it out of shape, keep leaves it at its own size. After "
            "pad and keep, what is written has the image's size.",
        ),
    ] = None
    sampler: Sampler = None
    timesteps: Annotated[
        str | None,
        inverting(
            "--timesteps",
            metavar="LIST",
            callback=checked_list,
            help="The timesteps of the steps, such as 999,749,499,249, in place of --steps; for euler, ddpm, lcm, tcd, "
            "scm and the samplers of flows.",
        ),
    ] = None
    sigmas: Annotated[
        str | None,
        inverting(
            "--sigmas",
            metavar="LIST",
            callback=checked_list,
            help="The noise levels of the steps, such as 14.6,3.1,0.4, in place of --steps; for euler and "
            "the samplers of flows.",
        ),
    ] = None
    clip_skip: Annotated[
        int | None,
        inverting(
            "--clip-skip",
            metavar="N",
            **values.whole(0, _MOST_ITERATIONS),
            help="Leave out the last N layers of the CLIP text encoders, in the edit as well. What other programs call "
            "clip skip 2 is 1 here.",
        ),
    ] = None
    spacing: Spacing = None

    @property
    def given(self) -> list[str]:
        """The options that were used; each field has its option's name."""
        used = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        names = ["no_edit_losses" if name == "edit_losses" and not self.edit_losses else name for name in used]
        return [f"--{name.replace('_', '-')}" for name in names]

    @property
    def few_step_model(self) -> str | None:
        """The model of a few steps that `preset` names, without how it is inverted; None if it names none."""
        from renoise.named_presets import split

        found, _ = split(self.preset, VARIANTS)
        return None if found is None else found.name

    def config(self, editor: Editor) -> InversionConfig:
        """Return the preset for a model, changed as the command line says."""
        return editor.config(
            self.preset,
            num_steps=self.steps,
            iterations=self.renoise,
            strength=self.depth,
            guidance_scale=self.inversion_guidance,
            seed=self.seed,
            edit_losses=self.edit_losses,
            noise_correction=self.noise_correction,
            timesteps=numbers_in(self.timesteps),
            sigmas=numbers_in(self.sigmas),
            clip_skip=self.clip_skip,
        )


@dataclass(frozen=True)
class ModelChoice:
    """Which model to load, with which adapters, and where."""

    name: Annotated[
        str | None,
        model(
            "--model",
            "-m",
            metavar="NAME",
            parser=values.readable,
            help="mini (the default), mini-turbo or mini-lcm, which are bundled; a pipeline directory, a .safetensors "
            "checkpoint, or a model hub name such as stabilityai/sdxl-turbo.",
        ),
    ] = None
    lora: Annotated[
        list[str] | None,
        model(
            "--lora",
            metavar="NAME[:STRENGTH]",
            help="LoRA weights for the model: a folder, a .safetensors file or a model hub name such as "
            "latent-consistency/lcm-lora-sdxl, and how strong they are, such as :0.7; 1 is the default. Give it again "
            "for more.",
        ),
    ] = None
    device: Annotated[
        str | None,
        model("--device", metavar="NAME", parser=values.readable, help="cpu, cuda, mps; by default the best one here."),
    ] = None
    dtype: Annotated[
        Precision | None,
        model(
            "--dtype",
            metavar="TYPE",
            help="Floating-point type of the networks: float32, float16 or bfloat16; by default float32 on a CPU and "
            "float16 on a GPU, bfloat16 for SD3 and Flux.",
        ),
    ] = None
    compile: Annotated[
        bool,
        model(
            "--compile",
            help="Compile the network with torch.compile: the first passes wait for the compiler, the others are "
            "quicker. Wants a C++ compiler such as gcc.",
        ),
    ] = False


@dataclass(frozen=True)
class Files:
    """Where results go."""

    output: Annotated[
        str | None,
        output(
            "--output",
            "-o",
            metavar="PATH",
            parser=values.place,
            help="Where to write it; by default beside you, named after the source.",
        ),
    ] = None
    compare: Annotated[
        Path | None,
        output(
            "--compare",
            metavar="FILE",
            parser=values.path,
            help="Write source, reconstruction and edits as one labelled image, too.",
        ),
    ] = None


@dataclass(frozen=True)
class Reporting:
    """How the command talks."""

    json: Annotated[bool, output("--json", help="Print one JSON document on standard output.")] = False
    quiet: Annotated[
        bool,
        output("--quiet", "-q", help="Print nothing but errors (and the JSON document)."),
    ] = False
    debug: Annotated[
        bool,
        output("--debug", help="Show the traceback of an error and what the libraries say."),
    ] = False


@dataclass(frozen=True)
class Describing(Reporting):
    """How a command talks whose result is a description."""

    quiet: Annotated[
        bool,
        output("--quiet", "-q", help="No change: the description is the result."),
    ] = False
