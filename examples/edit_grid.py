"""Draw the edit grids of README and docs: held-out images, their reconstructions, and three edits each.

    python examples/edit_grid.py [--limit 12] [--out docs/images/edit-grid.png]
    python examples/edit_grid.py --model mini-turbo --out docs/images/edit-grid-mini-turbo.png
    python examples/edit_grid.py --model mini-lcm --out docs/images/edit-grid-mini-lcm.png
    python examples/edit_grid.py --model mini-turbo --preset balanced --out docs/images/edit-grid-mini-turbo-before.png

The images are the first of the bundled held-out ones, in their order, failures included; their edits were written
down with them (`captions.jsonl`): another concept, another background, another style.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import renoise_mini
from renoise import Editor

SIDE, STRIP, GAP, BLOCK_GAP = 128, 30, 6, 36
COLUMNS = ("picture", "reconstruction", "edit: concept", "edit: background", "edit: style")


def main() -> None:
    """Invert, reconstruct and edit the images, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--preset", help="of the inversion; by default the one for edits")
    parser.add_argument("--limit", type=int, default=12)
    parser.add_argument("--guidance", type=float, help="of the edits; by default what suits the model")
    parser.add_argument("--out", type=Path, default=Path("docs/images/edit-grid.png"))
    options = parser.parse_args()

    held_out = renoise_mini.path("heldout")
    entries = [json.loads(line) for line in (held_out / "captions.jsonl").read_text().splitlines()][: options.limit]
    editor = Editor.from_pretrained(options.model)
    prepared = editor.prepare([held_out / entry["file"] for entry in entries])
    config = editor.config(options.preset)
    inversion = editor.invert(prepared, [entry["caption"] for entry in entries], config=config)
    again = editor.reconstruct(inversion)
    edited = editor.edit(inversion, [entry["edits"] for entry in entries], guidance_scale=options.guidance)
    rows = [[image, r, *e] for image, r, e in zip(prepared.images, again, edited, strict=True)]
    page(rows, [row_labels(entry) for entry in entries]).save(options.out)
    print(f"wrote {options.out}")


def row_labels(entry: dict[str, str]) -> list[str]:
    """Return the caption, and of each edit the part that it changes."""
    parts = entry["caption"].split(", ")
    changed = [
        ", ".join(new for old, new in zip(parts, target.split(", "), strict=True) if old != new)
        for target in entry["edits"]
    ]
    return [entry["caption"], "", *changed]


def page(rows: list[list[Image.Image]], labels: list[list[str]]) -> Image.Image:
    """Draw rows of labelled images in two blocks beside each other."""
    title, small = ImageFont.load_default(13), ImageFont.load_default(10)
    half = (len(rows) + 1) // 2
    block = len(COLUMNS) * (SIDE + GAP)
    sheet = Image.new("RGB", (2 * block + BLOCK_GAP + GAP, 26 + half * (SIDE + STRIP + GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, (row, names) in enumerate(zip(rows, labels, strict=True)):
        left = GAP + (index // half) * (block + BLOCK_GAP)
        top = 26 + (index % half) * (SIDE + STRIP + GAP)
        for column, (image, name) in enumerate(zip(row, names, strict=True)):
            x = left + column * (SIDE + GAP)
            if index % half == 0:
                pen.text((x, 6), COLUMNS[column], fill="#333333", font=title)
            sheet.paste(image, (x, top))
            pen.rectangle((x, top, x + SIDE - 1, top + SIDE - 1), outline="#dddddd")
            width = 2 * SIDE if column == 0 else SIDE
            text = textwrap.fill(name, width // 5, break_long_words=False, break_on_hyphens=False)
            pen.multiline_text((x, top + SIDE + 2), text, fill="#333333", font=small, spacing=1)
    return sheet


if __name__ == "__main__":
    main()
