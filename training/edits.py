"""Measure edits of the held-out images against the drawings that exist of what they were to become.

The artwork holds every concept in every style, and backgrounds are ours: for each of the three edits that a rule chose
for a held-out image (`captions.jsonl`: another concept, another background, another style) the true result can be
laid out, though no model saw it. So an edit can be measured:

    changed   concept: nearer to the true target than to the source and to 18 other concepts drawn at random;
              background: the border has the new colour; style: nearer to the target style than to the other three
    kept      concept and style: the border has the source's colour; background: PSNR against the true target in dB
    PSNR      against the true target, all three kinds; beside it how near the unedited image is to it

and the reconstruction beside them. Near means Euclidean distance between the autoencoder's latents.

    python -m training.edits --model mini-turbo --limit 32
    python -m training.edits --model mini --guidance 1 1.5 2
"""

import argparse
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import renoise_mini
from renoise import EditLosses, Editor, InversionConfig, NoiseCorrection
from renoise.config import OWN_VARIANTS
from renoise.quality import psnr
from training import common
from training.data import BACKGROUNDS, STYLES, Settings, Words, load_splits
from training.evaluate import OTHERS, Reality, border_colour, nearest

KINDS = ("concept", "background", "style")


class Targets:
    """The images, their edits, and the truth about each edit."""

    def __init__(self, work: Path, editor: Editor, limit: int) -> None:
        folder = renoise_mini.path("heldout")
        self.entries = [json.loads(x) for x in (folder / "captions.jsonl").read_text().splitlines()][:limit]
        self.files = [folder / e["file"] for e in self.entries]
        self.styles = {name: package for package, name in STYLES.items()}
        self.reality = Reality(work, editor.pipe)
        self.concepts = load_splits(work).concepts
        words = Words()
        self.by_phrase = {words.phrase(c): c for c in self.concepts}

    def source(self, entry: dict[str, str]) -> tuple[str, str, str]:
        return entry["concept"], self.styles[entry["style"]], entry["background"]

    def target(self, entry: dict[str, str], kind: int) -> tuple[str, str, str]:
        """(concept, style, background) of an edit, read off its caption."""
        phrase, style, background = entry["edits"][kind].rsplit(", ", 2)
        colour = next(b for b in BACKGROUNDS if background == f"on a {b} background")
        return self.by_phrase[phrase], self.styles[style.removesuffix(" style")], colour

    def score(self, entry: dict[str, str], kind: int, picture: np.ndarray, feature: torch.Tensor) -> dict[str, float]:
        source, target = self.source(entry), self.target(entry, kind)
        rng = random.Random(f"{Settings().seed} {entry['file']}")
        if kind == 0:
            others = rng.sample([c for c in self.concepts if c not in (source[0], target[0])], OTHERS - 1)
            candidates = [(c, target[1], target[2]) for c in (target[0], source[0], *others)]
            changed = nearest(feature, self.reality.features(candidates)) == 0
        elif kind == 1:
            changed = border_colour(picture) == target[2]
        else:
            candidates = [(source[0], s, source[2]) for s in STYLES]
            changed = list(STYLES)[nearest(feature, self.reality.features(candidates))] == target[1]
        kept = border_colour(picture) == source[2]
        truth, before = self.reality.picture(*target), self.reality.picture(*source)
        return {
            "changed": float(changed),
            "kept": float(kept),
            "psnr": decibels(picture, truth),
            "unedited": decibels(before, truth),
        }


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    return float(common.psnr(common.to_tensor(a[None]), common.to_tensor(b[None]))[0])


def variants(editor: Editor) -> dict[str, InversionConfig]:
    """The project's presets, and the paper's with its edit losses and its noise correction at several amounts."""
    found = {preset: editor.config(preset) for preset in OWN_VARIANTS}
    preset = editor.config("paper")
    stochastic = preset.noise_correction is not None
    if stochastic:
        found |= {f"balanced, correction {a:g}": editor.config("balanced", noise_correction=a) for a in (0.5, 0.75)}
    losses = preset.edit_losses or EditLosses()
    found["reversing"] = preset.reversing()
    for factor in (0.0, 0.5, 1.0, 2.0, 4.0):
        scaled = replace(losses, pair=factor * losses.pair, patch_kl=factor * losses.patch_kl) if factor else None
        for amount in (0.0, 0.5, 1.0) if stochastic else (0.0,):
            correction = NoiseCorrection(amount) if amount else None
            name = f"losses x {factor:g}" + (f", correction {amount:g}" if stochastic else "")
            found[name] = replace(preset, edit_losses=scaled, noise_correction=correction)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("training/output"))
    parser.add_argument("--model", default="mini-turbo")
    parser.add_argument("--limit", type=int, default=32)
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="each adds its edits to the means")
    parser.add_argument("--only", nargs="+", help="variants to measure; by default all")
    arguments = parser.parse_args()
    editor = Editor.from_pretrained(arguments.model)
    targets = Targets(arguments.work, editor, arguments.limit)
    captions = [e["caption"] for e in targets.entries]
    z_0 = editor.encode(targets.files)
    bound = editor.decode(z_0, "pt")
    print(
        "| settings | guidance | reconstruction / round trip | z_T | "
        + " | ".join(f"{k}: changed, kept, PSNR (unedited)" for k in KINDS)
        + " |"
    )
    for name, config in variants(editor).items():
        if arguments.only and name not in arguments.only:
            continue
        seeded = [replace(config, seed=seed) for seed in arguments.seeds]
        inversions = [editor.invert(latents=z_0, prompt=captions, config=each) for each in seeded]
        again = torch.cat([psnr(editor.reconstruct(each, "pt"), bound) for each in inversions]).mean()
        deviation = float(torch.stack([each.latents for each in inversions]).std())
        for guidance in arguments.guidance:
            cells = []
            for kind in range(len(KINDS)):
                scores = []
                for inversion in inversions:
                    edited = editor.edit(
                        inversion,
                        [e["edits"][kind] for e in targets.entries],
                        guidance_scale=guidance,
                        output_type="pt",
                    )
                    features = editor.encode(edited).flatten(1) / editor.pipe.vae.config.scaling_factor
                    pictures = common.to_bytes(edited)
                    scores += [
                        targets.score(entry, kind, picture, feature)
                        for entry, picture, feature in zip(targets.entries, pictures, features, strict=True)
                    ]
                mean = {k: float(np.mean([s[k] for s in scores])) for k in scores[0]}
                cells.append(f"{mean['changed']:.0%}, {mean['kept']:.0%}, {mean['psnr']:.1f} ({mean['unedited']:.1f})")
            print(f"| {name} | {guidance:g} | {again:.1f} | {deviation:.2f} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
