"""The endpoints for programs: `/invert`, `/edit` and `/reconstruct`, with typed arguments.

They take the same requests as the page and stand in the same queue. Each yields while it works, so that a client can
follow it and stop it; what counts is what comes last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import gradio as gr
from gradio import FileData

from renoise.web.happenings import Edited, Ended, Happening, Inverted, Pass, Remark
from renoise.web.requests import edit_of, source_of
from renoise.web.results import Results, Writer
from renoise.web.studio import Studio
from renoise.web.worker import Job

Preset = Literal["edit", "fast", "balanced", "exact", "paper", "released", "reverse"]
Keep = Literal["auto", "nothing"]
Fit = Literal["crop", "pad", "stretch", "keep"]
Report = dict[str, Any]


def add(studio: Studio, folder: Path) -> None:
    """Add the endpoints to the page that is being built."""

    def invert(
        image: FileData,
        prompt: str,
        preset: Preset | None = None,
        steps: int | None = None,
        iterations: int | None = None,
        seed: int = 0,
        fit: Fit = "crop",
    ) -> Iterator[tuple[FileData | None, FileData | None, Report]]:
        """Find the noise of an image.

        Args:
            image: an image file.
            prompt: what the image shows.
            preset: how it is inverted; by default what suits edits.
            steps: sampler steps; by default those of the preset.
            iterations: renoising iterations of each step; by default those of the preset.
            seed: the seed of the noises.
            fit: how the image comes to the model's size.

        Returns:
            The inversion (.safetensors), the reconstruction (.png), and a report.
        """
        values = {"image": image, "prompt": prompt, "preset": preset, "steps": steps}
        values |= {"iterations": iterations, "seed": seed, "fit": fit}
        for results, report in _answers(lambda: _inverting(studio, folder, values)):
            yield _file(results.inversion), _file(results.reconstruction), report

    def edit(
        source: FileData,
        targets: list[str],
        prompt: str | None = None,
        strength: float | None = None,
        keep: Keep | None = None,
        mask: FileData | None = None,
        preset: Preset | None = None,
        steps: int | None = None,
        iterations: int | None = None,
        guidance: float | None = None,
        negative_prompt: str | None = None,
        seed: int = 0,
        fit: Fit = "crop",
    ) -> Iterator[tuple[list[FileData], Report]]:
        """Draw an image with other prompts, and keep the rest of it.

        Args:
            source: an image file, or an inversion (.safetensors), which keeps its own prompt and settings.
            targets: what the image shall show, a prompt for each edit.
            prompt: what the image shows.
            strength: how much changes, from 0 to 1; by default 0.7, or plain sampling with presets that solve noise.
            keep: what stays without a mask; by default what suits the inversion.
            mask: an image that is white where the edit may change.
            preset: how the image is inverted; by default what suits edits.
            steps: sampler steps; by default those of the preset.
            iterations: renoising iterations of each step; by default those of the preset.
            guidance: the guidance scale; by default what suits the model.
            negative_prompt: what the edits shall not show; wants a guidance scale above 1.
            seed: the seed of the noises.
            fit: how the image comes to the model's size.

        Returns:
            The edits (.png), and a report.
        """
        values: dict[str, Any] = {_kind(source): source, "targets": targets, "prompt": prompt, "strength": strength}
        values |= {"keep": keep, "mask": mask, "preset": preset, "steps": steps, "iterations": iterations}
        values |= {"guidance": guidance, "negative_prompt": negative_prompt, "seed": seed, "fit": fit}

        def begin() -> tuple[Job, Writer]:
            asked = edit_of(values, studio.limits)
            return studio.edit(asked), Writer(folder, asked.source, asked.mask)

        for results, report in _answers(begin):
            yield [_made(drawn.path) for drawn in results.edits], report

    def reconstruct(inversion: FileData) -> Iterator[tuple[FileData | None, Report]]:
        """Draw an inverted image again.

        Args:
            inversion: an inversion (.safetensors).

        Returns:
            The reconstruction (.png), and a report.
        """
        for results, report in _answers(lambda: _inverting(studio, folder, {"inversion": inversion})):
            yield _file(results.reconstruction), report

    returned: dict[Callable[..., Any], Any] = {
        invert: tuple[FileData, FileData, Report],
        edit: tuple[list[FileData], Report],
        reconstruct: tuple[FileData, Report],
    }
    for endpoint, types in returned.items():
        # Gradio documents what an endpoint returns, and reads that off what a generator is said to return itself.
        endpoint.__annotations__["return"] = types
        gr.api(endpoint, api_name=endpoint.__name__, concurrency_limit=None, concurrency_id="model")


def _inverting(studio: Studio, folder: Path, values: dict[str, Any]) -> tuple[Job, Writer]:
    source = source_of(values, studio.limits)
    return studio.invert(source), Writer(folder, source)


def _answers(begin: Callable[[], tuple[Job, Writer]]) -> Iterator[tuple[Results, Report]]:
    """Do the work of a call, and yield the files and the report so far whenever something happened."""
    report: Report = {"remarks": []}
    job, writer = begin()
    for happening in job.happenings():
        _note(happening, writer, report)
        yield writer.results, dict(report)


def _note(happening: Happening, writer: Writer, report: Report) -> None:
    """Write the files of something that happened, and put it into the report."""
    if isinstance(happening, Pass):
        report["progress"] = {
            "work": happening.work,
            "done": happening.done,
            "total": happening.total,
            "timestep": happening.timestep,
        }
    elif isinstance(happening, Remark):
        report["remarks"] += [happening.text] if happening.text not in report["remarks"] else []
    elif isinstance(happening, Inverted):
        writer.inverted(happening)
        quality = happening.known.quality
        report["inversion_passes"] = happening.passes
        report["inverted_before"] = happening.before
        report["psnr"] = None if quality is None else _finite(asdict(quality))
        solved = not happening.inversion.config.walking.direct  # a direct walk solves nothing that could converge
        report["converged"] = bool(happening.inversion.converged.all()) if solved else None
    elif isinstance(happening, Edited):
        writer.edited(happening)
        report.setdefault("edits", []).append({"target": happening.target, "passes": happening.passes})
    elif isinstance(happening, Ended):
        report.pop("progress", None)
        report |= {"stopped": happening.stopped, "passes": happening.passes, "seconds": round(happening.seconds, 3)}


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """Return numbers for JSON, which has no infinity: null stands for it."""
    return {name: value if value is not None and math.isfinite(value) else None for name, value in values.items()}


def _kind(source: Any) -> str:
    """Return whether an upload is an image or an inversion, by its name; its contents are checked when it is read."""
    name = str(source.get("orig_name") or source.get("path")) if isinstance(source, dict) else ""
    return "inversion" if name.lower().endswith(".safetensors") else "image"


def _made(path: str) -> Any:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def _file(path: str | None) -> Any:
    return None if path is None else _made(path)
