"""Masks: read whatever they are, fitted as their images were, and hard ones stay hard."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from renoise import ConfigError, ImageError, RenoiseError, RenoiseWarning
from renoise.images import Fit, fit_to
from renoise.masks import Mask, at_latents, composite, load, opacity, read

SIZE = (128, 128)


def left_half(width: int, height: int, white: int = 255) -> Image.Image:
    """An image in mode L whose left half is white."""
    drawn = Image.new("L", (width, height))
    drawn.paste(white, (0, 0, width // 2, height))
    return drawn


def levels(mask: Any) -> list[int]:
    """Return the levels that a mask is read with, in [0, 255]."""
    (grey,) = load(mask)
    return sorted({int(level) for level in np.asarray(grey).flat})


def transparent() -> Image.Image:
    drawn = Image.new("RGBA", (100, 80), (255, 255, 255, 0))
    drawn.paste((255, 255, 255, 255), (0, 0, 50, 80))
    return drawn


MODES: dict[str, Image.Image] = {
    "grey": left_half(100, 80),
    "bits": left_half(100, 80).convert("1"),
    "palette": left_half(100, 80).convert("P"),
    "colours": left_half(100, 80).convert("RGB"),
    "transparent": transparent(),
    "clear palette": transparent().convert("P"),
    "inks": left_half(100, 80).convert("RGB").convert("CMYK"),
    "16 bits": Image.fromarray(np.asarray(left_half(100, 80)).astype(np.uint16) * 257),
    "numbers": Image.fromarray(np.asarray(left_half(100, 80)).astype(np.float32)),
}


@pytest.mark.parametrize("mode", MODES)
def test_files_of_every_mode_are_read(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("mask.tif" if mode in ("inks", "numbers") else "mask.png")
    MODES[mode].save(path)
    (mask,) = read(path, [Fit("stretch", (80, 100))], SIZE)
    assert torch.equal(mask.seen, mask.shown)
    assert (float(mask.seen[..., :64].min()), float(mask.seen[..., 64:].max())) == (1.0, 0.0)


def test_arrays_and_tensors_are_read() -> None:
    white = np.zeros((80, 100), bool)
    white[:, :50] = True
    for kind in (white, white.astype(np.uint8) * 255, white.astype(np.float64), torch.tensor(white), white[..., None]):
        assert levels(kind) == [0, 255]
    assert levels(torch.full((1, 80, 100), 0.5)) == [128]
    assert len(load(torch.rand(3, 1, 8, 8))) == 3


def test_colours_count_by_luminance_and_turned_images_are_upright(tmp_path: Path) -> None:
    assert levels(Image.new("RGB", (4, 4), "lime")) == [150]
    exif = Image.Exif()
    exif[0x0112] = 6
    left_half(80, 100).save(tmp_path / "turned.png", exif=exif)
    (grey,) = load(tmp_path / "turned.png")
    assert grey.size == (100, 80)


@pytest.mark.parametrize("scale", [0.2, 0.5, 1.0, 1.37, 3.0])
@pytest.mark.parametrize("mode", ["crop", "pad", "stretch", "keep"])
def test_a_mask_of_any_size_is_fitted_as_the_image_was(mode: str, scale: float) -> None:
    image = left_half(101, 67).convert("RGB")
    fitted, fit = fit_to(image, SIZE, mode)
    size = fitted.size[::-1]
    mask = left_half(round(101 * scale), round(67 * scale))
    (found,) = read(mask, [fit], size)
    assert found.seen.shape == (1, *size)
    assert found.shown.shape == (1, *(fit.original_size if mode in ("pad", "keep") else size))
    assert set(found.seen.flatten().tolist()) == {0.0, 1.0}
    assert set(found.shown.flatten().tolist()) == {0.0, 1.0}
    # It lies where the white half of the image lies, but for a pixel at the edge.
    drawn = torch.tensor(np.asarray(fitted.convert("L"))) / 255.0
    slack = 2 / 101 + 2 / mask.width
    assert (found.seen[0] - (drawn > 0.5).float()).abs().mean() <= slack


def test_a_mask_of_the_models_image_is_taken_as_it_is() -> None:
    _, fit = fit_to(Image.new("RGB", (200, 100)), SIZE, "pad")
    (found,) = read(left_half(256, 256), [fit], SIZE)
    assert torch.equal(found.seen[..., :64], torch.ones(1, 128, 64))
    assert torch.equal(found.shown[..., :100], torch.ones(1, 100, 100))
    assert (found.shown.shape, float(found.shown[..., 100:].max())) == ((1, 100, 200), 0.0)


def test_a_mask_in_the_originals_size_comes_back_pixel_by_pixel() -> None:
    drawn = (np.random.default_rng(0).random((67, 101)) > 0.5).astype(np.uint8) * 255
    for mode in ("pad", "keep"):
        fitted, fit = fit_to(Image.new("RGB", (101, 67)), SIZE, mode)
        (found,) = read(drawn, [fit], fitted.size[::-1])
        assert torch.equal(found.shown[0], torch.from_numpy(drawn) / 255.0)


def test_grey_levels_stay_grey() -> None:
    (found,) = read(left_half(64, 64, 100), [Fit("crop", (64, 64))], SIZE)
    assert float(found.seen.max()) == pytest.approx(100 / 255)
    assert len(set(found.seen.flatten().tolist())) > 2


@pytest.mark.parametrize("size", [(128, 64), (100, 90), (1, 2), (3000, 1000)])
def test_another_shape_is_refused_with_both_sizes(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=rf"mask is {size[0]} x {size[1]} and the image 100 x 80") as caught:
        read(Image.new("L", size, 255), [Fit("crop", (80, 100))], SIZE)
    assert (caught.value.argument, "\n" in str(caught.value)) == ("mask", False)


@pytest.mark.parametrize("count", [2, 3])
def test_a_list_has_one_for_each_image(count: int) -> None:
    fits = [Fit("crop", (8, 8)), Fit("crop", (16, 16))]
    masks = [left_half(8, 8)] * count
    if count == 2:
        assert [mask.seen.shape for mask in read(masks, fits, SIZE)] == [(1, 128, 128)] * 2
        assert len(read(left_half(8, 8), fits, SIZE)) == 2
    else:
        with pytest.raises(ConfigError, match="there are 3 masks for 2 images"):
            read(masks, fits, SIZE)


def text(path: Path) -> Any:
    path.write_text("white")
    return path


def empty(path: Path) -> Any:
    path.touch()
    return path


def cut_short(path: Path) -> Any:
    left_half(100, 80).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:60])
    return path


def folder(path: Path) -> Any:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (text, "is not an image that can be read"),
        (empty, "is empty"),
        (cut_short, "cannot be read as an image"),
        (folder, "directory"),
        (lambda path: path, "mask.png"),
        (lambda path: [], "is empty"),
        (lambda path: 3, "must be a path, a PIL image, an array or a tensor, not int"),
        (lambda path: [[True, False]], "not list"),
        (lambda path: np.zeros((4, 4), np.int64), "must be uint8"),
        (lambda path: np.full((4, 4), np.nan), "NaN or infinity"),
        (lambda path: np.full((4, 4), 2.0), r"must lie in \[0, 1\]"),
        (lambda path: np.zeros((0, 4), bool), "not "),
        (lambda path: np.broadcast_to(np.uint8(0), (20_000, 20_000)), "too large"),
        (lambda path: np.eye(4, dtype=np.uint8), "no level above 1 of 255"),
    ],
)
def test_what_is_no_mask_is_refused_in_one_line(tmp_path: Path, make: Any, words: str) -> None:
    with pytest.raises(RenoiseError, match=words) as caught:
        load(make(tmp_path / "mask.png"))
    assert isinstance(caught.value, (ImageError, ConfigError))
    assert (caught.value.argument, "\n" in str(caught.value)) == ("mask", False)


def test_the_first_frame_of_an_animation_counts(tmp_path: Path) -> None:
    path = tmp_path / "mask.gif"
    left_half(100, 80).save(path, save_all=True, append_images=[Image.new("L", (100, 80))])
    with pytest.warns(RenoiseWarning, match="2 frames"):
        assert levels(path) == [0, 255]


def test_black_everywhere_is_warned_of_and_white_is_not() -> None:
    with pytest.warns(RenoiseWarning, match="black everywhere"):
        read(np.zeros((4, 4), bool), [Fit("crop", (8, 8))], SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(Image.new("L", (1, 1), 255), [Fit("crop", (8, 8))], SIZE)


def mask_of(values: Tensor) -> Mask:
    return Mask(values[None], values[None])


def test_a_latent_may_change_with_any_pixel_of_its_cell_or_the_next() -> None:
    spot = torch.zeros(48, 64)
    spot[17, 30] = 0.25
    found = at_latents([mask_of(spot), mask_of(torch.ones(48, 64))], (6, 8))
    expected = torch.zeros(6, 8)
    expected[1:4, 2:5] = 0.25
    assert torch.equal(found, torch.stack([expected, torch.ones(6, 8)])[:, None])


def test_the_edge_of_a_hard_mask_is_feathered_inwards() -> None:
    mask = torch.zeros(1, 512, 512)
    mask[:, 100:200, :300] = 1.0
    mask[:, 300:302] = 1.0
    covered = opacity(mask)
    assert bool((covered[mask == 0.0] == 0.0).all())
    column = covered[0, 95:110, 40].tolist()
    assert column == pytest.approx([0.0] * 5 + [1 / 3, 2 / 3] + [1.0] * 8)
    assert float(covered[0, 150, 0]) == 1.0  # the image's own edge is none of the mask
    assert float(covered[0, 301, 40]) == 1.0  # too narrow for a feather
    assert torch.equal(opacity(torch.ones(1, 512, 512)), torch.ones(1, 512, 512))
    assert torch.equal(opacity(torch.zeros(1, 512, 512)), torch.zeros(1, 512, 512))


def test_outside_of_a_mask_every_level_is_the_images_own() -> None:
    own = torch.randint(0, 256, (3, 40, 50), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    edit = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8))
    mask = (torch.rand(1, 40, 50, generator=torch.Generator().manual_seed(2)) > 0.5).float()
    laid = torch.from_numpy(np.array(composite(edit, own, mask))).permute(2, 0, 1)
    inside = mask.bool().expand(3, -1, -1)
    assert torch.equal(laid[~inside], own[~inside])
    assert torch.equal(laid[inside], torch.from_numpy(np.array(edit)).permute(2, 0, 1)[inside])


def test_a_thin_stroke_of_a_hard_mask_is_not_lost_in_a_smaller_image() -> None:
    stroke = np.zeros((256, 256), dtype=bool)
    stroke[:, 100:102] = True
    (mask,) = read(stroke, [Fit("crop", (256, 256))], (64, 64))
    assert mask.seen[0, :, 25].all()
    assert float(mask.seen.sum()) == 64.0
    assert bool(((mask.seen == 0.0) | (mask.seen == 1.0)).all())
