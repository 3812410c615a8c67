"""The drawings of the icon packages: read as SVG from npm's folders, or from one packed file, and rasterised.

A machine without npm gets the packed file, which holds the SVG of every drawing that training uses:

    python -m training.artwork --modules training/node_modules --pack artwork.json.xz
    python -m training.data --artwork artwork.json.xz
"""

import argparse
import io
import json
import lzma
import re
from concurrent.futures import ProcessPoolExecutor
from os import cpu_count
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

from training.common import write_atomically
from training.concepts import MEASURED, TRAINED, load_concepts

ART = 112
# Where the view box of an icon lies, unless its package says something else.
BOX = {"left": 0, "top": 0, "width": 16, "height": 16}
# Variants of one drawing: thousands of near copies.
NEAR_COPIES = re.compile(r"skin-tone|-(dark|light|medium)$|-(medium-dark|medium-light)$|-[2-9]$")


def read_packages(modules: Path) -> dict[str, dict[str, tuple[str, str]]]:
    """The view box and the body of each icon, by package and name."""
    packages: dict[str, dict[str, tuple[str, str]]] = {}
    for package in (*TRAINED, *MEASURED):
        table = json.loads((modules / "@iconify-json" / package / "icons.json").read_text())
        packages[package] = {
            name: (" ".join(str(icon.get(k, table.get(k, v))) for k, v in BOX.items()), icon["body"])
            for name, icon in table["icons"].items()
            if not icon.get("hidden")
        }
    return packages


def load_artwork(source: Path) -> dict[str, dict[str, tuple[str, str]]]:
    """Read npm's folder, or a packed file."""
    if source.is_dir():
        return read_packages(source)
    packed = json.loads(lzma.decompress(source.read_bytes()))
    return {package: {name: (box, body) for name, (box, body) in icons.items()} for package, icons in packed.items()}


def wanted(packages: dict[str, dict[str, tuple[str, str]]]) -> dict[str, list[str]]:
    """The icons that training uses: all of the trained packages but near copies, and the concepts of the others."""
    concepts = load_concepts()
    names: dict[str, list[str]] = {}
    for package, icons in packages.items():
        drawn = {c.icons[package] for c in concepts if package in c.icons}
        others = {n for n in icons if not NEAR_COPIES.search(n)} if package in TRAINED else set()
        names[package] = sorted(drawn | others)
    return names


def rasterise(icon: tuple[str, str]) -> np.ndarray:
    """(112, 112, 4) bytes, colours not premultiplied; what is transparent has no colour."""
    box, body = icon
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box}">{body}</svg>'
    )
    png = resvg_py.svg_to_bytes(svg_string=svg, width=ART, height=ART)
    drawing = Image.open(io.BytesIO(bytes(png)), formats=["PNG"]).convert("RGBA")
    if drawing.size != (ART, ART):
        square = Image.new("RGBA", (ART, ART))
        square.paste(drawing, ((ART - drawing.width) // 2, (ART - drawing.height) // 2))
        drawing = square
    pixels = np.asarray(drawing)
    return np.where(pixels[..., 3:] > 0, pixels, 0).astype(np.uint8)


def rasterise_all(icons: list[tuple[str, str]], processes: int | None = None) -> np.ndarray:
    """(N, 112, 112, 4) bytes, by as many processes as there are cores."""
    with ProcessPoolExecutor(processes or cpu_count()) as pool:
        return np.stack(list(pool.map(rasterise, icons, chunksize=64)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modules", type=Path, default=Path("training/node_modules"))
    parser.add_argument("--pack", type=Path, required=True, help="the file to write")
    arguments = parser.parse_args()
    packages = read_packages(arguments.modules)
    packed = {package: {n: packages[package][n] for n in names} for package, names in wanted(packages).items()}
    data = lzma.compress(json.dumps(packed, separators=(",", ":")).encode(), preset=9 | lzma.PRESET_EXTREME)
    write_atomically(arguments.pack, data)
    print(f"{arguments.pack}: {sum(map(len, packed.values())):,} drawings, {len(data):,} bytes")


if __name__ == "__main__":
    main()
