"""COCO's captions: images whose sides are both above 420 pixels, each with its first caption.

This is the selection on which Garibi et al. (2024, arXiv 2403.14602) measured reconstruction.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from renoise.errors import ConfigError
from renoise.evaluation.data.example import Example, checked
from renoise.evaluation.data.reading import is_file, parse_json, prompt_of, read_text, short

MIN_SIDE = 420
DOWNLOAD = "https://cocodataset.org/#download"


def load(path: Path, limit: int | None = None) -> list[Example]:
    """Load the images of `captions_val2017.json`, or a file of its form, in the order of their ids.

    The images lie beside the file, in `val2017/` beside it or in `../val2017/`, where COCO's archives put them; those
    of `captions_train2017.json` lie in `train2017/`, and so on.

    Raises:
        ConfigError: if the file is not of that form, or images are missing.
    """
    content = parse_json(read_text(path), str(path))
    images = _by_id(_entries(content, "images", {"id": int, "file_name": str, "width": int, "height": int}, path), path)
    captions = _first_captions(_entries(content, "annotations", {"id": int, "image_id": int, "caption": str}, path))
    chosen = [i for _, i in sorted(images.items()) if min(i["width"], i["height"]) > MIN_SIDE][:limit]
    if not chosen:
        raise ConfigError(
            f"none of the {len(images)} images of {path} has both sides above {MIN_SIDE} pixels; "
            f"take captions_val2017.json from {DOWNLOAD}"
        )
    folders = _folders(path)
    return checked(
        [_example(image, captions, folders, path) for image in chosen],
        str(path),
        remedy=f"looked in {', '.join(map(str, folders))}; get the images from {DOWNLOAD} and unpack them there",
    )


def _entries(content: Any, key: str, fields: dict[str, type], path: Path) -> list[dict[str, Any]]:
    """Return the list under `key`, whose entries must have `fields`."""
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ConfigError(
            f"{path} is no COCO captions file: expected an object with lists 'images' and 'annotations'; "
            f"take captions_val2017.json from {DOWNLOAD}, or give a folder for data of another form"
        )
    for number, entry in enumerate(entries):
        for name, wanted in fields.items():
            value = entry.get(name) if isinstance(entry, dict) else None
            # The exact type is compared, because True is an int as well.
            if type(value) is not wanted:
                raise ConfigError(
                    f"{path}, {key}[{number}]: expected {name!r} of type {wanted.__name__}, not {short(value)}; "
                    f"take captions_val2017.json from {DOWNLOAD}"
                )
    return entries


def _by_id(images: list[dict[str, Any]], path: Path) -> dict[int, dict[str, Any]]:
    by_id: dict[int, dict[str, Any]] = {}
    for image in images:
        if image["id"] in by_id:
            raise ConfigError(f"{path} has two images of the id {image['id']}; every id must occur once, so remove one")
        by_id[image["id"]] = image
    return by_id


def _first_captions(annotations: list[dict[str, Any]]) -> dict[int, str]:
    """Return for each image the caption with the lowest annotation id."""
    captions: dict[int, str] = {}
    for annotation in sorted(annotations, key=lambda a: a["id"]):
        captions.setdefault(annotation["image_id"], annotation["caption"])
    return captions


def _folders(path: Path) -> list[Path]:
    split = path.stem.removeprefix("captions_") if path.stem.startswith("captions_") else "val2017"
    beside = path.absolute().parent
    return [beside / split, beside.parent / split, beside]


def _example(image: dict[str, Any], captions: dict[int, str], folders: list[Path], path: Path) -> Example:
    prompt = prompt_of(captions.get(image["id"]), f"{path}: the caption of image {image['id']}")
    places = [folder / image["file_name"] for folder in folders]
    return Example(str(image["id"]), next(filter(is_file, places), places[0]), prompt)
