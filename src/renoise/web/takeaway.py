"""What a client takes away: the inversion, each edit with its settings in it, and the equal command line."""

from __future__ import annotations

import io
import json
import re
import secrets
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from renoise import __version__
from renoise.config import DEFAULT_VARIANT
from renoise.edit_rules.changes import KEEP
from renoise.files import write_atomically
from renoise.inversion import Inversion
from renoise.web.forms import EditRequest, Source
from renoise.web.studio import Loaded

# The text of a PNG that holds its settings.
KEY = "renoise"
# A name of more characters is cut, so that a folder and a suffix fit in beside it.
_LONGEST = 40


class Folder:
    """A folder for the files of one request, with a name that nobody guesses.

    Args:
        parent: where it is made when the first file is written.
    """

    def __init__(self, parent: Path) -> None:
        self._path = parent / secrets.token_urlsafe(16)

    def write_image(self, image: Image.Image, name: str, record: Mapping[str, Any] | None = None) -> str:
        """Write a PNG with its settings in it, and return its path."""
        return self._write(f"{name}.png", png(image, record))

    def write_inversion(self, inversion: Inversion, name: str) -> str:
        """Write an inversion, and return its path.

        Raises:
            StorageError: if it cannot be written.
        """
        path = self._made() / f"{name}.safetensors"
        inversion.save(path)
        return str(path)

    def _made(self) -> Path:
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._path

    def _write(self, name: str, data: bytes) -> str:
        path = self._made() / name
        write_atomically(path, data)
        return str(path)


def png(image: Image.Image, record: Mapping[str, Any] | None = None) -> bytes:
    """Return an image as the bytes of a PNG, with its settings as JSON in the text `renoise`.

    Examples:
        >>> data = png(Image.new("RGB", (2, 2)), {"target": "a dog"})
        >>> settings_in(data)["target"]
        'a dog'
    """
    texts = PngImagePlugin.PngInfo()
    if record is not None:
        texts.add_itxt(KEY, json.dumps({"version": __version__, **record}, sort_keys=True))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=texts)
    return buffer.getvalue()


def settings_in(data: bytes) -> dict[str, Any]:
    """Return the settings in the bytes of a PNG of the page; empty if there are none."""
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        text = image.info.get(KEY)
    found = json.loads(text) if isinstance(text, str) else {}
    return found if isinstance(found, dict) else {}


def stem(text: str) -> str:
    """Return a prompt or a file's name as part of a file's name.

    Examples:
        >>> stem("A dog, noto style!"), stem("../../etc/passwd"), stem("")
        ('a-dog-noto-style', 'etc-passwd', 'image')
    """
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).lower())
    return "-".join(words)[:_LONGEST].strip("-") or "image"


def command(request: EditRequest, loaded: Loaded, mask_name: str = "mask.png") -> str:
    """Return the command line that draws the same edits.

    It names the uploaded file as its owner does, and the mask by the name under which it is offered. A seed, a preset
    and the like stand in it only where they are not the default.

    Args:
        request: what was asked for.
        loaded: how the page's model was loaded.
        mask_name: the file of the mask, where there is one.
    """
    source = request.source
    words = ["renoise", "edit", _file(source.name), "--model", loaded.model, *loaded.options]
    words += _of_inverting(source, loaded.preset)
    words += [word for target in request.targets for word in ("--to", target)]
    if request.strength is not None:
        words += ["--strength", f"{request.strength:.12g}"]
    if request.keep not in (None, KEEP[0]):
        words += ["--keep", str(request.keep)]
    if request.mask is not None:
        words += ["--mask", mask_name]
    if request.guidance is not None:
        words += ["--guidance", f"{request.guidance:.12g}"]
    if request.negative_prompt is not None:
        words += ["--negative-prompt", request.negative_prompt]
    words += ["-o", "edits/" if len(request.targets) > 1 else "edit.png"]
    return shlex.join(words)


def _of_inverting(source: Source, model: str | None) -> list[str]:
    if source.inversion is not None:
        return []
    variant = None if source.preset == DEFAULT_VARIANT else source.preset
    options: Sequence[tuple[str, object]] = (
        ("--preset", ":".join(filter(None, (model, variant))) or None),
        ("--steps", source.steps),
        ("--renoise", source.iterations),
        ("--seed", source.seed or None),
        ("--fit", None if source.fit == "crop" else source.fit),
    )
    given = [word for option, value in options if value is not None for word in (option, str(value))]
    return ["--prompt", source.prompt, *given]


def _file(name: str) -> str:
    """Return a file's name so that it is no option."""
    return f"./{name}" if name.startswith("-") else name
