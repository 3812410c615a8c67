from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from renoise.web.forms import Source
from renoise.web.happenings import Inverted
from renoise.web.studio import Studio
from renoise.web.views import Preview, convergence, original_with, overlay, preview_of
from web.conftest import told


def test_a_preview_of_the_image_itself_looks_like_it(studio: Studio, source: Source) -> None:
    (inverted,) = told(studio.invert(source), Inverted)
    preview = preview_of(inverted.inversion)
    assert preview is not None
    assert inverted.inversion.trajectory is not None
    small = np.asarray(preview.of(inverted.inversion.trajectory[0]).resize((16, 16)), dtype=float)
    assert inverted.known.original is not None
    own = np.asarray(inverted.known.original.resize((16, 16)), dtype=float)
    assert np.abs(small - own).mean() < 25.0
    assert np.corrcoef(small.ravel(), own.ravel())[0, 1] > 0.9


def test_noise_of_any_scale_has_a_preview() -> None:
    latents = torch.rand(1, 4, 8, 6)
    preview = Preview.fitted(latents, torch.rand(1, 3, 64, 48))
    for scale in (0.0, 1e-3, 1.0, 1e4):
        assert preview.of(latents * scale).size == (120, 160)


def test_an_image_of_one_colour_has_a_preview() -> None:
    preview = Preview.fitted(torch.zeros(1, 4, 8, 8), torch.full((1, 3, 64, 64), 0.5))
    assert preview.of(torch.zeros(1, 4, 8, 8)).getpixel((3, 3)) == (128, 128, 128)


def test_what_could_change_stays_bright() -> None:
    mask = Image.new("L", (4, 4))
    mask.paste(255, (0, 0, 2, 4))
    shown = overlay(Image.new("RGB", (4, 4), "white"), mask)
    assert shown.getpixel((0, 0)) == (255, 255, 255)
    assert sum(shown.getpixel((3, 3))) < 300  # type: ignore[arg-type] # an RGB image has tuples


def test_an_image_to_paint_on_keeps_its_proportions() -> None:
    assert original_with(Image.new("RGB", (4000, 3000)), 1024).size == (1024, 768)
    assert original_with(Image.new("RGB", (40, 30)), 1024).size == (40, 30)


def test_residuals_are_told_in_the_order_in_which_the_steps_were_walked(studio: Studio, source: Source) -> None:
    (inverted,) = told(studio.invert(source), Inverted)
    points = convergence(inverted.inversion, inverted.timesteps)
    assert [point.number for point in points] == [1, 2, 3, 4]
    assert [point.timestep for point in points] == sorted(inverted.timesteps)
    assert all(-8.0 <= point.residual < 1.0 for point in points)
