"""The command line: which commands there are and which options each takes.

Only typer and the standard library are imported here, so that `renoise --help` answers at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from renoise.cli import options as o
from renoise.cli.options import InversionSettings, ModelChoice, Reporting

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _version(asked: bool) -> None:
    if asked:
        from renoise import __version__

        typer.echo(f"renoise {__version__}")
        raise typer.Exit


@app.callback()
def _renoise(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Invert real images into the noise of a text-to-image model and edit them with a prompt."""


@app.command()
def edit(
    source: o.Source,
    to: o.Targets = None,
    prompt: o.Prompt = None,
    output: o.Output = None,
    compare: o.Compare = None,
    guidance: o.Guidance = None,
    true_cfg: o.TrueCfg = None,
    negative_prompt: o.NegativePrompt = None,
    negative_source: o.NegativeSource = False,
    steps: o.Steps = None,
    renoise: o.Renoise = None,
    strength: o.Strength = None,
    inversion_guidance: o.InversionGuidance = None,
    seed: o.Seed = None,
    preset: o.PresetName = None,
    edit_losses: o.EditLosses = None,
    noise_correction: o.NoiseCorrection = None,
    fit: o.PictureFit = None,
    original: o.Original = None,
    model: o.Model = None,
    lora: o.Lora = None,
    sampler: o.Sampler = None,
    device: o.Device = None,
    dtype: o.Dtype = None,
    force: o.Force = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> str:
    """Draw an image with another prompt.

    For example: renoise edit cat.png --prompt "a cat" --to "a dog" -o dog.png
    """
    from renoise.cli import commands

    return commands.edit(
        source,
        to or [],
        prompt=prompt,
        negative_prompt=negative_prompt,
        negative_source=negative_source,
        guidance=guidance,
        true_cfg=true_cfg,
        output=output,
        compare=compare,
        original=original,
        force=force,
        model=ModelChoice(model, device, dtype, tuple(lora or ()), sampler),
        settings=InversionSettings(
            steps, renoise, strength, inversion_guidance, seed, preset, edit_losses, noise_correction, fit
        ),
        reporting=Reporting(json, quiet, debug),
    )


@app.command()
def invert(
    source: o.Picture,
    prompt: o.Prompt = None,
    output: o.Output = None,
    compare: o.Compare = None,
    negative_prompt: o.NegativePrompt = None,
    steps: o.Steps = None,
    renoise: o.Renoise = None,
    strength: o.Strength = None,
    inversion_guidance: o.InversionGuidance = None,
    seed: o.Seed = None,
    preset: o.PresetName = None,
    edit_losses: o.EditLosses = None,
    noise_correction: o.NoiseCorrection = None,
    fit: o.PictureFit = None,
    model: o.Model = None,
    lora: o.Lora = None,
    sampler: o.Sampler = None,
    device: o.Device = None,
    dtype: o.Dtype = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> str:
    """Save an image as noise, to edit it later.

    For example: renoise invert cat.png --prompt "a cat" -o cat.safetensors
    """
    from renoise.cli import commands

    return commands.invert(
        source,
        prompt=prompt,
        negative_prompt=negative_prompt,
        output=output,
        compare=compare,
        model=ModelChoice(model, device, dtype, tuple(lora or ()), sampler),
        settings=InversionSettings(
            steps, renoise, strength, inversion_guidance, seed, preset, edit_losses, noise_correction, fit
        ),
        reporting=Reporting(json, quiet, debug),
    )


@app.command()
def reconstruct(
    source: o.InversionFile,
    output: o.Output = None,
    compare: o.Compare = None,
    original: o.Original = None,
    model: o.Model = None,
    lora: o.Lora = None,
    device: o.Device = None,
    dtype: o.Dtype = None,
    force: o.Force = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> str:
    """Draw an inverted image again.

    For example: renoise reconstruct cat.safetensors -o again.png
    """
    from renoise.cli import commands

    return commands.reconstruct(
        source,
        output=output,
        compare=compare,
        original=original,
        force=force,
        model=ModelChoice(model, device, dtype, tuple(lora or ())),
        reporting=Reporting(json, quiet, debug),
    )


@app.command()
def info(
    source: o.InversionFile,
    json: o.Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No change: the description is the result.")] = False,
    debug: o.Debug = False,
) -> str:
    """Say what an inversion file holds.

    For example: renoise info cat.safetensors
    """
    from renoise.cli import info as information

    return information.info(source, json=json)


@app.command()
def evaluate(
    run: o.Run,
    data: o.Data = "mini-heldout",
    limit: o.Limit = None,
    out: o.ResultFolder = None,
    batch: o.Batch = 8,
    seed: o.Seed = None,
    clip: o.ClipFolder = None,
    dino: o.DinoFolder = None,
    model: o.Model = None,
    lora: o.Lora = None,
    sampler: o.Sampler = None,
    device: o.Device = None,
    dtype: o.Dtype = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> str:
    """Measure how true reconstructions are and what edits keep, and compare methods.

    For example: renoise evaluate table2 --model mini-turbo --limit 16 --out results
    """
    from renoise.cli import evaluate as evaluation

    return evaluation.evaluate(
        run.value,
        data=data,
        limit=limit,
        out=out,
        batch=batch,
        seed=0 if seed is None else seed,
        clip=clip,
        dino=dino,
        model=ModelChoice(model, device, dtype, tuple(lora or ()), sampler),
        reporting=Reporting(json, quiet, debug),
    )


@app.command()
def models(
    name: o.ModelName = None,
    json: o.Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No change: the list is the result.")] = False,
    debug: o.Debug = False,
) -> str:
    """List well-known models, what they need and allow, and which are on this machine.

    For example: renoise models stabilityai/sdxl-turbo
    """
    from renoise.cli import models as listing

    return listing.models(name, json=json)
