"""The same networks with another sampler."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from renoise import Editor, InversionConfig, Renoising, SchedulerError
from renoise.schedulers import SUPPORTED

CONFIG = InversionConfig(num_steps=3, renoising=Renoising(1))


@pytest.mark.parametrize("name", [n for n in SUPPORTED if n != "FlowMatchEulerDiscreteScheduler"])
def test_the_editor_stays_as_it_is(editor: Editor, name: str) -> None:
    before, config = editor.pipe.scheduler, dict(editor.pipe.scheduler.config)
    other = editor.with_scheduler(name)
    assert type(other.pipe.scheduler).__name__ == name
    assert other.pipe.scheduler.config.beta_end == config["beta_end"]
    assert other.pipe.unet is editor.pipe.unet
    assert editor.pipe.scheduler is before
    assert dict(editor.pipe.scheduler.config) == config
    inversion = other.invert(latents=torch.randn(1, 4, 8, 8), prompt="a lion", config=CONFIG)
    assert inversion.scheduler["class"] == name
    # drawn with the sampler that inverted it, by either
    assert torch.equal(editor.reconstruct(inversion, "latent"), other.reconstruct(inversion, "latent"))


def test_settings_of_the_sampler_can_differ(editor: Editor) -> None:
    other = editor.with_scheduler("DDIMScheduler", timestep_spacing="trailing")
    assert other.timesteps(CONFIG) == (999.0, 666.0, 332.0)
    assert editor.timesteps(CONFIG) == (667.0, 334.0, 1.0)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("PNDMScheduler", {}, "use one of DDIMScheduler"),
        ("nonsense", {}, "not supported"),
        (["DDIMScheduler"], {}, "not supported"),
        ("FlowMatchEulerDiscreteScheduler", {}, "two kinds of models"),
        ("DDIMScheduler", {"clip_sample": True}, "impossible to invert"),
        ("DDPMScheduler", {"thresholding": True}, "impossible to invert"),
        ("LCMScheduler", {"karras": True}, "no setting karras"),
    ],
)
def test_what_cannot_be_is_refused(editor: Editor, name: Any, changes: dict[str, bool], message: str) -> None:
    with pytest.raises(SchedulerError, match=message):
        editor.with_scheduler(name, **changes)


def test_settings_that_were_never_chosen_are_the_other_samplers_own(editor: Editor) -> None:
    lcm = editor.with_scheduler("LCMScheduler")
    again = lcm.with_scheduler("DDIMScheduler")
    assert again.timesteps(CONFIG) == editor.timesteps(CONFIG)
    assert again.pipe.scheduler.config.set_alpha_to_one == editor.pipe.scheduler.config.set_alpha_to_one


def test_an_exchange_is_silent(
    editor: Editor, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    editor.with_scheduler("LCMScheduler").with_scheduler("EulerDiscreteScheduler").with_scheduler("DDIMScheduler")
    assert capfd.readouterr().err == ""
