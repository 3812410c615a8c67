"""How true a reconstruction is: measured as the model sees the image, whatever the fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple

import pytest
import torch
from PIL import Image

from renoise import ConfigError, Editor, InversionConfig, Renoising, images
from renoise.quality import Quality, psnr, quality_of

CONFIG = InversionConfig(num_steps=4, renoising=Renoising(6))


def test_psnr_by_hand() -> None:
    black, grey = torch.zeros(2, 3, 4, 4), torch.tensor([0.1, 0.01]).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    assert psnr(black, grey).tolist() == pytest.approx([20.0, 40.0])
    assert psnr(black, black).tolist() == [float("inf")] * 2


def test_each_image_is_compared_with_its_truth_and_round_trip() -> None:
    again, truth, round_trip = (torch.full((2, 3, 2, 2), level) for level in (0.5, 0.6, 0.51))
    for quality in quality_of(again, truth, round_trip):
        assert astuple(quality) == pytest.approx((20.0, 40.0, 20.915), abs=1e-3)


def test_another_models_round_trip_is_not_compared() -> None:
    again = torch.zeros(1, 3, 4, 4)
    (quality,) = quality_of(again, again + 0.1, torch.zeros(1, 3, 8, 8))
    assert quality == Quality(quality.image, None, None)
    assert quality.image == pytest.approx(20.0)


@pytest.mark.parametrize("fit", images.FITS)
def test_an_editor_measures_what_the_model_saw(editor: Editor, picture: Image.Image, fit: str) -> None:
    prepared = editor.prepare([picture, picture.rotate(180)], fit)
    inversion = editor.invert(prepared, "a lion", config=CONFIG)
    again = editor.reconstruct(inversion, "pt")
    found = editor.quality(prepared, again)
    truth, round_trip = images.to_tensor(prepared.images), editor.decode(prepared.latents, "pt")
    expected = zip(psnr(again, truth), psnr(again, round_trip), psnr(round_trip, truth), strict=True)
    assert [(q.image, q.round_trip, q.bound) for q in found] == [tuple(map(float, values)) for values in expected]
    # and the same from the inversion and the originals alone
    assert editor.quality(editor.prepare_like(inversion, [picture, picture.rotate(180)]), again) == found


def test_prepared_images_are_fitted_and_encoded_once(
    editor: Editor, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counting(owner: object, name: str) -> None:
        own: Callable[..., object] = getattr(owner, name)

        def called(*args: object, **options: object) -> object:
            calls.append(name)
            return own(*args, **options)

        monkeypatch.setattr(owner, name, called)

    counting(images, "fit_to")
    counting(editor.pipe.vae, "encode")
    prepared = editor.prepare(picture)
    inversion = editor.invert(prepared, "a lion", config=CONFIG)
    editor.quality(prepared, editor.reconstruct(inversion, "pt"))
    assert calls == ["fit_to", "encode"]
    assert torch.equal(inversion.latents, editor.invert(picture, "a lion", config=CONFIG).latents)
    assert inversion.fits == prepared.fits


def test_latents_have_no_image_to_compare_with(editor: Editor) -> None:
    prepared = editor.model.prepare(None, torch.zeros(1, 4, 8, 8))
    with pytest.raises(ConfigError, match="no images to compare with"):
        editor.quality(prepared, torch.zeros(1, 3, 64, 64))


def test_as_many_images_as_were_inverted(editor: Editor, picture: Image.Image) -> None:
    inversion = editor.invert(picture, "a lion", config=CONFIG)
    with pytest.raises(ConfigError, match="holds 1 images, not 2"):
        editor.prepare_like(inversion, [picture, picture])
