"""Measure a model on what was held out, print the numbers, write `metrics.json` and the labelled sheets.

- Autoencoder: PSNR of the round trip (the posterior's mode) on the held-out concept x style pairs, on the held-out
  concepts in every style, and on the sample of the held-out style. Beside it the PSNR of the differences between
  neighbouring pixels, which tells how sharp edges are.
- Prompt following, on three kinds of prompt: the held-out pairs (half of all prompts), held-out backgrounds, and what
  was seen (a quarter each). Is the drawn image nearer to the real image of its concept than to those of 19 other
  concepts drawn at random, all in the same style on the same background? Is its style the nearest of all trained styles
  that draw the concept, and of the four that the first mini knew? Has the border the right one of six colours? Near
  means Euclidean distance between the autoencoder's latents, in which neither prompts nor names took part; models with
  different autoencoders are compared by one of them (`--ruler`). Beside it stands how much gradient energy the images
  have, compared with the real ones. Held-out concepts and the held-out style have no words that the model could follow,
  so they are left to the autoencoder.
- With `--first`, only concepts and styles for which `mini` 0.3 was made are asked for, so that an older model and a
  newer one are asked the same. What is unseen is unseen by the newer one; the older one may have learnt it.
- Sheets: everyday concepts, and the first images of each kind, all chosen by seed.

The held-out sets were decided before training. Run it while nothing trains.

    python -m training.evaluate --pipeline training/next/mini --work training/output --to training/output/report
    python -m training.evaluate --model mini-turbo --pipeline training/output/models/mini-turbo
"""

import argparse
import io
import json
import random
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, LCMScheduler, StableDiffusionPipeline
from PIL import Image

from training import common
from training.data import BACKGROUNDS, STYLES, Drawing, Settings, Splits, Words, lay, load_drawings, load_splits
from training.latents import encode
from training.pipeline import generate
from training.vae import pictures_of, round_trip

# How each model draws: steps and guidance.
DRAWING = {"mini": (50, 4.0), "mini-turbo": (4, 1.0), "mini-lcm": (4, 1.0)}
LORA = "pytorch_lora_weights.safetensors"
OTHERS = 19
PAIR, BACKGROUND, SEEN = KINDS = ("unseen concept x style", "unseen concept x background", "seen")
FIRST_STYLES = list(STYLES)[:4]
ON_A_SHEET = 32


@dataclass(frozen=True)
class Case:
    concept: str
    style: str
    background: str


class Cases:
    """Chooses what is drawn, by chance, no concept twice within a kind."""

    def __init__(self, splits: Splits, drawn: list[Drawing], seed: int) -> None:
        self.splits, self.rng = splits, random.Random(seed)
        self.styles: dict[str, list[str]] = {}
        for drawing in drawn:
            if drawing.style in STYLES:
                self.styles.setdefault(drawing.concept, []).append(drawing.style)

    def choose(
        self, kind: str, count: int, concepts: set[str] | None = None, among: Collection[str] = tuple(STYLES)
    ) -> list[Case]:
        """Choose so many cases of a kind, or all that there are, from `concepts` and the styles `among`."""
        every = [
            Case(concept, style, background)
            for concept, styles in self.styles.items()
            if concept not in self.splits.held_out_concepts and (concepts is None or concept in concepts)
            for style in styles
            if style in among
            for background in BACKGROUNDS
            if self.splits.split(concept, style, background) == kind
        ]
        self.rng.shuffle(every)
        return list({case.concept: case for case in every}.values())[:count]

    def others(self, case: Case) -> list[Case]:
        """Draw other concepts in the same style on the same background."""
        concepts = [c for c, styles in self.styles.items() if c != case.concept and case.style in styles]
        return [Case(c, case.style, case.background) for c in self.rng.sample(concepts, min(OTHERS, len(concepts)))]

    def other_styles(self, case: Case) -> list[Case]:
        """List the same concept in all other trained styles that draw it."""
        return [Case(case.concept, s, case.background) for s in self.styles[case.concept] if s != case.style]


