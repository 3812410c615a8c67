"""Rasterise the artwork, choose what is held out, and hand out images with captions.

An image is a drawing (concept x style), kept as 112 px RGBA, on a background of 128 px (`lay` for a plain one, and
`scenes.py` for everything else). Keeping the alpha channel means that 7,000 drawings stand for any number of images,
and that the autoencoder can lay them on anything.

Held out, by seed and before any image is looked at (`splits.json` records it):
- some concept x style pairs whose concept is trained in at least two other styles: the main test set;
- some concepts in every style, the same share of each category, never one of the everyday words;
- some concept x background combinations, in every style;
- two styles: fxemoji, whose licence allows to ship images of it, and OpenMoji, used for measuring and nothing else.

    python -m training.data --artwork training/node_modules --work training/output

`--artwork` is npm's folder, or the file that `training.pack` packs for a machine without npm.
"""

import argparse
import io
import json
import random
import tomllib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from training.artwork import ART, load_artwork, rasterise_all
from training.common import write_atomically
from training.concepts import Concept, load_concepts
from training.pack import wanted

SIDE = 128
MARGIN = (SIDE - ART) // 2
STYLES = {
    "noto": "noto",
    "twemoji": "twemoji",
    "fluent-emoji": "fluent",
    "fluent-emoji-flat": "fluent flat",
    "noto-v1": "blob",
    "emojione": "emojione",
    "streamline-emojis": "streamline",
}
HELD_OUT_STYLE = "fxemoji"
MEASURED_STYLE = "openmoji"
ALL_STYLES = {**STYLES, HELD_OUT_STYLE: "fxemoji", MEASURED_STYLE: "openmoji"}
BACKGROUNDS = {
    "white": (255, 255, 255),
    "black": (28, 28, 32),
    "blue": (150, 200, 240),
    "yellow": (250, 225, 120),
    "green": (170, 220, 160),
    "pink": (245, 180, 200),
}


@dataclass(frozen=True)
class Settings:
    seed: int = 20261126
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
    # Drawings that are byte for byte what is held out under another name.
    copies: tuple[tuple[str, str], ...] = ()

    def unseen(self, concept: str, style: str) -> bool:
        """Tell whether the drawing is held out on every background."""
        return style not in STYLES or concept in self.held_out_concepts or (concept, style) in self.held_out_pairs

    def trained(self, concept: str, style: str) -> bool:
        """Tell whether training may show the drawing."""
        return not self.unseen(concept, style) and (concept, style) not in self.copies

    def split(self, concept: str, style: str, background: str) -> str:
        """Name the kind of unseen that this image is, or `seen`."""
        if style not in STYLES:
            return "unseen style"
        if concept in self.held_out_concepts:
            return "unseen concept"
        if (concept, style) in self.held_out_pairs:
            return "unseen concept x style"
        if (concept, background) in self.held_out_backgrounds:
            return "unseen concept x background"
        return "seen"


class Words:
    """What the concepts are called, what they belong to, and which ones (`first`) `mini` 0.3 was made for."""

    def __init__(self) -> None:
        table = tomllib.loads(Path(__file__).with_name("concepts.toml").read_text())
        self.concepts: dict[str, Concept] = {concept.name: concept for concept in load_concepts()}
        self.categories: dict[str, list[str]] = {}
        for concept in self.concepts.values():
            self.categories.setdefault(concept.category, []).append(concept.name)
        self.everyday = set(table["everyday"]["names"].split())
        self.first = {name for names in table["categories"].values() for name in names.split()}
        self.aliases: dict[str, str] = table["aliases"]
        self._phrases: dict[str, str] = table["phrases"]

    def phrase(self, concept: str) -> str:
        if concept in self._phrases:
            return self._phrases[concept]
        words = concept.replace("-", " ")
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"

    def category(self, concept: str) -> str | None:
        """Return its category, such as 'an animal'; None where the phrase says it already."""
        category = self.concepts[concept].category
        return None if category.split()[-1] in self.phrase(concept).split() else category

    def caption(self, concept: str, style: str, background: str) -> str:
        return sentence(self.phrase(concept), style, background)


def sentence(phrase: str, style: str | None, background: str | None) -> str:
    """Write 'a cat, noto style, on a white background'; a part that is None is left out."""
    parts = [phrase]
    if style:
        parts.append(f"{ALL_STYLES.get(style, style)} style")
    if background:
        parts.append(f"on a {background} background")
    return ", ".join(parts)


def lay(drawing: np.ndarray, background: str) -> np.ndarray:
    """Lay the drawing on a plain background: (128, 128, 3) bytes."""
    picture = np.empty((SIDE, SIDE, 3), np.float32)
    picture[:] = BACKGROUNDS[background]
    alpha = drawing[..., 3:].astype(np.float32) / 255
    middle = picture[MARGIN:-MARGIN, MARGIN:-MARGIN]
    middle[:] = alpha * drawing[..., :3] + (1 - alpha) * middle
    return np.rint(picture).astype(np.uint8)


def random_shapes(seed: float) -> np.ndarray:
    """Draw flat shapes with outlines, lines and gradients: what no training style has much of."""
    rng = random.Random(seed)
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


