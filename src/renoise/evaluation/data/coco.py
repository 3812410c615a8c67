"""COCO's captions: images whose sides are both above 420 pixels, each with its first caption.

This is the selection on which Garibi et al. (2024, arXiv 2403.14602) measured reconstruction.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from renoise.errors import ConfigError
from renoise.evaluation.data.reading import Example, checked, is_file, parse_json, prompt_of, read_text, shaped

MIN_SIDE = 420
DOWNLOAD = "https://cocodataset.org/#download"


class _Image(msgspec.Struct):
    id: int
    file_name: str
    width: int
    height: int


class _Caption(msgspec.Struct):
    id: int
    image_id: int
    caption: str


class _Content(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Caption]


def load(path: Path, limit: int | None = None) -> list[Example]:
    """Load the images of `captions_val2017.json`, or a file of its form, in the order of their ids.

    The images lie beside the file, in `val2017/` beside it or in `../val2017/`, where COCO's archives put them; those
    of `captions_train2017.json` lie in `train2017/`, and so on.
    """
    remedy = f"take captions_val2017.json from {DOWNLOAD}, or give a folder for data of another form"
    content = shaped(parse_json(read_text(path), str(path)), _Content, f"{path} is no COCO captions file", remedy)
    images = {image.id: image for image in content.images}
    if len(images) < len(content.images):
        again = next(image.id for image in content.images if images[image.id] is not image)
        problem = f"{path} has two images of the id {again}"
        raise ConfigError(problem, argument="source", remedy="every id must occur once, so remove one")
    # The first caption is that with the lowest id.
    captions = {c.image_id: c.caption for c in sorted(content.annotations, key=lambda c: c.id, reverse=True)}
    chosen = [i for _, i in sorted(images.items()) if min(i.width, i.height) > MIN_SIDE][:limit]
    if not chosen:
        raise ConfigError(
            f"none of the {len(images)} images of {path} has both sides above {MIN_SIDE} pixels",
            argument="source",
            remedy=f"take captions_val2017.json from {DOWNLOAD}",
        )
    split = path.stem.removeprefix("captions_") if path.stem.startswith("captions_") else "val2017"
    beside = path.absolute().parent
    folders = [beside / split, beside.parent / split, beside]
    examples: list[Example] = []
    for image in chosen:
        prompt = prompt_of(captions.get(image.id), f"{path}: the caption of image {image.id}")
        places = [folder / image.file_name for folder in folders]
        examples.append(Example(str(image.id), next(filter(is_file, places), places[0]), prompt))
    looked = f"looked in {', '.join(map(str, folders))}; get the images from {DOWNLOAD} and unpack them there"
    return checked(examples, str(path), remedy=looked)
