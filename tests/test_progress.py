"""Progress: one call after every network pass, with the latent and the residual so far, and a way to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from PIL import Image

from renoise import EditLosses, Editor, InversionConfig, NoiseCorrection, Progress, Renoising

MakeEditor = Callable[..., Editor]
CONFIG = InversionConfig(num_steps=3, renoising=Renoising(2))
FULL = replace(CONFIG, edit_losses=EditLosses(), noise_correction=NoiseCorrection(0.5))


class Stop(Exception):
    """What a page raises when its user presses stop."""


def counted_calls(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch size of every call of the denoising network from now on."""
    calls: list[int] = []
    forward = editor.pipe.unet.forward

    def counting(sample: torch.Tensor, *args: object, **options: object) -> object:
        calls.append(len(sample))
        return forward(sample, *args, **options)

    monkeypatch.setattr(editor.pipe.unet, "forward", counting)
    return calls


@pytest.mark.parametrize("config", [CONFIG, FULL])
@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_every_network_pass_is_told_of(
    make_editor: MakeEditor,
    picture: Image.Image,
    monkeypatch: pytest.MonkeyPatch,
    config: InversionConfig,
    guidance_scale: float,
) -> None:
    editor = make_editor(scheduler="EulerAncestralDiscreteScheduler")
    calls = counted_calls(editor, monkeypatch)
    told: list[Progress] = []
    cost = 2 if guidance_scale > 1 else 1
    config = replace(config, guidance_scale=guidance_scale)
    inversion = editor.invert(picture, "a lion", config=config, progress=told.append)
    assert calls == [cost] * len(told)
    assert [at.done for at in told] == [cost * (i + 1) for i in range(len(told))]
    assert inversion.network_passes == told[-1].done == told[-1].total
    assert {(at.stage, at.num_steps) for at in told} == {("invert", 3)}
    # upwards: the cleanest step first, and every step named by its place in that order, as diffusers counts
    assert [at.step for at in told] == sorted(at.step for at in told)
    assert {at.step: at.timestep for at in told} == dict(enumerate(reversed(editor.timesteps(config))))

    told.clear()
    calls.clear()
    editor.edit(inversion, "a cat", guidance_scale=guidance_scale, progress=told.append)
    assert calls == [cost] * 3
    assert [(at.stage, at.step, at.done, at.total) for at in told] == [
        ("edit", i, cost * (i + 1), 3 * cost) for i in range(3)
    ]
    assert [at.timestep for at in told] == list(editor.timesteps(config))


def test_the_residual_and_the_latent_come_with_each_pass(editor: Editor, picture: Image.Image) -> None:
    told: list[Progress] = []
    inversion = editor.invert(picture, "a lion", config=CONFIG, keep_residual_history=True, progress=told.append)
    assert inversion.residual_history is not None
    history = inversion.residual_history.flip(0).flatten(0, 1)  # sampling order to the order of the walk
    assert torch.equal(torch.stack([at.residual for at in told if at.residual is not None]), history)
    assert torch.equal(told[-1].latents, inversion.latents)
    told.clear()
    editor.edit(inversion, "a cat", progress=told.append)
    assert torch.equal(told[0].latents, inversion.latents)
    assert {at.residual for at in told} == {None}


@pytest.mark.parametrize("after", [1, 2, 4, 7])
def test_raising_stops_within_one_pass_and_leaves_all_usable(
    editor: Editor, picture: Image.Image, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    expected = editor.invert(picture, "a lion", config=CONFIG)
    calls = counted_calls(editor, monkeypatch)
    freed: list[None] = []
    monkeypatch.setattr(type(editor.pipe), "maybe_free_model_hooks", lambda pipe: freed.append(None))

    def stop(at: Progress) -> None:
        if at.done == after:
            raise Stop

    with pytest.raises(Stop):
        editor.invert(picture, "a lion", config=CONFIG, progress=stop)
    assert len(calls) == after
    assert len(freed) == 2  # after encoding, and after the walk that was stopped
    with pytest.raises(Stop):
        editor.edit(expected, "a cat", progress=lambda at: stop(replace(at, done=after)))
    assert len(calls) == after + 1
    again = editor.invert(picture, "a lion", config=CONFIG)
    assert torch.equal(again.latents, expected.latents)
