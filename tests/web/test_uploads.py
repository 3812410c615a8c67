"""Uploads are read with limits, and errors name them as their owners do."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from renoise import ConfigError, ImageError, RenoiseError, StorageError
from renoise.web.forms import Source
from renoise.web.happenings import Inverted
from renoise.web.limits import Limits
from renoise.web.studio import Studio
from renoise.web.uploads import painted_mask, path_of, read_image, read_inversion, read_mask, require_uploads
from web.conftest import told

LIMITS = Limits(upload_bytes=100_000, pixels=20_000, steps=10)
META = {"_type": "gradio.FileData"}


def layer(size: tuple[int, int], box: tuple[int, int, int, int] | None, alpha: int = 255) -> bytes:
    """A layer as a browser sends it: a stroke on transparency."""
    image = Image.new("RGBA", size)
    if box is not None:
        image.paste((225, 29, 143, alpha), box)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_an_image_is_read_upright_and_in_rgb(tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[274] = 6
    Image.new("L", (20, 10)).save(path, exif=exif)
    image = read_image(str(path), LIMITS)
    assert (image.size, image.mode) == ((10, 20), "RGB")


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (lambda path: path.write_bytes(b"no image"), "cat.png is not an image that can be read"),
        (lambda path: path.write_bytes(b""), "cat.png is empty"),
        (lambda path: path.write_bytes(bytes(100_001)), "cat.png is too large: 100,001 bytes, at most 100,000"),
        (
            lambda path: Image.new("RGB", (200, 101)).save(path),
            "cat.png is too large: 200 x 101 pixels, at most 20,000",
        ),
        (lambda path: Image.new("1", (4000, 4000)).save(path), "cat.png is too large"),  # a bomb of 2 kB
        (lambda path: path.mkdir(), "cat.png is a directory"),
        (lambda path: None, "cat.png is no longer on the server, which keeps files for a while; upload it again"),
    ],
)
def test_what_is_no_small_image_is_refused_by_its_own_name(tmp_path: Path, write: Any, problem: str) -> None:
    path = tmp_path / "cat.png"
    write(path)
    with pytest.raises(ImageError) as caught:
        read_image(str(path), LIMITS)
    assert str(caught.value).startswith(problem)
    assert str(tmp_path) not in str(caught.value)


def test_an_inversion_is_read_and_bounded(tmp_path: Path, studio: Studio, source: Source) -> None:
    (inverted,) = told(studio.invert(source), Inverted)
    path = tmp_path / "red.safetensors"
    inverted.inversion.save(path)
    assert read_inversion(str(path), Limits()).prompts == ["a red square"]
    for limits, problem in (
        (Limits(steps=2), "red.safetensors has 4 steps, at most 2"),
        (Limits(pixels=100), "red.safetensors holds an image of 128 x 128 pixels"),
        (Limits(upload_bytes=100), "red.safetensors is too large"),
    ):
        with pytest.raises(RenoiseError, match=problem) as caught:
            read_inversion(str(path), limits)
        assert str(tmp_path) not in str(caught.value)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError, match=r"^red.safetensors is not a readable inversion"):
        read_inversion(str(path), Limits())


def test_transparent_parts_of_a_mask_stay(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(layer((8, 4), None))
    assert read_mask(str(path), LIMITS).getextrema() == (0, 0)


def test_strokes_of_all_layers_are_the_mask_whatever_their_colour() -> None:
    mask = painted_mask([layer((8, 4), (0, 0, 2, 4)), layer((8, 4), (6, 0, 8, 4), 130)], LIMITS)
    assert mask is not None
    assert list(mask.crop((0, 0, 8, 1)).tobytes()) == [255, 255, 0, 0, 0, 0, 255, 255]


@pytest.mark.parametrize("layers", [[], [layer((8, 4), None)], [layer((8, 4), (0, 0, 2, 2), 60)]])
def test_where_nothing_is_painted_there_is_no_mask(layers: list[bytes]) -> None:
    assert painted_mask(layers, LIMITS) is None


def test_hostile_layers_are_refused() -> None:
    with pytest.raises(ConfigError, match="several sizes"):
        painted_mask([layer((8, 4), (0, 0, 2, 2)), layer((4, 8), (0, 0, 2, 2))], LIMITS)
    with pytest.raises(ImageError, match="the painted mask is too large"):
        painted_mask([layer((200, 101), None)], LIMITS)
    with pytest.raises(ImageError, match="the painted mask has 100,001 bytes"):
        painted_mask([bytes(100_001)], LIMITS)
    with pytest.raises(ImageError, match="the painted mask is not an image"):
        painted_mask([b"<svg/>"], LIMITS)


@pytest.mark.parametrize("payload", ["/etc/passwd", {"path": "/etc/passwd"}, {"path": 5, "meta": META}, 5, ["a"]])
def test_what_is_no_upload_is_refused(payload: Any) -> None:
    with pytest.raises(ConfigError, match="must be uploaded"):
        path_of(payload)


def test_an_upload_has_a_path_and_nothing_has_none() -> None:
    assert path_of({"path": "/tmp/x.png", "meta": META}) == "/tmp/x.png"
    assert path_of(None) is None
    assert path_of({"path": None, "meta": META}) is None


@pytest.mark.parametrize(
    "file",
    [
        {"path": "http://169.254.169.254/latest", "meta": META},
        {"path": "HTTPS://example.org/a.png"},
        {"path": "ftp://example.org/a.png"},
        {"path": "data:image/png;base64,AAAA"},
        {"path": "x.png", "url": "data:image/png;base64,AAAA"},
    ],
)
def test_a_file_with_an_address_is_refused_wherever_it_stands(file: dict[str, Any]) -> None:
    nested: Any = file
    for _ in range(5000):
        nested = [nested]
    for values in ([file], [{"layers": [file]}], nested):
        with pytest.raises(ConfigError, match="address"):
            require_uploads(values)


def test_uploads_have_the_addresses_of_this_server_and_pass() -> None:
    require_uploads([{"path": "/tmp/gradio/a.png", "url": "http://127.0.0.1:7860/file=/tmp/gradio/a.png"}, "http://x"])


def test_an_address_of_this_servers_stands_for_its_file() -> None:
    file = {"path": "http://anywhere:1/gradio_api/file=/tmp/gradio/a%20cat.png", "meta": META}
    require_uploads([[file]])
    assert file["path"] == "/tmp/gradio/a cat.png"
    with pytest.raises(ConfigError, match="address"):
        require_uploads([{"path": "http://anywhere/gradio_api/file=http://elsewhere/a.png"}])
