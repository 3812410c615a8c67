"""What the buttons of the page do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd
from PIL import Image

from renoise.config import OWN_VARIANTS
from renoise.edit_rules.changes import KEEP
from renoise.errors import ConfigError
from renoise.web import examples, look, presets, sentences, takeaway, views
from renoise.web.controls import PASS, RESIDUAL, TIMESTEP, Inputs, Outputs
from renoise.web.forms import PAINTED, PLAIN, Source
from renoise.web.happenings import Edited, Ended, Happening, Inverted, Pass, Remark, Waiting
from renoise.web.requests import edit_of, source_of
from renoise.web.results import Results, Writer
from renoise.web.studio import Studio
from renoise.web.worker import Job

# Images to paint on have at most so many pixels on their longer side.
_PAINT_SIDE = 1024

Update = dict[Any, Any]


@dataclass
class _Run:
    """A request that is worked on, with what the page needs in the end.

    Attributes:
        job: does the work.
        writer: writes the files.
        command: the equal command line; empty where there is none.
        remarks: what the library warned of.
        plot: the residuals of the inversion. It is shown last, because Gradio's browser side spoils a plot that comes
            before the end.
    """

    job: Job
    writer: Writer
    command: str = ""
    remarks: list[str] = field(default_factory=list)
    plot: pd.DataFrame | None = None


class Events:
    """The handlers of one page.

    Args:
        studio: does the work.
        folder: where files are written.
        inputs: what is asked for.
        outputs: what is shown.
    """

    def __init__(self, studio: Studio, folder: Path, inputs: Inputs, outputs: Outputs) -> None:
        self._studio = studio
        self._folder = folder
        self._inputs = inputs
        self._out = outputs
        self._jobs: defaultdict[str, list[Job]] = defaultdict(list)

    def edit(self, request: gr.Request, *values: Any) -> Iterator[Update]:
        """Edit the image with each target."""

        def begin() -> _Run:
            named = self._named(values)
            asked = edit_of(named, self._studio.limits, self._layers)
            if named["keep"] == PLAIN and not self._studio.is_plain(asked):
                raise ConfigError(
                    "this inversion keeps more than the noise, so that an edit of it is no plain sampling",
                    argument="keep",
                    remedy="take another preset than edit, or another choice of what to keep",
                )
            command = takeaway.command(asked, self._studio.loaded)
            return _Run(self._studio.edit(asked), Writer(self._folder, asked.source, asked.mask), command)

        yield from self._run(request, begin)

    def reconstruct(self, request: gr.Request, *values: Any) -> Iterator[Update]:
        """Invert the image and draw it again."""

        def begin() -> _Run:
            source = source_of(self._named(values), self._studio.limits)
            return _Run(self._studio.invert(source), Writer(self._folder, source))

        yield from self._run(request, begin)

    def stop(self, request: gr.Request) -> str:
        """Stop the work of this visitor within one network pass."""
        jobs = list(self._jobs.get(_session(request), ()))
        if not jobs:
            return look.status("Nothing is being worked on.")
        for job in jobs:
            job.stop()
        return look.status("Stopping after this network pass.")

    def compare(self, caption: str | None, changed: bool, results: Results | None) -> Any:
        """Show the image before beside another one."""
        return None if results is None else results.pair(caption, changed=bool(changed))

    def divide(self, position: float) -> Any:
        """Move the line between the two images of the slider."""
        return gr.update(slider_position=position)

    def show_changed(self, changed: bool, caption: str | None, results: Results | None) -> tuple[Any, Any]:
        """Show the edits, or what they changed."""
        if results is None:
            return [], None
        return results.gallery(changed=bool(changed)), results.pair(caption, changed=bool(changed))

    def choose_preset(self, name: str, keep: str) -> tuple[int, float, Any]:
        """Return the steps and the guidance scale that a preset begins with, and what edits keep with it.

        Presets of others than this project are for plain sampling; the rules of edits are made for its own.
        """
        if name not in OWN_VARIANTS:
            keep = PLAIN
        elif keep == PLAIN:
            keep = KEEP[0]
        return *self._begins_with(name), keep

    def _begins_with(self, preset: str) -> tuple[int, float]:
        config = self._studio.editor.config(preset)
        return config.num_steps, self._studio.editor.edit_guidance(config)

    def choose_example(self, event: gr.SelectData) -> tuple[str, None, str, str]:
        """Return the image and the prompts of an example, and no inversion."""
        offered = examples.bundled()
        if not isinstance(event.index, int) or not 0 <= event.index < len(offered):
            raise ConfigError("there is no such example", remedy="pick one of those that are shown")
        example = offered[event.index]
        return str(example.path), None, example.prompt, "\n".join(example.targets)

    def choose_keep(self, keep: str, image: Any, inversion: Any) -> Any:
        """Show the image to paint on where a mask is to be painted."""
        if keep != PAINTED:
            return gr.update(visible=False)
        source = source_of({"image": image, "inversion": inversion}, self._studio.limits)
        shown = _to_paint_on(source)
        if shown is None:
            raise ConfigError("this inversion did not keep its image, so that there is nothing to paint on")
        return gr.update(visible=True, value={"background": shown, "layers": [], "composite": None})

    def _run(self, request: gr.Request, begin: Callable[[], _Run]) -> Iterator[Update]:
        """Do the work of a button, and yield what the page shows of it."""
        try:
            run = begin()
        except Exception as error:
            yield self._failed(error)
            raise
        jobs = self._jobs[_session(request)]
        jobs.append(run.job)
        try:
            yield self._emptied()
            for happening in run.job.happenings():
                yield self._shown(happening, run)
        except Exception as error:
            yield self._failed(error)
            raise
        finally:
            jobs.remove(run.job)
            if not jobs:
                self._jobs.pop(_session(request), None)

    def _failed(self, error: Exception) -> Update:
        failed = look.status(sentences.failure(error), failed=True)
        return {self._out.status: failed, self._out.progress: _hidden()}

    def _emptied(self) -> Update:
        out = self._out
        return {
            out.status: look.status("Working ..."),
            out.compare_with: gr.update(choices=[], value=None, visible=False),
            out.slider: None,
            out.gallery: [],
            out.show_changed: False,
            out.quality: "",
            out.downloads: gr.update(value=None, visible=False),
            out.command: gr.update(value="", visible=False),
            out.convergence: None,
            out.results: None,
        }

    def _shown(self, happening: Happening, run: _Run) -> Update:
        """Return what the page shows of something that happened."""
        out = self._out
        if isinstance(happening, (Pass, Waiting)):
            return {
                out.status: look.status(sentences.doing(happening)),
                out.progress: gr.update(value=look.progress_bar(happening), visible=True),
            }
        if isinstance(happening, Remark):
            run.remarks.append(happening.text)
            return {out.status: look.status(happening.text)}
        if isinstance(happening, Inverted):
            run.plot = _frame(happening)
            results = run.writer.inverted(happening)
            told = {out.area: gr.update(visible=True), out.quality: sentences.quality(happening)}
            return {**told, **self._compared(results)}
        if isinstance(happening, Edited):
            results = run.writer.edited(happening)
            return {out.gallery: results.gallery(), **self._compared(results)}
        return self._ended(happening, run)

    def _compared(self, results: Results) -> Update:
        out, captions = self._out, results.captions
        return {
            out.results: results,
            out.slider: results.pair(None),
            out.compare_with: gr.update(
                choices=captions, value=captions[-1] if captions else None, visible=len(captions) > 1
            ),
        }

    def _ended(self, ended: Ended, run: _Run) -> Update:
        out, results = self._out, run.writer.results
        told = " ".join([sentences.cost(ended, len(results.edits)), *dict.fromkeys(run.remarks)])
        return {
            out.status: look.status(told),
            out.progress: _hidden(),
            out.downloads: gr.update(value=results.downloads or None, visible=bool(results.downloads)),
            out.command: gr.update(value=run.command, visible=bool(run.command)),
            out.convergence: run.plot,
        }

    def _named(self, values: Sequence[Any]) -> dict[str, Any]:
        """Return the values of the inputs by the names of the requests; what a preset has anyway is left to it."""
        inputs = dict(zip(vars(self._inputs), values, strict=True))
        named = {
            "image": inputs["source_image"],
            "inversion": inputs["inversion_file"],
            "prompt": inputs["source_prompt"],
            "targets": inputs["target_prompts"],
            "paint": inputs["mask_paint"],
        }
        same = ("strength", "keep", "preset", "steps", "iterations", "guidance", "negative_prompt", "seed", "fit")
        named |= {name: inputs[name] for name in same}
        return self._without_defaults(named)

    def _without_defaults(self, named: dict[str, Any]) -> dict[str, Any]:
        """Leave out the steps and the guidance scale that the preset has anyway, as a short command line does."""
        if named["preset"] in presets.OFFERED:
            steps, guidance = self._begins_with(named["preset"])
            named["steps"] = None if named["steps"] == steps else named["steps"]
            named["guidance"] = None if named["guidance"] == guidance else named["guidance"]
        return named

    def _layers(self, name: str) -> list[bytes]:
        blobs = self._inputs.mask_paint.blob_storage.pop(name, None)
        return [] if blobs is None else [layer for layer in blobs.layers if layer]


def _frame(inverted: Inverted) -> pd.DataFrame:
    """Return the residuals of an inversion as a table for a plot."""
    points = views.convergence(inverted.inversion, inverted.timesteps)
    return pd.DataFrame(
        {
            PASS: [point.number for point in points],
            RESIDUAL: [point.residual for point in points],
            TIMESTEP: [f"{point.timestep:g}" for point in points],
        }
    )


def _to_paint_on(source: Source) -> Image.Image | None:
    if source.image is not None:
        return views.original_with(source.image, _PAINT_SIDE)
    assert source.inversion is not None  # forms let nothing else through
    if source.inversion.images is None:
        return None
    kept = Image.fromarray(source.inversion.images[0].permute(1, 2, 0).numpy())
    return views.original_with(kept, _PAINT_SIDE)


def _session(request: gr.Request) -> str:
    return str(request.session_hash)


def _hidden() -> Any:
    return gr.update(value="", visible=False)
