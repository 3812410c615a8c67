"""The options that commands share: their names, ranges and help in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from renoise.config import InversionConfig

DEFAULT_MODEL = "mini"
# Far beyond use; a typing error should not run until the memory is full.
_MOST_ITERATIONS = 1000


class Precision(StrEnum):
    """Floating-point types of the networks."""

    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


def _finite(value: float | None) -> float | None:
    # A range check lets NaN through, because it compares as neither below nor above.
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def _share(value: float | None) -> float | None:
    if value is not None and not 0.0 < value <= 1.0:
        raise typer.BadParameter(f"{value} is not above 0 and at most 1")
    return value


def _readable(text: Any) -> Any:
    for one in text if isinstance(text, (list, tuple)) else [text]:
        if one is not None and any("\ud800" <= character <= "\udfff" for character in one):
            raise typer.BadParameter("the text is not valid in this terminal's encoding")
    return text


class Preset(StrEnum):
    """Whose settings to begin with (`InversionConfig.for_pipeline`)."""

    paper = "paper"
    released = "released"
    reverse = "reverse"


class FitMode(StrEnum):
    """How an image is brought to the model's size (`renoise.images.FITS`)."""

    crop = "crop"
    pad = "pad"
    stretch = "stretch"
    keep = "keep"


class RunName(StrEnum):
    """The comparisons of `renoise evaluate` (`renoise.evaluation.runs.RUNS`)."""

    table1 = "table1"
    table2 = "table2"
    figure7 = "figure7"
    figure8 = "figure8"
    empty_prompt = "empty-prompt"
    editing = "editing"


