"""The drawings of the icon packages: read as SVG from npm's folders, or from one packed file, and rasterised.

A machine without npm gets the packed file, which holds the SVG of every drawing that training uses:

    python -m training.pack --modules training/node_modules --to artwork.json.xz
    python -m training.data --artwork artwork.json.xz
"""

import io
import json
import lzma
from concurrent.futures import ProcessPoolExecutor
from os import cpu_count
from pathlib import Path

import numpy as np
from PIL import Image

TRAINED = ("noto", "twemoji", "fluent-emoji", "fluent-emoji-flat", "noto-v1", "emojione", "streamline-emojis")
MEASURED = ("fxemoji", "openmoji")
ART = 112
# Where the view box of an icon lies, unless its package says something else.
BOX = {"left": 0, "top": 0, "width": 16, "height": 16}


def read_packages(modules: Path) -> dict[str, dict[str, tuple[str, str]]]:
    """Return the view box and the body of each icon, by package and name."""
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


def rasterise(icon: tuple[str, str]) -> np.ndarray:
    """Return (112, 112, 4) bytes, colours not premultiplied; what is transparent has no colour."""
    import resvg_py

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
    """Rasterise icons to (N, 112, 112, 4) bytes, by as many processes as there are cores."""
    with ProcessPoolExecutor(processes or cpu_count()) as pool:
        return np.stack(list(pool.map(rasterise, icons, chunksize=64)))
