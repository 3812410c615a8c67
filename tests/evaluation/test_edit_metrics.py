"""What is measured of edits, against numbers worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from renoise import ConfigError, images
from renoise.evaluation import metrics
from renoise.evaluation.edit_metrics import (
    edit_numbers,
    fit_mask,
    mse_background,
    psnr_background,
    ssim_background,
)
from renoise.evaluation.judges import Clip, Judges


@pytest.fixture
def left() -> torch.Tensor:
    """Two masks of 16 x 24 pixels: the left half, and everything."""
    mask = torch.zeros(2, 16, 24, dtype=torch.bool)
    mask[0, :, :12] = True
    mask[1] = True
    return mask


def test_the_background_is_what_lies_outside_the_mask(left: torch.Tensor) -> None:
    picture = torch.full((2, 3, 16, 24), 0.5)
    edit = picture.clone()
    edit[..., :12] += 0.4
    edit[:, 0, :, 12:] += 0.1
    mse = mse_background(edit, picture, left)
    # In one of three channels.
    assert float(mse[0]) == pytest.approx(0.01 / 3, rel=1e-4)
    assert float(psnr_background(edit, picture, left)[0]) == pytest.approx(20.0 + 10.0 * math.log10(3.0), abs=1e-3)


def test_ssim_of_the_background(left: torch.Tensor) -> None:
    # Without any variance it is (2 a b + c) / (a^2 + b^2 + c) with c = 0.01^2.
    picture, edit = torch.full((2, 3, 16, 24), 0.5), torch.full((2, 3, 16, 24), 0.3)
    expected = (2 * 0.5 * 0.3 + 1e-4) / (0.5**2 + 0.3**2 + 1e-4)
    assert float(ssim_background(edit, picture, left)[0]) == pytest.approx(expected, abs=1e-4)
    noise = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    changed = torch.where(left[:, None], noise, picture)
    here, whole = float(ssim_background(changed, picture, left)[0]), float(metrics.ssim(changed, picture)[0])
    # The window of 11 looks five pixels into the mask; the other seven columns are exactly alike.
    assert whole < here < 1.0
    assert here > 7 / 12


def test_a_mask_of_everything_leaves_no_background(left: torch.Tensor) -> None:
    picture = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    for metric in (mse_background, psnr_background, ssim_background):
        assert metric(picture * 0.9, picture, left).isnan().tolist() == [False, True]


def test_what_the_mask_hides_has_no_say(left: torch.Tensor) -> None:
    picture = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    edit = picture.clone()
    edit[..., :12] = torch.nan
    assert float(mse_background(edit, picture, left)[0]) == 0.0
    assert math.isinf(float(psnr_background(edit, picture, left)[0]))


def test_the_numbers_of_an_edit_without_judges(left: torch.Tensor) -> None:
    picture = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    measured: dict[str, Any] = {"target": "a dog", "structure": None, "judges": Judges()}
    assert edit_numbers(picture, picture, mask=None, **measured) == {}
    assert edit_numbers(picture, picture, mask=left[1], **measured) == {"background": 0.0}
    half = edit_numbers(picture, picture, mask=left[0], **measured)
    assert half["background"] == 0.5
    assert (half["mse_background"], half["psnr_background"]) == (0.0, metrics.HIGHEST_PSNR)
    assert half["ssim_background"] == pytest.approx(1.0)
    assert half["lpips_background"] is None


def test_clip_sees_the_mask_alone(left: torch.Tensor, clip_folder: Path) -> None:
    clip = Clip(clip_folder, "cpu")
    picture = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    found = edit_numbers(picture, picture, "a dog", mask=left[0], structure=None, judges=Judges(clip))
    black = picture.clone()
    black[..., 12:] = 0.0
    assert found["clip_whole"] == pytest.approx(float(clip.similarity(picture, ["a dog"])))
    assert found["clip_edited"] == pytest.approx(float(clip.similarity(black, ["a dog"])))
    assert found["clip_whole"] != found["clip_edited"]
    nothing = edit_numbers(picture, picture, "a dog", mask=~left[1], structure=None, judges=Judges(clip))
    assert "clip_edited" not in nothing
    assert nothing["background"] == 1.0


def test_a_mask_goes_where_its_image_goes() -> None:
    mask = np.zeros((80, 100), dtype=bool)
    mask[10:40, 30:60] = True
    picture = Image.fromarray(np.repeat(mask[..., None] * np.uint8(255), 3, axis=2))
    fitted = np.asarray(images.crop_to(picture, (40, 40)))[..., 0] > 127
    found = fit_mask(mask, (80, 100), (40, 40)).numpy()
    assert found.dtype == bool
    assert (found != fitted).mean() < 0.02
    # The centre of 80 x 80 begins at column 10.
    assert np.array_equal(found, mask[::2, 10:90:2]) or np.array_equal(found, mask[1::2, 11:90:2])


def test_a_mask_of_the_models_size_stays_as_it_is() -> None:
    mask = np.random.default_rng(0).random((64, 64)) < 0.5
    assert np.array_equal(fit_mask(mask, (64, 64), (64, 64)).numpy(), mask)


def test_a_mask_may_be_smaller_than_its_image_but_not_of_other_proportions() -> None:
    mask = np.array([[True, False], [False, False]])
    assert fit_mask(mask, (128, 128), (8, 8)).sum() == 16
    with pytest.raises(ConfigError, match="a mask of 2 x 2 pixels does not fit its image of 128 x 64"):
        fit_mask(mask, (64, 128), (8, 8))
