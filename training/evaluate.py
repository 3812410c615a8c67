"""Measure a model of the package, print the numbers, write `metrics.json` and the labelled sheets.

- Autoencoder: PSNR of the round trip (the posterior's mode) on every held-out concept in every style on every
  background, and on the sample of the held-out style.
- Prompt following: for 200 prompts, is the drawn image nearer to the real image of its concept than to those of
  19 other concepts drawn at random, all in the same style on the same background? Near means Euclidean distance
  between the autoencoder's latents, a space in which neither prompts nor names took part. Chance is 5 %. Beside it,
  whether the style is the nearest of the four (chance 25 %) and whether the border has the right background colour.
- Sheets: everyday concepts, seen images, and the two kinds of unseen combination, each drawn by seed.

What is measured was fixed before any result was seen. Run it while nothing trains.

    python -m training.evaluate [--model mini-turbo] --work training/output --to training/output/report
"""

import argparse
import io
import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from renoise import Editor
from training import common
from training.data import BACKGROUNDS, STYLES, Drawing, Settings, Splits, Words, lay, load_drawings, load_splits
from training.latents import encode
from training.pipeline import generate
from training.vae import held_out_pictures, round_trip

# How each model draws: steps and guidance.
DRAWING = {"mini": (50, 4.0), "mini-turbo": (4, 1.0), "mini-lcm": (4, 1.0)}
OTHERS = 19
KINDS = ("seen", "unseen concept x style", "unseen concept x background")


@dataclass(frozen=True)
class Case:
    concept: str
    style: str
    background: str
    split: str


def cases(splits: Splits, rng: random.Random, counts: dict[str, int], concepts: set[str] | None = None) -> list[Case]:
    """Images drawn by chance, so many of each kind, no concept twice within a kind."""
    trained = [c for c in splits.concepts if c not in splits.held_out_concepts and (concepts is None or c in concepts)]
    every = [Case(c, s, b, splits.split(c, s, b)) for c in trained for s in STYLES for b in BACKGROUNDS]
    chosen = []
    for kind, count in counts.items():
        candidates = [case for case in every if case.split == kind]
        rng.shuffle(candidates)
        firsts = {case.concept: case for case in candidates}
        chosen += list(firsts.values())[:count]
    return chosen


class Reality:
    """The real images, and their latents."""

    def __init__(self, work: Path, pipeline: StableDiffusionPipeline) -> None:
        self.drawings, self.rows = load_drawings(work)
        self.vae = pipeline.vae
        self._known: dict[tuple[str, str, str], torch.Tensor] = {}

    def picture(self, concept: str, style: str, background: str) -> np.ndarray:
        return lay(self.drawings[self.rows[Drawing(concept, style)]], background)

    def features(self, keys: list[tuple[str, str, str]]) -> torch.Tensor:
        missing = [key for key in dict.fromkeys(keys) if key not in self._known]
        if missing:
            latents = encode(self.vae, np.stack([self.picture(*key) for key in missing])).flatten(1)
            self._known.update(zip(missing, latents, strict=True))
        return torch.stack([self._known[key] for key in keys])


def nearest(feature: torch.Tensor, candidates: torch.Tensor) -> int:
    return int((candidates - feature).square().sum(1).argmin())


def border_colour(picture: np.ndarray) -> str:
    frame = np.concatenate([picture[:4].reshape(-1, 3), picture[-4:].reshape(-1, 3)]).astype(float)
    distances = {name: np.abs(np.median(frame, 0) - colour).sum() for name, colour in BACKGROUNDS.items()}
    return min(distances, key=distances.__getitem__)


def prompt_following(
    pipeline: StableDiffusionPipeline,
    reality: Reality,
    splits: Splits,
    words: Words,
    seed: int,
    steps: int,
    guidance: float,
) -> dict[str, dict[str, float]]:
    rng = random.Random(seed)
    chosen = cases(splits, rng, {"seen": 100, "unseen concept x style": 50, "unseen concept x background": 50})
    prompts = [words.caption(c.concept, c.style, c.background) for c in chosen]
    pictures = generate(pipeline, prompts, steps=steps, guidance=guidance, seed=seed)
    features = encode(pipeline.vae, pictures).flatten(1)
    hits: dict[str, list[tuple[bool, bool, bool]]] = {}
    for case, picture, feature in zip(chosen, pictures, features, strict=True):
        others = rng.sample([c for c in splits.concepts if c != case.concept], OTHERS)
        concepts = reality.features([(c, case.style, case.background) for c in [case.concept, *others]])
        styles = reality.features([(case.concept, s, case.background) for s in STYLES])
        hit = (
            nearest(feature, concepts) == 0,
            list(STYLES)[nearest(feature, styles)] == case.style,
            border_colour(picture) == case.background,
        )
        for group in ("all", case.split):
            hits.setdefault(group, []).append(hit)
    return {
        group: dict(zip(("concept", "style", "background"), np.mean(rows, 0).round(3).tolist(), strict=True))
        | {"prompts": len(rows)}
        for group, rows in hits.items()
    }


def save_sheet(path: Path, pictures: np.ndarray, labels: list[str]) -> None:
    """Two hundred and fifty-six colours are enough to judge drawings by, and keep the file small."""
    page = Image.open(io.BytesIO(common.sheet(pictures, 8, labels)), formats=["PNG"])
    page.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("training/output"))
    parser.add_argument("--model", choices=DRAWING, default="mini")
    parser.add_argument("--to", type=Path, default=Path("training/output/report"))
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    arguments.to.mkdir(parents=True, exist_ok=True)
    splits, words, seed = load_splits(arguments.work), Words(), Settings().seed + 4
    pipeline, (steps, guidance) = (
        Editor.from_pretrained(arguments.model, dtype="float32").pipe,
        DRAWING[arguments.model],
    )
    metrics: dict[str, object] = {}

    concept_values, _ = round_trip(pipeline.vae, held_out_pictures(arguments.work, splits, every_background=True))
    style_values, _ = round_trip(pipeline.vae, np.load(arguments.work / "held_out_style.npy"))
    for name, values in (("held-out concepts", concept_values), ("held-out style", style_values)):
        low = float(np.quantile(values, 0.1))
        spread = {"mean": round(float(values.mean()), 2), "lowest tenth below": round(low, 2)}
        metrics[f"round trip PSNR, {name}"] = spread | {"pictures": len(values)}
        print(f"Round trip, {name} ({len(values)} images): {spread}", flush=True)

    rng = random.Random(seed)
    everyday = cases(splits, rng, {KINDS[0]: 16, KINDS[1]: 8, KINDS[2]: 8}, words.everyday)
    rest = {kind: cases(splits, rng, {kind: 16}) for kind in KINDS}
    for name, chosen in {"everyday": everyday, **rest}.items():
        prompts = [words.caption(c.concept, c.style, c.background) for c in chosen]
        pictures = generate(pipeline, prompts, steps=steps, guidance=guidance, seed=seed)
        save_sheet(arguments.to / f"{name.replace(' ', '-')}.png", pictures, prompts)

    following = prompt_following(pipeline, Reality(arguments.work, pipeline), splits, words, seed + 1, steps, guidance)
    metrics["prompt following"] = following
    for group, row in following.items():
        print(
            f"Prompt following, {group} ({row['prompts']} prompts): nearest concept of 20 {row['concept']:.1%}, "
            f"style of 4 {row['style']:.1%}, background of 6 {row['background']:.1%}"
        )
    common.write_atomically(arguments.to / "metrics.json", json.dumps(metrics, indent=2).encode() + b"\n")


if __name__ == "__main__":
    main()
