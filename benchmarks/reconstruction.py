"""How well mini's images survive inversion and reconstruction: the table of the README.

    python benchmarks/reconstruction.py [--limit 32] [--steps 50 20 4] [--iterations 0 1 2 4] [--presets fast balanced]

Every image is inverted with its caption, without guidance, and drawn again from z_T and the noises alone. PSNR is the
mean over the first held-out images, against the image and against the autoencoder's own round trip: the second tells
methods apart when the first has reached the autoencoder's bound. The presets come first, then the paper's iteration: K
= 0 is plain sampler reversing, and every K takes its last prediction alone. Passes are the mean over images.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

import renoise_mini
from renoise import Editor, InversionConfig, Renoising, images
from renoise.config import OWN_VARIANTS, VARIANTS
from renoise.quality import psnr


def main() -> None:
    """Print one row of a Markdown table for each preset, and for each number of steps and iterations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini", help="a bundled model, a directory or a hub name")
    parser.add_argument("--limit", type=int, default=32, help="number of held-out images")
    parser.add_argument("--steps", type=int, nargs="+", default=[50, 20, 4])
    parser.add_argument("--iterations", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--presets", nargs="*", choices=VARIANTS, default=[*OWN_VARIANTS, "paper"])
    parser.add_argument("--batch", type=int, default=16, help="images at a time")
    options = parser.parse_args()

    held_out = renoise_mini.path("heldout")
    entries = [json.loads(line) for line in (held_out / "captions.jsonl").read_text().splitlines()][: options.limit]
    editor = Editor.from_pretrained(options.model)
    batches = [entries[i : i + options.batch] for i in range(0, len(entries), options.batch)]
    encoded = []
    for batch in batches:
        files = [held_out / entry["file"] for entry in batch]
        z_0 = editor.encode(files)
        encoded.append((z_0, editor.decode(z_0, "pt").cpu(), images.to_tensor(editor.fit(files))))
    bound = torch.cat([psnr(round_trip, picture) for _, round_trip, picture in encoded])
    print(f"{len(entries)} held-out images; the autoencoder's round trip: {bound.mean():.1f} dB\n")
    print("| settings | steps | PSNR against the image | against the round trip | passes to invert | s an image |")
    print("| --- | --- | --- | --- | --- | --- |")
    rows = [(f"`{preset}`", editor.config(preset)) for preset in options.presets]
    rows += [
        (f"K = {iterations}", InversionConfig(num_steps=num_steps, renoising=Renoising(iterations)))
        for num_steps in options.steps
        for iterations in options.iterations
    ]
    for label, config in rows:
        to_picture, to_round_trip, passes = [], [], []
        begun = time.perf_counter()
        for batch, (z_0, round_trip, picture) in zip(batches, encoded, strict=True):
            inversion = editor.invert(latents=z_0, prompt=[entry["caption"] for entry in batch], config=config)
            again = editor.reconstruct(inversion, "pt").cpu()
            to_picture.append(psnr(again, picture))
            to_round_trip.append(psnr(again, round_trip))
            passes.append(inversion.passes)
        seconds = (time.perf_counter() - begun) / len(entries)
        print(
            f"| {label} | {config.num_steps} | {torch.cat(to_picture).mean():.1f} | "
            f"{torch.cat(to_round_trip).mean():.1f} | {torch.cat(passes).float().mean():.0f} | {seconds:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