class Reality:
    """The real images, and their latents."""

    def __init__(self, work: Path, vae: AutoencoderKL) -> None:
        self.drawings, self.rows = load_drawings(work)
        self.vae = vae
        self._known: dict[Case, torch.Tensor] = {}

    def picture(self, case: Case) -> np.ndarray:
        return lay(self.drawings[self.rows[Drawing(case.concept, case.style)]], case.background)

    def features(self, cases: list[Case]) -> torch.Tensor:
        missing = [case for case in dict.fromkeys(cases) if case not in self._known]
        if missing:
            latents = encode(self.vae, np.stack([self.picture(case) for case in missing])).flatten(1)
            self._known.update(zip(missing, latents, strict=True))
        return torch.stack([self._known[case] for case in cases])

    def nearest(self, feature: torch.Tensor, case: Case, others: list[Case]) -> bool:
        """Tell whether a drawn image's latent is no farther from the real image of its case than from any other."""
        distances = (self.features([case, *others]) - feature).square().sum(1)
        return int(distances.argmin()) == 0


def border_colour(picture: np.ndarray) -> str:
    frame = np.concatenate([picture[:4].reshape(-1, 3), picture[-4:].reshape(-1, 3)]).astype(float)
    distances = {name: np.abs(np.median(frame, 0) - colour).sum() for name, colour in BACKGROUNDS.items()}
    return min(distances, key=distances.__getitem__)


def energy(pictures: np.ndarray) -> float:
    """Return the mean square of the differences between neighbouring pixels, in decibels."""
    scaled = pictures.astype(np.float32) / 255
    return float(10 * np.log10(sum(np.square(np.diff(scaled, axis=axis)).mean() for axis in (1, 2))))


def follow(drawn: np.ndarray, chosen: list[Case], cases: Cases, reality: Reality) -> dict[str, float]:
    """Compare drawn images (N, 128, 128, 3) with the real ones of their cases."""
    hits: dict[str, list[bool]] = {"concept": [], "style": [], "style of four": [], "background": []}
    for case, picture, feature in zip(chosen, drawn, encode(reality.vae, drawn).flatten(1), strict=True):
        styles = cases.other_styles(case)
        hits["concept"].append(reality.nearest(feature, case, cases.others(case)))
        hits["style"].append(reality.nearest(feature, case, styles))
        if case.style in FIRST_STYLES:
            four = [other for other in styles if other.style in FIRST_STYLES]
            hits["style of four"].append(reality.nearest(feature, case, four))
        hits["background"].append(border_colour(picture) == case.background)
    real = np.stack([reality.picture(case) for case in chosen])
    return {
        "prompts": len(chosen),
        "prompts in the four styles": len(hits["style of four"]),
        **{name: round(float(np.mean(some)), 3) for name, some in hits.items() if some},
        "chance of the style": round(float(np.mean([1 / (1 + len(cases.other_styles(c))) for c in chosen])), 3),
        "gradient energy against real, dB": round(energy(drawn) - energy(real), 2),
    }


def autoencoder(vae: AutoencoderKL, work: Path, splits: Splits, to: Path) -> dict[str, dict[str, float]]:
    """Measure round trips, and draw a sheet of some images with their round trips."""
    _, rows = load_drawings(work)
    concepts = [(d.concept, d.style) for d in rows if d.style in STYLES and d.concept in splits.held_out_concepts]
    sets = {
        "held-out pairs": pictures_of(work, splits.held_out_pairs),
        "held-out concepts": pictures_of(work, concepts),
        "held-out style": np.load(work / "held_out_style.npy"),
    }
    table, shown = {}, []
    for name, pictures in sets.items():
        (values, edges), decoded = round_trip(vae, pictures)
        table[name] = {
            "images": len(pictures),
            "PSNR": round(float(values.mean()), 2),
            "lowest tenth below": round(float(np.quantile(values, 0.1)), 2),
            "gradient PSNR": round(float(edges.mean()), 2),
        }
        some = np.linspace(0, len(pictures) - 1, 8).astype(int)
        shown += [image for i in some for image in (pictures[i], decoded[i])]
        print(f"round trip, {name}: {table[name]}", flush=True)
    save_sheet(to / "round-trip.png", np.stack(shown))
    return table


