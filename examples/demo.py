"""The main job in one go: a real image inverted, reconstructed and edited, with the bundled model and no network.

Writes six images into a folder:

    python examples/demo.py --out demo
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import renoise_mini
from renoise import Editor, side_by_side

# Which of the held-out images: any will do (--picture 0 to 95).
IMAGE = 7


def main() -> None:
    """Invert one held-out image, draw it again, edit it three ways, and name the images that were written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for the images")
    parser.add_argument("--picture", type=int, default=IMAGE, help="which held-out image")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    held_out = renoise_mini.path("heldout")
    entry = json.loads((held_out / "captions.jsonl").read_text().splitlines()[options.picture])
    print(f"image: {held_out / entry['file']}")
    print(f"caption: {entry['caption']}")
    print("loading the bundled model ...", flush=True)
    hush()
    editor = Editor.from_pretrained("mini")

    begun = time.perf_counter()
    print("inverting, reconstructing and editing ...", flush=True)
    prepared = editor.prepare(held_out / entry["file"])
    inversion = editor.invert(prepared, entry["caption"])
    latents = editor.reconstruct(inversion, "latent")
    reconstruction = editor.decode(latents)[0]
    edits = editor.edit(inversion, entry["edits"])
    seconds = time.perf_counter() - begun

    written = {"source.png": prepared.images[0], "reconstruction.png": reconstruction}
    written |= {f"edit-{i}.png": edit for i, edit in enumerate(edits, start=1)}
    titles = ["source", "reconstruction", "edit 1", "edit 2", "edit 3"]
    texts = [entry["caption"], entry["caption"], *entry["edits"]]
    written["comparison.png"] = side_by_side(list(zip(titles, texts, written.values(), strict=True)))
    for name, image in written.items():
        image.save(options.out / name)

    true = editor.quality(prepared, editor.decode(latents, "pt"))[0]
    print(
        f"inverted in {inversion.network_passes} network passes; edits start from the image as the autoencoder makes "
        f"it, whose PSNR is {true.image:.1f} dB"
    )
    for i, target in enumerate(entry["edits"], start=1):
        print(f"edit {i}: {target}")
    print(f"{seconds:.0f} s after loading; wrote {', '.join(str(options.out / name) for name in written)}")


def hush() -> None:
    """Keep the libraries' bars and remarks back, because the demo says what it does."""
    # transformers first: importing diffusers makes it talk.
    from transformers.utils import logging as transformers

    transformers.set_verbosity_error()
    transformers.disable_progress_bar()
    from diffusers.utils import logging as diffusers

    diffusers.disable_progress_bar()


if __name__ == "__main__":
    main()
