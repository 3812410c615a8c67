"""Rasterise the artwork, choose what is held out, and hand out images with captions.

An image is a drawing (concept x style), kept as 112 px RGBA, laid on one of six plain backgrounds of 128 px. Keeping
the alpha channel means that 2,000 drawings stand for 12,000 images, and that the autoencoder can lay them on
anything.

Held out, by seed and before any image is looked at (`splits.json` records it):
- some concepts in every style, the same share of each category, never one of the everyday words;
- some concept x style pairs whose concept is trained in the other styles;
- some concept x background combinations, in every style;
- one style, OpenMoji, used for measuring the autoencoder and nothing else.

    python -m training.data --artwork training/node_modules/@iconify-json --work training/output
"""

import argparse
import io
import json
import random
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image, ImageDraw

from training.common import write_atomically

ART, SIDE = 112, 128
MARGIN = (SIDE - ART) // 2
STYLES = {"noto": "noto", "twemoji": "twemoji", "fluent-emoji": "fluent", "fluent-emoji-flat": "fluent flat"}
HELD_OUT_STYLE = "openmoji"
BACKGROUNDS = {
    "white": (255, 255, 255),
    "black": (28, 28, 32),
    "blue": (150, 200, 240),
    "yellow": (250, 225, 120),
    "green": (170, 220, 160),
    "pink": (245, 180, 200),
}
# Variants of one drawing, writing and flags: nothing a name describes, or thousands of near copies.
NOT_DRAWINGS = ("skin-tone", "flag-for", "keycap", "-button", "oclock", "-thirty", "regional-indicator", "input-")


@dataclass(frozen=True)
class Settings:
    seed: int = 20261124
    held_out_concepts: int = 32
    held_out_pairs: float = 0.05
    held_out_backgrounds: float = 0.05
    style_sample: int = 300
    shapes: int = 1500


@dataclass(frozen=True)
class Drawing:
    """One row of `drawings.npy`."""

    concept: str
    style: str


@dataclass(frozen=True)
class Splits:
    concepts: tuple[str, ...]
    held_out_concepts: tuple[str, ...]
    held_out_pairs: tuple[tuple[str, str], ...]
    held_out_backgrounds: tuple[tuple[str, str], ...]

    def split(self, concept: str, style: str, background: str) -> str:
        """Which kind of unseen this image is, or `seen`."""
        if concept in self.held_out_concepts:
            return "unseen concept"
        if (concept, style) in self.held_out_pairs:
            return "unseen concept x style"
        if (concept, background) in self.held_out_backgrounds:
            return "unseen concept x background"
        return "seen"


class Words:
    """The words of `concepts.toml`: categories, noun phrases and aliases."""

    def __init__(self) -> None:
        table = tomllib.loads(Path(__file__).with_name("concepts.toml").read_text())
        self.categories = {name: sorted(set(names.split())) for name, names in table["categories"].items()}
        self.everyday = set(table["everyday"]["names"].split())
        self.aliases: dict[str, str] = table["aliases"]
        self._phrases: dict[str, str] = table["phrases"]

    def phrase(self, concept: str) -> str:
        if concept in self._phrases:
            return self._phrases[concept]
        words = concept.replace("-", " ")
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"

    def caption(self, concept: str, style: str, background: str) -> str:
        return sentence(self.phrase(concept), style, background)


def sentence(phrase: str, style: str | None, background: str | None) -> str:
    """'a cat, noto style, on a white background'; a part that is None is left out."""
    parts = [phrase]
    if style:
        parts.append(f"{STYLES.get(style, style)} style")
    if background:
        parts.append(f"on a {background} background")
    return ", ".join(parts)


