"""Edits without an inversion, as the editor makes them: arguments, shapes, passes and refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image

from renoise import ConfigError, Editor, ImageError, InversionConfig, NumericalError, Progress
from renoise.directly import DDCM, FlowEdit
from renoise.errors import IgnoredSettingWarning
from written import network_of

CONFIG = InversionConfig(num_steps=4)


def test_one_image_and_many(editor: Editor, picture: Image.Image) -> None:
    one = editor.edit_directly(picture, "a lion", "a cat", config=CONFIG)
    assert isinstance(one, Image.Image)
    several = editor.edit_directly(picture, "a lion", ["a cat", "a dog"], config=CONFIG)
    assert [image.size for image in several] == [one.size] * 2
    nested = editor.edit_directly([picture] * 2, "a lion", [["a cat"], ["a dog", "a fox"]], config=CONFIG)
    assert [len(own) for own in nested] == [1, 2]
    padded = editor.edit_directly(picture, "a lion", "a cat", config=CONFIG, fit="pad")
    assert padded.size == picture.size
    tensor = editor.edit_directly(picture, "a lion", "a cat", config=CONFIG, output_type="pt")
    assert tensor.shape == (1, 3, *editor.size)


def test_targets_of_one_image_share_its_noises(editor: Editor, picture: Image.Image) -> None:
    z = editor.encode([picture, picture.rotate(90)])

    def drawn(target: Any, **more: Any) -> torch.Tensor:
        made: torch.Tensor = editor.edit_directly(
            None, "a lion", target, latents=z, config=CONFIG, output_type="latent", **more
        )
        return made

    several = drawn([["a cat"], ["a dog", "a fox"]])
    for row, target in enumerate(["a cat", "a dog", "a fox"]):
        torch.testing.assert_close(several[row], drawn(target)[min(row, 1)], atol=1e-4, rtol=1e-4)
    other = drawn("a cat", generator=[torch.Generator().manual_seed(i) for i in (0, 7)])
    torch.testing.assert_close(other[0], several[0], atol=1e-4, rtol=1e-4)  # its own generator has the default seed
    assert not torch.allclose(other[1], drawn("a cat")[1], atol=1e-3)


@pytest.mark.parametrize(
    ("rule", "source", "target", "passes"),
    [(FlowEdit(), 1.0, 1.0, 8), (FlowEdit(3), 1.0, 1.0, 24), (FlowEdit(), 1.5, 5.5, 16), (DDCM(), 1.0, 2.0, 12)],
    ids=repr,
)
def test_passes_are_counted_as_they_are_made(
    editor: Editor, picture: Image.Image, rule: Any, source: float, target: float, passes: int
) -> None:
    told: list[Progress] = []
    rows: list[int] = []
    network_of(editor.pipe).register_forward_pre_hook(lambda _, args: rows.append(args[0].shape[0]))
    config = InversionConfig(num_steps=4, guidance_scale=source)
    how: dict[str, Any] = {"rule": rule, "config": config, "guidance_scale": target, "progress": told.append}
    editor.edit_directly(picture, "a lion", "a cat", **how)
    assert told[-1].done == told[-1].total == sum(rows) == passes
    assert {one.stage for one in told} == {"edit"}


def test_a_share_of_the_schedule_and_the_seed_count(editor: Editor, picture: Image.Image) -> None:
    told: list[Progress] = []

    def drawn(**settings: Any) -> torch.Tensor:
        config = InversionConfig(num_steps=4, **settings)
        made: torch.Tensor = editor.edit_directly(
            picture, "a lion", "a cat", config=config, output_type="latent", progress=told.append
        )
        return made

    whole = drawn()
    assert torch.equal(whole, drawn())
    assert not torch.allclose(whole, drawn(seed=1), atol=1e-3)
    told.clear()
    assert not torch.allclose(whole, drawn(strength=0.5), atol=1e-3)
    assert told[-1].done == 6  # two steps with one prediction of the source and a guided one of the target


def test_the_default_settings_are_the_models(editor: Editor, picture: Image.Image) -> None:
    ours = editor.edit_directly(picture, "a lion", "a cat", output_type="latent")
    told: dict[str, Any] = {
        "config": editor.config(),
        "guidance_scale": editor.edit_guidance(editor.config()),
        "rule": FlowEdit(),
    }
    assert torch.equal(ours, editor.edit_directly(picture, "a lion", "a cat", output_type="latent", **told))


def test_the_source_prompt_under_another_guidance_is_an_edit(editor: Editor, picture: Image.Image) -> None:
    z = editor.encode(picture)
    how: dict[str, Any] = {"latents": z, "config": CONFIG, "output_type": "latent"}
    assert torch.equal(editor.edit_directly(None, "a lion", "a lion", guidance_scale=1.0, **how), z)
    assert not torch.allclose(editor.edit_directly(None, "a lion", "a lion", guidance_scale=3.0, **how), z, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"target": None}, ConfigError, "an edit wants a target prompt"),
        ({"rule": "flowedit"}, ConfigError, "rule must be a value with a method advance and a number of draws"),
        ({"rule": FlowEdit}, ConfigError, "rule must be a value"),
        ({"config": "fast"}, ConfigError, "config must be an InversionConfig"),
        ({"output_type": "jpg"}, ConfigError, "output_type 'jpg' is unknown"),
        ({"image": None}, ConfigError, "give exactly one"),
        ({"image": "no/such.png"}, ImageError, "no/such.png"),
        ({"guidance_scale": -1}, ConfigError, "guidance_scale must be"),
        ({"negative_prompt": ["a", "b"]}, ConfigError, "1 image"),
        ({"generator": 3}, ConfigError, "generator must be"),
        ({"progress": 3}, ConfigError, "progress must be callable"),
        ({"fit": "zoom"}, ConfigError, "zoom"),
        ({"prompt": ["a", "b"]}, ConfigError, "1 image"),
    ],
)
def test_what_cannot_be_edited_is_refused(
    editor: Editor, picture: Image.Image, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    given = {"image": picture, "prompt": "a lion", "target": "a cat", "config": CONFIG, **arguments}
    with pytest.raises(error, match=message):
        editor.edit_directly(**given)


def test_nan_is_an_error(editor: Editor, picture: Image.Image) -> None:
    network_of(editor.pipe).register_forward_hook(lambda m, i, o: (o[0] * float("nan"),))
    with pytest.raises(NumericalError, match="network's prediction at step 1 of 4"):
        editor.edit_directly(picture, "a lion", "a cat", config=CONFIG)


def test_what_has_no_effect_is_said(editor: Editor, picture: Image.Image) -> None:
    z = editor.encode(picture)
    with pytest.warns(IgnoredSettingWarning, match='fit="pad" has no effect') as caught:
        editor.edit_directly(None, "a lion", "a cat", latents=z, config=CONFIG, fit="pad")
    with pytest.warns(IgnoredSettingWarning, match="negative_prompt has no effect without guidance") as again:
        editor.edit_directly(picture, "a lion", "a cat", config=CONFIG, negative_prompt="a dog", guidance_scale=1.0)
    assert {caught[0].filename, again[0].filename} == {__file__}


def test_the_pipeline_stays_as_it_is(editor: Editor, picture: Image.Image) -> None:
    scheduler, config = editor.pipe.scheduler, dict(editor.pipe.scheduler.config)
    editor.edit_directly(picture, "a lion", "a cat", rule=DDCM(), config=CONFIG)
    assert editor.pipe.scheduler is scheduler
    assert dict(scheduler.config) == config
