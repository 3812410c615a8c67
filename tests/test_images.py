"""Images of every kind come in right, and what is no image is refused in one line."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from renoise import ConfigError, ImageError, images
from renoise.quality import psnr

RED = (255, 0, 0)


def corners(picture: Image.Image) -> list[Any]:
    width, height = picture.size
    return [picture.getpixel(xy) for xy in ((0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1))]


@pytest.fixture
def quarters() -> Image.Image:
    """40 x 20: red and green above, blue and white below."""
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[:10, :20], pixels[:10, 20:], pixels[10:, :20], pixels[10:, 20:] = RED, (0, 255, 0), (0, 0, 255), 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".webp", ".jpg"])
def test_saved_pictures_come_back(quarters: Image.Image, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"q{suffix}"
    images.save(quarters, path)
    loaded = images.load(path)
    assert loaded.mode == "RGB"
    difference = np.abs(np.asarray(loaded, dtype=int)[2:8, 2:18] - np.asarray(quarters, dtype=int)[2:8, 2:18])
    assert difference.max() <= (0 if suffix in (".png", ".bmp", ".tiff") else 12)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_arrays_and_tensors_are_the_same_picture(quarters: Image.Image) -> None:
    array = np.asarray(quarters)
    forms: list[Any] = [
        quarters,
        array,
        array.astype(np.float32) / 255,
        torch.from_numpy(array.copy()).permute(2, 0, 1),
        torch.from_numpy(array.copy()).permute(2, 0, 1) / 255,
        torch.from_numpy(array.copy()).permute(2, 0, 1).to(torch.bfloat16) / 255,
    ]
    for form in forms:
        assert np.array_equal(np.asarray(images.load(form)), array)


def test_batches_are_told_from_pictures(quarters: Image.Image) -> None:
    array = np.asarray(quarters)
    assert images.load_all(quarters)[1] is False
    assert images.load_all([quarters])[1] is True
    for batch in (np.stack([array, array]), torch.zeros(2, 3, 8, 8)):
        pictures, batched = images.load_all(batch)
        assert batched
        assert len(pictures) == 2


def test_exif_orientation_is_applied(quarters: Image.Image, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    quarters.save(tmp_path / "turned.png", exif=exif)
    loaded = images.load(tmp_path / "turned.png")
    assert loaded.size == (20, 40)
    assert corners(loaded)[1] == RED


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_laid_over_white(mode: str, tmp_path: Path) -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0)).convert(mode)
    assert images.load(clear).getpixel((0, 0)) == (255, 255, 255)


def test_a_transparent_palette_entry_is_white(tmp_path: Path) -> None:
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.putpixel((1, 1), 1)
    picture.save(tmp_path / "p.png", transparency=0)
    loaded = images.load(tmp_path / "p.png")
    assert loaded.getpixel((0, 0)) == (255, 255, 255)
    assert loaded.getpixel((1, 1)) == RED


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "HSV"])
def test_other_modes_become_rgb(quarters: Image.Image, mode: str) -> None:
    loaded = images.load(quarters.convert(mode))
    assert loaded.mode == "RGB"
    assert loaded.size == quarters.size


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    loaded = np.asarray(images.load(tmp_path / "deep.png"))[..., 0]
    assert np.abs(loaded.astype(int) - np.arange(256).reshape(16, 16)).max() <= 1


@pytest.mark.parametrize("mode", ["F", "I"])
def test_grey_of_other_widths_keeps_its_values(mode: str) -> None:
    grey = Image.new("L", (4, 4), 100)
    assert images.load(grey.convert(mode)).getpixel((0, 0)) == (100, 100, 100)


def test_grey_beyond_every_scale_is_refused() -> None:
    for mode, value in (("F", 300.0), ("F", -1.0), ("I", 70_000)):
        with pytest.raises(ImageError, match="grey values"):
            images.load(Image.new(mode, (4, 4), value))


def test_a_palette_with_transparency_of_its_own_is_laid_over_white() -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0)).quantize(4)
    assert images.load(clear).getpixel((4, 4)) == (255, 255, 255)


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, (0, 0, 255))]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert images.load(tmp_path / "a.gif").getpixel((4, 4)) == RED


def test_cropping_keeps_the_middle(quarters: Image.Image) -> None:
    square = images.crop_to(quarters, (20, 20))
    assert square.size == (20, 20)
    assert np.array_equal(np.asarray(square), np.asarray(quarters)[:, 10:30])
    assert images.crop_to(quarters, (8, 12)).size == (12, 8)


SIDES = st.integers(1, 300)
SIZES = st.tuples(SIDES, SIDES)


def noisy(size: tuple[int, int]) -> Image.Image:
    """An image of (height, width) in which no two places are alike."""
    return Image.fromarray(np.random.default_rng(size).integers(0, 256, (*size, 3), dtype=np.uint8))


@given(original=SIZES, size=SIZES, mode=st.sampled_from(images.FITS), multiple=st.sampled_from([1, 8, 64]))
@example(original=(1, 5000), size=(64, 64), mode="pad", multiple=8)
@example(original=(5000, 1), size=(64, 96), mode="pad", multiple=8)
@example(original=(1, 5000), size=(64, 64), mode="crop", multiple=8)
@example(original=(5000, 1), size=(64, 96), mode="stretch", multiple=8)
@example(original=(1, 5000), size=(64, 64), mode="keep", multiple=64)
@settings(max_examples=150, deadline=None)
def test_every_picture_fits_every_model(
    original: tuple[int, int], size: tuple[int, int], mode: str, multiple: int
) -> None:
    picture = noisy(original)
    fitted, fit = images.fit_to(picture, size, mode, multiple)
    seen = (fitted.height, fitted.width)
    assert (fit.mode, fit.original_size, fitted.mode) == (mode, original, "RGB")
    assert images.refit(picture, fit, seen).tobytes() == fitted.tobytes()
    back = images.unfit(fitted, fit)
    if mode == "keep":
        assert all(
            side % multiple == 0 and 0 <= side - own < multiple for side, own in zip(seen, original, strict=True)
        )
        assert back.tobytes() == picture.tobytes()
    else:
        assert seen == size
    if mode in ("crop", "stretch"):
        assert fit.box is None
        assert back is fitted
        return
    assert (back.height, back.width) == original
    assert fit.box is not None
    top, left, height, width = fit.box
    assert min(height, width) >= 1
    assert min(top, left) >= 0
    assert top + height <= seen[0]
    assert left + width <= seen[1]
    # What is filled continues the edges: the image, held to its box, is the image.
    rows = np.clip(np.arange(seen[0]), top, top + height - 1)
    columns = np.clip(np.arange(seen[1]), left, left + width - 1)
    assert np.array_equal(np.asarray(fitted)[rows][:, columns], np.asarray(fitted))


@given(original=SIZES, size=SIZES)
def test_padding_is_the_least_possible_and_keeps_the_shape(original: tuple[int, int], size: tuple[int, int]) -> None:
    _, fit = images.fit_to(Image.new("RGB", original[::-1]), size, "pad")
    assert fit.box is not None
    top, left, height, width = fit.box
    assert height == size[0] or width == size[1]
    scale = min(size[0] / original[0], size[1] / original[1])
    assert abs(height - original[0] * scale) <= 1
    assert abs(width - original[1] * scale) <= 1
    assert abs(size[0] - height - 2 * top) <= 1
    assert abs(size[1] - width - 2 * left) <= 1


def test_a_picture_of_the_models_size_is_left_alone(quarters: Image.Image) -> None:
    for mode in images.FITS:
        fitted, fit = images.fit_to(quarters, (20, 40), mode, multiple=20)
        assert fitted.tobytes() == quarters.tobytes()
        assert images.unfit(fitted, fit).tobytes() == quarters.tobytes()


def test_cropping_is_the_default(quarters: Image.Image) -> None:
    fitted, fit = images.fit_to(quarters, (8, 8))
    assert fit == images.Fit("crop", (20, 40))
    assert fitted.tobytes() == images.crop_to(quarters, (8, 8)).tobytes()


def test_what_is_inside_the_box_comes_back(quarters: Image.Image) -> None:
    for size in ((64, 64), (32, 40), (200, 60)):
        fitted, fit = images.fit_to(quarters, size, "pad")
        back = np.asarray(images.unfit(fitted, fit), dtype=int)
        assert np.abs(back - np.asarray(quarters, dtype=int)).mean() < 20


def test_another_version_of_the_picture_fits_in_the_same_place(quarters: Image.Image) -> None:
    larger = quarters.resize((400, 200), Image.Resampling.NEAREST)
    for mode, seen in (("pad", (64, 64)), ("keep", (24, 40)), ("crop", (16, 16)), ("stretch", (16, 16))):
        fitted, fit = images.fit_to(quarters, seen, mode)
        again = images.refit(larger, fit, (fitted.height, fitted.width))
        difference = np.abs(np.asarray(again, dtype=int) - np.asarray(fitted, dtype=int))
        assert difference.mean() < 12
        assert again.size == fitted.size


def test_latents_had_no_picture_and_are_compared_with_the_middle(quarters: Image.Image) -> None:
    fit = images.Fit("latents", (16, 16))
    assert images.refit(quarters, fit, (16, 16)).tobytes() == images.crop_to(quarters, (16, 16)).tobytes()
    assert images.unfit(quarters, fit) is quarters


@pytest.mark.parametrize("mode", ["zoom", "", "Crop", "latents"])
def test_unknown_fits_are_refused(quarters: Image.Image, mode: str) -> None:
    with pytest.raises(ConfigError, match="unknown; use one of crop, pad, stretch, keep"):
        images.fit_to(quarters, (8, 8), mode)
    if mode != "latents":
        with pytest.raises(ConfigError, match="unknown"):
            images.refit(quarters, images.Fit(mode, (20, 40)), (8, 8))


def test_tensors_and_pictures_are_inverse(quarters: Image.Image) -> None:
    pixels = images.to_tensor([quarters, quarters])
    assert pixels.shape == (2, 3, 20, 40)
    assert (float(pixels.min()), float(pixels.max())) == (0.0, 1.0)
    assert np.array_equal(np.asarray(images.to_pictures(pixels)[1]), np.asarray(quarters))


def test_psnr() -> None:
    a = torch.zeros(2, 3, 4, 4)
    b = torch.stack([a[0], a[0] + 0.1])
    values = psnr(a, b)
    assert torch.isinf(values[0])
    assert float(values[1]) == pytest.approx(20.0, abs=1e-4)


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that claims to be of that size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_files_that_are_no_pictures_are_refused(quarters: Image.Image, tmp_path: Path) -> None:
    images.save(quarters, tmp_path / "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    bad = {
        "empty.png": (b"", "is empty"),
        "text.png": (b"not an image", "not an image"),
        "cut.png": (whole[: len(whole) // 2], "damaged or cut short"),
        "bomb.png": (png_of_size(50_000, 50_000), "too large"),
        "big.png": (png_of_size(16_000, 16_000), "too large"),
    }
    for name, (content, message) in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=message) as caught:
            images.load(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match="no file"):
        images.load(tmp_path / "missing.png")
    with pytest.raises(ImageError, match="directory"):
        images.load(tmp_path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "must be a path"),
        (7, "must be a path"),
        (np.zeros((4, 4, 2)), r"must be \(H, W, 3\)"),
        (np.zeros((0, 4, 3)), "must be"),
        (np.full((4, 4, 3), np.nan), "NaN"),
        (np.full((4, 4, 3), 255.0), r"\[0, 1\]"),
        (np.full((4, 4, 3), -0.5), r"\[0, 1\]"),
        (np.zeros((4, 4, 3), dtype=np.int64), "uint8"),
        (torch.zeros(5, 5, 3), r"\(3, H, W\)"),
    ],
)
def test_values_that_are_no_pictures_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        images.load(value)


QUANTIZED = torch.quantize_per_tensor(torch.zeros(3, 4, 4), 0.1, 0, torch.quint8)


@pytest.mark.filterwarnings("ignore:.*nested tensors")
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(3, 4, 4).to_sparse(), "not a sparse one; give tensor.to_dense"),
        (torch.zeros(2, 3, 4, 4).to_sparse(), "not a sparse one"),
        (torch.zeros(4, 4).to_sparse_csr(), "not a sparse one"),
        (torch.zeros(3, 4, 4, device="meta"), "not a meta one"),
        (torch.zeros(2, 3, 4, 4, device="meta"), "not a meta one"),
        (QUANTIZED, "not a quantized one; give tensor.dequantize"),
        (torch.nested.nested_tensor([torch.zeros(3, 4, 4), torch.zeros(3, 5, 5)]), "not a nested one"),
        (torch.zeros(3, 4, 4, dtype=torch.complex64), "uint8"),
        (torch.zeros(3, 4, 4, dtype=torch.bool), "uint8"),
        (torch.zeros(3, 4, 4, dtype=torch.int8), "uint8"),
        (torch.zeros(3, 0, 4), "must be"),
        (torch.zeros(()), "must be"),
        (torch.full((3, 4, 4), torch.inf), "NaN or infinity"),
        (np.zeros((4, 4, 3), dtype=complex), "uint8"),
        (np.zeros((4, 4, 3), dtype=bool), "uint8"),
        (np.zeros((4, 4, 3), dtype=object), "uint8"),
        (np.zeros((4, 4, 3), dtype="U3"), "uint8"),
        (np.zeros((4, 4), dtype=[("red", "u1"), ("green", "u1")]), "uint8"),
        (np.zeros((4, 4, 3), dtype="M8[s]"), "uint8"),
        (np.array(5, dtype=np.uint8), "must be"),
        (np.ma.masked_greater(np.arange(48.0).reshape(4, 4, 3) / 48, 0.5), "masked values; fill them"),
    ],
)
def test_unusual_tensors_and_arrays_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        images.load_all(value)


def test_unusual_tensors_and_arrays_that_hold_an_image(quarters: Image.Image) -> None:
    array = np.asarray(quarters)
    share = array.astype(np.float32) / 255
    tensor = torch.from_numpy(share).permute(2, 0, 1)
    forms: list[Any] = [
        share.astype(">f4"),
        share.astype(">f2"),
        share.astype(np.float64),
        share.astype(np.longdouble),
        array[::-1, ::-1].copy()[::-1, ::-1],
        np.asfortranarray(array),
        np.ma.array(array),
        tensor.clone().requires_grad_(),
        tensor.half(),
        tensor.double(),
        torch.nn.Parameter(tensor.clone()),
        torch.complex(tensor, tensor).conj().real,
        -torch.complex(tensor, tensor).conj().imag,
        tensor.expand(3, 20, 40),
    ]
    for form in forms:
        assert np.abs(np.asarray(images.load(form)).astype(int) - array).max() <= 0


@pytest.mark.parametrize(
    "view",
    [
        np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (60_000, 60_000, 3)),
        np.broadcast_to(np.float64(0.5), (60_000, 60_000)),
        np.lib.stride_tricks.as_strided(np.zeros(3), (60_000, 60_000, 3), (0, 0, 8)),
        np.broadcast_to(np.zeros((1, 1, 1, 3), np.uint8), (100_000, 1_000, 1_000, 3)),
        torch.zeros(3, 1, 1).expand(3, 60_000, 60_000),
        torch.zeros(1).expand(60_000, 60_000),
        torch.zeros(1, 3, 1, 1).expand(100_000, 3, 1_000, 1_000),
    ],
    ids=["array", "grey", "strides", "batch", "tensor", "grey tensor", "batch tensor"],
)
def test_views_that_are_too_large_are_refused_before_they_are_copied(view: Any) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="too large"):
            images.load_all(view)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("empty", [[], np.zeros((0, 4, 4, 3)), torch.zeros(0, 3, 4, 4)])
def test_empty_batches_are_refused(empty: Any) -> None:
    with pytest.raises(ImageError, match="empty"):
        images.load_all(empty)


@pytest.mark.parametrize("name", ["x" * 5000 + ".png", "x\0y.png"])
def test_names_that_no_file_can_have_are_refused(quarters: Image.Image, tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError):
        images.save(quarters, tmp_path / name)
    with pytest.raises(ImageError):
        images.load(tmp_path / name)


def test_what_a_format_cannot_hold_is_refused(quarters: Image.Image, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="try another format"):
        images.save(Image.new("RGB", (17_000, 1)), tmp_path / "wide.webp")
    with pytest.raises(ImageError, match="try another format"):
        images.save(quarters.convert("RGBA"), tmp_path / "clear.jpg")
    assert list(tmp_path.iterdir()) == []


def test_unwritable_targets_are_refused_beforehand(quarters: Image.Image, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    for target, message in [
        (tmp_path / "q.xyz", "extension"),
        (tmp_path / "q", "extension"),
        (tmp_path / "none" / "q.png", "does not exist"),
        (tmp_path / "folder.png", "is a directory"),
    ]:
        with pytest.raises(ImageError, match=message):
            images.save(quarters, target)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.png"]


def test_a_file_can_be_bounded_further(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.new("RGB", (11, 10)).save(path)
    assert images.load(path, max_pixels=110).size == (11, 10)
    with pytest.raises(ImageError, match="is too large: 11 x 10 pixels, at most 109; scale it down first"):
        images.load(path, max_pixels=109)
