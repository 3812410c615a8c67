"""The parts of the page, with what they begin with: every value comes from the library.

Each part has a fixed `elem_id`, by which styles and tests find it. What is asked for: source-image, examples-gallery,
inversion-panel, inversion-file, source-prompt, target-prompts, strength, keep, mask-paint, preset, advanced, steps,
iterations, guidance, negative-prompt, seed and fit, with edit-button, reconstruct-button and stop-button. What is
shown: header, status-line, progress, results, compare-slider, divider, compare-with, results-gallery, show-changed,
quality, downloads, command-line, convergence-panel and convergence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from renoise.edit_rules.structure import DEFAULT_STRENGTH
from renoise.images import FITS
from renoise.ranges import LARGEST_SEED
from renoise.web import examples, look, presets, sentences
from renoise.web.forms import MOST_GUIDANCE, PAINTED, PLAIN
from renoise.web.studio import Studio

_KEEP = [
    ("What the edit lets stand (automatic)", "auto"),
    ("All but what I paint, to the last pixel", PAINTED),
    ("Nothing: draw it anew in the same layout", "nothing"),
    ("Only the noise: plain sampling, as the paper has it", PLAIN),
]
# The columns of the convergence plot.
PASS, RESIDUAL, TIMESTEP = "network pass", "residual, log10", "timestep"
_FITS = {
    "crop": "crop: the middle of it",
    "pad": "pad: the whole of it, with its edges continued",
    "stretch": "stretch: the whole of it, out of shape",
    "keep": "keep: in its own size",
}
# The largest whole number that a browser keeps exactly.
_LARGEST_IN_BROWSERS = 2**53 - 1


@dataclass(frozen=True, eq=False)
class Inputs:
    """What is asked for, in the order in which it is sent."""

    source_image: Any
    inversion_file: Any
    source_prompt: Any
    target_prompts: Any
    strength: Any
    keep: Any
    mask_paint: Any
    preset: Any
    steps: Any
    iterations: Any
    guidance: Any
    negative_prompt: Any
    seed: Any
    fit: Any

    @property
    def all(self) -> list[Any]:
        """All of them."""
        return list(vars(self).values())


@dataclass(frozen=True, eq=False)
class Buttons:
    """What can be done."""

    edit: Any
    reconstruct: Any
    stop: Any


@dataclass(frozen=True, eq=False)
class Outputs:
    """What is shown."""

    status: Any
    progress: Any
    area: Any
    compare_with: Any
    slider: Any
    divider: Any
    show_changed: Any
    gallery: Any
    quality: Any
    downloads: Any
    command: Any
    convergence: Any
    results: Any

    @property
    def all(self) -> list[Any]:
        """All of them."""
        return list(vars(self).values())


def header(studio: Studio) -> None:
    """Put the head on the page: what this is, and with which model it works."""
    editor = studio.editor
    precision = str(editor.dtype).removeprefix("torch.")
    facts = sentences.header(studio.loaded.model, str(editor.device), precision, editor.size)
    gr.HTML(look.header(facts), elem_id="header")


def inputs(studio: Studio) -> tuple[Inputs, Buttons, Any]:
    """Put what is asked for on the page, and return it with the buttons and the gallery of examples."""
    limits, offered = studio.limits, presets.choices(studio.editor)
    default = next(choice for choice in offered if choice.default)
    guidance = studio.editor.edit_guidance(studio.editor.config(default.name))
    unguided = studio.editor.model.backbone.unguided
    source_image = gr.Image(
        label="Image",
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        buttons=["fullscreen"],
        elem_id="source-image",
    )
    chosen = _examples()
    with gr.Accordion("Or go on with an inversion", open=False, elem_id="inversion-panel"):
        inversion_file = gr.File(
            label="Inversion (.safetensors), in place of an image; it keeps its own prompt and settings",
            file_types=[".safetensors"],
            elem_id="inversion-file",
        )
    source_prompt = gr.Textbox(
        label="What the image shows",
        placeholder="a cat, noto style, on a white background",
        lines=2,
        max_length=limits.prompt_length,
        elem_id="source-prompt",
    )
    target_prompts = gr.Textbox(
        label="What it shall show",
        info=f"One target a line, at most {limits.targets}.",
        placeholder="a dog, noto style, on a white background",
        lines=3,
        max_length=limits.prompt_length * limits.targets,
        elem_id="target-prompts",
    )
    strength = gr.Slider(
        0.0,
        1.0,
        value=DEFAULT_STRENGTH,
        step=0.05,
        label="Strength of the edit",
        info="0 is the image as it was, 1 what the target would have.",
        elem_id="strength",
    )
    keep = gr.Radio(_KEEP, value="auto", label="What to keep", elem_id="keep")
    mask_paint = gr.ImageEditor(
        label="Paint what may change",
        type="pil",
        image_mode="RGBA",
        format="png",
        sources=(),
        transforms=(),
        layers=False,
        brush=gr.Brush(colors=["#e11d8f"], default_color="#e11d8f", color_mode="fixed"),
        buttons=["fullscreen"],
        visible=False,
        elem_id="mask-paint",
    )
    preset = gr.Radio(
        [(choice.label, choice.name) for choice in offered],
        value=default.name,
        label="Preset: how the image is inverted",
        elem_id="preset",
    )
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        with gr.Row():
            steps = gr.Number(
                default.steps, label="Steps", precision=0, minimum=1, maximum=limits.steps, elem_id="steps"
            )
            # A field for numbers has no way to be empty: it shows and sends 0.
            iterations = gr.Textbox(
                label="Renoising iterations", placeholder="as the preset has it", max_length=6, elem_id="iterations"
            )
        with gr.Row():
            scale = gr.Number(
                guidance, label="Guidance scale", minimum=0.0, maximum=MOST_GUIDANCE, step=0.1, elem_id="guidance"
            )
            seed = gr.Number(
                0,
                label="Seed",
                precision=0,
                minimum=0,
                maximum=min(LARGEST_SEED, _LARGEST_IN_BROWSERS),
                elem_id="seed",
            )
        negative = gr.Textbox(
            label="Negative prompt",
            info=f"What the edit shall not show; wants a guidance scale above {unguided:g}.",
            max_length=limits.prompt_length,
            elem_id="negative-prompt",
        )
        fit = gr.Radio(
            [(_FITS[name], name) for name in FITS],
            value=FITS[0],
            label="How the image comes to the model's size",
            elem_id="fit",
        )
    with gr.Row():
        edit = gr.Button("Edit", variant="primary", elem_id="edit-button")
        reconstruct = gr.Button("Reconstruct", elem_id="reconstruct-button")
        stop = gr.Button("Stop", variant="stop", elem_id="stop-button")
    asked = Inputs(
        source_image,
        inversion_file,
        source_prompt,
        target_prompts,
        strength,
        keep,
        mask_paint,
        preset,
        steps,
        iterations,
        scale,
        negative,
        seed,
        fit,
    )
    return asked, Buttons(edit, reconstruct, stop), chosen


def outputs() -> Outputs:
    """Put what is shown on the page, and return it."""
    with gr.Column(elem_id="told"):
        status = gr.HTML(look.status("Drop an image, or pick an example."), elem_id="status-line")
        progress = gr.HTML("", elem_id="progress", visible=False)
    with gr.Column(elem_id="results", visible=False) as area:
        return _results(status, progress, area)


def _results(status: Any, progress: Any, area: Any) -> Outputs:
    """Put what a request gives on the page, and return it with what stands above it."""
    gr.HTML(look.title("Before and after"))
    slider = gr.ImageSlider(
        label="Before and after",
        show_label=False,
        type="filepath",
        format="png",
        interactive=False,
        max_height=1600,
        buttons=["fullscreen"],
        elem_id="compare-slider",
    )
    divider = gr.Slider(0, 100, value=50, step=1, label="Where before and after meet", elem_id="divider", buttons=[])
    compare_with = gr.Radio([], label="The original beside", visible=False, elem_id="compare-with")
    gr.HTML(look.title("All edits"))
    gallery = gr.Gallery(
        label="All edits",
        show_label=False,
        format="png",
        columns=3,
        height="auto",
        object_fit="contain",
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_id="results-gallery",
    )
    show_changed = gr.Checkbox(
        False,
        label="Show what changed",
        info="Darkens what an edit kept.",
        elem_id="show-changed",
    )
    quality = gr.Markdown("", elem_id="quality")
    downloads = gr.File(
        label="To take away", file_count="multiple", interactive=False, visible=False, elem_id="downloads"
    )
    command = gr.Textbox(
        label="The equal command line",
        lines=2,
        interactive=False,
        visible=False,
        buttons=["copy"],
        elem_id="command-line",
    )
    with gr.Accordion("Convergence", open=False, elem_id="convergence-panel"):
        convergence = gr.LinePlot(
            None,
            x=PASS,
            y=RESIDUAL,
            tooltip="all",
            height=380,
            label="How far each step was from its fixed point, as a decimal logarithm",
            buttons=[],
            elem_id="convergence",
        )
    return Outputs(
        status,
        progress,
        area,
        compare_with,
        slider,
        divider,
        show_changed,
        gallery,
        quality,
        downloads,
        command,
        convergence,
        gr.State(None),
    )


def _examples() -> Any:
    """Put the bundled images on the page, as a gallery to pick from; None where there are none."""
    found = examples.bundled()
    if not found:
        return None
    gr.HTML(look.title("Or pick an example"))
    return gr.Gallery(
        [(str(example.path), example.prompt.partition(",")[0]) for example in found],
        label="Examples",
        show_label=False,
        columns=4,
        height="auto",
        object_fit="contain",
        allow_preview=False,
        interactive=False,
        buttons=[],
        elem_id="examples-gallery",
    )
