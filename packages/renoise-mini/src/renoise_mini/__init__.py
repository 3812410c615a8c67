"""The model `mini` and the pictures held out of its training, as data with one function.

>>> from diffusers import StableDiffusionPipeline
>>> import renoise_mini
>>> pipeline = StableDiffusionPipeline.from_pretrained(renoise_mini.path(), local_files_only=True)  # doctest: +SKIP
"""

from pathlib import Path

__all__ = ["path"]
__version__ = "0.1.0"

_NAMES = ("mini", "heldout")


def path(name: str = "mini") -> Path:
    """The directory of a bundled resource.

    `mini` is a text-to-image pipeline in diffusers format for pictures of 128 x 128. `heldout` holds pictures that it
    was not trained on, with `captions.jsonl`: one JSON object a line, in an order shuffled once, so that the first few
    are a fair sample.

    Raises:
        ValueError: no resource has that name.
    """
    if name not in _NAMES:
        raise ValueError(f"No bundled resource is called {name!r}; there are: {', '.join(_NAMES)}.")
    return Path(__file__).resolve().parent / name
