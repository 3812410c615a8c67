"""Draw the worst images of each method of a run of `renoise evaluate`: what went wrong with them.

    python benchmarks/worst_images.py results/table2-mini-turbo [--methods 7] [--out docs/images/worst-mini-turbo.png]

Each row is a method; it shows its three reconstructions with the lowest PSNR, each beside its image and the
autoencoder's own round trip of it.
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from renoise import images
from renoise.evaluation.folder import Role, image_path
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.results import RESULTS, Results
from renoise.evaluation.summary import by_method

WORST, SIDE, GAP, STRIP, LABEL = 3, 96, 4, 16, 150
ROLES: tuple[Role, ...] = ("picture", "round-trip", "drawn")


def main() -> None:
    """Read a run's folder and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder that renoise evaluate wrote")
    parser.add_argument("--methods", type=int, default=7, help="how many of its methods")
    parser.add_argument("--out", type=Path, default=Path("worst.png"))
    options = parser.parse_args()

    methods = by_method(Results(options.folder / RESULTS).all())
    rows = {
        name: sorted((m for m in own if m.psnr is not None), key=lambda m: m.psnr or 0.0)[:WORST]
        for name, own in list(methods.items())[: options.methods]
    }
    images.save(page(options.folder, rows), options.out)
    print(f"wrote {options.out}")


def page(folder: Path, rows: dict[str, list[Measurement]]) -> Image.Image:
    """Draw a row for each method: its worst reconstructions, each with the image and the round trip before it."""
    font = ImageFont.load_default(11)
    block = len(ROLES) * (SIDE + GAP) + 2 * GAP
    sheet = Image.new("RGB", (LABEL + WORST * block, STRIP + len(rows) * (SIDE + STRIP + GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    for column in range(WORST):
        for place, title in enumerate(("image", "round trip", "reconstruction")):
            pen.text((LABEL + column * block + place * (SIDE + GAP), 2), title, fill="#333333", font=font)
    for line, (name, own) in enumerate(rows.items()):
        top = STRIP + line * (SIDE + STRIP + GAP)
        pen.multiline_text((4, top + 30), textwrap.fill(name, 22), fill="#333333", font=font)
        for column, m in enumerate(own):
            for place, role in enumerate(ROLES):
                x = LABEL + column * block + place * (SIDE + GAP)
                image = images.load(image_path(folder, m, role))
                sheet.paste(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (x, top))
            numbers = ((1, m.psnr_bound), (2, m.psnr))
            for place, value in numbers:
                x = LABEL + column * block + place * (SIDE + GAP)
                pen.text((x, top + SIDE + 1), f"{value:.1f} dB", fill="#333333", font=font)
    return sheet


if __name__ == "__main__":
    main()
