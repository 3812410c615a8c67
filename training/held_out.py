"""Write the held-out images with their captions and edits, chosen by rule.

96 images are of a known concept in a known style whose drawing was not trained on, and 32 each of an unknown concept,
an unknown style, and a known drawing on a background on which its concept was never shown. Each has three edits:
another concept, another background, another style. What an edit asks for is known to the model: its concept is trained
in its style, or, for an image of the unknown style, in the other styles.

The 96 come first, for they are the main test set: a user's image shows what a model has words for.

    python -m training.held_out --work training/output --to training/output/models
"""

import argparse
import io
import json
import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from training.common import beside, exchange
from training.data import (
    ALL_STYLES,
    BACKGROUNDS,
    HELD_OUT_STYLE,
    STYLES,
    Drawing,
    Settings,
    Splits,
    Words,
    lay,
    load_drawings,
    load_splits,
)
from training.true_results import write_true_results

COUNTS = {"unseen concept x style": 96, "unseen concept": 32, "unseen style": 32, "unseen concept x background": 32}


@dataclass(frozen=True)
class Chosen:
    concept: str
    style: str
    background: str


class HeldOut:
    """Chooses images and edits, from the seed and the names alone."""

    def __init__(self, splits: Splits, words: Words) -> None:
        self.splits, self.words = splits, words
        self.rng = random.Random(Settings().seed + 3)
        self.backgrounds = list(BACKGROUNDS)
        self.fellows: dict[str, list[str]] = {}
        for concept in splits.concepts:
            self.fellows.setdefault(words.concepts[concept].group, []).append(concept)

    def rows(self) -> list[dict[str, object]]:
        """Return the lines of captions.jsonl: images whose words the model knows first, then the others by chance."""
        (main, *kinds) = [self._images(kind, count) for kind, count in COUNTS.items()]
        others = [image for images in kinds for image in images]
        self.rng.shuffle(others)
        chosen = [*main, *others]
        return [self._row(number, image) for number, image in enumerate(chosen)]

    def _images(self, kind: str, count: int) -> list[Chosen]:
        splits, rng = self.splits, self.rng
        if kind == "unseen concept x background":
            combinations = rng.sample(splits.held_out_backgrounds, count)
            return [Chosen(c, rng.choice(self._styles(c)), b) for c, b in combinations]
        if kind == "unseen concept x style":
            drawings = rng.sample(splits.held_out_pairs, count)
        elif kind == "unseen concept":
            drawings = [(c, rng.choice(self._drawn(c))) for c in rng.sample(splits.held_out_concepts, count)]
        else:
            known = [c for c in splits.concepts if c not in splits.held_out_concepts]
            candidates = [c for c in known if HELD_OUT_STYLE in self.words.concepts[c].icons]
            drawings = [(c, HELD_OUT_STYLE) for c in rng.sample(candidates, count)]
        return [Chosen(c, s, rng.choice(self.backgrounds)) for c, s in drawings]

    def _drawn(self, concept: str) -> list[str]:
        return [style for style in STYLES if style in self.words.concepts[concept].icons]

    def _styles(self, concept: str) -> list[str]:
        """List the styles in which a concept is trained."""
        return [style for style in self._drawn(concept) if self.splits.trained(concept, style)]

    def _row(self, number: int, image: Chosen) -> dict[str, object]:
        words, rng = self.words, self.rng
        concept, style, background = image.concept, image.style, image.background
        fellows = self.fellows[words.concepts[concept].group]
        other_concept = rng.choice([c for c in fellows if c != concept and self._known(c, style, background)])
        other_background = rng.choice([b for b in self.backgrounds if b != background])
        # A concept that is held out is not trained in any style: its drawings are the truth all the same.
        styles = self._styles(concept) or self._drawn(concept)
        other_style = rng.choice([s for s in styles if s != style])
        return {
            "file": f"{number:03d}-{concept}.png",
            "caption": words.caption(concept, style, background),
            "concept": concept,
            "style": ALL_STYLES[style],
            "background": background,
            "split": self.splits.split(concept, style, background),
            "edits": [
                words.caption(other_concept, style, background),
                words.caption(concept, style, other_background),
                words.caption(concept, other_style, background),
            ],
        }

    def _known(self, concept: str, style: str, background: str) -> bool:
        if style not in self.words.concepts[concept].icons:
            return False
        if style == HELD_OUT_STYLE:
            return concept not in self.splits.held_out_concepts
        return self.splits.split(concept, style, background) == "seen"


def write_held_out(work: Path, target: Path) -> None:
    """Write the directory `target`: the images and captions.jsonl."""
    drawings, positions = load_drawings(work)
    packages = {name: package for package, name in ALL_STYLES.items()}
    rows = HeldOut(load_splits(work), Words()).rows()
    fresh = beside(target)
    for row in rows:
        drawing = drawings[positions[Drawing(str(row["concept"]), packages[str(row["style"])])]]
        buffer = io.BytesIO()
        Image.fromarray(lay(drawing, str(row["background"]))).save(buffer, "PNG", optimize=True)
        (fresh / str(row["file"])).write_bytes(buffer.getvalue())
    (fresh / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    exchange(fresh, target)
    print(f"{target}: {len(rows)} images")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("training/output"))
    parser.add_argument("--to", type=Path, default=Path("training/output/models"))
    arguments = parser.parse_args()
    write_held_out(arguments.work, arguments.to / "heldout")
    write_true_results(arguments.work, arguments.to / "edits")


if __name__ == "__main__":
    main()
