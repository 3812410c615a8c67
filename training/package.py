"""Write what `renoise-mini` ships: the pipelines in float16, and the held-out images with the truth of their edits.

    python -m training.package --work training/output --to packages/renoise-mini/src/renoise_mini [--from DIRECTORY]
    python -m training.package --student turbo
    python -m training.package --student lcm

Without `--from` the averaged weights of the checkpoints in the work directory are taken. A student is written alone,
beside its teacher: turbo as a pipeline, lcm as LoRA weights and a scheduler.
"""

import argparse
import io
import json
import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from peft.utils import get_peft_model_state_dict
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from training.common import beside, exchange
from training.data import BACKGROUNDS, STYLES, Drawing, Settings, Splits, Words, lay, load_drawings, load_splits
from training.distil import STUDENTS
from training.distil import averaged as averaged_student
from training.pipeline import assemble
from training.true_results import write_true_results

PICTURES, CONCEPT_PICTURES = 96, 60
LIMIT = 40_000_000


def write_pipeline(pipeline: StableDiffusionPipeline, target: Path) -> None:
    """Save in float16 beside the target, then exchange the directories."""
    fresh = beside(target)
    pipeline.to(torch.float16).save_pretrained(fresh)

    # Transformers 5 leaves out a prefix without which transformers 4 finds no weight, and says so in a warning only.
    weights = fresh / "text_encoder" / "model.safetensors"
    tensors = {k if k.startswith("text_model.") else f"text_model.{k}": v for k, v in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})

    for path in fresh.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
    for path in fresh.rglob("*.json"):
        table = json.loads(path.read_text())
        table.pop("_name_or_path", None)
        if table.get("dtype"):
            # Transformers loads in the dtype named here, diffusers in float32: named alike, the parts fit together.
            table["dtype"] = "float32"
        compact = path.name == "tokenizer.json"
        path.write_text(json.dumps(table, separators=(",", ":")) if compact else json.dumps(table, indent=2) + "\n")
    size = sum(p.stat().st_size for p in fresh.rglob("*") if p.is_file())
    if size > LIMIT:
        raise SystemExit(f"The pipeline takes {size:,} bytes; at most {LIMIT:,} may be shipped.")
    exchange(fresh, target)
    print(f"{target}: {size:,} bytes")


def write_adapter(pipeline: StableDiffusionPipeline, target: Path) -> None:
    """Save the UNet's LoRA in float16 as `load_lora_weights` reads it, and the scheduler beside it."""
    fresh = beside(target)
    weights = {k: v.half().contiguous() for k, v in get_peft_model_state_dict(pipeline.unet).items()}
    StableDiffusionPipeline.save_lora_weights(fresh, unet_lora_layers=weights)
    (fresh / "pytorch_lora_weights.safetensors").chmod(0o644)
    pipeline.scheduler.save_pretrained(fresh / "scheduler")
    size = sum(p.stat().st_size for p in fresh.rglob("*") if p.is_file())
    exchange(fresh, target)
    print(f"{target}: {size:,} bytes")


def held_out_rows(splits: Splits, words: Words) -> list[dict[str, object]]:
    """The held-out images and three edits for each, by rule: another concept, another background, another style."""
    rng = random.Random(Settings().seed + 3)
    backgrounds = list(BACKGROUNDS)
    concepts = [(c, s) for c in splits.held_out_concepts for s in STYLES]
    pairs = list(splits.held_out_pairs)
    chosen = rng.sample(concepts, CONCEPT_PICTURES) + rng.sample(pairs, PICTURES - CONCEPT_PICTURES)
    rng.shuffle(chosen)
    rows: list[dict[str, object]] = []
    for number, (concept, style) in enumerate(chosen):
        background = rng.choice(backgrounds)
        category = next(names for names in words.categories.values() if concept in names)
        trained = [c for c in category if c != concept and splits.split(c, style, background) == "seen"]
        other_concept = rng.choice([c for c in trained if c in splits.concepts])
        other_background = rng.choice([b for b in backgrounds if b != background])
        other_style = rng.choice([s for s in STYLES if s != style and (concept, s) not in pairs])
        rows.append(
            {
                "file": f"{number:02d}-{concept}.png",
                "caption": words.caption(concept, style, background),
                "concept": concept,
                "style": STYLES[style],
                "background": background,
                "split": splits.split(concept, style, background),
                "edits": [
                    words.caption(other_concept, style, background),
                    words.caption(concept, style, other_background),
                    words.caption(concept, other_style, background),
                ],
            }
        )
    return rows


def write_held_out(work: Path, target: Path) -> None:
    splits, words = load_splits(work), Words()
    drawings, positions = load_drawings(work)
    packages = {name: style for style, name in STYLES.items()}
    fresh = beside(target)
    rows = held_out_rows(splits, words)
    for row in rows:
        drawing = drawings[positions[Drawing(str(row["concept"]), packages[str(row["style"])])]]
        buffer = io.BytesIO()
        Image.fromarray(lay(drawing, str(row["background"]))).save(buffer, "PNG", optimize=True)
        (fresh / str(row["file"])).write_bytes(buffer.getvalue())
    (fresh / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    exchange(fresh, target)
    print(f"{target}: {len(rows)} images")


def averaged(work: Path, init: Path) -> StableDiffusionPipeline:
    """The pipeline from the averaged weights of the checkpoints; `init` gives configurations and tokenizer."""
    vae = AutoencoderKL.from_pretrained(work / "vae")
    state = torch.load(work / "text_to_image.pt", map_location="cpu", weights_only=True)["average"]["shadow"]
    unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(init / "unet"))
    unet.load_state_dict(state["unet"])
    text_encoder = CLIPTextModel(CLIPTextModel.config_class.from_pretrained(init / "text_encoder"))
    text_encoder.load_state_dict(state["text_encoder"])
    return assemble(vae, unet, text_encoder, CLIPTokenizer.from_pretrained(init / "tokenizer"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("training/output"))
    parser.add_argument("--to", type=Path, default=Path("packages/renoise-mini/src/renoise_mini"))
    parser.add_argument("--student", choices=STUDENTS, help="write this student of the shipped mini, and nothing else")
    parser.add_argument("--from", dest="source", type=Path, help="a pipeline's directory to ship as it is")
    arguments = parser.parse_args()
    if arguments.student:
        student = averaged_student(arguments.student, arguments.work, arguments.to / "mini")
        write = write_adapter if arguments.student == "lcm" else write_pipeline
        write(student, arguments.to / f"mini-{arguments.student}")
        return
    if arguments.source:
        pipeline = StableDiffusionPipeline.from_pretrained(arguments.source, local_files_only=True)
    else:
        pipeline = averaged(arguments.work, arguments.work / "text_to_image")
    write_pipeline(pipeline, arguments.to / "mini")
    write_held_out(arguments.work, arguments.to / "heldout")
    write_true_results(arguments.work, arguments.to / "edits")


if __name__ == "__main__":
    main()
