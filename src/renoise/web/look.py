"""How the page looks: its style, and the pieces of HTML that it shows."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image

from renoise.web.happenings import Pass, Waiting
from renoise.web.sentences import progress

# Fonts of the reader's own system: none is fetched.
FONT = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

# Where the theme's own colours are too pale to be read: text has a contrast of 4.5 in light and dark, as accessibility
# asks for, and fields have an edge.
COLOURS = {
    "background_fill_primary": "*neutral_50",
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "*neutral_300",
    "block_info_text_color": "*neutral_600",
    "block_info_text_color_dark": "*neutral_300",
    "block_label_text_color": "*primary_800",
    "block_title_text_color": "*primary_800",
    "button_primary_background_fill": "*primary_600",
    "button_primary_background_fill_dark": "*primary_600",
    "button_primary_background_fill_hover": "*primary_700",
    "button_primary_background_fill_hover_dark": "*primary_700",
    "checkbox_label_background_fill_selected": "*primary_600",
    "checkbox_border_color": "*neutral_400",
    "checkbox_border_color_dark": "*neutral_400",
    "input_border_color": "*neutral_300",
    "input_placeholder_color": "*neutral_500",
    "input_placeholder_color_dark": "*neutral_400",
    "link_text_color": "*primary_700",
    "link_text_color_dark": "*primary_300",
}

# Columns stand beside each other from 900 pixels on. Images have the height of their content: heights that Gradio fixes
# would cut them.
CSS = """
.gradio-container { max-width: 1280px !important; margin-inline: auto !important; overflow: clip !important; }
.rn-columns { flex-wrap: wrap; align-items: stretch; }
@media (max-width: 899px) { .rn-columns > * { flex: 1 1 100% !important; min-width: 0 !important; } }
@media (min-width: 900px) { .rn-columns > * { flex: 1 1 0 !important; } }
#header h1 { font-size: 1.6rem; margin: 0 0 .2rem; }
#header p { margin: 0; color: var(--body-text-color-subdued); }
.rn-facts { display: flex; flex-wrap: wrap; gap: .4rem; margin: .6rem 0 0 !important; padding: 0 !important;
  list-style: none !important; }
.rn-facts li { border: 1px solid var(--border-color-primary); border-radius: 999px; padding: .1rem .7rem;
  font-size: .85rem; margin: 0; overflow-wrap: anywhere; }
.rn-title { font-size: 1rem !important; margin: .4rem 0 0 !important; font-weight: 600; }
.rn-progress { display: flex; gap: .8rem; align-items: center; }
.rn-progress img { width: 96px; height: auto; margin: 0; border-radius: 6px;
  border: 1px solid var(--border-color-primary); }
.rn-progress div { flex: 1; min-width: 0; }
.rn-progress p { margin: 0 0 .3rem; font-variant-numeric: tabular-nums; }
.rn-progress progress { width: 100%; height: .7rem; accent-color: var(--color-accent); }
.rn-progress progress[value] { appearance: none; border: none; border-radius: 999px; overflow: hidden;
  background: var(--border-color-primary); }
.rn-progress progress::-webkit-progress-bar { background: var(--border-color-primary); }
.rn-progress progress::-webkit-progress-value { background: var(--color-accent); }
.rn-progress progress::-moz-progress-bar { background: var(--color-accent); }
#told, #results { flex-grow: 0 !important; }
#told { position: sticky; top: 0; z-index: 30; padding-block: .4rem; gap: .4rem;
  background: var(--body-background-fill); }
#status-line { overflow-wrap: anywhere; max-height: 25vh; overflow-y: auto !important; }
#status-line p { margin: 0; min-height: 1.5rem; }
#shown span.error, #shown .clear-status { display: none !important; }
#status-line .rn-failed { color: var(--error-text-color, #b91c1c); font-weight: 600; }
#source-image img, #compare-slider img { object-fit: contain !important; }
#examples-gallery .grid-wrap, #results-gallery .grid-wrap { min-height: 0 !important; max-height: none !important;
  height: auto !important; overflow: visible !important; }
#examples-gallery .grid-container, #results-gallery .grid-container { padding: 0 !important; gap: .6rem !important; }
#examples-gallery .grid-container { grid-template-columns: repeat(4, minmax(0, 1fr)) !important; }
#results-gallery .grid-container { grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)) !important; }
#examples-gallery .thumbnail-lg, #results-gallery .thumbnail-lg { aspect-ratio: auto !important; width: 100%;
  height: auto !important; display: flex; flex-direction: column; }
#examples-gallery img, #results-gallery .thumbnail-lg img { object-fit: contain !important; height: auto !important;
  width: 100%; }
#examples-gallery .caption-label, #results-gallery .caption-label { position: static !important; width: 100%;
  max-width: 100% !important; white-space: normal; text-align: start; border: none; border-radius: 0; box-shadow: none;
  font-size: .8rem; }
#downloads td:last-child { display: none; }
.block:has(> .html-container .rn-title) { margin-bottom: -.8rem; }
#quality { padding-inline: .75rem; }
#convergence { height: auto !important; overflow: visible !important; }
#convergence .vega-embed { height: 340px !important; }
#examples-gallery .caption-label { overflow-wrap: anywhere; }
@media (max-width: 899px) { #examples-gallery .caption-label { font-size: .7rem; padding-inline: .2rem; } }
#downloads .stem { white-space: normal; overflow-wrap: anywhere; }
#downloads td.filename { flex: 1 1 0; min-width: 0; }
#downloads td.download { flex: none; min-width: 0; width: auto; }
#command-line textarea { font-family: var(--font-mono); font-size: .85rem; }
:focus-visible { outline: 2px solid var(--color-accent) !important; outline-offset: 2px; }
"""


def header(facts: Sequence[str]) -> str:
    """Return the head of the page.

    Args:
        facts: of the model, each in a few words.
    """
    items = "".join(f"<li>{escape(fact)}</li>" for fact in facts)
    return (
        "<h1>renoise</h1><p>Change one thing of an image, and keep the rest. Say what the image shows and what it "
        f'shall show.</p><ul class="rn-facts" aria-label="The model">{items}</ul>'
    )


def title(text: str) -> str:
    """Return the heading of a part of the page."""
    return f'<h2 class="rn-title">{escape(text)}</h2>'


def status(text: str, *, failed: bool = False) -> str:
    """Return the status line, which screen readers read out when it changes.

    Examples:
        >>> status("2 edits.")
        '<p role="status" aria-live="polite">2 edits.</p>'
    """
    kind = ' class="rn-failed"' if failed else ""
    return f'<p role="status" aria-live="polite"{kind}>{escape(text)}</p>'


def progress_bar(happening: Pass | Waiting) -> str:
    """Return how far the work is, with the image so far."""
    text = escape(progress(happening))
    if isinstance(happening, Waiting):
        return f'<div class="rn-progress"><div><p>{text}</p><progress aria-label="Progress"></progress></div></div>'
    shown = ""
    if happening.preview is not None:
        shown = f'<img alt="The image so far" src="{_data(happening.preview)}">'
    bar = f'<progress aria-label="Progress" value="{happening.done}" max="{max(happening.total, 1)}"></progress>'
    return (
        f'<div class="rn-progress" data-done="{happening.done}" data-total="{happening.total}">{shown}'
        f"<div><p>{text}</p>{bar}</div></div>"
    )


def _data(image: Image.Image) -> str:
    """Return an image as an address that holds its bytes, so that no file has to be served."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
