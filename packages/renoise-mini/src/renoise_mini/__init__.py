"""The models `mini`, `mini-turbo` and `mini-lcm`, and images held out of their training: data with one function.

>>> from diffusers import StableDiffusionPipeline
>>> import renoise_mini
>>> pipeline = StableDiffusionPipeline.from_pretrained(renoise_mini.path(), local_files_only=True)  # doctest: +SKIP
"""

from pathlib import Path

__all__ = ["path"]
__version__ = "0.3.0"

_NAMES = ("mini", "mini-turbo", "mini-lcm", "heldout", "edits")


def path(name: str = "mini") -> Path:
    """The directory of a bundled resource.

    `mini` is a text-to-image pipeline in diffusers format for images of 128 x 128. `mini-turbo` is another, distilled
    from it, that draws in one to four steps without guidance. `mini-lcm` is an LCM-LoRA for `mini`, for
    `pipeline.load_lora_weights`, and the scheduler that goes with it. `heldout` holds images that none of them was
    trained on, with `captions.jsonl`: one JSON object a line, in an order shuffled once, so that the first few are a
    fair sample. `edits` holds drawings of what the edits of these images should become, and of what they could be
    taken for, with `edits.jsonl`: one edit a line.

    Raises:
        ValueError: no resource has that name.
    """
    if name not in _NAMES:
        raise ValueError(f"No bundled resource is called {name!r}; there are: {', '.join(_NAMES)}.")
    return Path(__file__).resolve().parent / name
