"""What edits under masks give back: what a mask keeps is the image's own, to the last bit and level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from renoise import ConfigError, Editor, Inversion, RenoiseWarning
from renoise.edit_rules import EditStep, PlainSampling
from renoise.masks import read


def mask_for(picture: Image.Image) -> Image.Image:
    """An image in mode L with a white box."""
    drawn = Image.new("L", picture.size)
    drawn.paste(255, (picture.width // 4, picture.height // 4, picture.width // 2, 3 * picture.height // 4))
    return drawn


def bytes_of(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


@pytest.fixture(params=["DDIMScheduler", "EulerAncestralDiscreteScheduler"])
def drawn_by(request: pytest.FixtureRequest, make_editor: Callable[..., Editor]) -> Editor:
    return make_editor("tiny-sd", request.param)


def inverted(editor: Editor, image: Any, prompt: Any = "a lion", **options: Any) -> Inversion:
    return editor.invert(image, prompt, config=editor.config(num_steps=2), **options)


def test_zeros_reconstruct_and_ones_edit_bit_for_bit(drawn_by: Editor, picture: Image.Image) -> None:
    inversion = inverted(drawn_by, [picture, picture.rotate(90)])
    assert inversion.trajectory is not None
    assert inversion.images is not None
    black, white = np.zeros((80, 100), bool), np.ones((80, 100), bool)
    with pytest.warns(RenoiseWarning, match="black everywhere") as said:
        kept = drawn_by.edit(inversion, "a cat", mask=black, output_type="latent")
    assert said[0].filename == __file__
    assert torch.equal(kept, inversion.trajectory[0])
    assert torch.equal(kept, drawn_by.reconstruct(inversion, "latent"))
    with pytest.warns(RenoiseWarning):
        images = drawn_by.edit(inversion, "a cat", mask=black)
    assert all(torch.equal(bytes_of(one), own) for one, own in zip(images, inversion.images, strict=True))
    for output_type in ("latent", "pt"):
        plain = drawn_by.edit(inversion, "a cat", output_type=output_type)
        assert torch.equal(drawn_by.edit(inversion, "a cat", mask=white, output_type=output_type), plain)
        ruled = drawn_by.edit(inversion, "a cat", mask=white, rule=PlainSampling(), output_type=output_type)
        assert torch.equal(ruled, drawn_by.edit(inversion, "a cat", rule=PlainSampling(), output_type=output_type))


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch", "keep"])
def test_not_one_level_changes_outside_of_a_hard_mask(editor: Editor, picture: Image.Image, fit: str) -> None:
    odd = picture.crop((0, 0, 97, 71))
    inversion = inverted(editor, odd, fit=fit)
    assert inversion.images is not None
    edit, white = editor.edit(inversion, "a cat", mask=mask_for(odd), guidance_scale=4.0, return_masks=True)
    assert edit.size == white.size == (odd.size if fit in ("pad", "keep") else editor.size)
    own, shown = inversion.images[0], bytes_of(edit)
    if fit in ("pad", "keep"):
        assert torch.equal(own, bytes_of(odd))
        outside = torch.from_numpy(np.array(mask_for(odd))) == 0
    else:
        fitted = editor.fit(mask_for(odd), fit).convert("L")
        outside = torch.from_numpy(np.array(fitted)) < 100
    assert int((shown.int() - own.int()).abs()[:, outside].max()) == 0
    assert int((shown.int() - own.int()).abs()[:, ~outside].max()) > 0
    assert int(torch.from_numpy(np.array(white))[outside].max()) == 0


def test_batches_with_masks_of_their_own_and_several_targets(editor: Editor, picture: Image.Image) -> None:
    pictures = [picture, picture.rotate(180)]
    masks = [mask_for(picture), mask_for(picture).rotate(180)]
    both = inverted(editor, pictures, ["a lion", "a bear"])
    edits, whites = editor.edit(both, [["a cat", "a dog"], ["a fox"]], mask=masks, return_masks=True)
    assert [len(own) for own in edits] == [len(own) for own in whites] == [2, 1]
    first = inverted(editor, picture, "a lion")
    second = inverted(editor, pictures[1], "a bear")
    alone = [*editor.edit(first, ["a cat", "a dog"], mask=masks[0]), editor.edit(second, "a fox", mask=masks[1])]
    for one, other in zip([*edits[0], *edits[1]], alone, strict=True):
        assert int((bytes_of(one).int() - bytes_of(other).int()).abs().max()) <= 1
    with pytest.raises(ConfigError, match="3 masks for 2 images"):
        editor.edit(both, "a cat", mask=[*masks, masks[0]])


@pytest.mark.parametrize("fit", ["crop", "pad", "keep"])
def test_arrays_are_composited_in_the_models_frame(editor: Editor, picture: Image.Image, fit: str) -> None:
    inversion = inverted(editor, picture, fit=fit)
    fitted = bytes_of(editor.fit(picture, fit)) / 255.0
    pixels, white = editor.edit(inversion, "a cat", mask=mask_for(picture), output_type="pt", return_masks=True)
    array, levels = editor.edit(inversion, "a cat", mask=mask_for(picture), output_type="np", return_masks=True)
    assert torch.equal(torch.from_numpy(array).permute(0, 3, 1, 2), pixels)
    assert torch.equal(torch.from_numpy(levels).permute(0, 3, 1, 2), white)
    assert white.shape == (1, 1, *inversion.size)
    same = (pixels[0] - fitted).abs().amax(0) == 0.0
    (mask,) = read(mask_for(picture), inversion.fits, inversion.size)
    assert bool(same[mask.seen[0] == 0.0].all())
    assert not bool(same.all())
    assert float(white[0, 0][mask.seen[0] == 0.0].max()) == 0.0


def test_where_latents_came_the_decoded_image_is_kept(editor: Editor, picture: Image.Image) -> None:
    z_0 = editor.encode(picture)
    inversion = editor.invert(latents=z_0, prompt="a lion", config=editor.config(num_steps=2))
    assert inversion.images is None
    mask = mask_for(Image.new("L", (128, 128)))
    edit, own = editor.edit(inversion, "a cat", mask=mask), editor.decode(z_0)[0]
    outside = torch.from_numpy(np.array(mask)) == 0
    assert torch.equal(bytes_of(edit)[:, outside], bytes_of(own)[:, outside])
    pixels = editor.edit(inversion, "a cat", mask=mask, output_type="pt")
    assert torch.equal(pixels[0][:, outside], editor.decode(z_0, "pt")[0][:, outside])


def test_grey_goes_a_part_of_the_way(editor: Editor, picture: Image.Image) -> None:
    inversion = inverted(editor, picture)
    assert inversion.trajectory is not None
    away = [
        float(
            (editor.edit(inversion, "a cat", mask=np.full((8, 10), m), output_type="latent")).dist(
                inversion.trajectory[0]
            )
        )
        for m in (0.25, 0.5, 0.75, 1.0)
    ]
    assert 0.0 < away[0] < away[1] < away[2] < away[3]


def test_the_automatic_mask_is_told(editor: Editor, picture: Image.Image) -> None:
    inversion = inverted(editor, picture)
    (same, cat), (none, white) = editor.edit(inversion, ["a lion", "a cat"], guidance_scale=1.0, return_masks=True)
    assert (none.mode, none.size, same.size) == ("L", cat.size, cat.size)
    assert np.asarray(none).max() == 0  # the target is the source
    assert np.asarray(white).max() > 0
    _, told = editor.edit(inversion, ["a lion", "a cat"], guidance_scale=1.0, return_masks=True, output_type="latent")
    assert (told.shape, float(told[0].max())) == ((2, 1, 16, 16), 0.0)
    assert bool(((told >= 0.0) & (told <= 1.0)).all())
    _, none = editor.edit(inversion, "a cat", strength=0.0, return_masks=True)
    assert np.asarray(none).max() == 0
    _, all_of_it = editor.edit(inversion, "a cat", rule=PlainSampling(), return_masks=True)
    assert np.asarray(all_of_it).min() == 255


@dataclass(frozen=True)
class Silent:
    """Cannot tell where it changed something."""

    max_passes: int = 1

    def advance(self, at: EditStep) -> Tensor:
        return at.z


def test_what_goes_together_and_what_does_not(editor: Editor, picture: Image.Image, tmp_path: Path) -> None:
    inversion, mask = inverted(editor, picture), mask_for(picture)
    mask.save(tmp_path / "mask.png")
    expected = editor.edit(inversion, "a cat", mask=mask)
    for one in (mask, tmp_path / "mask.png", np.asarray(mask), torch.from_numpy(np.array(mask)), [mask]):
        assert editor.edit(inversion, "a cat", keep=one).tobytes() == expected.tobytes()
    with pytest.raises(ConfigError, match="keep and mask are both masks"):
        editor.edit(inversion, "a cat", keep=mask, mask=mask)
    with pytest.raises(ConfigError, match=r"keep .* is unknown; use auto, nothing or a mask"):
        editor.edit(inversion, "a cat", keep=3)
    with pytest.raises(ConfigError, match="cannot tell where it changes an image") as caught:
        editor.edit(inversion, "a cat", rule=Silent(), return_masks=True)
    assert caught.value.argument == "return_masks"


@pytest.mark.parametrize("option", ["mask", "keep", "strength", "return_masks"])
def test_an_inversion_that_kept_nothing_is_refused_with_the_remedy(
    editor: Editor, picture: Image.Image, option: str
) -> None:
    inversion = inverted(editor, picture, edit_data="none")
    given: Any = {"mask": mask_for(picture), "keep": "auto", "strength": 0.5, "return_masks": True}[option]
    with pytest.raises(ConfigError, match=rf'{option} needs the source.*invert with edit_data="float32"') as caught:
        editor.edit(inversion, "a cat", **{option: given})
    assert caught.value.argument == option
    with pytest.raises(ConfigError, match="mask needs"):
        editor.edit(inversion, "a cat", mask=mask_for(picture), rule=PlainSampling())


def test_edits_from_a_file_are_those_in_memory(editor: Editor, picture: Image.Image, tmp_path: Path) -> None:
    inversion = inverted(editor, picture)
    inversion.save(tmp_path / "lion.safetensors")
    loaded = Inversion.load(tmp_path / "lion.safetensors")
    assert loaded.sizes == inversion.sizes
    assert sum(loaded.sizes.values()) == loaded.nbytes
    assert (loaded.edit_data, loaded.alone().edit_data) == ("float32", "none")
    mask = mask_for(picture)
    assert editor.edit(loaded, "a cat", mask=mask).tobytes() == editor.edit(inversion, "a cat", mask=mask).tobytes()
