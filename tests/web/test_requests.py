from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from renoise import ConfigError, StorageError
from renoise.web.limits import Limits
from renoise.web.requests import edit_of, source_of
from web.test_uploads import META, layer

LIMITS = Limits()


def upload(path: Path, name: str | None = None) -> dict[str, Any]:
    return {"path": str(path), "orig_name": name, "meta": META}


def test_an_image_is_called_as_its_owner_calls_it(png_file: Path) -> None:
    assert source_of({"image": upload(png_file, "holiday.jpg")}, LIMITS).name == "holiday.jpg"
    assert source_of({"image": upload(png_file, "../../holiday.jpg")}, LIMITS).name == "holiday.jpg"
    assert source_of({"image": upload(png_file)}, LIMITS).name == "red.png"


def test_without_an_upload_the_page_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="there is no image"):
        source_of({"image": None, "inversion": None}, LIMITS)


def test_a_mask_is_an_upload_or_painted(png_file: Path) -> None:
    values: dict[str, Any] = {"image": upload(png_file), "targets": "a dog"}
    assert edit_of(values, LIMITS).mask is None
    uploaded = edit_of({**values, "mask": upload(png_file)}, LIMITS).mask
    assert uploaded is not None
    assert uploaded.mode == "L"
    painted = {**values, "keep": "painted", "paint": {"id": "x"}}
    request = edit_of(painted, LIMITS, lambda name: [layer((8, 8), (0, 0, 4, 8))])
    assert request.mask is not None
    assert (request.keep, request.mask.getpixel((1, 1)), request.mask.getpixel((6, 1))) == (None, 255, 0)


def test_plain_sampling_has_no_knobs(png_file: Path) -> None:
    values = {"image": upload(png_file), "targets": "a dog", "keep": "plain", "strength": 0.7}
    request = edit_of(values, LIMITS)
    assert (request.strength, request.keep, request.mask) == (None, None, None)


def test_layers_may_be_uploads(png_file: Path, tmp_path: Path) -> None:
    (tmp_path / "layer.png").write_bytes(layer((8, 8), (0, 0, 8, 8)))
    paint = {"background": None, "layers": [None, upload(tmp_path / "layer.png")], "composite": None}
    request = edit_of({"image": upload(png_file), "targets": "a dog", "keep": "painted", "paint": paint}, LIMITS)
    assert request.mask is not None
    assert request.mask.size == (8, 8)


@pytest.mark.parametrize("paint", [None, {}, {"id": "unknown"}, {"layers": []}, "drop", {"id": 7}])
def test_where_nothing_is_painted_that_is_said(png_file: Path, paint: Any) -> None:
    values = {"image": upload(png_file), "targets": "a dog", "keep": "painted", "paint": paint}
    with pytest.raises(ConfigError, match="nothing is painted"):
        edit_of(values, LIMITS, lambda name: [])


def test_an_inversion_goes_before_an_image(tmp_path: Path, png_file: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no inversion")
    with pytest.raises(StorageError, match=r"^x.safetensors is not a readable inversion"):
        source_of({"image": upload(png_file), "inversion": upload(tmp_path / "x.safetensors")}, LIMITS)


def test_what_is_remarked_on_a_file_goes_with_the_request(tmp_path: Path) -> None:
    path = tmp_path / "moving.gif"
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    source = source_of({"image": upload(path)}, LIMITS)
    assert source.remarks == ("moving.gif holds 3 frames; the first is taken.",)
