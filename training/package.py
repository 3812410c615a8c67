"""Write the models that `renoise-mini` ships: the pipelines in float16, and the LoRA.

    python -m training.package --work training/output --to training/output/models [--from DIRECTORY]
    python -m training.package --student turbo
    python -m training.package --student lcm

Without `--from` the averaged weights of the checkpoints in the work directory are taken. A student is written alone,
beside its teacher: turbo as a pipeline, lcm as LoRA weights and a scheduler. `--to` is the package itself,
`packages/renoise-mini/src/renoise_mini`, once the numbers are better than those of what is shipped.
"""

import argparse
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from training.common import beside, exchange
from training.distil import STUDENTS
from training.distil import averaged as averaged_student
from training.pipeline import assemble

# What may be shipped, in bytes: the UNet and the text encoder of a pipeline, and all models together.
NETWORKS_LIMIT, TOTAL_LIMIT = 40_000_000, 100_000_000
MODELS = ("mini", "mini-turbo", "mini-lcm")


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
    networks = size_of(fresh / "unet") + size_of(fresh / "text_encoder")
    if networks > NETWORKS_LIMIT:
        raise SystemExit(f"UNet and text encoder take {networks:,} bytes; at most {NETWORKS_LIMIT:,} may be shipped.")
    put(fresh, target)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def put(fresh: Path, target: Path) -> None:
    """Exchange the directories, if what would then lie beside the target is small enough to be shipped."""
    total = size_of(fresh) + sum(size_of(target.with_name(name)) for name in MODELS if name != target.name)
    if total > TOTAL_LIMIT:
        raise SystemExit(f"The models take {total:,} bytes together; at most {TOTAL_LIMIT:,} may be shipped.")
    exchange(fresh, target)
    print(f"{target}: {size_of(target):,} bytes, {total:,} with the models beside it")


def write_adapter(pipeline: StableDiffusionPipeline, target: Path) -> None:
    """Save the UNet's LoRA in float16 as `load_lora_weights` reads it, and the scheduler beside it."""
    fresh = beside(target)
    weights = {k: v.half().contiguous() for k, v in get_peft_model_state_dict(pipeline.unet).items()}
    StableDiffusionPipeline.save_lora_weights(fresh, unet_lora_layers=weights)
    (fresh / "pytorch_lora_weights.safetensors").chmod(0o644)
    pipeline.scheduler.save_pretrained(fresh / "scheduler")
    put(fresh, target)


def averaged(work: Path, init: Path) -> StableDiffusionPipeline:
    """Assemble the pipeline from the checkpoints' averages; `init` gives configurations and tokenizer."""
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
    parser.add_argument("--to", type=Path, default=Path("training/output/models"))
    parser.add_argument("--student", choices=STUDENTS, help="write this student, beside its mini")
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


if __name__ == "__main__":
    main()