def choose_splits(words: Words, drawn: dict[str, list[str]], settings: Settings) -> Splits:
    """Choose what is held out by the seed and the names alone; `drawn` gives the trained styles of each concept."""
    rng = random.Random(settings.seed)
    concepts = sorted(drawn)
    share = settings.held_out_concepts / len(concepts)
    groups: dict[str, list[str]] = {}
    for concept in concepts:
        groups.setdefault(words.concepts[concept].group, []).append(concept)
    counts = {group: int(share * len(names)) for group, names in groups.items()}
    by_rest = sorted(groups, key=lambda group: share * len(groups[group]) % 1, reverse=True)
    for group in by_rest[: settings.held_out_concepts - sum(counts.values())]:
        counts[group] += 1
    held: set[str] = set()
    for group, names in sorted(groups.items()):
        held.update(rng.sample([c for c in names if c not in words.everyday], counts[group]))

    # One pair a concept at most, so that each concept is known, and from two other styles at least.
    trained = [c for c in concepts if c not in held]
    several = [c for c in trained if len(drawn[c]) > 2]
    every = sum(len(drawn[c]) for c in trained)
    some = set(rng.sample(several, round(settings.held_out_pairs * every)))
    pairs = [(c, rng.choice(drawn[c])) for c in sorted(some)]
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
        tuple((c, s) for c, s in table["copies"]),
    )


def load_drawings(work: Path) -> tuple[np.ndarray, dict[Drawing, int]]:
    """Load the named concepts' drawings (N, 112, 112, 4) and where each one lies."""
    rows = json.loads((work / "drawings.json").read_text())
    return np.load(work / "drawings.npy", mmap_mode="r"), {Drawing(c, s): i for i, (c, s) in enumerate(rows)}


def save_array(path: Path, array: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_atomically(path, buffer.getvalue())


def corpus_icons(names: dict[str, list[str]], words: Words, splits: Splits) -> list[tuple[str, str]]:
    """List the icons (package, name) that no concept uses, without variants of what is held out."""
    used = {(package, icon) for c in words.concepts.values() for package, icon in (c.icons | c.copies).items()}
    held = {(s, words.concepts[c].icons[s]) for c, s in splits.held_out_pairs}
    for concept in splits.held_out_concepts:
        held |= set(words.concepts[concept].icons.items())
    rest = []
    for package in STYLES:
        hidden = [icon.removesuffix("-1") for p, icon in held if p == package]
        free = [n for n in names[package] if (package, n) not in used and not any(h in n for h in hidden)]
        rest += [(package, n) for n in free]
    return rest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artwork", type=Path, default=Path("training/node_modules"))
    parser.add_argument("--work", type=Path, default=Path("training/output"))
    arguments = parser.parse_args()
    settings, work = Settings(), arguments.work
    work.mkdir(parents=True, exist_ok=True)
    words, artwork = Words(), load_artwork(arguments.artwork)
    concepts = list(words.concepts.values())
    every = [Drawing(c.name, s) for c in concepts for s in ALL_STYLES if s in c.icons]
    pixels = rasterise_all([artwork[d.style][words.concepts[d.concept].icons[d.style]] for d in every])
    drawings = dict(zip(every, pixels, strict=True))
    drawn = {c.name: [s for s in STYLES if s in c.icons] for c in concepts}
    splits = choose_splits(words, drawn, settings)
    hidden = {pixels.tobytes() for d, pixels in drawings.items() if splits.unseen(d.concept, d.style)}
    copies = [d for d, p in drawings.items() if not splits.unseen(d.concept, d.style) and p.tobytes() in hidden]
    splits = replace(splits, copies=tuple((d.concept, d.style) for d in copies))
    write_atomically(work / "splits.json", json.dumps(asdict(splits), indent=1).encode())
    save_array(work / "drawings.npy", np.stack(list(drawings.values())))
    write_atomically(work / "drawings.json", json.dumps([(d.concept, d.style) for d in drawings]).encode())
    print(f"{len(splits.concepts)} concepts, {len(drawings)} drawings; held out: {', '.join(splits.held_out_concepts)}")
    print(f"held out: {len(splits.held_out_pairs)} pairs, {len(splits.held_out_backgrounds)} concepts on a background")
    print(f"{len(copies)} drawings are the same as held-out ones, and are left out")
    for style in ALL_STYLES:
        print(f"{style}: {sum(d.style == style for d in drawings)} drawings")

    # The autoencoder learns from everything drawable that is not held out, and from shapes that nobody drew.
    rng = random.Random(settings.seed + 1)
    corpus = [pixels for d, pixels in drawings.items() if splits.trained(d.concept, d.style)]
    rest = rasterise_all([artwork[p][n] for p, n in corpus_icons(wanted(artwork), words, splits)])
    corpus += [drawing for drawing in rest if drawing.tobytes() not in hidden]
    with ProcessPoolExecutor() as pool:
        corpus += pool.map(random_shapes, [rng.random() for _ in range(settings.shapes)], chunksize=16)
    save_array(work / "autoencoder_corpus.npy", np.stack(corpus))

    rng = random.Random(settings.seed + 2)
    for style, file in ((HELD_OUT_STYLE, "held_out_style"), (MEASURED_STYLE, "measured_style")):
        candidates = [d for d in drawings if d.style == style]
        sample = rng.sample(candidates, settings.style_sample)
        save_array(work / f"{file}.npy", np.stack([lay(drawings[d], rng.choice(list(BACKGROUNDS))) for d in sample]))
    print(f"{len(corpus)} drawings for the autoencoder, {settings.style_sample} images of each held-out style")


if __name__ == "__main__":
    main()