def load(model: str, directory: Path | None) -> StableDiffusionPipeline:
    """Load a model of the package, or from a directory; a LoRA's directory has its `mini` beside it."""
    if directory is None:
        from renoise import Editor

        return Editor.from_pretrained(model, dtype="float32").pipe
    if not (directory / LORA).exists():
        return StableDiffusionPipeline.from_pretrained(directory, torch_dtype=torch.float32)
    pipeline = StableDiffusionPipeline.from_pretrained(directory.with_name("mini"), torch_dtype=torch.float32)
    pipeline.load_lora_weights(directory, weight_name=LORA)
    pipeline.scheduler = LCMScheduler.from_pretrained(directory, subfolder="scheduler")
    return pipeline


def save_sheet(path: Path, pictures: np.ndarray, labels: list[str] | None = None) -> None:
    """Save a sheet in 256 colours, which are enough to judge drawings by and keep the file small."""
    page = Image.open(io.BytesIO(common.sheet(pictures, 8, labels)), formats=["PNG"])
    page.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("training/output"))
    parser.add_argument("--model", choices=DRAWING, default="mini", help="a model of the package; how it draws")
    parser.add_argument("--pipeline", type=Path, help="measure the pipeline in this directory instead, drawing alike")
    parser.add_argument("--ruler", type=Path, help="tell nearness by the autoencoder in this directory instead")
    parser.add_argument("--first", action="store_true", help="ask only for what mini 0.3 was made for")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--to", type=Path, default=Path("training/output/report"))
    arguments = parser.parse_args()
    arguments.to.mkdir(parents=True, exist_ok=True)
    work, to, words, seed = arguments.work, arguments.to, Words(), Settings().seed + 4
    pipeline = load(arguments.model, arguments.pipeline).to(common.device())
    steps, guidance = DRAWING[arguments.model]
    ruler = pipeline.vae
    if arguments.ruler:
        ruler = AutoencoderKL.from_pretrained(arguments.ruler, torch_dtype=torch.float32).to(common.device()).eval()
    splits, reality = load_splits(work), Reality(work, ruler)
    cases = Cases(splits, list(reality.rows), seed)

    def drawn(chosen: list[Case], name: str) -> np.ndarray:
        prompts = [words.caption(c.concept, c.style, c.background) for c in chosen]
        pictures = generate(pipeline, prompts, steps=steps, guidance=guidance, seed=seed)
        save_sheet(to / f"{name.replace(' ', '-')}.png", pictures[:ON_A_SHEET], prompts[:ON_A_SHEET])
        return pictures

    concepts, among = (words.first, FIRST_STYLES) if arguments.first else (None, STYLES)
    metrics: dict[str, object] = {"autoencoder": autoencoder(pipeline.vae, work, splits, to)}
    following: dict[str, dict[str, float]] = {}
    for kind, share in zip(KINDS, (2, 4, 4), strict=True):
        chosen = cases.choose(kind, arguments.prompts // share, concepts, among)
        following[kind] = follow(drawn(chosen, kind), chosen, cases, reality)
        print(f"prompt following, {kind}: {following[kind]}", flush=True)
    metrics["prompt following"] = following
    common.write_atomically(to / "metrics.json", json.dumps(metrics, indent=2).encode() + b"\n")
    known = words.everyday
    drawn([c for kind, n in ((SEEN, 16), (PAIR, 8), (BACKGROUND, 8)) for c in cases.choose(kind, n, known)], "everyday")


if __name__ == "__main__":
    main()