Run = Annotated[
    RunName,
    typer.Argument(
        metavar="RUN",
        help="What to compare: table1, one number of network passes spent in several ways; table2, what each part of "
        "the method adds; figure7, the residual of each iteration; figure8, reconstruction against network passes for "
        "each sampler; empty-prompt, captions against none; editing, what edits keep and how they fit their prompts.",
        show_default=False,
    ),
]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="NAME",
        help="mini-heldout (bundled images that mini never saw), a folder with captions, COCO captions, PIE-Bench, "
        "or the name of a Hugging Face data set that is on this machine.",
    ),
]
Limit = Annotated[
    int | None, typer.Option("--limit", "-n", metavar="N", min=1, help="How many images; by default all.")
]
ResultFolder = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="DIR",
        help="Where results go; by default evaluation/RUN-MODEL. What is there already is not measured again.",
    ),
]
ClipFolder = Annotated[
    Path | None,
    typer.Option(
        "--clip",
        metavar="DIR",
        help="For editing: a CLIP model on this machine, such as a download of openai/clip-vit-large-patch14, which "
        "tells how well edits fit their prompts. Without it that is n/a.",
    ),
]
DinoFolder = Annotated[
    Path | None,
    typer.Option(
        "--dino",
        metavar="DIR",
        help="For editing: a DINO vision transformer on this machine, such as a download of facebook/dino-vitb8, which "
        "tells how far edits are from their image's structure. Without it that is n/a.",
    ),
]
Batch = Annotated[int, typer.Option("--batch", metavar="N", min=1, help="How many images are worked on at a time.")]
Picture = Annotated[Path, typer.Argument(metavar="IMAGE", help="An image file.", show_default=False)]
InversionFile = Annotated[
    Path, typer.Argument(metavar="INVERSION", help="A file that renoise invert wrote.", show_default=False)
]
Source = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE", help="An image, or a .safetensors file that renoise invert wrote.", show_default=False
    ),
]
Prompt = Annotated[
    str | None,
    typer.Option(
        "--prompt",
        "-p",
        metavar="TEXT",
        callback=_readable,
        help="What the image shows. Needed for images; may be empty.",
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--to",
        "-t",
        metavar="TEXT",
        callback=_readable,
        help="What the edited image shall show. Give it again for more edits.",
        show_default=False,
    ),
]
NegativePrompt = Annotated[
    str | None,
    typer.Option(
        "--negative-prompt", metavar="TEXT", callback=_readable, help="What it shall not show, where guidance is used."
    ),
]
NegativeSource = Annotated[
    bool,
    typer.Option(
        "--negative-source",
        help="Take what the image shows as the negative prompt; wants --guidance (for Flux --true-cfg) above 1.",
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", metavar="PATH", help="Where to write it; by default beside you, named after the source."
    ),
]
Compare = Annotated[
    Path | None,
    typer.Option(
        "--compare", metavar="FILE", help="Write source, reconstruction and edits as one labelled image, too."
    ),
]
Original = Annotated[
    Path | None,
    typer.Option("--source", metavar="IMAGE", help="The image that was inverted, to measure and compare with."),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="mini (the default), mini-turbo or mini-lcm, which are bundled; a pipeline directory, a .safetensors "
        "checkpoint, or a model hub name such as stabilityai/sdxl-turbo.",
        show_default=False,
    ),
]
Lora = Annotated[
    list[str] | None,
    typer.Option(
        "--lora",
        metavar="NAME",
        help="LoRA weights for the model: a folder, a .safetensors file or a model hub name such as "
        "latent-consistency/lcm-lora-sdxl. Give it again for more.",
        show_default=False,
    ),
]
Sampler = Annotated[
    str | None,
    typer.Option(
        "--sampler",
        metavar="NAME",
        help="The sampler for images, in place of the model's own: ddim, ddpm, euler, euler-ancestral, lcm, tcd, "
        "flow-euler. An inversion is drawn with the one that inverted it.",
        show_default=False,
    ),
]
ModelName = Annotated[
    str | None,
    typer.Argument(metavar="[NAME]", help="A model to tell all about; its last part is enough.", show_default=False),
]
Device = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="cpu, cuda, mps; by default the best one here.")
]
Dtype = Annotated[
    Precision | None,
    typer.Option(
        "--dtype",
        help="Floating-point type of the networks; by default float32 on a CPU and float16 on a GPU, bfloat16 for SD3 "
        "and Flux.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Use another model than the one that inverted the image.")]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps",
        metavar="N",
        min=1,
        help="Sampler steps; by default what suits the model: 50, 28 for SD3 and Flux, or 4 for few-step models.",
    ),
]
Renoise = Annotated[
    int | None,
    typer.Option(
        "--renoise",
        metavar="K",
        min=0,
        max=_MOST_ITERATIONS,
        help="Renoising iterations of each step; 0 is plain sampler reversing, without edit losses and noise "
        "correction unless asked for. By default what suits the model: 1, or 4 to 9 for few-step models.",
    ),
]
PresetName = Annotated[
    Preset | None,
    typer.Option(
        "--preset",
        help="Settings to begin with: the paper's for this model (the default), those of its published code, or plain "
        "sampler reversing.",
        show_default=False,
    ),
]
EditLosses = Annotated[
    bool | None,
    typer.Option(
        "--edit-losses/--no-edit-losses",
        help="Keep the noise editable, at some cost in reconstruction. By default as the preset has it.",
        show_default=False,
    ),
]
NoiseCorrection = Annotated[
    float | None,
    typer.Option(
        "--noise-correction",
        metavar="A",
        min=0.0,
        max=1.0,
        callback=_finite,
        help="How far the noises of a stochastic sampler move to the ones that make its steps exact: 0 not at all, 1 "
        "all the way. By default as the preset has it.",
        show_default=False,
    ),
]
PictureFit = Annotated[
    FitMode | None,
    typer.Option(
        "--fit",
        help="How an image comes to the model's size: crop (the default) takes the middle of it, pad the whole of it "
        "and continues its edges, stretch the whole of it out of shape, keep leaves it at its own size. After pad and "
        "keep, what is written has the image's size.",
        show_default=False,
    ),
]
Strength = Annotated[
    float | None,
    typer.Option(
        "--strength",
        metavar="S",
        callback=_share,
        help="The share of the schedule that is inverted, above 0 and at most 1 (the default); less stays nearer to "
        "the image.",
    ),
]
InversionGuidance = Annotated[
    float | None,
    typer.Option(
        "--inversion-guidance",
        metavar="G",
        min=0.0,
        callback=_finite,
        help="Guidance scale of the inversion; 1 (the default) is none.",
    ),
]
Guidance = Annotated[
    float | None,
    typer.Option(
        "--guidance",
        "-g",
        metavar="G",
        min=0.0,
        callback=_finite,
        help="Guidance scale of the edit: more changes more and keeps less, 1 is none. By default 1.5, or 1 for "
        "few-step models, 3.5 for Flux dev, and what a guided inversion used.",
    ),
]
TrueCfg = Annotated[
    float | None,
    typer.Option(
        "--true-cfg",
        metavar="G",
        min=0.0,
        callback=_finite,
        help="Classifier-free guidance of the edit for models that have another kind built in (Flux): above 1 every "
        "step costs two network passes, and negative prompts count.",
        show_default=False,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", min=0, max=2**63 - 1, help="Of the noises of stochastic samplers; default 0."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors (and the JSON document).")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error and what the libraries say.")]


@dataclass(frozen=True)
class ModelChoice:
    """Which model to load, and where; its adapters and its sampler."""

    name: str | None = None
    device: str | None = None
    dtype: str | None = None
    lora: tuple[str, ...] = ()
    sampler: str | None = None


@dataclass(frozen=True)
class InversionSettings:
    """What the command line says about an inversion; None leaves it to the model's preset."""

    steps: int | None = None
    renoise: int | None = None
    strength: float | None = None
    guidance: float | None = None
    seed: int | None = None
    preset: str | None = None
    edit_losses: bool | None = None
    noise_correction: float | None = None
    fit: str | None = None

    @property
    def given(self) -> list[str]:
        """The names of the options that were used."""
        names = {
            "--steps": self.steps,
            "--renoise": self.renoise,
            "--strength": self.strength,
            "--inversion-guidance": self.guidance,
            "--seed": self.seed,
            "--preset": self.preset,
            "--edit-losses" if self.edit_losses else "--no-edit-losses": self.edit_losses,
            "--noise-correction": self.noise_correction,
            "--fit": self.fit,
        }
        return [name for name, value in names.items() if value is not None]

    def applied_to(self, config: InversionConfig, paper: InversionConfig | None = None) -> InversionConfig:
        """A preset with these settings in place of its own.

        Args:
            config: the preset.
            paper: the paper's for the same model, whose edit losses are taken where the preset has none; None is
                `config` itself.
        """
        from renoise.config import EditLosses, NoiseCorrection

        losses = (config if paper is None else paper).edit_losses or EditLosses()
        if self.renoise == 0:
            config = config.reversing()
        elif self.renoise is not None:
            config = config.with_iterations(self.renoise)
        if self.edit_losses is not None:
            config = replace(config, edit_losses=(config.edit_losses or losses) if self.edit_losses else None)
        if self.noise_correction is not None:
            correction = NoiseCorrection(self.noise_correction) if self.noise_correction else None
            config = replace(config, noise_correction=correction)
        return replace(
            config,
            num_steps=config.num_steps if self.steps is None else self.steps,
            strength=config.strength if self.strength is None else self.strength,
            guidance_scale=config.guidance_scale if self.guidance is None else self.guidance,
            seed=config.seed if self.seed is None else self.seed,
        )


@dataclass(frozen=True)
class Reporting:
    """How the command talks."""

    json: bool = False
    quiet: bool = False
    debug: bool = False
