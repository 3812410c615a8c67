"""Write what the edits of the held-out images are measured with: the true results, and what each could be taken for.

The artwork holds the concepts in several styles, and the backgrounds are plain colours. So for each of the three edits
that a rule chose for a held-out image (another concept, another background, another style), the true result can be
laid out, though no model saw it. Beside it lies what an edit could have stayed or become instead:

    concept      the source's concept and 18 others drawn at random by the file's name, in the same style and colour,
                 from 40 that each style has for all its images, so that the sheets stay small; a drawing that some
                 background would hide is not among them
    style        the same concept in all other styles that draw it
    background   nothing: the colour of the border tells

`drawings/` has one lossless sheet of drawings for each style, with transparency, each drawing once. `drawings.json`
says which drawing lies where, and gives the colours of the backgrounds. `edits.jsonl` has one edit a line, and names
each picture `concept/style/background`.

    python -m training.true_results --work training/output --to training/output/models
"""

import argparse
import io
import json
import random
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from training.artwork import ART
from training.common import beside, exchange
from training.data import (
    BACKGROUNDS,
    HELD_OUT_STYLE,
    MARGIN,
    STYLES,
    Drawing,
    Settings,
    Words,
    lay,
    load_drawings,
    load_splits,
)

OTHERS, POOL, COLUMNS = 18, 40, 20
# A drawing is seen on a background if some channel of the image spans more than this, of 255.
LEAST_SPAN = 10
# What may be shipped: the trained styles, and the held-out one whose licence allows it.
PACKAGES = {name: package for package, name in (STYLES | {HELD_OUT_STYLE: HELD_OUT_STYLE}).items()}


@dataclass(frozen=True)
class Shown:
    """A picture: a drawing laid on a background."""

    concept: str
    style: str
    background: str

    @property
    def name(self) -> str:
        return f"{self.concept}/{self.style}/{self.background}"


def shown_by(caption: str, concepts: dict[str, str]) -> Shown:
    """Return what a caption of an edit asks for; `concepts` are by their noun phrases."""
    phrase, style, background = caption.rsplit(", ", 2)
    colour = next(b for b in BACKGROUNDS if background == f"on a {b} background")
    return Shown(concepts[phrase], style.removesuffix(" style"), colour)


@dataclass(frozen=True)
class Edit:
    """A line of `edits.jsonl`, with the names of its pictures."""

    file: str
    kind: str
    prompt: str
    source: str
    result: str
    others: tuple[str, ...]


def is_seen(drawing: np.ndarray) -> bool:
    """Tell whether a drawing (112, 112, 4) stands out on every background."""
    return all(np.ptp(lay(drawing, name), axis=(0, 1)).max() > LEAST_SPAN for name in BACKGROUNDS)


def pools_of(drawings: np.ndarray, rows: dict[Drawing, int], concepts: tuple[str, ...]) -> dict[str, list[str]]:
    """Draw the concepts of each style that an edit could be taken for, from all drawings (N, 112, 112, 4)."""
    pools = {}
    for style, package in PACKAGES.items():
        drawn = [c for c in concepts if Drawing(c, package) in rows]
        order = random.Random(f"{Settings().seed} {style}").sample(drawn, len(drawn))
        pools[style] = list(islice((c for c in order if is_seen(drawings[rows[Drawing(c, package)]])), POOL))
    return pools


def edits_of(row: dict[str, str], concepts: tuple[str, ...], words: Words, pools: dict[str, list[str]]) -> list[Edit]:
    """Return the three edits of a held-out image; `pools` are the concepts of each style to tell an edit from."""
    source = Shown(row["concept"], row["style"], row["background"])
    by_phrase = {words.phrase(c): c for c in concepts}
    concept, background, style = (shown_by(caption, by_phrase) for caption in row["edits"])
    rng = random.Random(f"{Settings().seed} {row['file']}")

    def draws(style: str, name: str) -> bool:
        return PACKAGES[style] in words.concepts[name].icons

    others = rng.sample([c for c in pools[concept.style] if c not in (source.concept, concept.concept)], OTHERS)
    styles = [s for s in PACKAGES if s != style.style and draws(s, source.concept)]
    candidates = {
        "concept": (concept, [Shown(c, concept.style, concept.background) for c in (source.concept, *others)]),
        "background": (background, []),
        "style": (style, [Shown(source.concept, s, source.background) for s in styles]),
    }
    return [
        Edit(row["file"], kind, prompt, source.name, result.name, tuple(other.name for other in found))
        for prompt, (kind, (result, found)) in zip(row["edits"], candidates.items(), strict=True)
    ]


def sheet(drawings: list[np.ndarray]) -> bytes:
    """Put drawings in rows of `COLUMNS`, without loss; what is transparent has no colour."""
    page = np.zeros((-(-len(drawings) // COLUMNS) * ART, COLUMNS * ART, 4), np.uint8)
    for place, drawing in enumerate(drawings):
        y, x = ART * (place // COLUMNS), ART * (place % COLUMNS)
        page[y : y + ART, x : x + ART] = np.where(drawing[..., 3:] > 0, drawing, 0)
    buffer = io.BytesIO()
    Image.fromarray(page).save(buffer, "WEBP", lossless=True, quality=100, method=6)
    return buffer.getvalue()


def write_true_results(work: Path, target: Path) -> None:
    """Write the directory `target` for the held-out images that lie beside it."""
    captions = (target.with_name("heldout") / "captions.jsonl").read_text().splitlines()
    concepts, words = load_splits(work).concepts, Words()
    drawings, rows = load_drawings(work)
    pools = pools_of(drawings, rows, concepts)
    lines = [line for row in captions for line in edits_of(json.loads(row), concepts, words, pools)]
    pictures = {name for line in lines for name in (line.source, line.result, *line.others)}
    fresh = beside(target)
    (fresh / "drawings").mkdir()
    sheets: dict[str, list[str]] = {}
    for style, package in PACKAGES.items():
        sheets[style] = sorted({name.split("/")[0] for name in pictures if name.split("/")[1] == style})
        page = sheet([drawings[rows[Drawing(concept, package)]] for concept in sheets[style]])
        (fresh / "drawings" / f"{style.replace(' ', '-')}.webp").write_bytes(page)
    layout = {"side": ART, "margin": MARGIN, "columns": COLUMNS, "backgrounds": BACKGROUNDS, "sheets": sheets}
    (fresh / "drawings.json").write_text(json.dumps(layout, indent=1) + "\n")
    (fresh / "edits.jsonl").write_text("".join(json.dumps(asdict(line)) + "\n" for line in lines))
    size = sum(p.stat().st_size for p in fresh.rglob("*") if p.is_file())
    exchange(fresh, target)
    print(f"{target}: {len(lines)} edits, {sum(map(len, sheets.values()))} drawings, {size:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("training/output"))
    parser.add_argument("--to", type=Path, default=Path("training/output/models"))
    arguments = parser.parse_args()
    write_true_results(arguments.work, arguments.to / "edits")


if __name__ == "__main__":
    main()