class Artwork:
    """One style's drawings by name, from an icon package."""

    def __init__(self, folder: Path, style: str) -> None:
        package = json.loads((folder / style / "icons.json").read_text())
        self.size = (package["width"], package["height"])
        self.icons = {n: i for n, i in package["icons"].items() if not any(part in n for part in NOT_DRAWINGS)}

    def draw(self, name: str) -> np.ndarray:
        """(112, 112, 4) bytes, colours not premultiplied."""
        icon = self.icons[name]
        width, height = icon.get("width", self.size[0]), icon.get("height", self.size[1])
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
        )
        png = resvg_py.svg_to_bytes(svg_string=svg, width=ART, height=ART)
        drawing = Image.open(io.BytesIO(bytes(png)), formats=["PNG"]).convert("RGBA")
        if drawing.size == (ART, ART):
            return np.asarray(drawing)
        square = Image.new("RGBA", (ART, ART))
        square.paste(drawing, ((ART - drawing.width) // 2, (ART - drawing.height) // 2))
        return np.asarray(square)


def lay(drawing: np.ndarray, background: str) -> np.ndarray:
    """The drawing on a plain background: (128, 128, 3) bytes."""
    picture = np.empty((SIDE, SIDE, 3), np.float32)
    picture[:] = BACKGROUNDS[background]
    alpha = drawing[..., 3:].astype(np.float32) / 255
    middle = picture[MARGIN:-MARGIN, MARGIN:-MARGIN]
    middle[:] = alpha * drawing[..., :3] + (1 - alpha) * middle
    return np.rint(picture).astype(np.uint8)


def random_shapes(rng: random.Random) -> np.ndarray:
    """A drawing of flat shapes with outlines, lines and gradients: what no training style has much of."""
    large = Image.new("RGBA", (3 * ART, 3 * ART))
    pen = ImageDraw.Draw(large)

    def colour() -> tuple[int, int, int, int]:
        return (rng.randrange(256), rng.randrange(256), rng.randrange(256), 255)

    def point() -> tuple[float, float]:
        return (rng.uniform(0, 3 * ART), rng.uniform(0, 3 * ART))

    ink = (0, 0, 0, 255) if rng.random() < 0.7 else colour()
    for _ in range(rng.randrange(3, 12)):
        width = rng.choice((0, 3, 6, 6, 9, 12))
        (x, y), (u, v) = point(), point()
        box = (min(x, u), min(y, v), max(x, u) + 30, max(y, v) + 30)
        fill = colour() if rng.random() < 0.7 else ((255, 255, 255, 255) if rng.random() < 0.5 else None)
        kind = rng.randrange(6)
        if kind == 0:
            pen.ellipse(box, fill=fill, outline=ink, width=width)
        elif kind == 1:
            radius = rng.uniform(0, min(box[2] - box[0], box[3] - box[1]) / 2.5)
            pen.rounded_rectangle(box, radius=radius, fill=fill, outline=ink, width=width)
        elif kind == 2:
            corners = [point() for _ in range(rng.randrange(3, 7))]
            pen.polygon(corners, fill=fill)
            pen.line([*corners, corners[0]], fill=ink, width=max(width, 3), joint="curve")
        elif kind == 3:
            pen.arc(box, rng.randrange(360), rng.randrange(360), fill=ink, width=max(width, 3))
        elif kind == 4:
            pen.line([point() for _ in range(rng.randrange(2, 6))], fill=ink, width=max(width, 3), joint="curve")
        else:
            radius = rng.uniform(6, 24)
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour(), outline=ink, width=width)
    return np.asarray(large.resize((ART, ART), Image.Resampling.BOX))


def choose_splits(words: Words, available: set[str], settings: Settings) -> Splits:
    """Everything held out, from the seed and the names alone."""
    rng = random.Random(settings.seed)
    categories = {name: [c for c in names if c in available] for name, names in words.categories.items()}
    concepts = sorted({c for names in categories.values() for c in names})
    share = settings.held_out_concepts / len(concepts)
    held: set[str] = set()
    for names in categories.values():
        candidates = [c for c in names if c not in words.everyday and c not in held]
        held.update(rng.sample(candidates, max(1, round(share * len(names)))))
    trained = [c for c in concepts if c not in held]
    # One pair a concept at most, so that a share of all pairs is this many times the number of styles of the concepts.
    some = rng.sample(trained, round(len(STYLES) * settings.held_out_pairs * len(trained)))
    pairs = [(c, rng.choice(list(STYLES))) for c in some]
    others = [c for c in trained if c not in some]
    rest = rng.sample(others, round(len(BACKGROUNDS) * settings.held_out_backgrounds * len(trained)))
    combinations = [(c, rng.choice(list(BACKGROUNDS))) for c in rest]
    return Splits(tuple(concepts), tuple(sorted(held)), tuple(sorted(pairs)), tuple(sorted(combinations)))


def load_splits(work: Path) -> Splits:
    table = json.loads((work / "splits.json").read_text())
    return Splits(
        tuple(table["concepts"]),
        tuple(table["held_out_concepts"]),
        tuple((c, s) for c, s in table["held_out_pairs"]),
        tuple((c, b) for c, b in table["held_out_backgrounds"]),
    )


def load_drawings(work: Path) -> tuple[np.ndarray, dict[Drawing, int]]:
    """The named concepts' drawings (N, 112, 112, 4) and where each one lies."""
    rows = json.loads((work / "drawings.json").read_text())
    return np.load(work / "drawings.npy", mmap_mode="r"), {Drawing(c, s): i for i, (c, s) in enumerate(rows)}


def save_array(path: Path, array: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_atomically(path, buffer.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artwork", type=Path, default=Path("training/node_modules/@iconify-json"))
    parser.add_argument("--work", type=Path, default=Path("training/output"))
    arguments = parser.parse_args()
    settings, work = Settings(), arguments.work
    work.mkdir(parents=True, exist_ok=True)
    words = Words()
    artwork = {style: Artwork(arguments.artwork, style) for style in STYLES}
    shared = set.intersection(*(set(art.icons) for art in artwork.values()))
    missing = sorted({c for names in words.categories.values() for c in names} - shared)
    print(f"{len(shared)} names are in every style; left out, being in some only: {', '.join(missing) or 'none'}")

    splits = choose_splits(words, shared, settings)
    write_atomically(work / "splits.json", json.dumps(asdict(splits), indent=1).encode())
    rows = [(c, s) for c in splits.concepts for s in STYLES]
    save_array(work / "drawings.npy", np.stack([artwork[s].draw(c) for c, s in rows]))
    write_atomically(work / "drawings.json", json.dumps(rows).encode())
    print(f"{len(splits.concepts)} concepts, {len(rows)} drawings; held out: {', '.join(splits.held_out_concepts)}")

    # The autoencoder learns from everything drawable but the held-out concepts, and from shapes that nobody drew.
    rng = random.Random(settings.seed + 1)
    names = sorted(shared - set(splits.held_out_concepts))
    pairs = set(splits.held_out_pairs)
    corpus = [artwork[s].draw(n) for n in names for s in STYLES if (n, s) not in pairs]
    corpus += [random_shapes(rng) for _ in range(settings.shapes)]
    save_array(work / "autoencoder_corpus.npy", np.stack(corpus))

    unseen = Artwork(arguments.artwork, HELD_OUT_STYLE)
    rng = random.Random(settings.seed + 2)
    sample = rng.sample(sorted(shared & set(unseen.icons)), settings.style_sample)
    pictures = [lay(unseen.draw(n), rng.choice(list(BACKGROUNDS))) for n in sample]
    save_array(work / "held_out_style.npy", np.stack(pictures))
    print(f"{len(corpus)} drawings for the autoencoder, {len(pictures)} images of the held-out style")


if __name__ == "__main__":
    main()
