"""Sample the scenes of training and write their captions, with those of one edit each, as token ids.

    python -m training.captions --work training/output [--scenes 300000]

`--from DIRECTORY` takes the tokenizer of a finished pipeline; without it one is learnt from the captions.
"""

import argparse
from pathlib import Path

import numpy as np
from transformers import CLIPTokenizer

from training.data import save_array
from training.scenes import Sampler, Scenes
from training.text_encoder import POSITIONS, learn_tokenizer

SEED = 6


def token_ids(tokenizer: CLIPTokenizer, captions: list[str]) -> np.ndarray:
    """Return the token ids of captions (N, 32), in 16 bits."""
    ids = tokenizer(captions, padding="max_length", max_length=POSITIONS, truncation=True).input_ids
    return np.asarray(ids, np.int16)


def write_captions(work: Path, said: list[Scenes], source: Path | None) -> None:
    """Save captions of the same images as token ids, and the tokenizer: learnt from them, or that of a pipeline."""
    unique = sorted({caption for scenes in said for caption in scenes.captions})
    number = {caption: i for i, caption in enumerate(unique)}
    numbers = [np.array([number[c] for c in scenes.captions], np.int32)[scenes.caption] for scenes in said]
    tokenizer = CLIPTokenizer.from_pretrained(source / "tokenizer") if source else learn_tokenizer(unique)
    tokenizer.save_pretrained(work / "tokenizer")
    save_array(work / "ids.npy", token_ids(tokenizer, unique))
    save_array(work / "captions.npy", np.stack(numbers, 1))
    print(f"{len(unique)} captions, {len(tokenizer)} tokens", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("training/output"))
    parser.add_argument("--scenes", type=int, default=60_000)
    parser.add_argument("--from", dest="source", type=Path, help="a pipeline whose tokenizer is taken")
    arguments = parser.parse_args()
    sampler = Sampler(arguments.work)
    scenes = sampler.sample(arguments.scenes, SEED)
    write_captions(arguments.work, [scenes, sampler.edited(scenes, SEED)], arguments.source)


if __name__ == "__main__":
    main()
