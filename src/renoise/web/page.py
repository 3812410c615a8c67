"""The layout of the page, and which button does what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from renoise.web import api, controls
from renoise.web.events import Events
from renoise.web.guard import Guarded, RecentLayers
from renoise.web.studio import Studio

TITLE = "renoise"


def build(studio: Studio, folder: Path, sweep_seconds: int) -> Any:
    """Return the page of a studio.

    Args:
        studio: does the work.
        folder: where files for clients are written, inside the one in which Gradio keeps its uploads.
        sweep_seconds: how often Gradio deletes what is older than it may be.
    """
    limits = studio.limits
    with Guarded(
        title=TITLE, analytics_enabled=False, delete_cache=(sweep_seconds, limits.file_seconds), fill_width=True
    ) as page:
        api.add(studio, folder)  # first, so that its names are its own
        controls.header(studio)
        with gr.Row(elem_classes="rn-columns"):
            with gr.Column(elem_id="asked"):
                asked, buttons, chosen = controls.inputs(studio)
            with gr.Column(elem_id="shown"):
                shown = controls.outputs()
        asked.mask_paint.blob_storage = RecentLayers(limits.queue)
        events = Events(studio, folder, asked, shown)
        # Requests take turns in the studio, which can say so; Gradio lets as many in as may wait there.
        raw: dict[str, Any] = {"preprocess": False, "api_visibility": "private"}
        work = {**raw, "show_progress": "hidden", "concurrency_limit": None, "concurrency_id": "model"}
        quick = {**raw, "queue": False, "show_progress": "hidden"}
        buttons.edit.click(events.edit, asked.all, shown.all, **work)
        buttons.reconstruct.click(events.reconstruct, asked.all, shown.all, **work)
        buttons.stop.click(events.stop, None, shown.status, **quick)
        shown.compare_with.input(
            events.compare, [shown.compare_with, shown.show_changed, shown.results], shown.slider, **quick
        )
        shown.divider.input(events.divide, shown.divider, shown.slider, **quick)
        shown.show_changed.input(
            events.show_changed,
            [shown.show_changed, shown.compare_with, shown.results],
            [shown.gallery, shown.slider],
            **quick,
        )
        asked.preset.input(
            events.choose_preset, [asked.preset, asked.keep], [asked.steps, asked.guidance, asked.keep], **quick
        )
        painting = [asked.keep, asked.source_image, asked.inversion_file]
        for changed in (asked.keep.change, asked.source_image.change, asked.inversion_file.change):
            changed(events.choose_keep, painting, asked.mask_paint, **quick)
        if chosen is not None:
            chosen.select(
                events.choose_example,
                None,
                [asked.source_image, asked.inversion_file, asked.source_prompt, asked.target_prompts],
                **quick,
            )
    return page
