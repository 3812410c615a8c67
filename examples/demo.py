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
from renoise import Editor, images
from renoise.cli.compare import side_by_side
from renoise.cli.silence import quiet_libraries
from renoise.defaults import EDIT_GUIDANCE
from renoise.quality import psnr

# Which of the held-out images: any will do (--picture 0 to 95).
PICTURE = 7


def main() -> None:
    """Invert one held-out image, draw it again, edit it three ways, and name the images that were written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for the images")
    parser.add_argument("--picture", type=int, default=PICTURE, help="which held-out image")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    held_out = renoise_mini.path("heldout")
    entry = json.loads((held_out / "captions.jsonl").read_text().splitlines()[options.picture])
    print(f"image: {held_out / entry['file']}")
    print(f"caption: {entry['caption']}")
    print("loading the bundled model ...", flush=True)
    with quiet_libraries(print):
        editor = Editor.from_pretrained("mini")

    begun = time.perf_counter()
    print("inverting, reconstructing and editing ...", flush=True)
    source = editor.fit(held_out / entry["file"])
    inversion = editor.invert(source, entry["caption"])
    reconstruction = editor.reconstruct(inversion)
    edits = editor.edit(inversion, entry["edits"], guidance_scale=EDIT_GUIDANCE)
    seconds = time.perf_counter() - begun

    written = {"source.png": source, "reconstruction.png": reconstruction}
    written |= {f"edit-{i}.png": edit for i, edit in enumerate(edits, start=1)}
    titles = ["source", "reconstruction", "edit 1", "edit 2", "edit 3"]
    texts = [entry["caption"], entry["caption"], *entry["edits"]]
    written["comparison.png"] = side_by_side(list(zip(titles, texts, written.values(), strict=True)))
    for name, picture in written.items():
        images.save(picture, options.out / name)

    quality = float(psnr(images.to_tensor([reconstruction]), images.to_tensor([source])))
    print(f"inverted in {inversion.network_passes} network passes; PSNR of the reconstruction: {quality:.1f} dB")
    for i, target in enumerate(entry["edits"], start=1):
        print(f"edit {i}: {target}")
    print(f"{seconds:.0f} s after loading; wrote {', '.join(str(options.out / name) for name in written)}")


if __name__ == "__main__":
    main()
